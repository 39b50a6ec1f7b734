// grouped_conv_forward: y = from + b + Σ w·x of a convolution whose channels and filters are in groups,
// then ReLU if relu. A filter of group g takes the depth channels of group g, and a group has so many
// filters. grouped_conv_backward: dx = from + the sum over all windows that an element is in, each of
// Σ_o w·dy over the filters o of the group.
//
// x, dx and from backward are [rows, H, W, x_pitch]. y, dy and from forward are [rows, OH, OW, y_pitch].
// Of the channels groups·depth and groups·filters count. What is written is 0 in the others. from is
// null for 0, or may be what is written. w is [KH·KW·depth, y_pitch]: row (u·KW + v)·depth + c has the
// weight of every filter for channel c of its group at (u, v). b is [y_pitch].
//
// Forward a number is one chain of fused multiply-adds from b over u, v and c, rising. Backward each
// window's is one over o from 0, and these are added over r and c, rising. Both are the CPU's orders.
//
// One thread makes an element of what is written. The grid is (⌈elements/blockDim.x⌉, rows). Bound by
// the cache, as each multiply-add reads two numbers: groups of many channels would be faster as
// products. depthwise.cu has one filter for each channel.
//
// Truth: internal/ref conv2D. Launch: gpu/grouped.go. On the CPU: cpu/im2col.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256, 4)
grouped_conv_forward(float *y, const float *from, const float *__restrict__ x, const float *__restrict__ w, const float *__restrict__ b, int x_pitch,
                     int y_pitch, int groups, int depth, int filters, WINDOW, int relu) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= OH * OW * y_pitch) return;
  const size_t at = (size_t)blockIdx.y * OH * OW * y_pitch + t;
  const int o = t % y_pitch, h0 = t / y_pitch / OW * SH - top, w0 = t / y_pitch % OW * SW - left;
  float sum = 0.f;
  if (o < groups * filters) {
    x += (size_t)blockIdx.y * H * W * x_pitch + o / filters * depth;
    sum = b[o];
    for (int u = 0; u < KH; ++u)
      for (int v = 0; v < KW; ++v) {
        const int h = h0 + u * DH, s = w0 + v * DW;
        if (h < 0 || h >= H || s < 0 || s >= W) continue;
        const float *in = x + (h * W + s) * x_pitch, *weight = w + (size_t)(u * KW + v) * depth * y_pitch + o;
        for (int c = 0; c < depth; ++c) sum = fmaf(in[c], weight[(size_t)c * y_pitch], sum);
      }
    if (relu && sum < 0.f) sum = 0.f;  // NaN stays
    if (from != nullptr) sum = __fadd_rn(from[at], sum);
  }
  y[at] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
grouped_conv_backward(float *dx, const float *from, const float *__restrict__ dy, const float *__restrict__ w, int x_pitch, int y_pitch, int groups,
                      int depth, int filters, WINDOW) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= H * W * x_pitch) return;
  const size_t at = (size_t)blockIdx.y * H * W * x_pitch + t;
  const int i = t % x_pitch, h = t / x_pitch / W + top, s = t / x_pitch % W + left;
  float sum = 0.f;
  if (i < groups * depth) {
    const int first = i / depth * filters;
    dy += (size_t)blockIdx.y * OH * OW * y_pitch + first;
    const int r1 = last_window(h, SH, OH), c1 = last_window(s, SW, OW);
    for (int r = first_window(h, KH, SH, DH); r <= r1; ++r)
      for (int c = first_window(s, KW, SW, DW); c <= c1; ++c) {
        const int u = place_of(h - r * SH, DH), v = place_of(s - c * SW, DW);
        if (u < 0 || v < 0) continue;
        const float *out = dy + (r * OW + c) * y_pitch, *weight = w + (size_t)((u * KW + v) * depth + i % depth) * y_pitch + first;
        float term = 0.f;
        for (int o = 0; o < filters; ++o) term = fmaf(out[o], weight[o], term);
        sum = __fadd_rn(sum, term);
      }
    if (from != nullptr) sum = __fadd_rn(from[at], sum);
  }
  dx[at] = sum;
}
