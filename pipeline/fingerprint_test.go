package pipeline_test

import (
	"context"
	"errors"
	"math"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/cpu"
	"advsweep/model"
	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

// fused are the fingerprints of every kernel whose products are fused multiply-adds, on every
// processor, by precision.
var fused = map[string]string{"float32": "18cb6868867062f0", "float64": "d4bb1ac4c4a34953"}

// fusedFast are those of fast math.
var fusedFast = map[string]string{"float32": "309a69b25482acad", "float64": "f81a2be2c11513cb"}

func print[T cpu.Float](t *testing.T, o cpu.Options, wrap func(*cpu.Backend[T]) pipeline.Backend) string {
	t.Helper()
	got, err := pipeline.Fingerprint(func(m *model.Model) (pipeline.Backend, error) {
		b, err := cpu.New[T](m, o)
		if err != nil || wrap == nil {
			return b, err
		}
		return wrap(b), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestFingerprintKinds wants every kind of layer in a model that backends are judged by. The
// fingerprints above are of those models.
func TestFingerprintKinds(t *testing.T) {
	seen := make(map[string]bool)
	_, err := pipeline.Fingerprint(func(m *model.Model) (pipeline.Backend, error) {
		for _, l := range m.Layers {
			seen[l.Kind()] = true
		}
		return cpu.New[float32](m, cpu.Options{})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range model.Kinds() {
		if !seen[kind] {
			t.Errorf("no layer of kind %s is in a model of fingerprints: give its row in package model an example", kind)
		}
	}
}

// TestFingerprintFast wants a fingerprint of fast math of its own, the same of all fused kernels,
// threads and batches.
func TestFingerprintFast(t *testing.T) {
	t.Run("float32", testFingerprintFast[float32])
	t.Run("float64", testFingerprintFast[float64])
}

func testFingerprintFast[T cpu.Float](t *testing.T) {
	precision := strings.TrimPrefix(t.Name(), "TestFingerprintFast/")
	if fusedFast[precision] == fused[precision] {
		t.Errorf("fast math and the default have one fingerprint, %s", fused[precision])
	}
	for _, kernel := range cpu.Kernels() {
		if kernel == "go" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "386") {
			continue // which fuses no products
		}
		for _, threads := range []int{1, 3} {
			if got := print[T](t, cpu.Options{Kernel: kernel, Threads: threads, Math: "fast"}, nil); got != fusedFast[precision] {
				t.Errorf("%s, %d threads: %s, want %s", kernel, threads, got, fusedFast[precision])
			}
		}
		small := print(t, cpu.Options{Kernel: kernel, Math: "fast"}, func(b *cpu.Backend[T]) pipeline.Backend { return fewRows[T]{b} })
		if small != fusedFast[precision] {
			t.Errorf("%s, batches of 7 rows: %s, want %s", kernel, small, fusedFast[precision])
		}
	}
}

// TestFingerprint wants one fingerprint of all fused kernels, threads and batches, the same on
// every processor.
func TestFingerprint(t *testing.T) {
	t.Run("float32", testFingerprint[float32])
	t.Run("float64", testFingerprint[float64])
}

func testFingerprint[T cpu.Float](t *testing.T) {
	want := fused[strings.TrimPrefix(t.Name(), "TestFingerprint/")]
	for _, kernel := range cpu.Kernels() {
		got := print[T](t, cpu.Options{Kernel: kernel, Threads: 1}, nil)
		if !regexp.MustCompile("^[0-9a-f]{16}$").MatchString(got) {
			t.Errorf("%s: %q, want 16 hexadecimal digits", kernel, got)
		}
		// Plain Go fuses where the processor's compiler does.
		if kernel == "go" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "386") {
			if got == want {
				t.Errorf("%s: %s, that of fused products, which it has not", kernel, got)
			}
		} else if got != want {
			t.Errorf("%s: %s, want %s", kernel, got, want)
		}
		if testing.Short() && kernel != cpu.Kernels()[0] {
			continue
		}
		for _, threads := range []int{2, 5} {
			if again := print[T](t, cpu.Options{Kernel: kernel, Threads: threads}, nil); again != got {
				t.Errorf("%s, %d threads: %s, want %s", kernel, threads, again, got)
			}
		}
		small := print(t, cpu.Options{Kernel: kernel}, func(b *cpu.Backend[T]) pipeline.Backend { return fewRows[T]{b} })
		if small != got {
			t.Errorf("%s, batches of 7 rows: %s, want %s", kernel, small, got)
		}
	}
	if got := print[T](t, cpu.Options{Dense: true}, nil); got == want {
		t.Errorf("dense: %s, that of moves that are followed", got)
	}
}

type fewRows[T cpu.Float] struct{ *cpu.Backend[T] }

func (b fewRows[T]) Info() backend.Info {
	i := b.Backend.Info()
	i.Rows = 7
	return i
}

// flips is a backend that gives one last bit of one thing otherwise, at one call.
type flips struct {
	*cpu.Backend[float32]
	what string
	left *int // calls until then
}

func (f flips) now(what string) bool {
	if what != f.what {
		return false
	}
	*f.left--
	return *f.left == -1
}

func flip(v *float32) { *v = math.Float32frombits(math.Float32bits(*v) ^ 1) }

func (f flips) flip(what string, d *tensor.Dense, err error) (*tensor.Dense, error) {
	if err == nil && f.now(what) {
		v := d.Data().([]float32)
		flip(&v[len(v)/2])
	}
	return d, err
}

func (f flips) Logits(ctx context.Context) (*tensor.Dense, error) {
	d, err := f.Backend.Logits(ctx)
	return f.flip("logits", d, err)
}

func (f flips) Images(ctx context.Context) (*tensor.Dense, error) {
	d, err := f.Backend.Images(ctx)
	return f.flip("images", d, err)
}

func (f flips) Outcomes(ctx context.Context, rounding *backend.Rounding) (backend.Outcomes, error) {
	o, err := f.Backend.Outcomes(ctx, rounding)
	if err != nil {
		return o, err
	}
	if f.now("norms") {
		flip(&o.Norms[len(o.Norms)-1].L2)
	}
	o.Logits, err = f.flip("logits", o.Logits, err)
	return o, err
}

func (f flips) Read(ctx context.Context, lo int, eps []float64, bounds attack.Bounds, rounded bool, dst []attack.Reading) error {
	err := f.Backend.Read(ctx, lo, eps, bounds, rounded, dst)
	if f.now("walks") {
		v := &dst[len(dst)-1]
		v.Within = math.Nextafter(v.Within, 1)
	}
	return err
}

// TestFingerprintFlips plants one wrong last bit.
func TestFingerprintFlips(t *testing.T) {
	want := print[float32](t, cpu.Options{}, nil)
	for _, what := range []string{"logits", "images", "norms", "walks"} {
		for _, at := range []int{0, 2} {
			left := at
			got := print(t, cpu.Options{}, func(b *cpu.Backend[float32]) pipeline.Backend { return flips{b, what, &left} })
			if left >= 0 {
				t.Errorf("%s: there is no call %d", what, at)
			} else if got == want {
				t.Errorf("%s, call %d: a wrong bit leaves the fingerprint as it is", what, at)
			}
		}
	}
}

func TestFingerprintErrors(t *testing.T) {
	broken := errors.New("no device")
	if got, err := pipeline.Fingerprint(func(*model.Model) (pipeline.Backend, error) { return nil, broken }); got != "" || !errors.Is(err, broken) {
		t.Errorf("%q, %v, want %v", got, err, broken)
	}
	// A backend for another model has no room for the images.
	closed := 0
	got, err := pipeline.Fingerprint(func(*model.Model) (pipeline.Backend, error) {
		b, err := cpu.New[float32](model.MLP(5, 3), cpu.Options{})
		return counts{b, &closed}, err
	})
	if got != "" || err == nil || closed != 1 {
		t.Errorf("another model: %q, %v, closed %d times, want an error and once", got, err, closed)
	}
}

type counts struct {
	pipeline.Backend
	closed *int
}

func (c counts) Close() error {
	*c.closed++
	return c.Backend.Close()
}
