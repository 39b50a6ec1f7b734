package backends

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"advsweep/gpu"
	"advsweep/internal/words"
	"advsweep/model"

	"github.com/google/go-cmp/cmp"
)

// TestUnknown asks for what no backend is called or has.
func TestUnknown(t *testing.T) {
	_, err := Lookup("abacus")
	if err == nil || err.Error() != `backend "abacus", want `+words.Or(Names()) {
		t.Errorf("abacus: %v, want an error with the names that there are", err)
	}
	for _, e := range All() {
		_, _, err := e.Open(nil, Spec{Precision: "float7"})
		if err == nil || err.Error() != `precision "float7", want `+words.Or(Precisions()) {
			t.Errorf("%s: %v, want an error with the precisions that there are", e.Name, err)
		}
		for _, p := range Precisions() {
			if e.Has(p) {
				continue
			}
			if _, _, err := e.Open(nil, Spec{Precision: p}); err == nil || !strings.Contains(err.Error(), "precision "+p+" is on ") {
				t.Errorf("%s: %s: %v, want who has it", e.Name, p, err)
			}
		}
	}
}

// TestMath opens each backend in each math. Who has not one says so, with its name and that of the
// math.
func TestMath(t *testing.T) {
	m, err := model.Default()
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"default", "fast"}; !slices.Equal(Maths(), want) {
		t.Errorf("maths %q, want %q", Maths(), want)
	}
	for _, e := range All() {
		for _, math := range append(Maths(), "wild") {
			b, arithmetic, err := e.Open(m, Spec{Precision: e.Precisions[0], Math: math, Devices: "0"})
			switch {
			case math == "wild":
				if err == nil || err.Error() != `math "wild", want default or fast` {
					t.Errorf("%s: %v, want an error with the maths that there are", e.Name, err)
				}
			case !e.HasMath(math):
				if err == nil || err.Error() != "math fast with backend "+e.Name+": only the CPU has it" {
					t.Errorf("%s: %v, want an error that names backend and math", e.Name, err)
				}
			case errors.Is(err, ErrUnavailable) && e.Name != Always().Name:
			case err != nil:
				t.Errorf("%s in %s math: %v", e.Name, math, err)
			default:
				if fast := math == "fast"; strings.HasSuffix(arithmetic, " fast") != fast || (b.Info().MathMode == "fast") != fast {
					t.Errorf("%s in %s math: arithmetic %q, math mode %q", e.Name, math, arithmetic, b.Info().MathMode)
				}
				// A plan knows the arithmetic alone.
				again, got, err := e.Open(m, Spec{Precision: e.Precisions[0], MathMode: arithmetic, Devices: "0"})
				if err != nil || got != arithmetic {
					t.Fatalf("%s for a plan in %s: %s, %v", e.Name, arithmetic, got, err)
				}
				if err := errors.Join(b.Close(), again.Close()); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestAuto wants no two backends of one rank, CUDA before the CPU, which works everywhere, and a
// backend without a rank never, wherever it is listed.
func TestAuto(t *testing.T) {
	ranks := map[int]string{}
	for _, e := range Auto() {
		if other, taken := ranks[e.Auto]; taken || e.Auto < 0 {
			t.Errorf("%s has rank %d, %s too", e.Name, e.Auto, other)
		}
		ranks[e.Auto] = e.Name
	}
	third := Entry{Name: "third"}
	for place := range len(All()) + 1 {
		list := slices.Insert(All(), place, third)
		got := names(ranked(list), func(e Entry) string { return e.Name })
		if slices.Contains(got, "third") || slices.Index(got, "cuda") > slices.Index(got, "cpu") || got[len(got)-1] != "cpu" || Always().Name != "cpu" {
			t.Errorf("third without a rank at place %d: auto tries %v, and %s works everywhere", place, got, Always().Name)
		}
		list[place].Auto = 1 << 20
		if got := ranked(list); got[0].Name != "third" {
			t.Errorf("third with the highest rank at place %d: auto tries %s first", place, got[0].Name)
		}
	}
	if _, err := Always().Devices(); err != nil || Always().Accelerator {
		t.Errorf("%s works everywhere: accelerator %v, %v", Always().Name, Always().Accelerator, err)
	}
}

// TestEntries wants of each backend all that others ask it.
func TestEntries(t *testing.T) {
	m, err := model.Default()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range All() {
		if got, err := Lookup(e.Name); err != nil || got.Name != e.Name {
			t.Errorf("Lookup(%q) is %q, %v", e.Name, got.Name, err)
		}
		if e.Title == "" || len(e.Precisions) == 0 || e.Class == "" || e.Devices == nil || e.Pick == nil || e.Open == nil {
			t.Errorf("%s: a field is empty: %+v", e.Name, e)
		}
		devices, err := e.Devices()
		switch {
		case errors.Is(err, ErrUnavailable) && e.Name != Always().Name:
			if _, _, err := e.Open(m, Spec{Precision: e.Precisions[0], Devices: "0"}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("%s: opened without a device: %v", e.Name, err)
			}
		case err != nil || len(devices) == 0:
			t.Errorf("%s: devices %v, %v", e.Name, devices, err)
		case devices[0].Available:
			for _, p := range e.Precisions[:1] {
				b, arithmetic, err := e.Open(m, Spec{Precision: p, Devices: devices[0].List})
				if err != nil || arithmetic == "" {
					t.Fatalf("%s at %s: arithmetic %q, %v", e.Name, p, arithmetic, err)
				}
				if info := b.Info(); info.Name != e.Name || info.Precision != p {
					t.Errorf("%s at %s says that it is %s at %s", e.Name, p, info.Name, info.Precision)
				}
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestParseCUDA wants an error of its own type that lists the devices.
func TestParseCUDA(t *testing.T) {
	_, err := parseCUDA("3", []gpu.Info{{Name: "Tesla T4"}})
	if !errors.As(err, new(*DeviceError)) || !strings.Contains(err.Error(), "here: 0 (Tesla T4)") {
		t.Errorf("device 3 of one: %v", err)
	}
}

// TestDescribeCUDA has one GPU of each kind: tensor cores, none, too old.
func TestDescribeCUDA(t *testing.T) {
	index := func(i int) *int { return &i }
	for _, c := range []struct {
		in   gpu.Info
		want Device
	}{
		{gpu.Info{Index: 1, Name: "NVIDIA H100 80GB HBM3", Capability: 90, Memory: 84942979072, Driver: 12080, Image: "sm_80", MathMode: "3xtf32", MathModes: gpu.MathModes},
			Device{Backend: "cuda", Available: true, Device: "cuda:1 NVIDIA H100 80GB HBM3, sm_80 3xtf32", Worker: "cuda:1 NVIDIA H100 80GB HBM3", List: "1",
				Note:  "compute capability 9.0, 79.1 GiB, driver for CUDA 12.8; math modes: fp32, 3xtf32, tf32",
				Index: index(1), Name: "NVIDIA H100 80GB HBM3", Capability: "9.0", Memory: 84942979072, Driver: "12.8", Image: "sm_80", MathMode: "3xtf32",
				MathModes: []string{"fp32", "3xtf32", "tf32"}}},
		{gpu.Info{Name: "Tesla T4", Capability: 75, Memory: 15655829504, Driver: 13000, Image: "sm_75", MathMode: "fp32", MathModes: gpu.MathModes[:1]},
			Device{Backend: "cuda", Available: true, Device: "cuda:0 Tesla T4, sm_75 fp32", Worker: "cuda:0 Tesla T4", List: "0",
				Note:  "compute capability 7.5, 14.6 GiB, driver for CUDA 13.0; math modes: fp32",
				Index: index(0), Name: "Tesla T4", Capability: "7.5", Memory: 15655829504, Driver: "13.0", Image: "sm_75", MathMode: "fp32",
				MathModes: []string{"fp32"}}},
		{gpu.Info{Name: "Quadro P4000", Capability: 61, Memory: 8 << 30, Driver: 12040},
			Device{Backend: "cuda", Device: "cuda:0 Quadro P4000", Worker: "cuda:0 Quadro P4000", List: "0",
				Note:  "compute capability 6.1, 8.0 GiB, driver for CUDA 12.4; no kernels for it, which need 7.5 (Turing) or later",
				Index: index(0), Name: "Quadro P4000", Capability: "6.1", Memory: 8 << 30, Driver: "12.4"}},
	} {
		if d := cmp.Diff(c.want, describeCUDA(c.in)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.in.Name, d)
		}
	}
}
