package dataset

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

// testSet has n images [2, 3] whose pixels count up from 0, labels i mod 10.
func testSet(n int) *Set {
	pixels := make([]byte, n*6)
	for i := range pixels {
		pixels[i] = byte(i)
	}
	s := &Set{
		Images: dense([]int{n, 2, 3}, pixels),
		Labels: make([]int32, n),
		Source: Source{Images: File{Name: "some-images"}, Labels: File{Name: "some-labels"}, N: n},
	}
	for i := range s.Labels {
		s.Labels[i] = int32(i % 10)
	}
	return s
}

// named is s without what the files' numbers were.
func named(s Source) Source { return Source{Name: s.Name, Images: s.Images, Labels: s.Labels, N: s.N} }

func TestClassNotes(t *testing.T) {
	s := testSet(3)
	if got := s.ClassNotes(10); got != nil {
		t.Errorf("without names: %v", got)
	}
	s.Classes = []string{"cat", "dog"}
	if got := s.ClassNotes(2); got != nil {
		t.Errorf("as many: %v", got)
	}
	if got := s.ClassNotes(3); len(got) != 1 || !strings.Contains(got[0].Text, `names for 2 classes and the model has 3: is label 0, "cat", its first?`) {
		t.Errorf("fewer: %v", got)
	}
}

func TestSlice(t *testing.T) {
	s := testSet(20)
	a, err := s.Slice(5, 10)
	if err != nil {
		t.Fatal(err)
	}
	b, err := a.Slice(3, 1)
	if err != nil {
		t.Fatal(err)
	}
	if a.N() != 10 || a.First != 5 || b.N() != 1 || b.First != 8 {
		t.Errorf("N and First are %d, %d and then %d, %d; want 10, 5 and 1, 8", a.N(), a.First, b.N(), b.First)
	}
	if b.Source != s.Source {
		t.Errorf("Source is %v, want %v", b.Source, s.Source)
	}
	if diff := cmp.Diff([]int{1, 2, 3}, []int(b.Images.Shape())); diff != "" {
		t.Errorf("shape of one image (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]byte{48, 49, 50, 51, 52, 53}, b.Images.Data()); diff != "" {
		t.Errorf("pixels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]int32{8}, b.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	// Shared, and closed: an append to a slice does not write into its parent.
	b.Images.Data().([]byte)[0] = 200
	_ = append(b.Labels, 99)
	if s.Images.Data().([]byte)[48] != 200 || s.Labels[9] != 9 {
		t.Errorf("pixel 48 and label 9 of the parent are %d, %d, want 200, 9", s.Images.Data().([]byte)[48], s.Labels[9])
	}
	// One image of one pixel stays a slice, not a scalar.
	one := &Set{Images: dense([]int{2, 1, 1}, []byte{3, 4}), Labels: []int32{0, 1}}
	c, err := one.Slice(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]byte{4}, c.Images.Data()); diff != "" {
		t.Errorf("one pixel (-want +got):\n%s", diff)
	}
}

func TestSliceShapes(t *testing.T) {
	for _, c := range []struct {
		name string
		set  *Set
		want *tensor.Dense // image 1
	}{
		{"uint8 of channels", &Set{Images: dense([]int{2, 3, 1, 2}, []uint8{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})},
			dense([]int{1, 3, 1, 2}, []uint8{6, 7, 8, 9, 10, 11})},
		{"float32", &Set{Images: dense([]int{2, 1, 2}, []float32{0, 1, 2, 3})}, dense([]int{1, 1, 2}, []float32{2, 3})},
		{"float32 of channels", &Set{Images: dense([]int{2, 2, 1, 1}, []float32{0, 1, 2, 3})}, dense([]int{1, 2, 1, 1}, []float32{2, 3})},
		{"one float32", &Set{Images: dense([]int{2, 1, 1}, []float32{5, 6})}, dense([]int{1, 1, 1}, []float32{6})},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.set.Labels, c.set.Classes = []int32{0, 1}, []string{"a", "b"}
			s, err := c.set.Slice(1, 1)
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(c.want, s.Images); d != "" {
				t.Errorf("images (-want +got):\n%s", d)
			}
			if err := s.Check(2); err != nil || s.Labels[0] != 1 || len(s.Classes) != 2 {
				t.Errorf("Check is %v, labels %v, classes %v; want nil, [1], [a b]", err, s.Labels, s.Classes)
			}
		})
	}
}

