package vnnlib

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"advsweep/internal/regular"
	"advsweep/internal/words"
)

// maxBytes bounds the text of a property, unpacked.
const maxBytes = 256 << 20

// maxNumbers bounds how many ends of intervals the cases of a property have, those that share a box
// counted once.
const maxNumbers = 1 << 27

// Load reads the property in a file, which may be packed with gzip. Its errors name the file, and a
// *SyntaxError the place in it.
func Load(path string) (*Property, error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, fmt.Errorf("vnnlib: %s: %w", path, regular.Cause(err))
	}
	defer f.Close()
	p, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("vnnlib: %s: %w", path, err)
	}
	return p, nil
}

// Read reads a property, which may be packed with gzip. It returns a *SyntaxError for what is not
// in the part of the language that is read, and io.ErrUnexpectedEOF for a packed file that is cut
// off.
func Read(from io.Reader) (*Property, error) {
	in := bufio.NewReader(from)
	var text io.Reader = in
	if start, _ := in.Peek(2); string(start) == "\x1f\x8b" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		text = z
	}
	all, err := io.ReadAll(io.LimitReader(text, maxBytes+1))
	if err != nil {
		return nil, err
	}
	if len(all) > maxBytes {
		return nil, fmt.Errorf("more than %d bytes of text", maxBytes)
	}
	r := &reader{source: source{string(all)}}
	return r.property()
}

// A reader is a property on the way to be read.
type reader struct {
	source
	// What is declared, by name: single variables, as version 1 has them, or tensors.
	single  map[string]variable
	tensors map[string]tensor
	network bool // a network is declared, as version 2 does
	// declared are how many inputs and outputs there are, by variable.output.
	declared map[bool]int
	ways     []part // of all that is asserted so far, all together
	fixed    part   // what every way asks for
}

// A tensor is a variable of version 2 with several numbers.
type tensor struct {
	output bool
	shape  []int // none of a scalar
}

// maxVariables bounds how many numbers a network takes or gives.
const maxVariables = 1 << 26

// commands are what a file may say, by the first word. Those without a function are passed over:
// they are of SMT-LIB, and tell a solver what to do.
var commands = map[string]func(*reader, *node) error{
	"vnnlib-version":  (*reader).version,
	"declare-const":   (*reader).declareSingle,
	"declare-fun":     (*reader).declareSingle,
	"declare-network": (*reader).declareNetwork,
	"assert":          (*reader).assert,
	"set-logic":       nil, "set-info": nil, "set-option": nil, "check-sat": nil, "get-model": nil, "exit": nil,
}

func (r *reader) property() (*Property, error) {
	all, err := r.lists()
	if err != nil {
		return nil, err
	}
	r.single, r.tensors, r.declared, r.ways = map[string]variable{}, map[string]tensor{}, map[bool]int{}, []part{{}}
	for _, n := range all {
		command, ok := commands[n.head()]
		if !ok {
			return nil, r.errorf(n.at, "%v is no command that is read here, want one of %s", n, keys(commands))
		}
		if command == nil {
			continue
		}
		if err := command(r, n); err != nil {
			return nil, err
		}
	}
	for _, output := range []bool{false, true} {
		if err := r.complete(output); err != nil {
			return nil, err
		}
	}
	return r.cases()
}

// sides are what inputs and outputs are called in version 1, and in messages.
var sides = map[bool]struct{ letter, word string }{false: {"X", "input"}, true: {"Y", "output"}}

// complete returns an error unless inputs, or outputs, are declared, all from 0 on.
func (r *reader) complete(output bool) error {
	n, side := r.declared[output], sides[output]
	if n == 0 {
		return r.errorf(0, "no %s is declared, want (declare-const %s_0 Real) or, in version 2, (declare-%s …) in (declare-network …)", side.word, side.letter, side.word)
	}
	if r.network {
		return nil
	}
	for i := range n {
		name := r.name(output, i)
		if _, ok := r.single[name]; !ok {
			return r.errorf(0, "%s is not declared, and there are %d %ss", name, n, side.word)
		}
	}
	return nil
}

// name is what the file calls an input or output.
func (r *reader) name(output bool, index int) string {
	for name, t := range r.tensors {
		if t.output != output {
			continue
		}
		at := make([]string, len(t.shape))
		for d := len(t.shape) - 1; d >= 0; d-- {
			at[d] = strconv.Itoa(index % t.shape[d])
			index /= t.shape[d]
		}
		return name + "[" + strings.Join(at, ",") + "]"
	}
	return sides[output].letter + "_" + strconv.Itoa(index)
}

