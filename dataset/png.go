package dataset

import (
	"bytes"
	"image"
	"image/png"
)

var pngFormat = pictureFormat{
	Format: Format{
		Name: "PNG", Files: ".png",
		Holds: "grey, RGB and palettes (which are RGB), with or without transparency, of 1, 2, 4, 8 and 16 bits",
	},
	extensions: []string{".png"},
	magic:      func(start []byte) bool { return bytes.HasPrefix(start, []byte("\x89PNG\r\n\x1a\n")) },
	config:     png.DecodeConfig,
	decode:     png.Decode,
	// The colour type in the header's chunk, which comes first: 0 is grey, 4 grey with alpha.
	grey: func(file []byte, _ image.Image) bool {
		return len(file) > 25 && (file[25] == 0 || file[25] == 4)
	},
	claims: backed, // by deflate
}
