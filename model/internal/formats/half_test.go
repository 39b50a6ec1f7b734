package formats

import (
	"encoding/binary"
	"math"
	"testing"
)

// All 65,536 values, against the definition of the format in float64:
// (-1)^s · 2^(e-15) · (1 + f/1024), and 2^-14 · f/1024 for e = 0.
func TestHalf(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		got := math.Float32frombits(FromHalf(h))
		sign, e, f := 1-2*float64(h>>15), int(h>>10&31), float64(h&1023)/1024
		var want float64
		switch {
		case e == 31 && f != 0:
			if got == got {
				t.Fatalf("FromHalf(%#04x) = %v, want NaN", h, got)
			}
			continue
		case e == 31:
			want = math.Inf(int(sign))
		case e == 0:
			want = math.Copysign(math.Ldexp(f, -14), sign)
		default:
			want = sign * math.Ldexp(1+f, e-15)
		}
		if math.Float64bits(float64(got)) != math.Float64bits(want) {
			t.Fatalf("FromHalf(%#04x) = %v, want %v", h, got, want)
		}
		back, ok := ToHalf(want)
		if ok != (e != 31) || ok && back != h {
			t.Fatalf("ToHalf(%v) = %#04x, %t, want %#04x, %t", want, back, ok, h, e != 31)
		}
	}
}

// Between each two neighbours: the middle goes to the even one, and what lies
// next to the middle in float64, but not in float32, to the nearer one.
func TestToHalfRounding(t *testing.T) {
	for h := uint16(0); h < 0x7c00; h++ {
		low, high := float64(math.Float32frombits(FromHalf(h))), 65536.0
		if h < 0x7bff {
			high = float64(math.Float32frombits(FromHalf(h + 1)))
		}
		middle := (low + high) / 2
		even := h + h&1
		for _, c := range []struct {
			v    float64
			want uint16
		}{{math.Nextafter(middle, 0), h}, {middle, even}, {math.Nextafter(middle, 1e9), h + 1}} {
			got, ok := ToHalf(c.v)
			if ok != (c.want < 0x7c00) || ok && got != c.want {
				t.Fatalf("ToHalf(%v) = %#04x, %t, want %#04x", c.v, got, ok, c.want)
			}
			if got, ok := ToHalf(-c.v); ok && got != c.want|0x8000 {
				t.Fatalf("ToHalf(%v) = %#04x, want %#04x", -c.v, got, c.want|0x8000)
			}
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 65520, -65520, math.MaxFloat64} {
		if got, ok := ToHalf(v); ok {
			t.Errorf("ToHalf(%v) = %#04x, true, want false", v, got)
		}
	}
	if got, ok := ToHalf(5e-324); !ok || got != 0 {
		t.Errorf("ToHalf(5e-324) = %#04x, %t, want 0, true", got, ok)
	}
}

// All 65,536 values: 8 exponent bits and 7 of the fraction, as in binary32.
func TestBfloat(t *testing.T) {
	for i := range 1 << 16 {
		b := uint16(i)
		got := math.Float32frombits(FromBfloat(b))
		sign, e, f := 1-2*float64(b>>15), int(b>>7&255), float64(b&127)/128
		var want float64
		switch {
		case e == 255 && f != 0:
			if got == got {
				t.Fatalf("FromBfloat(%#04x) = %v, want NaN", b, got)
			}
			continue
		case e == 255:
			want = math.Inf(int(sign))
		case e == 0:
			want = math.Copysign(math.Ldexp(f, -126), sign)
		default:
			want = sign * math.Ldexp(1+f, e-127)
		}
		if math.Float64bits(float64(got)) != math.Float64bits(want) {
			t.Fatalf("FromBfloat(%#04x) = %v, want %v", b, got, want)
		}
	}
}

// Many at once are those that are read one by one, whatever their number.
func TestHalves(t *testing.T) {
	b := make([]byte, 1<<17)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(b[2*i:], uint16(i))
	}
	for _, n := range []int{0, 1, 2, 3, 4, 5, 7, 1001, 1 << 16} {
		half, bfloat, wide := make([]float32, n), make([]float32, n), make([]float64, n)
		FromHalves(half, b)
		FromBfloats(bfloat, b)
		FromHalves(wide, b)
		for i := range n {
			if got, want := math.Float32bits(half[i]), FromHalf(uint16(i)); got != want && half[i] == half[i] {
				t.Fatalf("half %d of %d is %#08x, want %#08x", i, n, got, want)
			}
			if got, want := math.Float32bits(bfloat[i]), FromBfloat(uint16(i)); got != want && bfloat[i] == bfloat[i] {
				t.Fatalf("bfloat %d of %d is %#08x, want %#08x", i, n, got, want)
			}
			if want := float64(math.Float32frombits(FromHalf(uint16(i)))); wide[i] != want && want == want {
				t.Fatalf("half %d of %d is %v as float64, want %v", i, n, wide[i], want)
			}
			if nan := uint16(i)&0x7fff > 0x7c00; nan == (half[i] == half[i]) {
				t.Fatalf("half %d of %d is %v", i, n, half[i])
			}
		}
	}
}
