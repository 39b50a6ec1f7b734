package model

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"testing"

	"advsweep/model/internal/golden"
)

// FuzzDecodeNPZ: as FuzzDecode, of archives and, so that what is in them is reached, of two arrays
// in one.
func FuzzDecodeNPZ(f *testing.F) {
	for _, data := range golden.Seeds(f, "testdata/onnx/*.npz") {
		f.Add(data, []byte{})
	}
	f.Add(npyFile("<f4", "False", "2, 3", make([]byte, 24)), npyFile(">f8", "True", "2,", make([]byte, 16)))
	f.Add(npyFile("<f2", "True", "2, 3", make([]byte, 12)), npyFile("<i8", "False", "", make([]byte, 8)))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		checkDecodeAs(t, "f.npz", a)
		for _, method := range []uint16{zip.Store, zip.Deflate} {
			checkDecodeAs(t, "f.npz", archive(t, method, "fc.weight.npy", a, "fc.bias.npy", b))
		}
	})
}

// npyFile returns a file of version 1.0.
func npyFile(descr, fortran, shape string, data []byte) []byte {
	header := "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': (" + shape + "), }\n"
	return append(append([]byte("\x93NUMPY\x01\x00"), byte(len(header)), 0), append([]byte(header), data...)...)
}

// archive returns a zip file of two files.
func archive(t *testing.T, method uint16, name1 string, data1 []byte, name2 string, data2 []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i, name := range []string{name1, name2} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err == nil {
			_, err = w.Write([][]byte{data1, data2}[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzLayersJSON: as FuzzDecode, of layer lists beside one set of weights.
func FuzzLayersJSON(f *testing.F) {
	for _, text := range lists {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Skip()
		}
		checkDecode(t, listedFile(string(quoted)))
	})
}

// listedFile returns a file with a layer list, quoted as JSON, and weights of zero for any of
// lists.
func listedFile(quoted string) []byte {
	data := file(
		raw{"conv.weight", "F32", []int{2, 1, 3, 3}}, raw{"conv.bias", "F32", []int{2}},
		raw{"bn.weight", "F16", []int{2}}, raw{"bn.running_mean", "F32", []int{2}}, raw{"bn.running_var", "F32", []int{2}},
		raw{"bn.num_batches_tracked", "I64", nil}, raw{"fc.weight", "F32", []int{3, 8}},
	)
	n := binary.LittleEndian.Uint64(data)
	header := `{"__metadata__":{"format":"pt","advsweep.layers":` + quoted + `},` + string(data[9:8+n])
	return append(join(header, 0), data[8+n:]...)
}

// lists are layer lists of networks that listedFile holds, in several ways to write them.
var lists = []string{
	`{"input":[1,4,4],"layers":[{"type":"normalize","mean":[0.5],"std":[0.25]},{"type":"conv2d","name":"conv","stride":[1,1],"pad":[1,1,1,1]},
	{"type":"batchnorm","name":"bn","eps":0.001},{"type":"relu"},{"type":"maxpool2d","kernel":2},{"type":"flatten"},{"type":"linear","name":"fc"}]}`,
	`{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv","pad":1},{"type":"batchnorm","name":"bn"},{"type":"tanh"},
	{"type":"add","from":[2,0]},{"type":"leakyrelu","slope":0.1},{"type":"avgpool2d","kernel":[3,3],"stride":[2,2],"pad":[0,0,1,1],"count_pad":true},{"type":"gelu","tanh":true},{"type":"linear","name":"fc"}]}`,
	`{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv"},{"type":"batchnorm","name":"bn"},{"type":"sigmoid"},{"type":"gelu","from":[1]},
	{"type":"add","from":[2,3,1]},{"type":"linear","name":"fc"}]}`,
	`{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv"},{"type":"batchnorm","name":"bn"},{"type":"globalavgpool2d"},{"type":"linear","name":"fc"}]}`,
	`{"layers":[{"type":"linear","name":"fc"}]}`,
	`{"input":[],"layers":[{"type":"add","from":[]}]}`,
	`{"input":[1,4,4],"layers":[{"type":"flatten"}]}`,
}
