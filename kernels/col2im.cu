// col2im: the gradient at the input of a convolution from that at the matrix of im2col, each element the sum over all
// windows that it is in:
//
//	dx[image, i, h, w] = from[image, i, h, w] + Σ_{r, c} a[(image, r, c), (i, h + top - r·SH, w + left - c·SW)].
//
// The sum runs over r and within it over c, rising, whatever else there is. dx, from [images, stride], of which inputs = C·H·W
// count; dx is 0 in the padding. from is null for 0, or may be dx. a [images·OH·OW, width]. One thread an element, grid
// (⌈stride/256⌉, images). Bound by memory: what a thread leaves of the sectors of a that it reads, its neighbours take from cache.
//
// Truth: internal/ref conv2D. Launch: gpu/conv.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
col2im(float *dx, const float *from, const float *__restrict__ a, int inputs, int stride, WINDOW, int width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= stride) return;
  const size_t at = (size_t)blockIdx.y * stride + t;
  if (t >= inputs) {
    dx[at] = 0.f;
    return;
  }
  const int i = t / (H * W), h = t / W % H + top, w = t % W + left;
  const int r1 = last_window(h, SH, OH), c1 = last_window(w, SW, OW);
  float sum = 0.f;
  for (int r = first_window(h, KH, SH); r <= r1; ++r)
    for (int c = first_window(w, KW, SW); c <= c1; ++c) {
      const int u = h - r * SH, v = w - c * SW;
      sum += a[((blockIdx.y * OH + r) * OW + c) * width + (i * KH + u) * KW + v];
    }
  dx[at] = from != nullptr ? from[at] + sum : sum;
}
