// affine_backward: dx = dz·W, then dx ← 0 where not h > 0, the mask of the ReLU below, if h is not null.
//
// dz [rows, depth], wt [width rounded up to 128, depth] = Wᵀ, h [rows, width] what that ReLU gave forward, dx [rows, width];
// layout, padding, grid and shared memory as for affine_forward. A masked element is 0 even if its sum is infinite.
//
// Truth: internal/ref AffineBackward, ReLUBackward. Launch: gpu/affine.go. On the CPU: cpu/affine.go.
#include "gemm_tf32.cuh"

struct ZeroStart {
  __device__ __forceinline__ float operator()(int) const { return 0.f; }
};

struct MaskStore {
  float *dx;
  const float *h;
  int rows, width;
  __device__ __forceinline__ void operator()(int row, int col, float v) const {
    if (row >= rows || col >= width) return;
    const unsigned at = (unsigned)row * width + col;
    dx[at] = h == nullptr || h[at] > 0.f ? v : 0.f;
  }
  __device__ __forceinline__ void operator()(int row, int col, float2 v) const {  // col is even, and so is width
    if (row >= rows || col >= width) return;
    const unsigned at = (unsigned)row * width + col;
    if (h != nullptr) {
      const float2 open = *reinterpret_cast<const float2 *>(&h[at]);
      v = make_float2(open.x > 0.f ? v.x : 0.f, open.y > 0.f ? v.y : 0.f);
    }
    *reinterpret_cast<float2 *>(&dx[at]) = v;
  }
};

#define AFFINE_BACKWARD(NAME, GEMM)                                                                           \
  extern "C" __global__ void __launch_bounds__(256, 2)                                                        \
      NAME(float *__restrict__ dx, const float *__restrict__ dz, const float *__restrict__ wt, const float *__restrict__ h, int rows, int depth, \
           int width) {                                                                                       \
    DYNAMIC_SHARED(shared);                                                                                   \
    GEMM(shared, dz, wt, rows, depth, ZeroStart{}, MaskStore{dx, h, rows, width});                            \
  }

AFFINE_BACKWARD(affine_backward_fp32, gemm_fp32_wide)
AFFINE_BACKWARD(affine_backward_fp32_narrow, gemm_fp32_narrow)
#ifdef HAVE_TENSOR_CORES
AFFINE_BACKWARD(affine_backward_3xtf32, gemm_tf32_wide<true>)
AFFINE_BACKWARD(affine_backward_3xtf32_narrow, gemm_tf32_narrow<true>)
AFFINE_BACKWARD(affine_backward_tf32, gemm_tf32_wide<false>)
AFFINE_BACKWARD(affine_backward_tf32_narrow, gemm_tf32_narrow<false>)
#endif
