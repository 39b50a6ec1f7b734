package cpu

import (
	"fmt"
	"strings"

	"advsweep/internal/batch"
	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// newCarrier returns the carrier of operation i. It returns an error that names an operation that
// is not piecewise linear, or that has no carrier. It sets the width of a Linear's output.
func newCarrier[T Float](path string, n *stretchNet, i int, net *network[T]) (carrier, error) {
	op := n.prog.Ops[i]
	vec := gemm.NewVector[float64](path)
	var in []lower.Shape
	var sizes []int
	for _, j := range op.Takes {
		in = append(in, n.prog.Shape(j))
		sizes = append(sizes, n.prog.Shape(j).Size())
	}
	size := op.Out.Size()
	if !n.prog.Moves[i+1] {
		return newFixed(path, op, in, sizes)
	}
	switch o := op.Operation.(type) {
	case *lower.Linear:
		a := net.layers[i].linear
		n.widths[i+1] = gemm.NewMatrix[float64](path, 1, a.out).Padded()
		rows := func() (w, bias []float64) { return wide(a.weights()), wide(a.bias[:a.out]) }
		return &linear{forms: matrixForms(path, a), terms: a.in + 1, rows: rows}, nil
	case *lower.Convolution:
		return &linear{forms: convolutionForms[T](path, o), terms: o.Unfold.Size() + 1}, nil
	case lower.Scale:
		w, b := wide(batch.Floats[T](nil, o.Weight)), wide(batch.Floats[T](nil, o.Bias))
		form := func(w, b []float64) applied { return byRow(newScale(vec, w, b), size, size) }
		none := make([]float64, len(b))
		return &linear{forms: func() linearForms {
			return linearForms{value: form(w, b), plain: form(w, none), absolute: form(magnitudes(w), none)}
		}, terms: 2}, nil
	case lower.AvgPool:
		return &linear{forms: oneForm(byRow(newAvgPool(vec, newPool(o.Unfold), o.CountPad), size, sizes...)), terms: o.Places() + 1}, nil
	case lower.Add:
		return &linear{forms: oneForm(byRow(add[float64]{vec}, size, sizes...)), terms: len(in)}, nil
	case *lower.Arrange:
		return &linear{forms: oneForm(byRow(newArrange(vec, o, in), size, sizes...)), terms: 1}, nil
	case lower.MaxPool:
		return &tops{windows: poolWindows(o.Unfold)}, nil
	case lower.Elementwise:
		return newBent[T](path, o, size)
	case lower.Reduce:
		return newReduced(o.By, op.In, size)
	case lower.Pairwise:
		return newPaired(vec, o.Name, n, op, in, sizes)
	}
	return nil, fmt.Errorf("%s is not piecewise linear", strings.TrimPrefix(fmt.Sprintf("%T", op.Operation), "lower."))
}

// newFixed returns the carrier of an operation of which no image changes what it takes.
func newFixed(path string, op lower.Op, in []lower.Shape, sizes []int) (carrier, error) {
	f, err := newOperation[float64](path, op, in)
	if err != nil {
		return nil, err
	}
	return fixed{byRow(f, op.Out.Size(), sizes...)}, nil
}

// newReduced returns the carrier of a reduction of the channels of each pixel.
func newReduced(by string, in lower.Shape, size int) (carrier, error) {
	f, err := newReduce[float64](by, in.C)
	if err != nil {
		return nil, err
	}
	value := byRow(f, size, in.Size())
	switch by {
	case "sum", "mean":
		return &linear{forms: oneForm(value), terms: in.C + 1}, nil
	case "max":
		return &tops{windows: channelWindows(in)}, nil
	}
	return nil, fmt.Errorf("a reduction by %s is not piecewise linear", by)
}

// newPaired returns the carrier of a function of two values.
func newPaired(vec gemm.Vector[float64], name string, n *stretchNet, op lower.Op, in []lower.Shape, sizes []int) (carrier, error) {
	size := op.Out.Size()
	form := func(name string) (applied, error) {
		f, err := newPairwise(vec, name, in, op.Out)
		if err != nil {
			return nil, err
		}
		return byRow(f, size, sizes...), nil
	}
	value, err := form(name)
	if err != nil {
		return nil, err
	}
	moves := [2]bool{n.prog.Moves[op.Takes[0]+1], n.prog.Moves[op.Takes[1]+1]}
	switch {
	case name == "add", name == "sub":
		sum, err := form("add")
		return &linear{forms: func() linearForms { return linearForms{value: value, plain: value, absolute: sum} }, terms: 2}, err
	case name == "mul" && moves != [2]bool{true, true}, name == "div" && !moves[1]:
		moving := 0
		if moves[1] {
			moving = 1
		}
		return factor{value, moving}, nil
	}
	return nil, fmt.Errorf("%s of two values that the image changes has no bound between points of a ray", name)
}
