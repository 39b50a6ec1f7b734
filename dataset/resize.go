package dataset

import (
	"fmt"
	"math"
)

// A transform makes images fit a model: first channels, then size, then the middle of that.
type transform struct {
	channels     string // as Query.Channels
	resize, crop Size
}

func (q *Query) transform() transform { return transform{q.Channels, q.Resize, q.Crop} }

// shape returns what images of d become.
func (t transform) shape(d dims) (dims, error) {
	switch {
	case t.channels == "rgb" && d[0] == 1:
		d[0] = 3
	case t.channels == "grey" && d[0] == 3:
		d[0] = 1
	case t.channels == "rgb" && d[0] != 3, t.channels == "grey" && d[0] != 1:
		return d, fmt.Errorf("images are %v, %d channels, want 1 or 3 to change between grey and RGB", d, d[0])
	}
	if t.resize.H > 0 {
		d[1], d[2] = t.resize.of(d[1], d[2])
		if d[1] > maxSide || d[2] > maxSide {
			return d, fmt.Errorf("resized images would be %v, want sides of at most %d", d, maxSide)
		}
	}
	if t.crop.H > 0 {
		if t.crop.H > d[1] || t.crop.W > d[2] {
			return d, fmt.Errorf("images are %v, smaller than the middle of %dx%d that is wanted", d, t.crop.H, t.crop.W)
		}
		d[1], d[2] = t.crop.H, t.crop.W
	}
	return d, nil
}

// of returns the height and width of an image of h, w that is resized to s.
func (s Size) of(h, w int) (int, int) {
	switch {
	case s.W > 0:
		return s.H, s.W
	case w <= h:
		return max(1, int(int64(s.H)*int64(h)/int64(w))), s.H
	}
	return s.H, max(1, int(int64(s.H)*int64(w)/int64(h)))
}

// change does t to one image, [C, H, W] of d, which t.shape takes.
func change[T uint8 | float32](t transform, x []T, d dims) ([]T, dims) {
	switch area := d[1] * d[2]; {
	case t.channels == "rgb" && d[0] == 1:
		x, d[0] = append(append(append(make([]T, 0, 3*area), x...), x...), x...), 3
	case t.channels == "grey" && d[0] == 3:
		grey := make([]T, area)
		for i := range grey {
			grey[i] = luma(x[i], x[area+i], x[2*area+i])
		}
		x, d[0] = grey, 1
	}
	if t.resize.H > 0 {
		h, w := t.resize.of(d[1], d[2])
		if w != d[2] {
			x = scaleRows(x, d[0]*d[1], d[2], w, 1)
			d[2] = w
		}
		if h != d[1] {
			x = scaleRows(x, d[0], d[1], h, d[2])
			d[1] = h
		}
	}
	if t.crop.H > 0 {
		top, left := middle(d[1], t.crop.H), middle(d[2], t.crop.W)
		cut := make([]T, 0, d[0]*t.crop.H*t.crop.W)
		for c := range d[0] {
			for y := range t.crop.H {
				from := (c*d[1]+top+y)*d[2] + left
				cut = append(cut, x[from:from+t.crop.W]...)
			}
		}
		x, d[1], d[2] = cut, t.crop.H, t.crop.W
	}
	return x, d
}

// middle is where n of all begin. A half is rounded to the even one, as torchvision does.
func middle(all, n int) int { return int(math.RoundToEven(float64(all-n) / 2)) }

// luma is 0.299 r + 0.587 g + 0.114 b. Of bytes the weights are in parts of 65536, which add up to
// one, so that grey stays what it is.
//
// ITU-R BT.601-7, section 2.5.1.
func luma[T uint8 | float32](r, g, b T) T {
	switch any(r).(type) {
	case uint8:
		return T((19595*uint32(r) + 38470*uint32(g) + 7471*uint32(b) + 1<<15) >> 16)
	default:
		return T(float64(0.299*float64(r)) + float64(0.587*float64(g)) + float64(0.114*float64(b)))
	}
}

// scaleRows scales the middle dimension of x, [planes, from, step], to to.
//
// It is bilinear interpolation with antialiasing: a pixel is the mean of those below a triangle
// around its place, one pixel to each side, or as many as become one where the image shrinks. Sums
// are of float64, each result is rounded to T.
func scaleRows[T uint8 | float32](x []T, planes, from, to, step int) []T {
	scale := float64(from) / float64(to)
	reach := max(scale, 1)
	out := make([]T, planes*to*step)
	var weights []float64
	for o := range to {
		center := float64((float64(o) + 0.5) * scale)
		first := max(0, int(center-reach+0.5))
		last := min(from, int(center+reach+0.5))
		weights = weights[:0]
		sum := 0.0
		for i := first; i < last; i++ {
			w := max(0, 1-math.Abs((float64(i)-center+0.5)/reach))
			weights = append(weights, w)
			sum += w
		}
		for k := range weights {
			weights[k] /= sum
		}
		for p := range planes {
			for s := range step {
				v := 0.0
				for k, w := range weights {
					v += float64(w * float64(x[(p*from+first+k)*step+s]))
				}
				out[(p*to+o)*step+s] = rounded[T](v)
			}
		}
	}
	return out
}

func rounded[T uint8 | float32](v float64) T {
	var zero T
	if _, ok := any(zero).(uint8); ok {
		return T(math.Floor(min(max(v, 0), 255) + 0.5))
	}
	return T(v)
}
