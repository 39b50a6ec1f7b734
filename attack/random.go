package attack

import (
	"fmt"
	"math"
	"math/bits"

	"advsweep/internal/portable"
)

// RandomSigns writes +1 or -1 to each of dst [I], a fair coin for every pixel of one image at one
// step of an attack. The draw depends on the seed, the image's index in its data set, the restart,
// the step and the pixel's index alone: not on batch size, threads or backend. Pixel i takes bit i
// mod 128, lowest first, of the i/128-th block of Philox4x32-10 under the key seed, counter (i/128,
// restart·2^16 + step, image low, image high).
//
// Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
func RandomSigns(dst []int8, seed uint64, image, restart, step int) {
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	c1 := uint32(restart)<<16 | uint32(step)
	for at := 0; at < len(dst); at += 128 {
		r := philox([4]uint32{uint32(at / 128), c1, uint32(image), uint32(uint64(image) >> 32)}, key)
		for i := range dst[at:min(at+128, len(dst))] {
			dst[at+i] = 1 - 2*int8(r[i/32]>>(i%32)&1)
		}
	}
}

// A UniformDraw is a point of the unit ball of a norm, drawn for one image at one restart and step
// of an attack, in integers, so that every backend has the same.
type UniformDraw struct {
	key   [2]uint32
	c     [3]uint32
	block uint32
	have  bool
	r     [4]uint32 // block, if have
}

// NewUniformDraw returns the draw that is keyed so. Its blocks are those of Philox4x32-10 under the
// key seed xor 0x9E3779B97F4A7C15, counter (block, restart·2^16 + step, image low, image high);
// RandomSigns shares none of them.
func NewUniformDraw(seed uint64, image, restart, step int) *UniformDraw {
	seed ^= 0x9E3779B97F4A7C15
	return &UniformDraw{
		key: [2]uint32{uint32(seed), uint32(seed >> 32)},
		c:   [3]uint32{uint32(restart)<<16 | uint32(step), uint32(image), uint32(uint64(image) >> 32)},
	}
}

// Word returns 32 random bits: word i mod 4 of block i/4. It serves methods that draw something else
// than a point. Those of one step share the words, so that each has to say which it takes.
func (u *UniformDraw) Word(i int) uint32 {
	if b := uint32(i / 4); !u.have || b != u.block {
		u.block, u.have = b, true
		u.r = philox([4]uint32{b, u.c[0], u.c[1], u.c[2]}, u.key)
	}
	return u.r[i%4]
}

// Linf returns 2·u - 1 of pixel i, u a multiple of 2^-24 in [0, 1).
func (u *UniformDraw) Linf(i int) float64 { return float64(float64(u.Word(i)>>8)*0x1p-23) - 1 }

// Bytes returns the sum of the four bytes of word i less 510: from -510 to 510, near normal.
func (u *UniformDraw) Bytes(i int) int32 {
	w := u.Word(i)
	return int32(w&255+w>>8&255+w>>16&255+w>>24) - 510
}

// L2 writes v [I], Bytes of each pixel, and returns the factor that makes it a point of the ball at
// a radius that is uniform: u/√Σv², u uniform as of Linf from word 0 of the last block. The factor
// is 0 if all of v is.
func (u *UniformDraw) L2(v []int32) float64 {
	n := int64(0)
	for i := range v {
		v[i] = u.Bytes(i)
		n += int64(v[i]) * int64(v[i])
	}
	if n == 0 {
		return 0
	}
	last := philox([4]uint32{1<<32 - 1, u.c[0], u.c[1], u.c[2]}, u.key)
	return float64(last[0]>>8) * 0x1p-24 / math.Sqrt(float64(n))
}

// Normals writes to dst [I] independent standard normal numbers: draw number draw, from 0 to 2³²-1,
// of one image, whose index in its data set is image. That of pixel i is Φ⁻¹((w + 1/2)/2³²), where w
// is word i mod 4 of the i/4-th block of Philox4x32-10 under the key seed xor 0xBB67AE8584CAA73B,
// counter (block, draw, image low, image high). So it has the same bits on every machine, and none
// lies beyond 6.35. RandomSigns and UniformDraw share no block with it.
func Normals(dst []float64, seed uint64, image int, draw uint32) {
	seed ^= 0xBB67AE8584CAA73B
	key := [2]uint32{uint32(seed), uint32(seed >> 32)}
	for at := 0; at < len(dst); at += 4 {
		r := philox([4]uint32{uint32(at / 4), draw, uint32(image), uint32(uint64(image) >> 32)}, key)
		for i := range dst[at:min(at+4, len(dst))] {
			dst[at+i] = portable.NormalQuantile((float64(r[i]) + 0.5) * 0x1p-32)
		}
	}
}

// restartOf is the restart of row k, of the restarts of its columns; 0 if these are nil.
func restartOf(columns []int, k int) int {
	if columns == nil {
		return 0
	}
	return columns[k%len(columns)]
}

// Drawn returns s, a step along a random direction of rows whose images have these indexes [N], as
// one that goes Along what it draws. Rows of an image need not be neighbours then, nor images. size
// is I. It returns an error for another direction.
func (s Step) Drawn(images []int, size int) (Step, error) {
	along := make([]float64, len(images)*size)
	signs, bytes := make([]int8, size), make([]int32, size)
	for k, image := range images {
		d, restart := along[k*size:][:size], restartOf(s.Restarts, k)
		switch {
		case s.Direction == RandomSign:
			RandomSigns(signs, s.Seed, image, restart, s.Index)
			by := 1.0
			switch s.Norm {
			case L2:
				by = math.Sqrt(float64(size))
			case L1:
				by = float64(size)
			}
			for i, v := range signs {
				d[i] = float64(v) / by
			}
		case s.Direction == Uniform && s.Norm == Linf:
			u := NewUniformDraw(s.Seed, image, restart, s.Index)
			for i := range d {
				d[i] = u.Linf(i)
			}
		case s.Direction == Uniform && (s.Norm == L2 || s.Norm == L1):
			f := NewUniformDraw(s.Seed, image, restart, s.Index).L2(bytes)
			if s.Norm == L1 { // the same direction, with that radius in the other norm
				squares, sizes := 0.0, 0.0
				for _, v := range bytes {
					squares += float64(float64(v) * float64(v))
					sizes += math.Abs(float64(v))
				}
				if f != 0 {
					f = f * math.Sqrt(squares) / sizes
				}
			}
			for i, v := range bytes {
				d[i] = float64(v) * f
			}
		default:
			return s, fmt.Errorf("attack: a draw of direction %d, norm %v: want a random direction, linf, l2 or l1", s.Direction, s.Norm)
		}
	}
	s.Direction, s.Along = Along, along
	return s, nil
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
