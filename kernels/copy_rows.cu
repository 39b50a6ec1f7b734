// copy_rows: to ← from for the rows that are set.
//
// to is [rows, width]. from is [rows, width] too, or [rows / E, width] if by_image: then row r
// takes image r / E. set is [rows] of bytes, or null for all rows. One warp copies a row, and a
// block has 8.
//
// Launch: gpu/slots.go. On the CPU: cpu/slots.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
copy_rows(float *__restrict__ to, const float *__restrict__ from, const unsigned char *__restrict__ set, int by_image, int rows, int E, int width) {
  const int r = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (r >= rows || (set != nullptr && !set[r])) return;
  to += (size_t)r * width;
  from += (size_t)(by_image ? r / E : r) * width;
  for (int p = lane; p < width; p += 32) to[p] = from[p];
}
