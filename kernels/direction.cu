// direction: what a step needs to know of its gradient g. Is it zero, is it finite, what is its
// norm? It also moves the momentum: m ← decay·m + g/mean|g|, or m ← decay·m where g is 0 in every
// pixel.
//
// Row k of the chunk has gradient k / share of g [rows / share, width]. share is E where all eps of
// an image have one gradient, and else 1. m is [batch rows, width], or null for a step without
// momentum. inputs of a row count, and the padding of m stays as it is.
//
// zero[k] of the chunk is set to 1 where g is 0 in every pixel, and else left as it is. broken
// becomes the least image + (first + k) / E of a row in which g or m is not finite, if that is less
// than it was. by [rows] is what move divides by. It is 1, or if l2 ‖m‖₂ where that is not 0.
// Without momentum that is ‖g‖₂.
//
// Sums are in float64 in the order of warp_sum.cuh, so that they have the CPU's bits. One warp
// makes a row, and a block has 8 rows.
//
// Dong et al. 2018, arXiv:1710.06081, with the mean of |g| as in its published code.
// Truth: internal/ref Step. Launch and use: gpu/general.go. On the CPU: cpu/norms.go.
#include "warp_sum.cuh"

extern "C" __global__ void __launch_bounds__(256)
direction(double *__restrict__ by, float *__restrict__ m, unsigned char *__restrict__ zero, int *__restrict__ broken, const float *__restrict__ g,
          double decay, int l2, int share, int image, int first, int rows, int E, int inputs, int width) {
  const int k = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (k >= rows) return;  // whole warps leave together
  g += (size_t)(k / share) * width;
  bool some = false, finite = true;
  double size = 0.0, squares = 0.0;
  for (int p = lane; p < inputs; p += 32) {
    const float v = g[p];
    some |= v != 0.f;
    finite &= v - v == 0.f;
    size = __dadd_rn(size, fabs((double)v));
    squares = __dadd_rn(squares, __dmul_rn(v, v));
  }
  some = __any_sync(FULL_WARP, some);
  if (m != nullptr) {
    m += (size_t)(first + k) * width;
    const double mean = warp_sum(size) / inputs;
    squares = 0.0;
    for (int p = lane; p < inputs; p += 32) {
      double next = __dmul_rn(decay, m[p]);
      if (some) next = __dadd_rn(next, g[p] / mean);
      const float v = (float)next;
      finite &= v - v == 0.f;
      squares = __dadd_rn(squares, __dmul_rn(v, v));
      m[p] = v;
    }
  }
  finite = __all_sync(FULL_WARP, finite);
  squares = warp_sum(squares);
  if (lane != 0) return;
  if (!some) zero[k] = 1;
  if (!finite) atomicMin(broken, image + (first + k) / E);
  by[k] = l2 && squares != 0.0 ? sqrt(squares) : 1.0;
}
