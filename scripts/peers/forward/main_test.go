package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"
)

const lenet = "../../../model/onnx/testdata/zoo/lenet.onnx" // 5 classes of images [1, 16, 16]

// writeImages writes n images and returns the file and the pixels [n, 256].
func writeImages(t *testing.T, n int) (path string, pixels []uint8) {
	t.Helper()
	for i := range n * 256 {
		pixels = append(pixels, uint8(i*i*31+i*7))
	}
	var b bytes.Buffer
	err := dataset.WriteNPZ(&b, dataset.Array{Name: "images", Shape: []int{n, 1, 16, 16}, Data: pixels},
		dataset.Array{Name: "labels", Shape: []int{n}, Data: make([]int32, n)})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "images.npz")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, pixels
}

// The pass for warmth and each line of the input have an answer with the logits of every image. The judge is float64.
func TestRun(t *testing.T) {
	const n = 3
	path, pixels := writeImages(t, n)
	m, err := model.Load(lenet)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{"-threads", "1", lenet, path}, strings.NewReader("\n\n"), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d answers to 2 lines, want 3 with the pass for warmth", len(lines))
	}
	for _, line := range lines {
		var p pass
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		if !(p.Ms > 0) || len(p.Logits) != n {
			t.Fatalf("%v ms and %d rows of logits, want more than 0 and %d", p.Ms, len(p.Logits), n)
		}
		for i, row := range p.Logits {
			x := make([]float64, 256)
			for j := range x {
				x[j] = float64(pixels[i*256+j]) / 255
			}
			want, _ := ref.Forward(m, x)
			if len(row) != len(want) {
				t.Fatalf("image %d: %d logits, want %d", i, len(row), len(want))
			}
			for j := range want {
				// Chains of at most 256 terms of about 1: 256·2⁻²⁴ is 1.5e-5.
				if !(math.Abs(float64(row[j])-want[j]) <= 2e-5) {
					t.Errorf("image %d, logit %d: %v, want %v", i, j, row[j], want[j])
				}
			}
		}
	}
}

func TestRunErrors(t *testing.T) {
	path, _ := writeImages(t, 1)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"one file", "want MODEL.onnx IMAGES.npz", []string{lenet}},
		{"no model", "none.onnx", []string{"none.onnx", path}},
		{"no images", "none.npz", []string{lenet, "none.npz"}},
		{"threads", "-1 threads", []string{"-threads", "-1", lenet, path}},
	} {
		if err := run(c.args, strings.NewReader(""), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
	}
}
