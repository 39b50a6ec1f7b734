package attack

import (
	"math"
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	size := []float64{0.1, 0.2}
	for name, c := range map[string]struct {
		s    Step
		want bool
	}{
		"fgsm":      {Step{Size: size}, true},
		"bounds":    {Step{Size: size, Bounds: Bounds{0, 1}, Index: 3}, true},
		"noise":     {Step{Size: size, Direction: RandomSign, Seed: 1}, true},
		"uniform":   {Step{Size: size, Direction: Uniform}, false},
		"l2":        {Step{Size: size, Norm: L2}, false},
		"margin":    {Step{Size: size, Loss: Margin}, false},
		"targets":   {Step{Size: size, Targets: make([]int32, 6)}, false},
		"restarts":  {Step{Size: size, Restarts: []int{0, 0}}, false},
		"ball":      {Step{Size: size, Ball: true}, false},
		"momentum":  {Step{Size: size, Momentum: true}, false},
		"alpha":     {Step{Size: size, Alpha: 0.5}, false},
		"row sizes": {Step{Size: make([]float64, 6)}, false},
	} {
		if got := c.s.Plain(2); got != c.want {
			t.Errorf("%s: plain %v, want %v", name, got, c.want)
		}
		if err := c.s.Validate(6, 2, 3); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStepValidate(t *testing.T) {
	size := []float64{0.1, 0.2}
	for _, c := range []struct {
		s    Step
		want string
	}{
		{Step{Size: size, Direction: -1}, "direction -1"},
		{Step{Size: size, Direction: 4}, "direction 4"},
		{Step{Size: size, Direction: Along}, "0 numbers to go along in direction 3"},
		{Step{Size: size, Direction: Along, Along: make([]float64, 7)}, "7 numbers to go along for 6 rows"},
		{Step{Size: size, Direction: Along, Along: []float64{1, 1, 1, 1, 1, math.Inf(1)}}, "along[5] is +Inf"},
		{Step{Size: size, Along: make([]float64, 6)}, "6 numbers to go along in direction 0"},
		{Step{Size: size, Norm: 4}, "norm 4"},
		{Step{Size: size, Norm: -1}, "norm -1"},
		{Step{Size: size, Loss: 3}, "loss 3"},
		{Step{Size: size, Loss: -1}, "loss -1"},
		{Step{Size: size, Index: -1}, "step -1"},
		{Step{Size: size, Index: 1 << 16}, "step 65536"},
		{Step{}, "0 sizes"},
		{Step{Size: make([]float64, 3)}, "3 sizes"},
		{Step{Size: []float64{0, math.NaN()}}, "size[1] is NaN"},
		{Step{Size: []float64{math.Inf(-1), 0}}, "size[0] is -Inf"},
		{Step{Size: size, Targets: make([]int32, 2)}, "2 targets"},
		{Step{Size: size, Targets: []int32{}}, "0 targets"},
		{Step{Size: size, Targets: []int32{0, 1, 2, 3, 0, 0}}, "target of row 3 is 3"},
		{Step{Size: size, Targets: []int32{0, 1, 2, -1, 0, 0}}, "target of row 3 is -1"},
		{Step{Size: size, Restarts: []int{0}}, "1 restarts"},
		{Step{Size: size, Restarts: []int{0, -1}}, "restart[1] is -1"},
		{Step{Size: size, Restarts: []int{MaxRestarts, 0}}, "restart[0] is 65536"},
		{Step{Size: size, Nesterov: true}, "nesterov without momentum"},
		{Step{Size: size, Momentum: true, Direction: Uniform}, "momentum of a random direction"},
		{Step{Size: size, Momentum: true, Decay: -0.1}, "decay -0.1"},
		{Step{Size: size, Decay: math.NaN()}, "decay NaN"},
		{Step{Size: size, Decay: math.Inf(1)}, "decay +Inf"},
		{Step{Size: size, Alpha: -0.1}, "alpha -0.1"},
		{Step{Size: size, Alpha: 1.1}, "alpha 1.1"},
		{Step{Size: size, Alpha: math.NaN()}, "alpha NaN"},
		{Step{Size: size, Loss: DLR, Targets: make([]int32, 6)}, "loss dlr of a model with 3 classes"},
		{Step{Size: size, Bounds: Bounds{1, 0}}, "bounds 1,0"},
	} {
		if err := c.s.Validate(6, 2, 3); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want one with %q", c.s, err, c.want)
		}
	}
	for classes, want := range map[int]bool{2: false, 3: true} {
		if err := (Step{Size: size, Loss: DLR}).Validate(6, 2, classes); (err == nil) != want {
			t.Errorf("dlr of %d classes: %v", classes, err)
		}
	}
	if err := (Step{Size: size, Loss: DLR, Direction: Uniform}).Validate(6, 2, 2); err != nil {
		t.Errorf("a step that takes no loss: %v", err)
	}
}

func TestStepNames(t *testing.T) {
	if got := []string{Linf.String(), L2.String(), CrossEntropy.String(), Margin.String(), DLR.String(), Norm(7).String(), Loss(-1).String()}; strings.Join(got, " ") != "linf l2 ce cw dlr norm(7) loss(-1)" {
		t.Errorf("names %q", got)
	}
}
