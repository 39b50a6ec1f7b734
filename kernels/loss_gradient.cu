// loss_gradient: q, a positive multiple of the gradient at the logits z of a row with label y. The
// loss is number loss of those below. With a target t it is minus the loss of coming near to t.
//
// 0, cross-entropy  q_j = exp(z_j) / Σ_{k≠y} exp(z_k) for j ≠ y, and q_y = -1.
//                   With a target q is minus that, with t for y.
// 1, margin         e_m - e_y, where m is the first largest but y.
//                   With a target e_t - e_m, where m is the first largest but t.
// 2, DLR            d·∂n - n·∂d by the larger of |n| and d, and the sign of -n/d; -∂n where d is 0.
//                   n = z_y - z_m (or z_t), and d = z_π1 - z_π3 (or z_π1 - (z_π3 + z_π4)/2).
//                   π are the classes by falling logit, first on ties.
//
// The first is ∂L/∂z = softmax(z) - onehot(y) divided by 1 - p_y > 0. Nothing cancels in it however
// confident the model is. p_y - 1 in float32 is 0 or rounding once the margin passes 17.3. Sums and
// exponentials are in float64, as on the CPU: ten of them a row are nothing beside the products. In
// the other two a logit that is not finite makes NaN.
//
// q and z are [rows, width], of which classes count. q is 0 in the padding. Row r has image (first
// + r) / E of labels, and targets[r] if targets is not null. One thread makes a row, in the order
// of the classes. Any 1-D grid that covers rows will do.
//
// Truth: internal/ref LossGradient. Launch: gpu/loss_gradient.go. On the CPU: cpu/loss_gradient.go.
#include "portable.cuh"

// largest is the first largest of z but the classes a, b and c.
__device__ __forceinline__ int largest(const float *__restrict__ z, int classes, int a, int b = -1, int c = -1) {
  int best = -1;
  float top = 0.f;
#pragma unroll 1
  for (int j = 0; j < classes; ++j) {
    if (j == a || j == b || j == c || (best >= 0 && z[j] <= top)) continue;
    best = j;
    top = z[j];
  }
  return best;
}

__device__ __forceinline__ void margin_gradient(float *__restrict__ q, const float *__restrict__ z, int y, int target, int classes) {
  if (target < 0) {
    q[largest(z, classes, y)] = 1.f;
    q[y] = -1.f;
  } else {
    q[largest(z, classes, target)] = -1.f;
    q[target] = 1.f;
  }
}

__device__ __forceinline__ void dlr_gradient(float *__restrict__ q, const float *__restrict__ z, int y, int target, int classes) {
  const int p1 = largest(z, classes, -1), p2 = largest(z, classes, p1), p3 = largest(z, classes, p1, p2);
  // d is z_p1 less the mean of z_p3 and z_low.
  const int low = target < 0 ? p3 : largest(z, classes, p1, p2, p3);
  const int to = target >= 0 ? target : p1 == y ? p2 : p1;
  double n = (double)z[y] - z[to];
  double d = z[p1] - ((double)z[p3] / 2 + (double)z[low] / 2);
  if (d == 0) {
    n = 0;
    d = 1;
  }
  const double by = fmax(fabs(n), d);
  n /= by;
  d /= by;
  const auto sum = [=](int j) {  // of the terms of class j, which may be several: it rounds once
    double s = 0.0;
    if (j == p1) s += n;
    if (j == p3) s -= n / 2;
    if (j == low) s -= n / 2;
    if (j == y) s -= d;
    if (j == to) s += d;
    return (float)s;
  };
  q[p1] = sum(p1);
  q[p3] = sum(p3);
  q[low] = sum(low);
  q[y] = sum(y);
  q[to] = sum(to);
}

extern "C" __global__ void __launch_bounds__(256)
loss_gradient(float *__restrict__ q, const float *__restrict__ z, const int *__restrict__ labels, const int *__restrict__ targets, int loss, int first,
              int rows, int E, int classes, int width) {
  const int r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  int y = labels[(first + r) / E];
  const int target = targets == nullptr ? -1 : targets[r];
  z += (size_t)r * width;
  q += (size_t)r * width;
  if (loss != 0) {
    bool finite = true;
#pragma unroll 1
    for (int k = 0; k < width; ++k) {
      q[k] = 0.f;
      finite &= k >= classes || z[k] - z[k] == 0.f;
    }
    if (!finite) {
      q[0] = NAN;
    } else if (loss == 1) {
      margin_gradient(q, z, y, target, classes);
    } else {
      dlr_gradient(q, z, y, target, classes);
    }
    return;
  }
  const float sign = target < 0 ? 1.f : -1.f;
  if (target >= 0) y = target;
  float top = -INFINITY;
#pragma unroll 1
  for (int j = 0; j < classes; ++j)
    if (j != y) top = fmaxf(top, z[j]);
  double sum = 0.0;
#pragma unroll 1
  for (int j = 0; j < classes; ++j)
    if (j != y) sum += exp((double)z[j] - top);
#pragma unroll 1
  for (int j = 0; j < width; ++j) q[j] = j >= classes ? 0.f : sign * (j == y ? -1.f : (float)(exp((double)z[j] - top) / sum));
}
