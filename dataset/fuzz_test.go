package dataset

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/fstest"

	"advsweep/internal/npy"

	"gorgonia.org/tensor"
)

// bounded calls f and fails if it allocates more than most bytes, freed or not.
func bounded(t *testing.T, most int, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(most) {
		t.Fatalf("%d bytes allocated, want at most %d", got, most)
	}
}

// valid fails unless images and labels, one of which may be nil, are what a Set
// may have.
func valid(t *testing.T, images *tensor.Dense, labels []int32) {
	t.Helper()
	switch {
	case images == nil:
		images = dense([]int{len(labels), 1, 1}, make([]byte, len(labels)))
	case labels == nil:
		labels = make([]int32, images.Shape()[0])
	}
	s := &Set{Images: images, Labels: labels}
	if err := s.check(); err != nil {
		t.Fatal(err)
	}
	if images.Dims() == 4 && images.Shape()[1] == 1 {
		t.Fatalf("images are %v, want those of one channel as [N, H, W]", images.Shape())
	}
	if one, err := s.Slice(s.N()-1, 1); err != nil || one.SHA256() == "" {
		t.Fatalf("the last image: %v", err)
	}
}

// npyFile is an NPY file of version 1.0.
func npyFile(header string, data []byte) []byte {
	b := []byte(npy.Magic + "\x01\x00")
	b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	return append(append(b, header...), data...)
}

func npyHeaderOf(descr string, fortran bool, shape ...int) string {
	order, dims := "False", ""
	if fortran {
		order = "True"
	}
	for _, d := range shape {
		dims += fmt.Sprintf("%d, ", d)
	}
	return fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }\n", descr, order, dims)
}

type entry struct {
	name   string
	data   []byte
	method uint16
}

