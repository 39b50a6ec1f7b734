// arrange_forward: y[to[i]] = x[at[i]] for n numbers of a row, or 0 where at[i] is -1. arrange_backward:
// dx = from + the sum of what dy has at the places that a number went to.
//
// x, dx and from are [rows, x_width], and y and dy are [rows, y_width]. Both have their padding, and
// all places are counted with it. A launch forward writes what y has of one x. That of the first x
// writes zeros too, so that all launches together write all of y.
//
// Backward number t of x went to list[first[t]] to list[first[t + 1] - 1]. A sum runs from 0 in this
// order, which rises, as on the CPU. If first is null it went to list[t] alone. An entry of -1 is no
// place. from is null for 0, or may be dx. One thread makes a number. The grid is
// (⌈numbers/blockDim.x⌉, rows). Bound by memory.
//
// Truth: internal/ref arrange. Launch: gpu/arrange.go. On the CPU: cpu/arrange.go.
#include "portable.cuh"

extern "C" __global__ void __launch_bounds__(256)
arrange_forward(float *__restrict__ y, const float *__restrict__ x, const int *__restrict__ to, const int *__restrict__ at, int n, int x_width, int y_width) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  y[(size_t)blockIdx.y * y_width + to[i]] = at[i] < 0 ? 0.f : x[(size_t)blockIdx.y * x_width + at[i]];
}

extern "C" __global__ void __launch_bounds__(256)
arrange_backward(float *dx, const float *from, const float *__restrict__ dy, const int *__restrict__ first, const int *__restrict__ list, int x_width, int y_width) {
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  if (t >= x_width) return;
  const size_t at = (size_t)blockIdx.y * x_width + t;
  const int end = first != nullptr ? first[t + 1] : t + 1;
  float sum = 0.f;
  for (int k = first != nullptr ? first[t] : t; k < end; ++k)
    if (list[k] >= 0) sum = __fadd_rn(sum, dy[(size_t)blockIdx.y * y_width + list[k]]);
  dx[at] = from != nullptr ? __fadd_rn(from[at], sum) : sum;
}
