package dataset

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"advsweep/internal/npy"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

// The files of testdata were made by testdata/arrays.py, NumPy 2.4.6.

// wantPixels are the elements that arrays.py writes.
func wantPixels(shape []int, float bool) *tensor.Dense {
	n := 1
	for _, d := range shape {
		n *= d
	}
	bytes, floats := make([]uint8, n), make([]float32, n)
	for i := range bytes {
		bytes[i] = uint8(i * 7 % 251)
		floats[i] = float32(bytes[i]) / 256
	}
	if float {
		return dense(shape, floats)
	}
	return dense(shape, bytes)
}

func diff(want, got *tensor.Dense) string {
	if d := cmp.Diff([]int(want.Shape()), []int(got.Shape())); d != "" {
		return d
	}
	return cmp.Diff(want.Data(), got.Data())
}

func TestReadNumPy(t *testing.T) {
	gray, color := []int{5, 5, 6}, []int{5, 3, 5, 6}
	for _, c := range []struct {
		file  string
		shape []int
		float bool
	}{
		{"nhw_u1", gray, false},
		{"nhw_u1_fortran", gray, false},
		{"nhw_u1_version3", gray, false},
		{"nhw_f4", gray, true},
		{"nhw_f4_big", gray, true},
		{"nhw_f8", gray, true},
		{"nchw_u1", color, false},
		{"nchw_f4_fortran", color, true},
		{"nhwc_u1", color, false},
		{"nhwc_f8_fortran", color, true},
		{"nhwc_one_channel", gray, false},
		{"nchw_one_channel", gray, false},
	} {
		t.Run(c.file, func(t *testing.T) {
			s, err := Read("testdata/"+c.file+".npy", "testdata/labels_i8.npy")
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(wantPixels(c.shape, c.float), s.Images); d != "" {
				t.Errorf("images (-want +got):\n%s", d)
			}
			if err := s.Check(4); err != nil {
				t.Error(err)
			}
			stored, err := os.ReadFile("testdata/" + c.file + ".npy")
			if err != nil {
				t.Fatal(err)
			}
			if want := (File{c.file + ".npy", sum(stored)}); s.Source.Images != want || s.Source.N != 5 || s.Source.Labels.Name != "labels_i8.npy" {
				t.Errorf("Source is %v, want %v, 5 images", s.Source, want)
			}
		})
	}
	for _, name := range strings.Fields("i1 u1 i2 u2_big i4 i4_big u4 i8 i8_big u8 column") {
		t.Run("labels_"+name, func(t *testing.T) {
			s, err := Read("testdata/nhw_u1.npy", "testdata/labels_"+name+".npy")
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff([]int32{0, 1, 2, 3, 0}, s.Labels); d != "" {
				t.Errorf("labels (-want +got):\n%s", d)
			}
		})
	}
}

// IDX images go with NPY labels and the other way round.
func TestReadMixed(t *testing.T) {
	dir := t.TempDir()
	images := wantPixels([]int{5, 5, 6}, false)
	imagesPath := writeFile(t, dir, "images", gz(t, idx(t, images.Shape(), images.Data().([]byte))))
	labelsPath := writeFile(t, dir, "labels", idx(t, []int{5}, []byte{0, 1, 2, 3, 0}))
	plain, err := Read(imagesPath, labelsPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{imagesPath, "testdata/labels_i8.npy"}, {"testdata/nhw_u1.npy", labelsPath}} {
		s, err := Read(c[0], c[1])
		if err != nil {
			t.Fatal(err)
		}
		if got, want := s.SHA256(), plain.SHA256(); got != want || want == "" {
			t.Errorf("%v: SHA256 = %s, want %s", c, got, want)
		}
	}
}

