package schema

import (
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		domain, name string
		version      int64
		in, out      [2]int
		attribute    Attribute // one of them
		first        []int     // some types of input 0
	}{
		{"", "Conv", 17, [2]int{2, 3}, [2]int{1, 1}, Attribute{"pads", 7, false}, []int{1, 10, 11}},
		{"", "Concat", 13, [2]int{1, 1<<31 - 1}, [2]int{1, 1}, Attribute{"axis", 2, true}, []int{1, 7, 16}},
		{"", "ReduceMean", 17, [2]int{1, 1}, [2]int{1, 1}, Attribute{"axes", 7, false}, []int{1}},
		{"", "ReduceMean", 18, [2]int{1, 2}, [2]int{1, 1}, Attribute{"keepdims", 2, false}, []int{1}},
		{"", "Reshape", 13, [2]int{2, 2}, [2]int{1, 1}, Attribute{}, []int{1}},
		{"", "BatchNormalization", 9, [2]int{5, 5}, [2]int{1, 5}, Attribute{"epsilon", 1, false}, []int{1}},
		{"", "GroupNormalization", 19, [2]int{3, 3}, [2]int{1, 1}, Attribute{"num_groups", 2, true}, []int{1}}, // out of date, and written
		{"ai.onnx.ml", "Scaler", 3, [2]int{1, 1}, [2]int{1, 1}, Attribute{"offset", 6, false}, []int{1, 7}},
	} {
		op := Of(c.domain, c.name, c.version)
		if op == nil {
			t.Errorf("no %s %s of %d", c.domain, c.name, c.version)
			continue
		}
		if op.In != c.in || op.Out != c.out || c.attribute.Name != "" && !slices.Contains(op.Attributes, c.attribute) {
			t.Errorf("%s of %d has %v inputs, %v outputs and attributes %v, want %v, %v and %v", c.name, c.version, op.In, op.Out, op.Attributes, c.in, c.out, c.attribute)
		}
		p, ok := At(op.Inputs, 0)
		for _, want := range c.first {
			if !ok || !slices.Contains(op.Types(p.Type), want) {
				t.Errorf("input 0 of %s may be %v, want %d among them", c.name, op.Types(p.Type), want)
			}
		}
	}
	for _, c := range []struct {
		name    string
		version int64
	}{{"Gelu", 19}, {"Nothing", 20}, {"", 20}, {"conv", 20}} {
		if op := Of("", c.name, c.version); op != nil {
			t.Errorf("%q of %d is %v, want none", c.name, c.version, op)
		}
	}
}

func TestAt(t *testing.T) {
	op := Of("", "Concat", 13)
	if p, ok := At(op.Inputs, 9); !ok || !p.Many || p.Any {
		t.Errorf("input 9 of Concat is %v, %t", p, ok)
	}
	if p, ok := At(Of("", "Conv", 17).Inputs, 3); ok {
		t.Errorf("input 3 of Conv is %v, want none", p)
	}
	if p, ok := At(Of("", "Conv", 17).Inputs, 2); !ok || !p.Optional {
		t.Errorf("input 2 of Conv is %v, %t, want one that may be left out", p, ok)
	}
}
