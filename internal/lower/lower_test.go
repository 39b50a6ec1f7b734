package lower

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"advsweep/model"

	"gorgonia.org/tensor"
)

func weights(n int) []float32 {
	w := make([]float32, n)
	for i := range w {
		w[i] = float32(i)
	}
	return w
}

func dense(shape ...int) *tensor.Dense {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(weights(n)))
}

func linear(name string, out, in int) model.Linear {
	return model.Linear{Name: name, Weight: dense(out, in), Bias: dense(out)}
}

func conv(name string, out, in, kernel int, stride int, pad int) model.Conv2D {
	return model.Conv2D{Name: name, Weight: dense(out, in, kernel, kernel), Bias: dense(out),
		Stride: [2]int{stride, stride}, Pad: [4]int{pad, pad, pad, pad}}
}

func program(t *testing.T, m *model.Model) *Program {
	t.Helper()
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	p, err := New(m)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// An MLP is a program of products, each Linear but the last with a ReLU of its own.
func TestMLP(t *testing.T) {
	p := program(t, model.MLP(5, 4, 3))
	if !p.MLP || p.Inputs != 5 || p.Classes != 3 || len(p.Ops) != 3 {
		t.Fatalf("MLP %t, %d inputs, %d classes, %d operations", p.MLP, p.Inputs, p.Classes, len(p.Ops))
	}
	if !p.Ops[0].Rectified || !p.Ops[1].InPlace || p.Ops[2].Rectified {
		t.Errorf("rectified %t, in place %t, last one rectified %t", p.Ops[0].Rectified, p.Ops[1].InPlace, p.Ops[2].Rectified)
	}
	flat := &model.Model{Input: []int{1, 2, 2}, Layers: []model.Layer{linear("a", 3, 4), model.ReLU{}, linear("b", 2, 3)}}
	if program(t, flat).MLP {
		t.Error("with images [C, H, W] it counts as an MLP, whose faster ways round differently")
	}
}

// What the logits do not depend on is left out, and the rest is numbered anew. A ReLU becomes a
// part of a product if nothing else takes the product, and else not.
func TestDead(t *testing.T) {
	m := &model.Model{Input: []int{4}, Layers: []model.Layer{
		linear("a", 4, 4), // 0
		linear("dead", 4, 4),
		model.ReLU{}, // dead
		model.ReLU{}, // of a, which the Add takes too
		model.Add{},  // of a and its ReLU
		linear("b", 2, 4),
		model.ReLU{},
	}, From: [][]int{{-1}, {-1}, {1}, {0}, {0, 3}, {4}, {5}}}
	p := program(t, m)
	var layers []int
	for _, op := range p.Ops {
		layers = append(layers, op.Layer)
	}
	if want := []int{0, 3, 4, 5, 6}; !slices.Equal(layers, want) {
		t.Fatalf("layers %v, want %v", layers, want)
	}
	if want := [][]Use{{{0, 0}}, {{2, 0}, {1, 0}}, {{2, 1}}, {{3, 0}}, {{4, 0}}, nil}; !reflect.DeepEqual(p.Uses, want) {
		t.Errorf("uses %v, want %v: by falling operation", p.Uses, want)
	}
	if p.Ops[1].InPlace || p.Ops[0].Rectified {
		t.Error("the ReLU of a value that an Add takes too overwrites it")
	}
	if !p.Ops[4].InPlace || !p.Ops[3].Rectified {
		t.Error("the ReLU at the end is not taken into the product before it")
	}
	if got, want := p.Later(1), []bool{true}; !slices.Equal(got, want) {
		t.Errorf("the ReLU's gradient is later %v, want %v: that of the Add comes first", got, want)
	}
	if got, want := p.Later(2), []bool{false, false}; !slices.Equal(got, want) {
		t.Errorf("the Add's are later %v, want %v", got, want)
	}
}

// An operation that takes a value twice adds to its own gradient.
func TestTwice(t *testing.T) {
	m := &model.Model{Input: []int{4}, Layers: []model.Layer{linear("a", 2, 4), model.Add{}}, From: [][]int{{-1}, {0, 0}}}
	p := program(t, m)
	if got, want := p.Later(1), []bool{false, true}; !slices.Equal(got, want) || !slices.Equal(p.Uses[1], []Use{{1, 0}, {1, 1}}) {
		t.Errorf("later %v, want %v; uses %v", got, want, p.Uses[1])
	}
}

// A ReLU of the image may not overwrite it.
func TestImage(t *testing.T) {
	p := program(t, &model.Model{Input: []int{4}, Layers: []model.Layer{model.ReLU{}, linear("a", 2, 4)}})
	if p.Ops[0].InPlace {
		t.Error("a ReLU of the image is in place")
	}
}

// Columns of a Linear behind an image are in the order [H, W, C].
func TestColumns(t *testing.T) {
	m := &model.Model{Input: []int{2, 1, 3}, Layers: []model.Layer{linear("a", 2, 6)}}
	p := program(t, m)
	w := p.Ops[0].Operation.(*Linear).Weight.Data().([]float32)
	if want := []float32{0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}; !slices.Equal(w, want) {
		t.Errorf("weights %v, want %v", w, want)
	}
	to, back := make([]float32, 6), make([]float32, 6)
	ToNHWC(to, weights(6), p.Image)
	ToNCHW(back, to, p.Image)
	if !slices.Equal(to, w[:6]) || !slices.Equal(back, weights(6)) {
		t.Errorf("there %v, and back %v", to, back)
	}
}

// TestConvolutions has every way back of a convolution, and orders of its terms.
func TestConvolutions(t *testing.T) {
	for _, c := range []struct {
		name            string
		in, kernel      int
		stride, pad     int
		back            bool
		swapped, direct bool
	}{
		{"as it is usual", 8, 3, 1, 1, true, false, false},
		{"few channels", 7, 3, 1, 1, false, false, false},
		{"few terms in a row", 5, 3, 1, 1, false, true, false},
		{"just enough terms in a row", 16, 1, 1, 0, true, false, true},
		{"a stride", 8, 3, 2, 1, false, false, false},
		{"more padding than the kernel", 8, 2, 1, 2, false, false, false},
		{"one pixel", 3, 1, 1, 0, false, false, true},
		{"one pixel with padding", 9, 1, 1, 1, false, false, false},
	} {
		m := &model.Model{Input: []int{c.in, 8, 8}, Layers: []model.Layer{conv("c", 2, c.in, c.kernel, c.stride, c.pad)}}
		l := program(t, m).Ops[0].Operation.(*Convolution)
		if got := l.Back != nil; got != c.back || l.Swapped() != c.swapped || l.Direct() != c.direct {
			t.Errorf("%s: by windows back %t, swapped %t, direct %t; want %t, %t, %t", c.name, got, l.Swapped(), l.Direct(), c.back, c.swapped, c.direct)
		}
		if l.Back != nil {
			for d, pad := range l.Back.Pad {
				if want := c.kernel - 1 - c.pad; pad != want || l.Back.In != l.Out || l.Back.Out != l.In {
					t.Errorf("%s: back %+v, want padding %d at %d", c.name, *l.Back, want, d)
				}
			}
		}
		k := 0
		seen := map[[3]int]bool{}
		all := c.in * c.kernel * c.kernel
		order := make([][3]int, all)
		l.Terms(func(at, ch, u, v int) {
			order[at], seen[[3]int{ch, u, v}] = [3]int{ch, u, v}, true
			k++
		})
		if k != all || len(seen) != all {
			t.Errorf("%s: %d terms, %d different, want %d", c.name, k, len(seen), all)
		}
		if c.kernel > 1 { // the second pixel of a window
			want := [3]int{0, 0, 1}
			if c.swapped {
				want = [3]int{0, 1, 0}
			}
			if order[c.in] != want {
				t.Errorf("%s: term %d is channel, row, column %v, want %v", c.name, c.in, order[c.in], want)
			}
		}
	}
	// A kernel of 2 by 3, whose ways differ between rows and columns.
	oblong := func(stride [2]int, pad [4]int) *Convolution {
		l := model.Conv2D{Name: "c", Weight: dense(2, 8, 2, 3), Bias: dense(2), Stride: stride, Pad: pad}
		return program(t, &model.Model{Input: []int{8, 8, 8}, Layers: []model.Layer{l}}).Ops[0].Operation.(*Convolution)
	}
	if l := oblong([2]int{1, 1}, [4]int{0, 2, 1, 1}); l.Back == nil || l.Back.Pad != [4]int{1, 0, 0, 1} {
		t.Errorf("back %+v, want padding [1 0 0 1]: the kernel less one less the padding, side by side", l.Back)
	}
	for _, stride := range [][2]int{{1, 2}, {2, 1}} {
		if l := oblong(stride, [4]int{0, 1, 0, 1}); l.Back != nil {
			t.Errorf("stride %v: windows of the gradient are not as many as pixels, and yet it goes back by them", stride)
		}
	}
	flip := func(in, out, groups int, kernel [2]int) *Convolution {
		return &Convolution{Unfold: newUnfold(Shape{C: in}, Shape{C: out}, kernel, [2]int{1, 1}, [4]int{}, [2]int{}, groups)}
	}
	w23 := Filter([]int{1, 1, 2, 3}, weights(6))
	if got, want := FlipTranspose(flip(1, 1, 1, [2]int{2, 3}), w23)(0, 0, 0, 0), w23(0, 0, 1, 2); got != want {
		t.Errorf("flipped %v, want %v", got, want)
	}
	// With rows of a window too short, its terms run down a column of 2, then the next of 3.
	narrow := newUnfold(Shape{C: 2}, Shape{C: 1}, [2]int{2, 3}, [2]int{1, 1}, [4]int{}, [2]int{}, 1)
	var order [12][3]int
	narrow.Terms(func(k, c, u, v int) { order[k] = [3]int{c, u, v} })
	if want := [3]int{0, 0, 1}; order[4] != want || !narrow.Swapped() {
		t.Errorf("term 4 is channel, row, column %v, want %v", order[4], want)
	}
	// In a flipped filter row 0 is the last one.
	w := Filter([]int{2, 3, 2, 2}, weights(24))
	if got, want := FlipTranspose(flip(3, 2, 1, [2]int{2, 2}), w)(1, 0, 0, 1), w(0, 1, 1, 0); got != want {
		t.Errorf("flipped %v, want %v", got, want)
	}
	// Of two groups of three channels and two filters, channel 4 is the second of group 1, whose
	// second filter is the fourth of all.
	w = Filter([]int{4, 3, 2, 2}, weights(48))
	if got, want := FlipTranspose(flip(6, 4, 2, [2]int{2, 2}), w)(4, 1, 0, 1), w(3, 1, 1, 0); got != want {
		t.Errorf("flipped in groups %v, want %v", got, want)
	}
}

// The gradient of an Add is passed on without a slot. Slots are used again. A product that is
// added to another gradient has spare room.
func TestSlots(t *testing.T) {
	m := &model.Model{Input: []int{4}, Layers: []model.Layer{
		linear("a", 4, 4), linear("b", 4, 4), model.Add{}, linear("c", 2, 4),
	}, From: [][]int{{-1}, {0}, {0, 1}, {2}}}
	s := program(t, m).Slots(Shape.Size)
	// The image's, a's, b's (passed on by the Add), the Add's, and that at the logits.
	if want := []int{0, 1, -1, 0, -1}; !slices.Equal(s.Of, want) || !slices.Equal(s.Width, []int{4, 4}) || s.Spare != 4 {
		t.Errorf("slots %v of %v with %d to spare, want %v of [4 4] with 4", s.Of, s.Width, s.Spare, want)
	}
	if s := program(t, model.MLP(5, 4, 3)).Slots(Shape.Size); s.Spare != 0 || len(s.Width) != 2 {
		t.Errorf("an MLP has %d slots and %d to spare, want 2 and 0", len(s.Width), s.Spare)
	}
}

// Layers that nobody knows are named.
func TestUnknown(t *testing.T) {
	if _, err := operation(nil, nil, Shape{}, nil); err == nil {
		t.Error("no layer at all has an operation")
	}
	var l model.Layer = strange{}
	if _, err := operation(l, nil, Shape{}, nil); err == nil || !strings.Contains(err.Error(), "lower.strange") {
		t.Errorf("%v, want an error that names lower.strange", err)
	}
}

type strange struct{ model.Add }

func tensorOf(v []float32, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
}

// Nothing that depends on a Constant alone moves with the image, a Constant is no place for a
// ReLU's output, and an operation that takes nothing has the shape that it gives.
func TestMoves(t *testing.T) {
	m := &model.Model{Input: []int{4}, Layers: []model.Layer{
		model.Constant{Name: "c", Value: tensorOf(make([]float32, 4), 4)}, model.ReLU{}, model.Mul{}, model.ReLU{},
	}, From: [][]int{{}, {0}, {-1, 1}, {2}}}
	p := program(t, m)
	if want := []bool{true, false, false, true, true}; !slices.Equal(p.Moves, want) {
		t.Errorf("moves %v, want %v", p.Moves, want)
	}
	if p.Ops[1].InPlace || !p.Ops[3].InPlace {
		t.Errorf("in place %v and %v, want false for the constant's, which all images share, and true", p.Ops[1].InPlace, p.Ops[3].InPlace)
	}
	if want := (Shape{4, 1, 1}); p.Ops[0].In != want || p.Ops[0].Out != want || p.Ops[0].Takes != nil {
		t.Errorf("the constant takes %v of %v and gives %v, want nothing of %v", p.Ops[0].Takes, p.Ops[0].In, p.Ops[0].Out, want)
	}
	// The gradients at the constant and at what is made of it have no slot.
	if s := p.Slots(Shape.Size); !slices.Equal(s.Of, []int{1, -1, -1, 0, -1}) {
		t.Errorf("slots %v", s.Of)
	}
}

// An Add of two shapes is a Pairwise, and one of equal shapes is not.
func TestBroadcastAdd(t *testing.T) {
	pool := model.AvgPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{1, 1}}
	m := &model.Model{Input: []int{3, 2, 2}, Layers: []model.Layer{pool, model.Add{}, model.Add{}, model.Max{}}, From: [][]int{{-1}, {-1, 0}, {1, 1}, {2, 0}}}
	p := program(t, m)
	for i, want := range map[int]Operation{1: Pairwise{"add"}, 2: Add{}, 3: Pairwise{"max"}} {
		if got := p.Ops[i].Operation; got != want {
			t.Errorf("operation %d is %#v, want %#v", i, got, want)
		}
	}
}

