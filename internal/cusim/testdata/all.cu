// Kernels for selftest.sh: good ones, their planted faults, and two for the rates.
#include "device.h"

namespace {
constexpr unsigned kFull = 0xffffffffu;
}

extern "C" __global__ void
    __launch_bounds__(256)
add_one(float *x, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) x[i] += 1.f;
}

// Reverses each block's 256 values. The barrier can be left out; then some order of threads reads NaN.
extern "C" __launch_bounds__(256) __global__ void reverse(float *x, int barrier) {
  __shared__ float s[256];
  const int t = int(threadIdx.x);
  s[t] = x[t];
  if (barrier) __syncthreads();
  x[t] = s[255 - t];
}
// Two tiles in turn through the same shared memory; without the second barrier one overruns the other.
extern "C" __global__ void reverse_twice(float *x, int second) {
  __shared__ float s[256];
  const int t = int(threadIdx.x);
  for (int i = 0; i < 2; ++i) {
    s[t] = x[i * 256 + t];
    __syncthreads();
    x[i * 256 + t] = s[255 - t];
    if (second) __syncthreads();
  }
}
extern "C" __global__ void warp_exchange(float *x, int sync) {
  __shared__ float s[32];
  s[threadIdx.x] = x[threadIdx.x];
  if (sync) __syncwarp();
  x[threadIdx.x] = s[31 - threadIdx.x];
}

// Copies 3 tiles of 128 floats with two groups in flight; wait is how many may still be.
extern "C" __global__ void copy_async(const float *in, float *out, int wait, int drain) {
  __shared__ __align__(16) float s[3][128];
  const int t = int(threadIdx.x);
  for (int i = 0; i < 3; ++i) {
    cusim::cp_async16(&s[i][t * 4], i == 2 ? nullptr : in + i * 128 + t * 4, i != 2);
    cusim::cp_async_commit();
  }
  for (int i = 0; i < 3; ++i) {
    if (i < 2 && wait >= 0) cusim::cp_async_wait(wait);
    if (i == 2 && drain) cusim::cp_async_wait(0);
    __syncthreads();
    for (int j = 0; j < 4; ++j) out[i * 128 + t * 4 + j] = s[i][127 - (t * 4 + j)];
    cusim::cp_async_commit();    // an empty group each time: keeps the count of those in flight
  }
}

extern "C" __global__ void divergent(int where) {
  if (threadIdx.x & 1) __syncthreads();
  else if (where) __syncthreads();
}
extern "C" __global__ void early_exit() {
  if (threadIdx.x == 7) return;
  __syncthreads();
}
extern "C" __global__ void dead_lane() {
  if (threadIdx.x == 7) return;
  __syncwarp();
}
extern "C" __global__ void deadlock() {
  if (threadIdx.x == 0) __syncwarp();
  else __syncthreads();
}
extern "C" __global__ void wrong_shuffle(int *x) {
  x[threadIdx.x] = __shfl_sync(0xffffu, int(threadIdx.x), 20);
}
extern "C" __global__ void out_of_bounds(float *x, int i) { x[i] = 1.f; }
extern "C" __global__ void read_out_of_bounds(float *x, const float *y, int i) { x[0] = y[i]; }
extern "C" __global__ void misaligned(float *x) { *reinterpret_cast<float4 *>(x + 1) = float4{1, 2, 3, 4}; }
extern "C" __global__ void dynamic_overrun(float *x, int i) {
  float *s = static_cast<float *>(cusim::dyn_shared());
  s[i] = 1.f;
  x[0] = s[0];
}
extern "C" __global__ void deep_stack(float *x) {
  volatile float a[20000];
  for (int i = 0; i < 20000; ++i) a[i] = float(i);
  x[0] = a[19999];
}

// Warp-wide operations, each written to its own row of 64 ints.
extern "C" __global__ void warp_ops(int *out) {
  const int t = int(threadIdx.x), n = int(blockDim.x);
  out[0 * n + t] = __shfl_xor_sync(kFull, t, 3);
  out[1 * n + t] = __shfl_down_sync(kFull, t, 5);
  out[2 * n + t] = __shfl_up_sync(kFull, t, 5, 16);
  out[3 * n + t] = __shfl_sync(kFull, t, 9, 16);
  out[4 * n + t] = int(__ballot_sync(kFull, t % 3 == 0));
  out[5 * n + t] = __any_sync(kFull, t == 40);
  out[6 * n + t] = __all_sync(kFull, t < 32);
  out[7 * n + t] = __reduce_add_sync(kFull, t - 20);
  out[8 * n + t] = __reduce_min_sync(kFull, t - 20);
  out[9 * n + t] = __reduce_max_sync(kFull, t - 50);
  out[10 * n + t] = (t & 31) < 16 ? __shfl_xor_sync(0xffffu, t, 1) : __shfl_xor_sync(0xffff0000u, t, 2);
  out[11 * n + t] = __syncthreads_count(t % 5 == 0);
  out[12 * n + t] = __syncthreads_or(t == 63) * 2 + __syncthreads_and(t != 63);
  atomicAdd(&out[13 * n], t);
  atomicMax(&out[13 * n + 1], t);
  atomicMin(&out[13 * n + 2], t - 7);
  atomicOr(reinterpret_cast<unsigned *>(&out[13 * n + 3]), 1u << (t & 31));
}

