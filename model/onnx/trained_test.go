package onnx_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/internal/testsize"
	"advsweep/model"
	"advsweep/pipeline"
)

// What FGSM and BIM do to trained networks of six families is what they do in PyTorch in float64
// (scripts/zoo/trained.py): the counts are equal in float64. In float32 two images of 1,000 may
// differ: a gradient element near 0 may take either sign, and later steps carry it on.
//
// In short form these are the first 100 images in float32.
func TestZooTrained(t *testing.T) {
	paths, _ := filepath.Glob("testdata/zoo/trained/*.onnx")
	if len(paths) < 6 {
		t.Fatalf("%d networks, want at least 6", len(paths))
	}
	all, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	n := testsize.Of(100, 100, 1000)
	set, err := all.Slice(0, n)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".onnx")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(strings.TrimSuffix(path, ".onnx") + ".json")
			if err != nil {
				t.Fatal(err)
			}
			// By the number of images, "100" or "1000": how many are right at each of Eps.
			var want struct {
				Eps        []float64
				Bounds     [2]float64
				FGSM, BIM3 map[string][]int
			}
			if err := json.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			m, err := model.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			sweep := pipeline.Sweep{
				Attacks: []attack.Attack{attack.FGSM(), attack.BIM(3)},
				Eps:     want.Eps,
				Bounds:  attack.Bounds{Lo: want.Bounds[0], Hi: want.Bounds[1]},
			}
			check := func(b pipeline.Backend, err error, within int) {
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				r, err := sweep.Run(t.Context(), b, set)
				if err != nil {
					t.Fatal(err)
				}
				for i, counts := range []map[string][]int{want.FGSM, want.BIM3} {
					counts, got := counts[strconv.Itoa(n)], r.Curves[i].Correct
					if len(counts) != len(got) {
						t.Fatalf("%d counts of %d images, want %d", len(counts), n, len(got))
					}
					for e, w := range counts {
						if d := got[e] - w; d > within || d < -within {
							t.Errorf("%s, %s, eps %v: %d of %d right, want %d ± %d", b.Info().Precision, r.Curves[i].Attack.Name, want.Eps[e], got[e], n, w, within)
						}
					}
				}
			}
			single, err := cpu.New[float32](m, cpu.Options{})
			check(single, err, 2)
			if !testing.Short() {
				double, err := cpu.New[float64](m, cpu.Options{})
				check(double, err, 0)
			}
		})
	}
}