// Places of an Arrange and numbers of a Constant come as [C, H, W] and are lowered as [H, W, C].
func TestArrange(t *testing.T) {
	// Two channels of two pixels: channel by channel 0 1 | 2 3, pixel by pixel 0 2 | 1 3.
	two := Shape{2, 1, 2}
	for _, c := range []struct {
		name        string
		index       []int32
		in          []Shape
		out         Shape
		from, place []int32
		once        []bool
	}{
		{"as it is", []int32{0, 1, 2, 3}, []Shape{two}, two, nil, []int32{0, 1, 2, 3}, []bool{true}},
		{"channels change places", []int32{2, 3, 0, 1}, []Shape{two}, two, nil, []int32{1, 0, 3, 2}, []bool{true}},
		{"flattened", []int32{0, 1, 2, 3}, []Shape{two}, Shape{4, 1, 1}, nil, []int32{0, 2, 1, 3}, []bool{true}},
		{"a zero and one twice", []int32{3, -1, 3}, []Shape{two}, Shape{3, 1, 1}, []int32{0, -1, 0}, []int32{3, 0, 3}, []bool{false}},
		{"of two", []int32{4, 1}, []Shape{two, {1, 1, 1}}, Shape{2, 1, 1}, []int32{1, 0}, []int32{0, 2}, []bool{true, true}},
	} {
		a := newArrange(model.Arrange{Index: c.index}, c.in, c.out)
		if !slices.Equal(a.From, c.from) || !slices.Equal(a.Index, c.place) || !slices.Equal(a.Once, c.once) {
			t.Errorf("%s: %v, want from %v, places %v, once %v", c.name, *a, c.from, c.place, c.once)
		}
	}
	l := model.Constant{Name: "c", Value: tensorOf([]float32{0, 1, 2, 3}, 2, 1, 2)}
	op, err := operation(l, nil, two, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := op.(Constant).Value.Data().([]float32); !slices.Equal(got, []float32{0, 2, 1, 3}) {
		t.Errorf("constant %v, want it pixel by pixel", got)
	}
}
