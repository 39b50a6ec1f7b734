// sign_of: d = sign(g) with sign(0) = 0, and two things to know of each row.
//
// d is [rows, width] of int8, and g is [rows, width], of which inputs count. d is 0 in the padding.
// zero[r] is set to 1 if g is 0 in every pixel of row r, and else left as it is. broken becomes the
// least image + (first + r) / E of a row in which g is not finite, if that is less than it was. One
// warp makes a row, and a block has 8 rows.
//
// Truth: the signs in internal/ref SignStep. Launch: gpu/sign_step.go. On the CPU:
// cpu/sign_step.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
sign_of(signed char *__restrict__ d, unsigned char *__restrict__ zero, int *__restrict__ broken, const float *__restrict__ g, int image, int first, int rows,
        int E, int inputs, int width) {
  const int r = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (r >= rows) return;  // whole warps leave together
  d += (size_t)r * width;
  g += (size_t)r * width;
  bool some = false, finite = true;
  for (int i = lane; i < width; i += 32) {
    const float v = i < inputs ? g[i] : 0.f;
    const int s = (v > 0.f) - (v < 0.f);
    some |= s != 0;
    finite &= v - v == 0.f;
    d[i] = (signed char)s;
  }
  some = __any_sync(FULL_WARP, some);
  finite = __all_sync(FULL_WARP, finite);
  if (lane == 0 && !some) zero[r] = 1;
  if (lane == 0 && !finite) atomicMin(broken, image + (first + r) / E);
}
