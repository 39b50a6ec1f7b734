package dataset

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"strconv"
	"strings"

	"advsweep/internal/npy"

	"gorgonia.org/tensor"
)

// An Array is a named array for WriteNPZ.
type Array struct {
	Name  string
	Shape []int
	Data  any // []uint8, []int32, []float32 or []float64, row-major
}

// WriteNPZ writes arrays as an NPZ file, which numpy.load reads and, of images and labels, Load.
// Nothing is compressed, and equal arrays give equal bytes. It returns an error if an array does
// not have as many elements as its shape says or is of another type, or w fails.
//
// Format: numpy.org/neps/nep-0001-npy-format.html, version 1.0, little-endian.
func WriteNPZ(w io.Writer, arrays ...Array) error {
	z := zip.NewWriter(w)
	for _, a := range arrays {
		header, err := a.npyHeader()
		if err != nil {
			return fmt.Errorf("dataset: array %s: %w", a.Name, err)
		}
		f, err := z.CreateHeader(&zip.FileHeader{Name: a.Name + ".npy", Method: zip.Store})
		if err == nil {
			_, err = f.Write(header)
		}
		if err == nil {
			err = binary.Write(f, binary.LittleEndian, a.Data)
		}
		if err != nil {
			return fmt.Errorf("dataset: array %s: %w", a.Name, err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	return nil
}

func (a Array) npyHeader() ([]byte, error) {
	var descr string
	have := 0
	switch d := a.Data.(type) {
	case []uint8:
		descr, have = "|u1", len(d)
	case []int32:
		descr, have = "<i4", len(d)
	case []float32:
		descr, have = "<f4", len(d)
	case []float64:
		descr, have = "<f8", len(d)
	default:
		return nil, fmt.Errorf("%T, want []uint8, []int32, []float32 or []float64", d)
	}
	n, shape := 1, "("
	for _, d := range a.Shape {
		n *= d
		shape += strconv.Itoa(d) + ", "
	}
	if n != have {
		return nil, fmt.Errorf("%d elements, want %d for %v", have, n, a.Shape)
	}
	if shape = strings.TrimSuffix(shape, " "); len(a.Shape) > 1 {
		shape = strings.TrimSuffix(shape, ",")
	}
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': %s), }", descr, shape)
	const before, align = 10, 64 // the header ends at a multiple of 64
	text += strings.Repeat(" ", (align-(before+len(text)+1)%align)%align) + "\n"
	head := append([]byte(npy.Magic), 1, 0)
	head = binary.LittleEndian.AppendUint16(head, uint16(len(text)))
	return append(head, text...), nil
}

// WritePNGs writes a zip archive with a PNG file for each of images, [N, H, W] or [N, C, H, W] with
// 1 or 3 channels, Uint8, and a labels.csv: unpacked, it is a folder that Load reads. The files are
// named by the index of the image, that of the first one given. Equal images give equal bytes. It
// returns an error for other images, if there are not as many labels, or if w fails.
func WritePNGs(w io.Writer, images *tensor.Dense, labels []int32, first int) error {
	pixels, ok := images.Data().([]uint8)
	shape := images.Shape()
	channels, ok := pngChannels(shape, ok)
	if !ok {
		return fmt.Errorf("dataset: images %v of %v, want [N, H, W] or [N, C, H, W] of uint8 with 1 or 3 channels", shape, images.Dtype())
	}
	if shape[0] != len(labels) {
		return fmt.Errorf("dataset: %d labels, want %d, one for each image", len(labels), shape[0])
	}
	z := zip.NewWriter(w)
	add := func(name string, data []byte) error {
		// PNG is compressed
		f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = f.Write(data)
		}
		if err != nil {
			return fmt.Errorf("dataset: %s: %w", name, err)
		}
		return nil
	}
	h, wide := shape[len(shape)-2], shape[len(shape)-1]
	var list, b bytes.Buffer
	rows := csv.NewWriter(&list) // takes every write
	_ = rows.Write([]string{"file", "label"})
	for i, label := range labels {
		name := fmt.Sprintf("%06d.png", first+i)
		b.Reset()
		if err := png.Encode(&b, picture(pixels[i*channels*h*wide:][:channels*h*wide], h, wide)); err != nil {
			return fmt.Errorf("dataset: %s: %w", name, err)
		}
		if err := add(name, b.Bytes()); err != nil {
			return err
		}
		_ = rows.Write([]string{name, strconv.Itoa(int(label))})
	}
	rows.Flush()
	if err := add(listCSV, list.Bytes()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("dataset: %w", err)
	}
	return nil
}

// HasPNG reports whether images of shape [N, …] can be written by WritePNGs.
func HasPNG(shape []int) bool {
	_, ok := pngChannels(shape, true)
	return ok
}

func pngChannels(shape []int, ok bool) (channels int, _ bool) {
	switch {
	case len(shape) == 3:
		return 1, ok
	case len(shape) == 4 && (shape[1] == 1 || shape[1] == 3):
		return shape[1], ok
	}
	return 0, false
}

// picture is the image with pixels [h, w] or [3, h, w].
func picture(pixels []byte, h, w int) image.Image {
	if len(pixels) == h*w {
		return &image.Gray{Pix: pixels, Stride: w, Rect: image.Rect(0, 0, w, h)}
	}
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range h * w {
		m.SetRGBA(i%w, i/w, color.RGBA{R: pixels[i], G: pixels[h*w+i], B: pixels[2*h*w+i], A: 255})
	}
	return m
}
