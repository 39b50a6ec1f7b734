package corrupt

import (
	"math"

	"advsweep/attack"
	"advsweep/internal/portable"
)

// streamKey is xored to the seed, so that no attack with that seed has the same words.
const streamKey = 0xC0442A97E5EED5A1

// A draw has the random numbers of one image under one corruption at one severity. Its words are
// those of attack.UniformDraw, with the corruption's stream as restart and the severity as step.
// Number i takes words 2i and 2i+1.
type draw struct{ words *attack.UniformDraw }

func newDraw(seed uint64, index, stream, severity int) draw {
	return draw{attack.NewUniformDraw(seed^streamKey, index, stream, severity)}
}

// uniform returns number i, a multiple of 2^-53 in [0, 1).
func (d draw) uniform(i int) float64 {
	return float64(uint64(d.words.Word(2*i))<<21|uint64(d.words.Word(2*i+1))>>11) * 0x1p-53
}

// normal returns number i of the standard normal distribution. With u and v of 32 bits each, u
// above 0, it is √(-2·ln u)·cos(2π·v): Box and Muller 1958, Annals of Mathematical Statistics 29.
// Its size is at most 6.8.
func (d draw) normal(i int) float64 {
	u := (float64(d.words.Word(2*i)) + 0.5) * 0x1p-32
	v := float64(d.words.Word(2*i+1)) * 0x1p-32
	return float64(math.Sqrt(-2*portable.Log(u)) * portable.Cos(2*math.Pi*v))
}