// What NumPy makes of v/255 in float64 is, narrowed, the pixel that a byte v is.
func TestFloat64Pixels(t *testing.T) {
	data := make([]byte, 0, 256*8)
	for v := range 256 {
		data = binary.LittleEndian.AppendUint64(data, math.Float64bits(float64(v)/255))
	}
	file := npyFile(npyHeaderOf("<f8", false, 256, 1, 1), data)
	a, err := readNPY(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	images, err := a.images()
	if err != nil {
		t.Fatal(err)
	}
	for v, got := range images.Data().([]float32) {
		if want := float32(v) / 255; got != want {
			t.Errorf("pixel %d/255 is %v, want %v", v, got, want)
		}
	}
}

func TestReadNPYErrors(t *testing.T) {
	good := npyHeaderOf("|u1", false, 2, 3, 4)
	data := make([]byte, 24)
	for _, c := range []struct {
		name string
		file []byte // nil: of testdata
		want string
	}{
		{"bad_complex", nil, "images of <c8, want integers or floats: in NumPy, save images.astype(numpy.float32)"},
		{"bad_text", nil, `"<U1", want numbers`},
		{"bad_records", nil, "an array of records"},
		{"bad_pickle", nil, `descr: "|O"`},
		{"bad_scalar", nil, "images are [], want [N, H, W]"},
		{"bad_empty", nil, "dimension 1 of 3 is 0"},
		{"cut magic", []byte(npy.Magic), "truncated: header of 6 bytes"},
		{"version", []byte(npy.Magic + "\x04\x00\x10\x00"), "version 4.0, want 1.0 to 3.0"},
		{"version 2, cut", []byte(npy.Magic + "\x02\x00\x10\x00\x00"), "truncated"},
		{"long header", []byte(npy.Magic + "\x02\x00\xff\xff\xff\xff{"), "header of 4294967295 bytes, want at most 10000"},
		{"header cut", npyFile(good, nil)[:30], "truncated: 20 bytes of the header"},
		{"data cut", npyFile(good, data[1:]), "truncated: 23 bytes after the header, want 24"},
		{"data long", npyFile(good, make([]byte, 25)), "oversized, at least: 25 bytes after the header, want 24"},
		{"floats cut", npyFile(npyHeaderOf("<f4", false, 2, 3, 4), data), "truncated: 24 bytes after the header, want 96"},
		{"product of 64 bits", npyFile(npyHeaderOf("<f8", false, 1<<30, 1<<30, 2), data), "overflow"},
		{"dimension of 70 bits", npyFile(strings.Replace(good, "4", "1180591620717411303424", 1), data), "dimension 2 is"},
		{"negative", npyFile(strings.Replace(good, "4", "-4", 1), data), "dimension 2 is"},
		{"no dict", npyFile("(1, 2)", data), "want a dict"},
		{"empty header", npyFile("", data), "want a dict"},
		{"empty dict", npyFile("{}", data), "want descr, fortran_order and shape"},
		{"key twice", npyFile(strings.Replace(good, "fortran_order", "shape", 1), data), "want a tuple"},
		{"unknown key", npyFile(strings.Replace(good, "shape", "size", 1), data), "key \"size\", want only"},
		{"no colon", npyFile("{'shape' (1,)}", data), "want a colon"},
		{"no comma", npyFile(strings.Replace(good, "False,", "False", 1), data), "want a comma"},
		{"key after key", npyFile("{'shape': (1,), 'shape': (1,)}", data), "shape is there twice"},
		{"open string", npyFile("{'shape", data), "want a string"},
		{"open tuple", npyFile("{'shape': (1", data), "want a comma"},
		{"not a bool", npyFile(strings.Replace(good, "False", "0", 1), data), "want True or False"},
		{"after the dict", npyFile(good+"x", data), "after the dict"},
		{"descr without order", npyFile(strings.Replace(good, "|u1", "u1", 1), data), `"u1", want one as in`},
		{"one dimension", npyFile(npyHeaderOf("|u1", false, 24), data), "images are [24]"},
		{"five dimensions", npyFile(npyHeaderOf("|u1", false, 1, 1, 2, 3, 4), data), "images are [1 1 2 3 4]"},
		{"does not fit float32", npyFile(npyHeaderOf("<f8", false, 1, 1, 1), binary.LittleEndian.AppendUint64(nil, math.Float64bits(1e300))), "element 0 is 1e+300, want one that fits float32"},
		{"NPZ", npz(t, entry{"x.npy", nil, zip.Store}), "a zip archive, want IDX or NPY"},
		{"text", []byte("hello, world, this is text"), "magic 0x68656c6c, want 0x803"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join("testdata", c.name+".npy")
			if c.file != nil {
				path = writeFile(t, t.TempDir(), "images", c.file)
			}
			_, err := Read(path, "testdata/labels_i8.npy")
			wantError(t, err, "dataset: "+path+": ", c.want)
		})
	}
	for name, c := range map[string]struct {
		file []byte // nil: of testdata
		want string
	}{
		"bad_onehot": {nil, "labels are [5 5], want [N] or [N, 1]: for one row of scores a label, save labels.argmax(1)"},
		"nhw_f4":     {nil, "labels are [5 5 6], want [N] or [N, 1]"},
		"bad_text":   {nil, `"<U1", want numbers`},
		"float":      {npyFile(npyHeaderOf("<f4", false, 5), make([]byte, 20)), "labels of <f4, want integers: in NumPy, save labels.astype(numpy.int64)"},
		"width":      {npyFile(npyHeaderOf("<i3", false, 1), make([]byte, 3)), "labels of <i3, want integers"},
		"large":      {npyFile(npyHeaderOf("<u8", false, 2), append(make([]byte, 8), 0, 0, 0, 128, 0, 0, 0, 0)), "label 1 is 2147483648, want one that fits int32"},
		"small":      {npyFile(npyHeaderOf(">i8", false, 1), []byte{255, 255, 255, 255, 127, 255, 255, 255}), "label 0 is -2147483649, want one that fits int32"},
		"few":        {npyFile(npyHeaderOf("|u1", false, 4), make([]byte, 4)), "4 labels, want 5, one for each image of testdata/nhw_u1.npy"},
	} {
		t.Run("labels "+name, func(t *testing.T) {
			path := filepath.Join("testdata", name+".npy")
			if c.file != nil {
				path = writeFile(t, t.TempDir(), "labels", c.file)
			}
			_, err := Read("testdata/nhw_u1.npy", path)
			wantError(t, err, "dataset: "+path+": ", c.want)
		})
	}
}

