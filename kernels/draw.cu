// draw: the random direction d/by of a step. It is that of attack.RandomSigns or
// attack.UniformDraw, to the bit.
//
// For kind 0 d is +1 or -1, and by is 1, or √inputs if l2. For kind 1 d is a point of the unit
// ball, of L2 if l2 and else of Linf, and by is 1.
//
// d is [rows, width] of the chunk, of which inputs count. It is 0 in the padding. by is [rows]. Row
// k of the chunk is image number (low and high word) + (first + k) / E of the data set. Its restart
// is restarts[(first + k) % E], or 0 if restarts is null.
//
// The key is seed (low and high), for kind 1 xor 0x9E3779B97F4A7C15. The counter is (block,
// restart·2^16 + step, image low, image high). For kind 0 128 pixels share a block of random bits, a
// bit each. For kind 1 four pixels share one, a word each. One warp makes a row, and a block of
// threads has 8 rows.
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
