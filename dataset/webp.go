package dataset

import (
	"image"
	"io"
	"math"

	"golang.org/x/image/webp"
)

var webpFormat = pictureFormat{
	Format: Format{
		Name: "WebP", Files: ".webp",
		Holds: "lossless and lossy, single images. Of lossy ones decoders differ by a level or two in a pixel",
	},
	extensions: []string{".webp"},
	magic: func(start []byte) bool {
		return len(start) >= 12 && string(start[:4]) == "RIFF" && string(start[8:12]) == "WEBP"
	},
	config: webp.DecodeConfig,
	decode: func(r io.Reader) (image.Image, error) {
		m, err := webp.Decode(r)
		if err != nil {
			return nil, err
		}
		switch m := m.(type) {
		case *image.YCbCr:
			return fromYCbCr(m, studioToRGB), nil
		case *image.NYCbCrA:
			rgb := fromYCbCr(&m.YCbCr, studioToRGB)
			out := &image.NRGBA{Pix: rgb.Pix, Stride: rgb.Stride, Rect: rgb.Rect}
			for y := range out.Rect.Dy() {
				for x := range out.Rect.Dx() {
					out.Pix[y*out.Stride+4*x+3] = m.A[m.AOffset(m.Rect.Min.X+x, m.Rect.Min.Y+y)]
				}
			}
			return out, nil
		}
		return m, nil
	},
}

// studioToRGB converts the colours of lossy WebP. Black is 16 there and white 235, where JPEG, and
// color.YCbCrToRGB, have 0 and 255.
//
// ITU-R BT.601-7, section 2.5; RFC 6386, section 9.2.
func studioToRGB(y, cb, cr uint8) (r, g, b uint8) {
	const luma, chroma = 255.0 / 219, 255.0 / 224
	l, u, v := float64(luma*(float64(y)-16)), chroma*(float64(cb)-128), chroma*(float64(cr)-128)
	level := func(v float64) uint8 { return uint8(math.Floor(min(max(v, 0), 255) + 0.5)) }
	return level(l + float64(1.402*v)),
		level(l - float64(0.344136*u) - float64(0.714136*v)),
		level(l + float64(1.772*u))
}
