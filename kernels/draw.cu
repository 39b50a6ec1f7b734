// draw: the random direction d/by of a step, attack.RandomSigns and attack.UniformDraw to the bit.
//
// kind 0: d = +1 or -1, by 1, or if l2 √inputs. kind 1: a point d of the unit ball, of Linf or if l2 of L2, by 1.
// d [rows, width] of the chunk, of which inputs count, 0 in the padding; by [rows]. Row k of it is image number (low and
// high word) + (first + k) / E of the data set at restarts[(first + k) % E], or restart 0 if restarts is null. The key is seed (low and high),
// for kind 1 xor 0x9E3779B97F4A7C15, and the counter (block, restart·2^16 + step, image low, image high). One warp a row, 8 rows
// a block: four pixels of a lane take a block of random bits, the same four that its 128 pixels share for signs.
//
// Truth and CPU: attack/random.go. Launch and use: gpu/general.go.
#include "philox.cuh"
#include "warp_sum.cuh"

extern "C" __global__ void __launch_bounds__(256)
draw(float *__restrict__ d, double *__restrict__ by, const int *__restrict__ restarts, unsigned seed_low, unsigned seed_high, unsigned number_low,
     unsigned number_high, unsigned step, int kind, int l2, int first, int rows, int E, int inputs, int width) {
  const int k = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (k >= rows) return;
  const int r = first + k;
  const unsigned long long number = ((unsigned long long)number_high << 32 | number_low) + (unsigned)(r / E);
  const unsigned at = (restarts == nullptr ? 0u : (unsigned)restarts[r % E]) << 16 | step;
  d += (size_t)k * width;
  double divisor = 1.0;
  if (kind == 0) {
    for (int block = 0; block * 128 < width; ++block) {
      unsigned c[4] = {(unsigned)block, at, (unsigned)number, (unsigned)(number >> 32)};
      philox(c, seed_low, seed_high);
#pragma unroll
      for (int word = 0; word < 4; ++word) {
        const int p = block * 128 + word * 32 + lane;
        if (p < width) d[p] = p < inputs ? (float)(1 - 2 * (int)(c[word] >> lane & 1u)) : 0.f;
      }
    }
    if (l2) divisor = sqrt((double)inputs);
  } else {
    seed_low ^= 0x7F4A7C15u;
    seed_high ^= 0x9E3779B9u;
    double squares = 0.0;  // a sum of integers: exact
    for (int block = lane; block * 4 < width; block += 32) {
      unsigned c[4] = {(unsigned)block, at, (unsigned)number, (unsigned)(number >> 32)};
      philox(c, seed_low, seed_high);
#pragma unroll
      for (int word = 0; word < 4; ++word) {
        const int p = block * 4 + word;
        const unsigned w = c[word];
        const int bytes = (int)((w & 255u) + (w >> 8 & 255u) + (w >> 16 & 255u) + (w >> 24)) - 510;
        const float v = p >= inputs ? 0.f : l2 ? (float)bytes : (float)(w >> 8) * 0x1p-23f - 1.f;
        squares += (double)v * v;
        d[p] = v;
      }
    }
    squares = warp_sum(squares);
    if (l2) {
      unsigned c[4] = {0xFFFFFFFFu, at, (unsigned)number, (unsigned)(number >> 32)};
      philox(c, seed_low, seed_high);
      const double radius = squares == 0.0 ? 0.0 : (double)(c[0] >> 8) * 0x1p-24 / sqrt(squares);
      for (int block = lane; block * 4 < width; block += 32)  // what this lane wrote
#pragma unroll
        for (int p = block * 4; p < block * 4 + 4; ++p) d[p] = (float)__dmul_rn(d[p], radius);
    }
  }
  if (lane == 0) by[k] = divisor;
}
