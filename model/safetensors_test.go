package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"advsweep/model/internal/formats"
	"advsweep/model/internal/golden"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

// floats returns the data of t as float64, whichever type it has.
func floats(t *tensor.Dense) []float64 {
	if data, ok := t.Data().([]float64); ok {
		return data
	}
	single := t.Data().([]float32)
	data := make([]float64, len(single))
	for i, v := range single {
		data[i] = float64(v)
	}
	return data
}

// sameBits reports whether a and b are equal, 0 and -0 told apart.
func sameBits(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if math.Float64bits(a[i]) != math.Float64bits(b[i]) {
			return false
		}
	}
	return true
}

// Files and numbers are made by Python: testdata/gen.py.
func TestLoadGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden map[string][]struct {
		Name   string
		Weight [][]float64
		Bias   []float64
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, widths string
		dtype        tensor.Dtype
	}{
		{"f32", "3-5-5-2", tensor.Float32},
		{"f16", "4-3-4", tensor.Float32},
		{"bf16", "4-3-5-2", tensor.Float32},
		{"f64", "7-10", tensor.Float64},
		{"mixed", "4-3-3-3-2", tensor.Float64},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join("testdata", c.name+".safetensors")
			m, err := Load(path)
			if err != nil {
				t.Fatal(err)
			}
			if m.String() != c.widths {
				t.Errorf("widths are %s, want %s", m, c.widths)
			}
			if err := m.Validate(); err != nil {
				t.Error(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(data)
			if want := (Source{Name: c.name + ".safetensors", SHA256: hex.EncodeToString(sum[:])}); m.Source != want {
				t.Errorf("Source is %v, want %v", m.Source, want)
			}
			want := golden[c.name]
			if got := (len(m.Layers) + 1) / 2; got != len(want) {
				t.Fatalf("%d Linear layers, want %d", got, len(want))
			}
			for i, w := range want {
				l := m.Layers[2*i].(Linear)
				if l.Name != w.Name || l.Weight.Dtype() != c.dtype || l.Bias.Dtype() != c.dtype {
					t.Errorf("layer %d is %s of %v and %v, want %s of %v", i, l.Name, l.Weight.Dtype(), l.Bias.Dtype(), w.Name, c.dtype)
				}
				var weight []float64
				for _, row := range w.Weight {
					weight = append(weight, row...)
				}
				if got := floats(l.Weight); !sameBits(got, weight) {
					t.Errorf("%s.weight is %v, want %v", l.Name, got, weight)
				}
				if w.Bias == nil {
					w.Bias = make([]float64, len(w.Weight))
				}
				if got := floats(l.Bias); !sameBits(got, w.Bias) {
					t.Errorf("%s.bias is %v, want %v", l.Name, got, w.Bias)
				}
			}
		})
	}
}

// A raw tensor for a file made by hand. size 0 means what the shape needs.
type raw struct {
	name, dtype string
	shape       []int
}

// file makes a safetensors file of zeros: tensors one after another.
func file(tensors ...raw) []byte {
	sizes := map[string]int{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1}
	var parts []string
	at := 0
	for _, r := range tensors {
		n := sizes[r.dtype]
		for _, d := range r.shape {
			n *= d
		}
		shape, _ := json.Marshal(append([]int{}, r.shape...))
		parts = append(parts, fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, r.name, r.dtype, shape, at, at+n))
		at += n
	}
	return join("{"+strings.Join(parts, ",")+"}", at)
}

// join makes a file of a header and n zero bytes of data.
func join(header string, n int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, n)...)
}

