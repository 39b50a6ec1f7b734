// ray_forward: the first layer of rows on a ray x = x0 + size·d. y = a + size·c with a = W·x0 + b
// and c = W·d, then ReLU if relu.
//
// Two products an image serve all its eps. a and c are [images, width], and y is [rows, width]. Row
// k is row r = first + k of the batch, which is image r / E at size[r % E]. The product and the sum
// are rounded one after the other, as on the CPU. Bound by memory: 2 operations for 4 bytes
// written. a and c come from cache E times of E + 1. One thread makes an element. The grid is
// (⌈width/256⌉, rows).
//
// Launch: gpu/ray.go. On the CPU: cpu/ray.go. Truth: internal/ref AffineForward at x.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
ray_forward(float *__restrict__ y, const float *__restrict__ a, const float *__restrict__ c, const float *__restrict__ size, int relu, int first, int E,
            int width) {
  const int o = blockIdx.x * blockDim.x + threadIdx.x;
  if (o >= width) return;
  const int k = blockIdx.y, r = first + k;
  const size_t at = (size_t)(r / E) * width + o;
  const float v = __fadd_rn(a[at], __fmul_rn(size[r % E], c[at]));
  y[(size_t)k * width + o] = relu && v < 0.f ? 0.f : v;  // NaN stays
}
