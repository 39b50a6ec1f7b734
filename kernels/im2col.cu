// im2col: the windows of a convolution as rows of a matrix, so that it becomes a product:
//
//	a[(image, r, c), (u, v, i)] = x[image, r·SH + u·DH - top, c·SW + v·DW - left, i],
//
// x being 0 outside of the image. With swapped the columns are (v, u, i). x is
// [images, H, W, pitch], of which C channels count. a is [rows, width] with rows = images·OH·OW. Of
// its columns depth = KH·KW·C count, and the others are 0. The backend keeps a under 2^32 elements.
//
// A block makes 16 columns of 128 rows, and a thread one element of every 16th row, so that it
// divides for its column only once. The grid is (width/16, ⌈rows/128⌉), and a block has 256
// threads. Bound by memory: an element is 4 bytes written. Reads are in runs of channels. They are
// KH·KW times the image, and come mostly from cache.
//
// Truth: internal/ref conv2D. Launch: gpu/conv.go. On the CPU: cpu/im2col.go.
#include "window.cuh"

extern "C" __global__ void __launch_bounds__(256)
im2col(float *__restrict__ a, const float *__restrict__ x, int rows, int C, int pitch, WINDOW, int swapped, int depth, int width) {
  const int k = blockIdx.x * 16 + threadIdx.x % 16;
  const int i = k % C, u = swapped ? k / C % KH : k / C / KW, v = swapped ? k / C / KH : k / C % KW;
  const int end = min(rows, (int)(blockIdx.y + 1) * 128);
  for (int row = blockIdx.y * 128 + threadIdx.x / 16; row < end; row += 16) {
    const int image = row / (OH * OW), r = row / OW % OH, c = row % OW;
    const int h = r * SH + u * DH - top, w = c * SW + v * DW - left;
    const bool inside = k < depth && h >= 0 && h < H && w >= 0 && w < W;
    a[(unsigned)row * width + k] = inside ? x[(((size_t)image * H + h) * W + w) * pitch + i] : 0.f;
  }
}
