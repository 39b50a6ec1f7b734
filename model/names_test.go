package model

import (
	"archive/zip"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// named is a file of F32 tensors that hold 1, 2, 3 and so on.
func named(tensors ...raw) []byte {
	data := file(tensors...)
	body := data[8+binary.LittleEndian.Uint64(data):]
	for i := range len(body) / 4 {
		binary.LittleEndian.PutUint32(body[4*i:], math.Float32bits(float32(i+1)))
	}
	return data
}

// TestNames: the ways to name the tensors of an MLP, and which way round matrices are. weights are
// the first row of the first layer.
func TestNames(t *testing.T) {
	f := func(name string, shape ...int) raw { return raw{name, "F32", shape} }
	for _, c := range []struct {
		name    string
		tensors []raw
		want    string // names and widths, and the first row; or a part of the error
		note    string
	}{
		{"PyTorch", []raw{f("fc1.weight", 2, 3), f("fc1.bias", 2)}, "fc1 3-2 [1 2 3]", ""},
		{"transposed, as the bias tells", []raw{f("fc1.weight", 3, 2), f("fc1.bias", 2)}, "fc1 3-2 [1 3 5]", "[in out]"},
		{"square and transposed, as another bias tells", []raw{f("d.weight", 3, 3), f("d.bias", 3), f("d_1.weight", 3, 2), f("d_1.bias", 2)}, "d d_1 3-3-2 [1 4 7]", "[in out]"},
		{"biases that fit neither", []raw{f("fc1.weight", 3, 2), f("fc1.bias", 4)}, "tensor fc1.bias: shape [4], want [3]", ""},
		{"biases that contradict each other", []raw{f("a.weight", 3, 2), f("a.bias", 2), f("b.weight", 4, 3), f("b.bias", 4)}, "tensor b.bias: shape [4], want [4]", ""},
		{"Keras", []raw{f("dense/kernel:0", 3, 2), f("dense/bias:0", 2)}, "dense 3-2 [1 3 5]", ""},
		{"Keras without biases", []raw{f("a/kernel", 3, 4), f("b/kernel", 4, 2)}, "a b 3-4-2 [1 5 9]", ""},
		{"Flax", []raw{f("params.Dense_0.kernel", 3, 2), f("params.Dense_0.bias", 2)}, "params.Dense_0 3-2 [1 3 5]", ""},
		{"Flax the wrong way round", []raw{f("params.Dense_0.kernel", 2, 3), f("params.Dense_0.bias", 2)}, "want [3], the outputs of params.Dense_0.kernel", ""},
		{"by hand", []raw{f("W1", 4, 3), f("b1", 4), f("W2", 2, 4), f("b2", 2)}, "fc1 fc2 3-4-2 [1 2 3]", ""},
		{"by hand, transposed", []raw{f("w_1", 3, 4), f("bias_1", 4), f("w_2", 4, 2), f("bias_2", 2)}, "fc1 fc2 3-4-2 [1 5 9]", "[in out]"},
		{"by hand, square", []raw{f("W1", 3, 3), f("b1", 3)}, "matrices may be [out in] or [in out], which names as W1 do not tell", ""},
		{"by hand, twice", []raw{f("W1", 3, 3), f("w1", 3, 3)}, "tensor w1: another one is of layer fc1 too", ""},
		{"biases alone by hand", []raw{f("b1", 3)}, "tensor b1: there is no fc1.weight", ""},
		{"a list of numpy", []raw{f("arr_0", 3, 2), f("arr_1", 2), f("arr_10", 4, 2), f("arr_11", 2), f("arr_2", 2, 4), f("arr_3", 4)}, "arr_0 arr_2 arr_10 3-2-4-2 [1 3 5]", "[in out]"},
		{"counters", []raw{f("a.weight", 2, 3), {"epoch", "I64", []int{1}}, {"step", "I64", nil}, {"bn.num_batches_tracked", "I64", nil}}, "a 3-2 [1 2 3]", "epoch, step: "},
		{"counters alone", []raw{{"epoch", "I64", []int{1}}}, "no tensor is the matrix of a layer", ""},
		{"whole numbers that are no counter", []raw{f("a.weight", 2, 3), {"a.index", "I64", []int{2}}}, "tensor a.index: dtype I64", ""},
		{"a norm", []raw{f("a.weight", 2, 3), f("bn.running_mean", 2)}, "bn.running_mean is of batch normalisation", ""},
	} {
		m, err := Decode("f.safetensors", named(c.tensors...))
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
			continue
		}
		got, row := "", []float32(nil)
		for i, l := range m.Layers {
			if l, ok := l.(Linear); ok {
				if got += l.Name + " "; i == 0 {
					row = l.Weight.Data().([]float32)[:l.size(1)]
				}
			}
		}
		if got += fmt.Sprint(m.String(), " ", row); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		notes := slices.DeleteFunc(slices.Clone(m.Notes), func(n string) bool { return n == assumedNote })
		if c.note == "" && len(notes) > 0 || !strings.Contains(strings.Join(notes, "\n"), c.note) {
			t.Errorf("%s: notes %q, want %q", c.name, m.Notes, c.note)
		}
	}
}

// TestNamesNPZ: names are read in NPZ files as in safetensors, counters too.
func TestNamesNPZ(t *testing.T) {
	array := func(descr, shape string, n, width int) []byte {
		header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }\n", descr, shape)
		out := append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), byte(len(header)>>8))
		return append(append(out, header...), make([]byte, n*width)...)
	}
	m, err := Decode("f.npz", archive(t, zip.Store, "a.kernel.npy", array("<f4", "3, 2", 6, 4), "epoch.npy", array("<i8", "", 1, 8)))
	if err != nil || m.String() != "3-2" || len(m.Notes) != 1 || !strings.Contains(m.Notes[0], "epoch") {
		t.Errorf("%v, %+v", err, m)
	}
}

// FuzzNames: no names and shapes panic, and layers that come out follow each other.
func FuzzNames(f *testing.F) {
	f.Add("fc1.weight 2 3,fc1.bias 2")
	f.Add("arr_0 3 2,arr_1 2,arr_2 2 4")
	f.Add("W1 3 3,b1 3,epoch")
	f.Add("a/kernel:0 3 4,a/bias:0 4,b/kernel:0 4 2")
	f.Add("ema.first.weight 4 4,first.weight 4 4,second.weight 4 4,ema.second.weight 4 4")
	f.Fuzz(func(t *testing.T, text string) {
		var entries []entry
		for one := range strings.SplitSeq(text, ",") {
			fields := strings.Fields(one)
			if len(fields) == 0 || slices.ContainsFunc(entries, func(e entry) bool { return e.name == fields[0] }) {
				return
			}
			e := entry{name: fields[0], dtype: "F32"}
			for _, s := range fields[1:] {
				var d uint64
				if _, err := fmt.Sscan(s, &d); err != nil || d < 1 || d > 1000 {
					return
				}
				e.shape = append(e.shape, d)
			}
			e.counts = len(e.shape) == 0
			entries = append(entries, e)
		}
		a, err := arrange(entries)
		if err != nil {
			return
		}
		if !chains(a.widths) || len(a.matrices) != len(a.widths) {
			t.Errorf("%q: %+v", text, a)
		}
	})
}
