package backendtest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"
)

// sights compares See and Look of backends that have them with Logits, Gradient and Step, which
// others do, to the bit.
func (s suite) sights(t *testing.T) {
	for _, c := range []struct {
		n     int
		sizes []int
	}{{1, []int{30, 17, 23, 10}}, {7, []int{7, 33, 4}}, {7, []int{5, 4}}, {90, []int{5, 9, 4}}} {
		t.Run(fmt.Sprintf("%v/B=%d", c.sizes, c.n), func(t *testing.T) {
			r := rand.New(rand.NewPCG(18, uint64(c.n)))
			s.sightsOf(t, ref.RandomModel(r, 1, c.sizes...), r, c.n)
		})
	}
}

func (s suite) networkSights(t *testing.T) {
	for _, name := range []string{"lenet", "resnet", "pools", "linear after linear", "no weights", "drawn 1"} {
		t.Run(name, func(t *testing.T) { s.sightsOf(t, networks()[name], rand.New(rand.NewPCG(18, 3)), 3) })
	}
}

// sightsOf asks one backend to see and to look between steps, and another one for the same in parts.
// Rows go back from slot 0, where Look has been, and from slot 1 and to clean images, where it need
// not have been.
func (s suite) sightsOf(t *testing.T, m *model.Model, r *rand.Rand, n int) {
	images, labels := batch(r, n, m)
	b, other := s.load(t, m, images, labels), s.load(t, m, images, labels)
	seer, sees := b.(pipeline.Seer)
	looker, looks := b.(pipeline.Looker)
	if !sees && !looks {
		t.Skip("it has neither See nor Look")
	}
	eps := []float64{0, 0.125, 0.25}
	classes := m.Outputs()
	rows := n * len(eps)
	same := func(when string, got, want [][]float64) {
		t.Helper()
		for k := range want {
			if !sameBits(got[k], want[k]) {
				t.Fatalf("%s: row %d has %v, want %v", when, k, got[k], want[k])
			}
		}
	}
	both := func(f func(b Backend) error) {
		t.Helper()
		must(t, f(b))
		must(t, f(other))
	}
	check := func(when string) {
		t.Helper()
		d, err := b.Images(t.Context())
		x := get(t, d, err)
		d, err = other.Images(t.Context())
		same(when+", pixels", x, get(t, d, err))
		d, err = other.Logits(t.Context())
		z := get(t, d, err)
		d, err = b.Logits(t.Context())
		same(when+", logits", get(t, d, err), z)
		if !sees {
			return
		}
		// Weights that depend on the logits, of every row once.
		var lock sync.Mutex
		asked := make([]int, rows)
		q := make([][]float64, rows)
		logits, gradient, err := seer.See(t.Context(), func(row int, z, to []float64) {
			for j := range to {
				if to[j] != 0 {
					t.Errorf("%s, row %d: a weight is %v before it is written", when, row, to[j])
				}
			}
			if row%5 != 4 {
				to[row%classes], to[(row+1)%classes] = 1, float64(float32(-z[0]))
			}
			lock.Lock()
			defer lock.Unlock()
			asked[row]++
			q[row] = append([]float64(nil), to...)
		})
		must(t, err)
		same(when+", seen logits", get(t, logits, nil), z)
		for row, k := range asked {
			if k != 1 {
				t.Fatalf("%s: row %d was weighed %d times", when, row, k)
			}
		}
		d, err = other.Gradient(t.Context(), matrix(q))
		same(when+", seen gradient", get(t, gradient, nil), get(t, d, err))
	}
	some, third := make([]bool, rows), make([]bool, rows)
	targets := make([]int32, rows)
	for k := range some {
		some[k], third[k] = k%2 == 0, k%3 == 0
		targets[k] = (labels[k/len(eps)] + 1) % int32(classes)
	}
	size := make([]float64, rows)
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		for _, norm := range []attack.Norm{attack.Linf, attack.L2} {
			both(func(b Backend) error { return b.Begin(t.Context(), 0, n, eps) })
			check("clean")
			for k := range 8 {
				for row := range size {
					size[row] = eps[row%len(eps)] * (1 - r.Float64()/2)
				}
				step := attack.Step{Size: size, Bounds: bounds, Norm: norm, Loss: attack.Margin, Ball: true, Alpha: 0.75, Index: k}
				if k%4 == 1 {
					step.Targets = targets
				}
				when := fmt.Sprintf("bounds %v, %v, step %d", bounds, norm, k)
				if looks {
					d, err := looker.Look(t.Context(), step)
					z := get(t, d, err)
					d, err = other.Logits(t.Context())
					same(when+", looked", z, get(t, d, err))
				}
				if k != 3 && k != 5 {
					both(func(b Backend) error { return b.Keep(t.Context(), 0, some) })
				}
				both(func(b Backend) error { return b.Keep(t.Context(), 1, third) })
				switch k {
				case 1:
					both(func(b Backend) error { return b.Restore(t.Context(), 1, third) })
				case 2, 3, 5: // where Look has been just now, at the last step, and for another aim
					both(func(b Backend) error { return b.Restore(t.Context(), 0, some) })
				case 4: // some rows of slot 1 were never kept
					both(func(b Backend) error { return b.Restore(t.Context(), 1, some) })
				case 6: // another step than that which was looked for
					step.Loss, step.Targets = attack.CrossEntropy, nil
				case 7: // a look that nothing follows, but rounding
					both(func(b Backend) error {
						_, err := b.Outcomes(t.Context(), &backend.Rounding{Norm: norm})
						return err
					})
				}
				if k == 2 {
					check(when + ", restored")
				}
				both(func(b Backend) error { return b.Step(t.Context(), step) })
				check(when)
			}
			if k, want := zeros(t, b), zeros(t, other); k != want {
				t.Errorf("%d gradients were zero, without a look %d", k, want)
			}
		}
	}
}

// zeros counts the rows of which a gradient was zero.
func zeros(t *testing.T, b Backend) (n int) {
	t.Helper()
	o, err := b.Outcomes(t.Context(), nil)
	must(t, err)
	for _, z := range o.Zero {
		if z {
			n++
		}
	}
	return n
}
