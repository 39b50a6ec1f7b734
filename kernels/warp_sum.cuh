// warp_sum: the sum of one number of each lane, in every lane, always in the same order.
//
// s_k ← s_k + s_{k xor h} for h = 16, 8, 4, 2, 1. A row's sum is that of its lanes. Each lane added
// the pixels whose index is its own modulo 32. That is the order of cpu/norms.go.
#pragma once
#include "portable.cuh"

__device__ __forceinline__ double warp_sum(double s) {
#pragma unroll
  for (int h = 16; h > 0; h /= 2) s = __dadd_rn(s, __shfl_xor_sync(FULL_WARP, s, h));
  return s;
}
