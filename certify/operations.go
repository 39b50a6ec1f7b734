package certify

import (
	"fmt"

	"advsweep/internal/lower"

	"gorgonia.org/tensor"
)

// newNode returns the node of op, which takes values of these shapes. It returns an error that
// names the operation if there is none.
func newNode(path string, op lower.Op, in []lower.Shape, prog *lower.Program) (node, error) {
	switch o := op.Operation.(type) {
	case *lower.Linear:
		return straight{newLinear(path, o)}, nil
	case *lower.Convolution:
		return straight{newConvolution(path, o)}, nil
	case lower.Scale:
		w := numbers(o.Weight)
		return straight{scale{w, numbers(o.Bias), narrowed(w)}}, nil
	case lower.Add:
		return straight{newSum(len(in))}, nil
	case lower.Pairwise:
		return newPair(o.Name, op, in)
	case lower.Constant:
		return straight{constant{numbers(o.Value)}}, nil
	case *lower.Arrange:
		return straight{arrange{o}}, nil
	case lower.AvgPool:
		return straight{newMean(pooled(o.Unfold), in[0].Size(), func(of []int32) int {
			if o.CountPad {
				return o.Places()
			}
			return len(of)
		})}, nil
	case lower.Reduce:
		return newReduce(o.By, in[0])
	case lower.MaxPool:
		return largest{pooled(o.Unfold)}, nil
	case lower.Elementwise:
		f, err := relaxationOf(o)
		return curved{f}, err
	}
	return nil, fmt.Errorf("no bounds are known for %T", op.Operation)
}

// newPair is the node of a function of two numbers.
func newPair(name string, op lower.Op, in []lower.Shape) (node, error) {
	n := newSum(2)
	switch name {
	case "add":
	case "sub":
		n.sign[1] = -1
	default:
		return nil, fmt.Errorf("no bounds are known for %q of two values", name)
	}
	for _, s := range in {
		n.places = append(n.places, spreadPlaces(s, op.Out))
	}
	return straight{n}, nil
}

// newReduce is the node of a sum, a mean or a maximum over the channels of each pixel.
func newReduce(by string, in lower.Shape) (node, error) {
	of := make([][]int32, in.Pixels())
	for p := range of {
		for c := range in.C {
			of[p] = append(of[p], int32(p*in.C+c))
		}
	}
	switch by {
	case "sum":
		return straight{newMean(of, in.Size(), func([]int32) int { return 1 })}, nil
	case "mean":
		return straight{newMean(of, in.Size(), func([]int32) int { return in.C })}, nil
	case "max":
		return largest{of}, nil
	}
	return nil, fmt.Errorf("no bounds are known for a reduction by %q", by)
}

// newSum is the sum of n values of one shape.
func newSum(n int) sum {
	s := sum{sign: make([]float32, n)}
	for k := range s.sign {
		s.sign[k] = 1
	}
	return s
}

// newMean has windows of, whose sums are divided by count. size is of what it takes.
func newMean(of [][]int32, size int, count func(of []int32) int) *mean {
	n := &mean{of: of}
	windows := make([]int, size)
	for _, places := range of {
		n.share = append(n.share, 1/float64(max(1, count(places))))
		n.most = max(n.most, len(places))
		for _, i := range places {
			windows[i]++
			n.most = max(n.most, windows[i])
		}
	}
	n.narrow = narrowed(n.share)
	return n
}

// pooled returns, for each number of a pool's output, what is in its window, without padding.
func pooled(u lower.Unfold) [][]int32 {
	of := make([][]int32, u.Out.Size())
	for p := range u.Out.Pixels() {
		for r := range u.Kernel[0] {
			for c := range u.Kernel[1] {
				i := u.Pixel(p, r, c)
				if i < 0 {
					continue
				}
				for ch := range u.Out.C {
					of[p*u.Out.C+ch] = append(of[p*u.Out.C+ch], int32(i*u.In.C+ch))
				}
			}
		}
	}
	return of
}

// spreadPlaces returns, for each number of out, where it is in a value of shape s. A dimension in
// which s has 1 and out more is taken again.
func spreadPlaces(s, out lower.Shape) []int32 {
	var places []int32
	for y := range out.H {
		for x := range out.W {
			for c := range out.C {
				places = append(places, int32((y%s.H*s.W+x%s.W)*s.C+c%s.C))
			}
		}
	}
	return places
}

// numbers returns the elements of t as float64.
func numbers(t *tensor.Dense) []float64 {
	switch v := t.Data().(type) {
	case []float64:
		return v
	case []float32:
		wide := make([]float64, len(v))
		for i, x := range v {
			wide[i] = float64(x)
		}
		return wide
	}
	panic(fmt.Sprintf("certify: numbers of %v", t.Dtype())) // lower refuses them
}

func narrowed(v []float64) []float32 {
	narrow := make([]float32, len(v))
	for i, x := range v {
		narrow[i] = float32(x)
	}
	return narrow
}
