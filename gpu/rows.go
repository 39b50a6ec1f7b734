//go:build cuda && linux && cgo

package gpu

import (
	"math"
	"slices"

	"gorgonia.org/cu"
)

// A batchRows is the rows of one card between two calls of Begin.
//
// Backend.Begin sets lo and images. forget and begin set the rest. Kernels fill the buffers.
// setSizes changes sized. Steps set flatCounts and unread, and collect and load clear unread.
type batchRows struct {
	lo, images int       // the rows are of images lo to lo+images-1 of the loaded ones
	eps        []float32 // [E]

	sizes   buffer    // size [E], eps [E] and zeros [E], as kernels read them
	sized   []float32 // [E]: the sizes that are there, or nil
	x       buffer    // [rows, in]
	class   buffer    // [rows] of int32
	zero    buffer    // [rows] of int8: whether a gradient was zero in every pixel
	results buffer    // see resultBytes

	flatCounts bool // a step took the gradient at the clean images, so that flat tells of every row
	unread     bool // a step took gradients, and whether they were finite has not been read since
}

// E is the number of eps.
func (r *batchRows) E() int { return len(r.eps) }

// rows is the number of rows.
func (r *batchRows) rows() int { return r.images * len(r.eps) }

// epsOnDevice is where the eps [E] are, and cleanSizes where the zeros [E] are: a step of these
// sizes leaves x0 as it is.
func (r *batchRows) epsOnDevice() cu.DevicePtr { return at(r.sizes.DevicePtr, r.E(), 4) }
func (r *batchRows) cleanSizes() cu.DevicePtr  { return at(r.sizes.DevicePtr, 2*r.E(), 4) }

// broken is where the least image is whose gradient is not finite: see resultBytes.
func (r *batchRows) broken() cu.DevicePtr { return at(r.results.DevicePtr, 1, 4) }

// rowX is where x of row i is; in is the padded length of an image.
func (r *batchRows) rowX(i, in int) cu.DevicePtr { return at(r.x.DevicePtr, i*in, 4) }

// claims lists the buffers for the rows, of in elements each.
func (r *batchRows) claims(in int) []claim {
	n := r.rows()
	return []claim{{&r.sizes, 4 * 3 * r.E()}, {&r.x, 4 * n * in}, {&r.class, 4 * n}, {&r.zero, n}, {&r.results, r.resultBytes()}}
}

// forget makes r rows at eps [E] of which nothing is known.
func (r *batchRows) forget(eps []float32) {
	r.eps, r.sized, r.flatCounts, r.unread = eps, nil, false, false
}

// begin fills the buffers that a step reads first, on d.
func (r *batchRows) begin(d *device) error {
	if err := upload(d, r.epsOnDevice(), r.eps); err != nil {
		return err
	}
	if err := d.fill(r.cleanSizes(), 0, int64(4*r.E())); err != nil {
		return err
	}
	if err := upload(d, r.results.DevicePtr, []int32{math.MaxInt32, math.MaxInt32}); err != nil {
		return err
	}
	return d.fill(r.zero.DevicePtr, 0, int64(r.rows()))
}

// hasSizes tells whether the sizes of a step are on the device.
func (r *batchRows) hasSizes(size []float32) bool { return slices.Equal(r.sized, size) }

// setSizes copies the sizes of a step [E] to d.
func (r *batchRows) setSizes(d *device, size []float32) error {
	r.sized = append(r.sized[:0], size...)
	return upload(d, r.sizes.DevicePtr, size)
}

// A position tells where the rows are if x is not in memory. That is so after Begin, and after a
// first step of an MLP without bounds: the rows are then on a ray, along which the output of the
// first layer is known without x.
//
// begin, enter and moved change fresh and ray. enterRay and step of card fill the buffers, and
// reserve changes their size.
type position struct {
	fresh      bool         // every x is x0, and not in memory
	ray        cu.DevicePtr // if not 0, x = x0 + size·d with d [images, in] here, and not in memory
	rayA, rayC buffer       // [images, out of the first layer]: W·x0 + b and W·d, see enterRay
	random     buffer       // [images, in] of int8: the signs of a random step
}

// claims lists the buffers for images of in elements and a first layer of so many outputs.
func (p *position) claims(images, in, outputs int) []claim {
	return []claim{{&p.rayA, 4 * images * outputs}, {&p.rayC, 4 * images * outputs}, {&p.random, images * in}}
}

// begin says that every row is at its clean image.
func (p *position) begin() { p.fresh, p.ray = true, 0 }

// enter says that the rows are on the ray along d.
func (p *position) enter(d cu.DevicePtr) { p.fresh, p.ray = false, d }

// moved says that x of every row is in memory, and is where the row is.
func (p *position) moved() { p.fresh, p.ray = false, 0 }
