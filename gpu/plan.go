package gpu

// A plan is how many bytes of device memory a model takes, by what they grow with.
type plan struct {
	row     int64 // of a batch: x, its class, whether its gradient was zero
	image   int64 // of a batch: the ray's first layer twice, random signs
	scratch int64 // row of a chunk: activations and gradients
	fixed   int64 // beside any chunk: the matrices of a convolution
	least   int   // rows of a chunk: where halving it ends
}

// padded is the length of a row of n elements on the device: see kernels/gemm.cuh.
func padded(n int) int { return (n + 15) / 16 * 16 }

// planFor plans for layers of these sizes, the input first.
func planFor(sizes []int) plan {
	in, widest := int64(padded(sizes[0])), int64(0)
	var activations int64
	for i, n := range sizes {
		widest = max(widest, int64(padded(n)))
		if i > 0 {
			activations += int64(padded(n))
		}
	}
	out := int64(padded(sizes[len(sizes)-1]))
	return plan{
		row:     4*in + 4 + 1,
		image:   2*4*int64(padded(sizes[1])) + in,
		scratch: 4*(activations+out+2*widest) + in,
		least:   minChunk,
	}
}

// maxRows is the most rows of one batch: launches count them in 31 bits, and Ctrl-C waits for all
// that has been launched, so they are bounded also where there is memory for more.
const maxRows = 1 << 21

// batch returns how many rows fit in free bytes, at least 1, beside a chunk of so many. A tenth is
// left for the driver.
func (p plan) batch(free int64, chunk int) int {
	n := (free - free/10 - p.fixed - p.scratch*int64(chunk)) / (p.row + p.image)
	return int(max(1, min(n, maxRows)))
}

// chunk returns how many rows pass through the layers at a time: two tiles of 128 rows for each
// multiprocessor, so that any number of tiles of columns makes whole waves of two blocks each; less
// if a quarter of free is less.
func (p plan) chunk(free int64, multiprocessors, widest int) int {
	rows := int64(2 * 128 * multiprocessors)
	// A grid has 65,535 rows at most, and kernels index a product's elements in 32 bits.
	rows = min(rows, 65535, free/4/p.scratch, 1<<31/int64(widest))
	least := int64(p.least)
	return int(max(least, rows/least*least))
}

// minChunk is the least chunk of an MLP: a tile. A network has many rows of a product for each of
// a chunk, and its chunk may be one row.
const minChunk = 128
