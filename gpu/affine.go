//go:build cuda && linux && cgo

package gpu

import (
	"fmt"

	"advsweep/internal/batch"

	"gorgonia.org/cu"
	"gorgonia.org/tensor"
)

// A layer is y = x·Wᵀ + b, and then ReLU if relu is set. Its weights are on the device. They are
// padded as kernels/gemm.cuh says. newLayer makes it; only relu is set later, by who called it.
type layer struct {
	in, out int
	relu    bool
	mode    string
	w, wt   cu.DevicePtr // W [padRows(out), padded(in)] and Wᵀ [padRows(in), padded(out)]
	bias    cu.DevicePtr // [padRows(out)]
}

// newLayer copies weight [out, in] and b [out] to the device. W goes there as it is and transposed,
// so that the products of both directions read along the index that they sum over.
func (d *device) newLayer(weight, b *tensor.Dense, mode string) (layer, error) {
	out, in := weight.Shape()[0], weight.Shape()[1]
	a := layer{in: in, out: out, mode: mode}
	// Kernels index the elements in 32 bits: see kernels/gemm.cuh.
	if n := max(int64(padRows(out))*int64(padded(in)), int64(padRows(in))*int64(padded(out))); n >= 1<<32 {
		return layer{}, fmt.Errorf("gpu: weights [%d %d] take %d elements on the device, want less than 2^32", out, in, n)
	}
	w := batch.Elements[float32](weight)
	bias := make([]float32, padRows(out))
	copy(bias, batch.Elements[float32](b))
	straight := make([]float32, padRows(out)*padded(in))
	transposed := make([]float32, padRows(in)*padded(out))
	for o := range out {
		for i, v := range w[o*in:][:in] {
			straight[o*padded(in)+i] = v
			transposed[i*padded(out)+o] = v
		}
	}
	for _, c := range []struct {
		to   *cu.DevicePtr
		from []float32
	}{{&a.w, straight}, {&a.wt, transposed}, {&a.bias, bias}} {
		var err error
		if *c.to, err = d.alloc(int64(4 * len(c.from))); err != nil {
			return layer{}, err
		}
		if err := upload(d, *c.to, c.from); err != nil {
			return layer{}, err
		}
	}
	return a, nil
}

// affineForward launches y [rows, padded(out)] = x·Wᵀ + bias for x [rows, padded(in)], and then
// ReLU if relu is set.
func (d *device) affineForward(y, x cu.DevicePtr, l *layer, bias cu.DevicePtr, relu bool, rows int) error {
	name, grid, shared := tile("affine_forward", l.mode, rows, padded(l.out), d.multiprocessors)
	return d.launch(name, grid, dim{256, 1}, shared, []int{rows, l.in, l.out},
		y, x, l.w, bias, relu, int32(rows), int32(padded(l.in)), int32(l.out), int32(padded(l.out)))
}

// affineBackward launches dx [rows, padded(in)] = dz·W for dz [rows, padded(out)]. If h is not 0,
// dx is 0 where h [rows, padded(in)] <= 0: that is the way back through a ReLU.
func (d *device) affineBackward(dx, dz cu.DevicePtr, l *layer, h cu.DevicePtr, rows int) error {
	name, grid, shared := tile("affine_backward", l.mode, rows, padded(l.in), d.multiprocessors)
	return d.launch(name, grid, dim{256, 1}, shared, []int{rows, l.out, l.in},
		dx, dz, l.wt, h, int32(rows), int32(padded(l.out)), int32(l.in), int32(padded(l.in)))
}

// tile returns the kernel, the grid and the bytes of shared memory for a product [rows, width] on a
// device of so many multiprocessors: see kernels/affine_forward.cu. No bit of the result depends on
// the tile.
func tile(op, mode string, rows, width, multiprocessors int) (name string, grid dim, shared int) {
	columns, stages := 128, 2
	switch {
	case width <= 32:
		columns = 32
	// In a tile of 128 columns most of these would be computed for nothing. Else there is to be a
	// block for every multiprocessor.
	case width <= 64 || ceil(rows, 128)*ceil(width, 128) < multiprocessors:
		columns = 64
	}
	if mode == "tf32" || mode == "3xtf32" && columns == 32 {
		stages = 4
	}
	return fmt.Sprintf("%s_%s_%d", op, mode, columns), dim{ceil(width, columns), ceil(rows, 128)}, (128 + columns) * 80 * stages
}

// padRows is how many rows a weight matrix of n outputs has on the device: whole tiles of 128.
func padRows(n int) int { return (n + 127) / 128 * 128 }

// ceil is n/by, rounded up.
func ceil(n, by int) int { return (n + by - 1) / by }
