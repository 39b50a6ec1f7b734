package main

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/csv"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"advsweep/dataset"
	"advsweep/internal/npy"
)

// baseArrays are those of testdata/images/base.npz, which images.py made: pictures, and the classes
// that onnxruntime gives them when they are read as they should be.
func baseArrays(t *testing.T) map[string]*npy.Array {
	t.Helper()
	z, err := zip.OpenReader("testdata/images/base.npz")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	arrays := map[string]*npy.Array{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		a, err := npy.Read(r, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		arrays[strings.TrimSuffix(f.Name, ".npy")] = a
	}
	return arrays
}

// TestImagesThatPeopleBring runs the program on the same images in the forms that people have them
// in. Each either gives every class that onnxruntime gives, or is refused or noted with the cause.
func TestImagesThatPeopleBring(t *testing.T) {
	base := baseArrays(t)
	const n, h, w = 24, 8, 8
	x := base["x"].Data // [n, h, w, 3]
	labels := func(name string) []int32 {
		var y []int32
		for at := range slices.Chunk(base[name].Data, 8) {
			y = append(y, int32(binary.LittleEndian.Uint64(at)))
		}
		return y
	}
	chw := make([]uint8, len(x))
	var red []uint8
	for i := range n {
		for p := range h * w {
			for c := range 3 {
				chw[(i*3+c)*h*w+p] = x[(i*h*w+p)*3+c]
			}
			red = append(red, x[(i*h*w+p)*3])
		}
	}
	floats := func(x []uint8, by float64) (f []float32) {
		for _, v := range x {
			f = append(f, float32(float64(v)/by))
		}
		return f
	}
	dir := t.TempDir()
	npz := func(name string, shape []int, data any, y string, keys ...string) string {
		if len(keys) == 0 {
			keys = []string{"x_test", "y_test"}
		}
		var b bytes.Buffer
		if err := dataset.WriteNPZ(&b, dataset.Array{Name: keys[0], Shape: shape, Data: data}, dataset.Array{Name: keys[1], Shape: []int{shape[0]}, Data: labels(y)}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pictures := func(name string, of func(i int) image.Image, path func(i int) string, list string) string {
		folder := filepath.Join(dir, name)
		for i := range n {
			var b bytes.Buffer
			if err := png.Encode(&b, of(i)); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(folder, filepath.FromSlash(path(i)))
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if list != "" {
			if err := os.WriteFile(filepath.Join(folder, "labels.csv"), []byte(list), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return folder
	}
	rgb := func(alpha uint8) func(i int) image.Image {
		return func(i int) image.Image {
			m := image.NewNRGBA(image.Rect(0, 0, w, h))
			for p := range h * w {
				at := (i*h*w + p) * 3
				m.SetNRGBA(p%w, p/w, color.NRGBA{x[at], x[at+1], x[at+2], alpha})
			}
			return m
		}
	}
	grey := func(i int) image.Image {
		return &image.Gray{Pix: red[i*h*w:][:h*w], Stride: w, Rect: image.Rect(0, 0, w, h)}
	}
	name := func(i int) string { return fmt.Sprintf("%02d.png", i) }
	list := func(y, header, format string) string {
		for i, label := range labels(y) {
			header += fmt.Sprintf(format, name(i), label)
		}
		return header
	}
	table := func(name, header string, y string) string {
		text := header
		for i, label := range labels(y) {
			text += strconv.Itoa(int(label))
			for _, v := range red[i*h*w:][:h*w] {
				text += "," + strconv.Itoa(int(v))
			}
			text += "\n"
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	header := "label"
	for i := range h * w {
		header += fmt.Sprintf(",pixel%d", i)
	}
	nhwc := []int{n, h, w, 3}
	scaled := make([]uint8, len(red))
	for i, v := range red {
		scaled[i] = v / 16
	}
	var five []float32
	for at := range slices.Chunk(base["x5"].Data, 4) {
		five = append(five, float32frombytes(at))
	}
	var reds []int32
	for _, v := range red {
		reds = append(reds, int32(v))
	}
	byClass := func(y string) func(i int) string {
		return func(i int) string { return fmt.Sprintf("class%d/%s", labels(y)[i], name(i)) }
	}
	all := func(lo, hi, of int) (data []float32) { // one image of so many numbers
		for i := range of {
			data = append(data, float32(lo)+float32(i%(hi-lo+1)))
		}
		return data
	}
	for _, c := range []struct {
		name, model, data string
		flags             string
		want              int    // right of all; -1: refused
		says              string // on standard error
	}{
		{"NHWC for a flat model", "row", npz("a.npz", nhwc, x, "y_row"), "", n, "in the order of the file, H, W, C, as NumPy's x.reshape(N, -1) has them: --flat chw or --flat hwc"},
		{"NHWC for a flat model, C, H, W asked for", "row", npz("b.npz", nhwc, x, "y_rowc"), "--flat chw", n, ""},
		{"rows for a flat model", "row", npz("c.npz", []int{n, 192}, floats(x, 255), "y_row"), "", n, ""},
		{"[N, 1, I] for a flat model", "row", npz("d.npz", []int{n, 1, 192}, floats(x, 255), "y_row"), "", n, ""},
		{"NCHW for a flat model", "row", npz("e.npz", []int{n, 3, h, w}, chw, "y_rowc"), "", n, ""},
		{"pictures for a flat model", "row", pictures("f", rgb(255), name, list("y_rowc", "file,label\n", "%s,%d\n")), "", n, "in the order C, H, W, as PyTorch flattens images"},
		{"NHWC for a model of images", "rgb", npz("g.npz", nhwc, x, "y_rgb"), "", n, ""},
		{"NHWC for an MLP of images", "mlp", npz("h.npz", nhwc, x, "y_mlp"), "", n, ""},
		{"NCHW for an MLP of images", "mlp", npz("i.npz", []int{n, 3, h, w}, floats(chw, 255), "y_mlp"), "", n, ""},
		{"rows for a model of images", "rgb", npz("j.npz", []int{n, 192}, chw, "y_rgb"), "", n, "the numbers were taken in the order C, H, W: --layout chw or --layout hwc"},
		{"rows of H, W, C for a model of images", "rgb", npz("k.npz", []int{n, 192}, x, "y_rgb"), "--layout hwc", n, ""},
		{"five channels", "five", npz("l.npz", []int{12, 5, 4, 4}, five, "y5"), "", 12, ""},
		{"numbers of 16", "grey", npz("m.npz", []int{n, h, w}, scaled, "y_16"), "--pixel-max 16", n, ""},
		{"numbers of 16 that nobody told of", "grey", npz("n.npz", []int{n, h, w}, scaled, "y_16"), "", -2, "the largest of its uint8 pixels is 15, and 255 was taken for white: as a pixel it is 0.0588: --pixel-max N"},
		{"floats of 255", "grey", npz("o.npz", []int{n, h, w}, floats(red, 1), "y_grey"), "--pixel-max 255", n, ""},
		{"int32", "grey", npz("p.npz", []int{n, h, w}, reds, "y_grey"), "", n, "its pixels are int32 from 0 to 255: 255 was taken for white"},
		{"other keys", "grey", npz("q.npz", []int{n, h, w}, red, "y_grey", "photos", "kinds"), "--images-key photos --labels-key kinds", n, ""},
		{"other keys that nobody told of", "grey", npz("r.npz", []int{n, h, w}, red, "y_grey", "photos", "kinds"), "", -1, `arrays ["kinds" "photos"], want x_test and y_test`},
		{"scikit-learn's keys", "grey", npz("s.npz", []int{n, 64}, red, "y_grey", "data", "target"), "", n, "images are [24 64] and the model takes [1 8 8]"},
		{"opaque RGBA", "rgb", pictures("t", rgb(255), name, list("y_rgb", "file,label\n", "%s,%d\n")), "", n, ""},
		{"transparent, left out", "rgb", pictures("u", rgb(254), name, list("y_rgb", "file,label\n", "%s,%d\n")), "--alpha drop", n, "24 of 24 pictures have transparent pixels: their transparency was left out: --alpha"},
		{"transparent, refused", "rgb", pictures("v", rgb(254), name, list("y_rgb", "file,label\n", "%s,%d\n")), "--alpha refuse", -1, "00.png: has transparent pixels, want none"},
		{"class folders", "grey", pictures("w", grey, byClass("y_grey"), ""), "", n, `classes are the sorted folders: 0 "class0", 1 "class1"`},
		{"semicolons", "grey", pictures("x", grey, name, list("y_grey", "name;kind;path\n", "x;%[2]d;%[1]s\n")), "--labels-key kind", n, ""},
		{"pictures without labels", "grey", pictures("y", grey, name, ""), "", -1, "it holds 24 pictures, want a labels.csv beside them"},
		{"grey for RGB", "rgb", npz("z.npz", []int{n, h, w}, red, "y_three"), "", -1, "images are [1 8 8], the model takes [3 8 8]: [channels, height, width]: --grey-to-rgb makes three channels of one"},
		{"grey for RGB, made so", "rgb", npz("za.npz", []int{n, h, w}, red, "y_three"), "--grey-to-rgb", n, ""},
		{"RGB for grey", "grey", npz("zb.npz", nhwc, x, "y_grey"), "", -1, "--rgb-to-grey makes one channel of three"},
		{"grey of three equal channels", "grey", npz("zc.npz", []int{n, 8, 8, 3}, thrice(red), "y_grey"), "--rgb-to-grey", n, ""},
		{"a table", "grey", table("zd.csv", header+"\n", "y_grey"), "", n, "the numbers were taken in the order C, H, W"},
		{"a table without header", "grey", table("ze.csv", "", "y_grey"), "", n, "the first column was taken for the labels"},
		{"transposed", "wide", npz("zf.npz", []int{12, 10, 6}, all(0, 1, 720), "y5"), "", -1, "images are [1 10 6], the model takes [1 6 10]: [channels, height, width]: height and width are changed about: are the images transposed?"},
		{"as many numbers", "rgb", npz("zg.npz", []int{12, 12, 16}, all(0, 1, 2304), "y5"), "", -1, "images are [1 12 16], the model takes [3 8 8]"},
		{"as many numbers, three channels", "rgb", npz("zh.npz", []int{12, 3, 4, 16}, all(0, 1, 2304), "y5"), "", -1, "images are [3 4 16], the model takes [3 8 8]: [channels, height, width]: --resize HxW scales them"},
		{"another size, scaled", "wide", npz("zi.npz", []int{12, 12, 20}, all(0, 1, 2880), "y5"), "--resize 6x10", -2, ""},
		{"another size, cut", "wide", npz("zj.npz", []int{12, 12, 20}, all(0, 1, 2880), "y5"), "--crop 6x10", -2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"sweep", "--model", "testdata/images/" + c.model + ".onnx", "--data", c.data, "--attack", "fgsm", "--eps", "0",
				"--backend", "cpu", "--format", "csv", "--out", filepath.Join(t.TempDir(), "out")}, strings.Fields(c.flags)...)
			code, stdout, stderr := advsweep(t, args...)
			if (code != exitDone) != (c.want == -1) || !strings.Contains(stderr, c.says) {
				t.Fatalf("exit code %d, want %d right with %q on standard error:\n%s", code, c.want, c.says, stderr)
			}
			if c.says == "" && strings.Contains(stderr, "advsweep: "+filepath.Base(c.data)) {
				t.Errorf("a note, want none:\n%s", stderr)
			}
			if c.want < 0 {
				return
			}
			rows, err := csv.NewReader(strings.NewReader(stdout)).ReadAll()
			if err != nil || len(rows) != 2 {
				t.Fatalf("%v: %q", err, stdout)
			}
			if got := rows[1][slices.Index(rows[0], "correct")]; got != strconv.Itoa(c.want) {
				t.Errorf("%s right, want %d", got, c.want)
			}
		})
	}
}

// thrice repeats each number three times.
func thrice(x []uint8) (out []uint8) {
	for _, v := range x {
		out = append(out, v, v, v)
	}
	return out
}

func float32frombytes(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }

// TestDataFlags: what the flags of images say wrongly is refused before any file is read.
func TestDataFlags(t *testing.T) {
	for _, c := range [][2]string{
		{"--layout nchw", `--layout "nchw", want chw or hwc`},
		{"--flat x", `--flat "x", want chw or hwc`},
		{"--alpha black", `--alpha "black", want white or drop or refuse`},
		{"--resize 0", `--resize: "0", want a number of pixels as in 224`},
		{"--resize 3x", `--resize: "3x", want a number`},
		{"--crop 99999", `--crop: "99999", want a number of pixels`},
		{"--pixel-max 0", "--pixel-max 0, want a positive number"},
		{"--pixel-max -1", "--pixel-max -1, want a positive number"},
		{"--grey-to-rgb --rgb-to-grey", "[grey-to-rgb rgb-to-grey]"},
	} {
		code, _, stderr := advsweep(t, append([]string{"sweep", "--data", "nowhere"}, strings.Fields(c[0])...)...)
		if code != exitUsage || !strings.Contains(stderr, c[1]) {
			t.Errorf("%s: exit code %d, want %d with %q:\n%s", c[0], code, exitUsage, c[1], stderr)
		}
	}
}

// TestFormatsVerb: help and README list what is read, from the tables of package dataset.
func TestFormatsVerb(t *testing.T) {
	out := do(t, "formats")
	readme := string(read(t, "..", "..", "docs", "images.md"))
	folders, files, pairs, pictures := dataset.Formats()
	for _, f := range slices.Concat(folders, files, pairs, pictures) {
		if !strings.Contains(out, "  "+f.Name+": "+f.Files+"\n") {
			t.Errorf("formats does not list %s", f.Name)
		}
	}
	if !strings.Contains(readme, formatsTable()) {
		t.Errorf("docs/images.md lacks the table of formats, want:\n%s", formatsTable())
	}
	for i, line := range strings.Split(out, "\n") {
		if len([]rune(line)) > 100 && strings.HasPrefix(line, "      ") {
			t.Errorf("line %d has %d letters, want at most 100", i+1, len([]rune(line)))
		}
	}
}
