// avg_pool_forward: y = the mean of each window. avg_pool_backward: dx = from + the sum, over the
// windows that an element is in, of dy over the window's size. The size counts the elements within
// the image, or all of them if count_pad.
//
// x, dx and from are [rows, H, W, pitch], and y and dy are [rows, OH, OW, pitch], of which C
// channels count. What is written is 0 in the others. from is null for 0, or may be dx. Forward a
// sum runs by rows. Backward it runs over r, rising, and within that over c, falling, as on the
// CPU. One thread makes an element of what is written. The grid is (⌈elements/blockDim.x⌉, rows).
// Bound by memory.
//
// DH and DW are 1, and not looked at.
//
// Truth: internal/ref avgPool2D. Launch: gpu/pool.go. On the CPU: avgPool in cpu/operations.go.
#include "window.cuh"

// covered is how many of kernel elements from first on count.
__device__ __forceinline__ int covered(int first, int kernel, int elements, int count_pad) {
  return count_pad ? kernel : min(first + kernel, elements) - max(first, 0);
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool_forward(float *__restrict__ y, const float *__restrict__ x, int C, int pitch, WINDOW, int count_pad) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= OH * OW * pitch) return;
  const int i = t % pitch, h0 = t / pitch / OW * SH - top, w0 = t / pitch % OW * SW - left;
  x += (size_t)blockIdx.y * H * W * pitch;
  float sum = 0.f;
  if (i < C)
    for (int h = max(h0, 0); h < min(h0 + KH, H); ++h)
      for (int w = max(w0, 0); w < min(w0 + KW, W); ++w) sum += x[(h * W + w) * pitch + i];
  y[(size_t)blockIdx.y * OH * OW * pitch + t] = __fdiv_rn(sum, (float)(covered(h0, KH, H, count_pad) * covered(w0, KW, W, count_pad)));
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool_backward(float *dx, const float *from, const float *__restrict__ dy, int C, int pitch, WINDOW, int count_pad) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= H * W * pitch) return;
  const size_t at = (size_t)blockIdx.y * H * W * pitch + t;
  const int i = t % pitch, h = t / pitch / W + top, w = t / pitch % W + left;
  dy += (size_t)blockIdx.y * OH * OW * pitch;
  float sum = 0.f;
  if (i < C) {
    const int r1 = last_window(h, SH, OH), c0 = first_window(w, KW, SW, 1);
    for (int r = first_window(h, KH, SH, 1); r <= r1; ++r)
      for (int c = last_window(w, SW, OW); c >= c0; --c)
        sum += __fdiv_rn(dy[(r * OW + c) * pitch + i], (float)(covered(r * SH - top, KH, H, count_pad) * covered(c * SW - left, KW, W, count_pad)));
  }
  dx[at] = from != nullptr ? from[at] + sum : sum;
}
