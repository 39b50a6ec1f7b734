package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMathFlag wants the math of a sweep in its files, and no half of one math put to a half of the
// other.
func TestMathFlag(t *testing.T) {
	args := []string{"sweep", "--model", "cnn", "--backend", "cpu", "--n", "20", "--eps", "0:0.1:0.05", "-q", "--out"}
	usual, fast := t.TempDir(), t.TempDir()
	do(t, append(args, usual)...)
	do(t, append(args, fast, "--math", "fast")...)
	for _, name := range []string{"curve.json", "run.json", "manifest.json"} {
		if v := decode(t, read(t, fast, name)); v["math"] != "fast" {
			t.Errorf("%s: math %v, want fast", name, v["math"])
		}
		if v := decode(t, read(t, usual, name)); v["math"] != nil {
			t.Errorf("%s: math %v where it is the default", name, v["math"])
		}
	}
	if v := decode(t, read(t, fast, "manifest.json")); v["arithmetic"] != "float32 fast" {
		t.Errorf("arithmetic %v, want float32 fast", v["arithmetic"])
	}
	if svg := read(t, fast, "curve.svg"); !bytes.Contains(svg, []byte("fast math")) {
		t.Error("the figure does not say that it is of fast math")
	}
	file := filepath.Join(t.TempDir(), "study.toml")
	if err := os.WriteFile(file, []byte("math = \"fast\"\neps = \"0:0.1:0.05\"\n[[model]]\nfile = \"cnn\"\n[[data]]\nn = 20\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "study")
	do(t, "plan", file, "--out", folder)
	do(t, "work", folder, "-q")
	for _, name := range []string{"curve.json", "images.csv", "manifest.json"} {
		if !bytes.Equal(read(t, folder, "runs", "cnn", name), read(t, fast, name)) {
			t.Errorf("%s of a study is another than that of the sweep", name)
		}
	}
	half := t.TempDir()
	do(t, append(args, half, "--shard", "1/2")...)
	code, _, stderr := advsweep(t, append(args, half, "--shard", "2/2", "--math", "fast")...)
	if code == 0 || !strings.Contains(stderr, "fast") {
		t.Errorf("half a sweep in fast math for half of another: exit code %d, %s", code, stderr)
	}
	text := do(t, "compare", usual, fast, "--out", t.TempDir(), "-q")
	for _, want := range []string{"a        float32: ", "b        float32 fast: ", "float32 in fast math"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in a comparison of both:\n%s", want, text)
		}
	}
}
