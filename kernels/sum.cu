// sum: y = a + b, for residual connections and the gradients of what several layers take.
//
// a, b and y are [n]. y may be a or b. One thread makes an element. Any 1-D grid will do. Bound by
// memory.
//
// Launch: gpu/activation.go. On the CPU: Add in internal/gemm.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256) sum(float *y, const float *a, const float *b, long long n) {
  for (long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x; t < n; t += (long long)gridDim.x * blockDim.x) y[t] = __fadd_rn(a[t], b[t]);
}
