// avg_pool_forward: y = the mean of each window, avg_pool_backward: dx = from + the sum, over the windows that an element is in,
// of dy over the window's size. That counts the elements within the image, or if count_pad all.
//
// x [rows, in_width] of channels [H, W], y [rows, out_width] of channels [OH, OW]; inputs and outputs are the elements that count; what is
// written is 0 in the padding. Sums by rows. dx, from as x, dy as y; from is null for 0, or may be dx. One thread an element, grid
// (⌈width/blockDim.x⌉, rows).
//
// Truth: internal/ref avgPool2D. Launch: gpu/network.go.
#include "window.cuh"

// window_size is how many of the elements of a window of that kernel from first on count.
__device__ __forceinline__ int window_size(int first, int kernel, int elements, int count_pad) {
  return count_pad ? kernel : min(first + kernel, elements) - max(first, 0);
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool_forward(float *__restrict__ y, const float *__restrict__ x, int in_width, WINDOW, int count_pad, int outputs, int out_width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= out_width) return;
  float sum = 0.f;
  if (t < outputs) {
    const int h0 = t / OW % OH * SH - top, w0 = t % OW * SW - left;
    x += (size_t)blockIdx.y * in_width + (size_t)(t / (OH * OW)) * H * W;
    for (int h = max(h0, 0); h < min(h0 + KH, H); ++h)
      for (int w = max(w0, 0); w < min(w0 + KW, W); ++w) sum += x[h * W + w];
    sum = __fdiv_rn(sum, (float)(window_size(h0, KH, H, count_pad) * window_size(w0, KW, W, count_pad)));
  }
  y[(size_t)blockIdx.y * out_width + t] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
avg_pool_backward(float *dx, const float *from, const float *__restrict__ dy, int inputs, int in_width, WINDOW, int count_pad, int out_width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= in_width) return;
  const size_t at = (size_t)blockIdx.y * in_width + t;
  float sum = 0.f;
  if (t < inputs) {
    const int h = t / W % H + top, w = t % W + left;
    const int r1 = last_window(h, SH, OH), c1 = last_window(w, SW, OW);
    dy += (size_t)blockIdx.y * out_width + (size_t)(t / (H * W)) * OH * OW;
    for (int r = first_window(h, KH, SH); r <= r1; ++r)
      for (int c = first_window(w, KW, SW); c <= c1; ++c)
        sum += __fdiv_rn(dy[r * OW + c], (float)(window_size(r * SH - top, KH, H, count_pad) * window_size(c * SW - left, KW, W, count_pad)));
  }
  dx[at] = from != nullptr ? from[at] + sum : sum;
}
