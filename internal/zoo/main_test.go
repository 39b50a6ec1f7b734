package main

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want []float64
		off       float64
	}{
		{"same", []float64{1, -4}, []float64{1, -4}, 0},
		{"of the largest", []float64{1, -4}, []float64{3, -4}, 0.5},
		{"zeros", []float64{0}, []float64{0}, 0},
		{"not zero", []float64{1}, []float64{0}, math.MaxFloat64},
		{"another length", []float64{1}, []float64{1, 2}, math.MaxFloat64},
		{"NaN", []float64{math.NaN(), 1}, []float64{1, 1}, math.MaxFloat64},
	} {
		if off := distance(c.got, c.want); off != c.off {
			t.Errorf("%s: %v, want %v", c.name, off, c.off)
		}
	}
}

func TestChannelsFirst(t *testing.T) {
	// An image of one row, two columns and three channels.
	a := channelsFirst(array{[]int{1, 1, 2, 3}, []float64{1, 2, 3, 4, 5, 6}})
	if want := []float64{1, 4, 2, 5, 3, 6}; !slices.Equal(a.data, want) || !slices.Equal(a.shape, []int{1, 3, 1, 2}) {
		t.Errorf("%v %v, want [1 3 1 2] %v", a.shape, a.data, want)
	}
	if !isTurned([]int{3, 1, 2}, []int{1, 2, 3}) || isTurned([]int{1, 2, 3}, []int{1, 2, 3}) || isTurned([]int{6}, []int{6}) {
		t.Error("isTurned does not tell [H, W, C] from [C, H, W]")
	}
}

// A file that cannot be read is reported, and does not end the program.
func TestLook(t *testing.T) {
	if r := look("none.onnx"); r.Panic != "" || !strings.Contains(r.Error, "none.onnx") {
		t.Errorf("%+v, want an error that names the file", r)
	}
	const path = "../../model/onnx/testdata/zoo/lenet.onnx"
	if r := look(path); r.Layers == 0 || !strings.Contains(r.Error, "lenet.npz") {
		t.Errorf("%+v, want an error that names the file that is not beside it", r)
	}
}
