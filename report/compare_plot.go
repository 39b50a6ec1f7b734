package report

import (
	"fmt"
	"image/color"
	"slices"
	"unicode/utf8"

	"advsweep/attack"
	"advsweep/pipeline"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// figure is the plot of both curves of every attack: a's as a broad pale line with full markers,
// b's as a thin dark one, dashed, with open markers, over it. So they can be told apart where they
// lie on each other, and without colour.
func (c *Compared) figure() Figure {
	a, b := c.Comparison.A, c.Comparison.B
	both := *a // for the caption: what either side could not attack
	both.Curves = append(slices.Clone(a.Curves), b.Curves...)
	for i := range both.Curves {
		both.Curves[i].Exact = nil
	}
	f := Figure{Title: "Accuracy against eps: " + c.A.Label + " and " + c.B.Label, Result: &both}
	names := [2]string{c.A.Label, c.B.Label}
	// Paths of folders may be so long.
	if max(utf8.RuneCountInString(names[0]), utf8.RuneCountInString(names[1])) > widestLabel {
		f.Title = fmt.Sprintf("Accuracy against eps: a is %s, b is %s", c.A.Label, c.B.Label)
		names = [2]string{"a", "b"}
	}
	if c.A.Manifest.Model == c.B.Manifest.Model {
		f.Model = c.A.Manifest.Model.Name + " " + c.A.Manifest.Layers + c.A.Manifest.Model.Reading()
	}
	for k := range a.Curves { // all broad ones below all thin ones
		f.lines = append(f.lines, comparedCurve(a, k, names[0], false))
	}
	for k := range b.Curves {
		f.lines = append(f.lines, comparedCurve(b, k, names[1], true))
	}
	return f
}

// PNG and SVG draw the curves of both sides as Figure's do, in the same sizes.
func (c *Compared) PNG() ([]byte, error) { return c.figure().PNG() }

// SVG draws what PNG draws.
func (c *Compared) SVG() ([]byte, error) { return c.figure().SVG() }

// widestLabel is how many characters of a side's label the legend has room for.
const widestLabel = 28

// Markers of the two sides by attack: full ones and their outlines.
var (
	fullGlyphs = [...]draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}}
	openGlyphs = [...]draw.GlyphDrawer{draw.RingGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}}
)

func comparedCurve(r *pipeline.Result, k int, label string, second bool) curve {
	alone := *r
	alone.Curves = []pipeline.Curve{{Attack: r.Curves[k].Attack, Correct: r.Curves[k].Correct}}
	c := newCurve(&alone, 0)
	c.label = fmt.Sprintf("%s · %s", r.Curves[k].Attack.Label(), label)
	c.color, c.dashes = okabeIto[k%len(okabeIto)], nil
	if a := r.Curves[k].Attack; a.Control() && a.Direction == attack.RandomSign {
		c.color = color.NRGBA{R: 110, G: 110, B: 110, A: 255}
	}
	c.width, c.radius = 4, 4
	hasMarkers := c.glyph != nil
	if c.glyph = fullGlyphs[k%len(fullGlyphs)]; second {
		c.glyph, c.width, c.radius, c.dashes = openGlyphs[k%len(openGlyphs)], 1.2, 2.5, []vg.Length{5, 3}
		c.color = shade(c.color, color.NRGBA{A: 255}, 0.45)
	} else {
		c.color = shade(c.color, color.NRGBA{R: 255, G: 255, B: 255, A: 255}, 0.45)
	}
	if !hasMarkers {
		c.glyph = nil
	}
	return c
}

// shade mixes share of the colour to into c.
func shade(c, to color.NRGBA, share float64) color.NRGBA {
	mix := func(x, y uint8) uint8 { return uint8((1-share)*float64(x) + share*float64(y) + 0.5) }
	return color.NRGBA{R: mix(c.R, to.R), G: mix(c.G, to.G), B: mix(c.B, to.B), A: 255}
}