func TestDecodeNames(t *testing.T) {
	f := func(name string, shape ...int) raw { return raw{name, "F32", shape} }
	for _, c := range []struct {
		name    string
		tensors []raw
		want    string // names and widths
	}{
		{"one layer", []raw{f("fc1.bias", 10), f("fc1.weight", 10, 784)}, "fc1 784-10"},
		{"a Linear saved alone", []raw{f("bias", 3), f("weight", 3, 4)}, " 4-3"},
		{"Sequential", []raw{f("0.weight", 5, 7), f("2.weight", 6, 5), f("4.weight", 2, 6)}, "0 2 4 7-5-6-2"},
		{"nested", []raw{f("net.0.weight", 5, 7), f("net.2.weight", 2, 5)}, "net.0 net.2 7-5-2"},
		{"numbers of equal width", []raw{f("layers.10.weight", 4, 4), f("layers.2.weight", 4, 4), f("layers.0.weight", 4, 4)},
			"layers.0 layers.2 layers.10 4-4-4-4"},
		{"words", []raw{f("hidden.weight", 5, 7), f("hidden.bias", 5), f("out.weight", 2, 5), f("out.bias", 2)}, "hidden out 7-5-2"},
		{"DataParallel, compiled", []raw{f("module._orig_mod.fc2.weight", 2, 5), f("module._orig_mod.fc1.weight", 5, 7)},
			"module._orig_mod.fc1 module._orig_mod.fc2 7-5-2"},
		{"width 1", []raw{f("a.weight", 1, 1), f("a.bias", 1), f("b.weight", 2, 1)}, "a b 1-1-2"},
		{"a name that starts with a dot", []raw{f("..weight", 2, 2), f("..bias", 2)}, ". 2-2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Decode("f", file(c.tensors...))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Validate(); err != nil {
				t.Error(err)
			}
			got := ""
			for _, layer := range m.Layers {
				if l, ok := layer.(Linear); ok {
					got += l.Name + " "
				}
			}
			if got += m.String(); got != c.want {
				t.Errorf("names and widths are %q, want %q", got, c.want)
			}
			data, err := m.Encode("float32")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode("f", data); err != nil {
				t.Errorf("encoded and decoded: %v", err)
			}
		})
	}
	t.Run("metadata", func(t *testing.T) {
		data := join(` {"__metadata__":{"format":"pt","a\"b":""},"w.weight":{"shape":[2,1],"data_offsets":[0,8],"dtype":"F32"}}   `[1:], 8)
		if _, err := Decode("f", data); err != nil {
			t.Error(err)
		}
	})
}

