package model

import (
	"crypto/sha256"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A format that a test registers is read by Decode, and takes no layer list.
func TestRegisterFormat(t *testing.T) {
	defer func(before []format) { registered = before }(registered)
	RegisterFormat("Toy", func(name string, start []byte) bool { return string(start) == "toy: 3 2!" }, func(f File) (*Model, error) {
		data, err := io.ReadAll(io.TeeReader(f, f.Sum))
		if err != nil || int64(len(data)) != f.Size || f.Open != nil {
			t.Errorf("%d bytes of %d, %v, other files %t", len(data), f.Size, err, f.Open != nil)
		}
		return MLP(3, 2), nil
	})
	m, err := Decode("a.toy", []byte("toy: 3 2! and more"))
	if err != nil || m.String() != "3-2" || m.Source.Name != "a.toy" || len(m.Source.SHA256) != 64 {
		t.Errorf("%v, %v", m, err)
	}
	d := decoder{name: "a.toy", r: strings.NewReader("toy: 3 2!"), size: 9, sum: newSum(sha256.New()), insist: true, listName: "list.json"}
	if _, err := d.decode(); err == nil || err.Error() != "layer list list.json: a file of format Toy needs none" {
		t.Errorf("with a layer list: %v", err)
	}
}

// What a format returns is checked as everything else that is read.
func TestRegisterFormatInvalid(t *testing.T) {
	defer func(before []format) { registered = before }(registered)
	RegisterFormat("Toy", func(name string, start []byte) bool { return true }, func(File) (*Model, error) {
		m := MLP(3, 2)
		m.Input = []int{4}
		return m, nil
	})
	_, err := Decode("a.toy", []byte("toy"))
	wantError(t, err, "model: a.toy: ", "takes")
}

// A format whose reader panics costs an error that names the file, from everything that loads.
func TestRegisterFormatPanics(t *testing.T) {
	defer func(before []format) { registered = before }(registered)
	RegisterFormat("Toy", func(name string, start []byte) bool { return filepath.Ext(name) == ".toy" }, func(f File) (*Model, error) {
		var none []int
		return MLP(none[f.Size], 2), nil
	})
	path := filepath.Join(t.TempDir(), "a.toy")
	if err := os.WriteFile(path, []byte("toy"), 0o666); err != nil {
		t.Fatal(err)
	}
	for name, load := range map[string]func() (*Model, error){
		"Decode":     func() (*Model, error) { return Decode(path, []byte("toy")) },
		"Load":       func() (*Model, error) { return Load(path) },
		"LoadAsking": func() (*Model, error) { return LoadAsking(path, "", Ask{Output: "y"}) },
	} {
		t.Run(name, func(t *testing.T) {
			m, err := load()
			wantError(t, err, "model: "+path+": a bug in advsweep", "index out of range [3] with length 0", "format_test.go", "report it, with the file")
			if m != nil {
				t.Errorf("model %v, want none", m)
			}
		})
	}
}

// Without its reader a file of a known ending says what is missing.
func TestNoReader(t *testing.T) {
	_, err := Decode("a.onnx", []byte{8, 8})
	wantError(t, err, `model: a.onnx: no reader of .onnx files is in this program: import _ "advsweep/model/onnx"`)
}
