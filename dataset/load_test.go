package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// cifarFile is a file of CIFAR-10 with n records, label and pixels by their index.
func cifarFile(n, first int) []byte {
	var b []byte
	for i := range n {
		b = append(b, byte((first+i)%10))
		for j := range cifarPixels {
			b = append(b, byte((first+i)*31+j*7))
		}
	}
	return b
}

func writeCIFAR(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, dir, "test_batch.bin", cifarFile(3, 100))
	for i := range 5 {
		writeFile(t, dir, fmt.Sprintf("data_batch_%d.bin", i+1), cifarFile(2, 2*i))
	}
	return dir
}

func TestLoadCIFAR10(t *testing.T) {
	dir := writeCIFAR(t)
	for _, c := range []struct {
		split, file string
		n, first    int
	}{
		{"test", "test_batch.bin", 3, 100},
		{"train", "data_batch_1.bin to data_batch_5.bin", 10, 0},
	} {
		s, err := Load(dir, c.split)
		if err != nil {
			t.Fatal(err)
		}
		all := cifarFile(c.n, c.first)
		file := File{c.file, sum(all)}
		if want := (Source{Name: "CIFAR-10", Images: file, Labels: file, N: c.n}); named(s.Source) != want {
			t.Errorf("%s: Source is %v, want %v", c.split, s.Source, want)
		}
		if d := cmp.Diff([]int{c.n, 3, 32, 32}, []int(s.Images.Shape())); d != "" {
			t.Errorf("%s: shape (-want +got):\n%s", c.split, d)
		}
		pixels := s.Images.Data().([]byte)
		for i := range c.n {
			record := all[i*cifarRecord : (i+1)*cifarRecord]
			if s.Labels[i] != int32(record[0]) || !bytes.Equal(pixels[i*cifarPixels:(i+1)*cifarPixels], record[1:]) {
				t.Errorf("%s: record %d is not what was written", c.split, i)
			}
		}
		if err := s.Check(10); err != nil || len(s.Classes) != 10 || s.Classes[3] != "cat" {
			t.Errorf("%s: Check(10) = %v, classes %v", c.split, err, s.Classes)
		}
	}
}

// writeMNIST writes the pair of a split, with three images.
func writeMNIST(t *testing.T, dir, stem string) {
	t.Helper()
	writeFile(t, dir, stem+"-images-idx3-ubyte", idx(t, []int{3, 2, 2}, []byte("abcdefghijkl")))
	writeFile(t, dir, stem+"-labels-idx1-ubyte.gz", gz(t, idx(t, []int{3}, []byte{0, 9, 1})))
}

func TestFashion(t *testing.T) {
	for path, want := range map[string]string{
		"mnist":            "",
		"fashion":          "Fashion-MNIST",
		"fashion-mnist":    "Fashion-MNIST",
		"FashionMNIST/raw": "Fashion-MNIST",
		"fashion/a/b":      "", // more than one folder up says nothing
	} {
		dir := filepath.Join(t.TempDir(), filepath.FromSlash(path))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writeMNIST(t, dir, "train")
		s, err := Load(dir, "train")
		if err != nil {
			t.Fatal(err)
		}
		if s.Source.Name != want || (len(s.Classes) == 10) != (want != "") {
			t.Errorf("%s: Name is %q with classes %v, want %q", path, s.Source.Name, s.Classes, want)
		}
		if one, err := s.Slice(1, 1); err != nil || one.Source.Name != want || len(one.Classes) != len(s.Classes) {
			t.Errorf("%s: a slice's Name is %q with classes %v, want those of the set", path, one.Source.Name, one.Classes)
		}
	}
	for _, f := range fashionFiles {
		s := Source{Images: File{SHA256: f[0]}, Labels: File{SHA256: f[1]}}
		if !isFashion("mnist", s) {
			t.Errorf("published files %v are not known", f)
		}
		s.Labels.SHA256 = fashionFiles[0][0]
		if isFashion("mnist", s) {
			t.Errorf("images %s are Fashion-MNIST without their labels", f[0])
		}
	}
}

func gray(w, h int) *image.Gray { // pixel i has value 10·i
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = byte(10 * i)
	}
	return m
}

