// scale_forward: y = x·w_c + b_c, scale_backward: dx = from + dy·w_c, c the channel of an element.
//
// x, y, dx, dy, from [rows, width] of [C, plane], of which elements = C·plane count; what is written is 0 in the padding. w, b [C]. from is
// null for 0, or may be dx. One fused multiply-add forward. One thread an element, grid (⌈width/blockDim.x⌉, rows). Bound by memory.
//
// Truth: internal/ref scale. Launch: gpu/network.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
scale_forward(float *__restrict__ y, const float *__restrict__ x, const float *__restrict__ w, const float *__restrict__ b, int plane, int elements, int width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= width) return;
  const size_t at = (size_t)blockIdx.y * width + t;
  y[at] = t < elements ? fmaf(x[at], w[t / plane], b[t / plane]) : 0.f;
}

extern "C" __global__ void __launch_bounds__(256)
scale_backward(float *dx, const float *from, const float *__restrict__ dy, const float *__restrict__ w, int plane, int elements, int width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= width) return;
  const size_t at = (size_t)blockIdx.y * width + t;
  const float d = t < elements ? dy[at] * w[t / plane] : 0.f;
  dx[at] = from != nullptr ? from[at] + d : d;
}
