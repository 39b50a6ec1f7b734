package dataset

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"io"
)

var jpegFormat = pictureFormat{
	Format: Format{
		Name: "JPEG", Files: ".jpg, .jpeg",
		Holds: "grey and colour, baseline and progressive. Decoders differ by a level or two in a pixel. An orientation in EXIF is not applied, as torchvision does not",
	},
	extensions: []string{".jpg", ".jpeg"},
	magic:      func(start []byte) bool { return bytes.HasPrefix(start, []byte("\xff\xd8\xff")) },
	config:     jpeg.DecodeConfig,
	decode: func(r io.Reader) (image.Image, error) {
		m, err := jpeg.Decode(r)
		if y, ok := m.(*image.YCbCr); ok && err == nil {
			return fromYCbCr(y, color.YCbCrToRGB), nil
		}
		return m, err
	},
}

// fromYCbCr makes an RGB image of m.
func fromYCbCr(m *image.YCbCr, rgb func(y, cb, cr uint8) (r, g, b uint8)) *image.RGBA {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	cb, cr := chroma(m, m.Cb), chroma(m, m.Cr)
	for y := range h {
		for x := range w {
			r, g, bl := rgb(m.Y[m.YOffset(b.Min.X+x, b.Min.Y+y)], cb(x, y), cr(x, y))
			copy(out.Pix[y*out.Stride+4*x:], []uint8{r, g, bl, 255})
		}
	}
	return out
}

// chroma returns the colour at each pixel of m, of one of its planes. Where that has half the
// width, or half of both sides, a pixel's is the mean of those around it, 3 to 1 in each direction,
// as libjpeg and libwebp have it. Other ratios repeat it.
func chroma(m *image.YCbCr, plane []uint8) func(x, y int) uint8 {
	b := m.Bounds()
	tall := 1
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio420:
		tall = 2
	case image.YCbCrSubsampleRatio422:
	default:
		return func(x, y int) uint8 { return plane[m.COffset(b.Min.X+x, b.Min.Y+y)] }
	}
	if b.Min != (image.Point{}) { // of a part of an image: pairs could begin within it
		return func(x, y int) uint8 { return plane[m.COffset(b.Min.X+x, b.Min.Y+y)] }
	}
	w, h := (b.Dx()+1)/2, (b.Dy()+tall-1)/tall
	// column is the sum of 4 parts, of the row itself and of the nearer of its neighbours.
	column := func(x, y int) int {
		if tall == 1 {
			return 4 * int(plane[y*m.CStride+x])
		}
		row := y / 2
		near := min(max(row+2*(y%2)-1, 0), h-1)
		return 3*int(plane[row*m.CStride+x]) + int(plane[near*m.CStride+x])
	}
	return func(x, y int) uint8 {
		at := x / 2
		near := min(max(at+2*(x%2)-1, 0), w-1)
		half := 8 - x%2 // halves go up and down by turns
		if tall == 1 {
			half = 4 + 4*(x%2)
		}
		return uint8((3*column(at, y) + column(near, y) + half) / 16)
	}
}