func (r *reader) version(n *node) error {
	if len(n.list) != 2 {
		return r.errorf(n.at, "%v names no version, want (vnnlib-version <2.0>)", n)
	}
	v := strings.Trim(n.list[1].word, "<>")
	if major, _, _ := strings.Cut(v, "."); major != "1" && major != "2" {
		return r.errorf(n.list[1].at, "version %v, and versions 1 and 2 are read here", n.list[1])
	}
	return nil
}

// declareSingle reads (declare-const X_0 Real) or (declare-fun X_0 () Real).
func (r *reader) declareSingle(n *node) error {
	want := map[string]int{"declare-const": 3, "declare-fun": 4}[n.head()]
	if len(n.list) != want || n.list[1].word == "" || want == 4 && (n.list[2].word != "" || len(n.list[2].list) > 0) {
		return r.errorf(n.at, "%v declares no number, want (declare-const X_0 Real) or (declare-fun X_0 () Real)", n)
	}
	if r.network {
		return r.errorf(n.at, "%v stands beside a declare-network: a file has one or the other", n)
	}
	if err := r.isReal(n.list[want-1]); err != nil {
		return err
	}
	name := n.list[1]
	letter, digits, _ := strings.Cut(name.word, "_")
	index, err := strconv.Atoi(digits)
	v := variable{output: letter == "Y", index: index}
	if letter != "X" && letter != "Y" || err != nil || index < 0 || sides[v.output].letter+"_"+strconv.Itoa(index) != name.word {
		return r.errorf(name.at, "%v is neither an input nor an output, want X_0, X_1, … and Y_0, Y_1, …", name)
	}
	if _, ok := r.single[name.word]; ok {
		return r.errorf(name.at, "%v is declared twice", name)
	}
	r.single[name.word] = v
	r.declared[v.output]++
	return nil
}

// types are those of numbers that inputs and outputs may have.
var types = []string{"real", "float", "float16", "float32", "float64", "bfloat16", "double"}

func (r *reader) isReal(n *node) error {
	if !slices.Contains(types, strings.ToLower(n.word)) {
		return r.errorf(n.at, "type %v, want %s", n, words.Or(types))
	}
	return nil
}

// declareNetwork reads (declare-network f (declare-input X float32 [1,4]) (declare-output …)).
func (r *reader) declareNetwork(n *node) error {
	if r.network {
		return r.errorf(n.at, "a second network: properties of one are read here")
	}
	if len(r.single) > 0 {
		return r.errorf(n.at, "%v stands beside a declare-const: a file has one or the other", n)
	}
	r.network = true
	if len(n.list) < 2 || n.list[1].word == "" {
		return r.errorf(n.at, "%v has no name, want (declare-network f (declare-input …) (declare-output …))", n)
	}
	for _, m := range n.list[2:] {
		side := map[string]bool{"declare-input": false, "declare-output": true}
		output, ok := side[m.head()]
		if !ok {
			return r.errorf(m.at, "%v is not read here, want %s", m, keys(side))
		}
		if err := r.declareTensor(m, output); err != nil {
			return err
		}
	}
	return nil
}

// declareTensor reads (declare-input X float32 [1,4]). A name of the file's tensor may follow.
func (r *reader) declareTensor(n *node, output bool) error {
	if len(n.list) < 3 || len(n.list) > 4 || n.list[1].word == "" || n.list[2].word == "" {
		return r.errorf(n.at, "%v declares no tensor, want (%s X float32 [1,4])", n, n.head())
	}
	name, kind := n.list[1], n.list[2]
	if _, ok := r.tensors[name.word]; ok {
		return r.errorf(name.at, "%v is declared twice", name)
	}
	if r.declared[output] > 0 {
		return r.errorf(n.at, "a second %s: networks of one are read here", sides[output].word)
	}
	of, brackets, ok := strings.Cut(kind.word, "[")
	if !ok {
		return r.errorf(kind.at, "%v has no shape, want one in square brackets, as float32 [1,4]", kind)
	}
	if err := r.isReal(&node{word: cmp.Or(of, "?"), at: kind.at}); err != nil {
		return err
	}
	shape, err := indices(brackets)
	if err != nil {
		return r.errorf(kind.at, "shape [%s: %w", brackets, err)
	}
	n1 := 1
	for _, d := range shape {
		if d < 1 || d > maxVariables/n1 {
			return r.errorf(kind.at, "shape [%s has a size of %d, want at least 1, and at most %d numbers in all", brackets, d, maxVariables)
		}
		n1 *= d
	}
	r.tensors[name.word] = tensor{output, shape}
	r.declared[output] = n1
	return nil
}

