// scale_forward: y = x·w_c + b_c. scale_backward: dx = from + dy·w_c. c is the channel of an
// element.
//
// x, y, dx, dy and from are [rows, width], of pixels [pitch], of which C channels count. What is
// written is 0 in the others. w and b are [C]. from is null for 0, or may be dx. The product and
// the sum are rounded one after the other, as on the CPU. One thread makes an element. The grid is
// (⌈width/blockDim.x⌉, rows). Bound by memory.
//
// Truth: internal/ref scale. Launch: gpu/activation.go. On the CPU: scale in cpu/operations.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
scale_forward(float *__restrict__ y, const float *__restrict__ x, const float *__restrict__ w, const float *__restrict__ b, int C, int pitch, int width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x, c = t % pitch;
  if (t >= width) return;
  const size_t at = (size_t)blockIdx.y * width + t;
  y[at] = c < C ? __fadd_rn(__fmul_rn(x[at], w[c]), b[c]) : 0.f;
}

extern "C" __global__ void __launch_bounds__(256)
scale_backward(float *dx, const float *from, const float *__restrict__ dy, const float *__restrict__ w, int C, int pitch, int width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x, c = t % pitch;
  if (t >= width) return;
  const size_t at = (size_t)blockIdx.y * width + t;
  const float d = c < C ? __fmul_rn(dy[at], w[c]) : 0.f;
  dx[at] = from != nullptr ? __fadd_rn(from[at], d) : d;
}
