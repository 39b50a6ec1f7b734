package report

import (
	"fmt"
	"math"

	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

// pixels is an image as it is drawn: v [h·w], row-major. The last row is short if
// len(v) < h·w.
type pixels struct {
	h, w   int
	v      []float64
	lo, hi float64 // smallest and largest of v
}

// newPixels reads a dense Float64 tensor. [H, W] is drawn as it is; of more
// dimensions the last is a row and the planes stand below each other, but for
// a last dimension of 1, which is a single channel. A vector [I] was some image once: it is
// drawn as a square if I is a square, as one row up to 64, else in rows of ⌈√I⌉.
func newPixels(t *tensor.Dense) (pixels, error) {
	if t == nil {
		return pixels{}, fmt.Errorf("report: image is nil")
	}
	v, ok := t.Data().([]float64)
	if !ok {
		return pixels{}, fmt.Errorf("report: image of %v, want float64", t.Dtype())
	}
	shape := t.Shape()
	if t.RequiresIterator() || len(v) == 0 || len(v) != shape.TotalSize() {
		return pixels{}, fmt.Errorf("report: image of shape %v is empty or a view, want dense rows", shape)
	}
	p := pixels{v: v, lo: v[0], hi: v[0]}
	for i, x := range v {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return pixels{}, fmt.Errorf("report: pixel %d of the image is %v, want a finite number", i, x)
		}
		p.lo, p.hi = min(p.lo, x), max(p.hi, x)
	}
	if n := len(shape); n > 2 && shape[n-1] == 1 {
		shape = shape[:n-1]
	}
	if len(shape) >= 2 {
		p.w = shape[len(shape)-1]
	} else if root := int(math.Ceil(math.Sqrt(float64(len(v))))); len(v) > 64 || root*root == len(v) {
		p.w = root
	} else {
		p.w = len(v)
	}
	p.h = (len(v) + p.w - 1) / p.w
	return p, nil
}

// outside counts the pixels below 0 and above 1.
func (p pixels) outside() (below, above int) {
	for _, v := range p.v {
		if v < 0 {
			below++
		} else if v > 1 {
			above++
		}
	}
	return below, above
}

// A difference is the image of an example before and after, and perturbed - clean.
type difference struct {
	clean, perturbed, delta pixels
	linf, l2                float64 // norms of delta
}

func newDifference(e *pipeline.Example) (difference, error) {
	var d difference
	var err error
	if d.clean, err = newPixels(e.Clean); err != nil {
		return d, err
	}
	if d.perturbed, err = newPixels(e.Perturbed); err != nil {
		return d, err
	}
	if got, want := e.Perturbed.Shape(), e.Clean.Shape(); !got.Eq(want) {
		return d, fmt.Errorf("report: perturbed image of shape %v, want %v as the clean one", got, want)
	}
	d.delta = d.clean
	d.delta.v = make([]float64, len(d.clean.v))
	var squares float64
	for i := range d.delta.v {
		x := d.perturbed.v[i] - d.clean.v[i]
		d.delta.v[i] = x
		d.linf = max(d.linf, math.Abs(x))
		squares += float64(x * x) // not fused on arm64
	}
	d.delta.lo, d.delta.hi = -d.linf, d.linf
	d.l2 = math.Sqrt(squares)
	return d, nil
}
