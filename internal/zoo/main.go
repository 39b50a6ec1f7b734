// Zoo compares networks in ONNX files with what others said of them: go run ./internal/zoo FILE...
//
// Beside each NAME.onnx lies NAME.npz, which scripts/zoo makes: images x [B, ...] and, of a float32
// file, the logits "runtime" [B, O] of onnxruntime; of a float64 file, "logits" [B, O] and
// "gradient" [B, ...] of the cross-entropy of "labels" [B], by PyTorch in float64. Zoo computes
// the same by the CPU backend, in the precision of the file. It prints a line of JSON for each: see
// report. It judges nothing: scripts/zoo/table.py has the limits.
package main

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"advsweep/cpu"
	"advsweep/internal/npy"
	"advsweep/internal/ref"
	"advsweep/model"
	_ "advsweep/model/onnx"

	"gorgonia.org/tensor"
)

// A report is what is said of a file. Distances are the largest difference in units of the largest
// element wanted, and null where the file beside it does not say what to want.
type report struct {
	File     string   `json:"file"`
	Error    string   `json:"error,omitempty"` // why the file was refused
	Panic    string   `json:"panic,omitempty"` // what a bug ended in
	Layers   int      `json:"layers"`
	Notes    []string `json:"notes,omitempty"`
	Logits   *float64 `json:"logits"`
	Gradient *float64 `json:"gradient"`
	Load     float64  `json:"load"`    // seconds
	Compute  float64  `json:"compute"` // seconds
}

func main() {
	out := json.NewEncoder(os.Stdout)
	for _, path := range os.Args[1:] {
		if err := out.Encode(look(path)); err != nil {
			fmt.Fprintln(os.Stderr, "zoo:", err)
			os.Exit(1)
		}
	}
}

// look returns what is to be said of the file at path.
func look(path string) (r report) {
	r.File = path
	// A file that makes the reader panic is a finding, not the end of the list.
	defer func() {
		if v := recover(); v != nil {
			r.Panic = fmt.Sprint(v)
		}
	}()
	start := time.Now()
	m, err := model.Load(path)
	r.Load = time.Since(start).Seconds()
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Layers, r.Notes = len(m.Layers), m.Notes
	arrays, err := readNPZ(strings.TrimSuffix(path, ".onnx") + ".npz")
	if err != nil {
		r.Error = err.Error()
		return r
	}
	start = time.Now()
	if _, ok := arrays["runtime"]; ok {
		err = compare[float32](&r, m, arrays, "runtime")
	} else {
		err = compare[float64](&r, m, arrays, "logits")
	}
	r.Compute = time.Since(start).Seconds()
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// compare computes the logits of the images, and their gradient if the arrays have one, and puts
// the distances into r.
func compare[T cpu.Float](r *report, m *model.Model, arrays map[string]array, logits string) error {
	b, err := cpu.New[T](m, cpu.Options{})
	if err != nil {
		return err
	}
	defer b.Close()
	x, ctx := arrays["x"], context.Background()
	if len(x.shape) < 2 {
		return fmt.Errorf("x of shape %v, want [B, ...]", x.shape)
	}
	n := x.shape[0]
	labels := make([]int32, n)
	for i := range arrays["labels"].data {
		labels[i] = int32(arrays["labels"].data[i])
	}
	turn := isTurned(m.ImageShape(), x.shape[1:])
	if turn {
		x = channelsFirst(x)
	}
	if err := b.Load(ctx, 0, dense(x.data, n), labels); err != nil {
		return err
	}
	if err := b.Begin(ctx, 0, n, []float64{0}); err != nil {
		return err
	}
	z, err := b.Logits(ctx)
	if err != nil {
		return err
	}
	got := ref.Float64s(z)
	off := distance(got, arrays[logits].data)
	r.Logits = &off
	want, ok := arrays["gradient"]
	if !ok {
		return nil
	}
	if turn {
		want = channelsFirst(want)
	}
	q, classes := make([]float64, len(got)), len(got)/n
	for i, label := range labels {
		copy(q[i*classes:], ref.Softmax(got[i*classes:][:classes]))
		q[i*classes+int(label)]--
	}
	g, err := b.Gradient(ctx, dense(q, n))
	if err != nil {
		return err
	}
	slope := distance(ref.Float64s(g), want.data)
	r.Gradient = &slope
	return nil
}

// isTurned reports whether a model takes images [C, H, W] whose file has them as shape [H, W, C].
func isTurned(input, shape []int) bool {
	return len(shape) == 3 && !slices.Equal(input, shape) && slices.Equal(input, []int{shape[2], shape[0], shape[1]})
}

// channelsFirst returns a [B, H, W, C] as [B, C, H, W].
func channelsFirst(a array) array {
	b, h, w, c := a.shape[0], a.shape[1], a.shape[2], a.shape[3]
	data := make([]float64, len(a.data))
	for i, v := range a.data {
		image, place, channel := i/(h*w*c), i/c%(h*w), i%c
		data[(image*c+channel)*h*w+place] = v
	}
	return array{[]int{b, c, h, w}, data}
}

// dense returns data as n rows.
func dense(data []float64, n int) *tensor.Dense {
	return tensor.New(tensor.WithShape(n, len(data)/n), tensor.WithBacking(data))
}

// distance returns the largest |got - want| in units of the largest |want|, and MaxFloat64, which
// JSON can hold, where that is no finite number or the lengths differ.
func distance(got, want []float64) float64 {
	if len(got) != len(want) {
		return math.MaxFloat64
	}
	off, top := 0.0, 0.0
	for i, w := range want {
		off, top = max(off, math.Abs(got[i]-w)), max(top, math.Abs(w))
	}
	if off == 0 && top == 0 {
		return 0
	}
	if off /= top; math.IsNaN(off) || math.IsInf(off, 0) {
		return math.MaxFloat64
	}
	return off
}

// An array is an array of an NPZ file, row-major.
type array struct {
	shape []int
	data  []float64
}

// readNPZ returns those arrays of the file at path that compare takes, by their names.
func readNPZ(path string) (map[string]array, error) {
	z, err := zip.OpenReader(path)
	if err != nil {
		return nil, err
	}
	defer z.Close()
	arrays := make(map[string]array)
	for _, f := range z.File {
		if !slices.Contains([]string{"x.npy", "labels.npy", "runtime.npy", "logits.npy", "gradient.npy"}, f.Name) {
			continue
		}
		a, err := readEntry(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, f.Name, err)
		}
		arrays[strings.TrimSuffix(f.Name, ".npy")] = a
	}
	return arrays, nil
}

func readEntry(f *zip.File) (array, error) {
	r, err := f.Open()
	if err != nil {
		return array{}, err
	}
	defer r.Close()
	a, err := npy.Read(r, int64(f.CompressedSize64))
	if err != nil {
		return array{}, err
	}
	if a.Fortran {
		return array{}, errors.New("in Fortran order, want C order")
	}
	data := make([]float64, len(a.Data)/a.Width)
	for i := range data {
		b := a.Data[i*a.Width:]
		switch a.Descr {
		case "<f8":
			data[i] = math.Float64frombits(a.Order.Uint64(b))
		case "<f4":
			data[i] = float64(math.Float32frombits(a.Order.Uint32(b)))
		case "<i4":
			data[i] = float64(int32(a.Order.Uint32(b)))
		default:
			return array{}, fmt.Errorf("elements %s, want <f8, <f4 or <i4", a.Descr)
		}
	}
	return array{a.Shape, data}, nil
}
