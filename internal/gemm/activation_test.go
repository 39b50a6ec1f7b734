//go:build linux

package gemm

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRegistersOfAVX2 looks for registers that AVX2 does not have. A generator may take them, and
// a processor with AVX-512 would run that.
func TestRegistersOfAVX2(t *testing.T) {
	files, err := filepath.Glob("*_amd64.s")
	if err != nil || len(files) == 0 {
		t.Fatalf("no assembly: %v", err)
	}
	late, kernels := regexp.MustCompile(`\b([XY](1[6-9]|2\d|3[01])|Z\d+|K\d)\b`), 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, kernel := range strings.Split(string(text), "\nTEXT ")[1:] {
			name, _, _ := strings.Cut(kernel, "(")
			if !strings.HasPrefix(name, "·avx2_") {
				continue
			}
			kernels++
			if r := late.FindString(kernel); r != "" {
				t.Errorf("%s: %s uses %s", file, name, r)
			}
		}
	}
	if kernels == 0 {
		t.Error("no kernel of AVX2")
	}
}

// TestGuardActivations runs every activation on memory that ends, or begins, at pages that nothing
// may touch. Package cpu compares the results with the scalar code.
func TestGuardActivations(t *testing.T) {
	for _, path := range Paths() {
		for _, start := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/start=%v", path, start), func(t *testing.T) {
				y := &yard{t: t, start: start}
				guardActivations[float32](y, path)
				guardActivations[float64](y, path)
			})
		}
	}
}

func guardActivations[T Float](y *yard, path string) {
	r := rand.New(rand.NewPCG(17, 18))
	for _, table := range activations(path) {
		table, ok := table.(map[string]Activation[T])
		if !ok {
			continue
		}
		for name, f := range table {
			for n := range 68 {
				y.free()
				numbers := func() []T { return fenced(y, random[T](r, n)) }
				p := (*[2]float64)(fenced(y, []float64{-.5, .5}))
				to, x, d := numbers(), numbers(), numbers()
				whole := n - n%int(f.whole)
				if got := f.Forward(to, x, p); got != whole {
					y.t.Fatalf("%s: %d of %d forward, want %d", name, got, n, whole)
				}
				if got := f.Backward(to, x, d, p); got != whole {
					y.t.Fatalf("%s: %d of %d back, want %d", name, got, n, whole)
				}
			}
		}
	}
}
