// pixels: x0 = p / 255 for bytes p, and widen: x = d for signs d.
//
// x0 [images, width], p [images, inputs]; x0 is 0 in the padding. x, d [n]. The division is IEEE's, as on the CPU.
// One thread an element of the output, any 1-D grid.
//
// Launch: gpu/pixels.go. On the CPU: Load in cpu/cpu.go.
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
