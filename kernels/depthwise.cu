// depthwise_forward: y = b + Σ w·x of a convolution of each channel with a filter of its own, then ReLU
// if relu. depthwise_backward: dx = from + the sum of w·dy over all windows that an element is in.
//
// x, dx and from are [rows, H, W, pitch], and y and dy are [rows, OH, OW, pitch], of which C channels
// count. What is written is 0 in the others. from is null for 0, or may be dx. w is [KH·KW, pitch],
// and b is [pitch].
//
// A product is rounded before it is added, as on the CPU. Forward a sum runs from b over u and v,
// rising. Backward it runs from 0 over r, rising, and within that over c, falling, as in pools. One
// thread makes an element of what is written. The grid is (⌈elements/blockDim.x⌉, rows). Bound by
// memory.
//
// Truth: internal/ref conv2D. Launch: gpu/depthwise.go. On the CPU: cpu/depthwise.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
depthwise_forward(float *__restrict__ y, const float *__restrict__ x, const float *__restrict__ w, const float *__restrict__ b, int C, int pitch, WINDOW,
                  int relu) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= OH * OW * pitch) return;
  const int i = t % pitch, h0 = t / pitch / OW * SH - top, w0 = t / pitch % OW * SW - left;
  x += (size_t)blockIdx.y * H * W * pitch;
  float sum = 0.f;
  if (i < C) {
    sum = b[i];
    for (int u = 0; u < KH; ++u)
      for (int v = 0; v < KW; ++v) {
        const int h = h0 + u * DH, s = w0 + v * DW;
        if (h < 0 || h >= H || s < 0 || s >= W) continue;
        sum = __fadd_rn(sum, __fmul_rn(w[(u * KW + v) * pitch + i], x[(h * W + s) * pitch + i]));
      }
    if (relu && sum < 0.f) sum = 0.f;  // NaN stays
  }
  y[(size_t)blockIdx.y * OH * OW * pitch + t] = sum;
}

extern "C" __global__ void __launch_bounds__(256, 4)
depthwise_backward(float *dx, const float *from, const float *__restrict__ dy, const float *__restrict__ w, int C, int pitch, WINDOW) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= H * W * pitch) return;
  const size_t at = (size_t)blockIdx.y * H * W * pitch + t;
  const int i = t % pitch, h = t / pitch / W + top, s = t / pitch % W + left;
  dy += (size_t)blockIdx.y * OH * OW * pitch;
  float sum = 0.f;
  if (i < C) {
    const int r1 = last_window(h, SH, OH), c0 = first_window(s, KW, SW, DW);
    for (int r = first_window(h, KH, SH, DH); r <= r1; ++r)
      for (int c = last_window(s, SW, OW); c >= c0; --c) {
        const int u = place_of(h - r * SH, DH), v = place_of(s - c * SW, DW);
        if (u < 0 || v < 0) continue;
        sum = __fadd_rn(sum, __fmul_rn(w[(u * KW + v) * pitch + i], dy[(r * OW + c) * pitch + i]));
      }
  }
  dx[at] = from != nullptr ? __fadd_rn(from[at], sum) : sum;
}
