package dataset

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"advsweep/internal/remedy"
	"advsweep/internal/survive"
)

// A Query names labelled images, and says of them what their files leave open. Where a field is
// empty the files decide, and a note of the Set says what was taken for granted.
type Query struct {
	Images, Labels string // a pair of files
	Path           string // or a folder, an archive or a table that holds both
	Split          string // of Path: "test" or "train"

	// The names of the arrays of an NPZ file, or of the columns of labels.csv and of a table.
	ImagesKey, LabelsKey string
	PixelMax             float64 // the number that is the pixel 1; 0: 255 of integers, 1 of floats
	Layout               string  // of an array's images: "chw" or "hwc"
	// Flat is the order in which a model of [I] takes images of several channels: "chw" or "hwc".
	// "": that of an array's file, and "chw" of pictures.
	Flat     string
	Alpha    string // of pictures: "white" (also ""), "drop" or "refuse"
	Channels string // "rgb" makes three channels of one, "grey" one of three
	// Resize scales images, and then Crop cuts out their middle. The zero Size leaves them alone.
	Resize, Crop Size
}

// A Size is a height and a width. A resize with W = 0 makes the shorter side H long, and keeps the
// proportions.
type Size struct{ H, W int }

// ParseSize reads "224", the shorter side or, if square, both, or "224x256", height and width. Of
// "" it returns the zero Size.
func ParseSize(text string, square bool) (s Size, err error) {
	if text == "" {
		return s, nil
	}
	h, w, both := strings.Cut(text, "x")
	s.H, err = strconv.Atoi(h)
	if err == nil && both {
		s.W, err = strconv.Atoi(w)
	} else if square {
		s.W = s.H
	}
	if err != nil || s.H < 1 || both && s.W < 1 || s.H > maxSide || s.W > maxSide {
		return s, fmt.Errorf("%.40q, want a number of pixels as in 224, or a height and a width as in 224x256, up to %d", text, maxSide)
	}
	return s, nil
}

// maxSide bounds what a resize may ask for: memory is the user's own to fill, but not by a slip.
const maxSide = 1 << 14

// choices are the values that fields of a Query may have, "" besides.
var choices = []struct {
	field string
	of    func(*Query) string
	want  []string
}{
	{"layout", func(q *Query) string { return q.Layout }, []string{"chw", "hwc"}},
	{"order of a flat model", func(q *Query) string { return q.Flat }, []string{"chw", "hwc"}},
	{"alpha", func(q *Query) string { return q.Alpha }, []string{"white", "drop", "refuse"}},
	{"channels", func(q *Query) string { return q.Channels }, []string{"rgb", "grey"}},
}

func (q *Query) check() error {
	if q.Path != "" && q.Split != "test" && q.Split != "train" {
		return fmt.Errorf("dataset: split %q, want test or train", q.Split)
	}
	for _, c := range choices {
		if got := c.of(q); got != "" && !slices.Contains(c.want, got) {
			return fmt.Errorf("dataset: %s %q, want one of %q", c.field, got, c.want)
		}
	}
	if q.PixelMax != 0 && !(q.PixelMax > 0 && q.PixelMax <= math.MaxFloat32) {
		return fmt.Errorf("dataset: largest pixel %v, want a positive number", q.PixelMax)
	}
	for _, s := range []Size{q.Resize, q.Crop} {
		if s.H < 0 || s.W < 0 || s.H > maxSide || s.W > maxSide || s.W > 0 && s.H == 0 {
			return fmt.Errorf("dataset: size %dx%d, want sides of 1 to %d", s.H, s.W, maxSide)
		}
	}
	if q.Crop.H > 0 && q.Crop.W == 0 {
		return fmt.Errorf("dataset: crop of height %d, want a width too", q.Crop.H)
	}
	return nil
}

// A Note says what reading took for granted, for people to read.
type Note struct {
	Text string
	Need remedy.Need // the setting of the Query that takes it otherwise, or ""
}

// AsError is the note as an error: what tells of settings that mend errors tells of this one's.
func (n Note) AsError() error {
	err := errors.New(n.Text)
	if n.Need == "" {
		return err
	}
	return remedy.Want(n.Need, err)
}

// Open reads the images and labels that q names. The errors are those of Load and Read.
func Open(q Query) (*Stored, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	read, name := openPath, q.Path
	if q.Path == "" {
		read, name = openPair, q.Images+" and "+q.Labels
	}
	// Every reader runs within this: a panic of one is an error that tells of a bug.
	var s *Stored
	err := survive.Do(func() (err error) {
		s, err = read(&q)
		return err
	})
	if bug, ok := err.(*survive.Bug); ok { // which nobody has named a file for
		err = fmt.Errorf("dataset: %s: %w", name, bug)
	}
	return s, err
}

// A Stored is labelled images as files hold them, before a model says which shape it takes.
type Stored struct {
	query Query
	set   Set // all but its images
	// shape is [N, …] as in the files. The numbers are row-major in it, whatever the order of the
	// file; one of bytes and floats is nil.
	shape  []int
	bytes  []uint8
	floats []float32
	// pictures: the shape is [N, C, H, W], the files have no order of channels, and what q asks for
	// of channels and sizes is done.
	pictures bool
	layout   string // "chw" where the format says so
}

// storedOf returns a format's own images, [N, H, W] or [N, C, H, W], of bytes.
func storedOf(q *Query, set *Set, shape []int, bytes []uint8) *Stored {
	set.Source.Type, set.Source.Divisor = "uint8", 255
	set.Source.Lo, set.Source.Hi = float64(slices.Min(bytes)), float64(slices.Max(bytes))
	s := &Stored{query: *q, set: *set, shape: shape, bytes: bytes, layout: "chw"}
	if len(shape) == 4 && shape[1] == 1 {
		s.shape = []int{shape[0], shape[2], shape[3]}
	}
	s.scale()
	return s
}

// scale divides bytes by the query's largest pixel, if that is not 255, and makes the note of a
// range that is suspiciously small.
func (s *Stored) scale() {
	source := &s.set.Source
	if most := s.query.PixelMax; most != 0 && most != 255 && s.bytes != nil {
		s.floats = make([]float32, len(s.bytes))
		for i, v := range s.bytes {
			s.floats[i] = float32(float64(v) / most)
		}
		s.bytes, source.Divisor = nil, most
	}
	if s.query.PixelMax == 0 && source.Divisor == 255 && source.Hi > 0 && source.Hi < 128 {
		s.note(remedy.PixelMax, "the largest of its %s pixels is %v, and 255 was taken for white: as a pixel it is %.3g",
			source.Type, source.Hi, source.Hi/255)
	}
}

func (s *Stored) note(need remedy.Need, format string, args ...any) {
	s.set.Notes = append(s.set.Notes, Note{fmt.Sprintf(format, args...), need})
}
