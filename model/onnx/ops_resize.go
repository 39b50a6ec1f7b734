package onnx

import (
	"errors"
	"fmt"
	"math"

	"advsweep/model/internal/formats"
)

// Operators that make images larger or smaller.
var _ = register(map[string]func(*graph, *node) (*value, error){"Resize": (*graph).opResize, "Upsample": (*graph).opResize})

// A resizing is how places of the new image are found in the old one along an axis.
type resizing struct {
	mode, coordinates, nearest string
	cubic                      float64
	antialias, exclude         bool
}

func (g *graph) opResize(n *node) (*value, error) {
	r := resizing{mode: n.text("mode", "nearest"), coordinates: n.text("coordinate_transformation_mode", "half_pixel"), nearest: n.text("nearest_mode", "round_prefer_floor")}
	r.cubic = n.number("cubic_coeff_a", -0.75)
	r.antialias, r.exclude = n.flag("antialias", false), n.flag("exclude_outside", false)
	n.ignore("extrapolation_value")
	policy := n.text("keep_aspect_ratio_policy", "stretch")
	v, err := n.moving(0)
	if err != nil {
		return nil, err
	}
	rank := len(v.shape)
	if n.GetOpType() == "Upsample" || g.opset < 11 {
		r.coordinates, r.nearest = "asymmetric", "floor"
	}
	if policy != "stretch" {
		return nil, fmt.Errorf("keep_aspect_ratio_policy %s, want stretch", formats.Quote(policy))
	}
	scaleAt, sizeAt := 2, 3
	if n.GetOpType() == "Upsample" || g.opset < 11 {
		scaleAt, sizeAt = 1, -1
	}
	over := make([]int, rank)
	for i := range over {
		over[i] = i
	}
	if list := n.integers("axes"); list != nil {
		if _, err := axes(list, rank); err != nil {
			return nil, err
		}
		over = over[:0]
		for _, a := range list {
			i, _ := axis(a, rank)
			over = append(over, i)
		}
	}
	scales := n.floats("scales")
	if scales == nil && n.has(scaleAt) {
		if _, scales, err = n.constant(scaleAt); err != nil {
			return nil, err
		}
	}
	var sizes []float64
	if sizeAt > 0 && n.has(sizeAt) {
		if _, sizes, err = n.constant(sizeAt); err != nil {
			return nil, err
		}
	}
	if len(scales) != len(over) && len(sizes) != len(over) {
		return nil, fmt.Errorf("%d scales and %d sizes for %v", len(scales), len(sizes), v)
	}
	have := v.sizes()
	for i, a := range over {
		scale, size := 1.0, 0.0
		if len(sizes) == len(over) {
			size = sizes[i]
			scale = size / have[a]
		} else {
			scale = scales[i]
			size = math.Floor(have[a] * scale)
		}
		if size == have[a] && (scale == 1 || a == v.batch) {
			continue
		}
		if err := v.noBatch(a); err != nil {
			return nil, err
		}
		if !(size >= 1 && size <= formats.MaxSide && scale > 0) {
			return nil, fmt.Errorf("axis %d to size %v, want 1 to %d", a, size, formats.MaxSide)
		}
		if v, err = g.resize(v, a, int(size), scale, r); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// source returns the place in the old axis of size in that place k of the new one of size out has.
func (r resizing) source(k, in, out int, scale float64) (float64, error) {
	x := float64(k)
	switch r.coordinates {
	case "half_pixel":
		return (x+0.5)/scale - 0.5, nil
	case "pytorch_half_pixel":
		if out == 1 {
			return 0, nil
		}
		return (x+0.5)/scale - 0.5, nil
	case "half_pixel_symmetric":
		adjust := float64(out) / (float64(in) * scale)
		return float64(float64(in)/2*(1-adjust)) + (x+0.5)/scale - 0.5, nil
	case "align_corners":
		if out == 1 {
			return 0, nil
		}
		return x * float64(in-1) / float64(out-1), nil
	case "asymmetric":
		return x / scale, nil
	}
	return 0, fmt.Errorf("coordinate_transformation_mode %s is not supported", formats.Quote(r.coordinates))
}

// resize changes the size of one axis.
func (g *graph) resize(v *value, a, size int, scale float64, r resizing) (*value, error) {
	in := v.shape[a]
	if in > formats.MaxSide || size > formats.MaxElements/in {
		return nil, fmt.Errorf("axis %d from %d to %d", a, in, size)
	}
	if r.mode == "nearest" {
		places := make([]float64, size)
		for k := range places {
			x, err := r.source(k, in, size, scale)
			if err != nil {
				return nil, err
			}
			switch r.nearest {
			case "round_prefer_floor":
				x = math.Ceil(x - 0.5)
			case "round_prefer_ceil":
				x = math.Floor(x + 0.5)
			case "floor":
				x = math.Floor(x)
			case "ceil":
				x = math.Ceil(x)
			default:
				return nil, fmt.Errorf("nearest_mode %s is not supported", formats.Quote(r.nearest))
			}
			places[k] = max(0, min(x, float64(in-1)))
		}
		shape := append([]int{}, v.shape...)
		shape[a] = size
		inner := formats.Volume(v.shape[a+1:])
		return g.picked(v, shape, v.batch, func(k int) int {
			o, i := k/inner, k%inner
			return (o/size*in+int(places[o%size]))*inner + i
		})
	}
	w, err := r.weights(in, size, scale)
	if err != nil {
		return nil, err
	}
	if err := g.spend(in * size); err != nil {
		return nil, err
	}
	// The axis goes to the end, where it is multiplied with weights [in, size], and back.
	rank := len(v.shape)
	turn, back := make([]int, 0, rank), make([]int, rank)
	for i := range rank {
		if i != a {
			turn = append(turn, i)
		}
	}
	turn = append(turn, a)
	for i, t := range turn {
		back[t] = i
	}
	x, err := g.transpose(v, turn)
	if err != nil {
		return nil, err
	}
	if x, err = g.matmul(&node{g: g, NodeProto: none}, x, known([]int{in, size}, w, false)); err != nil {
		return nil, err
	}
	return g.transpose(x, back)
}

// weights returns [in, size]: what each old place counts in each new one.
func (r resizing) weights(in, size int, scale float64) ([]float64, error) {
	var kernel func(x float64) float64
	reach := 1.0
	switch r.mode {
	case "linear", "bilinear":
		kernel = func(x float64) float64 { return max(0, 1-math.Abs(x)) }
	case "cubic":
		// Keys 1981, IEEE Transactions on Acoustics, Speech, and Signal Processing 29.
		reach = 2
		kernel = func(x float64) float64 {
			x = math.Abs(x)
			switch a := r.cubic; {
			case x <= 1:
				return float64((float64((a+2)*x)-(a+3))*x*x) + 1
			case x < 2:
				return float64(a * (float64((float64((x-5)*x)+8)*x) - 4))
			}
			return 0
		}
	default:
		return nil, fmt.Errorf("mode %s, want nearest, linear or cubic", formats.Quote(r.mode))
	}
	stretch := 1.0
	if r.antialias && scale < 1 {
		stretch = 1 / scale
	}
	w := make([]float64, in*size)
	for k := range size {
		x, err := r.source(k, in, size, scale)
		if err != nil {
			return nil, err
		}
		if r.mode != "cubic" && stretch == 1 {
			x = max(0, min(x, float64(in-1)))
		}
		sum := 0.0
		wide := float64(reach * stretch)
		from, to := int(math.Floor(x-wide)), int(math.Ceil(x+wide))
		if to-from > formats.MaxSide {
			return nil, errors.New("a window that is too wide")
		}
		outside := r.exclude || stretch > 1
		for i := from; i <= to; i++ {
			c := kernel((float64(i) - x) / stretch)
			if c == 0 || outside && (i < 0 || i >= in) {
				continue
			}
			sum += c
			w[max(0, min(i, in-1))*size+k] += c
		}
		if sum == 0 {
			return nil, errors.New("a place without neighbours")
		}
		for i := range in {
			w[i*size+k] /= sum
		}
	}
	return w, nil
}