func npz(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, e := range entries {
		w, err := z.CreateHeader(&zip.FileHeader{Name: e.name, Method: e.method})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pngOf is a PNG file of m.
func pngOf(t testing.TB, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// addTestdata adds the files of testdata that match as seeds.
func addTestdata(f *testing.F, pattern string, add func([]byte)) {
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		f.Fatalf("testdata/%s: %d files, %v", pattern, len(paths), err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		add(data)
	}
}

// FuzzReadNPY: no panic, no memory beyond what the file backs, and images that
// are read and written again, plainly, read the same.
func FuzzReadNPY(f *testing.F) {
	addTestdata(f, "*.npy", func(data []byte) { f.Add(data) })
	f.Add(npyFile(npyHeaderOf("<f8", true, 2, 3, 2, 2), make([]byte, 192)))
	f.Add(npyFile(npyHeaderOf("|u1", false, 1<<30, 1<<30, 1<<30), nil))
	f.Add([]byte(npy.Magic + "\x02\x00\xff\xff\xff\xff{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var a *array
		var err error
		// The data, and the header with what errors quote of it.
		bounded(t, 2*len(data)+256<<10, func() { a, err = readNPY(bytes.NewReader(data), int64(len(data))) })
		if err != nil {
			return
		}
		bounded(t, 9*len(data)+64<<10, func() { // labels of one byte take four
			if labels, err := a.labels(); err == nil {
				valid(t, nil, labels)
			}
		})
		var images *tensor.Dense
		bounded(t, 3*len(data)+64<<10, func() { images, err = a.images() })
		if err != nil {
			return
		}
		valid(t, images, nil)
		shape := images.Shape()
		if len(shape) == 4 && isChannels(shape[3]) {
			return // cannot be told from [N, H, W, C] again
		}
		descr, plain := "|u1", new(bytes.Buffer)
		if images.Dtype() == tensor.Float32 {
			descr = "<f4"
		}
		if err := binary.Write(plain, binary.LittleEndian, images.Data()); err != nil {
			t.Fatal(err)
		}
		file := npyFile(npyHeaderOf(descr, false, shape...), plain.Bytes())
		if a, err = readNPY(bytes.NewReader(file), int64(len(file))); err != nil {
			t.Fatal(err)
		}
		again, err := a.images()
		if err != nil {
			t.Fatal(err)
		}
		labels := make([]int32, shape[0])
		if x, y := (&Set{Images: images, Labels: labels}).SHA256(), (&Set{Images: again, Labels: labels}).SHA256(); x != y || x == "" {
			t.Fatalf("read, written and read: %v became %v, or its data changed", shape, again.Shape())
		}
	})
}

// FuzzReadNPZ: no panic, no memory beyond what the file can back.
func FuzzReadNPZ(f *testing.F) {
	addTestdata(f, "*.npz", func(data []byte) { f.Add(data, false) })
	x := npyFile(npyHeaderOf("|u1", false, 2, 3, 4), []byte("abcdefghijklmnopqrstuvwx"))
	y := npyFile(npyHeaderOf("<i8", false, 2), make([]byte, 16))
	f.Add(npz(f, entry{"x.npy", x, zip.Deflate}, entry{"y.npy", y, zip.Store}), false)
	f.Add(npz(f, entry{"x_train.npy", x, zip.Store}, entry{"y_train.npy", y, zip.Store}), true)
	f.Add(npz(f, entry{"x.npy", npyFile(npyHeaderOf("|u1", false, 1, 1<<10, 1<<10), make([]byte, 1<<20)), zip.Deflate}, entry{"y.npy", y, zip.Store}), false)
	f.Fuzz(func(t *testing.T, data []byte, train bool) {
		split := "test"
		if train {
			split = "train"
		}
		var s *Set
		var err error
		// Data twice while it grows, float64 narrowed, its order undone; of the
		// archive's directory some hundred bytes an entry of at least 46.
		bounded(t, len(data)*maxDeflate*4+4<<20, func() { s, err = readNPZSet(bytes.NewReader(data), int64(len(data)), split) })
		if err == nil {
			valid(t, s.Images, s.Labels)
		}
	})
}

// FuzzReadCIFAR: no panic, no memory beyond the file's, and the records that
// come out are those that went in.
func FuzzReadCIFAR(f *testing.F) {
	good := make([]byte, 2*cifarRecord)
	for i := range good {
		good[i] = byte(i % 251)
	}
	good[0], good[cifarRecord] = 9, 0
	f.Add(good, 0)
	f.Add(good, 2*cifarRecord)
	f.Add(good[:cifarRecord-1], 0)
	f.Add([]byte{}, 0)
	// size is what the file's own says, which another process may change meanwhile.
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		if size <= 0 || size > 4*cifarRecord {
			size = len(data)
		}
		var pixels []byte
		var labels []int32
		var err error
		bounded(t, 2*size+128<<10, func() { pixels, labels, err = readCIFAR(&cifar10Binary, bytes.NewReader(data), int64(size), nil, nil) })
		if err != nil {
			return
		}
		valid(t, dense([]int{len(labels), 3, 32, 32}, pixels), labels)
		var again []byte
		for i, l := range labels {
			again = append(append(again, byte(l)), pixels[i*cifarPixels:(i+1)*cifarPixels]...)
		}
		if !bytes.Equal(again, data[:size]) {
			t.Fatal("read and written: the data changed")
		}
	})
}

// FuzzReadPNGFolder: no panic, no memory beyond what the files can back, as
// many images as lines, and images that are written again read the same.
func FuzzReadPNGFolder(f *testing.F) {
	gray, rgb := image.NewGray(image.Rect(0, 0, 3, 2)), image.NewRGBA(image.Rect(0, 0, 2, 3))
	for i := range gray.Pix {
		gray.Pix[i] = byte(40 * i)
	}
	for i := range 6 {
		rgb.Set(i%2, i/2, color.RGBA{byte(i), byte(10 * i), byte(40 * i), 255})
	}
	rows := []byte("file,label\na.png,3\nb/c.png,4\n")
	f.Add(rows, pngOf(f, gray), pngOf(f, gray))
	f.Add(rows, pngOf(f, rgb), pngOf(f, rgb))
	f.Add(rows, pngOf(f, gray), pngOf(f, rgb))
	f.Add(rows, pngOf(f, image.NewGray(image.Rect(0, 0, 2000, 2000))), []byte{})
	f.Add([]byte("\ufefffile,label\r\n\"./a.png\",-1\r\n"), pngOf(f, image.NewNRGBA(image.Rect(0, 0, 2, 2))), []byte{})
	f.Add([]byte("file,label\n../a.png,1\n/b,2\n"), []byte{}, []byte{})
	f.Fuzz(func(t *testing.T, rows, a, b []byte) {
		fsys := fstest.MapFS{listCSV: {Data: rows}, "a.png": {Data: a}, "b/c.png": {Data: b}}
		var s *Set
		var err error
		// Of an image of three channels four bytes are decoded, interlaced or
		// not, and joined twice; a line of labels is a name, a string and a map's slot.
		most := (len(a)+len(b))*maxDeflate*8 + len(rows)*512 + 4<<20
		bounded(t, most, func() { s, err = readPNGs(fsys) })
		if err != nil {
			return
		}
		valid(t, s.Images, s.Labels)
		if n := s.N(); n < 1 || n > 3 { // the third file is labels.csv, which is no PNG
			t.Fatalf("%d images of 2 files", n)
		}
		shape := s.Images.Shape()
		if len(shape) != 3 {
			return
		}
		m := image.NewGray(image.Rect(0, 0, shape[2], shape[1]))
		copy(m.Pix, s.Images.Data().([]byte))
		again, err := readPNGs(fstest.MapFS{listCSV: {Data: []byte("file,label\na,0\n")}, "a": {Data: pngOf(t, m)}})
		if err != nil {
			if len(m.Pix) > 1<<20 {
				return // may shrink too far to be read again
			}
			t.Fatal(err)
		}
		if !bytes.Equal(again.Images.Data().([]byte), m.Pix) {
			t.Fatal("read, written and read: the data changed")
		}
	})
}