// indices reads "0,1]", what follows an opening bracket.
func indices(s string) (all []int, err error) {
	inside, ok := strings.CutSuffix(s, "]")
	if !ok {
		return nil, errors.New("want whole numbers between square brackets")
	}
	if inside == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(inside, ",") {
		v, err := strconv.Atoi(item)
		if err != nil || v < 0 {
			return nil, fmt.Errorf("%s is no whole number from 0 on", quoted(item))
		}
		all = append(all, v)
	}
	return all, nil
}

// variable returns the variable that a word names.
func (r *reader) variable(n *node) (v variable, err error) {
	if v, ok := r.single[n.word]; ok {
		return v, nil
	}
	name, brackets, indexed := strings.Cut(n.word, "[")
	t, ok := r.tensors[name]
	if !ok {
		return v, r.errorf(n.at, "%v is not declared", n)
	}
	var at []int
	if indexed {
		if at, err = indices(brackets); err != nil {
			return v, r.errorf(n.at, "%v: %w", n, err)
		}
	}
	if len(at) != len(t.shape) {
		return v, r.errorf(n.at, "%v has %d indices, and the shape of %s is %v: want %d", n, len(at), quoted(name), t.shape, len(t.shape))
	}
	v.output = t.output
	for d, i := range at {
		if i >= t.shape[d] {
			return v, r.errorf(n.at, "%v lies outside of the shape %v, whose index %d goes from 0 to %d", n, t.shape, d, t.shape[d]-1)
		}
		v.index = v.index*t.shape[d] + i
	}
	return v, nil
}

// assert takes in a formula. What there is only one way to fulfil is kept apart, as most of a file
// is: the interval of one input after the other.
func (r *reader) assert(n *node) error {
	if len(n.list) != 2 {
		return r.errorf(n.at, "%v holds %d formulas, want one", n, len(n.list)-1)
	}
	ways, err := r.formula(n.list[1])
	if err != nil {
		return err
	}
	if len(ways) == 1 {
		r.fixed.ends, r.fixed.all = append(r.fixed.ends, ways[0].ends...), append(r.fixed.all, ways[0].all...)
		return nil
	}
	r.ways, err = r.both(n, r.ways, ways)
	return err
}

// cases puts together what is asserted.
func (r *reader) cases() (*Property, error) {
	p := &Property{Inputs: r.declared[false], Outputs: r.declared[true]}
	lo, hi := slices.Repeat([]float64{math.Inf(-1)}, p.Inputs), slices.Repeat([]float64{math.Inf(1)}, p.Inputs)
	narrow(lo, hi, r.fixed.ends)
	shared := bounded(lo, hi) < 0
	numbers := 0
	for _, w := range r.ways {
		c := Case{Lo: lo, Hi: hi, All: slices.Concat(r.fixed.all, w.all)}
		if len(w.ends) > 0 || !shared {
			if numbers += 2 * p.Inputs; numbers > maxNumbers {
				return nil, r.errorf(w.at(), "the boxes of the cases have more than %d ends: split the property into several", maxNumbers)
			}
			c.Lo, c.Hi = slices.Clone(lo), slices.Clone(hi)
			narrow(c.Lo, c.Hi, w.ends)
		}
		if i := bounded(c.Lo, c.Hi); i >= 0 {
			side := "lower"
			if !math.IsInf(c.Lo[i], 0) {
				side = "upper"
			}
			return nil, r.errorf(w.at(), "input %s has no %s end: only boxes are read here, with two ends for every input", r.name(false, i), side)
		}
		if inside(c.Lo, c.Hi) {
			p.Cases = append(p.Cases, c)
		}
	}
	return p, nil
}

// at is where the file says something of the inputs of the part, or its beginning.
func (p part) at() int {
	if len(p.ends) > 0 {
		return p.ends[0].node.at
	}
	return 0
}

// narrow moves the ends of a box.
func narrow(lo, hi []float64, ends []end) {
	for _, e := range ends {
		if e.upper {
			hi[e.input] = min(hi[e.input], e.at)
		} else {
			lo[e.input] = max(lo[e.input], e.at)
		}
	}
}

// bounded returns the first input without an end, or -1.
func bounded(lo, hi []float64) int {
	for i := range lo {
		if math.IsInf(lo[i], 0) || math.IsInf(hi[i], 0) {
			return i
		}
	}
	return -1
}

// inside reports whether a box holds any point.
func inside(lo, hi []float64) bool {
	for i := range lo {
		if !(lo[i] <= hi[i]) {
			return false
		}
	}
	return true
}
