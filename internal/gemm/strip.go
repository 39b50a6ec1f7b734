package gemm

// A stripKernel is a product of windows with all terms of a panel, see stripGo.
type stripKernel[T Float] func(times, n int, at *int32, a *T, ars int, w, init *T, ldi int, c *T, ldc int)

// A narrowStrip takes more than GroupRows windows at once, of a panel of one vector.
type narrowStrip[T Float] struct {
	rows   int
	kernel stripKernel[T]
}

// A strips is the stripKernels of a path. They compute GroupRows windows at a time, two, and one,
// by the number of vectors of the panel less 1.
type strips[T Float] struct {
	five, two, one []stripKernel[T]
	narrow         []narrowStrip[T] // by falling number of rows
}

// of returns the kernel that takes as many of the windows at once as possible, and how many these
// are. vectors says how wide the panel is.
func (s *strips[T]) of(windows, vectors int) (int, stripKernel[T]) {
	if vectors == 1 {
		for _, n := range s.narrow {
			if windows >= n.rows {
				return n.rows, n.kernel
			}
		}
	}
	switch {
	case windows >= GroupRows:
		return GroupRows, s.five[vectors-1]
	case windows >= 2:
		return 2, s.two[vectors-1]
	}
	return 1, s.one[vectors-1]
}
