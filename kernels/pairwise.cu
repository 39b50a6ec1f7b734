// pair_NAME_forward: y = f(a, b) of each pair of numbers. pair_NAME_backward: dx = from + the sum of
// dy·∂f/∂a over all pairs that a number of a is in, or of dy·∂f/∂b for a number of b. Each row at
// the end of this file is an f.
//
// y and dy are [rows, width], of pixels [pitch], W a row, of which C channels count. Where a is 1 in
// a dimension and y is not, the numbers of a are taken again along it: Strides has 0 there. dx and
// from have the shape of a, or of b with second, and Repeat says how often a number of that is
// taken. What is written is 0 in channels that do not count. from is null for 0, or may be dx.
//
// A sum runs from 0 over h, w and c of the output, in this order, each rising, as on the CPU. One
// thread makes an element of what is written. The grid is (⌈width/blockDim.x⌉, rows). Bound by
// memory, but for the gradient at a single number, which is one thread's sum over an image.
//
// Truth: internal/ref/pairwise.go. Launch: gpu/pairwise.go. On the CPU: cpu/pairwise.go.
#include "portable.cuh"

// Where a number lies that goes with channel c of pixel (h, w) of the output, in floats.
#define STRIDES(A) int A##_row, int A##_h, int A##_w, int A##_c
#define AT(A, h, w, c) ((size_t)blockIdx.y * A##_row + (h) * A##_h + (w) * A##_w + (c) * A##_c)

// F is f of floats a and b. DA and DB are dy·∂f/∂a and dy·∂f/∂b.
#define PAIR(NAME, F, DA, DB)                                                                                                    \
  extern "C" __global__ void __launch_bounds__(256)                                                                              \
      pair_##NAME##_forward(float *__restrict__ y, const float *as, const float *bs, STRIDES(a), STRIDES(b), int C, int pitch,   \
                            int W, int width) {                                                                                  \
    const int t = blockIdx.x * blockDim.x + threadIdx.x;                                                                         \
    if (t >= width) return;                                                                                                      \
    const int c = t % pitch, w = t / pitch % W, h = t / pitch / W;                                                               \
    float v = 0.f;                                                                                                               \
    if (c < C) {                                                                                                                 \
      const float a = as[AT(a, h, w, c)], b = bs[AT(b, h, w, c)];                                                                \
      v = (F);                                                                                                                   \
    }                                                                                                                            \
    y[(size_t)blockIdx.y * width + t] = v;                                                                                       \
  }                                                                                                                              \
  extern "C" __global__ void __launch_bounds__(256)                                                                              \
      pair_##NAME##_backward(float *dx, const float *from, const float *__restrict__ dys, const float *as, const float *bs,      \
                             STRIDES(a), STRIDES(b), STRIDES(y), int C, int pitch, int W, int width, int along_h, int along_w,   \
                             int along_c, int second) {                                                                          \
    const int t = blockIdx.x * blockDim.x + threadIdx.x;                                                                         \
    if (t >= width) return;                                                                                                      \
    const int c0 = t % pitch, w0 = t / pitch % W, h0 = t / pitch / W;                                                            \
    const size_t at = (size_t)blockIdx.y * width + t;                                                                            \
    float sum = 0.f;                                                                                                             \
    if (c0 < C) {                                                                                                                \
      as += AT(a, h0, w0, c0), bs += AT(b, h0, w0, c0), dys += AT(y, h0, w0, c0);                                                \
      _Pragma("unroll 1") /* unrolled, strides spill */                                                                          \
      for (int h = 0; h < along_h; ++h)                                                                                          \
        _Pragma("unroll 1")                                                                                                      \
        for (int w = 0; w < along_w; ++w)                                                                                        \
          _Pragma("unroll 1")                                                                                                    \
          for (int c = 0; c < along_c; ++c) {                                                                                    \
            const float a = as[h * a_h + w * a_w + c * a_c], b = bs[h * b_h + w * b_w + c * b_c];                                \
            const float dy = dys[h * y_h + w * y_w + c * y_c];                                                                   \
            (void)a, (void)b;                                                                                                    \
            sum = __fadd_rn(sum, second ? (DB) : (DA));                                                                          \
          }                                                                                                                      \
    }                                                                                                                            \
    dx[at] = from != nullptr ? __fadd_rn(from[at], sum) : sum;                                                                   \
  }

// A NaN is larger and smaller than all, so that the logits and the gradient tell.
PAIR(add, __fadd_rn(a, b), dy, dy)
PAIR(sub, __fsub_rn(a, b), dy, -dy)
PAIR(mul, __fmul_rn(a, b), __fmul_rn(dy, b), __fmul_rn(dy, a))
PAIR(div, __fdiv_rn(a, b), __fdiv_rn(dy, b), -__fdiv_rn(__fmul_rn(dy, __fdiv_rn(a, b)), b))
PAIR(max, a >= b || a != a ? a : b, a >= b || a != a ? dy : 0.f, a >= b || a != a ? 0.f : dy)
PAIR(min, a <= b || a != a ? a : b, a <= b || a != a ? dy : 0.f, a <= b || a != a ? 0.f : dy)