func TestDecodeErrors(t *testing.T) {
	one := func(dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"a.weight":{"dtype":%s,"shape":%s,"data_offsets":%s}}`, dtype, shape, offsets)
	}
	two := func(a, b string) string {
		return fmt.Sprintf(`{"a.weight":{"dtype":"F32","shape":[2,2],"data_offsets":%s},"b.weight":{"dtype":"F32","shape":[2,2],"data_offsets":%s}}`, a, b)
	}
	good := one(`"F32"`, `[2,2]`, `[0,16]`)
	length := func(n uint64, rest ...byte) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, n), rest...)
	}
	value := func(v float32) []byte {
		data := join(good, 16)
		binary.LittleEndian.PutUint32(data[len(data)-4:], math.Float32bits(v))
		return data
	}
	bytes16 := func(dtype string, v uint16) []byte {
		data := join(one(dtype, `[2,2]`, `[0,8]`), 8)
		binary.LittleEndian.PutUint16(data[len(data)-6:], v)
		return data
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "an empty file, want ONNX, safetensors or NPZ"},
		{"seven bytes", make([]byte, 7), "7 bytes, want a safetensors file"},
		{"no header", make([]byte, 8), "does not start with {"},
		{"header past the end", length(100, '{', '}'), "header of 100 bytes, want at most 2"},
		{"header over 100 MB", length(100_000_001, '{', '}'), "header of 100000001 bytes, want at most 100000000"},
		{"header of 2⁶⁴-1", length(math.MaxUint64, '{'), "not a safetensors file"},
		{"a zip cut off", []byte("PK\x03\x04\x14\x00\x00\x00\x08\x08archive/data.pkl"), "a zip archive that is cut off or damaged, want ONNX, safetensors or NPZ"},
		{"not UTF-8", join("{\"\xff\":1}", 0), "not valid UTF-8"},
		{"not JSON", join(`{"a":`, 0), "invalid JSON: unexpected end"},
		{"two texts", join(`{} {}`, 0), "invalid JSON: invalid character '{'"},
		{"zero byte after", join("{}\x00", 0), "invalid JSON"},
		{"not an object", join(`[1]`, 0), "does not start with {"},
		{"space before", join(` {}`, 0), "does not start with {"},
		{"deep", join(`{"a":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+"}", 0), "exceeded max depth"},
		{"no tensors", join(`{}`, 0), "no tensors"},
		{"only metadata", join(`{"__metadata__":{}}`, 0), "no tensors"},
		{"metadata is an array", join(`{"__metadata__":[]}`, 0), "__metadata__: not an object"},
		{"metadata of numbers", join(`{"__metadata__":{"k":1}}`, 0), "__metadata__: the value of k is not a string"},
		{"two metadata", join(`{"__metadata__":{},"__metadata__":{}}`, 0), "tensor __metadata__: two of this name"},
		{"two tensors of a name", join(strings.Replace(two(`[0,16]`, `[16,32]`), "b.", "a.", 1), 32), "tensor a.weight: two of this name"},
		{"two of a name by escape", join(strings.Replace(two(`[0,16]`, `[16,32]`), "b.", `\u0061.`, 1), 32), "tensor a.weight: two of this name"},
		{"entry is a number", join(`{"a.weight":3}`, 0), "tensor a.weight: not an object"},
		{"entry is null", join(`{"a.weight":null}`, 0), "tensor a.weight: not an object"},
		{"two dtypes", join(`{"a.weight":{"dtype":"F32","dtype":"F64"}}`, 0), "tensor a.weight: two keys dtype"},
		{"key in capitals", join(`{"a.weight":{"DTYPE":"F32"}}`, 0), "tensor a.weight: key DTYPE, want dtype"},
		{"no dtype", join(`{"a.weight":{"shape":[2,2],"data_offsets":[0,16]}}`, 16), "tensor a.weight: no dtype"},
		{"no shape", join(`{"a.weight":{"dtype":"F32","data_offsets":[0,16]}}`, 16), "tensor a.weight: no shape"},
		{"no offsets", join(`{"a.weight":{"dtype":"F32","shape":[2,2]}}`, 16), "tensor a.weight: no data_offsets"},
		{"dtype is a number", join(one(`32`, `[2,2]`, `[0,16]`), 16), "tensor a.weight: dtype is not a string"},
		{"dtype int", join(one(`"I32"`, `[2,2]`, `[0,16]`), 16), "tensor a.weight: dtype I32, want F64, F32, F16 or BF16"},
		{"dtype float8", join(one(`"F8_E4M3"`, `[2,2]`, `[0,4]`), 4), "tensor a.weight: dtype F8_E4M3"},
		{"dtype in small letters", join(one(`"f32"`, `[2,2]`, `[0,16]`), 16), "tensor a.weight: dtype f32"},
		{"shape is a number", join(one(`"F32"`, `4`, `[0,16]`), 16), "tensor a.weight: shape: not an array"},
		{"shape of strings", join(one(`"F32"`, `["2",2]`, `[0,16]`), 16), "tensor a.weight: shape: not an array of numbers"},
		{"shape nested", join(one(`"F32"`, `[[2,2]]`, `[0,16]`), 16), "tensor a.weight: shape: not an array of numbers"},
		{"shape negative", join(one(`"F32"`, `[-2,-2]`, `[0,16]`), 16), "tensor a.weight: shape: -2, want a whole number"},
		{"shape fractional", join(one(`"F32"`, `[2.5,2]`, `[0,20]`), 20), "tensor a.weight: shape: 2.5, want a whole number"},
		{"shape with exponent", join(one(`"F32"`, `[2e0,2]`, `[0,16]`), 16), "tensor a.weight: shape: 2e0, want a whole number"},
		{"shape of 65 bits", join(one(`"F32"`, `[18446744073709551616,2]`, `[0,16]`), 16), "tensor a.weight: shape: 18446744073709551616"},
		{"shape zero", join(one(`"F32"`, `[0,2]`, `[0,0]`), 0), "tensor a.weight: shape [0 2]: dimension 0 is 0"},
		{"shape long", join(one(`"F32"`, `[1,1,1,1,1,1,1,1,1]`, `[0,4]`), 4), "tensor a.weight: shape: more than 8 numbers"},
		{"product overflows", join(one(`"F32"`, `[4294967296,4294967296]`, `[0,0]`), 0), "tensor a.weight: shape [4294967296 4294967296] overflows"},
		{"product overflows by the type", join(one(`"F64"`, `[2147483648,1073741824]`, `[0,0]`), 0), "tensor a.weight: shape [2147483648 1073741824] overflows"},
		{"huge", join(one(`"F32"`, `[1000000000,1000000000]`, `[0,4000000000000000000]`), 16), "tensor a.weight: data_offsets [0 4000000000000000000], want at most 16"},
		{"offsets short", join(one(`"F32"`, `[2,2]`, `[16]`), 16), "tensor a.weight: data_offsets: 1 numbers, want 2"},
		{"offsets long", join(one(`"F32"`, `[2,2]`, `[0,16,16]`), 16), "tensor a.weight: data_offsets: more than 2"},
		{"offsets negative", join(one(`"F32"`, `[2,2]`, `[-16,0]`), 16), "tensor a.weight: data_offsets: -16, want a whole number"},
		{"offsets fractional", join(one(`"F32"`, `[2,2]`, `[0,16.0]`), 16), "tensor a.weight: data_offsets: 16.0, want a whole number"},
		{"offsets reversed", join(one(`"F32"`, `[2,2]`, `[16,0]`), 16), "tensor a.weight: data_offsets [16 0] are reversed"},
		{"offsets out of range", join(good, 15), "tensor a.weight: data_offsets [0 16], want at most 15"},
		{"too few bytes for the shape", join(one(`"F32"`, `[2,2]`, `[0,12]`), 12), "tensor a.weight: data_offsets [0 12]: 12 bytes, want 16"},
		{"too many bytes for the shape", join(one(`"F16"`, `[2,2]`, `[0,16]`), 16), "tensor a.weight: data_offsets [0 16]: 16 bytes, want 8"},
		{"overlap", join(two(`[0,16]`, `[8,24]`), 24), "tensor b.weight: data_offsets [8 24] overlap tensor a.weight"},
		{"the same bytes", join(two(`[0,16]`, `[0,16]`), 16), "tensor b.weight: data_offsets [0 16] overlap tensor a.weight"},
		{"hole", join(two(`[0,16]`, `[20,36]`), 36), "tensor b.weight: data_offsets [20 36] leave a hole, want them from 16"},
		{"hole at the start", join(one(`"F32"`, `[2,2]`, `[8,24]`), 24), "tensor a.weight: data_offsets [8 24] leave a hole, want them from 0"},
		{"bytes after the last", join(good, 17), "17 bytes of data, want 16: some after the last tensor, a.weight"},

		{"scalar", file(raw{"a.weight", "F32", nil}), "tensor a.weight: shape [], want [out in]: MLPs of Linear and ReLU"},
		{"vector weight", file(raw{"bn.weight", "F32", []int{4}}), "tensor bn.weight: shape [4], want [out in]: MLPs of Linear and ReLU"},
		{"convolution", file(raw{"conv1.bias", "F32", []int{16}}, raw{"conv1.weight", "F32", []int{16, 1, 3, 3}}),
			"tensor conv1.weight: shape [16 1 3 3], want [out in]: MLPs of Linear and ReLU"},
		{"matrix bias", file(raw{"a.bias", "F32", []int{2, 2}}), "tensor a.bias: shape [2 2], want [out]: MLPs of Linear and ReLU"},
		{"bias alone", file(raw{"a.weight", "F32", []int{2, 2}}, raw{"b.bias", "F32", []int{2}}), "tensor b.bias: there is no b.weight"},
		{"bias too long", file(raw{"a.weight", "F32", []int{2, 2}}, raw{"a.bias", "F32", []int{3}}), "tensor a.bias: shape [3], want [2]"},
		{"other tensor", file(raw{"a.weight", "F32", []int{2, 2}}, raw{"a.running_mean", "F32", []int{2}}), "tensor a.running_mean is of batch normalisation"},
		{"no part", file(raw{"a", "F32", []int{2, 2}}), "tensor a: want names that end"},
		{"no layer", file(raw{".weight", "F32", []int{2, 2}}), "tensor .weight: want names that end"},
		{"empty name", file(raw{"", "F32", []int{2, 2}}), `tensor "": want names that end`},
		{"name for a terminal", join(`{"\u001b[31m\n":1}`, 0), `tensor "\x1b[31m\n": not an object`},
		{"do not chain", file(raw{"a.weight", "F32", []int{4, 3}}, raw{"b.weight", "F32", []int{2, 5}}), "a.weight [4, 3], b.weight [2, 5]"},
		{"chain in several orders", file(raw{"a.weight", "F32", []int{2, 4}}, raw{"b.weight", "F32", []int{4, 4}}, raw{"c.weight", "F32", []int{4, 4}},
			raw{"d.weight", "F32", []int{4, 3}}), "several orders"},
		{"one class", file(raw{"a.weight", "F32", []int{1, 3}}), "layer a, the last one, has 1 output, want at least 2 classes"},
		{"NaN", value(float32(math.NaN())), "tensor a.weight: element 3 is NaN, want finite numbers"},
		{"Inf", value(float32(math.Inf(1))), "tensor a.weight: element 3 is +Inf"},
		{"-Inf", value(float32(math.Inf(-1))), "tensor a.weight: element 3 is -Inf"},
		{"F16 Inf", bytes16(`"F16"`, 0x7c00), "tensor a.weight: element 1 is +Inf"},
		{"F16 NaN", bytes16(`"F16"`, 0x7c01), "tensor a.weight: element 1 is NaN"},
		{"BF16 Inf", bytes16(`"BF16"`, 0xff80), "tensor a.weight: element 1 is -Inf"},
		{"BF16 NaN", bytes16(`"BF16"`, 0x7f81), "tensor a.weight: element 1 is NaN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Decode("dir/some-file", c.data)
			if m != nil {
				t.Errorf("Decode = %v, want nil", m)
			}
			wantError(t, err, "model: dir/some-file: ", c.want)
			path := filepath.Join(t.TempDir(), "some-file")
			if err := os.WriteFile(path, c.data, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = Load(path)
			wantError(t, err, "model: "+path+": ", c.want)
		})
	}
}

