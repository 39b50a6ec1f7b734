package gpu

// A plan is how many bytes of device memory a model needs, by what they grow with.
type plan struct {
	row     int64 // for each row of a batch: x, the class, whether a gradient was zero
	image   int64 // for each image of a batch: the first layer on the ray, twice, and random signs
	scratch int64 // for each row of a microbatch: the outputs of the layers, and gradients
	fixed   int64 // beside any microbatch: the matrix of im2col
	least   int   // the least rows of a microbatch: where halving it ends
}

// padded is the length on the device of a row of n elements: see kernels/gemm.cuh.
func padded(n int) int { return (n + 15) / 16 * 16 }

// planFor is the plan of an MLP of these sizes: of the input, and of the output of each layer.
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
		least:   minMicrobatch,
	}
}

// maxRows is the most rows of one batch. Launches count rows in 31 bits. And Ctrl-C waits for all
// that was launched, so that rows are bounded also where there is memory for more.
const maxRows = 1 << 21

// batch returns how many rows fit in free bytes beside a microbatch of so many rows. It is at least
// 1. A tenth of free is left for the driver.
func (p plan) batch(free int64, microbatch int) int {
	n := (free - free/10 - p.fixed - p.scratch*int64(microbatch)) / (p.row + p.image)
	return int(max(1, min(n, maxRows)))
}

// microbatch returns how many rows pass through the layers at a time. It is two tiles of 128 rows
// for each multiprocessor: then any number of tiles of columns makes whole waves of two blocks
// each. It is less if that needs more than a quarter of free bytes. widest is the longest row of
// any matrix.
func (p plan) microbatch(free int64, multiprocessors, widest int) int {
	rows := int64(2 * 128 * multiprocessors)
	// A grid has at most 65,535 rows, and kernels index the elements of a product in 32 bits.
	rows = min(rows, 65535, free/4/p.scratch, 1<<31/int64(widest))
	least := int64(p.least)
	return int(max(least, rows/least*least))
}

// minMicrobatch is the least microbatch of an MLP: one tile. The microbatch of a network may be one
// row, because a convolution makes many rows of a product out of it.
const minMicrobatch = 128
