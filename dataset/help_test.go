package dataset

import (
	"errors"
	"io"
	"io/fs"

	"advsweep/internal/remedy"

	"gorgonia.org/tensor"
)

// images returns a as Read returns it.
func (a *array) images() (*tensor.Dense, error) {
	s := &Stored{}
	s.set.Source.Images.Name = "a"
	if err := s.store(a); err != nil {
		return nil, err
	}
	set, err := s.For(nil)
	if err != nil {
		return nil, err
	}
	return set.Images, nil
}

// readPNGs reads a folder of pictures as Load does.
func readPNGs(fsys fs.FS) (*Set, error) {
	d := &folder{path: "pictures", files: fsys, inner: fsys}
	s, err := readListed(fsys, &Query{Path: "pictures", Split: "test"}, d.order(d))
	if err != nil {
		return nil, err
	}
	return s.For(nil)
}

// readNPZSet reads an NPZ file as Load does.
func readNPZSet(r io.ReaderAt, size int64, split string) (*Set, error) {
	s, err := readNPZ(r, size, &Query{Path: "x", Split: split})
	if err != nil {
		return nil, err
	}
	return s.For(nil)
}

func asRemedy(err error, r **remedy.Error) bool { return errors.As(err, r) }
