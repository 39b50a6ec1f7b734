package attack

import "math/bits"

// RandomSigns writes +1 or -1 to each of dst [I], a fair coin for every pixel of
// one image at one step of an attack. The draw depends on the seed, the image's index in its
// data set, the step and the pixel's index alone: not on batch size, threads or backend. Pixel i
// takes bit i mod 128, lowest first, of the i/128-th block of Philox4x32-10 under the
// key seed, counter (i/128, step, image low, image high).
//
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
func RandomSigns(dst []int8, seed uint64, image, step int) {
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	for at := 0; at < len(dst); at += 128 {
		r := philox([4]uint32{uint32(at / 128), uint32(step), uint32(image), uint32(uint64(image) >> 32)}, key)
		for i := range dst[at:min(at+128, len(dst))] {
			dst[at+i] = 1 - 2*int8(r[i/32]>>(i%32)&1)
		}
	}
}

// philox is Philox4x32 with 10 rounds.
func philox(c [4]uint32, k [2]uint32) [4]uint32 {
	for range 10 {
		hi0, lo0 := bits.Mul32(0xD2511F53, c[0])
		hi1, lo1 := bits.Mul32(0xCD9E8D57, c[2])
		c = [4]uint32{hi1 ^ c[1] ^ k[0], lo1, hi0 ^ c[3] ^ k[1], lo0}
		k[0] += 0x9E3779B9
		k[1] += 0xBB67AE85
	}
	return c
}