// Negative labels are read as they are, for Check to name.
func TestNegativeLabels(t *testing.T) {
	for width, descr := range map[int]string{1: "|i1", 2: "<i2", 4: "<i4", 8: "<i8"} {
		file := npyFile(npyHeaderOf(descr, false, 1), bytes.Repeat([]byte{255}, width))
		a, err := readNPY(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Fatal(err)
		}
		if labels, err := a.labels(); err != nil || labels[0] != -1 {
			t.Errorf("%s: labels are %v, %v, want -1", descr, labels, err)
		}
	}
}

// Headers that NumPy reads too: keys in another order, other quotes and blanks,
// no last comma, Python 2's integers.
func TestNPYHeaders(t *testing.T) {
	for _, header := range []string{
		`{"shape": (2, 3L, 4), "descr": "|u1", "fortran_order": False}`,
		"{'fortran_order':False,'shape':(2,3,4,),'descr':'|u1'}   \n",
		" { 'descr' : '|u1' , 'shape' : ( 2 , 3 , 4 ) , 'fortran_order' : False , } ",
	} {
		file := npyFile(header, []byte("abcdefghijklmnopqrstuvwx"))
		a, err := readNPY(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			t.Errorf("%s: %v", header, err)
			continue
		}
		if d := cmp.Diff([]int{2, 3, 4}, a.Shape); d != "" {
			t.Errorf("%s: shape (-want +got):\n%s", header, d)
		}
	}
}

