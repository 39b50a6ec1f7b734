// affine_backward: dx = dz·W. Then dx ← 0 where h <= 0, if h is not null.
//
// dz is [rows, depth], and wt is [width rounded up to 128, depth] = Wᵀ. h [rows, width] is what the
// ReLU below gave forward, so that dx [rows, width] is masked as that ReLU masks. Layout, padding,
// grid and shared memory are those of affine_forward. A masked element is 0 even if its sum is
// infinite. Where h is NaN nothing is masked, so that the gradient tells.
//
// Truth: internal/ref AffineBackward, ReLUBackward. Launch: gpu/affine.go. On the CPU:
// cpu/affine.go.
#include "gemm_tf32.cuh"

struct ZeroStart {
  __device__ __forceinline__ float operator()(int) const { return 0.f; }
};

struct MaskStore {
  float *dx;
  const float *h;
  int rows, inputs, width;
  __device__ __forceinline__ void operator()(int row, int col, float v) const {
    if (row >= rows || col >= width) return;
    const unsigned at = (unsigned)row * width + col;
    dx[at] = col >= inputs || (h != nullptr && h[at] <= 0.f) ? 0.f : v;
  }
  // col is even, and so is width.
  __device__ __forceinline__ void operator()(int row, int col, float2 v) const {
    if (row >= rows || col >= width) return;
    const unsigned at = (unsigned)row * width + col;
    float2 open = make_float2(1.f, 1.f);
    if (h != nullptr) open = *reinterpret_cast<const float2 *>(&h[at]);
    *reinterpret_cast<float2 *>(&dx[at]) = make_float2(col >= inputs || open.x <= 0.f ? 0.f : v.x, col + 1 >= inputs || open.y <= 0.f ? 0.f : v.y);
  }
};

#define AFFINE_BACKWARD(NAME, BLOCKS, GEMM)                                                                          \
  extern "C" __global__ void __launch_bounds__(256, BLOCKS)                                                   \
      NAME(float *__restrict__ dx, const float *__restrict__ dz, const float *__restrict__ wt, const float *__restrict__ h, int rows, int depth, \
           int inputs, int width) {                                                                                       \
    DYNAMIC_SHARED(shared);                                                                                   \
    GEMM(shared, dz, wt, rows, depth, ZeroStart{}, MaskStore{dx, h, rows, inputs, width});                            \
  }

AFFINE_BACKWARD(affine_backward_fp32_128, 1, gemm_fp32_tile<128>)
AFFINE_BACKWARD(affine_backward_fp32_64, 2, gemm_fp32_tile<64>)
AFFINE_BACKWARD(affine_backward_fp32_32, 2, gemm_fp32_tile<32>)
#ifdef HAVE_TENSOR_CORES
#define SPLIT_TILE(COLUMNS) gemm_tf32_tile<COLUMNS, true>
#define PLAIN_TILE(COLUMNS) gemm_tf32_tile<COLUMNS, false>
AFFINE_BACKWARD(affine_backward_3xtf32_128, 2, SPLIT_TILE(128))
AFFINE_BACKWARD(affine_backward_3xtf32_64, 2, SPLIT_TILE(64))
AFFINE_BACKWARD(affine_backward_3xtf32_32, 2, SPLIT_TILE(32))
AFFINE_BACKWARD(affine_backward_tf32_128, 2, PLAIN_TILE(128))
AFFINE_BACKWARD(affine_backward_tf32_64, 2, PLAIN_TILE(64))
AFFINE_BACKWARD(affine_backward_tf32_32, 2, PLAIN_TILE(32))
#undef SPLIT_TILE
#undef PLAIN_TILE
#endif
