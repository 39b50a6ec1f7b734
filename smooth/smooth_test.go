package smooth_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/smooth"

	"gorgonia.org/tensor"
)

const height, width = 5, 6

// linear returns a model of one Linear layer and so many classes, and n images with random labels.
func linear(t *testing.T, n, classes int) (*model.Model, *dataset.Set) {
	t.Helper()
	r := rand.New(rand.NewPCG(41, 1))
	pixels, labels := make([]uint8, n*height*width), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	for i := range labels {
		labels[i] = int32(r.IntN(classes))
	}
	set := &dataset.Set{Images: tensor.New(tensor.WithShape(n, height, width), tensor.WithBacking(pixels)), Labels: labels, First: 70}
	return ref.RandomModel(r, 1, height*width, classes), set
}

func open[T cpu.Float](t *testing.T, m *model.Model, threads int) pipeline.Backend {
	t.Helper()
	b, err := cpu.New[T](m, cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func run(t *testing.T, r smooth.Runner, s smooth.Smoothing, set *dataset.Set) (all []smooth.Image) {
	t.Helper()
	if err := r.Run(t.Context(), s, set, func(i smooth.Image) error { all = append(all, i); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestLinear: of a linear model with two classes the noise moves z_1 - z_0, d of an image, by a
// normal number of deviation σ·‖w_1 - w_0‖. So class 1 has the chance Φ(d/(σ·‖w_1 - w_0‖)), and the
// smoothed classifier changes where the network does, at the distance |d|/‖w_1 - w_0‖. Counts lie
// within 5 standard deviations of their mean. A radius is larger than the distance for a share of at
// most alpha of the images, give or take 4 deviations of that share, and for some.
func TestLinear(t *testing.T) {
	const n, alpha = 600, 0.1
	m, set := linear(t, n, 2)
	w := m.Layers[0].(model.Linear).Weight.Data().([]float32)
	size := 0.0
	for i := range height * width {
		d := float64(w[height*width+i]) - float64(w[i])
		size += d * d
	}
	size = math.Sqrt(size)
	s := smooth.Smoothing{Sigma: 0.5, Choose: 30, Draws: 400, Alpha: alpha, Seed: 5}
	beyond, abstained, classes := 0, 0, [2]int{}
	for k, i := range run(t, smooth.Runner{Backend: open[float32](t, m, 1)}, s, set) {
		x := make([]float64, height*width)
		for j, v := range set.Images.Data().([]uint8)[k*len(x):][:len(x)] {
			x[j] = float64(v) / 255
		}
		z, _ := ref.Forward(m, x)
		d := z[1] - z[0]
		if i.Index != 70+k || i.Label != set.Labels[k] || (i.Clean == 1) != (d > 0) {
			t.Fatalf("image %d: %+v, want index %d, label %d, and the class of %v", k, i, 70+k, set.Labels[k], z)
		}
		if i.Class == 0 {
			d = -d
		}
		p := math.Erfc(-d/(s.Sigma*size)/math.Sqrt2) / 2
		if sd := math.Sqrt(float64(s.Draws) * p * (1 - p)); !(math.Abs(float64(i.Count)-float64(s.Draws)*p) <= 5*sd+1) {
			t.Errorf("image %d: %d of %d draws have class %d, want %.1f ± %.1f", k, i.Count, s.Draws, i.Class, float64(s.Draws)*p, 5*sd)
		}
		classes[i.Class]++
		switch {
		case i.Abstains():
			abstained++
			if i.Radius != 0 || i.Right() {
				t.Errorf("image %d: %+v abstains, want no radius", k, i)
			}
		case i.Radius > d/size:
			beyond++
		}
		if i.Right() != (!i.Abstains() && i.Class == i.Label) {
			t.Errorf("image %d: right %v of %+v", k, i.Right(), i)
		}
	}
	if most := alpha*n + 4*math.Sqrt(n*alpha*(1-alpha)); beyond == 0 || !(float64(beyond) <= most) {
		t.Errorf("%d of %d radii are too large, want 1 to %.0f", beyond, n, most)
	}
	if abstained < 5 || min(classes[0], classes[1]) < 50 {
		t.Errorf("%d abstentions, classes %v: the test says too little", abstained, classes)
	}
	t.Logf("%d of %d radii are larger than the distance, %d abstentions", beyond, n, abstained)
}

// TestSameBytes: what is found of an image depends on no batch, no thread, and no other image.
func TestSameBytes(t *testing.T) {
	m, set := linear(t, 9, 4)
	s := smooth.Smoothing{Sigma: 0.4, Choose: 20, Draws: 100, Alpha: 0.01, Seed: 8}
	want := run(t, smooth.Runner{Backend: open[float32](t, m, 1)}, s, set)
	for _, c := range []struct{ rows, threads int }{{1, 1}, {7, 1}, {33, 2}, {0, 3}} {
		if got := run(t, smooth.Runner{Backend: open[float32](t, m, c.threads), Rows: c.rows, Threads: c.threads}, s, set); !slices.Equal(got, want) {
			t.Errorf("%+v: %+v, want %+v", c, got, want)
		}
	}
	if got := run(t, smooth.Runner{Backend: short{open[float32](t, m, 1), 13}}, s, set); !slices.Equal(got, want) {
		t.Errorf("with little memory: %+v, want %+v", got, want)
	}
	part, err := set.Slice(3, 4)
	if err != nil {
		t.Fatal(err)
	}
	if got := run(t, smooth.Runner{Backend: open[float32](t, m, 1)}, s, part); !slices.Equal(got, want[3:7]) {
		t.Errorf("images 3 to 6 alone: %+v, want %+v", got, want[3:7])
	}
	s.Seed++
	if got := run(t, smooth.Runner{Backend: open[float32](t, m, 1)}, s, set); slices.Equal(got, want) {
		t.Error("another seed finds the same")
	}
	s.Seed--
	if got := run(t, smooth.Runner{Backend: open[float64](t, m, 1)}, s, set); !slices.EqualFunc(got, want, func(a, b smooth.Image) bool { return a.Class == b.Class && max(a.Count-b.Count, b.Count-a.Count) <= 1 }) {
		t.Errorf("in float64: %+v, in float32 %+v", got, want)
	}
}

// short has memory for few rows.
type short struct {
	pipeline.Backend
	rows int
}

type shortError struct{ error }

func (shortError) OutOfMemory() bool { return true }

func (b short) Begin(ctx context.Context, lo, hi int, eps []float64) error {
	if hi-lo > b.rows {
		return shortError{errors.New("out of memory")}
	}
	return b.Backend.Begin(ctx, lo, hi, eps)
}

// watched keeps the first pixel of each row that it loads.
type watched struct {
	pipeline.Backend
	pixels *[]float32
}

func (b watched) Load(ctx context.Context, first int, x0 *tensor.Dense, labels []int32) error {
	if x, ok := x0.Data().([]float32); ok { // with noise
		for row := range slices.Chunk(x, height*width) {
			*b.pixels = append(*b.pixels, row[0])
		}
	}
	return b.Backend.Load(ctx, first, x0, labels)
}

// TestDrawsAreOwn: no draw counts that has chosen the class, nor one twice, nor one of another image:
// the interval takes them for independent. Pixels beyond [0, 1] stay.
func TestDrawsAreOwn(t *testing.T) {
	m, set := linear(t, 2, 4)
	all := []float32{}
	run(t, smooth.Runner{Backend: watched{open[float32](t, m, 1), &all}, Rows: 7}, smooth.Smoothing{Sigma: 2, Choose: 20, Draws: 100, Alpha: 0.01}, set)
	seen, outside := map[float32]int{}, 0
	for k, v := range all {
		v -= float32(set.Images.Data().([]uint8)[k/120*height*width]) / 255
		if before, ok := seen[v]; ok {
			t.Errorf("draws %d and %d have the same noise, %v", before, k, v)
		}
		if seen[v] = k; v < -1 || v > 1 {
			outside++
		}
	}
	if len(all) != 240 || outside < 100 {
		t.Errorf("%d draws, %d of them moved by more than 1, want 240, and more than 100", len(all), outside)
	}
}

// broken has logits that are not finite from a row on.
type broken struct{ pipeline.Backend }

func (b broken) Logits(ctx context.Context) (*tensor.Dense, error) {
	d, err := b.Backend.Logits(ctx)
	if z := d.Data().([]float32); len(z) > 4*5 {
		z[4*5] = float32(math.NaN())
	}
	return d, err
}

func TestErrors(t *testing.T) {
	m, set := linear(t, 2, 4)
	good := smooth.Smoothing{Sigma: 0.4, Choose: 20, Draws: 100, Alpha: 0.01}
	b := open[float32](t, m, 1)
	nothing := func(smooth.Image) error { return nil }
	for field, change := range map[string]func(*smooth.Smoothing){
		"Sigma":  func(s *smooth.Smoothing) { s.Sigma = 0 },
		"Sigma ": func(s *smooth.Smoothing) { s.Sigma = math.NaN() },
		"Sigma\t": func(s *smooth.Smoothing) {
			s.Sigma = 1e38 // whose noise is not finite in float32
		},
		"Alpha":  func(s *smooth.Smoothing) { s.Alpha = 1 },
		"Alpha ": func(s *smooth.Smoothing) { s.Alpha = math.NaN() },
		"Choose": func(s *smooth.Smoothing) { s.Choose = 0 },
		"Draws":  func(s *smooth.Smoothing) { s.Draws = smooth.MaxDraws + 1 },
		"Draws ": func(s *smooth.Smoothing) { s.Draws = 6 }, // 2⁻⁶ is more than 0.01
	} {
		s := good
		change(&s)
		var of *smooth.FieldError
		if err := (smooth.Runner{Backend: b}).Run(t.Context(), s, set, nothing); !errors.As(err, &of) || of.Field != strings.TrimSpace(field) {
			t.Errorf("%q: error %v, want a FieldError", field, err)
		}
	}
	if err := (smooth.Runner{Backend: b}).Run(t.Context(), good, &dataset.Set{}, nothing); err == nil {
		t.Error("no images: no error")
	}
	labels := &dataset.Set{Images: set.Images, Labels: []int32{0, 4}}
	if err := (smooth.Runner{Backend: b}).Run(t.Context(), good, labels, nothing); err == nil {
		t.Error("a label that the model has not: no error")
	}
	err := (smooth.Runner{Backend: broken{b}, Rows: 10}).Run(t.Context(), good, set, nothing)
	if err == nil || !strings.Contains(err.Error(), "image 70 with noise of sigma 0.4: the logits of draw 5 are not finite") {
		t.Errorf("logits that are not finite: error %v", err)
	}
}

// TestStop: when the context ends, what was finished is whole, and nothing more comes.
func TestStop(t *testing.T) {
	m, set := linear(t, 5, 4)
	s := smooth.Smoothing{Sigma: 0.4, Choose: 20, Draws: 100, Alpha: 0.01}
	b := open[float32](t, m, 1)
	want := run(t, smooth.Runner{Backend: b}, s, set)
	ctx, stop := context.WithCancel(t.Context())
	var got []smooth.Image
	last, calls := 0, 0
	r := smooth.Runner{Backend: b, Rows: 11, Progress: func(done, total int) {
		if calls++; done <= last || done > total || total != 5*120 {
			t.Errorf("progress %d after %d of %d", done, last, total)
		}
		last = done
	}}
	err := r.Run(ctx, s, set, func(i smooth.Image) error {
		if got = append(got, i); len(got) == 2 {
			stop()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(got, want[:2]) {
		t.Errorf("error %v, %d images, want the first two", err, len(got))
	}
	if calls < 20 {
		t.Errorf("progress was said %d times", calls)
	}
}

// TestLargest: where all draws have one class, the radius is σ·Φ⁻¹(alpha^(1/n)), 3.8115·σ for
// 100,000 and 0.001; too few draws certify nothing.
func TestLargest(t *testing.T) {
	s := smooth.Smoothing{Sigma: 0.25, Choose: 100, Draws: 100_000, Alpha: 0.001}
	if got := s.Largest() / s.Sigma; !(math.Abs(got-3.8115) <= 5e-5) {
		t.Errorf("%v times sigma, want 3.8115", got)
	}
	if s.Draws = 10; s.Validate() != nil {
		t.Errorf("10 draws: %v", s.Validate())
	}
	if s.Draws = 9; s.Validate() == nil || s.Largest() != 0 {
		t.Errorf("9 draws: %v, want 0, as 2⁻⁹ is more than 0.001", s.Largest())
	}
	if s.Draws = 10; !(s.Largest() > 0) {
		t.Errorf("10 draws: %v, want more than 0", s.Largest())
	}
}

func TestResult(t *testing.T) {
	image := func(label, clean, class int32, low, radius float64) smooth.Image {
		return smooth.Image{Label: label, Clean: clean, Class: class, Low: low, Radius: radius}
	}
	r := smooth.Result{Classes: 3, Images: []smooth.Image{
		image(1, 1, 1, 0.9, 0.5), image(1, 0, 1, 0.7, 0.25), image(2, 2, 2, 0.9, 0.5), image(0, 0, 2, 0.95, 0.8), image(0, 0, 0, 0.4, 0),
	}}
	if r.Clean() != 4 || r.Smoothed() != 3 || r.Abstained() != 1 {
		t.Errorf("clean %d, smoothed %d, abstained %d, want 4, 3, 1", r.Clean(), r.Smoothed(), r.Abstained())
	}
	if got := r.MeanRadius(); !(math.Abs(got-1.25/5) <= 1e-15) {
		t.Errorf("mean radius %v, want 0.25", got)
	}
	for radius, want := range map[float64]int{0: 3, 0.25: 3, 0.2500001: 2, 0.5: 2, 0.50001: 0} {
		if got := r.Certified(radius); got != want {
			t.Errorf("%d certified at %v, want %d", got, radius, want)
		}
	}
	if got, want := r.Steps(), []smooth.Step{{0.25, 3}, {0.5, 2}}; !slices.Equal(got, want) {
		t.Errorf("steps %v, want %v", got, want)
	}
	if none := (&smooth.Result{}); none.MeanRadius() != 0 || len(none.Steps()) != 0 {
		t.Error("no images: want no radius and no step")
	}
}
