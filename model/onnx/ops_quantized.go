package onnx

import (
	"errors"
	"fmt"
	"math"

	"advsweep/model"
	"advsweep/model/onnx/internal/pb"
)

// Operators of quantised networks.
var _ = register(map[string]func(*graph, *node) (*value, error){
	"QuantizeLinear": (*graph).opQuantize, "DequantizeLinear": (*graph).opDequantize,
})

// ranges are the whole numbers that quantised types hold.
var ranges = map[pb.TensorProto_DataType][2]float64{
	pb.TensorProto_UINT8: {0, 255}, pb.TensorProto_INT8: {-128, 127}, pb.TensorProto_UINT16: {0, 65535}, pb.TensorProto_INT16: {-32768, 32767},
	pb.TensorProto_INT32: {math.MinInt32, math.MaxInt32}, pb.TensorProto_UINT4: {0, 15}, pb.TensorProto_INT4: {-8, 7},
}

// quanta returns scale and zero point of a node, each broadcast along its axis of v.
func (n *node) quanta(v *value) (scale, zero *value, kind pb.TensorProto_DataType, err error) {
	at := n.integer("axis", 1)
	n.ignore("saturate", "precision")
	if n.integer("block_size", 0) != 0 {
		return nil, nil, 0, errors.New("block_size is not supported")
	}
	shaped := func(i int) (*value, error) {
		c, err := n.input(i)
		if err != nil {
			return nil, err
		}
		if c.c == nil {
			return nil, fmt.Errorf("input %d depends on the image, want a constant", i)
		}
		if c.volume() == 1 {
			return &value{shape: nil, batch: -1, c: c.c}, nil
		}
		a, err := axis(at, len(v.shape))
		if err != nil {
			return nil, err
		}
		if len(c.shape) != 1 || c.shape[0] != v.shape[a] {
			return nil, fmt.Errorf("input %d of shape %v for axis %d of %v", i, c, a, v)
		}
		shape := []int{c.shape[0]}
		for range v.shape[a+1:] {
			shape = append(shape, 1)
		}
		return &value{shape: shape, batch: -1, c: c.c}, nil
	}
	if scale, err = shaped(1); err != nil {
		return nil, nil, 0, err
	}
	kind = pb.TensorProto_UINT8
	if n.has(2) {
		if zero, err = shaped(2); err != nil {
			return nil, nil, 0, err
		}
		kind = zero.c.kind()
	} else {
		zero = known(nil, []float64{0}, true)
	}
	if to := n.integer("output_dtype", 0); to != 0 {
		kind = pb.TensorProto_DataType(to)
	}
	return scale, zero, kind, nil
}

// kind returns the type of a constant of a file, and FLOAT for numbers that were computed.
func (c *constant) kind() pb.TensorProto_DataType {
	if c.p != nil {
		return pb.TensorProto_DataType(c.p.GetDataType())
	}
	return c.was
}

// opQuantize gives whole numbers round(v/scale) + zero in the range of their type. They are kept as
// floats.
func (g *graph) opQuantize(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	scale, zero, kind, err := n.quanta(v)
	if err != nil {
		return nil, err
	}
	r, ok := ranges[kind]
	if !ok {
		return nil, fmt.Errorf("to %v, want an integer of 4 to 32 bits", kind)
	}
	x, err := g.binary("Div", v, scale)
	if err != nil {
		return nil, err
	}
	if v.c != nil {
		if x, err = g.mapped(x, math.RoundToEven); err != nil {
			return nil, err
		}
		if x, err = g.binary("Add", x, zero); err != nil {
			return nil, err
		}
		if x, err = g.mapped(x, func(x float64) float64 { return max(r[0], min(x, r[1])) }); err == nil {
			x.c.was = kind
		}
		return x, err
	}
	shift, err := g.numbers(zero)
	if err != nil {
		return nil, err
	}
	if !allOf(shift, shift[0]) {
		return nil, errors.New("several zero points of what depends on the image, want one")
	}
	const note = "numbers between its layers are rounded as in the quantised network; the gradient passes as if they were not (straight-through estimator)"
	if len(g.notes) == 0 || g.notes[len(g.notes)-1] != note {
		g.notes = append(g.notes, note)
	}
	if x, err = g.after(x, model.RoundClip{Lo: r[0] - shift[0], Hi: r[1] - shift[0]}); err != nil {
		return nil, err
	}
	return g.binary("Add", x, zero)
}

func (g *graph) opDequantize(n *node) (*value, error) {
	v, err := n.input(0)
	if err != nil {
		return nil, err
	}
	scale, zero, _, err := n.quanta(v)
	if err != nil {
		return nil, err
	}
	x, err := g.binary("Sub", v, zero)
	if err != nil {
		return nil, err
	}
	if x.c != nil {
		x.c.whole = false
	}
	return g.binary("Mul", x, scale)
}
