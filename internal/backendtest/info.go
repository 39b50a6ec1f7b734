package backendtest

import (
	"slices"
	"testing"

	"advsweep/internal/ref"
)

// info compares what a backend says of itself with its model and its arithmetic. Its name is
// checked where the backends are listed.
func (s suite) info(t *testing.T) {
	m := tiny()
	b := s.open(t, m)
	got := b.Info()
	if got.Inputs != m.Inputs() || got.Classes != m.Outputs() {
		t.Errorf("%d inputs and %d classes, want %d and %d", got.Inputs, got.Classes, m.Inputs(), m.Outputs())
	}
	if got.Name == "" || got.Device == "" || got.Rows < 1 {
		t.Errorf("name %q, device %q, %d rows: want two names and a row", got.Name, got.Device, got.Rows)
	}
	type words struct{ precision, mode string }
	want := map[ref.Rounding][]words{
		ref.Float64: {{"float64", ""}},
		ref.Float32: {{"float32", ""}, {"float32", "fp32"}}, // the first has no choice of modes
		ref.TF32x3:  {{"float32", "3xtf32"}},
		ref.TF32:    {{"tf32", "tf32"}},
		ref.Fast64:  {{"float64", "fast"}},
		ref.Fast32:  {{"float32", "fast"}},
	}[s.rounding]
	if w := (words{got.Precision, got.MathMode}); !slices.Contains(want, w) {
		t.Errorf("precision and math mode %q, want one of %q", w, want)
	}
}
