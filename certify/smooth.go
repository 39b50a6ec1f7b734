package certify

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"advsweep/internal/lower"
	"advsweep/internal/portable"
)

// A smooth is a function whose derivative changes by at most bend for each unit, so that between
// two points h apart it leaves its chord by at most bend·h²/8. Both lines have the slope of the
// chord from end to end; their heights are looked for at points between.
type smooth struct {
	value func(x float64) float64 // within 1e-12·(1 + |x|)
	bend  float64
	rises bool // nowhere falls
}

const smoothError = 1e-12

// grid calls visit at points from l to u, and returns how far the function leaves the chords
// between neighbours at most.
func (f smooth) grid(l, u float64, visit func(x, y float64)) (off float64) {
	const finest, most, least = 1.0 / 16, 256, 4
	n := least
	if w := (u - l) / finest; w > least {
		n = int(min(most, math.Ceil(w)))
	}
	for k := range n + 1 {
		x := l + float64((u-l)*(float64(k)/float64(n)))
		if k == n {
			x = u
		}
		visit(x, f.value(x))
	}
	h := (u-l)/float64(n) + float64(8*unit64*(math.Abs(l)+math.Abs(u)))
	return up(float64(f.bend*h)*h/8) + float64(smoothError*(1+math.Abs(l)+math.Abs(u)))
}

func (f smooth) straight(l, u float64) (w, b float64, ok bool) { return 0, 0, false }

func (f smooth) span(l, u float64) (lo, hi float64) {
	if f.rises {
		off := float64(smoothError * (1 + math.Abs(l) + math.Abs(u)))
		return f.value(l) - off, f.value(u) + off
	}
	return f.heights(l, u, 0, 0)
}

func (f smooth) slopes(l, u float64) (lower, upper float32) {
	s := (f.value(u) - f.value(l)) / (u - l)
	if s-s != 0 || u-l < 1e-9 { // the difference is mostly rounding
		s = 0
	}
	return float32(s), float32(s)
}

func (f smooth) heights(l, u float64, lower, upper float32) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	off := f.grid(l, u, func(x, y float64) {
		lo, hi = min(lo, y-float64(float64(lower)*x)), max(hi, y-float64(float64(upper)*x))
	})
	off += float64(8 * unit64 * (math.Abs(l) + math.Abs(u)) * (math.Abs(float64(lower)) + math.Abs(float64(upper))))
	return lo - off, hi + off
}

func (smooth) pivot(l, u float64) (x, y float64, least, most float32, ok bool) {
	return 0, 0, 0, 0, false
}

func sigmoid(x float64) float64 {
	if x < 0 {
		e := portable.Exp(x)
		return e / (1 + e)
	}
	return 1 / (1 + portable.Exp(-x))
}

// relaxations has, by the name that model.Elementwise gives, what is known of functions of one
// number. bend is the largest second derivative: of the sigmoid 1/(6√3), of tanh 4/(3√3), of GELU
// 2φ(0), of SiLU 1/2 at 0, of softplus 1/4, of erf √(8/(πe)).
var relaxations = map[string]func(p [2]float64) relaxation{
	"relu":       func([2]float64) relaxation { return piecewise{kinks: []float64{0}, slope: []float64{0, 1}} },
	"leaky_relu": func(p [2]float64) relaxation { return piecewise{kinks: []float64{0}, slope: []float64{p[0], 1}} },
	"abs":        func([2]float64) relaxation { return piecewise{kinks: []float64{0}, slope: []float64{-1, 1}} },
	"clip":       func(p [2]float64) relaxation { return clip(p[0], p[1]) },
	"sigmoid":    func([2]float64) relaxation { return smooth{sigmoid, 0.0963, true} },
	"tanh":       func([2]float64) relaxation { return smooth{portable.Tanh, 0.7699, true} },
	"gelu": func([2]float64) relaxation {
		return smooth{func(x float64) float64 { return 0.5 * x * portable.Erfc(-x/math.Sqrt2) }, 0.798, false}
	},
	"silu": func([2]float64) relaxation {
		return smooth{func(x float64) float64 { return x * sigmoid(x) }, 0.5001, false}
	},
	"softplus": func([2]float64) relaxation {
		return smooth{func(x float64) float64 { return max(x, 0) + portable.Log1p(portable.Exp(-math.Abs(x))) }, 0.2501, true}
	},
	"erf": func([2]float64) relaxation { return smooth{portable.Erf, 0.9680, true} },
	"sin": func([2]float64) relaxation { return smooth{portable.Sin, 1, false} },
	"cos": func([2]float64) relaxation { return smooth{portable.Cos, 1, false} },
}

// clip is x between lo and hi, either of which may be infinite.
func clip(lo, hi float64) relaxation {
	switch {
	case math.IsInf(lo, -1) && math.IsInf(hi, 1):
		return piecewise{kinks: []float64{0}, slope: []float64{1, 1}}
	case math.IsInf(lo, -1):
		return piecewise{kinks: []float64{hi}, slope: []float64{1, 0}, value: hi}
	case math.IsInf(hi, 1) || lo == hi:
		end := 1.0
		if lo == hi {
			end = 0
		}
		return piecewise{kinks: []float64{lo}, slope: []float64{0, end}, value: lo}
	}
	return piecewise{kinks: []float64{lo, hi}, slope: []float64{0, 1, 0}, value: lo}
}

// relaxationOf returns the row of e. It returns an error that names e if there is none.
func relaxationOf(e lower.Elementwise) (relaxation, error) {
	if f, ok := relaxations[e.Name]; ok {
		return f(e.Parameters), nil
	}
	return nil, fmt.Errorf("no bounds are known for the function %q, but for %q", e.Name, slices.Sorted(maps.Keys(relaxations)))
}
