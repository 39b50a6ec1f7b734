package dataset

import (
	"bytes"
	"image"
	"image/color"

	"golang.org/x/image/bmp"
)

var bmpFormat = pictureFormat{
	Format: Format{
		Name: "BMP", Files: ".bmp",
		Holds: "uncompressed, of 8, 24 and 32 bits; a palette that is a ramp of greys makes a grey image, another RGB",
	},
	extensions: []string{".bmp", ".dib"},
	magic:      func(start []byte) bool { return bytes.HasPrefix(start, []byte("BM")) },
	config:     bmp.DecodeConfig,
	decode:     bmp.Decode,
	grey: func(_ []byte, m image.Image) bool {
		p, ok := m.(*image.Paletted)
		if !ok || len(p.Palette) != 256 {
			return false
		}
		for i, c := range p.Palette {
			if v := uint8(i); color.RGBAModel.Convert(c) != (color.RGBA{v, v, v, 255}) {
				return false
			}
		}
		return true
	},
}
