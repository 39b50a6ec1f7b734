// sign_step: x ← from + size·d. If bounded, then x ← min(max(x, x0 - eps, lo), x0 + eps, hi).
//
// Row r of the batch, first <= r < first + rows, is image r / E of x0 [images, width] at
// size[r % E] and eps[r % E]. x is [batch rows, width] from its row 0 on. from is x, or x0 if
// from_clean. d is [rows, width] of int8 in -1, 0, 1. If by_image it is [images, width], where all
// eps of an image share it. The padding of x becomes that of from, and stays 0. A product that is
// exact and one addition give the CPU's bits. One warp makes a row, and a block has 8 rows.
//
// At size 0 from the clean images it writes them to x. So rows are made that have not moved.
//
// Truth: internal/ref SignStep. Launch: gpu/sign_step.go. On the CPU: cpu/sign_step.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
sign_step(float *__restrict__ x, const float *__restrict__ x0, const signed char *__restrict__ d, const float *__restrict__ size,
          const float *__restrict__ eps, float lo, float hi, int bounded, int from_clean, int by_image, int first, int rows, int E, int width) {
  const int k = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (k >= rows) return;
  const int r = first + k, i = r / E, e = r % E;
  x += (size_t)r * width;
  x0 += (size_t)i * width;
  d += (size_t)(by_image ? i : k) * width;
  const float s = size[e], ball = eps[e];
  for (int p = lane; p < width; p += 32) {
    const float clean = x0[p];
    float v = __fadd_rn(from_clean ? clean : x[p], __fmul_rn(s, (float)d[p]));
    if (bounded) v = fminf(fminf(fmaxf(fmaxf(v, __fsub_rn(clean, ball)), lo), __fadd_rn(clean, ball)), hi);
    x[p] = v;
  }
}
