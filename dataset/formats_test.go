package dataset

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/image/bmp"
)

// cifarImages are n images as cifar.py and cifarFile make them.
func cifarImages(n int) []byte {
	var b []byte
	for i := range n {
		for j := range cifarPixels {
			b = append(b, byte(i*31+j*7))
		}
	}
	return b
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tarOf is an archive of files, plain or compressed.
func tarOf(t testing.TB, compress bool, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	names := []string{}
	for n := range files {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o600, Size: int64(len(files[n])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(files[n]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if compress {
		return gz(t, b.Bytes())
	}
	return b.Bytes()
}

// members is data as two members of gzip, as cat a.gz b.gz makes them.
func members(t testing.TB, data []byte) []byte {
	half := len(data) / 2
	return append(gz(t, data[:half]), gz(t, data[half:])...)
}

// TestCIFAR: every version of the two sets is the same images, found in their folder, in the one
// around it, and in an archive.
func TestCIFAR(t *testing.T) {
	ten := cifarFile(3, 0)
	ten[0], ten[cifarRecord], ten[2*cifarRecord] = 9, 0, 1
	var hundred []byte
	for i, label := range []byte{99, 0, 7} {
		hundred = append(append(hundred, 5, label), cifarImages(3)[i*cifarPixels:][:cifarPixels]...)
	}
	type files = map[string][]byte
	for _, c := range []struct {
		name   string
		files  files
		set    string
		labels []int32
	}{
		{"binary", files{"test_batch.bin": ten}, "CIFAR-10", []int32{9, 0, 1}},
		{"binary in its folder", files{"cifar-10-batches-bin/test_batch.bin": ten}, "CIFAR-10", []int32{9, 0, 1}},
		{"binary, gzip of two members", files{"test_batch.bin.gz": members(t, ten)}, "CIFAR-10", []int32{9, 0, 1}},
		{"binary, gzip under a plain name", files{"test_batch.bin": gz(t, ten)}, "CIFAR-10", []int32{9, 0, 1}},
		{"Python 2", files{"test_batch": testdata(t, "cifar_python2.pickle")}, "CIFAR-10", []int32{9, 0, 1}},
		{"protocol 1", files{"test_batch": testdata(t, "cifar_p1.pickle")}, "CIFAR-10", []int32{9, 0, 1}},
		{"protocol 2", files{"test_batch": testdata(t, "cifar_p2.pickle")}, "CIFAR-10", []int32{9, 0, 1}},
		{"protocol 3", files{"test_batch": testdata(t, "cifar_p3.pickle")}, "CIFAR-10", []int32{9, 0, 1}},
		{"protocol 4 in its folder", files{"cifar-10-batches-py/test_batch": testdata(t, "cifar_p4.pickle")}, "CIFAR-10", []int32{9, 0, 1}},
		{"protocol 5", files{"test_batch": testdata(t, "cifar_p5.pickle")}, "CIFAR-10", []int32{9, 0, 1}},
		{"100, binary", files{"test.bin": hundred}, "CIFAR-100", []int32{99, 0, 7}},
		{"100, binary in its folder", files{"cifar-100-binary/test.bin": hundred, "cifar-100-binary/train.bin": hundred}, "CIFAR-100", []int32{99, 0, 7}},
		{"100, Python", files{"test": testdata(t, "cifar100.pickle")}, "CIFAR-100", []int32{99, 0, 7}},
		{"100, Python in its folder", files{"cifar-100-python/test": testdata(t, "cifar100.pickle")}, "CIFAR-100", []int32{99, 0, 7}},
		{"tar.gz", files{"x.tar.gz": tarOf(t, true, files{"cifar-10-batches-bin/test_batch.bin": ten, "cifar-10-batches-bin/readme.html": nil})}, "CIFAR-10", []int32{9, 0, 1}},
		{"tar of Python's", files{"x.tar": tarOf(t, false, files{"./cifar-100-python/test": testdata(t, "cifar100.pickle")})}, "CIFAR-100", []int32{99, 0, 7}},
	} {
		t.Run(c.name, func(t *testing.T) {
			where := writePNGs(t, c.files)
			for name := range c.files {
				if strings.Contains(name, ".tar") {
					where = filepath.Join(where, name)
				}
			}
			s, err := Load(where, "test")
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(dense([]int{3, 3, 32, 32}, cifarImages(3)), s.Images); d != "" {
				t.Errorf("images (-want +got):\n%.2000s", d)
			}
			if !slices.Equal(s.Labels, c.labels) || s.Source.Name != c.set || len(s.Classes) < 10 {
				t.Errorf("labels %v of %s with %d classes, want %v of %s", s.Labels, s.Source.Name, len(s.Classes), c.labels, c.set)
			}
		})
	}
	if len(cifar100Classes) != 100 || cifar100Classes[0] != "apple" || cifar100Classes[99] != "worm" || !slices.IsSorted(cifar100Classes) {
		t.Errorf("%d classes of CIFAR-100, sorted %t", len(cifar100Classes), slices.IsSorted(cifar100Classes))
	}
}

// TestFoundBelow: torchvision's folders are found from those around them.
func TestFoundBelow(t *testing.T) {
	pair := func(dir string) map[string][]byte {
		return map[string][]byte{
			path.Join(dir, "t10k-images-idx3-ubyte"): idx(t, []int{3, 2, 2}, []byte("abcdefghijkl")),
			path.Join(dir, "t10k-labels-idx1-ubyte"): idx(t, []int{3}, []byte{0, 9, 1}),
		}
	}
	both := pair("MNIST/raw")
	for name, data := range pair("FashionMNIST/raw") {
		both[name] = data
	}
	for _, c := range []struct {
		files map[string][]byte
		below string // given
		name  string // of the set
		want  string // error
	}{
		{pair("MNIST/raw"), "", "", ""},
		{pair("MNIST/raw"), "MNIST", "", ""},
		{pair("MNIST/raw"), "MNIST/raw", "", ""},
		{pair("FashionMNIST/raw"), "", "Fashion-MNIST", ""},
		{both, "FashionMNIST", "Fashion-MNIST", ""},
		{both, "", "", "both MNIST/raw/t10k-images-idx3-ubyte and FashionMNIST/raw/t10k-images-idx3-ubyte, want one of the two"},
	} {
		s, err := Load(filepath.Join(writePNGs(t, c.files), filepath.FromSlash(c.below)), "test")
		if c.want != "" {
			wantError(t, err, c.want)
			continue
		}
		if err != nil || s.N() != 3 || s.Source.Name != c.name {
			t.Errorf("%q: %v, %+v, want 3 of %q", c.below, err, s, c.name)
		}
	}
}

// TestGzipMembers: several members of gzip are one file.
func TestGzipMembers(t *testing.T) {
	file := idx(t, []int{3, 2, 2}, []byte("abcdefghijkl"))
	got, err := ReadIDX("x", members(t, file), 3)
	if err != nil || string(got.Data().([]byte)) != "abcdefghijkl" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestIDXRanks: images of IDX may have channels, or be rows.
func TestIDXRanks(t *testing.T) {
	dir := t.TempDir()
	labels := writeFile(t, dir, "labels", idx(t, []int{2}, []byte{0, 1}))
	for _, c := range []struct {
		file, shape []int
	}{{[]int{2, 3, 2, 2}, []int{2, 3, 2, 2}}, {[]int{2, 2, 2, 3}, []int{2, 3, 2, 2}}, {[]int{2, 5}, []int{2, 1, 5}}} {
		images := writeFile(t, dir, "images", idx(t, c.file, make([]byte, volume(c.file))))
		s, err := Read(images, labels)
		if err != nil || !slices.Equal(s.Images.Shape(), c.shape) {
			t.Errorf("%v: %v, want %v", c.file, err, c.shape)
		}
	}
}

// TestClassFolders: labels are those of torchvision's ImageFolder, or of the order beside them.
func TestClassFolders(t *testing.T) {
	one := func(v byte) []byte {
		m := image.NewGray(image.Rect(0, 0, 1, 1))
		m.Pix[0] = v
		return pngOf(t, m)
	}
	two := func() []byte { // another format
		m := image.NewGray(image.Rect(0, 0, 1, 1))
		m.Pix[0] = 77
		var b bytes.Buffer
		if err := bmp.Encode(&b, m); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}()
	type files = map[string][]byte
	animals := func(more files) files {
		f := files{"dog/b.png": one(1), "dog/a.PNG": one(2), "cat/sub/z.png": one(3), "cat/c.png": one(4), "ant/x.bmp": two, "ant/Thumbs.db": nil}
		for name, data := range more {
			f[name] = data
		}
		return f
	}
	in := func(dir string, f files) files {
		out := files{}
		for name, data := range f {
			out[path.Join(dir, name)] = data
		}
		return out
	}
	pixels := []byte{77, 4, 3, 2, 1} // ant; cat, its folders last; dog in byte order
	for _, c := range []struct {
		name, split string
		files       files
		labels      []int32
		classes     []string
		note, want  string
	}{
		{"sorted", "test", animals(nil), []int32{0, 1, 1, 2, 2}, []string{"ant", "cat", "dog"}, `classes are the sorted folders: 0 "ant", 1 "cat", 2 "dog"`, ""},
		{"below test", "test", in("test", animals(nil)), []int32{0, 1, 1, 2, 2}, []string{"ant", "cat", "dog"}, "1 files in its folders are no pictures", ""},
		{"below val, with train", "test", func() files {
			f := in("val", animals(nil))
			f["train/zebra/a.png"] = one(9)
			return f
		}(), []int32{0, 1, 1, 2, 2}, []string{"ant", "cat", "dog"}, "", ""},
		{"train", "train", in("train", animals(nil)), []int32{0, 1, 1, 2, 2}, []string{"ant", "cat", "dog"}, "", ""},
		{"classes.txt", "test", animals(files{"classes.txt": []byte("dog\r\ncat\nbee\nant\n\n")}), []int32{3, 1, 1, 0, 0}, []string{"dog", "cat", "bee", "ant"}, `classes are classes.txt: 0 "dog"`, ""},
		{"class_to_idx.json around", "test", func() files {
			f := in("test", animals(nil))
			f["class_to_idx.json"] = []byte(`{"cat": 0, "dog": 1, "ant": 2}`)
			return f
		}(), []int32{2, 0, 0, 1, 1}, []string{"cat", "dog", "ant"}, "classes are class_to_idx.json", ""},
		{"numbers are texts", "test", files{"0/a.png": one(1), "10/a.png": one(2), "2/a.png": one(3)}, []int32{0, 1, 2}, []string{"0", "10", "2"}, "names that are numbers are sorted as texts", ""},
		{"an empty class", "test", animals(files{".ipynb_checkpoints/x.txt": nil}), nil, nil, "", `folder ".ipynb_checkpoints" has no pictures`},
		{"a class that the order lacks", "test", animals(files{"classes.txt": []byte("dog\ncat\n")}), nil, nil, "", `folder "ant", want one of the 2 names of classes.txt`},
		{"a name twice", "test", animals(files{"classes.txt": []byte("dog\ncat\ndog\n")}), nil, nil, "", `classes.txt: class "dog" has the labels 0 and 2`},
		{"a gap in the order", "test", animals(files{"classes.txt": []byte("dog\n\ncat\n")}), nil, nil, "", "classes.txt: line 2 is empty"},
		{"JSON with a hole", "test", animals(files{"class_to_idx.json": []byte(`{"dog": 0, "cat": 2}`)}), nil, nil, "", `class_to_idx.json: class "cat" has label 2, want each of 0 to 1 once`},
		{"JSON of something else", "test", animals(files{"class_to_idx.json": []byte(`[1]`)}), nil, nil, "", "class_to_idx.json: "},
		{"a picture that is not read", "test", animals(files{"cat/d.tiff": nil}), nil, nil, "", "cat/d.tiff: a picture of kind .tiff, want PNG, JPEG, BMP or WebP"},
		{"no train split", "train", animals(nil), nil, nil, "", "no train images"},
		{"another size", "test", animals(files{"dog/c.png": pngOf(t, gray(3, 2))}), nil, nil, "", "dog/c.png: is [1 2 3], want [1 1 1] as the first image"},
		{"pictures without labels", "test", files{"a.png": one(1), "b.png": one(2)}, nil, nil, "", "it holds 2 pictures, want a labels.csv beside them"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Load(writePNGs(t, c.files), c.split)
			if c.want != "" {
				wantError(t, err, "dataset: ", c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(c.labels) == 5 {
				if d := cmp.Diff(pixels, s.Images.Data()); d != "" {
					t.Errorf("pixels (-want +got):\n%s", d)
				}
			}
			if !slices.Equal(s.Labels, c.labels) || !slices.Equal(s.Classes, c.classes) {
				t.Errorf("labels %v of %q, want %v of %q", s.Labels, s.Classes, c.labels, c.classes)
			}
			if !strings.Contains(fmt.Sprint(s.Notes), c.note) {
				t.Errorf("notes %v, want %s", s.Notes, c.note)
			}
			if s.Source.Labels.SHA256 == "" || s.Source.N != len(c.labels) {
				t.Errorf("source %+v", s.Source)
			}
		})
	}
}

// TestClassLinks: a link may not lead out of the folder, nor round in a circle.
func TestClassLinks(t *testing.T) {
	outside := writePNGs(t, map[string][]byte{"a.png": pngOf(t, gray(1, 1))})
	for name, link := range map[string]func(dir string) error{
		"a class": func(dir string) error { return os.Symlink(outside, filepath.Join(dir, "dog")) },
		"a picture": func(dir string) error {
			return os.Symlink(filepath.Join(outside, "a.png"), filepath.Join(dir, "cat", "b.png"))
		},
		"a circle": func(dir string) error { return os.Symlink("..", filepath.Join(dir, "cat", "b")) },
	} {
		dir := writePNGs(t, map[string][]byte{"cat/a.png": pngOf(t, gray(1, 1))})
		if err := link(dir); err != nil {
			t.Skipf("no symbolic links here: %v", err)
		}
		if s, err := Load(dir, "test"); err == nil {
			t.Errorf("%s: read, %d images", name, s.N())
		} else if text := err.Error(); !strings.Contains(text, "path escapes from parent") && !strings.Contains(text, "a link to a folder") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLists: the same pictures by labels.csv in its many forms.
func TestLists(t *testing.T) {
	a, b := pngOf(t, gray(3, 2)), pngOf(t, gray(3, 2))
	for _, c := range []struct {
		name, csv string
		query     Query
		labels    []int32
		classes   []string
		want      string
	}{
		{"header", "filename,target\na.png,1\nsub/b.png,0\n", Query{}, []int32{1, 0}, nil, ""},
		{"semicolons, more columns", "id;Image;Label;remark\n7;a.png;1;yes, please\n8;sub/b.png;0;\n", Query{}, []int32{1, 0}, nil, ""},
		{"blanks", "file, label\na.png, 1\nsub/b.png, 0\n", Query{}, []int32{1, 0}, nil, ""},
		{"tabs", "path\tclass\na.png\t1\nsub/b.png\t0\n", Query{}, []int32{1, 0}, nil, ""},
		{"label first", "label,file\n1,a.png\n0,sub/b.png\n", Query{}, []int32{1, 0}, nil, ""},
		{"whole floats", "file,label\na.png,1.0\nsub/b.png,0.0\n", Query{}, []int32{1, 0}, nil, ""},
		{"backslashes", "file,label\na.png,1\nsub\\b.png,0\n", Query{}, []int32{1, 0}, nil, ""},
		{"names", "file,label\na.png,dog\nsub/b.png,cat\n", Query{}, []int32{1, 0}, []string{"cat", "dog"}, ""},
		{"keys", "file,other,label,kind\nx,a.png,5,1\ny,sub/b.png,6,0\n", Query{ImagesKey: "other", LabelsKey: "kind"}, []int32{1, 0}, nil, ""},
		{"no such key", "file,label\na.png,1\n", Query{LabelsKey: "kind"}, nil, nil, `no column "kind"`},
		{"two columns of labels", "file,label,class\na.png,1,1\n", Query{}, nil, nil, `both "label" and "class" would do`},
		{"half a label", "file,label\na.png,1.5\n", Query{}, nil, nil, `line 2: label "1.5", want an integer`},
		{"no label", "file,label\na.png,\n", Query{}, nil, nil, `line 2: label "", want an integer or the name of a class`},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.query.Path = writePNGs(t, map[string][]byte{"labels.csv": []byte(c.csv), "a.png": a, "sub/b.png": b})
			c.query.Split = "test"
			s, err := read(c.query)
			if c.want != "" {
				wantError(t, err, "labels.csv: ", c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.Labels, c.labels) || !slices.Equal(s.Classes, c.classes) {
				t.Errorf("labels %v of %q, want %v of %q", s.Labels, s.Classes, c.labels, c.classes)
			}
		})
	}
}

// TestNPZKeys: pairs of arrays by their names.
func TestNPZKeys(t *testing.T) {
	x := npyFile(npyHeaderOf("|u1", false, 2, 3, 4), []byte("abcdefghijklmnopqrstuvwx"))
	y := npyFile(npyHeaderOf("|u1", false, 2), []byte{1, 2})
	for _, c := range []struct {
		images, labels string
		query          Query
		notes          int
		want           string
	}{
		{"X", "y", Query{}, 0, ""},
		{"X_test", "y_test", Query{}, 0, ""},
		{"data", "target", Query{}, 0, ""},
		{"images", "target", Query{}, 0, ""},
		{"arr_0", "arr_1", Query{}, 1, ""},
		{"pictures", "kinds", Query{ImagesKey: "pictures", LabelsKey: "kinds"}, 0, ""},
		{"pictures", "y", Query{ImagesKey: "pictures"}, 0, ""},
		{"x", "kinds", Query{LabelsKey: "kinds"}, 0, ""},
		{"pictures", "kinds", Query{}, 0, `arrays ["kinds" "pictures"], want x_test and y_test`},
		{"pictures", "kinds", Query{ImagesKey: "pictures", LabelsKey: "z"}, 0, `want "pictures" and "z"`},
	} {
		q := c.query
		q.Path, q.Split = writeFile(t, t.TempDir(), "x.npz", npz(t, entry{c.images + ".npy", x, zip.Store}, entry{c.labels + ".npy", y, zip.Store})), "test"
		s, err := read(q)
		if c.want != "" {
			wantError(t, err, c.want)
			continue
		}
		notes := 0
		if s != nil {
			for _, n := range s.Notes {
				if strings.Contains(n.Text, "no names") {
					notes++
				}
			}
		}
		if err != nil || s.N() != 2 || notes != c.notes {
			t.Errorf("%s and %s: %v, %d notes of names, want %d", c.images, c.labels, err, notes, c.notes)
		}
	}
}

// TestTables: CSV files of pixels.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		name, text string
		query      Query
		labels     []int32
		pixels     string
		note, want string
	}{
		{"Kaggle", "label,pixel0,pixel1,pixel2\n1,0,128,255\n0,3,2,1\n", Query{}, []int32{1, 0}, "[0 128 255 3 2 1]", "", ""},
		{"label last", "a;b;c;class\n0;128;255;1\n", Query{}, []int32{1}, "[0 128 255]", "", ""},
		{"label by its key", "a,kind,label,c\n200,7,9,1\n", Query{LabelsKey: "kind"}, []int32{7}, "[200 9 1]", "", ""},
		{"no header", "1,0,128,255\n0,3,2,1\n", Query{}, []int32{1, 0}, "[0 128 255 3 2 1]", "the first column was taken for the labels, the other 3 for pixels", ""},
		{"floats", "label,a,b\n1,0.5,-1\n", Query{}, []int32{1}, "[0.5 -1]", "", ""},
		{"small integers", "label,a,b\n1,0,16\n", Query{}, []int32{1}, "[0 16]", "255 was taken for white", ""},
		{"small integers, told", "label,a,b\n1,0,8\n", Query{PixelMax: 16}, []int32{1}, "[0 0.5]", "", ""},
		{"large integers", "label,a,b\n1,0,256\n", Query{}, nil, "", "", "images of integers from 0 to 256, want uint8, floats, or to be told which number is white"},
		{"a short row", "label,a,b\n1,0\n", Query{}, nil, "", "", "line 2: 2 fields, want 3"},
		{"no label", "pixel0,pixel1\n1,0\n", Query{}, nil, "", "", "no column is called label or the like"},
		{"a list", "file,label\na.png,0\n", Query{}, nil, "", "", "of a list of files, want pixels: give the folder"},
		{"text for a pixel", "label,a,b\n1,0,x\n", Query{}, nil, "", "", `line 2, field 3: pixel "x", want a number`},
		{"NaN", "label,a,b\n1,0,nan\n", Query{}, nil, "", "", "element 1 is NaN"},
		{"too large", "label,a,b\n1,0,1e99\n", Query{}, nil, "", "", `pixel "1e99", want a number that fits float32`},
		{"a label that is none", "label,a,b\nx,0,1\n", Query{}, nil, "", "", `line 2: label "x", want an integer`},
		{"a header only", "label,a,b\n", Query{}, nil, "", "", "no rows"},
		{"one column", "label\n1\n", Query{}, nil, "", "", "one column"},
		{"empty", "", Query{}, nil, "", "", "no rows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := c.query
			q.Path, q.Split = writeFile(t, t.TempDir(), "x.csv", []byte(c.text)), "test"
			s, err := read(q)
			if c.want != "" {
				wantError(t, err, "dataset: "+q.Path, c.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(s.Images.Data()); got != c.pixels || !slices.Equal(s.Labels, c.labels) || s.Source.N != len(c.labels) {
				t.Errorf("%s of %v, want %s of %v", got, s.Labels, c.pixels, c.labels)
			}
			if got := fmt.Sprint(s.Notes); !strings.Contains(got, c.note) || c.note == "" && len(s.Notes) > 0 {
				t.Errorf("notes %s, want %q", got, c.note)
			}
		})
	}
}

// TestOpenErrors: files that are no data set are called what they are.
func TestOpenErrors(t *testing.T) {
	bomb := gz(t, make([]byte, 40<<20)) // a tar's 40 MB of nothing
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"x.npy", "an NPY file, of one array: give it as the images or as the labels, with a second file for the others; want a folder", npyFile(npyHeaderOf("|u1", false, 1), []byte{1})},
		{"x.idx", "an IDX file, of one array: give it", idx(t, []int{1}, []byte{1})},
		{"x.gz", "a gzip file: of IDX, images and labels are two files", gz(t, []byte("x"))},
		{"x.pkl", "a Python pickle: of CIFAR, give its folder", []byte("\x80\x04N.")},
		{"x.h5", "an HDF5 file", []byte("\x89HDF\r\n\x1a\n")},
		{"x.parquet", "a Parquet file: in Python, save images and labels with numpy.savez", []byte("PAR1")},
		{"x.png", "a PNG image: give its folder, with a labels.csv", pngOf(t, gray(1, 1))},
		{"x.npz.lfs", "a Git LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\n")},
		{"x.bin", "an HTML page: the download gave a page", []byte("<!DOCTYPE html>")},
		{"x.zip", "a zip archive without arrays, it holds \"a.png\": unpack it", npz(t, entry{"a.png", nil, zip.Store})},
		{"x", "an empty file: was it written to the end?; want a folder, or a file that holds images and labels: NPZ, .tar.gz or CSV of pixels", nil},
		{"a.tar.gz", `an archive that holds "a/b.png", want the files of MNIST or CIFAR: unpack it`, tarOf(t, true, map[string][]byte{"a/b.png": nil})},
		{"b.tar.gz", "no test images: its files are those of another split", tarOf(t, true, map[string][]byte{"cifar-10-batches-bin/data_batch_1.bin": cifarFile(1, 0)})},
		{"c.tar.gz", "archive: ", gz(t, []byte("hello, world"))},
		{"d.tar.gz", "archive: truncated", tarOf(t, true, map[string][]byte{"test": make([]byte, 99)})[:60]},
		{"e.tar.gz", "an empty archive", bomb},
		{"f.tar", "test_batch.bin: 5 bytes, want a positive multiple of the 3073", tarOf(t, false, map[string][]byte{"../../test_batch.bin": []byte("hello")})},
	} {
		t.Run(c.name, func(t *testing.T) {
			where := writeFile(t, t.TempDir(), c.name, c.data)
			_, err := Load(where, "test")
			wantError(t, err, "dataset: "+where, c.want)
		})
	}
}

// TestPickleErrors: nothing of a pickle is run, and what is no batch is called what it is.
func TestPickleErrors(t *testing.T) {
	good := testdata(t, "cifar_p4.pickle")
	array := func(shape string) []byte {
		return []byte("}U\x04datacnumpy.core.multiarray\n_reconstruct\n)R(K\x01" + shape + "cnumpy\ndtype\nU\x02u1\x85R\x89U\x03abctbs.")
	}
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"a call":              {[]byte("cos\nsystem\nU\x04true\x85R."), `it calls "os.system", and nothing of a pickle is run`},
		"a call by its stack": {[]byte("\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."), `it calls "os.system"`},
		"a call of a value":   {[]byte("U\x04true)R."), "a call of"},
		"an object":           {[]byte("(U\x01aios\nsystem\n."), `opcode 0x69 ('i'), which data does not need`},
		"a persistent id":     {[]byte("Pabc\n."), "opcode 0x50"},
		"an extension":        {[]byte("\x82\x01."), "opcode 0x82"},
		"cut":                 {good[:len(good)-50], "truncated: the pickle ends early"},
		"no dict":             {[]byte("K\x01."), "pickle of 1, want a dict with data and labels"},
		"no data":             {[]byte("}."), "pickle: data is missing"},
		"a long claim":        {[]byte("\x8e\xff\xff\xff\xff\xff\xff\xff\xff."), "truncated"},
		"a huge shape":        {array("J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), "3 bytes of data, want 4611686014132420609"},
		"an overflow":         {array("J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87"), "overflow"},
		"a negative shape":    {array("J\xff\xff\xff\xff\x85"), "a dimension of -1"},
		"another width":       {array("K\x03\x85"), "data is an array [3] of \"u1\", want an array of uint8 [N, 3072]"},
		"an empty stack":      {[]byte("0."), "the stack is empty"},
		"no mark":             {[]byte("t."), "no mark on the stack"},
		"a memo":              {[]byte("h\x07."), "memo 7, which is empty"},
		"labels out of range": {bytes.Replace(good, []byte("K\x09K\x00K\x01"), []byte("K\x09K\x0aK\x01"), 1), "image 1: label 10, want 0 to 9 of CIFAR-10"},
		"escapes":             {[]byte("V\\u0041\n."), "pickle of a text with escapes, want a dict"},
		"again and again": {append(append([]byte("X\x10\x27\x00\x00"), bytes.Repeat([]byte("a"), 10000)...),
			append([]byte("q\x000"), append(bytes.Repeat([]byte("c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R0"), 9), []byte("N.")...)...)...), "the same text as bytes again and again"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := readCIFARPickle(&cifar10Py, bytes.NewReader(c.data), int64(len(c.data)), nil, nil)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// TestQuery: what a Query asks for is checked before any file is.
func TestQuery(t *testing.T) {
	for _, c := range []struct {
		query Query
		want  string
	}{
		{Query{Path: "x"}, `split "", want test or train`},
		{Query{Layout: "nchw"}, `layout "nchw", want one of ["chw" "hwc"]`},
		{Query{Flat: "x"}, `order of a flat model "x"`},
		{Query{Alpha: "black"}, `alpha "black"`},
		{Query{Channels: "bgr"}, `channels "bgr"`},
		{Query{PixelMax: -1}, "largest pixel -1, want a positive number"},
		{Query{Resize: Size{1 << 20, 1}}, "size 1048576x1"},
		{Query{Crop: Size{H: 3}}, "crop of height 3, want a width too"},
	} {
		_, err := Open(c.query)
		wantError(t, err, "dataset: ", c.want)
	}
	// The embedded images, as a model of others wants them.
	s, err := Open(Query{Resize: Size{H: 14}, Channels: "rgb"})
	if err != nil {
		t.Fatal(err)
	}
	set, err := s.For([]int{3, 14, 14})
	if err != nil || !slices.Equal(set.Images.Shape(), []int{1000, 3, 14, 14}) {
		t.Errorf("%v, %v", err, set)
	}
	if again, err := s.For([]int{3, 14, 14}); err != nil || again.SHA256() != set.SHA256() {
		t.Errorf("asked twice: %v", err)
	}
}

// TestFormats: every format says what it is called and holds, under a name of its own.
func TestFormats(t *testing.T) {
	folders, files, pairs, pictures := Formats()
	if len(folders) != 7 || len(files) != 3 || len(pairs) != 2 || len(pictures) != 4 {
		t.Errorf("%d, %d, %d and %d formats", len(folders), len(files), len(pairs), len(pictures))
	}
	seen := map[string]bool{}
	for _, f := range slices.Concat(folders, files, pairs, pictures) {
		if f.Name == "" || f.Files == "" || f.Holds == "" || seen[f.Name] {
			t.Errorf("%+v", f)
		}
		seen[f.Name] = true
	}
}

// TestHugeClaims: pictures that say they are huge are refused by what they say.
func TestHugeClaims(t *testing.T) {
	jpg := testdata(t, "pictures/rgb420.jpg")
	at := bytes.Index(jpg, []byte("\xff\xc0"))
	binary.BigEndian.PutUint16(jpg[at+5:], 60000)
	binary.BigEndian.PutUint16(jpg[at+7:], 60000)
	web := testdata(t, "pictures/lossy.webp")
	at = bytes.Index(web, []byte("\x9d\x01\x2a"))
	binary.LittleEndian.PutUint16(web[at+3:], 16383)
	binary.LittleEndian.PutUint16(web[at+5:], 16383)
	b := testdata(t, "pictures/rgb24.bmp")
	binary.LittleEndian.PutUint32(b[18:], 60000)
	binary.LittleEndian.PutUint32(b[22:], 60000)
	for name, data := range map[string][]byte{"JPEG": jpg, "WebP": web, "BMP": b} {
		bounded(t, 1<<20, func() {
			// much that was read before backs nothing
			p := &pictures{query: &Query{}, stored: 1 << 40}
			if _, err := p.decode(data); err == nil || !strings.Contains(err.Error(), "as in a decompression bomb") {
				t.Errorf("%s: error %v, want that of a bomb", name, err)
			}
		})
	}
	// An archive that says one of its files is huge.
	var b2 bytes.Buffer
	if err := tar.NewWriter(&b2).WriteHeader(&tar.Header{Name: "test_batch.bin", Size: maxUnpacked + 1, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	bounded(t, 1<<20, func() {
		if _, err := unpack(&b2, int64(b2.Len()), "test"); err == nil || !strings.Contains(err.Error(), "want at most 268435456") {
			t.Errorf("error %v, want that of a huge file", err)
		}
	})
	// A batch of CIFAR that shrinks to nothing.
	z := gz(t, make([]byte, bombSize+1))
	bounded(t, 6*bombSize, func() { // of a buffer that grows
		if _, _, err := gunzipped(bytes.NewReader(z), int64(len(z))); err == nil || !strings.Contains(err.Error(), "as in a bomb") {
			t.Errorf("error %v, want that of a bomb", err)
		}
	})
	if !errors.Is(notFound{errors.New("x")}, fs.ErrNotExist) {
		t.Error("notFound is no fs.ErrNotExist")
	}
}
