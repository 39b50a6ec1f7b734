// constant_forward: y = v in every row.
//
// y is [rows, width], and v is [width], with zeros where there is padding. One thread makes an
// element. The grid is (⌈width/blockDim.x⌉, rows). Bound by memory. A constant has no gradient.
//
// Truth: internal/ref constant. Launch: gpu/arrange.go. On the CPU: constant in cpu/arrange.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256) constant_forward(float *__restrict__ y, const float *__restrict__ v, int width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t < width) y[(size_t)blockIdx.y * width + t] = v[t];
}
