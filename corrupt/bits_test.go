package corrupt

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"testing"
)

// TestBits: results rest on the very bits of every corruption and transformation, which are the
// same on every machine. That they are right other tests say. The digits are those of amd64; arm64
// under qemu has the same.
func TestBits(t *testing.T) {
	src := randomImage(11, 3, 21, 32)
	sum := func(images ...Image) string {
		h := sha256.New()
		for _, im := range images {
			for _, v := range im.Pixels {
				h.Write(binary.LittleEndian.AppendUint64(nil, math.Float64bits(v)))
			}
		}
		return hex.EncodeToString(h.Sum(nil)[:8])
	}
	if math.MaxInt < 1<<40 {
		t.Skip("an index of 33 bits is no int here")
	}
	high := math.MaxInt>>29 + 1 // 2^34, in a form that a compiler for 32 bits takes
	got := map[string]string{}
	for _, c := range Corruptions {
		var all []Image
		for severity := 1; severity <= Severities; severity++ {
			all = append(all, apply(t, c.Name, src, severity, 1<<40+5, high/2+7))
		}
		got[c.Name] = sum(all...)
	}
	var all []Image
	for _, move := range StandardGrid.Transformations() {
		all = append(all, move.Apply(src))
	}
	got[Spatial] = sum(all...)
	want := map[string]string{
		"brightness":     "8d68e5a10f161253",
		"contrast":       "91cabd09e33d93b7",
		"gaussian_noise": "16ee6a748ec86c72",
		"impulse_noise":  "839cebfebf3269ad",
		"pixelate":       "d7f3a5be92d6f723",
		"shot_noise":     "320b9d44de7e4810",
		"spatial":        "42e42d361393af6b",
		"zoom_blur":      "37242edd00b87bde",
	}
	for name, digits := range got {
		if digits != want[name] {
			t.Errorf("%q: %q, want %q", name, digits, want[name])
		}
	}
}
