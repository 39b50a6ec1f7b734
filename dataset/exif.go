package dataset

import (
	"bytes"
	"encoding/binary"
)

// turned reports whether a picture says in EXIF that it is to be turned or mirrored. It looks for
// EXIF where JPEG, PNG and WebP have it, by what stands before it: as only a note depends on it, a
// file that has these bytes elsewhere does no harm.
//
// CIPA DC-008 (Exif 2.32), section 4.6.4: tag 0x0112 of the first directory, 1 for as it is.
func turned(file []byte) bool {
	const most = 1 << 20
	file = file[:min(len(file), most)]
	for _, mark := range []string{"Exif\x00\x00", "eXIf", "EXIF"} {
		at := bytes.Index(file, []byte(mark))
		if at < 0 {
			continue
		}
		tiff := file[at+len(mark):]
		if mark == "EXIF" && len(tiff) > 4 { // WebP's chunk has its length next
			tiff = tiff[4:]
		}
		var order binary.ByteOrder = binary.LittleEndian
		switch {
		case bytes.HasPrefix(tiff, []byte("MM\x00\x2a")):
			order = binary.BigEndian
		case bytes.HasPrefix(tiff, []byte("II\x2a\x00")):
		default:
			continue
		}
		if len(tiff) < 10 {
			continue
		}
		start := uint64(order.Uint32(tiff[4:]))
		if start+2 > uint64(len(tiff)) {
			continue
		}
		directory := tiff[start:]
		for i := range int(order.Uint16(directory)) {
			from := 2 + 12*i
			if from+12 > len(directory) {
				break
			}
			if one := directory[from:]; order.Uint16(one) == 0x0112 {
				v := order.Uint16(one[8:])
				return v >= 2 && v <= 8
			}
		}
	}
	return false
}
