// The frame that all matrix products share: tiles of A and B through shared memory.
//
//	C [rows, width] = A [rows, depth] · B [width, depth]ᵀ
//
// A and B are row-major with rows of depth floats, so that both are read along k. The backend pads
// what it allocates. depth and width are multiples of 16, rows of A begin at multiples of 64 bytes,
// and B has rows up to the next multiple of a tile's 128 columns. The padding is zero, and is kept
// so. So products of any size need no edge but that of rows, and the backend's caller aligns
// nothing.
//
// Every element of C is summed over k in rising order. How does not depend on rows, on the tile, or
// on where in a tile the element lies. So the bits are the same whatever the batch.
#pragma once
#include "portable.cuh"

constexpr int kThreads = 256;    // of a block
constexpr int kTileRows = 128;   // of C in a block
constexpr int kTileDepth = 16;   // of A and B in shared memory at a time
// kPitch is how many floats lie from row to row there: 20·r mod 32 spreads 8 rows over all banks.
constexpr int kPitch = kTileDepth + 4;

// Tiles is a ring of Stages pairs of tiles in shared memory, A [kTileRows, 16] and B [Columns, 16].
template <int Columns, int Stages> struct Tiles {
  static constexpr int kFloats = (kTileRows + Columns) * kPitch;  // of one stage

  float *shared;
  const float *a, *b;
  int depth;
  // Where the thread's pieces of the first tiles begin. The backend keeps products under 2^32
  // elements.
  unsigned a_at, b_at;
  int rows;             // of A from the thread's first on

  // A thread copies 16 bytes of every 64th row from its own on: four threads a row.
  static constexpr int kRowStep = kThreads / 4;

  __device__ __forceinline__ Tiles(float *shared_, const float *a_, const float *b_, int rows_, int depth_) : shared(shared_), a(a_), b(b_), depth(depth_) {
    const unsigned row = threadIdx.x / 4, k = threadIdx.x % 4 * 4;
    a_at = (blockIdx.y * kTileRows + row) * depth + k;
    b_at = (blockIdx.x * Columns + row) * depth + k;
    rows = rows_ - (int)(blockIdx.y * kTileRows + row);
  }

  __device__ __forceinline__ int count() const { return depth / kTileDepth; }

  // load starts copying tile i, if there is one, and closes the group of its copies.
  __device__ __forceinline__ void load(unsigned i) const {
    if (i < (unsigned)count()) {
      float *to = shared + i % Stages * kFloats + threadIdx.x / 4 * kPitch + threadIdx.x % 4 * 4;
#pragma unroll
      for (int r = 0; r < kTileRows; r += kRowStep) copy16_async(to + r * kPitch, a + (a_at + r * depth + i * kTileDepth), r < rows);
      to += kTileRows * kPitch;
#pragma unroll
      for (int r = 0; r < Columns; r += kRowStep)
        if (Columns >= kRowStep || (int)threadIdx.x / 4 < Columns) copy16_async(to + r * kPitch, b + (b_at + r * depth + i * kTileDepth), true);
    }
    copy_async_commit();
  }

  // each calls f(A's tile, B's tile) for all tiles in order. While one is used the next Stages - 1
  // are on their way.
  template <class F> __device__ __forceinline__ void each(F f) const {
#pragma unroll
    for (unsigned i = 0; i < Stages - 1; ++i) load(i);
    for (unsigned i = 0; i < (unsigned)count(); ++i) {
      copy_async_wait<Stages - 2>();
      // Then tile i is there for the whole block, and no thread reads tile i - 1 any more.
      __syncthreads();
      load(i + Stages - 1);
      const float *tile = shared + i % Stages * kFloats;
      f(tile, tile + kTileRows * kPitch);
    }
    copy_async_wait<0>();
  }
};
