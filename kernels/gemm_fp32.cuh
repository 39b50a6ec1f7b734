// gemm_fp32: the product of gemm.cuh in FP32 on the plain cores, for every GPU.
//
// Each element is one chain of fused multiply-adds over k from its start value on, as in
// internal/gemm, so that it has the CPU backend's bits. A thread holds Rows × Cols elements. They
// lie kTileRows/Rows rows and Columns/Cols columns apart, so that the lanes of a warp read
// different rows of B and the same few of A.
//
// In the 128×128 tile a thread has 8×8 elements. For 4 k it reads 16 float4 for 256 multiply-adds,
// so that shared memory keeps up with 128 lanes a multiprocessor. It takes 128 registers, so that
// two blocks fit. The smaller tiles have 8×4 and 4×4 elements. Two stages take 40, 30 or 25 KiB,
// which every GPU gives without asking. From device memory a block reads 16 KiB for 2·128·128·16
// operations. That is 32 FLOP/B before the cache, which holds B whole.
#pragma once
#include "gemm.cuh"

template <int Columns, int Rows, int Cols, class Start, class Store>
__device__ __forceinline__ void gemm_fp32(float *shared, const float *a, const float *b, int rows, int depth, Start start, Store store) {
  constexpr int kAcross = Columns / Cols, kDown = kTileRows / Rows;
  static_assert(kAcross * kDown == kThreads, "every thread has its elements");
  const int tx = threadIdx.x % kAcross, ty = threadIdx.x / kAcross;
  const int row0 = blockIdx.y * kTileRows + ty, col0 = blockIdx.x * Columns + tx;

  float acc[Rows][Cols];
#pragma unroll
  for (int j = 0; j < Cols; ++j) {
    const float v = start(col0 + j * kAcross);
#pragma unroll
    for (int i = 0; i < Rows; ++i) acc[i][j] = v;
  }
  const Tiles<Columns, 2> tiles(shared, a, b, rows, depth);
  tiles.each([&](const float *as, const float *bs) {
    as += ty * kPitch;
    bs += tx * kPitch;
#pragma unroll 1  // unrolled, loads move up and spill
    for (int k = 0; k < kTileDepth; k += 4) {
      float4 x[Rows];
#pragma unroll
      for (int i = 0; i < Rows; ++i) x[i] = *reinterpret_cast<const float4 *>(as + i * kDown * kPitch + k);
#pragma unroll
      for (int j = 0; j < Cols; ++j) {
        const float4 w = *reinterpret_cast<const float4 *>(bs + j * kAcross * kPitch + k);
#pragma unroll
        for (int i = 0; i < Rows; ++i) acc[i][j] = fmaf(x[i].x, w.x, acc[i][j]);
#pragma unroll
        for (int i = 0; i < Rows; ++i) acc[i][j] = fmaf(x[i].y, w.y, acc[i][j]);
#pragma unroll
        for (int i = 0; i < Rows; ++i) acc[i][j] = fmaf(x[i].z, w.z, acc[i][j]);
#pragma unroll
        for (int i = 0; i < Rows; ++i) acc[i][j] = fmaf(x[i].w, w.w, acc[i][j]);
      }
    }
  });
#pragma unroll
  for (int i = 0; i < Rows; ++i)
#pragma unroll
    for (int j = 0; j < Cols; ++j) store(row0 + i * kDown, col0 + j * kAcross, acc[i][j]);
}

// The tile of so many columns.
template <int Columns, class Start, class Store>
__device__ __forceinline__ void gemm_fp32_tile(float *shared, const float *a, const float *b, int rows, int depth, Start start, Store store) {
  gemm_fp32<Columns, Columns == 32 ? 4 : 8, Columns == 128 ? 8 : 4>(shared, a, b, rows, depth, start, store);
}
