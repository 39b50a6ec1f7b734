// Package dataset reads labelled images: arrays in IDX, NPY and NPZ files, CIFAR's files, tables,
// and folders of pictures. Formats lists them.
package dataset

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/tensor"
)

// A Set is labelled images in file order.
type Set struct {
	// Images is [N, H, W] or [N, C, H, W], row-major, of Uint8, where a value v
	// is the pixel v/255, or of Float32, where it is the pixel itself. Images
	// of one channel are read as [N, H, W].
	Images *tensor.Dense
	// Labels is [N].
	Labels []int32
	// Classes[y] is the name of label y. It is nil if the names are not known, and
	// for MNIST, where the name of a digit is its label.
	Classes []string
	// First is the index of the first image in the files that Source names.
	First int
	// Source says where the images came from.
	Source Source
	// Notes say what reading took for granted.
	Notes []Note
}

// A Source names the files of a Set and what they held.
type Source struct {
	// Name is that of a known set, "Fashion-MNIST" or "CIFAR-10", else "".
	Name string
	// Images and Labels are the same file where it holds both.
	Images, Labels File
	// N is how many images the files hold.
	N int
	// Type is NumPy's name of the numbers in the files, "uint8", and of pictures "uint8" or
	// "uint16". Lo and Hi are the least and the largest of them, as they stand there. A number v is
	// the pixel v/Divisor.
	Type            string
	Lo, Hi, Divisor float64
}

// A File is one file, or several in their order, as read.
type File struct {
	Name   string // base name, or "embedded"; of a folder's images the folder's
	SHA256 string // of the bytes as stored, of several files one after another; hexadecimal
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
	if err := s.check(); err != nil {
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
	shape := s.Images.Shape().Clone()
	shape[0] = n
	size := shape.TotalSize() / n
	// Not Dense.Slice: of one image it would drop the first dimension.
	from, to := offset*size, (offset+n)*size
	var images *tensor.Dense
	switch pixels := s.Images.Data().(type) {
	case []uint8:
		images = dense(shape, pixels[from:to:to])
	case []float32:
		images = dense(shape, pixels[from:to:to])
	}
	return &Set{
		Images:  images,
		Labels:  s.Labels[offset : offset+n : offset+n],
		Classes: s.Classes,
		First:   s.First + offset,
		Source:  s.Source,
		Notes:   s.Notes,
	}, nil
}

// SHA256 returns, in hexadecimal, a SHA-256 of the pixels and labels of s.
// Neither file headers nor names enter, so that plain, compressed and embedded
// copies of the same images agree.
//
// Of [N, H, W] of Uint8 with labels from 0 to 255 it is that of the N·H·W pixel
// bytes (row-major, image by image) followed by the N labels, one byte each. Of
// every other set it is that of a line with type and shape, as in
// "float32 [1000 3 32 32]\n", the pixels, and the labels in four bytes each,
// all numbers little-endian: sets that differ in any of these differ in it.
//
// It returns "" if the shapes of s do not fit each other; see Check.
func (s *Set) SHA256() string {
	if s.check() != nil {
		return ""
	}
	h := sha256.New()
	bytes, plain := s.Images.Data().([]uint8)
	plain = plain && s.Images.Dims() == 3
	labels := make([]byte, len(s.Labels))
	for i, l := range s.Labels {
		labels[i] = byte(l)
		plain = plain && l == int32(labels[i])
	}
	if !plain {
		fmt.Fprintf(h, "%v %v\n", s.Images.Dtype(), []int(s.Images.Shape()))
		labels = labels[:0]
		for _, l := range s.Labels {
			labels = binary.LittleEndian.AppendUint32(labels, uint32(l))
		}
	}
	h.Write(bytes)
	if pixels, ok := s.Images.Data().([]float32); ok {
		buffer := make([]byte, 0, 64<<10)
		for part := range slices.Chunk(pixels, cap(buffer)/4) {
			buffer = buffer[:0]
			for _, v := range part {
				buffer = binary.LittleEndian.AppendUint32(buffer, math.Float32bits(v))
			}
			h.Write(buffer)
		}
	}
	h.Write(labels)
	return hex.EncodeToString(h.Sum(nil))
}

// Check returns an error if s is not what its type says (Images is [N, H, W] or
// [N, C, H, W], Uint8 or Float32, row-major and contiguous, and there are N
// labels) or if a label lies outside [0, classes). The index in the error
// counts from the start of the file. Values of pixels are not looked at.
func (s *Set) Check(classes int) error {
	if err := s.check(); err != nil {
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

// ClassNotes returns a note if s names another number of classes than a model has: then labels that
// were made of sorted names may not be the model's.
func (s *Set) ClassNotes(classes int) []Note {
	if n := len(s.Classes); n > 0 && n != classes {
		return []Note{{Text: fmt.Sprintf("the images have names for %d classes and the model has %d: is label 0, %.40q, its first? "+
			"A classes.txt or class_to_idx.json beside the folders of classes gives the order of a model", n, classes, s.Classes[0])}}
	}
	return nil
}

// check is Check without the labels' values. A Set is open to be filled by
// hand, so the shapes are checked here, before any arithmetic leans on them.
func (s *Set) check() error {
	if s.Images == nil {
		return fmt.Errorf("dataset: %s: no images", s.imagesName())
	}
	shape, dtype := s.Images.Shape(), s.Images.Dtype()
	if (shape.Dims() != 3 && shape.Dims() != 4) || (dtype != tensor.Uint8 && dtype != tensor.Float32) {
		return fmt.Errorf("dataset: %s: images are %v of %v, want [N, H, W] or [N, C, H, W] of uint8 or float32",
			s.imagesName(), shape, dtype)
	}
	if shape[0] != len(s.Labels) {
		return fmt.Errorf("dataset: %s: %d labels, want %d, one for each image",
			name(s.Source.Labels.Name, "labels"), len(s.Labels), shape[0])
	}
	if s.Images.RequiresIterator() || !s.Images.DataOrder().IsRowMajor() {
		return fmt.Errorf("dataset: %s: images are not contiguous and row-major", s.imagesName())
	}
	have := -1
	switch pixels := s.Images.Data().(type) {
	case []uint8:
		have = len(pixels)
	case []float32:
		have = len(pixels)
	}
	if have != shape.TotalSize() {
		return fmt.Errorf("dataset: %s: images %v hold %d pixels, want %d",
			s.imagesName(), shape, have, shape.TotalSize())
	}
	return nil
}

func (s *Set) imagesName() string { return name(s.Source.Images.Name, "images") }

func name(of, otherwise string) string {
	if of == "" {
		return otherwise
	}
	return of
}

// Range returns the least and the largest pixel of s, bytes v being the pixel v/255.
func (s *Set) Range() (lo, hi float64) {
	switch x := s.Images.Data().(type) {
	case []uint8:
		return float64(slices.Min(x)) / 255, float64(slices.Max(x)) / 255
	case []float32:
		return float64(slices.Min(x)), float64(slices.Max(x))
	case []float64:
		return slices.Min(x), slices.Max(x)
	}
	return 0, 1
}
