package dataset

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"testing/fstest"
)

// FuzzReadPicture: no panic, and no more memory than a bomb that is not yet one may take. What is
// read has a finite number for each pixel, and every change of it has the shape that it says.
func FuzzReadPicture(f *testing.F) {
	for _, pattern := range []string{"pictures/*.png", "pictures/*.jpg", "pictures/*.bmp", "pictures/*.webp"} {
		addTestdata(f, pattern, func(data []byte) {
			f.Add(data, uint8(0))
			f.Add(data, uint8(7))
		})
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		q := &Query{}
		if how&1 != 0 {
			q.Resize = Size{H: 5}
		}
		if how&2 != 0 {
			q.Crop = Size{3, 3}
		}
		if how&4 != 0 {
			q.Channels = "grey"
		}
		var s *Stored
		var err error
		// A decoder of JPEG holds coefficients of four bytes, and 16 bits become float32.
		most := int(min(32*int64(bombSize)+int64(len(data))*maxRatio*32, math.MaxInt))
		bounded(t, most, func() {
			s, err = readPictures(q, fstest.MapFS{"a": {Data: data}}, []string{"a"}, []int32{0})
		})
		if err != nil {
			return
		}
		set, err := s.For(nil)
		if err != nil {
			t.Fatal(err)
		}
		valid(t, set.Images, nil)
		if x, ok := set.Images.Data().([]float32); ok {
			for i, v := range x {
				if !(v >= 0 && v <= 1) {
					t.Fatalf("pixel %d is %v", i, v)
				}
			}
		}
	})
}

// FuzzReadList: no panic, no memory beyond the list's, and as many labels as files.
func FuzzReadList(f *testing.F) {
	for _, s := range []string{
		"file,label\na.png,3\nb/c.png,4\n", "\ufeffFile;Class;x\r\na;dog;1\r\nb;cat;2\r\n", "label\tpath\n1.0\ta\\b\n",
		"file,label\n\"a,1\n", "file,label\n../a,1\n", strings.Repeat("file,", 2000) + "label\n",
	} {
		f.Add([]byte(s), []byte("cat\ndog\n"), "", "")
	}
	f.Add([]byte("a,b\nx,7\n"), []byte(nil), "a", "b")
	f.Fuzz(func(t *testing.T, rows, classes []byte, images, labels string) {
		fsys := fstest.MapFS{listCSV: {Data: rows}, "classes.txt": {Data: classes}}
		if classes == nil {
			delete(fsys, "classes.txt")
		}
		d := &folder{path: "x", files: fsys, inner: fsys}
		var list *pictureList
		var numbers []int32
		var names []string
		var err error
		bounded(t, 512*(len(rows)+len(classes))+1<<20, func() {
			if list, err = readList(fsys, &Query{ImagesKey: images, LabelsKey: labels}); err == nil {
				numbers, names, _, err = list.numbers(d.order(d))
			}
		})
		if err != nil {
			return
		}
		if len(numbers) != len(list.files) || len(numbers) == 0 {
			t.Fatalf("%d labels of %d files", len(numbers), len(list.files))
		}
		for i, name := range list.files {
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
				t.Fatalf("file %q leaves the folder", name)
			}
			if len(names) > 0 && list.labels[i] == names[0] && numbers[i] != 0 {
				t.Fatalf("label %q is %d, want 0", list.labels[i], numbers[i])
			}
		}
	})
}

// FuzzReadClassIndex: an order of classes has each name once, with the label that it says.
func FuzzReadClassIndex(f *testing.F) {
	f.Add([]byte(`{"cat": 0, "dog": 1}`))
	f.Add([]byte(`{"cat": 1, "cat": 0}`))
	f.Add([]byte("cat\ndog\r\n\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, file := range orderFiles {
			var names []string
			var err error
			bounded(t, 256*len(data)+256<<10, func() { names, err = file.read(data) })
			if err != nil {
				continue
			}
			o, err := newClassOrder(names, file.name)
			if err != nil {
				continue
			}
			for i, n := range names {
				if o.index[n] != int32(i) {
					t.Fatalf("%s: %q is %d, want %d", file.name, n, o.index[n], i)
				}
			}
		}
	})
}

// FuzzReadTable: no panic, no memory beyond the table's, and finite pixels.
func FuzzReadTable(f *testing.F) {
	for _, s := range []string{
		"label,p0,p1\n1,0,255\n0,3,4\n", "1,2,3\n4,5,6\n", "a;b;class\n0.5;-1;2\n", "label,a\n1,1e30\n", "label,a\n1,0x1p3\n",
		"label,a\n1,1_0\n", strings.Repeat("1,", 3000) + "1\n",
	} {
		f.Add([]byte(s), 0.0, "")
		f.Add([]byte(s), 16.0, "class")
	}
	f.Fuzz(func(t *testing.T, data []byte, most float64, key string) {
		q := Query{PixelMax: most, LabelsKey: key}
		if q.check() != nil {
			return
		}
		var s *Stored
		var err error
		// Numbers double as they grow, are copied, and a field of one letter has a place in a row.
		bounded(t, 128*len(data)+1<<20, func() { s, err = readTable(bytes.NewReader(data), &q) })
		if err != nil {
			return
		}
		set, err := s.For(nil)
		if err != nil {
			t.Fatal(err)
		}
		valid(t, set.Images, set.Labels)
		for _, v := range numbersOf(set) {
			if math.IsNaN(v) {
				t.Fatal("a pixel is NaN")
			}
		}
	})
}

