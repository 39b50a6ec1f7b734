package cpu

import (
	"strings"
	"testing"

	"advsweep/model"
)

// A stray is a layer that only this test knows.
type stray struct{ model.Layer }

// What this package has no operation for is an error of New that names it, not a nil that fails
// later: a layer that nobody knows, and a function that has no row in this package's table.
func TestUnknownOperation(t *testing.T) {
	tanh := functions["tanh"]
	delete(functions, "tanh")
	defer func() { functions["tanh"] = tanh }()
	for _, c := range []struct {
		layer model.Layer
		want  string
	}{
		{stray{model.ReLU{}}, "layer 1 is cpu.stray"},
		{model.Tanh{}, `cpu: layer 1: no elementwise function "tanh", want `},
	} {
		m := model.MLP(3, 2)
		m.Layers = append(m.Layers, c.layer)
		_, err := New[float32](m, Options{})
		_, err64 := New[float64](m, Options{})
		for _, err := range []error{err, err64} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%T: error %v, want %s", c.layer, err, c.want)
			}
		}
	}
}
