// matmul: y = from + p·q for many pairs of matrices, all of values that depend on the image. The
// product of two values and both of its gradients are this one.
//
//	y[i, j] = from[i, j] + Σ_k p[i, k]·q[k, j], i below I, j below J, k below K.
//
// A row of the batch has H matrices p, one behind another, and so has it of q and y. p[i, k] lies
// i·p_i + k·p_k floats behind the start of its matrix, and q[k, j] k·q_k + j·q_j behind. So a
// transposed matrix is read as it lies. Of p_i and p_k one is 1, and of q_k and q_j. y and from are
// [rows, H, I, pitch]. y is 0 in columns J and on. from is null for 0, or may be y.
//
// A sum is one chain of fused multiply-adds from 0 in rising order of k, as on the CPU, in every math
// mode. A block makes a tile of 64 × 64, 16 k at a time through shared memory, and a thread 4 × 4
// numbers of it: two LDS.128 for 16 multiply-adds. The grid is (H·⌈I/64⌉·⌈pitch/64⌉, rows), and a
// block has 256 threads. Matrices of an attention are small: that of 64 channels is bound by memory.
//
// Truth: internal/ref matMul. Launch: gpu/matmul.go. On the CPU: cpu/matmul.go.
#include "portable.cuh"

constexpr int kSide = 64;        // of a tile of y
constexpr int kSteps = 16;       // k in shared memory at a time
constexpr int kLine = kSide + 4; // floats from k to k there: a multiple of 4, and no column is in one bank

// fill copies rows 0 to kSide - 1 and steps k0 to k0 + kSteps - 1 of a matrix to tile[step][row], and
// zeros for what is beyond rows and K. Threads go side by side along whichever of the two lies so.
__device__ __forceinline__ void fill(float (*tile)[kLine], const float *m, int by_row, int by_step, int rows, int k0, int K) {
  for (int t = threadIdx.x; t < kSide * kSteps; t += 256) {
    const int row = by_step == 1 ? t / kSteps : t % kSide, step = by_step == 1 ? t % kSteps : t / kSide;
    tile[step][row] = row < rows && k0 + step < K ? m[row * by_row + (k0 + step) * by_step] : 0.f;
  }
}

extern "C" __global__ void __launch_bounds__(256)
matmul(float *y, const float *from, const float *__restrict__ p, const float *__restrict__ q, int H, int I, int J, int K, int p_i, int p_k, int p_matrix,
       int q_k, int q_j, int q_matrix, int pitch) {
  __shared__ __align__(16) float ps[kSteps][kLine], qs[kSteps][kLine];
  const int across = (pitch + kSide - 1) / kSide, down = (I + kSide - 1) / kSide;
  const int j0 = blockIdx.x % across * kSide, i0 = blockIdx.x / across % down * kSide, h = blockIdx.x / across / down;
  const size_t matrix = (size_t)blockIdx.y * H + h;
  p += matrix * p_matrix + i0 * p_i;
  q += matrix * q_matrix + j0 * q_j;
  const int ti = threadIdx.x / 16 * 4, tj = threadIdx.x % 16 * 4;
  float acc[4][4] = {};
  for (int k0 = 0; k0 < K; k0 += kSteps) {
    fill(ps, p, p_i, p_k, I - i0, k0, K);
    fill(qs, q, q_j, q_k, J - j0, k0, K);
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < kSteps; ++k) {
      const float4 a = *reinterpret_cast<const float4 *>(&ps[k][ti]), b = *reinterpret_cast<const float4 *>(&qs[k][tj]);
      const float as[4] = {a.x, a.y, a.z, a.w}, bs[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) acc[i][j] = fmaf(as[i], bs[j], acc[i][j]);
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = i0 + ti + i, col = j0 + tj + j;
      if (row >= I || col >= pitch) continue;
      const size_t at = (matrix * I + row) * pitch + col;
      y[at] = col >= J ? 0.f : from != nullptr ? __fadd_rn(from[at], acc[i][j]) : acc[i][j];
    }
}
