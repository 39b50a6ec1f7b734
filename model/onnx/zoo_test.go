package onnx

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/internal/ref"
	"advsweep/model"
)

// A specimen is an image of the zoo and what PyTorch says of it in float64: scripts/zoo/small.py.
type specimen struct {
	Shape    []int // of the image as the file takes it: [C, H, W] or [H, W, C]
	Input    []float64
	Label    int
	Logits   []float64
	Gradient []float64 // of the cross-entropy with respect to the image
}

// readSpecimen returns the specimen in the JSON file at path, its image in [0, 1] and as [C, H, W].
func readSpecimen(t *testing.T, path string) specimen {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s specimen
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	for i := range s.Input {
		s.Input[i] /= 256
	}
	if s.Shape[2] < s.Shape[0] {
		s.Input, s.Gradient = channelsFirst(s.Input, s.Shape), channelsFirst(s.Gradient, s.Shape)
	}
	return s
}

// channelsFirst returns x [H, W, C] of the given shape as [C, H, W].
func channelsFirst(x []float64, shape []int) []float64 {
	y, c := make([]float64, len(x)), shape[2]
	for k, v := range x {
		y[k%c*shape[0]*shape[1]+k/c] = v
	}
	return y
}

// distance returns the largest |got - want| in units of the largest |want|. It is NaN if a
// difference is, and infinite where the lengths differ.
func distance(got, want []float64) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	off, top := 0.0, 0.0
	for i, w := range want {
		off, top = max(off, math.Abs(got[i]-w)), max(top, math.Abs(w))
	}
	return off / top
}

// Shrunk networks of all families, as PyTorch's two exporters and others write them: the logits and
// the gradient of internal/ref are those of PyTorch's float64. The digits that the JSON keeps are
// within 1e-12, and every constant of a file is the number that PyTorch computed with.
func TestZoo(t *testing.T) {
	paths, _ := filepath.Glob("testdata/zoo/*.onnx")
	if len(paths) < 50 {
		t.Fatalf("%d files, want at least 50", len(paths))
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".onnx")
		t.Run(name, func(t *testing.T) {
			m, err := model.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			s := readSpecimen(t, strings.TrimSuffix(path, ".onnx")+".json")
			logits, values := ref.Forward(m, s.Input)
			d := ref.Softmax(logits)
			d[s.Label]--
			gradient := ref.Backward(m, values, d)
			const limit = 1e-9
			offLogits, offGradient := distance(logits, s.Logits), distance(gradient, s.Gradient)
			said := fmt.Sprintf("%s: logits within %.1e of the largest, gradient within %.1e, want at most %v", m, offLogits, offGradient, limit)
			if !(offLogits <= limit && offGradient <= limit) {
				t.Error(said)
			}
			t.Log(said)
		})
	}
}

func TestZooDistance(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want []float64
		off       float64
	}{
		{"same", []float64{1, -4}, []float64{1, -4}, 0},
		{"of the largest", []float64{1, -4}, []float64{3, -4}, 0.5},
		{"another length", []float64{1}, []float64{1, 2}, math.Inf(1)},
	} {
		if off := distance(c.got, c.want); off != c.off {
			t.Errorf("%s: %v, want %v", c.name, off, c.off)
		}
	}
	if off := distance([]float64{math.NaN(), 1}, []float64{1, 1}); !math.IsNaN(off) {
		t.Errorf("distance of NaN is %v, want NaN", off)
	}
}