// rgb has in channel c, row-major, at i the value 50·c + i.
func rgb(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		m.SetRGBA(i%w, i/w, color.RGBA{byte(i), byte(50 + i), byte(100 + i), 255})
	}
	return m
}

// chunk puts one more chunk behind the first of a PNG file.
func chunk(file []byte, kind string, data ...byte) []byte {
	body := append([]byte(kind), data...)
	b := binary.BigEndian.AppendUint32(bytes.Clone(file[:33]), uint32(len(data)))
	b = binary.BigEndian.AppendUint32(append(b, body...), crc32.ChecksumIEEE(body))
	return append(b, file[33:]...)
}

// Pictures must not take much memory, whatever they and their number claim.
func TestPNGMemory(t *testing.T) {
	const mib = 1 << 20
	large := func(w, h int) []byte { // says so, and has no pixels
		file := bytes.Clone(pngOf(t, gray(3, 2)))
		binary.BigEndian.PutUint32(file[16:], uint32(w))
		binary.BigEndian.PutUint32(file[20:], uint32(h))
		binary.BigEndian.PutUint32(file[29:], crc32.ChecksumIEEE(file[12:29]))
		return file
	}
	blank := pngOf(t, image.NewGray(image.Rect(0, 0, 2000, 2000))) // 4 MB in some 16 kB
	rows := "file,label\n"
	many := fstest.MapFS{}
	for i := range 40 {
		name := fmt.Sprintf("%d.png", i)
		many[name] = &fstest.MapFile{Data: blank}
		rows += name + ",0\n"
	}
	many[listCSV] = &fstest.MapFile{Data: []byte(rows)}
	one := func(data []byte) fs.FS {
		return fstest.MapFS{listCSV: {Data: []byte("file,label\na,0\n")}, "a": {Data: data}}
	}
	for _, c := range []struct {
		name string
		fsys fs.FS
		most int
		want string // "": read
	}{
		{"claim that deflate cannot hold", one(large(30000, 30000)), mib, "compressed bytes can hold no more"},
		{"claim of 62 bits", one(large(1<<31-1, 1<<31-1)), mib, "a: "},
		{"claim in a padded file", one(append(large(100000, 10000), make([]byte, mib)...)), 2 * mib, "as in a bomb"},
		{"one blank picture", one(blank), 10 * mib, ""},
		// Up to the limit of 64 MiB: decoded, and joined in memory that doubles.
		{"many blank pictures", many, 5 * bombSize, "as in a decompression bomb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := readPNGs(c.fsys)
			runtime.ReadMemStats(&after)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(c.most) {
				t.Errorf("%d bytes allocated, want at most %d", got, c.most)
			}
		})
	}
}

