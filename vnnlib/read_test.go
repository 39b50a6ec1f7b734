package vnnlib

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// two is a network of version 1 with two inputs and two outputs.
const two = "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"

// unit is the box [0, 1]² of two.
const unit = "(assert (>= X_0 0))(assert (<= X_0 1))(assert (and (<= 0 X_1) (>= 1 X_1)))\n"

func TestRead(t *testing.T) {
	lo, hi := []float64{0, 0}, []float64{1, 1}
	below := func(bound float64, factors ...float64) Constraint {
		c := Constraint{Bound: bound}
		for i, f := range factors {
			if f != 0 {
				c.Terms = append(c.Terms, Term{i, f})
			}
		}
		return c
	}
	strictly := func(c Constraint) Constraint { c.Strict = true; return c }
	for _, c := range []struct {
		name, text string
		want       []Case
	}{
		{"a rival", two + unit + "(assert (>= Y_1 Y_0))", []Case{{lo, hi, []Constraint{below(0, 1, -1)}}}},
		{"or", two + unit + "(assert (or (and (>= Y_1 Y_0)) (and (< Y_0 -1.5e0) (> Y_1 2))))",
			[]Case{{lo, hi, []Constraint{below(0, 1, -1)}}, {lo, hi, []Constraint{strictly(below(-1.5, 1)), strictly(below(-2, 0, -1))}}}},
		{"arithmetic", two + unit + "(assert (<= (+ (* 2 Y_0) (- Y_1) (- 3 1) (* -1 0.5 Y_0 2)) (- Y_1 4 Y_0)))",
			[]Case{{lo, hi, []Constraint{below(-6, 2, -2)}}}},
		{"a constraint for all", two + unit + "(assert (<= Y_0 1))(assert (or (<= Y_1 2) (<= Y_1 3)))",
			[]Case{{lo, hi, []Constraint{below(1, 1), below(2, 0, 1)}}, {lo, hi, []Constraint{below(1, 1), below(3, 0, 1)}}}},
		{"two boxes", two + unit + "(assert (or (and (<= X_0 0.25) (>= Y_0 0)) (and (>= X_0 0.75) (<= Y_0 0))))",
			[]Case{{lo, []float64{0.25, 1}, []Constraint{below(0, -1)}}, {[]float64{0.75, 0}, hi, []Constraint{below(0, 1)}}}},
		{"an empty box", two + unit + "(assert (or (<= X_0 -1) (<= Y_0 0)))", []Case{{lo, hi, []Constraint{below(0, 1)}}}},
		{"no case", two + unit + "(assert (<= X_0 -1))", nil},
		{"false", two + unit + "(assert (<= 1 0))", nil},
		{"true", two + unit + "(assert (or (<= 0 1) (<= Y_0 0)))", []Case{{lo, hi, nil}, {lo, hi, []Constraint{below(0, 1)}}}},
		{"open ends", two + "(assert (and (> X_0 0) (< X_0 1) (= X_1 0.5)))(assert (<= Y_0 0))",
			[]Case{{[]float64{math.SmallestNonzeroFloat64, 0.5}, []float64{math.Nextafter(1, 0), 0.5}, []Constraint{below(0, 1)}}}},
		{"a factor on an input", two + "(assert (and (<= (* -2 X_0) 0) (>= 4 (* 4 X_0)) (>= X_1 0) (<= X_1 1)))", []Case{{lo, hi, nil}}},
		{"equal outputs", two + unit + "(assert (== Y_0 1))", []Case{{lo, hi, []Constraint{below(1, 1), below(-1, -1)}}}},
		{"other outputs", two + unit + "(assert (!= Y_0 1))", []Case{{lo, hi, []Constraint{strictly(below(1, 1))}}, {lo, hi, []Constraint{strictly(below(-1, -1))}}}},
		{"SMT-LIB", "(set-logic QF_LRA) ; a comment (\n(declare-fun X_0 () Real)(declare-fun Y_0 () Real)(assert (and (<= X_0 1) (>= X_0 0)))(assert (<= Y_0 0))(check-sat)",
			[]Case{{[]float64{0}, []float64{1}, []Constraint{below(0, 1)}}}},
		{"version 2", `(vnnlib-version <2.0>)
(declare-network f (declare-input X float32 [1, 2] "in") (declare-output Out Real [2,1]))
(assert (and (>= X[0,0] 0.0) (<= X [0, 0] 1.0) (<= 0 X[0,1]) (<= X[0,1] 1)))
(assert (<= Out[0,0] Out[1,0]))`, []Case{{lo, hi, []Constraint{below(0, 1, -1)}}}},
		{"a scalar", "(vnnlib-version <2.0>)(declare-network f (declare-input X Real [])(declare-output Y Real []))(assert (and (>= X 0) (<= X 1) (>= Y 2)))",
			[]Case{{[]float64{0}, []float64{1}, []Constraint{below(-2, -1)}}}},
	} {
		p, err := Read(strings.NewReader(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if diff := cmp.Diff(c.want, p.Cases); diff != "" {
			t.Errorf("%s: other cases than wanted (-want +got):\n%s", c.name, diff)
		}
	}
}

// TestErrors: an error says where, what, and what is wanted.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		text, want string
		line, col  int
	}{
		{"", "no input is declared", 1, 1},
		{two + "(assert (>= X_0 0)", "never closed", 5, 1},
		{two + "(assert (>= X_0 0)))", "never opened", 5, 20},
		{two + "(asert (>= X_0 0))", `"(asert …)" is no command`, 5, 1},
		{two + "X_0", "outside of brackets", 5, 1},
		{two + "(assert\n  (>= X_2 0))", `"X_2" is not declared`, 6, 7},
		{two + "(assert (>= X_0 zero))", `"zero" is not declared`, 5, 17},
		{two + "(assert (>= X_0 1e999))", "no number", 5, 17},
		{two + "(assert (>= X_0 0x10))", "no number", 5, 17},
		{two + "(assert (>= X_0 -inf))", "no number", 5, 17},
		{two + "(assert (>= X_0))", "compares 1 things, want two", 5, 9},
		{two + "(assert (not (>= X_0 0)))", "is no formula", 5, 9},
		{two + "(assert (<= (* X_0 Y_0) 1))", "multiplies variables", 5, 13},
		{two + "(assert (<= (/ X_0 2) 1))", "is no expression", 5, 13},
		{two + "(assert (<= (+ X_0 X_1) 1))", "2 inputs at once", 5, 9},
		{two + "(assert (<= X_0 Y_0))", "inputs and outputs at once", 5, 9},
		{two + "(assert (!= X_0 0))", "leaves one number out", 5, 9},
		{two + "(assert (>= X_0 0))(assert (<= X_0 1))(assert (>= X_1 0))", "input X_1 has no upper end", 1, 1},
		{two + "(declare-const X_0 Real)", "declared twice", 5, 16},
		{two + "(declare-const X_00 Real)", "neither an input nor an output", 5, 16},
		{two + "(declare-const X_4 Real)" + unit, "X_2 is not declared, and there are 3 inputs", 1, 1},
		{two + "(declare-const Y_2 Int)", `type "Int"`, 5, 20},
		{"(vnnlib-version <3.0>)", `version "<3.0>"`, 1, 17},
		{"(declare-network f (declare-input X Real [2])(declare-hidden H Real [2] \"h\"))", "(declare-hidden …)", 1, 46},
		{"(declare-network f (declare-input X Real [2])(declare-input Z Real [2]))", "a second input", 1, 46},
		{"(declare-network f (declare-input X Real [0]))", "size of 0", 1, 37},
		{"(declare-network f (declare-input X Real [2])(declare-output Y Real [2]))(assert (>= X[2] 0))", "outside of the shape [2]", 1, 86},
		{"(declare-network f (declare-input X Real [2])(declare-output Y Real [2]))(assert (>= X 0))", "has 0 indices", 1, 86},
		{"é (", "outside of brackets", 1, 1},
	} {
		_, err := Read(strings.NewReader(c.text))
		var at *SyntaxError
		if !errors.As(err, &at) || !strings.Contains(err.Error(), c.want) || at.Line != c.line || at.Column != c.col {
			t.Errorf("%q: error %v, want one with %q at line %d, column %d", c.text, err, c.want, c.line, c.col)
		}
	}
	deep := two + "(assert " + strings.Repeat("(and ", maxDepth+1)
	if _, err := Read(strings.NewReader(deep)); err == nil || !strings.Contains(err.Error(), "deep") {
		t.Errorf("brackets too deep: %v", err)
	}
	pair := "(assert (or (<= Y_0 0) (<= Y_1 0)))"
	if _, err := Read(strings.NewReader(two + unit + strings.Repeat(pair, 20))); err == nil || !strings.Contains(err.Error(), "more than 10000 ways") {
		t.Errorf("2^20 cases: %v", err)
	}
}

