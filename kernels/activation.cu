// NAME_forward: y = f(x). NAME_backward: dx = from + dy·f'(x). Each row at the end of this file is
// an f.
//
// x, y, dx, dy and from are [rows, width], of pixels [pitch], of which C channels count. What is
// written is 0 in the others. from is null for 0, or may be dx. a and b are the function's
// parameters, as model's Function gives them, and 0 where it has fewer. A kink has the derivative
// that model says. One thread makes an element. The grid is (⌈width/blockDim.x⌉, rows).
//
// Functions of exp and its like are computed in float64 and rounded once, as on the CPU. In their
// formulas nothing cancels, so that a derivative keeps its first digits however small it is. They
// are bound by memory where float64 has half of float32's rate (A100, H100). On a GeForce, where it
// has 1/64, they are bound by arithmetic: the 50 to 100 operations of an element take as long as a
// product of some 4,000 terms.
//
// Truth: activations in internal/ref/layers.go. Launch: gpu/activation.go. On the CPU:
// cpu/elementwise.go.
#include "portable.cuh"

// sigmoid and its derivative s·(1 - s), which in that form would be 0 where s rounds to 1.
__device__ __forceinline__ double sigmoid(double x) {
  const double e = exp(-fabs(x));
  return (x < 0.0 ? e : 1.0) / (1.0 + e);
}
__device__ __forceinline__ double sigmoid_slope(double x) {
  const double e = exp(-fabs(x));
  return e / ((1.0 + e) * (1.0 + e));
}

// times is x·v, and 0 at v = 0 even if x is infinite.
__device__ __forceinline__ double times(double x, double v) { return v == 0.0 ? 0.0 : x * v; }

// GELU is x·Φ(x), with the derivative Φ(x) + x·φ(x).
__device__ __forceinline__ double gelu(double x) { return times(x, erfc(-x / 1.4142135623730950488) / 2.0); }
__device__ __forceinline__ double gelu_slope(double x) {
  return erfc(-x / 1.4142135623730950488) / 2.0 + times(x, exp(-x * x / 2.0) / 2.5066282746310005024);
}

// Its other form is x·sigmoid(2u(x)), u = √(2/π)·(x + 0.044715·x³).
__device__ __forceinline__ double gelu_gate(double x) { return 1.5957691216057307118 * x * (1.0 + 0.044715 * x * x); }
__device__ __forceinline__ double gelu_tanh_slope(double x) {
  const double u = gelu_gate(x);
  return sigmoid(u) + times(x * 1.5957691216057307118 * (1.0 + 0.134145 * x * x), sigmoid_slope(u));
}

// SiLU is x·s(x), s the sigmoid, with the derivative s(x)·(1 + x·s(-x)).
__device__ __forceinline__ double silu_slope(double x) { return times(1.0 + times(x, sigmoid(-x)), sigmoid(x)); }

// hardswish is x·(x + 3)/6 between -3 and 3, and x above. A NaN takes the first way.
__device__ __forceinline__ double hardswish(double x) { return x <= -3.0 ? 0.0 : x >= 3.0 ? x : x * (x + 3.0) / 6.0; }
__device__ __forceinline__ double hardswish_slope(double x) { return x <= -3.0 ? 0.0 : x >= 3.0 ? 1.0 : (2.0 * x + 3.0) / 6.0; }

// Mish is x·g(x), g = tanh(log(1 + exp(x))) = (1 + 2e)/(1 + 2e + 2e²) with e = exp(-x). Below 0 it
// is the same in exp(x). The derivative is g + x·g', and g' has no difference either.
__device__ __forceinline__ double mish_gate(double x) {
  const double e = exp(-fabs(x));
  return x < 0.0 ? e * (e + 2.0) / (e * (e + 2.0) + 2.0) : (1.0 + 2.0 * e) / (1.0 + 2.0 * e * (1.0 + e));
}
__device__ __forceinline__ double mish_slope(double x) {
  const double e = exp(-fabs(x)), d = x < 0.0 ? e * (e + 2.0) + 2.0 : 1.0 + 2.0 * e * (1.0 + e);
  return mish_gate(x) + times(x, 4.0 * (x < 0.0 ? e : e * e) * (1.0 + e) / (d * d));
}

// softplus is log(1 + exp(x)), with the sigmoid as its derivative.
__device__ __forceinline__ double softplus(double x) { return (x < 0.0 ? 0.0 : x) + log1p(exp(-fabs(x))); }

