// im2col: the windows of a convolution as rows of a matrix, so that it becomes a product:
//
//	a[(image, r, c), (i, u, v)] = x[image, i, r·SH + u - top, c·SW + v - left], 0 outside of the image.
//
// x [images, stride] of C·H·W that count, a [rows, width], rows = images·OH·OW, of which depth = C·KH·KW count; a is 0 in the padding.
// k = (i, u, v) is the order in which a filter lies in memory, so that the product adds it up as plain loops would.
//
// A block makes 16 columns of 128 rows, a thread one of every 16th: it divides for its column once. Grid (width/16, ⌈rows/128⌉),
// 256 threads. The backend keeps a under 2^32 elements. Bound by memory: 4 bytes written an element, which is read KH·KW times, from cache.
//
// Truth: internal/ref conv2D. Launch: gpu/conv.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
im2col(float *__restrict__ a, const float *__restrict__ x, int rows, int stride, WINDOW, int depth, int width) {
  const int k = blockIdx.x * 16 + threadIdx.x % 16;
  const int i = k / (KH * KW), u = k / KW % KH, v = k % KW;
  const int end = min(rows, (int)(blockIdx.y + 1) * 128);
  for (int row = blockIdx.y * 128 + threadIdx.x / 16; row < end; row += 16) {
    const int image = row / (OH * OW), r = row / OW % OH, c = row % OW;
    const int h = r * SH + u - top, w = c * SW + v - left;
    const bool inside = k < depth && h >= 0 && h < H && w >= 0 && w < W;
    a[(unsigned)row * width + k] = inside ? x[(size_t)image * stride + ((size_t)i * H + h) * W + w] : 0.f;
  }
}