// The index of a number that is not finite counts from the start of the
// tensor, also behind the first piece that is read.
func TestDecodeLateNaN(t *testing.T) {
	m := MLP(300, 200, 2)
	data, err := m.Encode("float64")
	if err != nil {
		t.Fatal(err)
	}
	at := 8 + int(binary.LittleEndian.Uint64(data)) + 59_999*8
	binary.LittleEndian.PutUint64(data[at:], math.Float64bits(math.NaN()))
	_, err = Decode("f", data)
	wantError(t, err, "model: f: tensor fc1.weight: element 59999 is NaN")
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(dir)
	wantError(t, err, "model: "+dir+": a directory, want a file")
	missing := filepath.Join(dir, "missing")
	_, err = Load(missing)
	wantError(t, err, "model: "+missing+": no such file")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want fs.ErrNotExist in it", err)
	}
}

// A small file must not take much memory, whatever it claims: allocated bytes
// are those of the whole call, freed or not.
func TestDecodeMemory(t *testing.T) {
	entry := `"%d.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[%d,%d]}`
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf(entry, i, 8*i, 8*i+8))
	}
	for _, c := range []struct {
		name string
		data []byte
		most int
	}{
		{"header of 99 MB declared", binary.LittleEndian.AppendUint64(nil, 99_000_000), 1 << 20},
		{"4 GB of weights declared", join(`{"a.weight":{"dtype":"F32","shape":[32768,32768],"data_offsets":[0,4294967296]}}`, 64), 1 << 20},
		{"a shape of a million", join(`{"a.weight":{"dtype":"F32","shape":[`+strings.Repeat("1,", 1<<20)+`1],"data_offsets":[0,4]}}`, 4), 20 << 20},
		{"5000 layers that do not chain", join("{"+strings.Join(many, ",")+"}", 5000*8), 10 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Decode("f", c.data)
			runtime.ReadMemStats(&after)
			if err == nil {
				t.Error("error is nil")
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(c.most) {
				t.Errorf("%d bytes allocated for a file of %d, want at most %d (%v)", got, len(c.data), c.most, err)
			}
		})
	}
	// What is right takes its weights and little else.
	data, err := MLP(784, 512, 10).Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Decode("f", data); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got, most := after.TotalAlloc-before.TotalAlloc, uint64(len(data)+256<<10); got > most {
		t.Errorf("%d bytes allocated for a file of %d, want at most %d", got, len(data), most)
	}
}

