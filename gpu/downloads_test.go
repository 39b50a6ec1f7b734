//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/dataset"
	"advsweep/model"
)

// TestOneWait counts how often a device waits for what a method brings down: once, however many
// microbatches there are. With little pinned memory it waits more often, and the results are the
// same.
func TestOneWait(t *testing.T) {
	need(t)
	for _, c := range []struct {
		name string
		make func() (*model.Model, *dataset.Set)
		most int // bytes of pinned memory
	}{
		{"MLP", func() (*model.Model, *dataset.Set) { return small(t) }, mostPinned},
		{"network", tinyNetwork, mostPinned},
		{"MLP in pieces", func() (*model.Model, *dataset.Set) { return small(t) }, 100},
		{"network in pieces", tinyNetwork, 100},
		{"less than a row", func() (*model.Model, *dataset.Set) { return small(t) }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, set := c.make()
			eps := manyEps(20) // 220 rows, more than a microbatch
			var want string
			for _, most := range []int{mostPinned, c.most} {
				b := open(t, m, Options{})
				p := b.cards[0]
				p.downloads.most = most
				if p.budget.planned = minMicrobatch; p.mlp == nil {
					p.budget.planned = 50
				}
				must(t, b.Load(t.Context(), 0, set.Images, set.Labels))
				must(t, b.Begin(t.Context(), 0, set.N(), eps))
				must(t, b.Step(t.Context(), attack.FGSM().At(0, eps, attack.Bounds{})))
				rows := set.N() * len(eps)
				got := ""
				for _, method := range []struct {
					name string
					call func() (any, error)
				}{
					{"Outcomes", func() (any, error) { return b.Outcomes(t.Context(), nil) }},
					{"Outcomes of rounded rows", func() (any, error) { return b.Outcomes(t.Context(), new(backend.Rounding)) }},
					{"Count", func() (any, error) {
						correct, zero, stuck := make([]int, len(eps)), make([]int, len(eps)), make([]bool, set.N())
						bad, err := b.Count(t.Context(), correct, zero, stuck)
						return fmt.Sprint(bad, correct, zero, stuck), err
					}},
					{"Predictions", func() (any, error) {
						class := make([]int32, rows)
						return class, b.Predictions(t.Context(), class)
					}},
					{"ZeroGradient", func() (any, error) {
						zero := make([]bool, rows)
						return zero, b.ZeroGradient(t.Context(), zero)
					}},
					{"Images", func() (any, error) {
						d, err := b.Images(t.Context())
						return d.Data(), err
					}},
				} {
					before := p.waits
					result, err := method.call()
					must(t, err)
					if o, ok := result.(backend.Outcomes); ok {
						result = fmt.Sprint(o.Logits.Data(), o.Zero, o.Norms, o.Rounded)
					}
					got += fmt.Sprint(method.name, ": ", result, "\n")
					n := p.waits - before
					if n != 1 && most == mostPinned {
						t.Errorf("%s waits %d times, want once", method.name, n)
					}
					if n < 2 && most < mostPinned && method.name != "Count" {
						t.Errorf("%s waits %d times with %d bytes of pinned memory: the test says too little", method.name, n, most)
					}
				}
				if want == "" {
					want = got
				} else if got != want {
					t.Errorf("with %d bytes of pinned memory:\n%s\nwant\n%s", most, got, want)
				}
			}
		})
	}
}
