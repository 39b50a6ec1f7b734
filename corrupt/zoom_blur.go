package corrupt

import "math"

// zoomBlur is the mean of an image and of its middle enlarged by factors 1, 1.01, 1.02 and so on
// below c.
var zoomBlur = Corruption{
	Name: "zoom_blur", About: "the mean of an image and its enlargements", Source: hendrycks,
	Constants: [Severities]float64{1.06, 1.11, 1.16, 1.21, 1.26},
	Meaning:   "zooms below",
	apply: func(dst, src Image, c float64, _ draw) {
		factors := zooms(c)
		copy(dst.Pixels, src.Pixels)
		for _, z := range factors {
			down, across := enlarged(src.H, z), enlarged(src.W, z)
			for ch := range src.C {
				from, to := src.plane(ch), dst.plane(ch)
				for r, y := range down {
					for s, x := range across {
						to[r*src.W+s] += between(x.part, between(y.part, from[y.lo*src.W+x.lo], from[y.hi*src.W+x.lo]),
							between(y.part, from[y.lo*src.W+x.hi], from[y.hi*src.W+x.hi]))
					}
				}
			}
		}
		for i := range dst.Pixels {
			dst.Pixels[i] /= float64(len(factors) + 1)
		}
	},
}

// zooms are the numbers of numpy.arange(1, top, 0.01), which may hold one that is not below top.
func zooms(top float64) []float64 {
	first, step := 1.0, 0.01
	factors := make([]float64, int(math.Ceil((top-first)/step)))
	by := first + step - first // as NumPy takes the difference of the first two
	for i := range factors {
		factors[i] = first + float64(float64(i)*by)
	}
	return factors
}

// A place lies between numbers lo and hi of a row or column, the part [0, 1) of the way from lo.
type place struct {
	lo, hi int
	part   float64
}

// enlarged returns where each of n numbers of a row comes from when the middle of the row is
// enlarged by z < 1.5: the ceil(n/z) numbers in the middle become round(z·ceil(n/z)), the first and
// the last where they were. These are n or n+1, and the last is left out.
func enlarged(n int, z float64) []place {
	cut := int(math.Ceil(float64(n) / z))
	top := (n - cut) / 2
	out := int(math.RoundToEven(float64(float64(cut) * z)))
	all := make([]place, n)
	for k := range all {
		at := 0.0
		if out > 1 {
			at = float64(k*(cut-1)) / float64(out-1)
		}
		lo := min(int(at), cut-1)
		all[k] = place{top + lo, top + min(lo+1, cut-1), at - float64(lo)}
	}
	return all
}

// between is the part of the way from a to b.
func between(part, a, b float64) float64 { return float64((1-part)*a) + float64(part*b) }
