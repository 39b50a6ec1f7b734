// pixels: x0 = p / 255 for bytes p. widen: x = d for signs d.
//
// x0 is [images, width], p is [images, inputs], and x and d are [n]. x0 is 0 in the padding. The
// division is IEEE's, as on the CPU. One thread makes an element. Any 1-D grid will do.
//
// Launch: gpu/pixels.go. On the CPU: cpu/load.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
pixels(float *__restrict__ x0, const unsigned char *__restrict__ p, int images, int inputs, int width) {
  const long long n = (long long)images * width;
  for (long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x; t < n; t += (long long)gridDim.x * blockDim.x) {
    const long long image = t / width, i = t % width;
    x0[t] = i < inputs ? __fdiv_rn((float)p[image * inputs + i], 255.f) : 0.f;
  }
}

extern "C" __global__ void __launch_bounds__(256)
widen(float *__restrict__ x, const signed char *__restrict__ d, long long n) {
  for (long long t = (long long)blockIdx.x * blockDim.x + threadIdx.x; t < n; t += (long long)gridDim.x * blockDim.x) x[t] = (float)d[t];
}
