// ahead: y = x + size·decay·m, where Nesterov's step takes the gradient. It is not projected.
//
// y is [rows, width] of the chunk. x and m are [batch rows, width]. Row r of the batch,
// first <= r < first + rows, is image r / E at eps[r % E]. Its size is size[r] if by_row, and else
// size[r % E]. The size is 0 where eps is 0. The result is computed in float64 and rounded once, so
// that it has the CPU's bits. One warp makes a row, and a block has 8 rows.
//
// Truth: internal/ref Step. Launch and use: gpu/general.go. On the CPU: cpu/general.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
ahead(float *__restrict__ y, const float *__restrict__ x, const float *__restrict__ m, const float *__restrict__ size, const float *__restrict__ eps,
      double decay, int by_row, int first, int rows, int E, int width) {
  const int k = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (k >= rows) return;
  const int r = first + k, e = r % E;
  y += (size_t)k * width;
  x += (size_t)r * width;
  m += (size_t)r * width;
  const double c = eps[e] == 0.f ? 0.0 : __dmul_rn(size[by_row ? r : e], decay);
  for (int p = lane; p < width; p += 32) y[p] = (float)__dadd_rn(x[p], __dmul_rn(c, m[p]));
}
