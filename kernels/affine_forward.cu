// affine_forward: y = x·Wᵀ + b, then ReLU if relu.
//
// x is [rows, depth], w is [width rounded up to 128, depth], bias is [width rounded up to 128], and
// y is [rows, width], of which outputs count. The layout and the padding are those of gemm.cuh.
//
// The last part of a kernel's name is how many columns its tile has: 128 where there are blocks for
// every multiprocessor, 64 where there are not or where 128 are too many, and 32 for few outputs.
// The bits are the same. The grid is (⌈width/columns⌉, ⌈rows/128⌉), and a block has 256 threads. A
// stage takes (128 + columns)·80 bytes of dynamic shared memory. tf32 and 3xtf32_32 have four
// stages, the others two.
//
// Truth: internal/ref AffineForward, ReLUForward. Launch: gpu/affine.go. On the CPU: cpu/affine.go.
#include "gemm_tf32.cuh"

struct BiasStart {
  const float *bias;
  __device__ __forceinline__ float operator()(int col) const { return bias[col]; }
};

struct ReluStore {
  float *y;
  int relu, rows, outputs, width;
  // In the padding an infinite x times a weight of 0 would be NaN, and spread in the next layer.
  // Elsewhere NaN stays.
  __device__ __forceinline__ float act(int col, float v) const { return col >= outputs || (relu && v < 0.f) ? 0.f : v; }
  __device__ __forceinline__ void operator()(int row, int col, float v) const {
    if (row < rows && col < width) y[(unsigned)row * width + col] = act(col, v);
  }
  // col is even, and so is width.
  __device__ __forceinline__ void operator()(int row, int col, float2 v) const {
    if (row < rows && col < width) *reinterpret_cast<float2 *>(&y[(unsigned)row * width + col]) = make_float2(act(col, v.x), act(col + 1, v.y));
  }
};

#define AFFINE_FORWARD(NAME, BLOCKS, GEMM)                                                                           \
  extern "C" __global__ void __launch_bounds__(256, BLOCKS)                                                   \
      NAME(float *__restrict__ y, const float *__restrict__ x, const float *__restrict__ w, const float *__restrict__ bias, int relu, int rows, \
           int depth, int outputs, int width) {                                                                            \
    DYNAMIC_SHARED(shared);                                                                                   \
    GEMM(shared, x, w, rows, depth, BiasStart{bias}, ReluStore{y, relu, rows, outputs, width});                        \
  }

AFFINE_FORWARD(affine_forward_fp32_128, 1, gemm_fp32_tile<128>)
AFFINE_FORWARD(affine_forward_fp32_64, 2, gemm_fp32_tile<64>)
AFFINE_FORWARD(affine_forward_fp32_32, 2, gemm_fp32_tile<32>)
#ifdef HAVE_TENSOR_CORES
#define SPLIT_TILE(COLUMNS) gemm_tf32_tile<COLUMNS, true>
#define PLAIN_TILE(COLUMNS) gemm_tf32_tile<COLUMNS, false>
AFFINE_FORWARD(affine_forward_3xtf32_128, 2, SPLIT_TILE(128))
AFFINE_FORWARD(affine_forward_3xtf32_64, 2, SPLIT_TILE(64))
AFFINE_FORWARD(affine_forward_3xtf32_32, 2, SPLIT_TILE(32))
AFFINE_FORWARD(affine_forward_tf32_128, 2, PLAIN_TILE(128))
AFFINE_FORWARD(affine_forward_tf32_64, 2, PLAIN_TILE(64))
AFFINE_FORWARD(affine_forward_tf32_32, 2, PLAIN_TILE(32))
#undef SPLIT_TILE
#undef PLAIN_TILE
#endif
