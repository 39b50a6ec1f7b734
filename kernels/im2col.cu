// im2col: the windows of a convolution as rows of a matrix, so that it becomes a product:
//
//	a[(image, r, c), (u, v, i)] = x[image, r·SH + u - top, c·SW + v - left, i], 0 outside of the image.
//
// With swapped the columns are (v, u, i). x is [images, H, W, pitch], of which C channels count; a [rows, width], rows = images·OH·OW, of
// which depth = KH·KW·C columns count and the others are 0.
//
// A block makes 16 columns of 128 rows, a thread one of every 16th row: it divides for its column once. Grid (width/16, ⌈rows/128⌉), 256
// threads. The backend keeps a under 2^32 elements. Bound by memory: 4 bytes written an element; reads are in runs of channels and,
// KH·KW times the image, mostly from cache.
//
// Truth: internal/ref conv2D. Launch: gpu/conv.go. On the CPU: windows in cpu/windows.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
im2col(float *__restrict__ a, const float *__restrict__ x, int rows, int C, int pitch, WINDOW, int swapped, int depth, int width) {
  const int k = blockIdx.x * 16 + threadIdx.x % 16;
  const int i = k % C, u = swapped ? k / C % KH : k / C / KW, v = swapped ? k / C / KH : k / C % KW;
  const int end = min(rows, (int)(blockIdx.y + 1) * 128);
  for (int row = blockIdx.y * 128 + threadIdx.x / 16; row < end; row += 16) {
    const int image = row / (OH * OW), r = row / OW % OH, c = row % OW;
    const int h = r * SH + u - top, w = c * SW + v - left;
    const bool inside = k < depth && h >= 0 && h < H && w >= 0 && w < W;
    a[(unsigned)row * width + k] = inside ? x[(((size_t)image * H + h) * W + w) * pitch + i] : 0.f;
  }
}
