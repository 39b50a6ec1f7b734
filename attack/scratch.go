package attack

// A scratch is the memory of one thread that decides where rows go. It grows on first use, and keeps
// nothing from one call to the next but room. The zero value is ready.
type scratch struct {
	vectors [3][]float64 // see vector
	plane   planeScratch
	rooms   []float64 // of intoL1
	sizes   []float64 // of nthLargest
	rest    []float64 // of the prox of Linf
}

// vector returns number i of three vectors [n] of whoever runs on the thread. It has old elements.
func (m *scratch) vector(i, n int) []float64 {
	m.vectors[i] = resize(m.vectors[i], n)
	return m.vectors[i]
}

// resize returns s with length n. It has old elements, or none that are not zero.
func resize[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}
