// max_pool_forward: y = the largest element of each window, and place, which it is: the first of them by rows. max_pool_backward:
// dx = from + the sum of dy over the windows whose largest an element is, by rows.
//
// x [rows, in_width] of channels [H, W], y [rows, out_width] of channels [OH, OW], place [rows, out_width] the index h·W + w in the channel.
// inputs and outputs are the elements that count; y and dx are 0 in the padding, where place is not written. A NaN is larger than all, so
// that the logits tell. dx, from as x; from is null for 0, or may be dx. One thread an element, grid (⌈width/blockDim.x⌉, rows).
//
// Truth: internal/ref maxPool. Launch: gpu/network.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
max_pool_forward(float *__restrict__ y, int *__restrict__ place, const float *__restrict__ x, int in_width, WINDOW, int outputs, int out_width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= out_width) return;
  const size_t at = (size_t)blockIdx.y * out_width + t;
  if (t >= outputs) {
    y[at] = 0.f;
    return;
  }
  const int r = t / OW % OH, c = t % OW, h0 = r * SH - top, w0 = c * SW - left;
  x += (size_t)blockIdx.y * in_width + (size_t)(t / (OH * OW)) * H * W;
  float best = 0.f;
  int first = -1;
  for (int h = max(h0, 0); h < min(h0 + KH, H); ++h)
    for (int w = max(w0, 0); w < min(w0 + KW, W); ++w) {
      const float v = x[h * W + w];
      if (first < 0 || v > best || (v != v && best == best)) best = v, first = h * W + w;
    }
  y[at] = best;
  place[at] = first;
}

extern "C" __global__ void __launch_bounds__(256)
max_pool_backward(float *dx, const float *from, const float *__restrict__ dy, const int *__restrict__ place, int inputs, int in_width, WINDOW, int out_width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= in_width) return;
  const size_t at = (size_t)blockIdx.y * in_width + t;
  float sum = 0.f;
  if (t < inputs) {
    const int h = t / W % H + top, w = t % W + left, me = t % (H * W);
    const int r1 = last_window(h, SH, OH), c1 = last_window(w, SW, OW);
    const size_t channel = (size_t)blockIdx.y * out_width + (size_t)(t / (H * W)) * OH * OW;
    for (int r = first_window(h, KH, SH); r <= r1; ++r)
      for (int c = first_window(w, KW, SW); c <= c1; ++c)
        if (place[channel + r * OW + c] == me) sum += dy[channel + r * OW + c];
  }
  dx[at] = from != nullptr ? from[at] + sum : sum;
}
