// NAME_forward: y = f(x), NAME_backward: dx = from + dy·f'(x), for the activations f of model/layers.go.
//
// x, y, dx, dy, from [rows, width], of which elements count; what is written is 0 in the padding. from is null for 0, or may be dx.
// slope is LeakyReLU's. At 0 ReLU's derivative is 0 and LeakyReLU's is slope. One thread an element, grid (⌈width/blockDim.x⌉, rows).
//
// All but ReLU and LeakyReLU are computed in float64 and rounded once, as on the CPU, by formulas in which nothing cancels: a derivative keeps
// its first digits however small it is. Bound by memory where float64 has half of float32's rate (A100, H100); on a GeForce,
// where it has 1/64, by arithmetic: the 50 to 100 operations of an element take as long as a product of some 4,000 terms.
//
// Truth: internal/ref activationOf. Launch: gpu/network.go.
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

// The two forms of GELU: Φ(x) with the density φ(x), and sigmoid(2u(x)), u = √(2/π)·(x + 0.044715·x³), with its derivative.
__device__ __forceinline__ double normal_below(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
__device__ __forceinline__ double normal_density(double x) { return exp(-0.5 * x * x) * 0.39894228040143267794; }
__device__ __forceinline__ double gelu_gate(double x) { return 1.5957691216057307117 * (x + 0.044715 * x * x * x); }
__device__ __forceinline__ double gelu_gate_slope(double x) { return 1.5957691216057307117 * (1.0 + 0.134145 * x * x); }

// F and D are f and dy·f' of float x and dy. A NaN of x is not masked, so that the logits and the gradient tell.
#define ACTIVATION(NAME, F, D)                                                                                                             \
  extern "C" __global__ void __launch_bounds__(256)                                                                                        \
      NAME##_forward(float *__restrict__ y, const float *__restrict__ xs, float slope, int elements, int width) {                           \
    const int t = blockIdx.x * blockDim.x + threadIdx.x;                                                                                   \
    if (t >= width) return;                                                                                                                \
    const size_t at = (size_t)blockIdx.y * width + t;                                                                                      \
    const float x = xs[at];                                                                                                                \
    y[at] = t < elements ? (F) : 0.f;                                                                                                      \
  }                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(256)                                                                                        \
      NAME##_backward(float *dx, const float *from, const float *__restrict__ dys, const float *__restrict__ xs, float slope, int elements, int width) { \
    const int t = blockIdx.x * blockDim.x + threadIdx.x;                                                                                   \
    if (t >= width) return;                                                                                                                \
    const size_t at = (size_t)blockIdx.y * width + t;                                                                                      \
    const float x = xs[at], dy = dys[at];                                                                                                  \
    const float d = t < elements ? (D) : 0.f;                                                                                              \
    dx[at] = from != nullptr ? from[at] + d : d;                                                                                           \
  }

ACTIVATION(relu, x < 0.f ? 0.f : x, x <= 0.f ? 0.f : dy)
ACTIVATION(leaky_relu, x > 0.f ? x : slope * x, x > 0.f ? dy : slope * dy)
ACTIVATION(sigmoid, (float)sigmoid(x), dy *(float)sigmoid_slope(x))
ACTIVATION(tanh, (float)tanh((double)x), dy *(float)(4.0 * sigmoid_slope(2.0 * x)))
ACTIVATION(gelu, (float)(x * normal_below(x)), dy *(float)(normal_below(x) + x * normal_density(x)))
ACTIVATION(gelu_tanh, (float)(x * sigmoid(gelu_gate(x))),
           dy *(float)(sigmoid(gelu_gate(x)) + x * sigmoid_slope(gelu_gate(x)) * gelu_gate_slope(x)))
