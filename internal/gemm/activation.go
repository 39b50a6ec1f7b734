package gemm

// An Activation is the vector form of an elementwise function of package cpu, on one path. It gives
// the bits of the scalar code there. The zero value has no assembly.
type Activation[T Float] struct {
	whole    multiple
	forward  func(n int, y, x *T, p *float64)
	backward func(n int, dx, x, d *T, p *float64)
}

// NewActivation returns the vector form of the function of this name on a path that Path returned,
// or the zero value if there is none.
func NewActivation[T Float](path, name string) Activation[T] {
	for _, table := range activations(path) {
		if table, ok := table.(map[string]Activation[T]); ok {
			return table[name]
		}
	}
	return Activation[T]{}
}

// Forward writes y = f(x) for the first elements, as many as the assembly takes, and returns how
// many these are. p are the function's parameters. x must not be shorter than y, and may be y.
func (a *Activation[T]) Forward(y, x []T, p *[2]float64) int {
	x = x[:len(y)]
	n := a.whole.of(len(y))
	if n > 0 {
		a.forward(n, &y[0], &x[0], &p[0])
	}
	return n
}

// Backward writes dx, the gradient at x for d at f(x), as Forward writes y. x and d must not be
// shorter than dx. dx may be either.
func (a *Activation[T]) Backward(dx, x, d []T, p *[2]float64) int {
	x, d = x[:len(dx)], d[:len(dx)]
	n := a.whole.of(len(dx))
	if n > 0 {
		a.backward(n, &dx[0], &x[0], &d[0], &p[0])
	}
	return n
}
