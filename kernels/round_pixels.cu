// round_pixels: x ← n/255, one of the 256 levels of 8-bit pixels, inside the row's ball.
//
// t is 1e-4. For Linf n is rint(255·x), clamped to [⌈255·(x0 - eps) - t⌉, ⌊255·(x0 + eps) + t⌋] and
// to [0, 255]. Where no level is in both, n is rint(255·x0). If l2, n is ⌊255·x⌋ or the level
// above, whichever is nearer to x0, and the first on a tie. Where rint(255·x) is within t of 255·x,
// n is that. It lies in [0, 255]. All is in float64. The division is that of pixels.cu.
//
// x is [rows, width], of which inputs count. Row r is image r / E of x0 [images, width] at
// eps[r % E]. One warp makes a row, and a block has 8 rows.
//
// Launch: gpu/round_pixels.go. On the CPU: cpu/slots.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
round_pixels(float *__restrict__ x, const float *__restrict__ x0, const float *__restrict__ eps, int l2, int rows, int E, int inputs, int width) {
  const int r = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (r >= rows) return;
  x += (size_t)r * width;
  x0 += (size_t)(r / E) * width;
  const double ball = eps[r % E], near = 1e-4;
  for (int p = lane; p < inputs; p += 32) {
    const double at = 255.0 * x[p], clean = 255.0 * x0[p];
    double n = rint(at), lo = 0.0, hi = 255.0;
    if (!l2) {
      lo = fmax(lo, ceil(255.0 * ((double)x0[p] - ball) - near));
      hi = fmin(hi, floor(255.0 * ((double)x0[p] + ball) + near));
      if (lo > hi) {
        n = rint(clean);
        lo = 0.0;
        hi = 255.0;
      }
    } else if (fabs(at - n) > near) {
      n = floor(at);
      if (fabs(n + 1.0 - clean) < fabs(n - clean)) n += 1.0;
    }
    x[p] = __fdiv_rn((float)fmin(fmax(n, lo), hi), 255.f);
  }
}
