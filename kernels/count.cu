// count: what a sweep wants to know of a batch. It is in integers, so that no order of addition
// matters.
//
// Row r is image i = r / E at eps e = r % E. cls and zero are [rows], labels, flat and stuck are
// [rows / E], and correct and zeros are [E]. zero and flat are bytes.
//
// correct[e] counts the rows whose class is the label. zeros[e] counts the rows for which a
// gradient was 0 in every pixel: zero[r] tells, or flat[i] if flat is not null. For those stuck[i]
// becomes 1. bad becomes the first row whose class is -1, if that is less than it was. One thread
// counts a row. Any 1-D grid that covers rows will do.
//
// Launch: gpu/count.go. On the CPU: cpu/count.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
count(int *__restrict__ correct, int *__restrict__ zeros, int *__restrict__ stuck, int *__restrict__ bad, const int *__restrict__ cls,
      const int *__restrict__ labels, const unsigned char *__restrict__ zero, const unsigned char *__restrict__ flat, int rows, int E) {
  const int r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  const int i = r / E, e = r % E;
  if (cls[r] == labels[i]) atomicAdd(&correct[e], 1);
  if (cls[r] < 0) atomicMin(bad, r);
  if (zero[r] || (flat != nullptr && flat[i])) {
    atomicAdd(&zeros[e], 1);
    atomicOr(&stuck[i], 1);
  }
}
