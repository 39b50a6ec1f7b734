// move: z = project(x + size·(v/by)). With inertia z ← project(x + alpha·(z - x) + (1 - alpha)·(x -
// old)), and old ← x. Then x ← z.
//
// Row r of the batch, first <= r < first + rows, is image r / E of x0 [images, width] at
// eps[r % E]. It stays as it is where that is 0. Its size is size[r] if by_row, and else
// size[r % E]. x and old are [batch rows, width], and old is null without inertia. by [rows] is of
// the chunk. Row k of the chunk takes row k / share of v [rows / share, width]. If signs, v counts
// as its sign, with sign(0) = 0. inputs of a row count, and the padding stays.
//
// project does nothing unless bounded. Else it clamps to [x0 - eps, x0 + eps] and to [lo, hi]. If
// l2 it takes x0 + (z - x0)·eps/‖z - x0‖₂ where that norm exceeds eps, and then clamps to [lo, hi].
// lo and hi may be infinite.
//
// Moves are in float64, each rounded once, and sums are in the order of warp_sum.cuh, so that all
// has the CPU's bits. z is made again rather than stored. One warp makes a row, and a block has 8
// rows.
//
// Croce and Hein 2020, arXiv:2003.01690, section 3.1.
// Truth: internal/ref Step. Launch and use: gpu/general.go. On the CPU: cpu/general.go.
#include "warp_sum.cuh"

// A Ball is what a row is projected to.
struct Ball {
  float eps, lo, hi;
  bool bounded, l2;

  // shrink is what z - x0 of the given norm is multiplied by, 1 where it is left alone.
  __device__ __forceinline__ double shrink(double norm) const { return norm > eps ? eps / norm : 1.0; }

  __device__ __forceinline__ float project(float z, float clean, double by) const {
    if (!bounded) return z;
    if (!l2) return fminf(fminf(fmaxf(fmaxf(z, __fsub_rn(clean, eps)), lo), __fadd_rn(clean, eps)), hi);
    if (by < 1.0) z = (float)__dadd_rn(clean, __dmul_rn(by, __dadd_rn(z, -(double)clean)));
    return fminf(fmaxf(z, lo), hi);
  }
};

// quotient is s / divisor, rounded to nearest, given the rounded 1 / divisor. The plain one is a
// call, around which registers spill. This is within 2 units in the last place at first, within one
// after the first correction, and right after the second: Markstein 1990, doi:10.1147/rd.341.0111.
// Floats and their norms neither overflow here nor vanish.
__device__ __forceinline__ double quotient(double s, double divisor, double reciprocal) {
  double q = __dmul_rn(s, reciprocal);
  q = __fma_rn(__fma_rn(-q, divisor, s), reciprocal, q);
  return __fma_rn(__fma_rn(-q, divisor, s), reciprocal, q);
}

// distance is ‖z - x0‖₂ for z = f(p).
template <class F> __device__ __forceinline__ double distance(F f, const float *x0, int lane, int inputs) {
  double squares = 0.0;
  for (int p = lane; p < inputs; p += 32) {
    const double delta = __dadd_rn(f(p), -(double)x0[p]);
    squares = __dadd_rn(squares, __dmul_rn(delta, delta));
  }
  return sqrt(warp_sum(squares));
}

extern "C" __global__ void __launch_bounds__(256)
move(float *__restrict__ x, float *__restrict__ old, const float *__restrict__ x0, const float *__restrict__ v, const double *__restrict__ by,
     const float *__restrict__ size, const float *__restrict__ eps, double alpha, float lo, float hi, int bounded, int l2, int signs, int by_row, int share,
     int first, int rows, int E, int inputs, int width) {
  const int k = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (k >= rows) return;
  const int r = first + k, e = r % E;
  const Ball ball = {eps[e], lo, hi, bounded != 0, l2 != 0};
  if (ball.eps == 0.f) return;
  x += (size_t)r * width;
  x0 += (size_t)(r / E) * width;
  v += (size_t)(k / share) * width;
  if (old != nullptr) old += (size_t)r * width;
  const double length = size[by_row ? r : e], divisor = by[k], reciprocal = 1.0 / divisor;
  const auto step = [&](int p) {
    const double s = signs ? (float)((v[p] > 0.f) - (v[p] < 0.f)) : v[p];
    return (float)__dadd_rn(x[p], __dmul_rn(length, divisor == 1.0 ? s : quotient(s, divisor, reciprocal)));
  };
  double shrink = 1.0;
  if (bounded && l2) shrink = ball.shrink(distance(step, x0, lane, inputs));
  const auto inert = [&](int p) {
    const double f = x[p], z = ball.project(step(p), x0[p], shrink);
    return (float)__dadd_rn(__dadd_rn(f, __dmul_rn(alpha, __dadd_rn(z, -f))), __dmul_rn(1.0 - alpha, __dadd_rn(f, -(double)old[p])));
  };
  if (old == nullptr) {
    for (int p = lane; p < inputs; p += 32) x[p] = ball.project(step(p), x0[p], shrink);
    return;
  }
  double again = 1.0;
  if (bounded && l2) again = ball.shrink(distance(inert, x0, lane, inputs));
  for (int p = lane; p < inputs; p += 32) {
    const float z = ball.project(inert(p), x0[p], again), before = x[p];
    old[p] = before;
    x[p] = z;
  }
}
