// Package golden reads what float64 PyTorch and its like say of the networks in model/testdata, for
// the tests of every format in which those networks are there.
package golden

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// A Reference is a network with what its own library says of some images;
// model/testdata/onnx/README.md.
type Reference struct {
	Shape  []int       // of an image: [I], [C, H, W], or [H, W, C] before Read
	Inputs [][]float64 // the images
	Logits [][]float64 // of each image
	Output string
	Files  []struct{ File string }
}

// Read returns the reference in the JSON file at path, its images as [C, H, W].
func Read(t *testing.T, path string) Reference {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r Reference
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if s := r.Shape; len(s) == 3 && s[2] < s[0] {
		r.ChannelsFirst()
	}
	return r
}

// ChannelsFirst puts images [H, W, C] into our order, [C, H, W].
func (r Reference) ChannelsFirst() {
	s := r.Shape
	for i, x := range r.Inputs {
		ordered := make([]float64, len(x))
		for k, v := range x {
			ordered[k%s[2]*s[0]*s[1]+k/s[2]] = v
		}
		r.Inputs[i] = ordered
	}
}

// Agree fails unless logits gives those of r for every image: every difference within limit of the
// largest logit of its image. It returns the largest difference, in the same unit.
func (r Reference) Agree(t *testing.T, logits func(x []float64) []float64, limit float64) float64 {
	t.Helper()
	worst := 0.0
	for i, x := range r.Inputs {
		got := logits(x)
		if len(got) != len(r.Logits[i]) {
			t.Fatalf("%d logits, want %d", len(got), len(r.Logits[i]))
		}
		top := 0.0
		for _, v := range r.Logits[i] {
			top = max(top, math.Abs(v))
		}
		for k, v := range r.Logits[i] {
			off := math.Abs(got[k]-v) / top
			if !(off <= limit) {
				t.Errorf("image %d: logit %d is %v, want %v within %v of %v", i, k, got[k], v, limit, top)
			}
			worst = max(worst, off)
		}
	}
	return worst
}
