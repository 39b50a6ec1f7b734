// gemm_tf32: the product of gemm.cuh on tensor cores, sm_80 and later.
//
// With Split, "3xTF32", it has FP32's accuracy from three TF32 products. x = hi + lo, each rounded
// to the 11 significant bits of TF32. a·b ≈ lo·hi + hi·lo + hi·hi, and lo·lo, which is left out, is
// under 2⁻²² of a·b. Tensor cores add with truncation (Fasi, Higham, Mikaitis, Pranesh 2021,
// doi:10.7717/peerj-cs.330). Over a long sum that is a bias larger than all rounding of FP32. So
// they add only 8 products at a time, the small ones first. What they give is added to the sum in
// FP32 outside, rounded to nearest (Ootomo and Yokota 2022, arXiv:2203.03341). The test
// TestProductError holds the error of all this to twice FP32's.
//
// Without Split it is plain TF32: operands rounded to 11 bits, and summed on the tensor cores.
//
// A block has 8 warps. In the 128×128 tile each has 64×32 elements as 4×4 fragments of 16×8, and
// two blocks fit a multiprocessor at up to 128 registers. For 8 k a warp reads 24 words a lane, and
// does 48 mma (16 without Split), 64 additions, and 96 operations to split. There are two stages of
// 20 KiB where a tile takes long. There are four without Split, and in the narrow tile of the last
// layer. From device memory a block reads 16 KiB for 2·128·128·16 operations, 32 FLOP/B before the
// cache.
#pragma once
#include "gemm_fp32.cuh"

#ifdef HAVE_TENSOR_CORES

constexpr uint32_t kTF32 = 0xffffe000u;  // the bits that a TF32 has

// round_tf32 rounds to 11 significant bits, to nearest, ties away from zero. NaN may become 0.
__device__ __forceinline__ uint32_t round_tf32(float x) { return (__float_as_uint(x) + 0x1000u) & kTF32; }

// split makes x into hi and, if Split, lo. A NaN or an infinity leaves a NaN in one of them, so
// that no product hides it.
template <bool Split> __device__ __forceinline__ void split(float x, uint32_t &hi, uint32_t &lo) {
  hi = round_tf32(x);
  if (Split)
    // At most 12 bits: the one cut off is half of the last.
    lo = __float_as_uint(__fsub_rn(x, __uint_as_float(hi))) & kTF32;
  else if (!(fabsf(x) < INFINITY))
    hi = __float_as_uint(x) & kTF32;
}

template <int Columns, int WarpRows, int WarpCols, bool Split, class Start, class Store>
__device__ __forceinline__ void gemm_tf32(float *shared, const float *a, const float *b, int rows, int depth, Start start, Store store) {
  constexpr int kAcross = Columns / WarpCols;  // warps
  constexpr int kRows = WarpRows / 16, kCols = WarpCols / 8;  // fragments of a warp
  static_assert(kAcross * (kTileRows / WarpRows) * 32 == kThreads, "every warp has its tile");
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int g = lane / 4, q = lane % 4;  // as mma_16x8x8 names them
  const int warp_row = warp / kAcross * WarpRows, warp_col = warp % kAcross * WarpCols;

  float acc[kRows][kCols][4];
#pragma unroll
  for (int j = 0; j < kCols; ++j)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float v = start((int)blockIdx.x * Columns + warp_col + j * 8 + 2 * q + e);
#pragma unroll
      for (int i = 0; i < kRows; ++i) acc[i][j][e] = acc[i][j][e + 2] = v;
    }
  constexpr int kStages = Split && Columns != 32 ? 2 : 4;
  const Tiles<Columns, kStages> tiles(shared, a, b, rows, depth);
  tiles.each([&](const float *as, const float *bs) {
    as += (warp_row + g) * kPitch + q;
    bs += (warp_col + g) * kPitch + q;
#pragma unroll 1  // unrolled, loads move up and spill
    for (int k = 0; k < kTileDepth; k += 8) {
      uint32_t whi[kCols][2], wlo[kCols][2];
#pragma unroll
      for (int j = 0; j < kCols; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) split<Split>(bs[j * 8 * kPitch + k + e * 4], whi[j][e], wlo[j][e]);
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        uint32_t hi[4], lo[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) split<Split>(as[(i * 16 + (e & 1) * 8) * kPitch + k + (e >> 1) * 4], hi[e], lo[e]);
        if (Split) {
          float part[kCols][4];
#pragma unroll
          for (int j = 0; j < kCols; ++j) {
            part[j][0] = part[j][1] = part[j][2] = part[j][3] = 0.f;
            mma_16x8x8(part[j], lo, whi[j]);
          }
#pragma unroll
          for (int j = 0; j < kCols; ++j) mma_16x8x8(part[j], hi, wlo[j]);
#pragma unroll
          for (int j = 0; j < kCols; ++j) mma_16x8x8(part[j], hi, whi[j]);
#pragma unroll
          for (int j = 0; j < kCols; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) acc[i][j][e] = __fadd_rn(acc[i][j][e], part[j][e]);
        } else {
#pragma unroll
          for (int j = 0; j < kCols; ++j) mma_16x8x8(acc[i][j], hi, whi[j]);
        }
      }
    }
  });
#pragma unroll
  for (int i = 0; i < kRows; ++i)
#pragma unroll
    for (int e = 0; e < 4; e += 2)
#pragma unroll
      for (int j = 0; j < kCols; ++j) {
        // A small product overflows with its own sign, of which a ReLU would make 0.
        for (int f = e; Split && f < e + 2; ++f)
          if (!(fabsf(acc[i][j][f]) < INFINITY)) acc[i][j][f] = NAN;
        store((int)blockIdx.y * kTileRows + warp_row + i * 16 + g + e * 4, (int)blockIdx.x * Columns + warp_col + j * 8 + 2 * q,
              make_float2(acc[i][j][e], acc[i][j][e + 1]));
      }
}

// The tile of so many columns.
template <int Columns, bool Split, class Start, class Store>
__device__ __forceinline__ void gemm_tf32_tile(float *shared, const float *a, const float *b, int rows, int depth, Start start, Store store) {
  gemm_tf32<Columns, Columns / 2, 32, Split>(shared, a, b, rows, depth, start, store);
}
#endif
