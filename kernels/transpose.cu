// transpose: y[image] = x[image]ᵀ. As images are loaded their rows are channels. As layers take
// them their rows are pixels.
//
// x is [images, x_stride], each of rows × cols elements in rows of x_pitch. y is
// [images, y_stride], each of cols rows of y_pitch, of which rows elements count. y is 0 behind
// them in every row, and behind the last row.
//
// A block moves a tile of 32 × 32 through shared memory, so that it reads and writes along rows.
// The grid is (⌈y_pitch/32⌉·⌈cols/32⌉, images), and a block has 256 threads. Bound by memory.
//
// Launch: gpu/network.go. On the CPU: ToNHWC and ToNCHW in internal/lower.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
transpose(float *__restrict__ y, const float *__restrict__ x, int rows, int cols, int x_pitch, int x_stride, int y_pitch, int y_stride) {
  __shared__ float tile[32][33];  // 33: a column is in 32 banks
  const int across = (y_pitch + 31) / 32, tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const int row0 = blockIdx.x % across * 32, col0 = blockIdx.x / across * 32;
  x += (size_t)blockIdx.y * x_stride;
  y += (size_t)blockIdx.y * y_stride;
  for (int i = ty; i < 32; i += 8) {
    const int row = row0 + i, col = col0 + tx;
    tile[i][tx] = row < rows && col < cols ? x[(size_t)row * x_pitch + col] : 0.f;
  }
  __syncthreads();
  for (int i = ty; i < 32; i += 8) {
    const int row = row0 + tx, col = col0 + i;
    if (row < y_pitch && col < cols) y[(size_t)col * y_pitch + row] = tile[tx][i];
  }
  if (blockIdx.x == 0)
    for (int t = cols * y_pitch + threadIdx.x; t < y_stride; t += 256) y[t] = 0.f;
}
