// loss_gradient: q_j = exp(z_j) / Σ_{k≠y} exp(z_k) for j ≠ y, q_y = -1.
//
// This is ∂L/∂z = softmax(z) - onehot(y) divided by 1 - p_y > 0, in which nothing cancels however confident the model
// is; p_y - 1 in float32 is 0 or rounding once the margin passes 17.3. Sums and exponentials are in float64, as
// on the CPU: ten of them a row are nothing beside the products.
//
// q, z [rows, width], of which classes count; q is 0 in the padding. Row r has image (first + r) / E of labels.
// One thread a row, in the order of the classes; any 1-D grid that covers rows.
//
// Truth: internal/ref LossGradient. Launch: gpu/loss_gradient.go. On the CPU: cpu/loss_gradient.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
loss_gradient(float *__restrict__ q, const float *__restrict__ z, const int *__restrict__ labels, int first, int rows, int E, int classes, int width) {
  const int r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  const int y = labels[(first + r) / E];
  z += (size_t)r * width;
  q += (size_t)r * width;
  float top = -INFINITY;
#pragma unroll 1
  for (int j = 0; j < classes; ++j)
    if (j != y) top = fmaxf(top, z[j]);
  double sum = 0.0;
#pragma unroll 1
  for (int j = 0; j < classes; ++j)
    if (j != y) sum += exp((double)z[j] - top);
#pragma unroll 1
  for (int j = 0; j < width; ++j) q[j] = j >= classes ? 0.f : j == y ? -1.f : (float)(exp((double)z[j] - top) / sum);
}