// Sets that differ in type, shape, pixels or labels differ in their hash. The numbers were made by
// Python's hashlib from the bytes that SHA256 says: sha256(bytes(range(6)) + bytes([1])), and of
// b"uint8 [1 1 2 3]\n", b"float32 [1 2 3]\n" with struct.pack.
func TestSHA256(t *testing.T) {
	counted := []uint8{0, 1, 2, 3, 4, 5}
	floats := []float32{0, 1, 2, 3, 4, 5}
	large := make([]float32, 40000) // more than is written at once
	large[39999] = 1
	seen := map[string]string{}
	for _, c := range []struct {
		name   string
		images *tensor.Dense
		label  int32
		want   string // "": only unlike the others
	}{
		{"bytes", dense([]int{1, 2, 3}, counted), 1, "28f5dae9722249323ebc68cc3351384b7bc91b0c97ab3f75ff82970927e3d7cc"},
		{"a channel", dense([]int{1, 1, 2, 3}, counted), 1, "9639e40a936d14790f32a2e2381ae3d39e06323748ad79f400a53a02bb340b12"},
		{"floats", dense([]int{1, 2, 3}, floats), 1, "78714bd3a3f3dcb9a5d4def859fdd9605676917227513af4fa18f49ad24ccac3"},
		{"three channels", dense([]int{1, 3, 1, 2}, counted), 1, ""},
		{"floats turned", dense([]int{1, 3, 2}, floats), 1, ""},
		{"floats of a channel", dense([]int{1, 1, 2, 3}, floats), 1, ""},
		{"another float", dense([]int{1, 2, 3}, []float32{0, 1, 2, 3, 4, 6}), 1, ""},
		{"another label", dense([]int{1, 2, 3}, floats), 2, ""},
		{"a label of nine bits", dense([]int{1, 2, 3}, counted), 257, ""},
		{"a label of nine bits, floats", dense([]int{1, 2, 3}, floats), 257, ""},
		{"many floats", dense([]int{1, 200, 200}, large), 1, ""},
		{"many zeros", dense([]int{1, 200, 200}, make([]float32, 40000)), 1, ""},
	} {
		s := &Set{Images: c.images, Labels: []int32{c.label}}
		got := s.SHA256()
		if c.want != "" && got != c.want {
			t.Errorf("%s: SHA256 = %s, want %s", c.name, got, c.want)
		}
		if other, ok := seen[got]; ok || got == "" {
			t.Errorf("%s: SHA256 = %q as of %q, want another", c.name, got, other)
		}
		seen[got] = c.name
	}
	if got := (&Set{Images: dense([]int{1, 2, 3}, counted)}).SHA256(); got != "" {
		t.Errorf("without labels: SHA256 = %s, want none", got)
	}
}

func TestSliceErrors(t *testing.T) {
	const maxInt = int(^uint(0) >> 1)
	for _, c := range []struct {
		name      string
		offset, n int
		want      string
	}{
		{"n zero", 0, 0, "n = 0"},
		{"n negative", 0, -1, "n = -1"},
		{"offset negative", -1, 5, "offset -1"},
		{"offset at the end", 20, 1, "offset 20"},
		{"past the end", 15, 6, "n = 6 images from offset 15, want 1 to 5"},
		{"sum overflows", 1, maxInt, "want 1 to 19"},
		{"offset huge", maxInt, 1, "want 0 to 19"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := testSet(20).Slice(c.offset, c.n)
			if s != nil {
				t.Errorf("Slice(%d, %d) = a set of %d, want nil", c.offset, c.n, s.N())
			}
			wantError(t, err, "dataset: some-images: ", c.want, "there are 20 images")
		})
	}
}

func TestCheck(t *testing.T) {
	transposed := testSet(4)
	if err := transposed.Images.T(0, 2, 1); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*Set)) *Set {
		s := testSet(20)
		change(s)
		return s
	}
	sliced := with(func(s *Set) { s.Labels[17] = -1 })
	sliced, err := sliced.Slice(10, 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		set     *Set
		classes int
		want    []string // none: no error
	}{
		{"good", testSet(20), 10, nil},
		{"label at the end", testSet(20), 9, []string{"some-labels: label 9 is 9, want 0 to 8"}},
		{"label negative, in a slice", sliced, 10, []string{"some-labels: label 17 is -1"}},
		{"no classes", testSet(20), 0, []string{"0 classes"}},
		{"no images", &Set{}, 10, []string{"images: no images"}},
		{"labels missing", with(func(s *Set) { s.Labels = s.Labels[:19] }), 10, []string{"some-labels: 19 labels, want 20"}},
		{"type", with(func(s *Set) { s.Images = tensor.New(tensor.Of(tensor.Float64), tensor.WithShape(20, 2, 3)) }), 10,
			[]string{"some-images", "float64", "want [N, H, W] or [N, C, H, W] of uint8 or float32"}},
		{"rank", with(func(s *Set) { s.Images = tensor.New(tensor.Of(tensor.Uint8), tensor.WithShape(20, 6)) }), 10,
			[]string{"some-images", "(20, 6)"}},
		{"transposed", transposed, 10, []string{"some-images", "not contiguous"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.set.Check(c.classes)
			if c.want == nil {
				if err != nil {
					t.Errorf("Check(%d) = %v, want nil", c.classes, err)
				}
				return
			}
			wantError(t, err, append(c.want, "dataset: ")...)
		})
	}
}

// wantError fails unless err is one line that contains every part.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("error is nil, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error is %q, want it to contain %q", err, p)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Count(err.Error(), "dataset: ") != 1 {
		t.Errorf("error is %q, want one line that names the package once", err)
	}
}
