package main

import (
	"bytes"
	"encoding/csv"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"advsweep/gpu"
	"advsweep/model"
	"advsweep/report"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

// small is a linear model of MNIST's shape, saved in a folder: its logits are sums of bands of the
// image, scaled.
func small(t *testing.T, name string, scale float32, pixels, classes int) string {
	t.Helper()
	w, b := make([]float32, classes*pixels), make([]float32, classes)
	for i := range w {
		if (i/7+i%pixels)%classes == 0 {
			w[i] = scale * float32(i%5)
		}
	}
	m := &model.Model{Layers: []model.Layer{model.Linear{Name: "fc", Weight: tensor.New(tensor.WithShape(classes, pixels), tensor.WithBacking(w)), Bias: tensor.New(tensor.WithShape(classes), tensor.WithBacking(b))}}}
	path := filepath.Join(t.TempDir(), name)
	data, err := m.Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func table(t *testing.T, path ...string) []map[string]string {
	t.Helper()
	lines, err := csv.NewReader(bytes.NewReader(read(t, path...))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var rows []map[string]string
	for _, l := range lines[1:] {
		row := map[string]string{}
		for i, head := range lines[0] {
			row[head] = l[i]
		}
		rows = append(rows, row)
	}
	return rows
}

func TestComparePrecisions(t *testing.T) {
	out := t.TempDir()
	args := []string{"compare", "--precision", "float32,float64", "--attack", "fgsm,bim", "--n", "20", "--eps", "0,0.05", "--out", out}
	text := do(t, append(args, "--max-flips", "0")...)
	for _, want := range []string{"a        float32: embedded", "b        float64: embedded", "cpu", "FGSM's direction differs in 0 of 15680 pixels", "there are none.", "0 of 20 images flip"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if _, err := png.Decode(bytes.NewReader(read(t, out, "compare.png"))); err != nil {
		t.Error(err)
	}
	v := decode(t, read(t, out, "compare.json"), "a", "b", "rows", "models", "clean", "holm_rows")
	if a := v["a"].(map[string]any); a["precision"] != "float32" || a["device"] != nil {
		t.Errorf("a is %v", a)
	}
	if v["models"].(map[string]any)["judged"] != true {
		t.Error("one model in two precisions was not judged")
	}
	files := map[string][]byte{}
	for _, name := range report.CurveNames(compareBase) {
		files[name] = read(t, out, name)
	}
	do(t, append(args, "--threads", "3", "--quiet")...)
	for name, was := range files {
		if !bytes.Equal(was, read(t, out, name)) {
			t.Errorf("%s has other bytes with 3 threads", name)
		}
	}
	if got := do(t, append(args, "--format", "csv")...); got != string(files["compare.csv"]) {
		t.Error("--format csv is not compare.csv")
	}
	if got := do(t, append(args, "--format", "json")...); got != string(files["compare.json"]) {
		t.Error("--format json is not compare.json")
	}
}

// TestCompareModels: what is compared live is what two sweeps find, and what a comparison of their
// folders says.
func TestCompareModels(t *testing.T) {
	other := small(t, "other.safetensors", 0.01, 784, 10)
	live, dirA, dirB, folders := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	common := []string{"--attack", "fgsm,pgd:steps=3,worst", "--n", "30", "--offset", "5", "--bounds", "0,1", "--backend", "cpu", "--eps"}
	code, text, stderr := advsweep(t, append(append([]string{"compare", "embedded", other, "--out", live, "--max-flips", "3"}, common...), "0,0.1,0.2")...)
	if code != exitFail || !strings.Contains(stderr, "more than --max-flips 3") || !strings.Contains(text, "b        other.safetensors: other.safetensors, 784-10") {
		t.Fatalf("exit code %d, want %d\n%s%s", code, exitFail, text, stderr)
	}
	do(t, append(append([]string{"sweep", "--out", dirA}, common...), "0,0.1,0.2")...)
	do(t, append(append([]string{"sweep", "--model", other, "--out", dirB}, common...), "0,0.05,0.1,0.2")...)
	text = do(t, "compare", dirA, dirB, "--out", folders)
	if want := "left out eps that only " + dirB + " has: [0.05]"; !strings.Contains(text, want) || strings.Contains(text, "|logit") {
		t.Errorf("no %q, or logits of no model, in:\n%s", want, text)
	}
	a, b := table(t, live, "compare.csv"), table(t, folders, "compare.csv")
	if len(a) != 9 || len(b) != 9 {
		t.Fatalf("%d and %d rows, want 3 attacks at 3 eps", len(a), len(b))
	}
	flips := 0
	for i := range a {
		for head, value := range b[i] {
			models := slices.ContainsFunc([]string{"own_", "same_", "outside"}, func(s string) bool { return strings.HasPrefix(head, s) })
			if models && value != "" || !models && value != a[i][head] {
				t.Errorf("row %d: %s is %q of folders, %q of models", i, head, value, a[i][head])
			}
		}
		n, err := strconv.Atoi(b[i]["flips"])
		if err != nil {
			t.Fatal(err)
		}
		flips += n
	}
	if flips == 0 {
		t.Error("two models never differ")
	}
	curve := table(t, dirA, "curve.csv")
	for i := range a {
		if a[i]["correct_a"] != curve[i]["correct"] {
			t.Errorf("row %d: %s right, %s by sweep", i, a[i]["correct_a"], curve[i]["correct"])
		}
	}
	if diff := cmp.Diff(decode(t, read(t, live, "compare.json"))["flipped_images"], decode(t, read(t, folders, "compare.json"))["flipped_images"]); diff != "" {
		t.Errorf("flipped images (-models +folders):\n%s", diff)
	}

	// The labels are what differs; where that is nothing, the folders.
	again := t.TempDir()
	do(t, append(append([]string{"sweep", "--out", again}, common...), "0,0.1")...)
	if text := do(t, "compare", dirA, again, "--out", folders, "--max-flips", "0"); !strings.Contains(text, "a        "+dirA+": embedded") {
		t.Errorf("no folder as a label in:\n%s", text)
	}
}

func TestCompareRefuses(t *testing.T) {
	other, wide, more := small(t, "other.safetensors", 1, 784, 10), small(t, "wide.safetensors", 1, 785, 10), small(t, "more.safetensors", 1, 784, 11)
	copied := filepath.Join(t.TempDir(), "copy.safetensors")
	if err := os.WriteFile(copied, read(t, other), 0o666); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	run := func(name string, args ...string) string {
		dir := filepath.Join(base, name)
		do(t, append([]string{"sweep", "--backend", "cpu", "--n", "5", "--eps", "0,0.1", "--exact=false", "-q", "--out", dir}, args...)...)
		return dir
	}
	plain := run("plain")
	offset, fewer := run("offset", "--offset", "1"), run("fewer", "--n", "4")
	clipped, bim, eps := run("clipped", "--bounds", "0,1"), run("bim", "--attack", "bim"), run("eps", "--eps", "0.3")
	data := run("data", "--data", mnistFolder(t))
	classes := run("classes", "--model", more)
	empty := t.TempDir()
	for _, c := range []struct {
		name string
		code int
		want string
		args []string
	}{
		{"nothing", exitUsage, "nothing to compare", nil},
		{"one", exitUsage, "only one to compare, x.onnx", []string{"x.onnx"}},
		{"three", exitUsage, "3 to compare", []string{"a", "b", "c"}},
		{"empty", exitUsage, "the second to compare is empty", []string{"embedded", ""}},
		{"a folder and a file", exitUsage, "is a folder and " + other + " is not", []string{plain, other}},
		{"no such file", exitError, "none.safetensors", []string{"embedded", "none.safetensors"}},
		{"the same model", exitUsage, "are the same model", []string{other, copied}},
		{"pixels", exitError, "takes 784 pixels and " + wide + " 785", []string{other, wide}},
		{"classes", exitError, "has 10 classes and " + more + " 11", []string{other, more}},
		{"--model with two", exitUsage, "--model with two models", []string{"embedded", other, "--model", wide}},
		{"two models, two precisions", exitUsage, "one thing at a time", []string{"embedded", other, "--precision", "float32,float64"}},
		{"two models, two backends", exitUsage, "one thing at a time", []string{"embedded", other, "--backend", "cpu,cuda"}},
		{"auto of two", exitUsage, "auto may be the same", []string{"--backend", "auto,cpu"}},
		{"the same twice", exitUsage, "both sides are cpu in float32", []string{"--backend", "cpu,cpu"}},
		{"one precision twice", exitUsage, "both sides are auto in float64", []string{"--precision", "float64,float64"}},
		{"three precisions", exitUsage, "3 items", []string{"--precision", "float32,float64,tf32"}},
		{"an empty precision", exitUsage, "empty item", []string{"--precision", "float32,"}},
		{"an unknown precision", exitUsage, `"float16"`, []string{"--precision", "float32,float16"}},
		{"an unknown backend", exitUsage, `"tpu"`, []string{"--backend", "cpu,tpu"}},
		{"cpu and tf32", exitUsage, "float64 is on the CPU only and tf32 on CUDA only; say --backend cpu,cuda", []string{"--precision", "float64,tf32"}},
		{"tf32 on the cpu", exitUsage, "tf32 is on CUDA only", []string{"--precision", "float32,tf32", "--backend", "cpu"}},
		{"float64 on cuda", exitUsage, "float64, but CUDA", []string{"--precision", "float64,float32", "--backend", "cuda"}},
		{"a device for the cpu", exitUsage, "devices are CUDA's", []string{"--precision", "float32,float64", "--backend", "cpu", "--device", "0"}},
		{"max-flips", exitUsage, "--max-flips -1", []string{"--max-flips", "-1", "--precision", "float32,float64"}},
		{"attack", exitUsage, "unknown attack", []string{"--precision", "float32,float64", "--attack", "x"}},
		{"n", exitUsage, "--n 0", []string{"--precision", "float32,float64", "--n", "0"}},

		{"the same folder", exitUsage, "are the same folder", []string{plain, plain + "/."}},
		{"a folder without a run", exitError, "holds no run", []string{plain, empty}},
		{"a flag with folders", exitUsage, "--attack with two folders", []string{plain, eps, "--attack", "bim"}},
		{"a backend with folders", exitUsage, "--backend with two folders", []string{plain, eps, "--backend", "cpu"}},
		{"offset", exitError, "images from index 0 and from 1", []string{plain, offset}},
		{"fewer", exitError, "5 images and 4", []string{plain, fewer}},
		// the same images from other files do fit
		{"eps of other files", exitError, "no eps in common", []string{data, eps}},
		{"bounds", exitError, "bounds none and 0,1", []string{plain, clipped}},
		{"attacks", exitError, "no attack in common with the same options and seed: fgsm and bim", []string{plain, bim}},
		{"eps of folders", exitError, "no eps in common: [0 0.1] and [0.3]", []string{plain, eps}},
		{"classes of folders", exitError, "a model of 10 classes and one of 11", []string{plain, classes}},
	} {
		out := filepath.Join(t.TempDir(), "out")
		code, stdout, stderr := advsweep(t, append(append([]string{"compare"}, c.args...), "--out", out)...)
		if code != c.code || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("%s: exit code %d, want %d and %q\n%s%s", c.name, code, c.code, c.want, stdout, stderr)
		}
		if files, _ := filepath.Glob(filepath.Join(out, "compare.*")); files != nil {
			t.Errorf("%s: wrote %v", c.name, files)
		}
	}
	// Other labels with the same images are other data.
	labels := mnistFolder(t)
	path := filepath.Join(labels, "t10k-labels-idx1-ubyte")
	bytes := read(t, path)
	bytes[8]++
	if err := os.WriteFile(path, bytes, 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := advsweep(t, "compare", plain, run("labels", "--data", labels), "--out", filepath.Join(base, "x")); code != exitError || !strings.Contains(stderr, "other images or labels, sha256 ") {
		t.Errorf("other labels: exit code %d\n%s", code, stderr)
	}
	// A file that is not ours is not overwritten, and that is known before anything is computed.
	mine := t.TempDir()
	if err := os.WriteFile(filepath.Join(mine, "compare.csv"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := advsweep(t, "compare", plain, data, "--out", mine); code != exitError || !strings.Contains(stderr, "was not written by advsweep: choose another --out or move it away\n") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if _, err := gpu.Devices(); err != nil {
		if code, _, stderr := advsweep(t, "compare", "--backend", "cpu,cuda", "--out", empty); code != exitError || !strings.Contains(stderr, "use --backend cpu") {
			t.Errorf("without a device: exit code %d\n%s", code, stderr)
		}
	}
}
