package pipeline_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"advsweep/model"
	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

// TestRight: image by image, whatever the batch; an image whose logits are not finite is named by
// its index, and images that are no input of the model are refused.
func TestRight(t *testing.T) {
	m := model.MLP(2, 2) // z = x
	copy(m.Layers[0].(model.Linear).Weight.Data().([]float32), []float32{1, 0, 0, 1})
	b := open[float64](t, m)
	x0 := func(pixels ...float64) *tensor.Dense {
		return tensor.New(tensor.WithShape(len(pixels)/2, 1, 2), tensor.WithBacking(pixels))
	}
	images, labels := x0(0.9, 0.5, 0.5, 0.9, 0.9, 0.5, 0.5, 0.9, 0.5, 0.5), []int32{0, 0, 1, 1, 0}
	for most := range 7 {
		got, err := pipeline.Right(t.Context(), b, 50, images, labels, most)
		if want := []bool{true, false, false, true, true}; err != nil || !slices.Equal(got, want) {
			t.Errorf("batches of %d: %v, %v; want %v", most, got, err, want)
		}
	}
	large := model.MLP(2, 2)
	copy(large.Layers[0].(model.Linear).Weight.Data().([]float32), []float32{math.MaxFloat32, 0, 0, 1})
	var bad *pipeline.NotFiniteError
	if got, err := pipeline.Right(t.Context(), open[float64](t, large), 50, x0(0, 1, 1, 0, 1e300, 0), []int32{0, 0, 0}, 1); !errors.As(err, &bad) || bad.Image != 52 || got != nil {
		t.Errorf("%v, %v; want none and image 52 as not finite", got, err)
	}
	for name, c := range map[string]struct {
		x0     *tensor.Dense
		labels []int32
	}{"nil": {nil, []int32{0}}, "no labels": {images, nil}, "fewer labels": {images, labels[:4]}, "long images": {tensor.New(tensor.WithShape(1, 1, 3), tensor.WithBacking(make([]uint8, 3))), []int32{0}}} {
		if _, err := pipeline.Right(t.Context(), b, 0, c.x0, c.labels, 0); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