func TestEncodeRoundTrip(t *testing.T) {
	for _, m := range []*Model{MLP(3, 2), MLP(4, 3, 5), MLP(7, 1, 1, 2), MLP(5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5)} {
		fill(m)
		for dtype, want := range map[string]tensor.Dtype{"float16": tensor.Float32, "float32": tensor.Float32, "float64": tensor.Float64} {
			data, err := m.Encode(dtype)
			if err != nil {
				t.Fatal(err)
			}
			again, err := m.Encode(dtype)
			if err != nil || !bytes.Equal(data, again) {
				t.Errorf("%s %s: encoded twice, the bytes differ (%v)", m, dtype, err)
			}
			if n := binary.LittleEndian.Uint64(data); n%8 != 0 {
				t.Errorf("%s %s: the data begin at byte %d, want a multiple of 8", m, dtype, 8+n)
			}
			got, err := Decode("f", data)
			if err != nil {
				t.Fatal(err)
			}
			sameModel(t, got, m)
			if l := got.Layers[0].(Linear); l.Weight.Dtype() != want {
				t.Errorf("%s %s: read as %v, want %v", m, dtype, l.Weight.Dtype(), want)
			}
		}
	}
}

func sameModel(t *testing.T, got, want *Model) {
	t.Helper()
	if got.String() != want.String() {
		t.Fatalf("widths are %s, want %s", got, want)
	}
	for i := range want.Layers {
		g, ok := got.Layers[i].(Linear)
		if !ok {
			continue
		}
		w := want.Layers[i].(Linear)
		if g.Name != w.Name {
			t.Fatalf("layer %d is %q, want %q", i, g.Name, w.Name)
		}
		if !sameBits(floats(g.Weight), floats(w.Weight)) || !sameBits(floats(g.Bias), floats(w.Bias)) {
			t.Fatalf("layer %s: the numbers changed", g.Name)
		}
	}
}

