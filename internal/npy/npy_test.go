package npy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func npyFile(version byte, header string, data int) []byte {
	b := []byte("\x93NUMPY")
	b = append(b, version, 0, byte(len(header)), byte(len(header)>>8))
	if version > 1 {
		b = append(b, 0, 0)
	}
	return append(append(b, header...), make([]byte, data)...)
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name    string
		version byte
		header  string
		data    int
		want    string // the array as it prints, or a part of the error
	}{
		{"as NumPy writes it", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }   \n", 24, "<f4 false [2 3] 24"},
		{"version 2, another order of keys", 2, `{"shape": (3L,), "fortran_order": True, "descr": ">f8"}`, 24, ">f8 true [3] 24"},
		{"one number", 3, "{'descr': '|u1', 'fortran_order': False, 'shape': ()}", 1, "|u1 false [] 1"},
		{"version 4", 4, "{}", 0, "NPY version 4.0, want 1.0 to 3.0"},
		{"no dict", 1, "[]", 0, "want a dict"},
		{"a key missing", 1, "{'descr': '<f4', 'shape': (1,)}", 4, "want descr, fortran_order and shape"},
		{"a key twice", 1, "{'descr': '<f4', 'descr': '<f4'}", 4, "descr is there twice"},
		{"another key, with a line break", 1, "{'a\nb': 1}", 4, `key "a\nb", want only descr`},
		{"another key without a value", 1, "{'a\nb'}", 4, `key "a\nb", want only descr`},
		{"records", 1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", 4, "an array of records"},
		{"a negative size", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", 4, "dimension 0 is \"-1"},
		{"a size of 0", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0)}", 0, "dimension 1 of 2 is 0, want at least 1"},
		{"truncated", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 7, "truncated: 7 bytes after the header, want 8"},
		{"oversized", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 9, "oversized, at least: 9 bytes after the header, want 8"},
		{"a claim that nothing backs", 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,)}", 8, "declares 4000000000 bytes"},
		{"an overflow", 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2000000000, 2000000000, 2000000000)}", 8, "overflow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			data := npyFile(c.version, c.header, c.data)
			a, err := Read(bytes.NewReader(data), int64(len(data)))
			got := ""
			if err != nil {
				got = err.Error()
			} else {
				got = fmt.Sprintln(a.Descr, a.Fortran, a.Shape, len(a.Data))
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	for n := range 60 { // cut anywhere
		data := npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8)[:n]
		if _, err := Read(bytes.NewReader(data), int64(n)); err == nil {
			t.Errorf("cut to %d bytes, error is nil", n)
		}
	}
}
