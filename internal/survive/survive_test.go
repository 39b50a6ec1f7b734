package survive

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func outside(all []int) int { return all[len(all)] }

func TestDo(t *testing.T) {
	for _, c := range []struct {
		name string
		read func() error
		want string // parts of the error, by ";"; "": none
	}{
		{"no panic", func() error { return nil }, ""},
		{"an error", func() error { return io.EOF }, "EOF"},
		{"an index", func() error { outside([]int{1, 2}); return nil }, "a bug in advsweep;index out of range [2] with length 2;in survive.outside (survive_test.go:10);report it"},
		{"nil", func() error { var p *error; return *p }, "nil pointer;survive.TestDo"},
		{"text of a file", func() error { panic("two\nlines\x1b" + strings.Repeat("x", 5000)) }, `two\nlines\x1bx`},
	} {
		err := Do(c.read)
		if (err == nil) != (c.want == "") {
			t.Errorf("%s: %v, want an error of %q", c.name, err, c.want)
			continue
		}
		for part := range strings.SplitSeq(c.want, ";") {
			if err != nil && (!strings.Contains(err.Error(), part) || len(err.Error()) > 500) {
				t.Errorf("%s: error %q, want %q in it", c.name, err, part)
			}
		}
	}
}

// A reader may end by an error that it panics with, as decoders of the standard library do within
// themselves.
func TestBugOfError(t *testing.T) {
	err := Do(func() error { panic(io.ErrUnexpectedEOF) })
	if bug, ok := errors.AsType[*Bug](err); !ok || !errors.Is(err, io.ErrUnexpectedEOF) || bug.Value != io.ErrUnexpectedEOF {
		t.Errorf("error %v, want a bug that is io.ErrUnexpectedEOF", err)
	}
}
