package pipeline_test

import (
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
)

// TestNoCounter counts by Outcomes what a Counter counts itself, also in batches of few rows.
func TestNoCounter(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 1))
	m := ref.RandomModel(r, 1, 12, 7, 5)
	set := randomSet(r, 9, 3, 4, 5)
	clear(set.Images.Data().([]uint8)[:12])
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM(), attack.BIM(3), attack.Noise(1)}, Eps: []float64{0, 0.1, 0.3}, Bounds: attack.Bounds{Lo: 0, Hi: 1}}
	run := func(b pipeline.Backend, rows int, set *dataset.Set) *pipeline.Result {
		s.Rows = rows
		res, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	b := open[float32](t, m)
	if _, ok := pipeline.Backend(b).(pipeline.Counter); !ok {
		t.Fatal("the backend does not count: the test says nothing")
	}
	plain := struct{ pipeline.Backend }{b}
	if _, ok := pipeline.Backend(plain).(pipeline.Counter); ok {
		t.Fatal("the plain backend counts: the test says nothing")
	}
	want := run(b, 0, set)
	for _, rows := range []int{0, 7, 2} {
		if d := cmp.Diff(want, run(plain, rows, set)); d != "" {
			t.Errorf("%d rows:\n%s", rows, d)
		}
	}
	// A logit that is not finite is an error that names the image, either way.
	huge := open[float32](t, ref.RandomModel(r, 1e30, 12, 7, 5))
	_, first := s.Run(t.Context(), huge, set)
	_, second := s.Run(t.Context(), struct{ pipeline.Backend }{huge}, set)
	if first == nil || second == nil || first.Error() != second.Error() {
		t.Errorf("errors %v and %v, want one twice", first, second)
	}
}
