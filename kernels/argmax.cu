// argmax: the class of each row. That is the first largest of its logits, or -1 if one is not
// finite.
//
// cls is [rows], and z is [rows, width], of which classes count. One thread makes a row. Any 1-D
// grid that covers rows will do.
//
// Truth: internal/ref Argmax. Launch: gpu/argmax.go. On the CPU: cpu/argmax.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
argmax(int *__restrict__ cls, const float *__restrict__ z, int rows, int classes, int width) {
  const int r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  z += (size_t)r * width;
  int best = 0;
  bool finite = true;
  for (int j = 0; j < classes; ++j) {
    finite &= z[j] - z[j] == 0.f;
    if (z[j] > z[best]) best = j;
  }
  cls[r] = finite ? best : -1;
}
