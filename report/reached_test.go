package report

import (
	"bytes"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
)

// TestReached: toward all other classes the files and the terminal say how many images reach at
// least one, and which.
func TestReached(t *testing.T) {
	a := attack.BIM(5)
	a.Name, a.Target = "bim:target=all", attack.All
	// Three images of class 0, 0 and 2 at two eps; the last one is wrong as it is.
	r := &pipeline.Result{N: 3, Clean: 2, Classes: 4, Eps: []float64{0, 0.1},
		Images: []pipeline.Clean{{Margin: 1}, {Margin: 1}, {Label: 2, Class: 3, Margin: -1}}}
	outcomes := make([]pipeline.Outcome, 6)
	for k, class := range []int32{0, 3, 0, 0, 3, 3} {
		outcomes[k].Class = class
	}
	r.Curves = []pipeline.Curve{{Attack: a.For(4), Correct: []int{2, 1}, ZeroGradient: []int{0, 0}, Outcomes: outcomes,
		Reached: [][]int32{nil, {1, 3}, nil, nil, {3}, {0, 3}}}}
	var reached []int
	for _, row := range Rows(r) {
		reached = append(reached, *row.Outcomes.Reached)
	}
	if len(reached) != 2 || reached[0] != 1 || reached[1] != 2 {
		t.Errorf("%v images reach a class, want 1 and 2", reached)
	}
	files := string(ClassesCSV(r))
	for _, want := range []string{
		",taken_for,reached\n", "\nbim:target=all,0,2,1,0,0,0,0.7934506856227626,3:1,3:1\n",
		"\nbim:target=all,0.1,0,2,1,0.5,0.09453120573423074,0.9054687942657693,3:1,1:1;3:1\n", ",3:1,0:1;3:1\n",
	} {
		if !strings.Contains(files, want) {
			t.Errorf("classes.csv lacks %q:\n%s", want, files)
		}
	}
	var b bytes.Buffer
	if err := CurveTable(&b, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 of 3 images reach at least one other class,\nand 1.3 of the 3 in the mean.", "\n0      2       -  1  0  1\n", "\n2      1       1  0  -  1\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the terminal lacks %q:\n%s", want, b.String())
		}
	}
	r.Classes = 13
	if b.Reset(); CurveTable(&b, r) != nil || !strings.Contains(b.String(), "column reached") || strings.Contains(b.String(), "Rows: the label") {
		t.Errorf("13 classes:\n%s", b.String())
	}
}
