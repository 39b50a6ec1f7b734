package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/color"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

func TestFigure(t *testing.T) {
	r := result(grid(21, 0.5)...)
	grey := color.NRGBA{R: 110, G: 110, B: 110, A: 255}
	// A band is its curve's colour with alpha 50 over white.
	band := color.NRGBA{R: 205, G: 227, B: 240, A: 255}
	for _, c := range []struct {
		name   string
		curves []int
		drawn  []color.NRGBA
		absent []color.NRGBA
	}{
		{"all", nil, []color.NRGBA{okabeIto[0], okabeIto[1], grey, band}, nil},
		{"fgsm and noise", []int{0, 2}, []color.NRGBA{okabeIto[0], grey, band}, []color.NRGBA{okabeIto[1]}},
		{"bim", []int{1}, []color.NRGBA{okabeIto[1]}, []color.NRGBA{okabeIto[0], band}},
	} {
		f := Figure{Title: "Accuracy", Model: "m", Result: r, Curves: c.curves}
		data, err := f.PNG()
		img := decode(t, data, err)
		if size := img.Bounds().Size(); size.X != 1440 || size.Y != 960 {
			t.Errorf("%s: %v, want 1440 by 960", c.name, size)
		}
		for _, want := range c.drawn {
			if n := count(img, want); n < 1000 {
				t.Errorf("%s: %d pixels of colour %v, want a curve of them", c.name, n, want)
			}
		}
		for _, not := range c.absent {
			if n := count(img, not); n != 0 {
				t.Errorf("%s: %d pixels of colour %v, want none", c.name, n, not)
			}
		}
	}
}

// Two figures at a time, as a program that is in a hurry draws them.
func TestFigureRepeats(t *testing.T) {
	f := Figure{Title: "Accuracy", Model: "m", Result: result(grid(21, 0.5)...)}
	var pngs, svgs [2][]byte
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			var err error
			if pngs[i], err = f.PNG(); err != nil {
				t.Error(err)
			}
			if svgs[i], err = f.SVG(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if !bytes.Equal(pngs[0], pngs[1]) {
		t.Error("the second PNG has other bytes than the first")
	}
	if !bytes.Equal(svgs[0], svgs[1]) {
		t.Error("the second SVG has other bytes than the first")
	}
}

func TestSVG(t *testing.T) {
	f := Figure{Title: "A <b> & \"c\" \x00\xff", Model: strings.Repeat("long", 100), Result: result(grid(21, 0.5)...)}
	data, err := f.SVG()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		if chars, ok := token.(xml.CharData); ok {
			text.Write(chars)
		}
	}
	for _, want := range []string{"A <b> & \"c\"", "n = 1000", "not clipped", "2 images were not attacked", "BIM, k = 5", "random ±eps", "chance, 1/10", "accuracy"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no text %q in the SVG", want)
		}
	}
	families := bytes.Count(data, []byte("font-family:"))
	if n := bytes.Count(data, []byte("font-family:'Liberation Sans', Arial, sans-serif;")); n != families || n == 0 {
		t.Errorf("%d of %d fonts have a fallback, want all", n, families)
	}
}

func TestFigureRanges(t *testing.T) {
	for _, eps := range [][]float64{
		{0}, {0.3}, {0, 1e-3}, grid(400, 1e-3), grid(11, 100), {0.4, 0.41, 0.5}, {0, 5e-324}, {1, 1 + 1e-15}, {0, 1e300}, {1e-9},
	} {
		r := result(eps...)
		if _, err := (Figure{Title: "t", Result: r}).PNG(); err != nil {
			t.Errorf("%d eps up to %v: %v", len(eps), eps[len(eps)-1], err)
		}
	}
	one := result(grid(11, 0.5)...)
	one.N = 1
	for _, c := range one.Curves {
		for e := range c.Correct {
			c.Correct[e] = e % 2
		}
	}
	if _, err := (Figure{Title: "t", Result: one}).PNG(); err != nil {
		t.Errorf("n = 1: %v", err)
	}
	if _, err := (Figure{Title: "t", Result: result()}).PNG(); err == nil {
		t.Error("no eps: no error, want one")
	}
	if _, err := (Figure{Title: "t", Result: one, Curves: []int{3}}).PNG(); err == nil {
		t.Error("curve 3 of 3: no error, want one")
	}
}