// softsign is x/(1 + |x|), and ±1 at infinity.
__device__ __forceinline__ double softsign(double x) { return fabs(x) == INFINITY ? copysign(1.0, x) : x / (1.0 + fabs(x)); }

// F and D are f and dy·f' of floats x and dy. A NaN of x is not masked, so that the logits and the
// gradient tell.
#define ACTIVATION(NAME, F, D)                                                                                                   \
  extern "C" __global__ void __launch_bounds__(256)                                                                              \
      NAME##_forward(float *__restrict__ y, const float *__restrict__ xs, float a, float b, int C, int pitch, int width) {        \
    const int t = blockIdx.x * blockDim.x + threadIdx.x;                                                                         \
    if (t >= width) return;                                                                                                      \
    const size_t at = (size_t)blockIdx.y * width + t;                                                                            \
    const float x = xs[at];                                                                                                      \
    y[at] = t % pitch < C ? (F) : 0.f;                                                                                           \
  }                                                                                                                              \
  extern "C" __global__ void __launch_bounds__(256)                                                                              \
      NAME##_backward(float *dx, const float *from, const float *__restrict__ dys, const float *__restrict__ xs, float a, float b, int C, \
                      int pitch, int width) {                                                                                               \
    const int t = blockIdx.x * blockDim.x + threadIdx.x;                                                                         \
    if (t >= width) return;                                                                                                      \
    const size_t at = (size_t)blockIdx.y * width + t;                                                                            \
    const float x = xs[at], dy = dys[at];                                                                                        \
    const float d = t % pitch < C ? (D) : 0.f;                                                                                   \
    dx[at] = from != nullptr ? __fadd_rn(from[at], d) : d;                                                                       \
  }

ACTIVATION(relu, x <= 0.f ? 0.f : x, x <= 0.f ? 0.f : dy)
ACTIVATION(leaky_relu, x > 0.f ? x : __fmul_rn(a, x), x > 0.f ? dy : __fmul_rn(a, dy))
ACTIVATION(sigmoid, (float)sigmoid(x), (float)(sigmoid_slope(x) * dy))
ACTIVATION(tanh, (float)tanh((double)x), (float)(4.0 * sigmoid_slope(2.0 * x) * dy))
ACTIVATION(gelu, (float)gelu(x), (float)(gelu_slope(x) * dy))
ACTIVATION(gelu_tanh, (float)times(x, sigmoid(gelu_gate(x))), (float)(gelu_tanh_slope(x) * dy))
ACTIVATION(silu, (float)times(x, sigmoid(x)), (float)(silu_slope(x) * dy))
ACTIVATION(hardswish, (float)hardswish(x), (float)(hardswish_slope(x) * dy))
ACTIVATION(mish, (float)times(x, mish_gate(x)), (float)(mish_slope(x) * dy))
ACTIVATION(softplus, (float)softplus(x), (float)(sigmoid(x) * dy))
ACTIVATION(softsign, (float)softsign(x), (float)(1.0 / (1.0 + fabs((double)x)) / (1.0 + fabs((double)x)) * dy))
ACTIVATION(abs, fabsf(x), x == 0.f ? 0.f : x < 0.f ? -dy : dy)
ACTIVATION(exp, (float)exp((double)x), (float)(exp((double)x) * dy))
ACTIVATION(log, (float)log((double)x), (float)(1.0 / (double)x * dy))
ACTIVATION(sqrt, __fsqrt_rn(x), (float)(0.5 / sqrt((double)x) * dy))
ACTIVATION(reciprocal, __fdiv_rn(1.f, x), (float)(-1.0 / ((double)x * x) * dy))
ACTIVATION(erf, (float)erf((double)x), (float)(1.1283791670955125739 * exp(-(double)x * x) * dy))
ACTIVATION(sin, (float)sin((double)x), (float)(cos((double)x) * dy))
ACTIVATION(cos, (float)cos((double)x), (float)(-sin((double)x) * dy))
ACTIVATION(clip, x < a ? a : x > b ? b : x, x <= a || x >= b ? 0.f : dy)
ACTIVATION(round_clip, rintf(x) < a ? a : rintf(x) > b ? b : rintf(x), rintf(x) < a || rintf(x) > b ? 0.f : dy)
ACTIVATION(elu, x > 0.f ? x : (float)(a * expm1((double)b * x)), x > 0.f ? dy : (float)((double)a * b * exp((double)b * x) * dy))
ACTIVATION(thresholded_relu, x <= a ? 0.f : x, x <= a ? 0.f : dy)
ACTIVATION(pow, (float)pow((double)x, (double)a), (float)(times(pow((double)x, a - 1.0), a) * dy))
