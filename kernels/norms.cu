// norms: of x - x0 of every row the largest |x - x0|, √Σ(x - x0)², and how many pixels differ.
//
// norms is [rows], laid out as attack.Norms. x is [rows, width], of which inputs count. Row r is
// image r / E of x0 [images, width]. Differences and sums are in float64 in the order of
// warp_sum.cuh, and the results are rounded once, so that they have the CPU's bits. One warp makes
// a row, and a block has 8 rows.
//
// Launch: gpu/norms.go. On the CPU: cpu/slots.go.
#include "warp_sum.cuh"

struct Norms {
  float linf, l2;
  int l0;
};

extern "C" __global__ void __launch_bounds__(256)
norms(Norms *__restrict__ norms, const float *__restrict__ x, const float *__restrict__ x0, int rows, int E, int inputs, int width) {
  const int r = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (r >= rows) return;
  x += (size_t)r * width;
  x0 += (size_t)(r / E) * width;
  double top = 0.0, squares = 0.0;
  int differ = 0;
  for (int p = lane; p < inputs; p += 32) {
    const double delta = __dadd_rn(x[p], -(double)x0[p]);
    top = fmax(top, fabs(delta));
    squares = __dadd_rn(squares, __dmul_rn(delta, delta));
    differ += x[p] != x0[p];
  }
  for (int h = 16; h > 0; h /= 2) {
    top = fmax(top, __shfl_xor_sync(FULL_WARP, top, h));
    differ += __shfl_xor_sync(FULL_WARP, differ, h);
  }
  squares = warp_sum(squares);
  if (lane == 0) norms[r] = {(float)top, (float)sqrt(squares), differ};
}
