package gemm

// Unpack copies the elements back: element (k, n) to b[k·rs + n·cs], see Pack. So nobody needs to
// keep a matrix beside its packed form.
func (m *Matrix[T]) Unpack(b []T, rs, cs int) {
	for j0 := 0; j0 < m.N && m.K > 0; j0 += m.width {
		p, width := m.panel(j0)
		for k := range m.K {
			for j, v := range p[k*width:][:min(width, m.N-j0)] {
				b[k*rs+(j0+j)*cs] = v
			}
		}
	}
}
