// max_pool_forward: y = the largest element of each window, and place is where it lies. It is the
// first of them by rows. max_pool_backward: dx = from + the sum of dy over the windows whose
// largest an element is.
//
// x, dx and from are [rows, H, W, pitch], and y, dy and place are [rows, OH, OW, pitch], of which C
// channels count. What is written is 0 in the others. place is h·W + w. from is null for 0, or may
// be dx. A NaN is larger than all, so that the logits tell. A sum runs over r, rising, and within
// that over c, falling, as on the CPU. One thread makes an element of what is written. The grid is
// (⌈elements/blockDim.x⌉, rows). Bound by memory.
//
// Truth: internal/ref maxPool. Launch: gpu/pool.go. On the CPU: maxPool in cpu/operations.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
max_pool_forward(float *__restrict__ y, int *__restrict__ place, const float *__restrict__ x, int C, int pitch, WINDOW) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= OH * OW * pitch) return;
  const size_t at = (size_t)blockIdx.y * OH * OW * pitch + t;
  const int i = t % pitch, h0 = t / pitch / OW * SH - top, w0 = t / pitch % OW * SW - left;
  x += (size_t)blockIdx.y * H * W * pitch;
  float best = 0.f;
  int first = -1;
  if (i < C)
    for (int u = 0; u < KH; ++u)
      for (int s = 0; s < KW; ++s) {
        const int h = h0 + u * DH, w = w0 + s * DW;
        if (h < 0 || h >= H || w < 0 || w >= W) continue;
        const float v = x[(h * W + w) * pitch + i];
        if (first < 0 || v > best || (v != v && best == best)) best = v, first = h * W + w;
      }
  y[at] = best;
  place[at] = first;
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_backward(float *dx, const float *from, const float *__restrict__ dy, const int *__restrict__ place, int C, int pitch, WINDOW) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= H * W * pitch) return;
  const size_t at = (size_t)blockIdx.y * H * W * pitch + t, image = (size_t)blockIdx.y * OH * OW * pitch;
  const int i = t % pitch, me = t / pitch, h = me / W + top, w = me % W + left;
  float sum = 0.f;
  if (i < C) {
    const int r1 = last_window(h, SH, OH), c0 = first_window(w, KW, SW, DW);
    for (int r = first_window(h, KH, SH, DH); r <= r1; ++r)
      for (int c = last_window(w, SW, OW); c >= c0; --c) {
        const size_t o = image + (r * OW + c) * pitch + i;
        if (place[o] == me) sum += dy[o];
      }
  }
  dx[at] = from != nullptr ? from[at] + sum : sum;
}
