// Package dataset reads labelled images.
package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"gorgonia.org/tensor"
)

// A Set is labelled images in file order.
type Set struct {
	// Images is [N, H, W], Uint8. A stored value v is the pixel v/255.
	Images *tensor.Dense
	// Labels is [N].
	Labels []int32
	// First is the index of the first image in the files that Source names.
	First int
	// Source says where the images came from.
	Source Source
}

// A Source names the files of a Set and what they held.
type Source struct {
	Images, Labels File
	// N is how many images the files hold.
	N int
}

// A File is one file as it was read.
type File struct {
	Name   string // base name, or "embedded"
	SHA256 string // of the file's bytes as stored, hexadecimal
}

// N returns how many images s holds, which is len(s.Labels).
func (s *Set) N() int { return len(s.Labels) }

// Slice returns the n images of s from offset on, with their labels. The
// result shares the memory of s, and its First counts from the start of the
// files, not of s.
//
// It returns an error that says how many images there are if n is not
// positive or the range leaves s, and the error of Check if the shapes of s
// do not fit each other.
func (s *Set) Slice(offset, n int) (*Set, error) {
	pixels, err := s.pixels()
	if err != nil {
		return nil, err
	}
	have := s.N()
	switch {
	case offset < 0 || offset >= have:
		return nil, fmt.Errorf("dataset: %s: offset %d, want 0 to %d: there are %d images",
			s.imagesName(), offset, have-1, have)
	case n <= 0 || n > have-offset:
		return nil, fmt.Errorf("dataset: %s: n = %d images from offset %d, want 1 to %d: there are %d images",
			s.imagesName(), n, offset, have-offset, have)
	}
	shape := s.Images.Shape()
	size := shape[1] * shape[2]
	// Not Dense.Slice: of one image it would drop the first dimension.
	return &Set{
		Images: dense([]int{n, shape[1], shape[2]}, pixels[offset*size:(offset+n)*size:(offset+n)*size]),
		Labels: s.Labels[offset : offset+n : offset+n],
		First:  s.First + offset,
		Source: s.Source,
	}, nil
}

// SHA256 returns, in hexadecimal, the SHA-256 of the N·H·W pixel bytes of s
// (row-major, image by image) followed by its N labels, one byte each (the
// low byte). Neither file headers nor names enter, so that plain, compressed
// and embedded copies of the same images agree.
//
// It returns "" if the shapes of s do not fit each other; see Check.
func (s *Set) SHA256() string {
	pixels, err := s.pixels()
	if err != nil {
		return ""
	}
	labels := make([]byte, len(s.Labels))
	for i, l := range s.Labels {
		labels[i] = byte(l)
	}
	h := sha256.New()
	h.Write(pixels)
	h.Write(labels)
	return hex.EncodeToString(h.Sum(nil))
}

// Check returns an error if s is not what its type says (Images is [N, H, W],
// Uint8, contiguous, and there are N labels) or if a label lies outside
// [0, classes). The index in the error counts from the start of the file.
func (s *Set) Check(classes int) error {
	if _, err := s.pixels(); err != nil {
		return err
	}
	if classes < 1 {
		return fmt.Errorf("dataset: %d classes, want at least 1", classes)
	}
	for i, l := range s.Labels {
		if l < 0 || int(l) >= classes {
			return fmt.Errorf("dataset: %s: label %d is %d, want 0 to %d",
				name(s.Source.Labels.Name, "labels"), s.First+i, l, classes-1)
		}
	}
	return nil
}

// pixels returns the memory of s.Images, N·H·W bytes, row-major. A Set is
// open to be filled by hand, so the shapes are checked here, before any
// arithmetic leans on them.
func (s *Set) pixels() ([]byte, error) {
	if s.Images == nil {
		return nil, fmt.Errorf("dataset: %s: no images", s.imagesName())
	}
	shape := s.Images.Shape()
	if shape.Dims() != 3 || s.Images.Dtype() != tensor.Uint8 {
		return nil, fmt.Errorf("dataset: %s: images are %v of %v, want [N, H, W] of uint8",
			s.imagesName(), shape, s.Images.Dtype())
	}
	if shape[0] != len(s.Labels) {
		return nil, fmt.Errorf("dataset: %s: %d labels, want %d, one for each image",
			name(s.Source.Labels.Name, "labels"), len(s.Labels), shape[0])
	}
	if s.Images.RequiresIterator() || !s.Images.DataOrder().IsRowMajor() {
		return nil, fmt.Errorf("dataset: %s: images are not contiguous and row-major", s.imagesName())
	}
	pixels, ok := s.Images.Data().([]byte)
	if !ok || len(pixels) != shape.TotalSize() {
		return nil, fmt.Errorf("dataset: %s: images %v hold %d bytes, want %d",
			s.imagesName(), shape, len(pixels), shape.TotalSize())
	}
	return pixels, nil
}

func (s *Set) imagesName() string { return name(s.Source.Images.Name, "images") }

func name(of, otherwise string) string {
	if of == "" {
		return otherwise
	}
	return of
}
