// affine_forward: y = x·Wᵀ + b, then ReLU if relu.
//
// x [rows, depth], w [width rounded up to 128, depth], bias [width rounded up to 128], y [rows, width]; the layout and
// the padding are those of gemm.cuh. Grid (⌈width/columns⌉, ⌈rows/128⌉), 256 threads; columns is 128 for tensor cores, 64 for
// fp32, and 32 for _narrow. Dynamic shared memory: (128 + columns)·80 bytes a stage, four stages for _tf32, else two.
//
// Truth: internal/ref AffineForward, ReLUForward. Launch: gpu/affine.go. On the CPU: cpu/affine.go.
#include "gemm_tf32.cuh"

struct BiasStart {
  const float *bias;
  __device__ __forceinline__ float operator()(int col) const { return bias[col]; }
};

struct ReluStore {
  float *y;
  int relu, rows, width;
  __device__ __forceinline__ float act(float v) const { return relu && v < 0.f ? 0.f : v; }  // NaN stays
  __device__ __forceinline__ void operator()(int row, int col, float v) const {
    if (row < rows && col < width) y[(unsigned)row * width + col] = act(v);
  }
  __device__ __forceinline__ void operator()(int row, int col, float2 v) const {  // col is even, and so is width
    if (row < rows && col < width) *reinterpret_cast<float2 *>(&y[(unsigned)row * width + col]) = make_float2(act(v.x), act(v.y));
  }
};

#define AFFINE_FORWARD(NAME, GEMM)                                                                            \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                        \
      NAME(float *__restrict__ y, const float *__restrict__ x, const float *__restrict__ w, const float *__restrict__ bias, int relu, int rows, \
           int depth, int width) {                                                                            \
    DYNAMIC_SHARED(shared);                                                                                   \
    GEMM(shared, x, w, rows, depth, BiasStart{bias}, ReluStore{y, relu, rows, width});                        \
  }

AFFINE_FORWARD(affine_forward_fp32, gemm_fp32_wide)
AFFINE_FORWARD(affine_forward_fp32_narrow, gemm_fp32_narrow)
#ifdef HAVE_TENSOR_CORES
AFFINE_FORWARD(affine_forward_3xtf32, gemm_tf32_wide<true>)
AFFINE_FORWARD(affine_forward_3xtf32_narrow, gemm_tf32_narrow<true>)
AFFINE_FORWARD(affine_forward_tf32, gemm_tf32_wide<false>)
AFFINE_FORWARD(affine_forward_tf32_narrow, gemm_tf32_narrow<false>)
#endif
