package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"advsweep/attack"
	"advsweep/backends"
	"advsweep/dataset"
	"advsweep/gpu"
	"advsweep/internal/ref"
	"advsweep/internal/words"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/report"

	"github.com/google/go-cmp/cmp"
)

// TestMain is the program itself where a test says so: a driver is opened once in a process.
func TestMain(m *testing.M) {
	if os.Getenv("ADVSWEEP_TEST_PROGRAM") != "" {
		main()
	}
	os.Exit(m.Run())
}

// run is the whole program but for the process around it. Nothing ends its work at once.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (code int) {
	p := &program{args: args, stdout: stdout, stderr: stderr, hard: context.WithoutCancel(ctx)}
	return p.run(ctx)
}

// advsweep runs the program in this process.
func advsweep(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

// do is advsweep for a command that must work.
func do(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	code, stdout, stderr := advsweep(t, args...)
	if code != exitDone {
		t.Fatalf("advsweep %s: exit code %d\n%s", strings.Join(args, " "), code, stderr)
	}
	return stdout
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// decode reads JSON of which unknown keys are no concern, but all of want must be there.
func decode(t *testing.T, data []byte, want ...string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	for _, key := range want {
		if _, ok := v[key]; !ok {
			t.Errorf("no %q in %s", key, data)
		}
	}
	return v
}

// mnistFolder makes a folder with the first 300 embedded images under all four MNIST names.
func mnistFolder(t *testing.T) string {
	t.Helper()
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	labels := make([]byte, 300)
	for i := range labels {
		labels[i] = byte(set.Labels[i])
	}
	dir := t.TempDir()
	for _, pair := range []string{"train", "t10k"} {
		for name, file := range map[string]struct {
			shape []int
			data  []byte
		}{
			pair + "-images-idx3-ubyte": {[]int{300, 28, 28}, set.Images.Data().([]uint8)[:300*784]},
			pair + "-labels-idx1-ubyte": {[]int{300}, labels},
		} {
			var b bytes.Buffer
			if err := dataset.WriteIDX(&b, file.shape, file.data); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func TestDemo(t *testing.T) {
	out := t.TempDir()
	text := do(t, "demo", "--backend", "cpu", "--out", out, "--n", "50", "--eps", "0:0.2:0.05")
	for _, want := range []string{"Image 0, label 7", "random ±eps", "bounds none", "cpu"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	for _, base := range []string{"1-fgsm-image", "2-fgsm-curve", "3-bim-image", "4-bim-curve", "curve"} {
		if _, err := png.Decode(bytes.NewReader(read(t, out, base+".png"))); err != nil {
			t.Errorf("%s.png: %v", base, err)
		}
		decode(t, read(t, out, base+".json"), "model", "bounds")
	}
	for base, attacks := range map[string]string{"2-fgsm-curve": "fgsm noise", "4-bim-curve": "bim noise", "curve": "fgsm bim noise"} {
		rows, err := csv.NewReader(bytes.NewReader(read(t, out, base+".csv"))).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var seen []string
		for _, r := range rows[1:] {
			if len(seen) == 0 || seen[len(seen)-1] != r[0] {
				seen = append(seen, r[0])
			}
		}
		if got := strings.Join(seen, " "); got != attacks || len(rows) != 1+5*len(seen) {
			t.Errorf("%s.csv: %d rows of %q, want 5 each of %q", base, len(rows)-1, got, attacks)
		}
	}
	for base, exact := range map[string]bool{"2-fgsm-curve": true, "4-bim-curve": false, "curve": true} {
		first := decode(t, read(t, out, base+".json"))["attacks"].([]any)[0].(map[string]any)
		if _, ok := first["exact"]; ok != exact {
			t.Errorf("%s.json: exact curve: %v, want %v", base, ok, exact)
		}
	}
	if n := bytes.Count(read(t, out, "images.csv"), []byte("\n")); n != 151 {
		t.Errorf("images.csv has %d lines, want one for each of 50 images under 3 attacks and one above", n)
	}
	parts := decode(t, []byte(do(t, "demo", "--backend", "cpu", "--out", out, "--n", "5", "--eps", "0,0.1", "--format", "json")), "part1", "part2", "part3", "part4")
	if len(parts) != 4 {
		t.Errorf("%d parts, want 4", len(parts))
	}
}

func TestSweepContract(t *testing.T) {
	out := t.TempDir()
	args := []string{"sweep", "--backend", "cpu", "--attack", "bim,fgsm,noise", "--steps", "3", "--eps", "0,8/255,0.1", "--n", "40", "--offset", "100", "--bounds", "0,1", "--out", out}
	table := do(t, args...)
	if !strings.Contains(table, "BIM, k = 3") {
		t.Errorf("no BIM in:\n%s", table)
	}
	data := read(t, out, "curve.csv")
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(rows[0][:8], ","); got != "attack,steps,eps,n,correct,accuracy,ci_low,ci_high" {
		t.Errorf("columns %s", got)
	}
	var heads []string
	for _, r := range rows[1:] {
		heads = append(heads, strings.Join(r[:4], ","))
	}
	if d := cmp.Diff([]string{
		"bim,3,0,40", "bim,3,0.03137254901960784,40", "bim,3,0.1,40",
		"fgsm,1,0,40", "fgsm,1,0.03137254901960784,40", "fgsm,1,0.1,40",
		"noise,1,0,40", "noise,1,0.03137254901960784,40", "noise,1,0.1,40",
	}, heads); d != "" {
		t.Errorf("rows (-want +got):\n%s", d)
	}
	v := decode(t, read(t, out, "curve.json"), "version", "model", "data", "attacks", "eps", "bounds", "seed", "backend",
		"precision", "clean_accuracy", "zero_gradient_images", "rows")
	if v["bounds"] != "0,1" || len(v["rows"].([]any)) != 9 || v["data"].(map[string]any)["offset"] != 100.0 {
		t.Errorf("bounds %v, %d rows, data %v", v["bounds"], len(v["rows"].([]any)), v["data"])
	}
	ran := decode(t, read(t, out, "run.json"), "version", "build", "backend", "device", "threads", "seconds", "multiply_adds", "parts")
	for _, part := range []string{"load", "compute", "write"} {
		if s, ok := ran["seconds"].(map[string]any)[part].(float64); !ok || s < 0 {
			t.Errorf("seconds.%s is %v", part, ran["seconds"])
		}
	}

	// The hash is that of the images used, not of the files that hold them.
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	used, err := set.Slice(100, 40)
	if err != nil {
		t.Fatal(err)
	}
	if got := v["data"].(map[string]any)["sha256"]; got != used.SHA256() {
		t.Errorf("data.sha256 is %v, want %s", got, used.SHA256())
	}
	double := t.TempDir()
	do(t, "sweep", "--n", "3", "--eps", "0.1", "--precision", "float64", "--out", double)
	if v := decode(t, read(t, double, "curve.json")); v["precision"] != "float64" || v["backend"] != "cpu" {
		t.Errorf("precision %v on %v, want float64 on cpu", v["precision"], v["backend"])
	}

	// The same bytes from other threads and another folder.
	again := t.TempDir()
	csvText := do(t, append(args[:len(args)-1:len(args)-1], again, "--threads", "1", "--format", "csv", "--quiet")...)
	if csvText != string(data) {
		t.Error("--format csv differs from curve.csv of the first run")
	}
	for _, name := range []string{"curve.csv", "curve.json", "curve.png", "curve.svg", "images.csv", "classes.csv", "manifest.json", "chunks.log"} {
		if !bytes.Equal(read(t, out, name), read(t, again, name)) {
			t.Errorf("%s differs between two runs", name)
		}
	}
	// And the same folder again.
	if js := do(t, append(args, "--format", "json")...); js != string(read(t, out, "curve.json")) {
		t.Error("--format json differs from curve.json")
	}
}

// TestExact follows 40 images and reads the three accounts of it that the files give.
func TestExact(t *testing.T) {
	out := t.TempDir()
	args := []string{"sweep", "--backend", "cpu", "--attack", "noise,fgsm", "--n", "40", "--offset", "60", "--eps", "0,0.037,0.081,0.11", "--out", out}
	table := do(t, args...)
	for _, want := range []string{"FGSM at every eps in [0, 0.11]:", " 0 disagreed", "median eps 0.0"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in:\n%s", want, table)
		}
	}
	rows, err := csv.NewReader(bytes.NewReader(read(t, out, "images.csv"))).ReadAll()
	if err != nil || len(rows) != 81 || strings.Join(rows[0][:5], ",") != "index,label,clean,eps_star,intervals" {
		t.Fatalf("images.csv: %d rows, columns %v, error %v", len(rows), rows[0], err)
	}
	rows = rows[40:] // those of fgsm, below one that takes the place of the header
	right := func(intervals string, eps float64) bool {
		for _, v := range strings.FieldsFunc(intervals, func(r rune) bool { return r == ';' }) {
			var lo, hi float64
			if _, err := fmt.Sscanf(v, "%g:%g", &lo, &hi); err != nil {
				t.Errorf("interval %q: %v", v, err)
			}
			if lo <= eps && (eps < hi || hi == 0.11) {
				return true
			}
		}
		return false
	}
	v := decode(t, read(t, out, "curve.json"))
	if _, ok := v["attacks"].([]any)[0].(map[string]any)["exact"]; ok {
		t.Error("noise has an exact curve")
	}
	exact := v["attacks"].([]any)[1].(map[string]any)["exact"].(map[string]any)
	if len(exact["ties"].([]any)) > 0 {
		t.Fatalf("ties %v, choose other eps", exact["ties"])
	}
	counts, err := csv.NewReader(bytes.NewReader(read(t, out, "curve.csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range counts[5:] { // fgsm
		eps, err := strconv.ParseFloat(row[2], 64)
		if err != nil {
			t.Fatal(err)
		}
		byImages, byJumps := 0, 0.0
		for i, image := range rows[1:] {
			if image[0] != strconv.Itoa(60+i) {
				t.Errorf("row %d of images.csv is of image %s, want %d", i, image[0], 60+i)
			}
			if right(image[4], eps) {
				byImages++
			}
			if star, err := strconv.ParseFloat(image[3], 64); err == nil && right(image[4], star) {
				t.Errorf("image %s is right at its eps_star %v, of %s", image[0], star, image[4])
			}
		}
		for _, j := range exact["jumps"].([]any) {
			if j := j.([]any); j[0].(float64) <= eps {
				byJumps = j[1].(float64)
			}
		}
		if got, jumps := strconv.Itoa(byImages), strconv.Itoa(int(byJumps)); got != row[4] || jumps != row[4] {
			t.Errorf("eps %v: %s right by images.csv, %s by the jumps, want %s as curve.csv says", eps, got, jumps, row[4])
		}
	}

	// The grid of a later run: the same counts, and norms within the rounding of pixels.
	before := counts
	code, table, stderr := advsweep(t, append(args, "--exact=false")...)
	if code != exitDone || strings.Contains(table, "every eps") {
		t.Errorf("--exact=false: exit code %d\n%s%s", code, table, stderr)
	}
	after, err := csv.NewReader(bytes.NewReader(read(t, out, "curve.csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	l2 := slices.Index(before[0], "mean_l2")
	for i := range before[5:] { // fgsm
		a, b := &before[5+i][l2], &after[5+i][l2]
		x, err1 := strconv.ParseFloat(*a, 64)
		y, err2 := strconv.ParseFloat(*b, 64)
		if err1 != nil || err2 != nil || !(math.Abs(x-y) <= 1e-6*y) {
			t.Errorf("--exact=false: row %d: mean L2 norm %q, with the exact curve %q", i, *b, *a)
		}
		*a, *b = "", ""
	}
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("--exact=false (-exact +grid):\n%s", d)
	}
	if bytes.Contains(read(t, out, "curve.json"), []byte(`"exact"`)) {
		t.Error("--exact=false: curve.json has an exact curve")
	}

	// Not one that was edited.
	do(t, args...)
	mine := filepath.Join(out, "images.csv")
	if err := os.WriteFile(mine, []byte("edited\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, more := range []string{"--exact", "--exact=false"} {
		if code, _, stderr := advsweep(t, append(args, more)...); code != exitError || !strings.Contains(stderr, mine) || string(read(t, mine)) != "edited\n" {
			t.Errorf("%s: exit code %d, %q, file now %q", more, code, stderr, read(t, mine))
		}
	}
}

// TestWarn has a curve that failed its check.
func TestWarn(t *testing.T) {
	for _, c := range []struct {
		disagreed []float64
		want      string
	}{
		{nil, ""},
		{[]float64{0.1, 0.2}, "advsweep: the exact curve of FGSM is not to be trusted: 2 of 3 interval ends disagree"},
	} {
		var b bytes.Buffer
		x := &pipeline.Exact{Max: 1, Walks: []attack.Walk{{Ends: 3, Disagreed: c.disagreed}}}
		warn(&b, &pipeline.Result{Curves: []pipeline.Curve{{Attack: attack.Noise(1)}, {Attack: attack.FGSM(), Exact: x}}})
		if got := b.String(); !strings.HasPrefix(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%d disagree: %q, want %q", len(c.disagreed), got, c.want)
		}
	}
}

func TestAttackContract(t *testing.T) {
	out := t.TempDir()
	do(t, "attack", "--backend", "cpu", "--class", "7", "--attack", "bim", "--steps", "5", "--eps", "0.3", "--bounds", "0,1", "--out", out)
	v := decode(t, read(t, out, "attack.json"), "index", "label", "attack", "steps", "eps", "bounds", "fooled", "original", "adversarial", "seconds")
	for key, want := range map[string]any{"index": 0.0, "label": 7.0, "attack": "bim", "steps": 5.0, "eps": 0.3, "bounds": "0,1", "fooled": true} {
		if v[key] != want {
			t.Errorf("%s is %v, want %v", key, v[key], want)
		}
	}
	for _, key := range []string{"original", "adversarial"} {
		p := v[key].(map[string]any)
		if len(p["logits"].([]any)) != 10 || len(p["probabilities"].([]any)) != 10 {
			t.Errorf("%s: %v, want 10 logits and 10 probabilities", key, p)
		}
	}
	// Part 3 of the demo is this very attack.
	demo := t.TempDir()
	do(t, "demo", "--backend", "cpu", "--out", demo, "--n", "5", "--eps", "0", "--bounds", "0,1")
	if d := cmp.Diff(v["adversarial"], decode(t, read(t, demo, "3-bim-image.json"))["adversarial"]); d != "" {
		t.Errorf("part 3 of demo:\n%s", d)
	}
	if c := v["original"].(map[string]any)["class"]; c != 7.0 {
		t.Errorf("original class %v, want 7", c)
	}
	lines := strings.Split(strings.TrimSpace(do(t, "attack", "--index", "17", "--format", "csv", "--out", out)), "\n")
	if len(lines) != 11 || lines[0] != "class,logit_original,probability_original,logit_adversarial,probability_adversarial" {
		t.Errorf("csv:\n%s", strings.Join(lines, "\n"))
	}
	if v := decode(t, read(t, out, "attack.json")); v["index"] != 17.0 {
		t.Errorf("index %v, want 17", v["index"])
	}
}

// TestTrain trains a small model twice with one seed and uses it.
func TestTrain(t *testing.T) {
	data, first, second := mnistFolder(t), t.TempDir(), t.TempDir()
	args := []string{"train", "--data", data, "--hidden", "64,32", "--epochs", "8", "--batch", "16", "--seed", "9", "--dtype", "float16"}
	text := do(t, append(args, "--out", first)...)
	if !strings.Contains(text, "test images right") {
		t.Errorf("no test accuracy in:\n%s", text)
	}
	do(t, append(args, "--out", second, "--threads", "1")...)
	a, b := read(t, first, "model.safetensors"), read(t, second, "model.safetensors")
	if !bytes.Equal(a, b) {
		t.Error("the same seed gives other bytes on another number of threads")
	}
	if other := t.TempDir(); true {
		do(t, append(args, "--out", other, "--seed", "10")...)
		if bytes.Equal(a, read(t, other, "model.safetensors")) {
			t.Error("another seed gives the same bytes")
		}
	}
	if n := len(a); n > 2*(784*64+64*32+32*10+106)+2000 {
		t.Errorf("%d bytes of float16 weights", n)
	}
	m, err := model.Load(filepath.Join(first, "model.safetensors"))
	if err != nil || m.String() != "784-64-32-10" {
		t.Fatalf("%v, %v", m, err)
	}
	v := decode(t, read(t, first, "train.json"), "model", "data", "seed", "epochs", "test", "seconds")
	epochs := v["epochs"].([]any)
	if n := len(epochs); n != 8 || epochs[7].(map[string]any)["loss"].(float64) >= epochs[0].(map[string]any)["loss"].(float64) {
		t.Errorf("epochs %v: want 8, the loss falling", epochs)
	}
	// on its own training images
	if acc := v["test"].(map[string]any)["accuracy"].(float64); acc < 0.8 {
		t.Errorf("accuracy %v, want at least 0.8", acc)
	}
	do(t, "sweep", "--model", filepath.Join(first, "model.safetensors"), "--data", data, "--split", "train", "--out", t.TempDir(), "--eps", "0,0.1")
}

// TestTrainCNN trains a small convolutional network, the same on any number of threads, and uses it
// and the embedded one.
func TestTrainCNN(t *testing.T) {
	data, first, second := mnistFolder(t), t.TempDir(), t.TempDir()
	args := []string{"train", "--data", data, "--arch", "cnn", "--channels", "4,8", "--epochs", "6", "--batch", "16", "--rate", "0.003"}
	do(t, append(args, "--out", first)...)
	do(t, append(args, "--out", second, "--threads", "1")...)
	if !bytes.Equal(read(t, first, "model.safetensors"), read(t, second, "model.safetensors")) {
		t.Error("the same seed gives other bytes on another number of threads")
	}
	v := decode(t, read(t, first, "train.json"), "layers", "test")
	if v["layers"] != "1x28x28-4x28x28-8x14x14-10" {
		t.Errorf("layers %v", v["layers"])
	}
	// on its own training images
	if acc := v["test"].(map[string]any)["accuracy"].(float64); acc < 0.8 {
		t.Errorf("accuracy %v, want at least 0.8", acc)
	}
	for _, m := range []string{filepath.Join(first, "model.safetensors"), "cnn"} {
		text := do(t, "sweep", "--model", m, "--data", data, "--split", "train", "--n", "20", "--out", t.TempDir(), "--eps", "0,0.1")
		if !strings.Contains(text, "1x28x28-") {
			t.Errorf("sweep of %s does not tell the network:\n%s", m, text)
		}
	}
}

// TestNeverOverwrites puts a file in the way, and then edits one of the program's own.
func TestNeverOverwrites(t *testing.T) {
	out := t.TempDir()
	mine := filepath.Join(out, "curve.csv")
	if err := os.WriteFile(mine, []byte("mine\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	args := []string{"sweep", "--n", "5", "--eps", "0", "--out", out}
	code, _, stderr := advsweep(t, args...)
	if code != exitError || !strings.Contains(stderr, mine) || string(read(t, mine)) != "mine\n" {
		t.Errorf("exit code %d, %q, file now %q", code, stderr, read(t, mine))
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	do(t, args...)
	do(t, args...)
	if err := os.WriteFile(mine, []byte("edited\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := advsweep(t, args...); code != exitError || string(read(t, mine)) != "edited\n" {
		t.Errorf("exit code %d, %q, file now %q", code, stderr, read(t, mine))
	}
}

// TestWorstNorm: the curve of worst is in the norm of its attacks.
func TestWorstNorm(t *testing.T) {
	out := t.TempDir()
	code, _, stderr := advsweep(t, "sweep", "--attack", "worst,bim:steps=1,fgsm", "--norm", "l2", "--eps", "0.5", "--n", "5", "--out", out)
	if code != 0 {
		t.Fatal(code, stderr)
	}
	if n := strings.Count(string(read(t, filepath.Join(out, "curve.csv"))), ",l2,"); n != 3 {
		t.Errorf("%d rows in l2, want 3", n)
	}
}

// oneLine is text with a space for each break between words.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// TestWorstBesideNoise: worst beside a control alone is that of what it stands for, and the output
// says which, as the help does.
func TestWorstBesideNoise(t *testing.T) {
	text := do(t, "sweep", "--attack", "worst,noise", "--steps", "2", "--eps", "0.1", "--n", "5", "--out", t.TempDir(), "-q")
	if want := "worst of all: of each image at each eps the worst of PGD, k = 2; quick."; !strings.Contains(oneLine(text), want) || !strings.Contains(text, "random ±eps") {
		t.Errorf("no %q, or no noise, in\n%s", want, text)
	}
	if help, want := oneLine(do(t, "sweep", "--help")), "where it names none, of pgd and quick"; !strings.Contains(help, want) {
		t.Errorf("no %q in\n%s", want, help)
	}
}

// TestTwoClasses: worst on a model of two classes leaves out what needs three, with a note, also in
// a comparison and in a study. What is asked for by name is refused.
func TestTwoClasses(t *testing.T) {
	dir := t.TempDir()
	var files [2]string
	for i := range files {
		weights, err := ref.RandomModel(rand.New(rand.NewPCG(uint64(i), 2)), 1, 4, 8, 2).Encode("float32")
		if err != nil {
			t.Fatal(err)
		}
		files[i] = filepath.Join(dir, fmt.Sprintf("m%d.safetensors", i))
		if err := os.WriteFile(files[i], weights, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	err := dataset.WriteNPZ(&b, dataset.Array{Name: "x_test", Shape: []int{4, 2, 2}, Data: []uint8{9, 99, 199, 29, 255, 0, 1, 2, 77, 8, 9, 100, 50, 60, 70, 80}},
		dataset.Array{Name: "y_test", Shape: []int{4}, Data: []int32{0, 1, 0, 1}})
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "d.npz")
	if err := os.WriteFile(data, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	const note, made = "malt is left out of quick: its loss dlr needs 4 classes, and the model has 2", "worst of all: of each image at each eps the worst of PGD, k = 2; quick."
	common := []string{"--data", data, "--backend", "cpu", "--steps", "2", "--eps", "0.1"}
	out := filepath.Join(dir, "run")
	code, text, stderr := advsweep(t, append(common, "sweep", "--model", files[0], "--attack", "worst,noise", "--out", out)...)
	if code != exitDone || !strings.Contains(stderr, "advsweep: "+note+"\n") || !strings.Contains(oneLine(text), made) || strings.Contains(text, "DLR") {
		t.Errorf("exit code %d, no note %q in %s\nor no %q in %s", code, note, stderr, made, text)
	}
	if got := string(read(t, out, "manifest.json")); strings.Contains(got, "dlr") || !strings.Contains(got, `"worst"`) {
		t.Errorf("the manifest is %s", got)
	}
	if _, _, stderr := advsweep(t, append(common, "sweep", "--model", files[0], "--attack", "worst", "--out", out, "-q")...); strings.Contains(stderr, "left out") {
		t.Errorf("quiet, but %s", stderr)
	}
	for _, list := range []string{"worst,apgd-dlr", "apgd-dlr"} {
		if _, _, stderr := advsweep(t, append(common, "sweep", "--model", files[0], "--attack", list, "--out", filepath.Join(dir, "no"))...); !strings.Contains(stderr, "the model has 2: use apgd-ce") {
			t.Errorf("%s: %s", list, stderr)
		}
	}
	if _, _, stderr := advsweep(t, append(common, "sweep", "--model", files[0], "--attack", "worst", "--loss", "dlr", "--out", filepath.Join(dir, "no"))...); !strings.Contains(stderr, "pgd: loss dlr needs 3 classes") {
		t.Errorf("--loss dlr: %s", stderr)
	}
	code, _, stderr = advsweep(t, append(common, "compare", files[0], files[1], "--attack", "worst", "--out", filepath.Join(dir, "compared"))...)
	if code != exitDone || !strings.Contains(stderr, note) {
		t.Errorf("compare: exit code %d, no note %q in %s", code, note, stderr)
	}
	toml := filepath.Join(dir, "s.toml")
	if err := os.WriteFile(toml, fmt.Appendf(nil, "attack = \"worst\"\neps = \"0.1\"\nsteps = 2\n[[data]]\npath = %q\n[[model]]\nname = \"two\"\nfile = %q\n", data, files[0]), 0o666); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = advsweep(t, "plan", toml, "--out", filepath.Join(dir, "study"))
	if code != exitDone || !strings.Contains(stderr, "model two: "+note) {
		t.Errorf("plan: exit code %d, no note %q in %s", code, note, stderr)
	}
}

// TestBeyondPixels: of images whose pixels are not in [0, 1] the user is told, and no count of
// 8-bit pixels is made up.
func TestBeyondPixels(t *testing.T) {
	dir := t.TempDir()
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	for scale, want := range map[float32]bool{1: false, 255: true} {
		pixels := make([]float32, 4*784)
		for i, v := range set.Images.Data().([]uint8)[:len(pixels)] {
			pixels[i] = float32(v) / 255 * scale
		}
		var npz bytes.Buffer
		err := dataset.WriteNPZ(&npz, dataset.Array{Name: "images", Shape: []int{4, 28, 28}, Data: pixels}, dataset.Array{Name: "labels", Shape: []int{4}, Data: set.Labels[:4]})
		if err != nil {
			t.Fatal(err)
		}
		file, out := filepath.Join(dir, "four.npz"), filepath.Join(dir, fmt.Sprint(want))
		if err := os.WriteFile(file, npz.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := advsweep(t, "sweep", "--data", file, "--eps", "0.1", "--exact=false", "--out", out)
		if told := strings.Contains(stderr, "beyond [0, 1]"); code != 0 || told != want {
			t.Errorf("scale %v: exit code %d, %s", scale, code, stderr)
		}
		rounded := strings.Split(strings.Split(string(read(t, filepath.Join(out, "curve.csv"))), "\n")[1], ",")[17]
		if (rounded == "") != want {
			t.Errorf("scale %v: rounded_correct %q", scale, rounded)
		}
	}
}

// TestRightAfterWrong: a run that bounds make impossible does not bar its folder to the right one.
func TestRightAfterWrong(t *testing.T) {
	out := t.TempDir()
	args := []string{"sweep", "--n", "3", "--eps", "0.1", "--attack", "bim:steps=1", "--out", out, "--bounds"}
	if code, _, stderr := advsweep(t, append(args, "0.2,0.3")...); code != exitError || !strings.Contains(stderr, "outside the bounds 0.2,0.3") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if code, _, stderr := advsweep(t, append(args, "0,1")...); code != 0 {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestEmptyGate: a gate whose variable a script did not set is no gate that is passed.
func TestEmptyGate(t *testing.T) {
	code, _, stderr := advsweep(t, "check", "--n", "5", "--min-accuracy", "")
	if code != exitUsage || !strings.Contains(stderr, "--min-accuracy is empty") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestRefusals runs each mistake that a person might make: an exit code, one clear line, no panic.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	junk := file("junk.bin", []byte("neither images nor weights"))
	good := mnistFolder(t)
	images, labels := filepath.Join(good, "t10k-images-idx3-ubyte"), filepath.Join(good, "t10k-labels-idx1-ubyte")
	short := file("short-labels", append(append([]byte(nil), read(t, labels)[:4]...), 0, 0, 0, 2, 1, 2))
	wrongLabel := read(t, labels)
	wrongLabel[8+57] = 12
	twelve := file("twelve", wrongLabel)
	small, err := model.MLP(10, 2).Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	tiny := file("tiny.safetensors", small)
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"bogus", exitUsage, "unknown command"},
		{"sweep extra", exitUsage, "unknown command"},
		{"sweep --bogus", exitUsage, "unknown flag"},
		{"sweep --eps -0.1", exitUsage, "negative"},
		{"sweep --eps nan", exitUsage, "not a finite number"},
		{"sweep --eps=", exitUsage, "not a finite number"},
		{"sweep --eps 0.5:0:0.1", exitUsage, "reversed"},
		{"sweep --n 0", exitUsage, "--n 0"},
		{"sweep --n -5", exitUsage, "--n -5"},
		{"sweep --n 1001", exitUsage, "1000 images"},
		{"sweep --offset 1000", exitUsage, "1000 images"},
		{"sweep --offset -1", exitUsage, "--offset -1"},
		{"sweep --attack deepfoool", exitUsage, "fgsm, bim, pgd"},
		{"sweep --attack pgd:k=3", exitUsage, "unknown option"},
		{"sweep --attack boundary", exitUsage, "no Boundary Attack here yet; meanwhile use hopskipjump"},
		{"sweep --attack FGSM,fgsm", exitUsage, "twice"},
		{"sweep --attack worst,worst", exitUsage, "twice"},
		{"sweep --norm l7", exitUsage, "want linf, l2, l1 or l0"}, {"sweep --norm l1 --eps 1", exitUsage, "attacks in l1 are apgd-ce"},
		{"sweep --attack fmn --norm l0", exitUsage, "as in 0:60:3"},
		{"sweep --loss hinge", exitUsage, "want ce, cw or dlr"},
		{"sweep --step 0", exitUsage, "eps/k"},
		{"sweep --attack pgd:step=20", exitUsage, "--attack: attack: pgd:step=20: step 20 is how far one step moves, in units of pixels, and pixels span 1"},
		{"sweep --attack pgd:step=20", exitUsage, "write steps=20"},
		{"sweep --attack fgsm,bim --step 20", exitUsage, "--step: attack: bim: step 20"},
		{"sweep --attack pgd:step=40:norm=l2 --n 5", exitError, "784 pixels are at most 28 apart in l2"},
		{"sweep --restarts 0", exitUsage, "--restarts 0"},
		{"sweep --decay -1", exitUsage, "--decay -1"},
		{"sweep --target dog", exitUsage, "least-likely"},
		{"sweep --target 10 --n 2", exitError, "classes 0 to 9"},
		{"sweep --shard 3/2", exitUsage, "3/16"},
		{"merge", exitUsage, "at least 1 arg"},
		{"merge nowhere", exitError, "nowhere"},
		{"sweep --attack fgsm,fgsm", exitUsage, "twice"},
		{"sweep --steps 0", exitUsage, "--steps 0"},
		{"sweep --bounds 1,0", exitUsage, "lo < hi"},
		{"sweep --n 5 --bounds 0.2,0.8", exitError, "outside the bounds"},
		{"sweep --backend tpu", exitUsage, words.Or(append([]string{"auto"}, backends.Names()...))},
		{"sweep --precision half", exitUsage, "float32 or float64"},
		{"sweep --math wild", exitUsage, `--math "wild", want default or fast`},
		{"sweep --math fast --backend cuda", exitUsage, "--math fast with --backend cuda: fast is on the CPU only; use --backend cpu"},
		{"compare --math fast,wild", exitUsage, `--math "wild", want default or fast`},
		{"compare --math fast,fast", exitUsage, "nothing differs"},
		{"sweep --backend cpu --precision tf32", exitUsage, "tf32 is on " + backends.Titles(func(e backends.Entry) bool { return e.Has("tf32") }) + " only"},
		{"sweep --backend cpu --device 0", exitUsage, "devices are " + backends.Titles(func(e backends.Entry) bool { return e.Accelerator }) + "'s"},
		{"sweep --backend cpu --device=", exitUsage, "devices are " + backends.Titles(func(e backends.Entry) bool { return e.Accelerator }) + "'s"},
		{"sweep --backend cuda --precision float64", exitUsage, "use --backend cpu, which has float64"},
		{"sweep --device 0 --precision float64", exitUsage, "use --backend cpu without --device, which has float64"},
		{"sweep --exact=maybe", exitUsage, "--exact"},
		{"sweep --exact=", exitUsage, "--exact"},
		{"sweep --exact false", exitUsage, "false"},
		{"sweep --exact --attack noise", exitUsage, "only the curve of fgsm can be exact; add fgsm"},
		{"sweep --exact --attack bim,noise --steps 5", exitUsage, "add fgsm or leave --exact out"},
		{"sweep --exact --eps 0", exitUsage, "largest eps, which is 0"},
		{"sweep --exact --backend cuda", exitUsage, "; use --backend cpu or leave --exact out"},
		{"sweep --exact --backend cuda", exitUsage, "only the CPU"},
		{"sweep --exact --backend cuda --device 0", exitUsage, "use --backend cpu without --device or leave --exact out"},
		{"sweep --exact --device 0", exitUsage, "only the CPU"},
		{"sweep --exact --precision tf32", exitUsage, "only the CPU"},
		{"demo --exact --backend cuda", exitUsage, "only the CPU"},
		{"demo --exact --eps 0", exitUsage, "largest eps, which is 0"},
		{"attack --exact", exitUsage, "unknown flag"},
		{"sweep --threads -1", exitUsage, "--threads"},
		{"sweep --format xml", exitUsage, "table, json or csv"},
		{"sweep --seed -1", exitUsage, "--seed"},
		{"sweep --images " + images, exitUsage, "labels"},
		{"sweep --data " + good + " --images " + images + " --labels " + labels, exitUsage, "data"},
		{"sweep --data " + good + " --split both", exitUsage, "test or train"},
		{"sweep --data " + dir, exitError, "t10k-images"},
		{"sweep --images " + junk + " --labels " + labels, exitError, "junk.bin"},
		{"sweep --images " + images + " --labels " + junk, exitError, "junk.bin"},
		{"sweep --images " + images + " --labels " + short, exitError, "short-labels"},
		{"sweep --images " + images + " --labels " + twelve, exitError, "57"},
		{"sweep --images " + images + ".none --labels " + labels, exitError, "no such file"},
		{"sweep --model " + junk, exitError, "junk.bin"},
		{"sweep --model " + tiny, exitError, "784 numbers, the model takes 10"},
		{"sweep --model " + dir, exitError, dir},
		{"sweep --out " + junk, exitError, "junk.bin"},
		{"sweep --out " + junk + "/below", exitError, "junk.bin"},
		{"sweep --model= --n 5", exitUsage, "--model is empty"},
		{"sweep --data= --n 5", exitUsage, "--data is empty"},
		{"sweep --shard= --n 5", exitUsage, "--shard is empty"},
		{"sweep --norm= --target 99 --n 5", exitUsage, "--norm is empty"},
		{"sweep --attack fgsm,pgd:norm=l2,worst --n 5", exitUsage, "worst of fgsm in linf and pgd:norm=l2 in l2"},
		{"sweep --split train", exitUsage, "--data"},
		{"sweep --threads 1000000000000", exitUsage, "--threads"},
		{"sweep --eps 1e39 --n 5", exitError, "finite in float32"},
		{"sweep --eps 1e39 --n 5 --exact=false", exitError, "not finite"},
		{"train --data " + good + " --hidden 65536,65536", exitError, "weights"},
		{"attack --class 10", exitUsage, "classes 0 to 9"},
		{"attack --class -1", exitUsage, "classes 0 to 9"},
		{"attack --index 1000", exitUsage, "1000 images"},
		{"attack --index 1 --class 2", exitUsage, "class"},
		{"attack --eps 0.1,0.2", exitUsage, "2 values"},
		{"attack --attack fgsm,bim", exitUsage, "one of"},
		{"demo --class 11", exitUsage, "classes 0 to 9"},
		{"demo --image-eps x", exitUsage, "image-eps"},
		{"train", exitUsage, "data"},
		{"train --data " + dir, exitError, "train-images"},
		{"train --data " + good + " --epochs 0", exitUsage, "epochs"},
		{"train --data " + good + " --rate NaN", exitUsage, "rate"},
		{"train --data " + good + " --hidden 0", exitUsage, "hidden"},
		{"train --data " + good + " --arch resnet", exitUsage, "mlp or cnn"},
		{"train --data " + good + " --channels 4", exitUsage, "--arch cnn"},
		{"train --data " + good + " --arch cnn --channels 4,0", exitUsage, "channels"},
		{"train --data " + good + " --arch cnn --channels 4,4,4,4,4", exitError, "halved 5 times"},
		{"train --data " + good + " --dtype int8", exitUsage, "dtype"},
		{"train --data " + good + " --classes 3", exitError, "label"},
		{"devices --format xml", exitUsage, "table, json or csv"},
		{"bench --count 0", exitUsage, "count"},
	} {
		args := strings.Fields(c.args)
		if args[0] != "bogus" && args[0] != "devices" && args[0] != "bench" && !strings.Contains(c.args, "--out") {
			args = append(args, "--out", filepath.Join(dir, "out"))
		}
		code, stdout, stderr := advsweep(t, args...)
		if code != c.code || !strings.Contains(stderr, c.want) || !strings.HasPrefix(stderr, "advsweep: ") || stdout != "" {
			t.Errorf("advsweep %s: exit code %d, want %d, with %q on standard error:\n%s%s", c.args, code, c.code, c.want, stderr, stdout)
		}
		if strings.Contains(stderr, "goroutine") || strings.Count(stderr, "\n") > 2 {
			t.Errorf("advsweep %s: more than a clear line:\n%s", c.args, stderr)
		}
	}
	// A run that failed on the way may leave its log.
	if entries, err := os.ReadDir(filepath.Join(dir, "out")); err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return !slices.Contains([]string{".chunks.lock", "chunks.log", "manifest.json", commandName}, e.Name())
	}) {
		t.Errorf("refused runs left %v", entries)
	}
}

// TestNoCUDA asks for CUDA where there is none: refused with the reason and what to do, unless auto
// may choose.
func TestNoCUDA(t *testing.T) {
	_, reason := gpu.Devices()
	if !errors.Is(reason, gpu.ErrUnavailable) {
		t.Skipf("there is CUDA here (%v)", reason)
	}
	out := t.TempDir()
	for args, want := range map[string]string{
		"--backend cuda":                             "; use --backend cpu",
		"--backend cuda --device 1":                  "; use --backend cpu without --device",
		"--device all":                               "; use --backend cpu without --device",
		"--precision tf32":                           "; use --backend cpu, which has float32 and float64: tf32 is on CUDA only",
		"--backend cuda --device 0 --precision tf32": "; use --backend cpu without --device, which has float32 and float64: tf32 is on CUDA only",
	} {
		code, stdout, stderr := advsweep(t, append(strings.Fields("sweep --n 3 --eps 0 --out "+out), strings.Fields(args)...)...)
		if want = fmt.Sprintf("advsweep: %v%s\n", reason, want); code != exitError || stderr != want || stdout != "" {
			t.Errorf("sweep %s: exit code %d, want %d\ngot  %swant %s%s", args, code, exitError, stderr, want, stdout)
		}
	}
	if files, err := os.ReadDir(out); err != nil || len(files) > 0 {
		t.Errorf("refused runs left %v, %v", files, err)
	}
	note := fmt.Sprintf("advsweep: using the CPU: %v\n", reason)
	code, _, stderr := advsweep(t, "sweep", "--n", "3", "--eps", "0", "--out", out)
	cuda, err := backends.Lookup("cuda")
	if err != nil {
		t.Fatal(err)
	}
	built := cuda.Built
	if code != exitDone || strings.HasPrefix(stderr, note) != built || strings.Contains(stderr, "using") != built {
		t.Errorf("auto: exit code %d; the reason, if and only if built with CUDA (%v), in\n%s", code, built, stderr)
	}
	if v := decode(t, read(t, out, "curve.json")); v["backend"] != "cpu" || v["precision"] != "float32" {
		t.Errorf("auto: backend %v, precision %v", v["backend"], v["precision"])
	}
}

// TestQuiet asks for silence on standard error.
func TestQuiet(t *testing.T) {
	args := []string{"sweep", "--n", "3", "--eps", "0", "--out", t.TempDir()}
	if code, _, stderr := advsweep(t, args...); code != exitDone || !strings.Contains(stderr, "wrote ") {
		t.Errorf("exit code %d, notes %q", code, stderr)
	}
	if code, _, stderr := advsweep(t, append(args, "--quiet")...); code != exitDone || stderr != "" {
		t.Errorf("quiet: exit code %d, notes %q", code, stderr)
	}
}

// TestZeroGradientOfParts runs demo on a model whose gradient vanishes for the dark image, and for
// the bright one only along BIM's way, which had made it wrong: that one was attacked.
func TestZeroGradientOfParts(t *testing.T) {
	m := model.MLP(4, 1, 2) // see TestZeroGradient in package pipeline
	for i := range 4 {
		m.Layers[0].(model.Linear).Weight.Data().([]float32)[i] = 1
	}
	m.Layers[0].(model.Linear).Bias.Data().([]float32)[0] = -1
	m.Layers[2].(model.Linear).Weight.Data().([]float32)[1] = 1
	weights, err := m.Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, shape []int, data []byte) string {
		var b bytes.Buffer
		if err := dataset.WriteIDX(&b, shape, data); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	images, labels := write("images", []int{2, 2, 2}, []byte{255, 255, 255, 255, 0, 0, 0, 0}), write("labels", []int{2}, []byte{1, 0})
	if err := os.WriteFile(filepath.Join(dir, "m.safetensors"), weights, 0o666); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	do(t, "demo", "--model", filepath.Join(dir, "m.safetensors"), "--images", images, "--labels", labels, "--class", "1", "--steps", "4", "--eps", "1.2", "--out", out)
	for _, base := range []string{"2-fgsm-curve", "4-bim-curve", "curve"} {
		if got := decode(t, read(t, out, base+".json"), "zero_gradient_indices")["zero_gradient_indices"]; !reflect.DeepEqual(got, []any{1.}) {
			t.Errorf("%s.json: images %v were not attacked, want the dark one, 1", base, got)
		}
	}
	// The files of a sweep say the same, also of the whole list.
	out = t.TempDir()
	text := do(t, "sweep", "--model", filepath.Join(dir, "m.safetensors"), "--images", images, "--labels", labels, "--attack", "bim,noise", "--steps", "4", "--eps", "1.2", "--out", out)
	if want := "Zero gradient: 1 image was not attacked at some eps."; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	var got []string
	for _, row := range records(t, read(t, out, "images.csv"))[1:3] {
		got = append(got, row[5])
	}
	if !slices.Equal(got, []string{"false", "true"}) || records(t, read(t, out, "curve.csv"))[1][8] != "1" {
		t.Errorf("images.csv has zero gradients %v, want false and true; curve.csv\n%s", got, read(t, out, "curve.csv"))
	}
}

// records are those of a CSV file.
func records(t *testing.T, data []byte) [][]string {
	t.Helper()
	all, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestHealthy: of a healthy network that worst leaves no image right at, nothing is said to be not
// attacked, though the gradient of DLR vanishes once the label ranks third.
func TestHealthy(t *testing.T) {
	out := t.TempDir()
	text := do(t, "sweep", "--attack", "worst", "--steps", "20", "--n", "20", "--bounds", "0,1", "--eps", "0,0.2", "--out", out, "-q")
	if strings.Contains(strings.ToLower(text), "zero gradient") || strings.Contains(text, "not attacked") {
		t.Errorf("all were attacked, but\n%s", text)
	}
	for _, row := range records(t, read(t, out, "curve.csv"))[1:] {
		if row[8] != "0" || row[2] == "0.2" && row[4] != "0" {
			t.Errorf("curve.csv: %q, want none right at 0.2 and no zero gradient", row)
		}
	}
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	sweep := []string{"sweep", "--attack", "fgsm,noise,uniform", "--out"}
	code := run(ctx, append(slices.Clone(sweep), out), &stdout, &stderr)
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	if code != exitError || !strings.Contains(stderr.String(), "0 of 3 chunks") || slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == "curve.csv" }) {
		t.Errorf("exit code %d, %q, files %v; want 1, 0 of 3 chunks, no results", code, stderr.String(), entries)
	}
	// It goes on, from any folder, to the bytes of a run that nothing stopped.
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	do(t, "resume", out)
	if now, err := os.Getwd(); err != nil || now != here {
		t.Errorf("resume leaves the process in %s, want %s (%v)", now, here, err)
	}
	whole := t.TempDir()
	do(t, append(sweep, whole)...)
	for _, name := range report.Names() {
		if !bytes.Equal(read(t, out, name), read(t, whole, name)) {
			t.Errorf("%s differs from that of a run that nothing stopped", name)
		}
	}
}

// TestHelp asks every verb for its help: an example, and each shared flag with one spelling and
// one meaning.
func TestHelp(t *testing.T) {
	if text := do(t, "--version"); !strings.HasPrefix(text, "advsweep "+release) {
		t.Errorf("version %q", text)
	}
	meaning := map[string]string{}
	line := regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)\b(.*)$`)
	for _, verb := range []string{"demo", "attack", "sweep", "resume", "merge", "train", "devices", "bench", "corrupt"} {
		text := do(t, verb, "--help")
		if !strings.Contains(text, "Examples:") {
			t.Errorf("%s: no examples", verb)
		}
		for _, m := range line.FindAllStringSubmatch(text, -1) {
			name, help := m[1], strings.Join(strings.Fields(m[2]), " ")
			if name == "help" || name == "seed" || name == "attack" || name == "eps" || name == "class" {
				continue // what they are of depends on the verb
			}
			if before, ok := meaning[name]; ok && before != help {
				t.Errorf("%s --%s: %q, elsewhere %q", verb, name, help, before)
			}
			meaning[name] = help
		}
	}
	if len(meaning) < 20 {
		t.Errorf("only %d flags seen", len(meaning))
	}
	if text := do(t, "completion", "bash"); !strings.Contains(text, "advsweep") {
		t.Error("no shell completion")
	}
}

// TestOnlyBackends wants a sentence that agrees with how many backends it names.
func TestOnlyBackends(t *testing.T) {
	all := []backends.Entry{{Title: "the CPU"}, {Title: "CUDA"}, {Title: "thin"}}
	for n, want := range []string{1: "CPU backend follows", 2: "CPU and CUDA backends follow", 3: "CPU, CUDA and thin backends follow"} {
		if n == 0 {
			continue
		}
		if got := onlyBackends(all[:n], func(backends.Entry) bool { return true }, " follows", " follow"); got != want {
			t.Errorf("%d backends: %q, want %q", n, got, want)
		}
	}
}

func TestDevices(t *testing.T) {
	var devices []backends.Device
	if err := json.Unmarshal([]byte(do(t, "devices", "--format", "json")), &devices); err != nil {
		t.Fatal(err)
	}
	text := do(t, "devices")
	of := func(name string) (list []backends.Device) {
		for _, d := range devices {
			if d.Backend == name {
				list = append(list, d)
			}
		}
		return list
	}
	for _, name := range backends.Names() {
		if len(of(name)) == 0 {
			t.Errorf("%+v: want a line of %s", devices, name)
		}
	}
	host, cuda := of("cpu"), of("cuda")
	if len(host) != 1 || len(cuda) == 0 || !host[0].Available || host[0].Index != nil {
		t.Fatalf("%+v: want cpu, and cuda", devices)
	}
	used := 0
	for i, d := range devices {
		if !strings.Contains(text, d.Device) || !strings.Contains(text, d.Note) || d.Note == "" {
			t.Errorf("device %d: %+v is not in the table:\n%s", i, d, text)
		}
		if d.Default {
			used++
		}
	}
	if used != 1 || host[0].Default == cuda[0].Available || cuda[0].Default != cuda[0].Available {
		t.Errorf("%+v: want one default, cuda where there is one", devices)
	}
	if infos, err := gpu.Devices(); err != nil {
		if len(cuda) != 1 || cuda[0].Available || cuda[0].Note != err.Error() {
			t.Errorf("%+v: want cuda with the reason why not, %q", devices, err)
		}
	} else if len(cuda) != len(infos) {
		t.Errorf("%+v: want of cuda %+v", devices, infos)
	}
	rows, err := csv.NewReader(strings.NewReader(do(t, "devices", "--format", "csv"))).ReadAll()
	if err != nil || len(rows) != 1+len(devices) || strings.Join(rows[0][:5], ",") != "backend,available,default,device,note" {
		t.Errorf("CSV %v, %v", rows, err)
	}
}

func TestProgress(t *testing.T) {
	var b bytes.Buffer
	p := newProgress(&b, false, "sweep")
	p.update(1, 100)
	if b.Len() != 0 {
		t.Errorf("a line at once: %q", b.String())
	}
	p.next = p.start
	p.update(1, 100)
	if got := b.String(); got != "sweep: 1 %\n" {
		t.Errorf("line %q", got)
	}
	b.Reset()
	p.next = p.start
	// for the 49 units since the first update, whatever was done before
	p.start = p.start.Add(-49 * time.Minute)
	p.note = "loss 0.1"
	p.update(50, 100)
	if got, want := b.String(), "sweep: 50 %, about 50m left, loss 0.1\n"; got != want {
		t.Errorf("line %q, want %q", got, want)
	}
	p.update(60, 100)
	if n := strings.Count(b.String(), "\n"); n != 1 {
		t.Errorf("%d lines at once, want 1", n)
	}
	quiet := newProgress(&b, true, "sweep")
	quiet.next = quiet.start
	b.Reset()
	quiet.update(50, 100)
	if b.Len() != 0 {
		t.Errorf("quiet, but %q", fmt.Sprint(b.String()))
	}
}
