package onnx

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"advsweep/model"
	"advsweep/model/internal/golden"
)

// Graphs of ranks 2 to 6 whose shapes are full of ones: testdata/ranks/make.py.
func TestONNXRanks(t *testing.T) {
	text, err := os.ReadFile("testdata/ranks/ranks.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct {
		Name string
		golden.Reference
	}
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	ranks := make(map[int]bool)
	for _, c := range all {
		ranks[len(c.Shape)+1] = true
		t.Run(c.Name, func(t *testing.T) {
			m, err := model.Load("testdata/ranks/" + c.Name + ".onnx")
			if err != nil {
				t.Fatal(err)
			}
			if n := len(c.Inputs[0]); m.Inputs() != n {
				t.Fatalf("%v takes %d numbers, want %d", m, m.Inputs(), n)
			}
			if have := m.ImageShape(); len(c.Shape) == 3 && !slices.Equal(have, c.Shape) {
				c.ChannelsFirst()
			}
			// onnxruntime computes in float32: up to six operators, each of some ten sums.
			t.Logf("%s %v: within %.1e", m, m.Notes, agree(t, m, c.Reference, 4e-6))
			checkRoundTrip(t, m)
		})
	}
	for rank := 2; rank <= 6; rank++ {
		if !ranks[rank] {
			t.Errorf("no graph of rank %d", rank)
		}
	}
}
