package gemm

// A stripKernel is a product of windows with all terms of a panel, see stripGo.
type stripKernel[T Float] func(times, n int, at *int32, a *T, ars int, w, init *T, ldi int, c *T, ldc int)

// A sets is the kernels of a path by how many rows they take. These compute GroupRows rows, two,
// and one, by the number of vectors of the panel less 1.
type sets[K any] struct {
	five, two, one []K
	narrow         []narrow[K] // by falling number of rows
}

// A narrow is a kernel that takes more than GroupRows rows at once, of a panel of one vector. The
// tile of a Scratch has room for them.
type narrow[K any] struct {
	rows   int
	kernel K
}

// of returns the kernel that takes as many of the rows at once as possible, and how many these are.
// vectors says how wide the panel is.
func (s *sets[K]) of(rows, vectors int) (int, K) {
	if vectors == 1 {
		for _, n := range s.narrow {
			if rows >= n.rows {
				return n.rows, n.kernel
			}
		}
	}
	switch {
	case rows >= GroupRows:
		return GroupRows, s.five[vectors-1]
	case rows >= 2:
		return 2, s.two[vectors-1]
	}
	return 1, s.one[vectors-1]
}
