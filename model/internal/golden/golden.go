// Package golden is what the tests of all formats of models share: what float64 PyTorch and its like
// say of the networks in model/testdata, and checks of what a reader returns.
package golden

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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

// Seeds returns the files that match the patterns, for fuzzing to begin with.
func Seeds(t testing.TB, patterns ...string) [][]byte {
	t.Helper()
	var all [][]byte
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, data)
		}
	}
	return all
}

// WantError fails unless err has all parts and is one line that names package model once.
func WantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("error is nil, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error is %q, want it to contain %q", err, p)
		}
	}
	if strings.ContainsAny(err.Error(), "\n\r\x1b") || strings.Count(err.Error(), "model: ") != 1 {
		t.Errorf("error is %q, want one line that names the package once", err)
	}
}

// Decoded decodes data, the file called name, which anybody may have written. It fails if that takes
// far more memory than data has bytes and spare bytes, if an error is more than one line, or if the model is not
// valid. It returns false if data holds no model.
func Decoded[M interface{ Validate() error }](t *testing.T, decode func(name string, data []byte) (M, error), name string, data []byte, spare uint64) (M, bool) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	m, err := decode(name, data)
	runtime.ReadMemStats(&after)
	// The header's tokens take several times its bytes, and so do messages.
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(len(data))*256+spare; got > most {
		t.Fatalf("%d bytes allocated for a file of %d, want at most %d", got, len(data), most)
	}
	if err != nil {
		if strings.ContainsAny(err.Error(), "\n\r\x1b") {
			t.Fatalf("error is %q, want one line", err)
		}
		return m, false
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	return m, true
}