// One mma per warp; a [16, 8], b [8, 8] by k and n, d [16, 8].
extern "C" __global__ void one_mma(const float *a, const float *b, float *d) {
  const int lane = int(threadIdx.x), g = lane / 4, q = lane % 4;
  const uint32_t fa[4] = {__float_as_uint(a[g * 8 + q]), __float_as_uint(a[(g + 8) * 8 + q]),
                          __float_as_uint(a[g * 8 + q + 4]), __float_as_uint(a[(g + 8) * 8 + q + 4])};
  const uint32_t fb[2] = {__float_as_uint(b[q * 8 + g]), __float_as_uint(b[(q + 4) * 8 + g])};
  float fd[4] = {d[g * 8 + 2 * q], d[g * 8 + 2 * q + 1], d[(g + 8) * 8 + 2 * q], d[(g + 8) * 8 + 2 * q + 1]};
  cusim::mma_16x8x8_tf32(fd, fa, fb);
  d[g * 8 + 2 * q] = fd[0];
  d[g * 8 + 2 * q + 1] = fd[1];
  d[(g + 8) * 8 + 2 * q] = fd[2];
  d[(g + 8) * 8 + 2 * q + 1] = fd[3];
}

// C[128, 128] = A[128, K]·B[128, K]ᵀ by 256 threads of 8×8, tiles of 16 deep.
extern "C" __global__ __launch_bounds__(256) void rate_fma(const float *__restrict__ A, const float *__restrict__ B,
                                                           float *__restrict__ C, int K) {
  __shared__ __align__(16) float as[16][128], bs[16][128];
  const int t = int(threadIdx.x), tx = t & 15, ty = t >> 4;
  float acc[8][8] = {};
  for (int k0 = 0; k0 < K; k0 += 16) {
    for (int i = t; i < 512; i += 256) {
      const int r = i >> 2, q = (i & 3) * 4;
      const float4 a = *reinterpret_cast<const float4 *>(A + r * K + k0 + q);
      const float4 b = *reinterpret_cast<const float4 *>(B + r * K + k0 + q);
      as[q][r] = a.x, as[q + 1][r] = a.y, as[q + 2][r] = a.z, as[q + 3][r] = a.w;
      bs[q][r] = b.x, bs[q + 1][r] = b.y, bs[q + 2][r] = b.z, bs[q + 3][r] = b.w;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < 16; ++k) {
      float x[8], y[8];
      *reinterpret_cast<float4 *>(&x[0]) = *reinterpret_cast<const float4 *>(&as[k][ty * 8]);
      *reinterpret_cast<float4 *>(&x[4]) = *reinterpret_cast<const float4 *>(&as[k][ty * 8 + 4]);
      *reinterpret_cast<float4 *>(&y[0]) = *reinterpret_cast<const float4 *>(&bs[k][tx * 8]);
      *reinterpret_cast<float4 *>(&y[4]) = *reinterpret_cast<const float4 *>(&bs[k][tx * 8 + 4]);
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) acc[i][j] = fmaf(x[i], y[j], acc[i][j]);
    }
    __syncthreads();
  }
  for (int i = 0; i < 8; ++i)
    for (int j = 0; j < 8; ++j) C[(ty * 8 + i) * 128 + tx * 8 + j] = acc[i][j];
}

// The same by mma: 8 warps, each 32×64. Operands come straight from global memory.
extern "C" __global__ __launch_bounds__(256) void rate_mma(const float *A, const float *B, float *C, int K) {
  const int w = int(threadIdx.x) >> 5, lane = int(threadIdx.x) & 31, g = lane >> 2, q = lane & 3;
  const int m0 = (w & 3) * 32, n0 = (w >> 2) * 64;
  float d[2][8][4] = {};
  for (int k = 0; k < K; k += 8) {
    uint32_t a[2][4], b[8][2];
    for (int i = 0; i < 2; ++i)
      for (int r = 0; r < 4; ++r)
        a[i][r] = __float_as_uint(A[(m0 + i * 16 + g + (r & 1) * 8) * K + k + q + (r >> 1) * 4]);
    for (int j = 0; j < 8; ++j)
      for (int r = 0; r < 2; ++r) b[j][r] = __float_as_uint(B[(n0 + j * 8 + g) * K + k + q + r * 4]);
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 8; ++j) cusim::mma_16x8x8_tf32(d[i][j], a[i], b[j]);
  }
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 8; ++j)
      for (int r = 0; r < 4; ++r)
        C[(m0 + i * 16 + g + (r >> 1) * 8) * 128 + n0 + j * 8 + 2 * q + (r & 1)] = d[i][j][r];
}
