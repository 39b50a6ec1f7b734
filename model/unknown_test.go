package model_test

import (
	"strings"
	"testing"

	"advsweep/model"

	"gorgonia.org/tensor"
)

// A stranger is a layer that only this test knows.
type stranger struct{ weight *tensor.Dense }

func (stranger) Kind() string                    { return "stranger" }
func (stranger) Arity() (least, most int)        { return 1, 1 }
func (stranger) Shape(in [][]int) ([]int, error) { return in[0], nil }
func (stranger) MACs(_ [][]int, out []int) int64 { return 7 }
func (s stranger) Params() []model.Param         { return []model.Param{{"s.weight", s.weight, 1}} }

// A namesake says that it is a ReLU.
type namesake struct{ model.ReLU }

// A layer that has no row is refused by the name of its type wherever a model is looked at as a
// whole.
func TestUnknownLayer(t *testing.T) {
	weight := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float64{1, 2}))
	for _, test := range []struct {
		name  string
		layer model.Layer
		want  string
	}{
		{"unknown", stranger{weight}, "layer 1 is model_test.stranger, want"},
		{"pointer", &stranger{weight}, "layer 1 is *model_test.stranger, want"},
		{"wrapped", namesake{}, "layer 1 is model_test.namesake, want"},
		{"pointer to a known one", &model.ReLU{}, "layer 1 is *model.ReLU, want"},
		{"nil pointer", (*model.ReLU)(nil), "layer 1 is *model.ReLU, want"},
		{"nil", nil, "layer 1 is <nil>, want"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := model.MLP(3, 2, 2)
			m.Layers[1] = test.layer
			check := func(what string, err error) {
				t.Helper()
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%s: error %v, want one that contains %q", what, err, test.want)
				}
			}
			check("Validate", m.Validate())
			_, err := m.Shapes()
			check("Shapes", err)
			_, err = m.Encode("float32")
			check("Encode", err)
			_, err = m.MACs()
			check("MACs", err)
		})
	}
}
