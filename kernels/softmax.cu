// softmax_forward: y_c = p_c = exp(x_c)/Σ_k exp(x_k) over the C channels of a pixel.
// softmax_backward: dx_c = from_c + p_c·(dy_c - Σ_k p_k·dy_k).
//
// x, y, dx, dy and from are [pixels, pitch], of which C channels count. pixels are those of all
// rows. What is written is 0 in the others. from is null for 0, or may be dx.
//
// Sums run from 0 over rising channels, in float64, and results are rounded once. Where p_m rounds to
// 1, dy_m - Σ_k p_k·dy_k would lose all digits, as 1 - p_m does. So dy_m is first taken off all of dy,
// m being the largest: then that term is exactly 0, and every other p_k is at most a half.
//
// A warp has a pixel. Its lanes read and write side by side, and each adds up all channels. The grid
// is ⌈pixels/8⌉, and a block has 256 threads. Bound by memory; on a GeForce by arithmetic.
//
// Truth: internal/ref softmax. Launch: gpu/reduce.go. On the CPU: softmax in
// cpu/reduce.go.
#include "channels.cuh"

extern "C" __global__ void __launch_bounds__(256, 4) softmax_forward(float *__restrict__ y, const float *__restrict__ x, int C, int pitch, long long pixels) {
  const long long pixel = (long long)blockIdx.x * 8 + threadIdx.x / 32;
  if (pixel >= pixels) return;
  x += pixel * pitch;
  const Weights k = weights(x, C);
  for (int c = threadIdx.x % 32; c < pitch; c += 32) y[pixel * pitch + c] = c < C ? (float)(weight(x[c], k.top.value) / k.sum) : 0.f;
}

extern "C" __global__ void __launch_bounds__(256)
softmax_backward(float *dx, const float *from, const float *__restrict__ dy, const float *__restrict__ x, int C, int pitch, long long pixels) {
  const long long pixel = (long long)blockIdx.x * 8 + threadIdx.x / 32;
  if (pixel >= pixels) return;
  x += pixel * pitch;
  dy += pixel * pitch;
  const Weights k = weights(x, C);
  const double top = dy[k.top.place];
  const int lane = threadIdx.x % 32;
  double mean = 0.0;
  for (int c = 0; c < C; c += 32) mean = rising(mean, c + lane < C ? weight(x[c + lane], k.top.value) * (dy[c + lane] - top) : 0.0, C - c);
  mean /= k.sum;
  for (int c = lane; c < pitch; c += 32) {
    const long long at = pixel * pitch + c;
    const float d = c < C ? (float)(weight(x[c], k.top.value) / k.sum * (dy[c] - top - mean)) : 0.f;
    dx[at] = from != nullptr ? __fadd_rn(from[at], d) : d;
  }
}
