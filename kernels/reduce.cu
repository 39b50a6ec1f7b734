// reduce_NAME_forward: y = one number of the C channels of a pixel. reduce_NAME_backward: dx = from +
// dy times the derivative. Each row at the end of this file is such a number.
//
// x, dx and from are [pixels, pitch], of which C channels count, and y and dy are [pixels, y_pitch],
// of which one counts. pixels are those of all rows. What is written is 0 in the others. from is
// null for 0, or may be dx.
//
// A sum runs from 0 over rising channels, as on the CPU, in float64 where it is of exponentials. A
// warp has a pixel. Its lanes read and write side by side, and each adds up all channels. The grid is
// ⌈pixels/8⌉, and a block has 256 threads. Bound by memory; on a GeForce logsumexp is by arithmetic.
//
// Truth: internal/ref reduce. Launch: gpu/reduce.go. On the CPU: cpu/reduce.go.
#include "channels.cuh"

// V is the number, given k = P of x [C]. D is dy times the derivative at channel c, given k = Q.
#define REDUCE(NAME, P, V, Q, D)                                                                                                 \
  extern "C" __global__ void __launch_bounds__(256)                                                                              \
      reduce_##NAME##_forward(float *__restrict__ y, const float *__restrict__ x, int C, int pitch, int y_pitch,                 \
                              long long pixels) {                                                                                \
    const long long pixel = (long long)blockIdx.x * 8 + threadIdx.x / 32;                                                        \
    if (pixel >= pixels) return;                                                                                                 \
    x += pixel * pitch;                                                                                                          \
    const auto k = (P);                                                                                                          \
    for (int c = threadIdx.x % 32; c < y_pitch; c += 32) y[pixel * y_pitch + c] = c == 0 ? (V) : 0.f;                            \
  }                                                                                                                              \
  extern "C" __global__ void __launch_bounds__(256)                                                                              \
      reduce_##NAME##_backward(float *dx, const float *from, const float *__restrict__ dys, const float *__restrict__ x, int C,  \
                               int pitch, int y_pitch, long long pixels) {                                                       \
    const long long pixel = (long long)blockIdx.x * 8 + threadIdx.x / 32;                                                        \
    if (pixel >= pixels) return;                                                                                                 \
    x += pixel * pitch;                                                                                                          \
    const float dy = dys[pixel * y_pitch];                                                                                       \
    const auto k = (Q);                                                                                                          \
    (void)k;                                                                                                                     \
    for (int c = threadIdx.x % 32; c < pitch; c += 32) {                                                                         \
      const long long at = pixel * pitch + c;                                                                                    \
      const float d = c < C ? (D) : 0.f;                                                                                         \
      dx[at] = from != nullptr ? __fadd_rn(from[at], d) : d;                                                                     \
    }                                                                                                                            \
  }

REDUCE(sum, channel_sum(x, C), k, 0, dy)
REDUCE(mean, channel_sum(x, C), __fdiv_rn(k, (float)C), 0, __fdiv_rn(dy, (float)C))
REDUCE(max, largest(x, C), k.value, largest(x, C), c == k.place ? dy : 0.f)
REDUCE(logsumexp, weights(x, C), (float)(k.top.value + log(k.sum)), weights(x, C), (float)(weight(x[c], k.top.value) / k.sum * dy))