// FuzzReadPickle: no panic, no memory beyond the file's, and whole records.
func FuzzReadPickle(f *testing.F) {
	addTestdata(f, "*.pickle", func(data []byte) { f.Add(data) })
	f.Add([]byte("cos\nsystem\nU\x04true\x85R."))
	f.Add([]byte("}U\x04datacnumpy.core.multiarray\n_reconstruct\n)R(K\x01K\x03\x85cnumpy\ndtype\nU\x02u1\x85R\x89U\x03abctbs."))
	f.Add([]byte("(lp0\nI1\naI01\naL2L\nag0\na."))
	f.Add([]byte("\x80\x04}\x94(\x8c\x01a\x94]\x94(K\x01M\x02\x00J\x03\x00\x00\x00\x8a\x01\x04eu."))
	f.Fuzz(func(t *testing.T, data []byte) {
		var pixels []byte
		var labels []int32
		var err error
		// A value on the stack takes 16 bytes, one in the memo some 50, an array some 100, each of
		// an opcode or two; slices double.
		bounded(t, 512*len(data)+256<<10, func() {
			pixels, labels, err = readCIFARPickle(&cifar10Py, bytes.NewReader(data), int64(len(data)), nil, nil)
		})
		if err != nil {
			return
		}
		if len(pixels) != len(labels)*cifarPixels || len(labels) == 0 {
			t.Fatalf("%d pixels of %d labels", len(pixels), len(labels))
		}
	})
}

// FuzzReadTar: no panic, and no memory beyond what an archive may hold.
func FuzzReadTar(f *testing.F) {
	files := map[string][]byte{"cifar-10-batches-bin/test_batch.bin": cifarFile(1, 0), "a/b.txt": []byte("hello")}
	f.Add(tarOf(f, false, files))
	f.Add(tarOf(f, true, files))
	f.Add(tarOf(f, true, map[string][]byte{"../test": []byte("}."), "/t10k-labels-idx1-ubyte": nil}))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m memory
		var err error
		bounded(t, len(data)*maxDeflate*6+4<<20, func() { m, err = unpack(bytes.NewReader(data), int64(len(data)), "test") })
		if err != nil {
			return
		}
		for name := range m {
			if strings.HasPrefix(name, "/") || strings.Contains("/"+name+"/", "/../") {
				t.Fatalf("file %q leaves the archive", name)
			}
		}
		if s, err := openIn(&folder{path: "x", files: m, inner: m}, &Query{Path: "x", Split: "test"}); err == nil {
			set, err := s.For(nil)
			if err != nil {
				t.Fatal(err)
			}
			valid(t, set.Images, set.Labels)
		}
	})
}

// FuzzLayout: whatever shapes an array and a model have, the images that come out have the shape
// that the model takes, and the numbers of the file, each once.
func FuzzLayout(f *testing.F) {
	f.Add(uint8(2), uint8(3), uint8(4), uint8(3), uint8(2), uint8(3), uint8(4), uint8(3), uint8(0))
	f.Add(uint8(2), uint8(3), uint8(4), uint8(3), uint8(1), uint8(36), uint8(1), uint8(1), uint8(1))
	f.Add(uint8(2), uint8(12), uint8(1), uint8(1), uint8(3), uint8(3), uint8(2), uint8(2), uint8(2))
	f.Fuzz(func(t *testing.T, n, a, b, c, rank, x, y, z, how uint8) {
		shape := []int{int(n%3) + 1, int(a%5) + 1, int(b%5) + 1, int(c%5) + 1}[:2+how%3]
		model := []int{int(x%40) + 1, int(y%5) + 1, int(z%5) + 1}[:1+rank%3]
		q := Query{Layout: []string{"", "chw", "hwc"}[how/3%3], Flat: []string{"", "chw", "hwc"}[how/9%3]}
		s := counting(t, q, shape...)
		set, err := s.For(model)
		if err != nil {
			return
		}
		valid(t, set.Images, nil)
		got := set.Images.Data().([]uint8)
		if len(got) != volume(shape) || volume(shape) != shape[0]*volume(model) {
			t.Fatalf("%v for %v: %d numbers", shape, model, len(got))
		}
		if !isFlat(model) && len(model) == 3 && model[0] > 1 && volume(set.Images.Shape()[1:]) == volume(model) {
			for i, d := range set.Images.Shape()[1:] {
				if d != model[i] {
					t.Fatalf("%v for %v: %v", shape, model, set.Images.Shape())
				}
			}
		}
		var seen [256]int
		for _, v := range got {
			seen[v]++
		}
		for i := range len(got) {
			if seen[byte(i)] != (len(got)+255-i%256)/256 {
				t.Fatalf("%v for %v: number %d is there %d times", shape, model, i, seen[byte(i)])
			}
		}
	})
}
