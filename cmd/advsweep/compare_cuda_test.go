//go:build cuda && linux && cgo

package main

import (
	"strings"
	"testing"
)

// TestCompareBackends: --device is about the CUDA side, on either place, and rounding explains all
// that differs.
func TestCompareBackends(t *testing.T) {
	needCUDA(t)
	for _, c := range []struct{ backends, precisions, a, b string }{
		{"cpu,cuda", "float64,tf32", "cpu float64", "cuda tf32"},
		{"cuda,cpu", "float32", "cuda ", "cpu float32"}, // and the product, which differs too,
	} {
		out := t.TempDir()
		text := do(t, "compare", "--backend", c.backends, "--precision", c.precisions, "--device", "0", "--n", "10", "--eps", "0,0.05", "--bounds", "0,1", "--out", out)
		for _, want := range []string{"a        " + c.a, "b        " + c.b} {
			if !strings.Contains(text, want) {
				t.Errorf("no %q in:\n%s", want, text)
			}
		}
		models := decode(t, read(t, out, "compare.json"), "models")["models"].(map[string]any)
		if models["judged"] != true || models["outside"] != 0.0 {
			t.Errorf("%s: judged %v, %v outside", c.backends, models["judged"], models["outside"])
		}
	}
}