// writePNGs writes files below dir, and makes the folders that they need.
func writePNGs(t *testing.T, files map[string][]byte) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "pictures")
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoadPNGs(t *testing.T) {
	a := pngOf(t, gray(3, 2))
	inverse := gray(3, 2)
	for i := range inverse.Pix {
		inverse.Pix[i] = 255 - inverse.Pix[i]
	}
	b := pngOf(t, inverse)
	c := pngOf(t, rgb(2, 3))
	rgbPixels := []byte{0, 1, 2, 3, 4, 5, 50, 51, 52, 53, 54, 55, 100, 101, 102, 103, 104, 105}
	for _, test := range []struct {
		name, split string
		files       map[string][]byte
		shape       []int
		pixels      []byte
		labels      []int32
		sum, source string
	}{
		{"gray, in the order of the lines", "test",
			map[string][]byte{"labels.csv": []byte("file,label\nz.png,3\nsub/a.png,1\n"), "sub/a.png": b, "z.png": a, "other.png": c},
			[]int{2, 2, 3}, []byte{0, 10, 20, 30, 40, 50, 255, 245, 235, 225, 215, 205}, []int32{3, 1}, sum(append(bytes.Clone(a), b...)), "pictures"},
		{"RGB, Excel's file", "test",
			map[string][]byte{"labels.csv": []byte("\ufefffile,label\r\n\"./c.png\", 7\r\n"), "c.png": c},
			[]int{1, 3, 3, 2}, rgbPixels, []int32{7}, sum(c), "pictures"},
		{"bytes after the PNG's end count", "test",
			map[string][]byte{"labels.csv": []byte("file,label\nc.png,0\n"), "c.png": append(bytes.Clone(c), 1, 2)},
			[]int{1, 3, 3, 2}, rgbPixels, []int32{0}, sum(append(bytes.Clone(c), 1, 2)), "pictures"},
		{"train", "train",
			map[string][]byte{"train/labels.csv": []byte("file,label\nc.png,0\n"), "train/c.png": c, "test/labels.csv": nil},
			[]int{1, 3, 3, 2}, rgbPixels, []int32{0}, sum(c), "train"},
		{"test", "test",
			map[string][]byte{"test/labels.csv": []byte("file,label\nc.png,0\n"), "test/c.png": c, "train/labels.csv": nil},
			[]int{1, 3, 3, 2}, rgbPixels, []int32{0}, sum(c), "test"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, err := Load(writePNGs(t, test.files), test.split)
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(dense(test.shape, test.pixels), s.Images); d != "" {
				t.Errorf("images (-want +got):\n%s", d)
			}
			if d := cmp.Diff(test.labels, s.Labels); d != "" {
				t.Errorf("labels (-want +got):\n%s", d)
			}
			if s.Source.Images != (File{test.source, test.sum}) || s.Source.Labels.Name != "labels.csv" || s.Source.N != len(test.labels) {
				t.Errorf("Source is %v, want images %s with hash %s", s.Source, test.source, test.sum)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	a := pngOf(t, gray(3, 2))
	palette := image.NewPaletted(image.Rect(0, 0, 3, 2), color.Palette{color.Black, color.White})
	header := "file,label\n"
	folder := func(csv string, more ...map[string][]byte) string {
		files := map[string][]byte{"labels.csv": []byte(csv), "a.png": a}
		for _, m := range more {
			for name, data := range m {
				files[name] = data
			}
		}
		return writePNGs(t, files)
	}
	second := func(data []byte) string {
		return folder(header+"a.png,0\nb.png,1\n", map[string][]byte{"b.png": data})
	}
	cifarWith := func(name string, data []byte) string {
		dir := writeCIFAR(t)
		if data == nil {
			os.Remove(filepath.Join(dir, name))
		} else {
			writeFile(t, dir, name, data)
		}
		return dir
	}
	badLabel := cifarFile(3, 0)
	badLabel[cifarRecord] = 10
	both := writeCIFAR(t)
	writeMNIST(t, both, "t10k")
	half := t.TempDir()
	writeFile(t, half, "t10k-labels-idx1-ubyte", idx(t, []int{1}, []byte{1}))
	linked := folder(header + "link.png,0\n")
	outside := writeFile(t, t.TempDir(), "secret.png", a)
	if err := os.Symlink(outside, filepath.Join(linked, "link.png")); err != nil {
		t.Logf("no symbolic links here: %v", err)
		linked = ""
	}
	for _, c := range []struct {
		name, dir, split string
		want             []string
	}{
		{"empty folder", t.TempDir(), "test", []string{"no test images", "t10k-images-idx3-ubyte", "test_batch.bin", "labels.csv"}},
		{"split", both, "both", []string{`split "both", want test or train`}},
		{"two kinds", both, "test", []string{"both t10k-images-idx3-ubyte and test_batch.bin, want a folder for each"}},
		{"labels without images", half, "test", []string{"want one of t10k-images-idx3-ubyte"}},
		{"no training set", folder(header + "a.png,0\n"), "train", []string{"no train images", filepath.Join("train", "labels.csv")}},
		{"text for an NPZ", writeFile(t, t.TempDir(), "x.npz", []byte("text")), "test", []string{"not a zip archive"}},

		{"CIFAR, batch missing", cifarWith("data_batch_4.bin", nil), "train", []string{"data_batch_4.bin: no such file"}},
		{"CIFAR, cut", cifarWith("test_batch.bin", cifarFile(3, 0)[1:]), "test", []string{"test_batch.bin: 9218 bytes, want a positive multiple of the 3073"}},
		{"CIFAR, empty", cifarWith("test_batch.bin", []byte{}), "test", []string{"test_batch.bin: 0 bytes"}},
		{"CIFAR, label", cifarWith("test_batch.bin", badLabel), "test", []string{"test_batch.bin: record 1: label 10, want 0 to 9"}},

		{"CSV empty", folder(""), "test", []string{"labels.csv: no files, want a header file,label"}},
		{"CSV, header only", folder(header), "test", []string{"labels.csv: no files"}},
		{"CSV without header", folder("a.png,1\n"), "test", []string{`labels.csv: line 1: header ["a.png" "1"], want file,label`}},
		{"CSV, other columns", folder("id,tag,x\n"), "test", []string{"line 1: header", "no column is called file"}},
		{"CSV, two columns of files", folder("file,path,label\n"), "test", []string{"line 1: header", `both "file" and "path" would do`}},
		{"CSV, three fields", folder(header + "a.png,1,2\n"), "test", []string{"labels.csv: line 2: 3 fields, want 2 as in the header"}},
		{"CSV, quotes", folder(header + "\"a.png,1\n"), "test", []string{"labels.csv: ", "line"}},
		{"CSV, label", folder(header + "\n\na.png,seven\nb.png,7\n"), "test", []string{`labels.csv: line 4: label "seven", want an integer, as other lines have`}},
		{"CSV, columns changed about", folder("label,file\na.png,1\n"), "test", []string{`line 2: label "a.png" and file "1": are the columns changed about?`}},
		{"CSV, label of 33 bits", folder(header + "a.png,4294967296\n"), "test", []string{"label \"4294967296\""}},
		{"CSV, twice", folder(header + "a.png,1\n./a.png,2\n"), "test", []string{`line 3: file "./a.png" again, after line 2`}},
		{"CSV, parent", folder(header + "../a.png,1\n"), "test", []string{`line 2: file "../a.png", want a path inside the folder`}},
		{"CSV, parent within", folder(header + "x/../../a.png,1\n"), "test", []string{"want a path inside the folder"}},
		{"CSV, absolute", folder(header + "/etc/passwd,1\n"), "test", []string{"want a path inside the folder"}},
		{"CSV, backslash", folder(header + "..\\a.png,1\n"), "test", []string{"want a path inside the folder, with slashes"}},
		{"CSV, no name", folder(header + ",1\n"), "test", []string{"want a path inside the folder"}},
		{"link out", linked, "test", []string{"link.png: path escapes from parent"}},
		{"PNG missing", folder(header + "b.png,1\n"), "test", []string{"b.png: no such file"}},
		{"PNG is a folder", folder(header+"sub,1\n", map[string][]byte{"sub/x": nil}), "test", []string{"sub: a directory, want a regular file"}},
		{"PNG empty", second([]byte{}), "test", []string{`b.png: starts with "", want a picture: PNG, JPEG, BMP or WebP`}},
		{"PNG is a JPEG that is cut", second([]byte("\xff\xd8\xff\xe0\x00\x10JFIF and so on and on and on")), "test", []string{"b.png: JPEG: truncated: the picture ends early"}},
		{"PNG cut", second(a[:len(a)-20]), "test", []string{"b.png: PNG: png: invalid format: unexpected EOF"}},
		{"PNG corrupt", second(bytes.Replace(a, []byte("IDAT"), []byte("IDAT\x01"), 1)), "test", []string{"b.png: "}},
		{"PNG of another size", second(pngOf(t, gray(2, 3))), "test", []string{"b.png: is [1 3 2], want [1 2 3] as the first image"}},
		{"PNG in colour", second(pngOf(t, rgb(3, 2))), "test", []string{"b.png: is [3 2 3], want [1 2 3]"}},
		{"PNG of 16 bits", second(pngOf(t, image.NewGray16(image.Rect(0, 0, 3, 2)))), "test", []string{"b.png: has 16 bits a channel, want 8"}},
		{"PNG with palette", second(pngOf(t, palette)), "test", []string{"b.png: is [3 2 3], want [1 2 3] as the first image"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.dir == "" {
				t.Skip("no symbolic links")
			}
			s, err := Load(c.dir, c.split)
			if s != nil {
				t.Errorf("a set of %d, want nil", s.N())
			}
			wantError(t, err, append(c.want, "dataset: ")...)
			if c.split != "both" && !strings.HasPrefix(err.Error(), "dataset: "+c.dir) {
				t.Errorf("error is %q, want it to begin with the path %s", err, c.dir)
			}
		})
	}
	if _, err := Load(t.TempDir(), "test"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file is %v, want fs.ErrNotExist in it", err)
	}
}
