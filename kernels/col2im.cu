// col2im: the gradient at the input of a convolution, from that at the matrix of im2col. Each
// element is the sum over all windows that it is in:
//
//	dx[image, h, w, i] = from[image, h, w, i]
//		+ Σ_{r, c} a[(image, r, c), ((h + top - r·SH)/DH, (w + left - c·SW)/DW, i)],
//
// of those r and c for which both are whole. The sum runs over r, rising, and within that over c,
// rising, whatever else there is. dx and from are [images, H, W, pitch], of which C channels count.
// dx is 0 in the others. from is null for 0, or may be dx. a is [images·OH·OW, width], with the
// columns of im2col. One thread makes an element. The grid is (⌈H·W·pitch/blockDim.x⌉, images). Bound
// by memory, along runs of channels.
//
// Truth: internal/ref conv2D. Launch: gpu/conv.go. On the CPU: col2im in cpu/im2col.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
col2im(float *dx, const float *from, const float *__restrict__ a, int C, int pitch, WINDOW, int swapped, int width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= H * W * pitch) return;
  const size_t at = (size_t)blockIdx.y * H * W * pitch + t;
  const int i = t % pitch, h = t / pitch / W + top, w = t / pitch % W + left;
  float sum = 0.f;
  if (i < C) {
    const int r1 = last_window(h, SH, OH), c1 = last_window(w, SW, OW);
    for (int r = first_window(h, KH, SH, DH); r <= r1; ++r)
      for (int c = first_window(w, KW, SW, DW); c <= c1; ++c) {
        const int u = place_of(h - r * SH, DH), v = place_of(w - c * SW, DW);
        if (u < 0 || v < 0) continue;
        sum += a[((blockIdx.y * OH + r) * OW + c) * width + (swapped ? v * KH + u : u * KW + v) * C + i];
      }
  }
  dx[at] = from != nullptr ? from[at] + sum : sum;
}