// A marker is drawn for each of 60 eps and for none of 61.
func TestMarkers(t *testing.T) {
	for n, want := range map[int]int{2: 3, maxMarkers: 3, maxMarkers + 1: 2} {
		ps, thumbs, err := newCurve(result(grid(n, 0.5)...), 0).plotters()
		if err != nil || len(ps) != want || len(thumbs) != want {
			t.Errorf("%d eps: %d plotters, %d in the legend, error %v, want %d of each", n, len(ps), len(thumbs), err, want)
		}
	}
}

func TestNiceTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		want   string
	}{
		{0, 1, "0.0 0.2 0.4 0.6 0.8 1.0"},
		{0, 0.5, "0.0 0.1 0.2 0.3 0.4 0.5"},
		{0, 0.3, "0.00 0.05 0.10 0.15 0.20 0.25 0.30"},
		{0, 1e-3, "0.0000 0.0002 0.0004 0.0006 0.0008 0.0010"},
		{0, 100, "0 20 40 60 80 100"},
		{0, 8.0 / 255, "0.00 0.01 0.02 0.03"},
		{0.4, 0.5, "0.40 0.42 0.44 0.46 0.48 0.50"},
		{0, 3e-7, "0 5e-08 1e-07 1.5e-07 2e-07 2.5e-07 3e-07"},
		{0, 6, "0 1 2 3 4 5 6"},
	} {
		var labels []string
		for _, tick := range (niceTicks{}).Ticks(c.lo, c.hi) {
			if tick.Label != "" {
				labels = append(labels, tick.Label)
			}
		}
		if got := strings.Join(labels, " "); got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.lo, c.hi, got, c.want)
		}
	}
}

func TestLegendPlace(t *testing.T) {
	area := vg.Rectangle{Max: vg.Point{X: 100, Y: 100}}
	size := vg.Point{X: 30, Y: 20}
	scale := func(v float64) vg.Length { return vg.Length(100 * v) }
	low := [][2]float64{{0.2, 0.3}, {0.2, 0.3}}
	high := [][2]float64{{0.9, 1}, {0.9, 1}}
	falling := [][2]float64{{0.9, 1}, {0, 0.1}}
	for _, c := range []struct {
		name   string
		bands  [][][2]float64
		want   vg.Point // lower left corner
		hidden bool
	}{
		{"below is free", [][][2]float64{low}, vg.Point{X: 70, Y: 80}, false},
		{"under a high curve", [][][2]float64{low, high}, vg.Point{X: 70, Y: 64}, false},
		{"beside a falling curve", [][][2]float64{falling}, vg.Point{X: 70, Y: 80}, false},
		{"no place", [][][2]float64{{{0, 1}, {0, 1}}}, vg.Point{X: 70, Y: 80}, true},
	} {
		l := &legendBox{lo: 0, hi: 1, chance: 0.1}
		for _, b := range c.bands {
			l.avoid(plotter.XYs{{X: 0}, {X: 1}}, b)
		}
		box := l.place(area, size, scale, scale)
		if box.Min != c.want {
			t.Errorf("%s: at %v, want %v", c.name, box.Min, c.want)
		}
		if n := l.hidden(box, scale, scale); (n > 0) != c.hidden {
			t.Errorf("%s: hides %d places, want some: %t", c.name, n, c.hidden)
		}
	}
}

func TestWrap(t *testing.T) {
	style := sans(10)
	width := style.Width("one two three")
	long := strings.Repeat("x", 100)
	got := wrap(style, "one two three four "+long, width)
	if diff := cmp.Diff([]string{"one two three", "four"}, got[:2]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got) != 3 || style.Width(got[2]) > width || !strings.Contains(got[2], "…") {
		t.Errorf("long word: %q, want it cut to %v", fmt.Sprint(got[2:]), width)
	}
}