func TestLoadNPZ(t *testing.T) {
	gray, color := []int{5, 5, 6}, []int{5, 3, 5, 6}
	for _, c := range []struct {
		file, split string
		shape       []int
		float       bool
		labels      []int32
	}{
		{"images_labels", "test", color, true, []int32{0, 1, 2, 3, 0}},
		{"keras", "test", gray, false, []int32{0, 1, 2, 3, 0}},
		{"keras", "train", []int{7, 5, 6}, false, []int32{0, 1, 2, 0, 1, 2, 0}},
		{"medmnist", "test", color, false, []int32{0, 1, 2, 3, 0}},
		{"medmnist", "train", []int{7, 5, 6}, false, []int32{0, 1, 2, 0, 1, 2, 0}},
		{"numpy_savez", "test", gray, false, []int32{0, 1, 2, 3, 0}},
		{"numpy_savez_compressed", "test", gray, false, []int32{0, 1, 2, 3, 0}},
	} {
		t.Run(c.file+" "+c.split, func(t *testing.T) {
			path := "testdata/" + c.file + ".npz"
			s, err := Load(path, c.split)
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(wantPixels(c.shape, c.float), s.Images); d != "" {
				t.Errorf("images (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.labels, s.Labels); d != "" {
				t.Errorf("labels (-want +got):\n%s", d)
			}
			stored, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file := File{c.file + ".npz", sum(stored)}
			if want := (Source{Images: file, Labels: file, N: c.shape[0]}); named(s.Source) != want || s.Classes != nil {
				t.Errorf("Source is %v with classes %v, want %v without", s.Source, s.Classes, want)
			}
		})
	}
}

func TestLoadNPZErrors(t *testing.T) {
	x := npyFile(npyHeaderOf("|u1", false, 2, 3, 4), []byte("abcdefghijklmnopqrstuvwx"))
	y := npyFile(npyHeaderOf("|u1", false, 2), []byte{1, 2})
	pair := npz(t, entry{"x.npy", x, zip.Store}, entry{"y.npy", y, zip.Store})
	var many []entry
	for i := range 9 {
		many = append(many, entry{fmt.Sprintf("a%d.npy", i), y, zip.Store})
	}
	for _, c := range []struct {
		name, split string
		file        []byte
		want        string
	}{
		{"empty", "test", nil, "not a zip archive, want an NPZ file"},
		{"NPY", "test", x, "not a zip archive, want an NPZ file"},
		{"no arrays", "test", npz(t), "arrays [], want x_test and y_test, or test_images and test_labels, or images and labels, or x and y"},
		{"other arrays", "test", npz(t, entry{"x.npy", x, zip.Store}, entry{"label.npy", y, zip.Store}), `arrays ["label" "x"], want x_test`},
		{"many arrays", "test", npz(t, many...), `"a7"] and more, want`},
		{"no split", "train", pair, `arrays ["x" "y"], want x_train and y_train, or train_images and train_labels`},
		{"not arrays", "test", npz(t, entry{"x", x, zip.Store}, entry{"y", y, zip.Store}), "a zip archive without arrays, it holds \"x\""},
		{"twice", "test", npz(t, entry{"x.npy", x, zip.Store}, entry{"x.npy", x, zip.Store}, entry{"y.npy", y, zip.Store}), `"x.npy" is there twice`},
		{"counts", "test", npz(t, entry{"x.npy", x, zip.Store}, entry{"y.npy", npyFile(npyHeaderOf("|u1", false, 3), make([]byte, 3)), zip.Store}), "y.npy: 3 labels, want 2, one for each image of x.npy"},
		{"swapped", "test", npz(t, entry{"x.npy", y, zip.Store}, entry{"y.npy", x, zip.Store}), "x.npy: images are [2], want [N, H, W]"},
		{"bad labels", "test", npz(t, entry{"x.npy", x, zip.Store}, entry{"y.npy", x, zip.Store}), "y.npy: labels are [2 3 4]"},
		{"array cut", "test", npz(t, entry{"x.npy", x[:len(x)-1], zip.Store}, entry{"y.npy", y, zip.Store}), "x.npy: truncated: 23 bytes after the header"},
		{"array long", "test", npz(t, entry{"x.npy", append(bytes.Clone(x), 0), zip.Deflate}, entry{"y.npy", y, zip.Store}), "x.npy: oversized, at least: 25 bytes"},
		{"not NPY", "test", npz(t, entry{"x.npy", []byte("hello, world"), zip.Store}, entry{"y.npy", y, zip.Store}), `x.npy: starts with "hello,", want "\x93NUMPY"`},
		{"corrupt", "test", bytes.Replace(pair, []byte("abcdef"), []byte("abcdeF"), 1), "x.npy: zip: checksum error"},
		{"cut", "test", pair[:len(pair)-30], "not a zip archive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := writeFile(t, t.TempDir(), "some.npz", c.file)
			_, err := Load(path, c.split)
			wantError(t, err, "dataset: "+path+": ", c.want)
		})
	}
}

// A small archive must not take much memory, whatever it claims.
func TestNPZMemory(t *testing.T) {
	const mib = 1 << 20
	y := entry{"y.npy", npyFile(npyHeaderOf("|u1", false, 1), []byte{1}), zip.Store}
	array := func(declared, held int) []byte {
		return npz(t, entry{"x.npy", npyFile(npyHeaderOf("|u1", false, 1, 1, declared), make([]byte, held)), zip.Deflate}, y)
	}
	// An archive may say that x.npy is as large as it likes: both places of the
	// uncompressed size, a directory's entry and what follows the data, say so.
	lies := array(1<<31-1, 64<<10)
	binary.LittleEndian.PutUint32(lies[bytes.Index(lies, []byte("PK\x01\x02"))+24:], 1<<31-1)
	binary.LittleEndian.PutUint32(lies[bytes.Index(lies, []byte("PK\x07\x08"))+12:], 1<<31-1)
	for _, c := range []struct {
		name string
		data []byte
		most int
		want string // "": read
	}{
		{"bomb behind the array", array(1000, 64*mib), mib, "oversized"},
		{"claim that deflate cannot hold", array(200*mib, 64<<10), mib, "stored ones"},
		{"claim in every header", lies, mib, "stored ones"},
		{"bomb", array(100*mib, 100*mib), mib, "stored ones"},
		{"claim with nothing behind it", array(1<<16, 100), mib, "truncated"},
		{"honest, compressed a thousandfold", array(32*mib, 32*mib), 3 * 32 * mib, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := readNPZSet(bytes.NewReader(c.data), int64(len(c.data)), "test")
			runtime.ReadMemStats(&after)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(c.most) {
				t.Errorf("%d bytes allocated for a file of %d, want at most %d", got, len(c.data), c.most)
			}
		})
	}
}
