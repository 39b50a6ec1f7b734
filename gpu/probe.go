//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A trial is a device and a math mode that probe tests.
type trial struct {
	index       int
	name, image string // of Info
	mode        string
}

// proven has the trials that passed in this process. Neither the device nor the kernels of a
// process change, so that once is enough.
var proven sync.Map

// prove calls probe, if it did not pass before.
func (d *device) prove(mode string) error {
	t := trial{d.Index, d.Name, d.Image, mode}
	if _, ok := proven.Load(t); ok {
		return nil
	}
	if err := d.probe(mode); err != nil {
		return err
	}
	proven.Store(t, nil)
	return nil
}

// probe multiplies two small matrices with each kernel of the math mode, and compares the results
// with float64. It returns an error if they differ: the kernels then do on this device what they
// did not do in the tests, and no result of it can be believed. probe takes a millisecond.
func (d *device) probe(mode string) error {
	defer func(n int) { d.multiprocessors = n }(d.multiprocessors)
	r := rand.New(rand.NewPCG(1, 1))
	// These get tiles of 32, 128 and 64 columns.
	for _, c := range []struct{ out, multiprocessors int }{{9, 1}, {90, 1}, {90, 9}} {
		out := c.out
		d.multiprocessors = c.multiprocessors
		const rows, in = 131, 50
		w, bias, x := make([]float32, out*in), make([]float32, out), make([]float32, rows*padded(in))
		for _, s := range [][]float32{w, bias} {
			for i := range s {
				s[i] = r.Float32() - 0.5
			}
		}
		for k := range rows {
			for i := range in { // some are below 0, where the mask makes dx 0
				x[k*padded(in)+i] = r.Float32() - 0.25
			}
		}
		l, err := d.newLayer(tensor.New(tensor.WithShape(out, in), tensor.WithBacking(w)),
			tensor.New(tensor.WithShape(out), tensor.WithBacking(bias)), mode)
		if err != nil {
			return err
		}
		var dev [3]cu.DevicePtr // x, y, dx
		for i, n := range []int{len(x), rows * padded(out), len(x)} {
			if dev[i], err = d.alloc(int64(4 * n)); err != nil {
				return err
			}
		}
		y, dx := make([]float32, rows*padded(out)), make([]float32, len(x))
		if err := upload(d, dev[0], x); err != nil {
			return err
		}
		if err := d.affineForward(dev[1], dev[0], &l, l.bias, true, rows); err != nil {
			return err
		}
		if err := download(d, y, dev[1]); err != nil {
			return err
		}
		if err := d.affineBackward(dev[2], dev[1], &l, dev[0], rows); err != nil { // x is the mask
			return err
		}
		if err := download(d, dx, dev[2]); err != nil {
			return err
		}
		for _, ptr := range append(dev[:], l.w, l.wt, l.bias) {
			if err := d.free(ptr); err != nil {
				return err
			}
		}
		for k := range rows {
			xk, yk, dxk := x[k*padded(in):], y[k*padded(out):], dx[k*padded(in):]
			for o := range out {
				sum, size := float64(bias[o]), math.Abs(float64(bias[o]))
				for i := range in {
					v := float64(w[o*in+i]) * float64(xk[i])
					sum, size = sum+v, size+math.Abs(v)
				}
				if err := d.near("affine_forward", mode, k, o, yk[o], max(sum, 0), size); err != nil {
					return err
				}
			}
			for i := range in {
				sum, size := 0.0, 0.0
				for o := range out {
					v := float64(w[o*in+i]) * float64(yk[o])
					sum, size = sum+v, size+math.Abs(v)
				}
				if xk[i] <= 0 {
					sum = 0
				}
				if err := d.near("affine_backward", mode, k, i, dxk[i], sum, size); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// near returns an error unless got is want within what rounding can lose in a sum of at most 90
// terms. size is the sum of their absolute values. The tolerance is γ_90 of FP32 and the 2^-18 that
// internal/ref allows tensor cores, or 2^-9 in math mode tf32.
func (d *device) near(op, mode string, row, col int, got float32, want, size float64) error {
	tol := 0x1p-16
	if mode == "tf32" {
		tol = 0x1p-9
	}
	if !(math.Abs(float64(got)-want) <= tol*size) {
		return fmt.Errorf("gpu: cuda:%d %s: %s_%s gives %v for element (%d, %d) of a trial product, want %v: its results can't be trusted", d.Index, d.Name, op, mode, got, row, col, want)
	}
	return nil
}
