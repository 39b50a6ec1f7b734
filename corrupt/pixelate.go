package corrupt

import "math"

// pixelate scales an image to c times its height and width by a box filter, and back by the nearest
// pixel. Between the two passes of the filter, along rows and then along columns, pixels are
// rounded to levels n/255, as Pillow does, which the script uses.
var pixelate = Corruption{
	Name: "pixelate", About: "scales down by boxes and up by the nearest pixel", Source: hendrycks,
	Constants: [Severities]float64{0.95, 0.9, 0.85, 0.75, 0.65},
	Meaning:   "size down",
	apply: func(dst, src Image, c float64, _ draw) {
		h, w := max(1, int(float64(float64(src.H)*c))), max(1, int(float64(float64(src.W)*c)))
		across, down := boxes(src.W, w), boxes(src.H, h)
		narrow, small := make([]float64, src.H*w), make([]float64, h*w)
		for ch := range src.C {
			from, to := src.plane(ch), dst.plane(ch)
			for r := range src.H {
				for s, b := range across {
					narrow[r*w+s] = mean(from[r*src.W:], b, 1)
				}
			}
			for r, b := range down {
				for s := range w {
					small[r*w+s] = mean(narrow[s:], b, w)
				}
			}
			for r := range src.H {
				for s := range src.W {
					to[r*src.W+s] = small[nearest(r, src.H, h)*w+nearest(s, src.W, w)]
				}
			}
		}
	},
}

// A box is the numbers lo to hi-1 of a row or column.
type box struct{ lo, hi int }

// boxes returns for each of n numbers of a shorter row those of in that its box holds: the ones
// whose middles lie within in/n/2 of its own, the upper end included. Each counts the same.
func boxes(in, n int) []box {
	all := make([]box, n)
	for x := range all {
		b := box{in, 0}
		for j := range in {
			// The distance of the middles is this over 2n.
			if d := (2*j+1)*n - (2*x+1)*in; d > -in && d <= in {
				b = box{min(b.lo, j), j + 1}
			}
		}
		all[x] = b
	}
	return all
}

// mean is that of the numbers of b, which are stride apart, rounded to a level, half up.
func mean(of []float64, b box, stride int) float64 {
	sum := 0.0
	for j := b.lo; j < b.hi; j++ {
		sum += math.Floor(float64(255*of[j*stride]) + 0.5)
	}
	return math.Floor(sum/float64(b.hi-b.lo)+0.5) / 255
}

// nearest is the place among n that is nearest to place x among out, n at most out.
func nearest(x, out, n int) int { return (2*x + 1) * n / (2 * out) }
