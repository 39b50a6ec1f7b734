package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/rundir"

	"github.com/google/go-cmp/cmp"
)

// TestBench reads the lines as benchstat does.
func TestBench(t *testing.T) {
	text := do(t, "bench", "--backend", "cpu", "--n", "20", "--eps", "0,0.1", "--benchtime", "1ms", "--count", "2")
	checkBench(t, text, "cpu", map[string]int{"Forward": 2, "Gradient": 2, "Step": 2, "Sweep": 6, "W1": 4, "W2": 4})
	text = do(t, "bench", "--backend", "cpu", "--n", "5", "--works", "W3-grid,W1-grid", "--bounds", "0,1", "--benchtime", "1ns")
	checkBench(t, text, "cpu", map[string]int{"W1": 1, "W3": 1})
	if !strings.Contains(text, "BenchmarkW3/bounds=0,1/route=grid/backend=cpu/precision=float32/N=5-") {
		t.Errorf("no W3 of 5 images within bounds:\n%s", text)
	}
}

// checkBench wants so many lines of each benchmark.
func checkBench(t *testing.T, text, backend string, want map[string]int) {
	t.Helper()
	line := regexp.MustCompile(`^Benchmark([A-Z]\w*)\S*/backend=` + backend + `/\S*\s+\d+\s+[0-9.e+]+ ns/op\s+([0-9.e+]+ done-GFLOP/s\s+)?[0-9.e+-]+ dense-GFLOP/s\s.*[0-9.e+]+ images/s`)
	seen := map[string]int{}
	for _, l := range strings.Split(text, "\n") {
		if m := line.FindStringSubmatch(l); m != nil {
			seen[m[1]]++
		}
	}
	if d := cmp.Diff(want, seen); d != "" {
		t.Errorf("benchmarks (-want +got):\n%s\n%s", d, text)
	}
}

// TestBenchOnce reads the last line as a program that compares times does. The counts are those of
// the sweep.
func TestBenchOnce(t *testing.T) {
	args := []string{"bench", "--once", "--count", "2", "--backend", "cpu", "--n", "30", "--bounds", "0,1"}
	for work, want := range map[string]string{"W1": "fgsm", "W1-grid": "fgsm", "W2": "bim"} {
		var got struct {
			Work, Bounds string
			N, Eps, Runs int
			MS           float64
			Correct      []int
		}
		text := do(t, append(args, "--works", work)...)
		if err := json.Unmarshal([]byte(text), &got); err != nil || strings.Count(text, "\n") != 1 {
			t.Fatalf("%v: %q", err, text)
		}
		if got.Work != work || got.Bounds != "0,1" || got.N != 30 || got.Eps != 21 || got.Runs != 2 || !(got.MS > 0) {
			t.Errorf("%s: %+v", work, got)
		}
		var curve struct{ Rows []struct{ Correct int } }
		out := filepath.Join(t.TempDir(), "out")
		sweep := do(t, "sweep", "--attack", want, "--eps", "0:0.5:0.025", "--n", "30", "--bounds", "0,1", "--backend", "cpu", "--format", "json", "--out", out)
		if err := json.Unmarshal([]byte(sweep), &curve); err != nil {
			t.Fatal(err)
		}
		var counts []int
		for _, r := range curve.Rows {
			counts = append(counts, r.Correct)
		}
		if d := cmp.Diff(counts, got.Correct); d != "" {
			t.Errorf("%s: counts (-sweep +bench):\n%s", work, d)
		}
	}
}

