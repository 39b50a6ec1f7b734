package backendtest

import (
	"testing"

	"advsweep/internal/ref"
)

// info compares what a backend says of itself with its model and its arithmetic.
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
	type words struct{ name, precision, mode string }
	want := map[ref.Rounding][]words{
		ref.Float64: {{"cpu", "float64", ""}},
		ref.Float32: {{"cpu", "float32", ""}, {"cuda", "float32", "fp32"}},
		ref.TF32x3:  {{"cuda", "float32", "3xtf32"}},
		ref.TF32:    {{"cuda", "tf32", "tf32"}},
	}[s.rounding]
	for _, w := range want {
		if w == (words{got.Name, got.Precision, got.MathMode}) {
			return
		}
	}
	t.Errorf("%q computes in %q by %q, want one of %q", got.Name, got.Precision, got.MathMode, want)
}
