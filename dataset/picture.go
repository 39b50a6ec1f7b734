package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"image"
	"image/color"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
	"advsweep/internal/survive"
	"advsweep/internal/words"
)

// A pictureFormat is a kind of image file.
type pictureFormat struct {
	Format
	extensions []string // lower case, with the dot
	magic      func(start []byte) bool
	config     func(io.Reader) (image.Config, error)
	decode     func(io.Reader) (image.Image, error)
	// grey reports whether a file is one of grey images, where the type of the decoded image does
	// not tell. It may be nil.
	grey func(file []byte, m image.Image) bool
	// claims returns an error if size bytes cannot hold an image of n bytes. It may be nil: the
	// rule against bombs is for all formats.
	claims func(n uint64, size int64, shape []int) error
}

// isPicture reports whether a name is that of a picture, by its extension.
func isPicture(name string) bool {
	for _, f := range pictureFormats {
		if slices.Contains(f.extensions, strings.ToLower(path.Ext(name))) {
			return true
		}
	}
	return false
}

// otherPictures are extensions of pictures that torchvision takes from class folders, and that are
// not read here: to leave them out would be to test on fewer images in silence.
var otherPictures = []string{".ppm", ".pgm", ".tif", ".tiff", ".gif", ".avif", ".heic", ".jp2", ".jpe", ".jfif"}

// A pictures joins the pictures of a folder to one set.
type pictures struct {
	query  *Query
	fsys   fs.FS
	hash   hash.Hash // of all files' bytes
	change transform
	shape  dims // of an image as it will be; of the first one
	bytes  []uint8
	floats []float32 // of pictures of 16 bits a channel
	stored int64     // bytes of the files read so far
	claims uint64    // bytes of their images before they are scaled
	clear  int       // pictures with transparent pixels
	turned int       // pictures that say they are to be turned
}

