package dataset

import (
	"archive/zip"
	"bytes"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// golden are the arrays of testdata/pictures.npz, which pictures.py made with Pillow.
func golden(t *testing.T) map[string]*array {
	t.Helper()
	z, err := zip.OpenReader("testdata/pictures.npz")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	arrays := map[string]*array{}
	for _, f := range z.File {
		a, err := readEntry(f, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		arrays[strings.TrimSuffix(f.Name, ".npy")] = a
	}
	return arrays
}

// planar returns a, [H, W] or [H, W, C], as numbers [C, H, W] and its shape.
func planar(t *testing.T, a *array) ([]float64, dims) {
	t.Helper()
	h, w, c := a.Shape[0], a.Shape[1], 1
	if len(a.Shape) == 3 {
		c = a.Shape[2]
	}
	at, err := a.element()
	if a.Descr[1:] == "u1" {
		at, err = func(i int) float64 { return float64(a.Data[i]) }, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	out := make([]float64, c*h*w)
	for i := range out {
		out[i%c*h*w+i/c] = at(i)
	}
	return out, dims{c, h, w}
}

// numbersOf are the numbers of s as they are in its files.
func numbersOf(s *Set) []float64 {
	var out []float64
	switch x := s.Images.Data().(type) {
	case []uint8:
		for _, v := range x {
			out = append(out, float64(v))
		}
	case []float32:
		for _, v := range x {
			out = append(out, math.Round(float64(v)*s.Source.Divisor))
		}
	}
	return out
}

// differ returns the largest difference of the first image of s and a.
func differ(t *testing.T, s *Set, a *array) float64 {
	t.Helper()
	want, d := planar(t, a)
	shape := []int{1, d[0], d[1], d[2]}
	if d[0] == 1 {
		shape = []int{1, d[1], d[2]}
	}
	if fmt.Sprint(shape) != fmt.Sprint([]int(s.Images.Shape())) {
		t.Fatalf("shape %v, want %v", s.Images.Shape(), shape)
	}
	most := 0.0
	for i, v := range numbersOf(s) {
		most = max(most, math.Abs(v-want[i]))
	}
	return most
}

func onePicture(t *testing.T, name string, q Query) (*Stored, error) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata/pictures", name))
	if err != nil {
		t.Fatal(err)
	}
	return readPictures(&q, fstest.MapFS{name: {Data: data}}, []string{name}, []int32{0})
}

// TestPictures compares every kind of picture with what Pillow reads of it. Lossless ones are
// equal. Of lossy ones decoders round otherwise, in the transform and in the change to RGB.
func TestPictures(t *testing.T) {
	want := golden(t)
	files, err := os.ReadDir("testdata/pictures")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d pictures, %v", len(files), err)
	}
	most := map[string]float64{".jpg": 3, "lossy.webp": 3, "lossy_alpha.webp": 3}
	for _, f := range files {
		t.Run(f.Name(), func(t *testing.T) {
			stored, err := onePicture(t, f.Name(), Query{})
			if err != nil {
				t.Fatal(err)
			}
			s, err := stored.For(nil)
			if err != nil {
				t.Fatal(err)
			}
			got, allowed := differ(t, s, want[f.Name()]), max(most[filepath.Ext(f.Name())], most[f.Name()])
			if !(got <= allowed) {
				t.Errorf("a pixel differs by %v from Pillow's, want at most %v", got, allowed)
			}
			t.Logf("largest difference %v", got)
			wantType := "uint8"
			if strings.Contains(f.Name(), "16") {
				wantType = "uint16"
			}
			if s.Source.Type != wantType {
				t.Errorf("type %s, want %s", s.Source.Type, wantType)
			}
		})
	}
}

// TestChroma holds colour at half the size to libjpeg's fancy upsampling: 3 to 1 in each direction,
// at the edges the colour itself, and halves up and down by turns.
func TestChroma(t *testing.T) {
	m := image.NewYCbCr(image.Rect(0, 0, 4, 4), image.YCbCrSubsampleRatio420)
	copy(m.Cb, []uint8{0, 100, 200, 10})
	at := chroma(m, m.Cb)
	// Columns at row 0 are 4·0 and 4·100; at row 1 3·0+200 and 3·100+10.
	for _, c := range [][3]int{
		{0, 0, 0}, {1, 0, (0*3 + 400 + 7) / 16}, {2, 0, (400*3 + 0 + 8) / 16}, {3, 0, (400*4 + 7) / 16},
		{0, 1, (200*4 + 8) / 16}, {1, 1, (200*3 + 310 + 7) / 16}, {2, 1, (310*3 + 200 + 8) / 16}, {3, 3, (40*4 + 7) / 16},
	} {
		if got := at(c[0], c[1]); int(got) != c[2] {
			t.Errorf("4:2:0 at (%d, %d): %d, want %d", c[0], c[1], got, c[2])
		}
	}
	copy(m.Cb, []uint8{0, 2, 0, 2})
	if got := chroma(m, m.Cb)(1, 0); got != 0 { // a half, which goes down at odd places
		t.Errorf("4:2:0, a half at (1, 0): %d, want 0", got)
	}
	m = image.NewYCbCr(image.Rect(0, 0, 4, 1), image.YCbCrSubsampleRatio422)
	at = chroma(m, m.Cb)
	copy(m.Cb, []uint8{3, 1})
	for x, want := range []int{3, (3*3 + 1 + 2) / 4, (3*1 + 3 + 1) / 4, 1} {
		if got := at(x, 0); int(got) != want {
			t.Errorf("4:2:2 at %d: %d, want %d", x, got, want)
		}
	}
}

// TestResize compares with Pillow's bilinear filter. Its weights are rounded to 22 bits, so that a
// sum near a half may round the other way; both directions are rounded to bytes, as here.
func TestResize(t *testing.T) {
	resized := 0
	for name, want := range golden(t) {
		var size Size
		if n, _ := fmt.Sscanf(name, "resize_%dx%d_", &size.H, &size.W); n != 2 {
			continue
		}
		resized++
		t.Run(name, func(t *testing.T) {
			stored, err := onePicture(t, name[strings.LastIndex(name, "_")+1:], Query{Resize: size})
			if err != nil {
				t.Fatal(err)
			}
			s, err := stored.For(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := differ(t, s, want); !(got <= 1) {
				t.Errorf("a pixel differs by %v from Pillow's, want at most 1", got)
			}
		})
	}
	if resized < 8 {
		t.Errorf("%d sizes, want 8", resized)
	}
}

func TestGrey(t *testing.T) {
	stored, err := onePicture(t, "noise.png", Query{Channels: "grey"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := stored.For([]int{1, 11, 14})
	if err != nil {
		t.Fatal(err)
	}
	if got := differ(t, s, golden(t)["grey_noise.png"]); got != 0 {
		t.Errorf("a pixel differs by %v from Pillow's, want 0", got)
	}
	// A grey pixel stays what it is.
	for v := range 256 {
		if got := luma(uint8(v), uint8(v), uint8(v)); got != uint8(v) {
			t.Errorf("grey of (%d, %d, %d) is %d", v, v, v, got)
		}
	}
	if got := luma[float32](1, 0.5, 0.25); math.Abs(float64(got)-0.621) > 1e-6 {
		t.Errorf("grey of (1, 0.5, 0.25) is %v, want 0.621", got)
	}
}

func TestAlpha(t *testing.T) {
	if _, err := onePicture(t, "rgba.png", Query{Alpha: "refuse"}); err == nil || !strings.Contains(err.Error(), "rgba.png: has transparent pixels, want none") {
		t.Errorf("refuse: %v", err)
	}
	if _, err := onePicture(t, "rgba_opaque.png", Query{Alpha: "refuse"}); err != nil {
		t.Errorf("refuse, of an opaque picture: %v", err)
	}
	want := golden(t)
	for _, c := range []struct{ file, alpha, want, note string }{
		{"rgba.png", "drop", "rgb.png", "their transparency was left out"},
		{"rgba.png", "", "rgba.png", "they were laid over white"},
		{"rgba.png", "white", "rgba.png", "they were laid over white"},
		{"rgba_opaque.png", "", "rgb.png", ""},
		{"lossless_alpha.webp", "drop", "rgb.png", "their transparency was left out"},
	} {
		stored, err := onePicture(t, c.file, Query{Alpha: c.alpha})
		if err != nil {
			t.Fatal(err)
		}
		s, err := stored.For(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := differ(t, s, want[c.want]); got != 0 {
			t.Errorf("%s, alpha %q: a pixel differs by %v from %s", c.file, c.alpha, got, c.want)
		}
		if got := fmt.Sprint(s.Notes); (c.note == "") != (len(s.Notes) == 0) || !strings.Contains(got, c.note) {
			t.Errorf("%s, alpha %q: notes %s, want %q", c.file, c.alpha, got, c.note)
		}
	}
}

// TestTurned: a note counts the pictures that EXIF would turn.
func TestTurned(t *testing.T) {
	little := "II\x2a\x00\x08\x00\x00\x00\x02\x00" + "\x0f\x01\x02\x00\x04\x00\x00\x00abc\x00" + "\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00"
	big := "MM\x00\x2a\x00\x00\x00\x08\x00\x01" + "\x01\x12\x00\x03\x00\x00\x00\x01\x00\x03\x00\x00"
	for _, c := range []struct {
		file string
		want bool
	}{
		{"xxExif\x00\x00" + little, true}, {"eXIf" + big, true}, {"EXIF\x1a\x00\x00\x00" + big, true}, {"EXIF" + big, false},
		// of the type, not the value
		{"eXIf" + strings.Replace(big, "\x03\x00\x00", "\x01\x00\x00", 1), true},
		{"eXIf" + big[:len(big)-3] + "\x01\x00\x00", false}, {"eXIf" + big[:len(big)-1], false}, {"eXIfMM\x00\x2a", false}, {"", false},
		{"eXIfMM\x00\x2a\xff\xff\xff\xff\x00\x01", false},
	} {
		if got := turned([]byte(c.file)); got != c.want {
			t.Errorf("%q: %t, want %t", c.file, got, c.want)
		}
	}
	plain := pngOf(t, gray(2, 2))
	data := chunk(plain, "eXIf", []byte(big)...)
	s, err := readPictures(&Query{}, fstest.MapFS{"a": {Data: data}, "b": {Data: plain}}, []string{"a", "b"}, []int32{0, 0})
	if err != nil || !strings.Contains(fmt.Sprint(s.set.Notes), "1 of 2 pictures say in EXIF") {
		t.Errorf("%v, notes %v", err, s)
	}
}

// TestTransform holds sizes and places to what torchvision does.
func TestTransform(t *testing.T) {
	for _, c := range []struct {
		t        transform
		in, want dims
		err      string
	}{
		{transform{resize: Size{H: 5}}, dims{1, 10, 20}, dims{1, 5, 10}, ""},
		{transform{resize: Size{H: 5}}, dims{1, 20, 7}, dims{1, 14, 5}, ""}, // 14.28 is cut
		{transform{resize: Size{5, 6}}, dims{3, 20, 7}, dims{3, 5, 6}, ""},
		{transform{resize: Size{H: 8}, crop: Size{6, 7}}, dims{3, 16, 16}, dims{3, 6, 7}, ""},
		{transform{crop: Size{17, 1}}, dims{3, 16, 16}, dims{}, "smaller than the middle of 17x1"},
		{transform{channels: "rgb"}, dims{1, 2, 2}, dims{3, 2, 2}, ""},
		{transform{channels: "rgb"}, dims{3, 2, 2}, dims{3, 2, 2}, ""},
		{transform{channels: "grey"}, dims{3, 2, 2}, dims{1, 2, 2}, ""},
		{transform{channels: "grey"}, dims{4, 2, 2}, dims{}, "4 channels, want 1 or 3"},
		{transform{resize: Size{H: 16000}}, dims{1, 1, 9}, dims{}, "sides of at most 16384"},
	} {
		got, err := c.t.shape(c.in)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v of %v: error %v, want %q", c.t, c.in, err, c.err)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%+v of %v: %v, %v, want %v", c.t, c.in, got, err, c.want)
			continue
		}
		x := make([]uint8, c.in.volume())
		if out, d := change(c.t, x, c.in); d != c.want || len(out) != c.want.volume() {
			t.Errorf("%+v of %v: %d numbers, %v, want %v", c.t, c.in, len(out), d, c.want)
		}
	}
	// Places of the middle: round half to even, as Python.
	for _, c := range [][3]int{{10, 5, 2}, {8, 5, 2}, {6, 5, 0}, {9, 4, 2}, {7, 7, 0}} {
		if got := middle(c[0], c[1]); got != c[2] {
			t.Errorf("the middle %d of %d begins at %d, want %d", c[1], c[0], got, c[2])
		}
	}
	x := []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	if got, _ := change(transform{crop: Size{2, 2}}, x, dims{1, 4, 4}); !bytes.Equal(got, []byte{5, 6, 9, 10}) {
		t.Errorf("the middle of 4x4 is %v, want 5 6 9 10", got)
	}
	if got, _ := change(transform{channels: "rgb"}, []float32{1, 2}, dims{1, 1, 2}); fmt.Sprint(got) != "[1 2 1 2 1 2]" {
		t.Errorf("RGB of 1 2 is %v", got)
	}
	// A constant stays one, whatever the size.
	for _, n := range []int{1, 3, 7, 50} {
		for _, v := range scaleRows([]float32{0.3, 0.3, 0.3, 0.3, 0.3}, 1, 5, n, 1) {
			if math.Abs(float64(v)-0.3) > 1e-7 {
				t.Errorf("0.3 resized to %d is %v", n, v)
			}
		}
	}
}
