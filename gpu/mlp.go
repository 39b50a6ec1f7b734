//go:build cuda && linux && cgo

package gpu

import (
	"fmt"

	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// An mlp is an MLP on the device: Linear layers with ReLU between them. newMLP sets all fields.
// forwardFrom and backward fill act and grad; reserve of card changes their size.
type mlp struct {
	*device
	sizes  []int // of the input and of each layer's output
	layers []layer
	zeros  buffer // as many floats as the widest layer has: the bias where there is none

	act  []buffer  // [n, out] of each layer: its output
	grad [2]buffer // [n, widest]: two gradients, of which one is read and one is written
}

// newMLP copies prog to d.
func newMLP(d *device, prog *lower.Program, mode string) (*mlp, error) {
	m := &mlp{device: d, sizes: []int{prog.Inputs}}
	for _, op := range prog.Ops {
		switch l := op.Operation.(type) {
		case *lower.Linear:
			a, err := d.newLayer(l.Weight, l.Bias, mode)
			if err != nil {
				return nil, err
			}
			a.relu = op.Rectified
			m.layers = append(m.layers, a)
			m.sizes = append(m.sizes, a.out)
		case lower.Elementwise:
			if !op.InPlace {
				return nil, fmt.Errorf("gpu: layer %d: %s in an MLP, want a ReLU behind a Linear", op.Layer, l.Name)
			}
		default:
			return nil, fmt.Errorf("gpu: layer %d: no operation for %T in an MLP", op.Layer, l)
		}
	}
	m.act = make([]buffer, len(m.layers))
	bytes := int64(4 * m.widest())
	if err := d.grow(&m.zeros, bytes); err != nil {
		return nil, err
	}
	return m, d.fill(m.zeros.DevicePtr, 0, bytes)
}

// widest is the most rows of a weight matrix, which no row of a microbatch's matrices exceeds.
func (m *mlp) widest() (widest int) {
	for _, n := range m.sizes {
		widest = max(widest, padRows(n))
	}
	return widest
}

func (m *mlp) plan() plan { return planFor(m.sizes) }

func (m *mlp) claims(n int) []claim {
	widest := 0
	for _, k := range m.sizes {
		widest = max(widest, padded(k))
	}
	list := []claim{{&m.grad[0], 4 * n * widest}, {&m.grad[1], 4 * n * widest}}
	for i, l := range m.layers {
		list = append(list, claim{&m.act[i], 4 * n * padded(l.out)})
	}
	return list
}

func (m *mlp) forward(x cu.DevicePtr, n int) (cu.DevicePtr, error) { return m.forwardFrom(0, x, n) }

// forwardFrom is forward from layer i on, which takes x.
func (m *mlp) forwardFrom(i int, x cu.DevicePtr, n int) (cu.DevicePtr, error) {
	for ; i < len(m.layers); i++ {
		l := &m.layers[i]
		if err := m.affineForward(m.act[i].DevicePtr, x, l, l.bias, l.relu, n); err != nil {
			return 0, err
		}
		x = m.act[i].DevicePtr
	}
	return x, nil
}

func (m *mlp) backward(g cu.DevicePtr, n int) (cu.DevicePtr, error) {
	for i := len(m.layers) - 1; i >= 0; i-- {
		to := m.grad[i%2].DevicePtr
		var mask cu.DevicePtr
		if i > 0 && m.layers[i-1].relu {
			mask = m.act[i-1].DevicePtr
		}
		if err := m.affineBackward(to, g, &m.layers[i], mask, n); err != nil {
			return 0, err
		}
		g = to
	}
	return g, nil
}
