package dataset

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"advsweep/internal/remedy"

	"github.com/google/go-cmp/cmp"
)

// counting is n images of one shape, whose numbers count up from 0 in the order of the file.
func counting(t testing.TB, q Query, shape ...int) *Stored {
	t.Helper()
	data := make([]byte, volume(shape))
	for i := range data {
		data[i] = byte(i)
	}
	a := bytesOf(dense(shape, data))
	q.PixelMax = 255 // no notes of small ranges
	s := &Stored{query: q, set: Set{Labels: make([]int32, shape[0])}}
	if err := s.store(a); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLayout(t *testing.T) {
	chw := func(h, w, c int) []byte { // of an image [h, w, c] that counts up
		var out []byte
		for k := range c {
			for i := range h * w {
				out = append(out, byte(i*c+k))
			}
		}
		return out
	}
	up := func(n int) []byte {
		out := make([]byte, n)
		for i := range out {
			out[i] = byte(i)
		}
		return out
	}
	hwc := func(c, h, w int) []byte { // of an image [c, h, w] that counts up
		var out []byte
		for i := range h * w {
			for k := range c {
				out = append(out, byte(k*h*w+i))
			}
		}
		return out
	}
	for _, c := range []struct {
		name  string
		file  []int // without N
		query Query
		model []int
		shape []int
		want  []byte
		need  []remedy.Need // of the notes
	}{
		{"grey", []int{2, 3}, Query{}, []int{1, 2, 3}, []int{2, 3}, up(6), nil},
		{"grey with its channel", []int{1, 2, 3}, Query{}, []int{1, 2, 3}, []int{2, 3}, up(6), nil},
		{"grey with its channel last", []int{2, 3, 1}, Query{}, []int{1, 2, 3}, []int{2, 3}, up(6), nil},
		{"grey, flat model", []int{2, 3}, Query{}, []int{6}, []int{2, 3}, up(6), nil},
		{"channels first", []int{3, 2, 4}, Query{}, []int{3, 2, 4}, []int{3, 2, 4}, up(24), nil},
		{"channels last", []int{2, 4, 3}, Query{}, []int{3, 2, 4}, []int{3, 2, 4}, chw(2, 4, 3), nil},
		{"13 channels", []int{13, 2, 2}, Query{}, []int{13, 2, 2}, []int{13, 2, 2}, up(52), nil},
		{"13 channels last", []int{2, 2, 13}, Query{}, []int{13, 2, 2}, []int{13, 2, 2}, chw(2, 2, 13), nil},
		{"both ends could be channels, the model says", []int{4, 2, 3}, Query{}, []int{3, 4, 2}, []int{3, 4, 2}, chw(4, 2, 3), nil},
		{"a cube, told", []int{3, 3, 3}, Query{Layout: "hwc"}, []int{3, 3, 3}, []int{3, 3, 3}, chw(3, 3, 3), nil},
		{"a cube, told first", []int{3, 3, 3}, Query{Layout: "chw"}, []int{3, 3, 3}, []int{3, 3, 3}, up(27), nil},
		{"no model", []int{2, 4, 3}, Query{}, nil, []int{3, 2, 4}, chw(2, 4, 3), nil},
		{"no model, rows", []int{5}, Query{}, nil, []int{1, 5}, up(5), nil},
		{"rows, flat model", []int{6}, Query{}, []int{6}, []int{1, 6}, up(6), nil},
		{"rows, a square", []int{9}, Query{}, []int{9}, []int{3, 3}, up(9), nil},
		{"rows with a 1", []int{1, 6}, Query{}, []int{6}, []int{1, 6}, up(6), nil},
		{"rows, model of [1, I]", []int{6}, Query{}, []int{1, 6}, []int{1, 6}, up(6), nil},
		{"rows, model of images", []int{24}, Query{}, []int{3, 2, 4}, []int{3, 2, 4}, up(24), []remedy.Need{remedy.Layout}},
		{"rows, H, W, C, model of images", []int{24}, Query{Layout: "hwc"}, []int{3, 2, 4}, []int{3, 2, 4}, chw(2, 4, 3), nil},
		{"rows, grey model of images", []int{6}, Query{}, []int{1, 2, 3}, []int{2, 3}, up(6), []remedy.Need{""}},
		{"channels last, flat model: the file's order", []int{2, 4, 3}, Query{}, []int{24}, []int{2, 12}, up(24), []remedy.Need{remedy.Flat}},
		{"channels last, flat model, C, H, W asked for", []int{2, 4, 3}, Query{Flat: "chw"}, []int{24}, []int{3, 2, 4}, chw(2, 4, 3), nil},
		{"channels first, flat model: the file's order", []int{3, 2, 4}, Query{}, []int{24}, []int{3, 2, 4}, up(24), nil},
		{"channels first, flat model, H, W, C asked for", []int{3, 2, 4}, Query{Flat: "hwc"}, []int{24}, []int{2, 12}, hwc(3, 2, 4), nil},
		{"channels unknown, flat model", []int{5, 2, 2}, Query{}, []int{20}, []int{5, 2, 2}, up(20), nil},
		{"grey to RGB", []int{1, 2}, Query{Channels: "rgb"}, []int{3, 1, 2}, []int{3, 1, 2}, []byte{0, 1, 0, 1, 0, 1}, nil},
		{"grey to RGB, flat model of the file's order", []int{2, 2, 1}, Query{Channels: "rgb"}, []int{12}, []int{2, 6}, []byte{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3}, []remedy.Need{remedy.Flat}},
		{"the middle, channels last", []int{3, 3, 3}, Query{Crop: Size{1, 1}}, []int{3, 1, 1}, []int{3, 1, 1}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			stored := counting(t, c.query, append([]int{2}, c.file...)...)
			s, err := stored.For(c.model)
			if c.want == nil { // three by three by three: told by nothing
				if err == nil || !strings.Contains(err.Error(), "both dimensions 1 and 3 are 1, 3 or 4") {
					t.Errorf("error %v, want that the channels cannot be told", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(append([]int{2}, c.shape...), []int(s.Images.Shape())); d != "" {
				t.Errorf("shape (-want +got):\n%s", d)
			}
			got := s.Images.Data().([]uint8)
			if d := cmp.Diff(c.want, got[:len(got)/2]); d != "" {
				t.Errorf("the first image (-want +got):\n%s", d)
			}
			size := volume(c.file) // the second one counts on
			for i, v := range got[len(got)/2:] {
				if v != c.want[i]+byte(size) {
					t.Errorf("number %d of the second image is %d, want %d", i, v, c.want[i]+byte(size))
				}
			}
			var needs []remedy.Need
			for _, n := range s.Notes {
				needs = append(needs, n.Need)
			}
			if !slices.Equal(needs, c.need) {
				t.Errorf("notes %v, want of %q", s.Notes, c.need)
			}
		})
	}
}

// TestMisfit: what does not fit is refused with both shapes, and with what mends it.
func TestMisfit(t *testing.T) {
	for _, c := range []struct {
		name  string
		file  []int
		query Query
		model []int
		want  string
		need  remedy.Need
	}{
		{"transposed", []int{10, 6}, Query{}, []int{1, 6, 10}, "images are [1 10 6], the model takes [1 6 10]: [channels, height, width]: height and width are changed about: are the images transposed?", ""},
		{"as many numbers", []int{12, 16}, Query{}, []int{3, 8, 8}, "images are [1 12 16], the model takes [3 8 8]", remedy.ColourAndSize},
		{"as many numbers, in colour", []int{3, 4, 16}, Query{}, []int{3, 8, 8}, "images are [3 4 16], the model takes [3 8 8]", remedy.ImageSize},
		{"two dimensions changed about", []int{8, 3, 9}, Query{Layout: "chw"}, []int{3, 8, 9}, "images are [8 3 9], the model takes [3 8 9]: [channels, height, width]: are the images transposed?", ""},
		{"grey for RGB", []int{8, 8}, Query{}, []int{3, 8, 8}, "images are [1 8 8], the model takes [3 8 8]", remedy.GreyToRGB},
		{"RGB for grey", []int{3, 8, 8}, Query{}, []int{1, 8, 8}, "images are [3 8 8], the model takes [1 8 8]", remedy.RGBToGrey},
		{"size", []int{9, 8}, Query{}, []int{1, 8, 8}, "images are [1 9 8], the model takes [1 8 8]", remedy.ImageSize},
		{"size after a resize", []int{9, 8}, Query{Resize: Size{4, 4}}, []int{1, 8, 8}, "images are [1 4 4], the model takes [1 8 8]", remedy.ImageSize},
		{"flat", []int{9, 8}, Query{}, []int{64}, "images are [1 9 8] ([channels, height, width]), 72 numbers, the model takes 64", ""},
		{"rows", []int{72}, Query{}, []int{64}, "images are [2 72], rows of 72 numbers, the model takes 64", ""},
		{"rows for images", []int{72}, Query{}, []int{1, 8, 8}, "images are [2 72], rows of 72 numbers, the model takes 64, [1 8 8]", ""},
		{"rows cannot be resized", []int{64}, Query{Resize: Size{H: 4}}, []int{1, 4, 4}, "rows of numbers, want a height and a width", ""},
		{"channels that nothing tells", []int{5, 6, 7}, Query{}, nil, "neither dimension 1 nor 3 is 1, 3 or 4", remedy.Layout},
		{"channels that the model does not tell", []int{5, 6, 7}, Query{}, []int{3, 6, 6}, "the model takes [3 6 6], and neither dimension 1 nor 3 is 1, 3 or 4", remedy.Layout},
		{"both ends", []int{3, 2, 4}, Query{}, nil, "both dimensions 1 and 3 are 1, 3 or 4", remedy.Layout},
	} {
		t.Run(c.name, func(t *testing.T) {
			stored := counting(t, c.query, append([]int{2}, c.file...)...)
			_, err := stored.For(c.model)
			wantError(t, err, "dataset: ", c.want)
			var need remedy.Need
			if r := (*remedy.Error)(nil); asRemedy(err, &r) {
				need = r.Need
			}
			if need != c.need {
				t.Errorf("need %q, want %q", need, c.need)
			}
		})
	}
}

// TestNumbers: what numbers of each type become, and what is said of them.
func TestNumbers(t *testing.T) {
	le := func(words ...uint64) func(width int) []byte {
		return func(width int) []byte {
			var b []byte
			for _, w := range words {
				for i := range width {
					b = append(b, byte(w>>(8*i)))
				}
			}
			return b
		}
	}
	minus := ^uint64(0)
	for _, c := range []struct {
		descr  string
		data   func(width int) []byte
		most   float64 // as PixelMax
		want   string  // the images as they print, or the error
		source string  // type, least, largest, divisor
		notes  int
	}{
		{"|u1", le(0, 128, 255), 0, "[0 128 255]", "uint8 0 255 255", 0},
		{"|u1", le(0, 8, 16), 0, "[0 8 16]", "uint8 0 16 255", 1},
		{"|u1", le(0, 8, 16), 16, "[0 0.5 1]", "uint8 0 16 16", 0},
		{"|u1", le(0, 1, 1), 0, "[0 1 1]", "uint8 0 1 255", 1},
		{"|u1", le(0, 1, 1), 255, "[0 1 1]", "uint8 0 1 255", 0},
		{"|b1", le(0, 1, 1), 0, "[0 1 1]", "bool 0 1 1", 0},
		{"<i8", le(0, 128, 255), 0, "[0 128 255]", "int64 0 255 255", 1},
		{"<i8", le(0, 8, 16), 0, "[0 8 16]", "int64 0 16 255", 2},
		{"<i8", le(0, 8, 16), 16, "[0 0.5 1]", "int64 0 16 16", 0},
		{"<i2", le(minus, 8, 16), 0, "images of int16 from -1 to 16, want uint8, floats, or to be told which number is white", "", 0},
		{"<u2", le(0, 32768, 65535), 65535, "[0 0.5000076 1]", "uint16 0 65535 65535", 0},
		{"<u2", le(0, 32768, 65535), 0, "images of uint16 from 0 to 65535", "", 0},
		{"|i1", le(minus, 0, 1), 1, "[-1 0 1]", "int8 -1 1 1", 0},
		{"<i4", le(1, 2, 3), 4, "[0.25 0.5 0.75]", "int32 1 3 4", 0},
		{"<u4", le(1, 2, 3), 4, "[0.25 0.5 0.75]", "uint32 1 3 4", 0},
		{"<u8", le(1, 2, 3), 4, "[0.25 0.5 0.75]", "uint64 1 3 4", 0},
		{"<f2", le(0x3c00, 0x0001, 0xbc00), 0, "[1 5.9604645e-08 -1]", "float16 -1 1 1", 0},
		{"<f2", le(0x3c00, 0x7c00, 0), 0, "element 1 is +Inf, want finite numbers", "", 0},
		{"<f2", le(0x3c00, 0, 0x7c01), 0, "element 2 is NaN, want finite numbers", "", 0},
		{"<f4", le(0x3f800000, 0x40000000, 0), 0, "[1 2 0]", "float32 0 2 1", 0},
		{"<f4", le(0x3f800000, 0x40000000, 0), 2, "[0.5 1 0]", "float32 0 2 2", 0},
		{"<f4", le(0x3f800000, 0x7fc00000, 0), 0, "element 1 is NaN, want finite numbers", "", 0},
		{"<c8", le(0, 0, 0), 0, "images of <c8, want integers or floats", "", 0},
	} {
		width := int(c.descr[2] - '0')
		file := npyFile(npyHeaderOf(c.descr, false, 1, 1, 3), c.data(width))
		a, err := readNPY(strings.NewReader(string(file)), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		s := &Stored{query: Query{PixelMax: c.most}, set: Set{Labels: []int32{0}}}
		err = s.store(a)
		if err != nil {
			if c.source != "" || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s, largest %v: error %v, want %s", c.descr, c.most, err, c.want)
			}
			continue
		}
		set, err := s.For(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(set.Images.Data()); got != c.want {
			t.Errorf("%s, largest %v: %s, want %s", c.descr, c.most, got, c.want)
		}
		f := set.Source
		if got := fmt.Sprint(f.Type, " ", f.Lo, " ", f.Hi, " ", f.Divisor); got != c.source || len(set.Notes) != c.notes {
			t.Errorf("%s, largest %v: %s with notes %v, want %s with %d", c.descr, c.most, got, set.Notes, c.source, c.notes)
		}
	}
}
