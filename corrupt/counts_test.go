package corrupt_test

import (
	"encoding/json"
	"os"
	"testing"

	"advsweep/corrupt"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
)

// TestCounts holds counts on the embedded model to testdata/counts.json: NumPy's float64 on what
// Pillow, SciPy and scikit-image make of the images. Brightness 4 adds 51 whole levels, of which
// theirs lose one here and there to rounding, so that one image may differ.
func TestCounts(t *testing.T) {
	var want struct {
		N, Clean, Worst int
		Corruptions     map[string][]int
		Transformations []int
	}
	data, err := os.ReadFile("testdata/counts.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	m, err := model.Default()
	if err != nil {
		t.Fatal(err)
	}
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.Slice(0, want.N); err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New[float64](m, cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	res, err := corrupt.Evaluation{Corruptions: some(t, "contrast", "brightness", "pixelate", "zoom_blur"), Grid: corrupt.StandardGrid}.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	if want.N != 100 || res.Clean.Right != want.Clean || res.Spatial.Worst.Right != want.Worst {
		t.Errorf("of %d images %d clean ones and %d under all are right, want %d and %d", want.N, res.Clean.Right, res.Spatial.Worst.Right, want.Clean, want.Worst)
	}
	if len(res.Scores) != 20 || len(want.Corruptions) != 4 || len(want.Transformations) != len(res.Spatial.Each) {
		t.Fatalf("%d scores, %d corruptions, %d transformations", len(res.Scores), len(want.Corruptions), len(want.Transformations))
	}
	for _, s := range res.Scores {
		most := 0
		if s.Corruption == "brightness" && s.Severity == 4 {
			most = 1
		}
		if d := s.Right - want.Corruptions[s.Corruption][s.Severity-1]; d > most || d < -most {
			t.Errorf("%s %d: %d are right, want %d", s.Corruption, s.Severity, s.Right, want.Corruptions[s.Corruption][s.Severity-1])
		}
	}
	for i, c := range res.Spatial.Each {
		if c.Right != want.Transformations[i] {
			t.Errorf("%v: %d are right, want %d", res.Spatial.Transformations[i], c.Right, want.Transformations[i])
		}
	}
}
