package pipeline_test

import (
	"reflect"
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/raytest"
	"advsweep/internal/testsize"
	"advsweep/model"
	"advsweep/pipeline"
)

// TestExactNetwork sweeps the embedded convolutional network with walks and without, in both
// precisions. All that is said of the eps of the grid is the same. On a fine grid in float64 no
// image is right where its walk says that it is wrong, nor the other way round, but for named ties.
func TestExactNetwork(t *testing.T) {
	m, err := model.Embedded("cnn")
	if err != nil {
		t.Fatal(err)
	}
	all, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	set, err := all.Slice(5, 5+testsize.Of(6, 12, 60))
	if err != nil {
		t.Fatal(err)
	}
	fine := testsize.Of(60, 200, 2000)
	eps := make([]float64, fine+1)
	for k := range eps {
		eps[k] = 0.3 * float64(k) / float64(fine)
	}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		for _, b := range []pipeline.Backend{open[float32](t, m), open[float64](t, m)} {
			s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: eps, Bounds: bounds, Rounded: true}
			grid, err := s.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			s.Exact = true
			walked, err := s.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			x := walked.Curves[0].Exact
			for i := range x.Walks {
				w := &x.Walks[i]
				if len(w.Disagreed) > 0 {
					t.Errorf("bounds %s, image %d: disagreed at %v", bounds, i, w.Disagreed)
				}
				for e, v := range eps {
					right := grid.Curves[0].Class(i, e) == set.Labels[i]
					if w.At(v, x.Max) != right && !tied(w, v) {
						t.Errorf("%s, bounds %s, image %d: right at %v is %v, want %v; intervals %v within %v", b.Info().Precision, bounds, i, v, !right, right, w.Correct, w.Within)
					}
				}
			}
			walked.Curves[0].Exact = nil
			if want := raytest.Rays(t, grid, 0); !reflect.DeepEqual(walked, want) {
				t.Errorf("%s, bounds %s: a walk changes what is found at the eps of the list", b.Info().Precision, bounds)
			}
		}
	}
}

// tied reports whether an end of w is so near to eps that rounding may decide.
func tied(w *attack.Walk, eps float64) bool {
	for _, v := range w.Correct {
		if max(v.Lo-eps, eps-v.Lo) <= w.Within || max(v.Hi-eps, eps-v.Hi) <= w.Within {
			return true
		}
	}
	return false
}
