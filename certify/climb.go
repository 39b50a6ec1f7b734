package certify

// climb is last with the slopes of lower lines moved to where bounds are highest.
func (w *work) climb(rows [][]float64) ([]float64, error) {
	return w.last(rows, false)
}