// TestGzip: a packed property is the property, and one that is cut off is an error.
func TestGzip(t *testing.T) {
	text := two + unit + "(assert (>= Y_1 Y_0))"
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	path := filepath.Join(t.TempDir(), "p.vnnlib.gz")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	packed, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Read(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain, packed); diff != "" {
		t.Errorf("packed it is another property:\n%s", diff)
	}
	if _, err := Read(bytes.NewReader(b.Bytes()[:b.Len()-9])); err == nil {
		t.Error("a packed file that is cut off is read")
	}
}

// A random formula, and whether it holds for numbers of X_0, X_1, Y_0, Y_1, by its own meaning.
func randomFormula(r *rand.Rand, depth int) (text string, holds func(v [4]float64) bool) {
	if depth > 0 && r.IntN(3) > 0 {
		n, and := 1+r.IntN(3), r.IntN(2) == 0
		var texts []string
		var all []func([4]float64) bool
		for range n {
			s, h := randomFormula(r, depth-1)
			texts, all = append(texts, s), append(all, h)
		}
		word := map[bool]string{true: "and", false: "or"}[and]
		return "(" + word + " " + strings.Join(texts, " ") + ")", func(v [4]float64) bool {
			for _, h := range all {
				if h(v) != and {
					return !and
				}
			}
			return and
		}
	}
	ops := []string{"<=", "<", ">=", ">"}
	op, bound := ops[r.IntN(4)], float64(r.IntN(5)-2)
	compare := func(a, b float64) bool {
		return map[string]bool{"<=": a <= b, "<": a < b, ">=": a >= b, ">": a > b}[op]
	}
	if r.IntN(2) == 0 {
		i := r.IntN(2)
		return fmt.Sprintf("(%s X_%d %v)", op, i, bound), func(v [4]float64) bool { return compare(v[i], bound) }
	}
	a, b := float64(r.IntN(5)-2), float64(r.IntN(3)-1)
	return fmt.Sprintf("(%s (+ (* %v Y_0) %v) (* Y_1 %v))", op, a, bound, b), func(v [4]float64) bool { return compare(a*v[2]+bound, b*v[3]) }
}

