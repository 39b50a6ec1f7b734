package attack

import "math"

// An adam holds what Adam knows of numbers that it makes smaller, with the constants that its paper
// suggests.
//
// Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
type adam struct {
	mean, square   []float64
	power1, power2 float64
}

const adamBeta1, adamBeta2, adamTiny = 0.9, 0.999, 1e-8

func newAdam(n int) *adam {
	m := &adam{mean: make([]float64, n), square: make([]float64, n)}
	m.reset()
	return m
}

// reset forgets all slopes.
func (m *adam) reset() {
	clear(m.mean)
	clear(m.square)
	m.power1, m.power2 = 1, 1
}

// next begins a step.
func (m *adam) next() {
	m.power1, m.power2 = float64(m.power1*adamBeta1), float64(m.power2*adamBeta2)
}

// take takes in slope d of number at. A step of the rate r makes it smaller by r·mean/spread.
func (m *adam) take(at int, d float64) (mean, spread float64) {
	m.mean[at] = float64(adamBeta1*m.mean[at]) + float64((1-adamBeta1)*d)
	m.square[at] = float64(adamBeta2*m.square[at]) + float64((1-adamBeta2)*float64(d*d))
	return m.mean[at] / (1 - m.power1), math.Sqrt(m.square[at]/(1-m.power2)) + adamTiny
}
