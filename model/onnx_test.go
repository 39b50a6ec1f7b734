package model

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A reference is a network of testdata/onnx with what float64 PyTorch or its like says of it; testdata/onnx/README.md.
type reference struct {
	Shape  []int
	Inputs [][]float64
	Logits [][]float64
	Output string
	Files  []struct{ File string }
}

func readReference(t *testing.T, path string) reference {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r reference
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if s := r.Shape; len(s) == 3 && s[2] < s[0] { // N×H×W×C: our images are [C, H, W]
		for i, x := range r.Inputs {
			turned := make([]float64, len(x))
			for k, v := range x {
				turned[k%s[2]*s[0]*s[1]+k/s[2]] = v
			}
			r.Inputs[i] = turned
		}
	}
	return r
}

// agree fails unless the logits of m are those of r: every difference within limit of the largest logit of its image.
func agree(t *testing.T, m *Model, r reference, limit float64) float64 {
	t.Helper()
	worst := 0.0
	for i, x := range r.Inputs {
		got := evaluate(t, m, x)
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

func TestONNX(t *testing.T) {
	paths, _ := filepath.Glob("testdata/onnx/*.json")
	files := 0
	for _, path := range paths {
		if strings.HasSuffix(path, "unsupported.json") {
			continue
		}
		r := readReference(t, path)
		for _, f := range r.Files {
			files++
			t.Run(f.File, func(t *testing.T) {
				m, err := Load(filepath.Join("testdata/onnx", f.File))
				if err != nil {
					t.Fatal(err)
				}
				// The weights are float32 numbers, and so exact; what folding rounds is far below.
				limit := 2e-6
				if strings.Contains(f.File, "half") {
					limit = 2e-2 // 11 bits
				}
				t.Logf("%s %v: within %.1e", m, m.Notes, agree(t, m, r, limit))
			})
		}
	}
	if files == 0 {
		t.Error("no files")
	}
}