// TestMeaning compares random formulas with the cases that they become, at random points and at
// points on the ends, which whole numbers are.
func TestMeaning(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 8))
	yes := 0
	for range 3000 {
		text, holds := randomFormula(r, 3)
		p, err := Read(strings.NewReader(two + "(assert (and (>= X_0 -2) (<= X_0 2) (>= X_1 -2) (<= X_1 2)))(assert " + text + ")"))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		for range 20 {
			v := [4]float64{}
			for i := range v {
				v[i] = float64(r.IntN(5) - 2)
			}
			want := holds(v)
			if got := p.Holds(v[:2], v[2:]) >= 0; got != want {
				t.Fatalf("%s at %v: %v, want %v", text, v, got, want)
			}
			if want {
				yes++
			}
		}
	}
	if yes < 6000 || yes > 54000 {
		t.Errorf("%d of 60000 points are counterexamples: the formulas say little", yes)
	}
}

func TestHoldsNaN(t *testing.T) {
	p, err := Read(strings.NewReader(two + unit + "(assert (or (>= Y_1 Y_0) (< Y_0 Y_1)))"))
	if err != nil {
		t.Fatal(err)
	}
	nan := math.NaN()
	for _, v := range [][4]float64{{nan, 0, 0, 1}, {0, 0, nan, 1}, {0, 0, 0, nan}} {
		if k := p.Holds(v[:2], v[2:]); k >= 0 {
			t.Errorf("%v is a counterexample by case %d", v, k)
		}
	}
}

func TestWitness(t *testing.T) {
	var b bytes.Buffer
	if err := WriteWitness(&b, []float64{0.1, -1}, []float64{1e-9}); err != nil {
		t.Fatal(err)
	}
	if got, want := b.String(), "sat\n((X_0 0.1)\n(X_1 -1)\n(Y_0 1e-09))\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestInstances(t *testing.T) {
	dir := t.TempDir()
	list := func(text string) string {
		path := filepath.Join(dir, "instances.csv")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if err := os.WriteFile(filepath.Join(dir, "b.vnnlib.gz"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Instances(list("onnx/a.onnx, b.vnnlib ,116\n./onnx/a.onnx,c.vnnlib,0.5\r\na.onnx,c.vnnlib\n"))
	if err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	want := []Instance{{at("onnx/a.onnx"), at("b.vnnlib.gz"), 116 * time.Second}, {at("onnx/a.onnx"), at("c.vnnlib"), time.Second / 2}, {at("a.onnx"), at("c.vnnlib"), 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for text, want := range map[string]string{"": "no instances", "a.onnx\n": "line 1: 1 fields", "a,b,3\na,b,-1\n": "line 2: timeout \"-1\"", "a,b,nan\n": "timeout", ",b,1\n": "fields"} {
		if _, err := Instances(list(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", text, err, want)
		}
	}
}

// FuzzRead wants an error or a property whose cases are boxes of its inputs.
func FuzzRead(f *testing.F) {
	f.Add(two + unit + "(assert (or (and (>= Y_1 Y_0)) (< (* 2 Y_0) -1.5)))")
	f.Add("(vnnlib-version <2.0>)(declare-network f (declare-input X float32 [1,2])(declare-output Y Real []))(assert (and (>= X[0,0] 0)(<= X[0,0] 1)(== X[0,1] 0)(!= Y 1)))")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Read(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, c := range p.Cases {
			if len(c.Lo) != p.Inputs || len(c.Hi) != p.Inputs || !inside(c.Lo, c.Hi) || bounded(c.Lo, c.Hi) >= 0 {
				t.Fatalf("%q: box from %v to %v of %d inputs", text, c.Lo, c.Hi, p.Inputs)
			}
			for _, k := range c.All {
				for i, one := range k.Terms {
					if one.Factor == 0 || one.Factor-one.Factor != 0 || one.Output < 0 || one.Output >= p.Outputs || i > 0 && one.Output <= k.Terms[i-1].Output {
						t.Fatalf("%q: terms %v", text, k.Terms)
					}
				}
				if len(k.Terms) == 0 || k.Bound-k.Bound != 0 {
					t.Fatalf("%q: constraint %v", text, k)
				}
			}
		}
	})
}
