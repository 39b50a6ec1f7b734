// What operations over the channels of a pixel share. A warp has a pixel, and a lane every 32nd
// channel of it from its own on. All functions here are called by whole warps.
#pragma once
#include "portable.cuh"

// rising is s + v of lane 0 + v of lane 1 …, of n lanes at most, in this order, in every lane. An
// addition and a shuffle for each channel are less than an exponential.
template <class T> __device__ __forceinline__ T rising(T s, T v, int n) {
  for (int l = 0; l < min(n, 32); ++l) s = s + __shfl_sync(FULL_WARP, v, l);
  return s;
}

// channel_sum is the sum of x [C] from 0 in rising order, which is the CPU's.
__device__ __forceinline__ float channel_sum(const float *x, int C) {
  const int lane = threadIdx.x % 32;
  float s = 0.f;
  for (int c = 0; c < C; c += 32) s = rising(s, c + lane < C ? x[c + lane] : 0.f, C - c);
  return s;
}

// A Largest is the largest of x [C], and the first channel that has it. A NaN is larger than all.
struct Largest {
  float value;
  int place;
};

// wins reports whether a comes before b.
__device__ __forceinline__ bool wins(Largest a, Largest b) {
  if (a.value == b.value || (a.value != a.value && b.value != b.value)) return a.place < b.place;
  return a.value > b.value || a.value != a.value;
}

__device__ __forceinline__ Largest largest(const float *x, int C) {
  const int lane = threadIdx.x % 32;
  Largest best = {-INFINITY, C + lane};  // comes after each channel
  for (int c = lane; c < C; c += 32) {
    const Largest here = {x[c], c};
    if (wins(here, best)) best = here;
  }
#pragma unroll
  for (int h = 16; h > 0; h /= 2) {
    const Largest other = {__shfl_xor_sync(FULL_WARP, best.value, h), __shfl_xor_sync(FULL_WARP, best.place, h)};
    if (wins(other, best)) best = other;
  }
  return best;
}

// weight is exp(x - top), in float64. It is 1 at x = top, also where both are infinite.
__device__ __forceinline__ double weight(float x, float top) { return x == top ? 1.0 : exp((double)x - top); }

// A Weights is the largest of x [C], and the sum of weight(x_c, largest) from 0 in rising order.
struct Weights {
  Largest top;
  double sum;
};
__device__ __forceinline__ Weights weights(const float *x, int C) {
  const int lane = threadIdx.x % 32;
  Weights w = {largest(x, C), 0.0};
  for (int c = 0; c < C; c += 32) w.sum = rising(w.sum, c + lane < C ? weight(x[c + lane], w.top.value) : 0.0, C - c);
  return w;
}