// TestBenchIsSweep wants that a work is what 'advsweep sweep' computes with its defaults: the same
// manifest and the same result. The flags of the command stand here once more, as somebody types
// them who repeats a work. Pixels beyond 1 leave out the rounded images.
func TestBenchIsSweep(t *testing.T) {
	flags := map[string]string{
		"W1":      "--attack fgsm --eps 0:0.5:0.025",
		"W1-grid": "--attack fgsm --eps 0:0.5:0.025 --exact=false",
		"W2":      "--attack bim --steps 5 --eps 0:0.5:0.025",
		"W3":      "--attack fgsm --eps 0:0.5:0.005",
		"W3-grid": "--attack fgsm --eps 0:0.5:0.005 --exact=false",
	}
	beyond := npzBeyond(t)
	for _, w := range works {
		if w.walk {
			continue
		}
		args, ok := flags[w.name]
		if !ok {
			t.Errorf("%s: no flags of 'advsweep sweep'", w.name)
		}
		for _, more := range []string{"--bounds 0,1", "--bounds none --data " + beyond} {
			out := filepath.Join(t.TempDir(), "out")
			do(t, append(append([]string{"sweep", "--backend", "cpu", "--n", "12", "-q", "--out", out}, strings.Fields(args)...), strings.Fields(more)...)...)
			want, res, err := rundir.Read(out)
			if err != nil {
				t.Fatal(err)
			}

			v, c := &benchVerb{}, newBench()
			c.SetContext(t.Context())
			c.SetErr(io.Discard)
			v.backend, v.images.n = backendFlags{name: "cpu", precision: "float32", math: "default"}, 12
			v.inputs.images.split = "test"
			if strings.Contains(more, beyond) {
				v.inputs.images.data = beyond
			}
			in, err := open(c, &v.inputs, &v.backend, true, v.images.cut(c))
			if err != nil {
				t.Fatal(err)
			}
			bounds, err := attack.ParseBounds(strings.Fields(more)[1])
			if err != nil {
				t.Fatal(err)
			}
			bm, err := in.first(w.n).work(c, w, bounds)
			if err != nil {
				t.Fatal(err)
			}
			if err := bm.f(); err != nil {
				t.Fatal(err)
			}
			got := in.manifest(*bm.sweep, 1)
			if d := cmp.Diff(manifestText(t, *want), manifestText(t, got)); d != "" {
				t.Errorf("%s %s: manifest (-sweep +bench):\n%s", w.name, more, d)
			}
			if !reflect.DeepEqual(res, bm.result) {
				t.Errorf("%s %s: results differ", w.name, more)
			}
			if err := in.backend.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// npzBeyond writes twelve images of which a pixel is beyond 1, so that there are no 8-bit pixels.
func npzBeyond(t *testing.T) string {
	t.Helper()
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	pixels := make([]float32, 12*784)
	for i, v := range set.Images.Data().([]uint8)[:len(pixels)] {
		pixels[i] = float32(v) / 255
	}
	pixels[0] = 1.5
	var npz bytes.Buffer
	err = dataset.WriteNPZ(&npz, dataset.Array{Name: "images", Shape: []int{12, 28, 28}, Data: pixels}, dataset.Array{Name: "labels", Shape: []int{12}, Data: set.Labels[:12]})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "beyond.npz")
	if err := os.WriteFile(name, npz.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

func manifestText(t *testing.T, m record.Manifest) string {
	t.Helper()
	data, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestBenchRefusals(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"--works W9", `no work "W9"`},
		{"--works w1", `no work "w1"`},
		{"--works=", `no work ""`},
		{"--works W1,W1", "twice"},
		{"--works W1 --eps 0.1", "--eps is for Sweep"},
		{"--works W1 --steps 3", "--steps is for Sweep"},
		{"--benchtime 0s", "benchtime"},
		{"--once", "one work"},
		{"--once --works W1,W2 --bounds none", "one work"},
		{"--once --works Sweep --bounds none", "one work"},
		{"--once --works W1", "--bounds"},
		{"--once --works W1 --bounds none --benchtime 1s", "--benchtime"},
		{"--works W1 --bounds 1", "bounds"},
	} {
		code, stdout, stderr := advsweep(t, append([]string{"bench"}, strings.Fields(c.args)...)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("bench %s: exit code %d, %q, want %d and %q", c.args, code, stderr, exitUsage, c.want)
		}
	}
}

// TestBenchDense counts the products of a model 3-4-2 by hand: P = 20, P1 = 12.
func TestBenchDense(t *testing.T) {
	eps := []float64{0, 0.1, 0.2}
	clip := attack.Bounds{Lo: 0, Hi: 1}
	for _, c := range []struct {
		name   string
		attack attack.Attack
		bounds attack.Bounds
		want   float64
	}{
		{"fgsm", attack.FGSM(), attack.Bounds{}, 80 + 24 + 3*16},
		{"fgsm clipped", attack.FGSM(), clip, 80 + 3*40},
		{"bim", attack.BIM(2), attack.Bounds{}, 80 + 3*(80+40)},
		{"bim clipped", attack.BIM(2), clip, 80 + 3*(80+40)},
		{"noise", attack.Noise(1), attack.Bounds{}, 24 + 24 + 3*16},
		{"noise clipped", attack.Noise(1), clip, 3 * 40},
	} {
		s := pipeline.Sweep{Attacks: []attack.Attack{c.attack}, Eps: eps, Bounds: c.bounds}
		if got := dense(20, 12, s); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestBenchExact has a backend that walks and counts: FGSM goes by it unless told not to, and both
// speeds are there.
func TestBenchExact(t *testing.T) {
	v := &benchVerb{works: "W1,W1-grid,Exact1000", count: 1, benchtime: 1}
	c := newBench()
	c.SetContext(t.Context())
	var out bytes.Buffer
	c.SetOut(&out)
	v.inputs.images.split, v.images.n, v.steps = "test", 4, 1
	v.backend, v.ball = backendFlags{name: "cpu", precision: "float32", math: "default"}, ballFlags{eps: "0", bounds: "none"}
	in, err := open(c, &v.inputs, &v.backend, false, v.images.cut(c))
	if err != nil {
		t.Fatal(err)
	}
	w := &walker{Backend: in.backend}
	in.backend = w
	all, err := v.benchmarks(c, in, []string{"W1", "W1-grid", "Exact1000"}, pipeline.Sweep{Eps: []float64{0}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range all {
		before := w.walks
		if err := b.f(); err != nil {
			t.Fatal(err)
		}
		names = append(names, b.name)
		if exact := strings.Contains(b.name, "route=exact"); exact != (w.walks > before) {
			t.Errorf("%s: walked: %v", b.name, !exact)
		}
		if (b.dense == 0) != strings.HasPrefix(b.name, "Exact") {
			t.Errorf("%s: %v operations", b.name, b.dense)
		}
	}
	want := []string{
		"W1/bounds=none/route=exact", "W1/bounds=0,1/route=exact", "W1/bounds=none/route=grid", "W1/bounds=0,1/route=grid",
		"Exact/bounds=none/route=exact", "Exact/bounds=0,1/route=exact",
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("names (-want +got):\n%s", d)
	}
	if err := v.printOnce(c, in, all[0]); err != nil || !strings.Contains(out.String(), `"route":"exact"`) || !strings.Contains(out.String(), `"done_gflops":`) {
		t.Errorf("%v: %s", err, out.String())
	}
}

// walker is a backend that follows rays, standing still.
type walker struct {
	pipeline.Backend
	walks int
}

func (w *walker) NotExact() error { return nil }

func (w *walker) ExactPays() bool { return true }

func (w *walker) Exact(_ context.Context, _ int, max float64, _ attack.Bounds, dst []attack.Walk) error {
	for i := range dst {
		dst[i] = attack.Walk{Correct: []attack.Interval{{Lo: 0, Hi: max}}}
	}
	w.walks += len(dst)
	return nil
}

func (w *walker) Read(ctx context.Context, lo int, eps []float64, bounds attack.Bounds, rounded bool, dst []attack.Reading) error {
	walks := make([]attack.Walk, len(dst))
	if err := w.Exact(ctx, lo, eps[len(eps)-1], bounds, walks); err != nil {
		return err
	}
	for i := range dst {
		dst[i] = attack.Reading{Walk: walks[i], Classes: make([]int32, len(eps)), Norms: make([]attack.Norms, len(eps))}
		if rounded {
			dst[i].Rounded = make([]int8, len(eps))
		}
	}
	return nil
}

func (w *walker) Work() uint64 { return 1e12 * uint64(w.walks) }