// readPictures reads files of fsys and gives them labels.
func readPictures(q *Query, fsys fs.FS, files []string, labels []int32) (*Stored, error) {
	p := &pictures{query: q, fsys: fsys, hash: sha256.New(), change: q.transform()}
	s := &Stored{query: *q, set: Set{Labels: labels}, pictures: true, layout: "chw"}
	for i, name := range files {
		// Of thousands of pictures the one that a decoder panics on must be named.
		if err := survive.Do(func() error { return p.add(name, len(files)-i) }); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	s.shape = []int{len(files), p.shape[0], p.shape[1], p.shape[2]}
	s.bytes, s.floats = p.bytes, p.floats
	source := &s.set.Source
	source.Images.SHA256, source.N = hex.EncodeToString(p.hash.Sum(nil)), len(files)
	source.Type, source.Divisor = "uint8", 255
	if s.floats != nil {
		source.Type, source.Divisor = "uint16", 65535
		lo, hi := slices.Min(s.floats), slices.Max(s.floats)
		source.Lo, source.Hi = math.Round(float64(lo)*65535), math.Round(float64(hi)*65535)
		if most := q.PixelMax; most != 0 && most != 65535 {
			for i, v := range s.floats {
				s.floats[i] = float32(float64(v) * 65535 / most)
			}
			source.Divisor = most
		}
	} else {
		source.Lo, source.Hi = float64(slices.Min(s.bytes)), float64(slices.Max(s.bytes))
		s.scale()
	}
	if p.clear > 0 {
		how := "they were laid over white"
		if q.Alpha == "drop" {
			how = "their transparency was left out"
		}
		s.note(remedy.Alpha, "%d of %d pictures have transparent pixels: %s", p.clear, len(files), how)
	}
	if p.turned > 0 {
		s.note("", "%d of %d pictures say in EXIF that they are to be turned: they were taken as they are, as torchvision does", p.turned, len(files))
	}
	return s, nil
}

// maxPicture is how large the file of a picture may be, in bytes.
const maxPicture = 256 << 20

// add reads one more picture; with it there are left more to come.
func (p *pictures) add(name string, left int) error {
	f, size, err := regular.OpenFS(p.fsys, name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := regular.All(f, size, maxPicture)
	if err != nil {
		return err
	}
	p.hash.Write(data)
	if turned(data) {
		p.turned++
	}
	p.stored += int64(len(data))
	one, err := p.decode(data)
	if err != nil {
		return err
	}
	to, err := p.change.shape(one.dims)
	if err != nil {
		return err
	}
	first := p.bytes == nil && p.floats == nil
	switch {
	case first:
		p.shape = to
	case to != p.shape:
		err := fmt.Errorf("is %v, want %v as the first image: [channels, height, width]", to, p.shape)
		if to[0] == p.shape[0] {
			return remedy.Want(remedy.ImageSize, err)
		} else if to[1] == p.shape[1] && to[2] == p.shape[2] {
			if p.shape[0] == 1 {
				return remedy.Want(remedy.RGBToGrey, err)
			}
			return remedy.Want(remedy.GreyToRGB, err)
		}
		return remedy.Want(remedy.ColourAndSize, err)
	case (one.floats != nil) != (p.floats != nil):
		have, want := 8, 16
		if one.floats != nil {
			have, want = 16, 8
		}
		return fmt.Errorf("has %d bits a channel, want %d as the first image", have, want)
	}
	if one.floats != nil {
		x, _ := change(p.change, one.floats, one.dims)
		p.floats = appendAll(p.floats, x, left)
	} else {
		x, _ := change(p.change, one.bytes, one.dims)
		p.bytes = appendAll(p.bytes, x, left)
	}
	return nil
}

// appendAll appends x to all. It takes twice the memory that is there, but no more than left images
// of this size will need.
func appendAll[T any](all, x []T, left int) []T {
	if len(all)+len(x) > cap(all) {
		grown := make([]T, len(all), min(2*len(all)+len(x), len(all)+left*len(x)))
		copy(grown, all)
		all = grown
	}
	return append(all, x...)
}

// A decoded is a picture, [C, H, W]: of bytes, or of 16 bits a channel, which become pixels.
type decoded struct {
	dims   dims
	bytes  []uint8
	floats []float32
}

func (p *pictures) decode(data []byte) (decoded, error) {
	var format *pictureFormat
	var names []string
	for i := range pictureFormats {
		if f := &pictureFormats[i]; f.magic(data) {
			format = f
			break
		} else {
			names = append(names, f.Name)
		}
	}
	if format == nil {
		return decoded{}, fmt.Errorf("starts with %.8q, want a picture: %s", data, words.Or(names))
	}
	// What follows takes its memory by what the header says, before it reads the pixels.
	config, err := format.config(bytes.NewReader(data))
	if err != nil {
		return decoded{}, cut(format, err)
	}
	shape := []int{channelsOfModel(config.ColorModel), config.Height, config.Width}
	if config.Height < 1 || config.Width < 1 {
		return decoded{}, fmt.Errorf("is %v, want at least one pixel", shape)
	}
	n, ok := product([]uint64{uint64(shape[0]), uint64(shape[1]), uint64(shape[2])})
	if !ok {
		return decoded{}, fmt.Errorf("dimensions %v overflow", shape)
	}
	size := int64(len(data))
	if format.claims != nil {
		if err := format.claims(n, size, shape); err != nil {
			return decoded{}, err
		}
	}
	// All files together, else many small ones could be huge. Each counts but once.
	if p.claims += n; n > max(bombSize, uint64(size)*maxRatio) || p.claims > max(bombSize, uint64(p.stored)*maxRatio) {
		return decoded{}, fmt.Errorf("images up to here, this one %v, have %d bytes in files of %d, as in a decompression bomb: want at most %d times as many", shape, p.claims, p.stored, maxRatio)
	}
	m, err := format.decode(bytes.NewReader(data))
	if err != nil {
		return decoded{}, cut(format, err)
	}
	if m.Bounds().Dx() != config.Width || m.Bounds().Dy() != config.Height {
		return decoded{}, fmt.Errorf("is %v, want %dx%d as its header says", m.Bounds().Size(), config.Width, config.Height)
	}
	grey := format.grey != nil && format.grey(data, m)
	one, err := p.pixels(m, grey)
	if err != nil {
		return decoded{}, err
	}
	return one, nil
}

// cut names the format of a file that a decoder refuses.
func cut(format *pictureFormat, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = errors.New("truncated: the picture ends early")
	}
	return fmt.Errorf("%s: %w", format.Name, err)
}

// channelsOfModel counts channels of a colour model, for what an image claims.
func channelsOfModel(m color.Model) int {
	if m == color.GrayModel || m == color.Gray16Model {
		return 1
	}
	return 3
}

// pixels returns the pixels of m. grey: its three channels are equal, make one of them.
func (p *pictures) pixels(m image.Image, grey bool) (decoded, error) {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	channels := 3
	if grey {
		channels = 1
	}
	switch m := m.(type) {
	case *image.Gray:
		x := m.Pix
		if m.Stride != w {
			x = make([]uint8, 0, w*h)
			for y := range h {
				x = append(x, m.Pix[y*m.Stride:][:w]...)
			}
		}
		return decoded{dims: dims{1, h, w}, bytes: x[:w*h]}, nil
	case *image.Gray16:
		return wide(1, h, w, m.Pix, m.Stride, 2), nil
	case *image.RGBA: // opaque: decoders give others as NRGBA
		return decoded{dims: dims{channels, h, w}, bytes: planes(channels, h, w, m.Pix, m.Stride)}, nil
	case *image.RGBA64:
		return wide(channels, h, w, m.Pix, m.Stride, 8), nil
	case *image.NRGBA:
		if err := p.over(m.Pix, m.Stride, h, w, 1); err != nil {
			return decoded{}, err
		}
		return decoded{dims: dims{channels, h, w}, bytes: planes(channels, h, w, m.Pix, m.Stride)}, nil
	case *image.NRGBA64:
		if err := p.over(m.Pix, m.Stride, h, w, 2); err != nil {
			return decoded{}, err
		}
		return wide(channels, h, w, m.Pix, m.Stride, 8), nil
	case *image.Paletted:
		flat := image.NewNRGBA(image.Rect(0, 0, w, h))
		for y := range h {
			for x := range w {
				flat.Set(x, y, m.At(b.Min.X+x, b.Min.Y+y))
			}
		}
		return p.pixels(flat, grey)
	case *image.CMYK:
		return decoded{}, errors.New("is in CMYK, want grey or RGB: convert it")
	}
	return decoded{}, fmt.Errorf("is of type %T, want grey or RGB: convert it", m)
}

// planes returns the first channels of pixels of four bytes as [channels, h, w].
func planes(channels, h, w int, pix []uint8, stride int) []uint8 {
	out := make([]uint8, channels*h*w)
	for y := range h {
		row := pix[y*stride:]
		for x := range w {
			for c := range channels {
				out[(c*h+y)*w+x] = row[4*x+c]
			}
		}
	}
	return out
}

// wide returns the first channels of pixels of 16 bits, high byte first, at steps of so many bytes.
func wide(channels, h, w int, pix []uint8, stride, step int) decoded {
	out := make([]float32, channels*h*w)
	for y := range h {
		row := pix[y*stride:]
		for x := range w {
			for c := range channels {
				at := step*x + 2*c
				v := uint16(row[at])<<8 | uint16(row[at+1])
				out[(c*h+y)*w+x] = float32(float64(v) / 65535)
			}
		}
	}
	return decoded{dims: dims{channels, h, w}, floats: out}
}

// over lays pixels of four channels, each of so many bytes, the last of them alpha and not
// multiplied in, over white, in place: v·a + 1 - a, rounded. It does what the query wants instead.
func (p *pictures) over(pix []uint8, stride, h, w, bytes int) error {
	read := func(at []uint8) uint32 {
		if bytes == 1 {
			return uint32(at[0])
		}
		return uint32(at[0])<<8 | uint32(at[1])
	}
	most := uint64(1)<<(8*bytes) - 1
	found := false
	for y := range h {
		for x := range w {
			at := pix[y*stride+4*bytes*x:]
			a := uint64(read(at[3*bytes:]))
			if a == most {
				continue
			}
			if found = true; p.query.Alpha == "refuse" {
				return errors.New("has transparent pixels, want none")
			} else if p.query.Alpha == "drop" {
				continue
			}
			for c := range 3 {
				v := (uint64(read(at[c*bytes:]))*a + (most-a)*most + most/2) / most
				if bytes == 1 {
					at[c] = uint8(v)
				} else {
					at[2*c], at[2*c+1] = uint8(v>>8), uint8(v)
				}
			}
		}
	}
	if found {
		p.clear++
	}
	return nil
}
