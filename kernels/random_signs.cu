// random_signs: d = +1 or -1 by a fair coin, keyed by seed, image, step and pixel. It is that of
// attack.RandomSigns, to the bit.
//
// d is [images, width] of int8, of which inputs count. It is 0 in the padding. Its row 0 is image
// first (low and high word) of the data set. Pixel i takes bit i mod 128, lowest first, of block
// i/128 of Philox4x32-10. The key is seed (low and high), and the counter is (i/128, step, image
// low, image high). One thread makes a block of 128 pixels. The grid's x runs over the blocks of
// all images.
//
// Truth and CPU: attack/random.go. Launch: gpu/random_signs.go.
#include "philox.cuh"

extern "C" __global__ void __launch_bounds__(256)
random_signs(signed char *__restrict__ d, unsigned seed_low, unsigned seed_high, unsigned first_low, unsigned first_high, unsigned step, int images,
             int inputs, int width) {
  const int blocks = (width + 127) / 128;
  const int t = blockIdx.x * blockDim.x + threadIdx.x;
  const int image = t / blocks, block = t % blocks;
  if (image >= images) return;
  const unsigned long long number = ((unsigned long long)first_high << 32 | first_low) + (unsigned)image;
  unsigned c[4] = {(unsigned)block, step, (unsigned)number, (unsigned)(number >> 32)};
  philox(c, seed_low, seed_high);
  d += (size_t)image * width;
  const int end = min(width, (block + 1) * 128);
#pragma unroll
  for (int word = 0; word < 4; ++word)
    for (int bit = 0; bit < 32; ++bit) {
      const int i = block * 128 + word * 32 + bit;
      if (i < end) d[i] = i < inputs ? (signed char)(1 - 2 * (int)(c[word] >> bit & 1u)) : (signed char)0;
    }
}