// The layout, byte by byte.
func TestEncodeBytes(t *testing.T) {
	m := MLP(1, 2)
	copy(m.Layers[0].(Linear).Weight.Data().([]float32), []float32{1, -2})
	copy(m.Layers[0].(Linear).Bias.Data().([]float32), []float32{0.5, 65504})
	got, err := m.Encode("float16")
	if err != nil {
		t.Fatal(err)
	}
	header := `{"fc1.weight":{"dtype":"F16","shape":[2,1],"data_offsets":[0,4]},"fc1.bias":{"dtype":"F16","shape":[2],"data_offsets":[4,8]}}`
	header += strings.Repeat(" ", (8-len(header)%8)%8)
	want := append(join(header, 0), 0x00, 0x3c, 0x00, 0xc0, 0x00, 0x38, 0xff, 0x7b)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
}

func TestEncodeErrors(t *testing.T) {
	named := func(names ...string) *Model {
		sizes := make([]int, len(names)+1)
		for i := range sizes {
			sizes[i] = 2
		}
		m := MLP(sizes...)
		for i, name := range names {
			set(m, 2*i, func(l *Linear) { l.Name = name })
		}
		return m
	}
	large := func(v float64) *Model {
		m := MLP(2, 2)
		m.Layers[0] = Linear{"fc1", formats.Dense([]float64{0, 0, 0, v}, 2, 2), formats.Dense(make([]float64, 2), 2)}
		return m
	}
	for _, c := range []struct {
		name, dtype string
		m           *Model
		want        string
	}{
		{"dtype", "bfloat16", MLP(2, 2), "dtype bfloat16, want float64, float32 or float16"},
		{"float16 overflows", "float16", large(65520), "tensor fc1.weight: element 3 is 65520, too large for float16"},
		{"float32 overflows", "float32", large(-3.5e38), "tensor fc1.weight: element 3 is -3.5e+38, too large for float32"},
		{"NaN", "float64", large(math.NaN()), "tensor fc1.weight: element 3 is NaN"},
		{"layers without names", "float32", &Model{Layers: []Layer{named("").Layers[0], Sigmoid{}}}, "layer 0 (linear) has no name"},
		{"name not UTF-8", "float32", named("\xff"), `tensor "\xff.weight": want a name in UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := c.m.Encode(c.dtype)
			if data != nil {
				t.Errorf("Encode = %d bytes, want none", len(data))
			}
			wantError(t, err, "model: ", c.want)
		})
	}
	if _, err := large(65519.9).Encode("float16"); err != nil {
		t.Errorf("65519.9, which rounds to 65504: %v", err)
	}
	if _, err := large(-3.4028235e38).Encode("float32"); err != nil {
		t.Errorf("the largest float32: %v", err)
	}
}

// FuzzDecode: no panic, no memory beyond what the file backs; what decodes is
// valid, and encodes to what decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, dtype := range []string{"float16", "float32", "float64"} {
		for _, m := range []*Model{MLP(3, 2), MLP(2, 3, 2), MLP(2, 1, 1, 2)} {
			data, err := fill(m).Encode(dtype)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte{})
	f.Add(file(raw{"bias", "BF16", []int{2}}, raw{"weight", "F64", []int{2, 1}}))
	f.Add(file(raw{"in.weight", "F32", []int{3, 2}}, raw{"hidden.weight", "F16", []int{2, 3}}, raw{"x.bias", "BF16", []int{2}}))
	f.Add(file(raw{"conv.weight", "F32", []int{1, 1, 2, 2}}))
	f.Add(file(raw{"n", "I64", nil}))
	f.Add(join(`{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}  `, 8))
	f.Add(join(`{"a.weight":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, 0))
	f.Add(join(`{"a.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[8,0]},"b.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]}}`, 12))
	f.Add(binary.LittleEndian.AppendUint64(nil, math.MaxUint64))
	f.Add(join(`{"a":[[[[]]],{"\ud800":1e999}]}`, 0))
	f.Fuzz(checkDecode)
}

// FuzzDecodeHeader is FuzzDecode with the length of the header right, so that
// what is behind it is reached.
func FuzzDecodeHeader(f *testing.F) {
	for _, data := range [][]byte{
		file(raw{"0.weight", "F32", []int{2, 3}}, raw{"0.bias", "F32", []int{2}}, raw{"2.weight", "F16", []int{2, 2}}),
		file(raw{"in.weight", "F64", []int{3, 2}}, raw{"hidden.weight", "BF16", []int{2, 3}}),
		join(`{"__metadata__":{"format":"pt"},"a.weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}  `, 8),
	} {
		n := binary.LittleEndian.Uint64(data)
		f.Add(string(data[8:8+n]), data[8+n:])
	}
	f.Fuzz(func(t *testing.T, header string, data []byte) {
		checkDecode(t, append(join(header, 0), data...))
	})
}

func checkDecode(t *testing.T, data []byte) { checkDecodeAs(t, "f", data) }

func checkDecodeAs(t *testing.T, name string, data []byte) {
	if m, ok := golden.Decoded(t, Decode, name, data, 8<<20); ok {
		checkRoundTrip(t, m)
	}
}

// checkRoundTrip encodes m, decodes that and compares.
func checkRoundTrip(t *testing.T, m *Model) {
	t.Helper()
	encoded, err := m.Encode(m.Dtype())
	if err != nil {
		t.Fatal(err)
	}
	again, err := Decode("f", encoded)
	if err != nil {
		t.Fatal(err)
	}
	if m.IsMLP() { // which may have no names
		sameModel(t, again, m)
		return
	}
	sameNetwork(t, again, m)
}

// sameNetwork fails unless two models with names are equal to the bit.
func sameNetwork(t *testing.T, got, want *Model) {
	t.Helper()
	gotList, err := got.layerList()
	if err != nil {
		t.Fatal(err)
	}
	wantList, err := want.layerList()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(wantList), string(gotList)); diff != "" {
		t.Fatalf("layers (-want +got):\n%s", diff)
	}
	for i, l := range got.Layers {
		for k, p := range l.Params() {
			w := want.Layers[i].Params()[k]
			if p.Tensor.Dtype() != w.Tensor.Dtype() || !p.Tensor.Shape().Eq(w.Tensor.Shape()) || !sameBits(floats(p.Tensor), floats(w.Tensor)) {
				t.Errorf("tensor %s is %v, want %v", p.Name, p.Tensor, w.Tensor)
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, dtype := range []string{"float32", "float16", "float64"} {
		b.Run("dtype="+dtype, func(b *testing.B) {
			data, err := fill(MLP(784, 1024, 1024, 10)).Encode(dtype)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := Decode("f", data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
