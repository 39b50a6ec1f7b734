package report

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"advsweep/attack"
	"advsweep/internal/words"
	"advsweep/pipeline"
	"advsweep/stat"

	stdfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	figureWidth  = 7.2 * vg.Inch
	figureHeight = 4.8 * vg.Inch
	figureDPI    = 200
	figureMargin = vg.Length(12)

	// Above this many eps the markers of a curve would run into each other.
	maxMarkers = 60

	// The columns of a curve's steps, each of at most four of them: finer than the pixels of the
	// PNG.
	maxColumns = 4000

	// How much wider than Liberation Sans the font may be that an SVG is shown in;
	// DejaVu Sans, the usual one where Arial is missing, is up to 15 % wider.
	svgSlack = 1.15
)

// A Figure is a plot of accuracy against eps: each curve with its points and its
// 95 % Wilson band, the random control dashed in grey, chance as a dotted line. A curve that is
// known at every eps is drawn as the steps it has, without points. A caption
// under the title says n, bounds and model, so that the plot can stand alone.
//
// Equal figures give equal bytes.
type Figure struct {
	Title  string
	Model  string // for the caption
	Result *pipeline.Result
	// Curves says which of Result.Curves are drawn; nil means all. A curve has
	// the same colour and marker whichever others stand beside it.
	Curves []int

	lines []curve // drawn instead of those of Result, if there are any
	// axis is the title of the x axis, and about the caption, where they are not those of an accuracy
	// against eps.
	axis, about string
}

// PNG draws f as 1440 by 960 pixels, 200 to the inch.
func (f Figure) PNG() ([]byte, error) {
	// vgimg begins with a white page.
	c := vgimg.NewWith(vgimg.UseWH(figureWidth, figureHeight), vgimg.UseDPI(figureDPI))
	if err := f.draw(draw.New(c), 1); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := (vgimg.PngCanvas{Canvas: c}).WriteTo(&b); err != nil {
		return nil, fmt.Errorf("report: plot %q: %w", f.Title, err)
	}
	return b.Bytes(), nil
}

// SVG draws f with its text as text, in Liberation Sans, else Arial, which is as
// wide, else any sans-serif.
func (f Figure) SVG() ([]byte, error) {
	c := vgsvg.New(figureWidth, figureHeight)
	page := draw.New(c)
	page.SetColor(color.White)
	page.Fill(page.Path())
	if err := f.draw(page, svgSlack); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("report: plot %q: %w", f.Title, err)
	}
	// Package gonum/plot names that one family alone; where it is missing a browser takes a
	// serif of another width.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"),
		[]byte("font-family:'Liberation Sans', Arial, sans-serif;")), nil
}

// draw draws title, caption and plot on c from top to bottom. Text is given room
// for a font that is slack times as wide.
func (f Figure) draw(c draw.Canvas, slack vg.Length) error {
	p, err := f.plot(slack)
	if err != nil {
		return err
	}
	c = draw.Crop(c, figureMargin, -figureMargin, figureMargin, -figureMargin)

	title, caption := sans(14), sans(9)
	title.Font.Weight = stdfont.WeightBold
	caption.Color = color.Gray{Y: 90}
	for _, t := range []struct {
		style text.Style
		text  string
		after vg.Length
	}{{title, f.Title, 3}, {caption, f.caption(), 8}} {
		for _, line := range wrap(t.style, t.text, c.Size().X/slack) {
			c.FillText(t.style, vg.Point{X: c.Min.X, Y: c.Max.Y}, line)
			c.Max.Y -= t.style.FontExtents().Height
		}
		c.Max.Y -= t.after
	}
	p.Draw(c)
	return nil
}

// caption is what a reader needs who sees the plot and nothing else.
func (f Figure) caption() string {
	if f.about != "" {
		return f.about
	}
	r := f.Result
	s := fmt.Sprintf("n = %d · pixels ", r.N)
	if r.Bounds.None() {
		s += "not clipped"
	} else {
		s += fmt.Sprintf("clipped to [%s, %s]", short(r.Bounds.Lo), short(r.Bounds.Hi))
	}
	if f.Model != "" {
		s += " · model " + f.Model
	}
	drawn := r
	if f.Curves != nil {
		drawn = r.Select(f.Curves...)
	}
	exact, nearest := everyEps(drawn.Curves)
	if exact != nil {
		s += " · " + strings.Join(exact, " and ") + " exact at every eps"
	}
	if nearest != nil {
		s += " · " + words.And(nearest) + ": a step at each image's distance"
	}
	known := len(exact) + len(nearest)
	var intervals []string
	if len(r.Eps) > 1 || known > 0 {
		intervals = append(intervals, "bands")
	}
	if len(r.Eps) == 1 && known < len(drawn.Curves) {
		intervals = append(intervals, "bars")
	}
	s += " · " + strings.Join(intervals, " and ") + ": 95 % (Wilson)"
	if r.Certified != nil {
		s += " · band above certified: not known"
	}
	if z := len(drawn.ZeroGradient()); z > 0 {
		s += fmt.Sprintf(" · zero gradient: %s not attacked at some eps", images(z))
	}
	return s
}

// plot makes the axes and puts the curves on them.
func (f Figure) plot(slack vg.Length) (*plot.Plot, error) {
	r := f.Result
	if len(r.Eps) == 0 {
		return nil, fmt.Errorf("report: plot %q: no eps to draw", f.Title)
	}
	indices, err := f.places()
	if err != nil {
		return nil, err
	}
	p := plot.New()
	// The page is white, and to paint it once more takes as long as all curves
	p.BackgroundColor = nil
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Label.TextStyle.Font = sans(11).Font
		axis.Tick.Label.Font = sans(10).Font
		axis.Label.Padding = 4
		axis.LineStyle.Width = 0.7
		axis.Tick.LineStyle.Width = 0.7
	}
	if p.X.Label.Text = f.axis; f.axis == "" {
		p.X.Label.Text = epsTitle(r)
	}
	p.X.Min, p.X.Max = epsRange(r.Eps)
	for _, i := range indices {
		if x := r.Curves[i].Exact; x != nil {
			p.X.Min, p.X.Max = 0, max(x.Max, r.Eps[len(r.Eps)-1])
		}
	}
	p.X.Tick.Marker = niceTicks{}
	p.Y.Label.Text = "accuracy"
	p.Y.Min, p.Y.Max = 0, 1
	p.Y.Tick.Marker = niceTicks{}

	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = color.Gray{Y: 225}, color.Gray{Y: 225}
	grid.Horizontal.Width, grid.Vertical.Width = 0.5, 0.5
	p.Add(grid)

	legend := &legendBox{lo: p.X.Min, hi: p.X.Max, slack: slack}
	legend.TextStyle = sans(10)
	legend.TextStyle.YAlign = draw.YBottom // plot.Legend measures entries upwards
	legend.Left, legend.Top = true, true   // the sample before the text
	legend.Padding, legend.ThumbnailWidth = 3, 28

	var lines []plot.Plotter
	drawn := f.lines
	if drawn == nil {
		for _, i := range indices {
			drawn = append(drawn, newCurve(r, i))
		}
		if r.Certified != nil {
			drawn = append(drawn, certifiedCurve(r))
		}
	}
	for i, c := range drawn {
		ps, thumbs, err := c.plotters()
		if err != nil {
			return nil, fmt.Errorf("report: plot %q: curve %d: %w", f.Title, i, err)
		}
		p.Add(ps[0])                     // every band below every line,
		lines = append(lines, ps[1:]...) // or it would grey the lines before it
		legend.Add(printable(c.label), thumbs...)
		legend.avoid(c.points, c.bands)
	}
	chance := 1 / float64(r.Classes)
	dots := &plotter.Line{
		XYs:       plotter.XYs{{X: p.X.Min, Y: chance}, {X: p.X.Max, Y: chance}},
		LineStyle: draw.LineStyle{Color: color.Black, Width: 1, Dashes: []vg.Length{1, 3}},
	}
	p.Add(dots)
	legend.Add(fmt.Sprintf("chance, 1/%d", r.Classes), dots)
	legend.chance = chance
	p.Add(lines...)
	p.Add(legend)
	return p, nil
}

// places are those of the curves that are drawn, in Result.Curves.
func (f Figure) places() (indices []int, err error) {
	if f.Curves == nil {
		for i := range f.Result.Curves {
			indices = append(indices, i)
		}
	}
	for _, i := range f.Curves {
		if i < 0 || i >= len(f.Result.Curves) {
			return nil, fmt.Errorf("report: plot %q: curve %d, want 0 to %d", f.Title, i, len(f.Result.Curves)-1)
		}
		indices = append(indices, i)
	}
	return indices, nil
}

// epsRange is the x axis for eps: from 0 unless the curve begins far from it.
func epsRange(eps []float64) (lo, hi float64) {
	lo, hi = eps[0], eps[len(eps)-1]
	switch {
	case hi == 0:
		return 0, 1
	case len(eps) == 1:
		return 0, 2 * hi
	case lo <= hi/2:
		return 0, hi
	}
	return lo, hi
}

// okabeIto are colours that people with any colour vision tell apart.
//
// Okabe, Ito 2008, "Color Universal Design", jfly.uni-koeln.de/color.
var okabeIto = [...]color.NRGBA{
	{R: 0x00, G: 0x72, B: 0xB2, A: 255}, // blue
	{R: 0xD5, G: 0x5E, B: 0x00, A: 255}, // vermilion
	{R: 0x00, G: 0x9E, B: 0x73, A: 255}, // bluish green
	{R: 0xCC, G: 0x79, B: 0xA7, A: 255}, // reddish purple
	{R: 0xE6, G: 0x9F, B: 0x00, A: 255}, // orange
	{R: 0x56, G: 0xB4, B: 0xE9, A: 255}, // sky blue
}

// glyphs tell the curves apart in black and white.
var glyphs = [...]draw.GlyphDrawer{
	draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.TriangleGlyph{}, draw.SquareGlyph{},
}

// A curve is one line of a figure.
type curve struct {
	label  string
	points plotter.XYs  // accuracy: at each of eps or, of a curve that is exact, two for each jump
	bands  [][2]float64 // interval, one for each of points
	color  color.NRGBA
	glyph  draw.GlyphDrawer // nil: no markers
	dashes []vg.Length
	width  vg.Length // of the line
	radius vg.Length // of markers
}

func newCurve(r *pipeline.Result, i int) curve {
	a := r.Curves[i].Attack
	c := curve{label: a.Label(), color: okabeIto[i%len(okabeIto)], glyph: glyphs[i%len(glyphs)], width: 1.5, radius: 2.5}
	switch {
	case a.Control() && a.Direction == attack.RandomSign:
		c.color, c.glyph, c.dashes = color.NRGBA{R: 110, G: 110, B: 110, A: 255}, draw.RingGlyph{}, []vg.Length{5, 3}
	case a.Control():
		c.color, c.glyph, c.dashes = color.NRGBA{R: 110, G: 110, B: 110, A: 255}, draw.CrossGlyph{}, []vg.Length{1.5, 3}
	case a.Composite():
		c.color, c.glyph = color.NRGBA{A: 255}, draw.PlusGlyph{}
	}
	add := func(eps float64, k int) {
		lo, hi := stat.Wilson(k, r.N)
		c.points = append(c.points, plotter.XY{X: eps, Y: stat.Ratio(k, r.N)})
		c.bands = append(c.bands, [2]float64{lo, hi})
	}
	if x := r.Curves[i].Exact; x != nil {
		c.glyph = nil
		jumps := thin(x.Curve(), x.Max/maxColumns)
		for n, j := range jumps {
			if n > 0 {
				add(j.Eps, jumps[n-1].Correct)
			}
			add(j.Eps, j.Correct)
		}
		add(x.Max, jumps[len(jumps)-1].Correct)
		return c
	}
	if len(r.Eps) > maxMarkers {
		c.glyph = nil
	}
	for e, k := range r.Curves[i].Correct {
		add(r.Eps[e], k)
	}
	return c
}

// thin leaves out jumps that the eye cannot tell apart: in each column of that width the first,
// the last, the highest and the lowest stay, so that the line covers the same places.
func thin(jumps []pipeline.Jump, width float64) []pipeline.Jump {
	var out []pipeline.Jump
	for len(jumps) > 0 {
		end, column := 1, math.Floor(jumps[0].Eps/width)
		low, high := 0, 0
		for end < len(jumps) && math.Floor(jumps[end].Eps/width) == column {
			if jumps[end].Correct < jumps[low].Correct {
				low = end
			}
			if jumps[end].Correct > jumps[high].Correct {
				high = end
			}
			end++
		}
		keep := []int{0, low, high, end - 1}
		slices.Sort(keep)
		for _, k := range slices.Compact(keep) {
			out = append(out, jumps[k])
		}
		jumps = jumps[end:]
	}
	return out
}

// plotters gives the band, then what goes over it, and the legend's sample.
func (c curve) plotters() (ps []plot.Plotter, thumbs []plot.Thumbnailer, err error) {
	line := &plotter.Line{XYs: c.points, LineStyle: draw.LineStyle{Color: c.color, Width: c.width, Dashes: c.dashes}}
	dots := &plotter.Scatter{XYs: c.points, GlyphStyle: draw.GlyphStyle{Color: c.color, Radius: c.radius, Shape: c.glyph}}

	if len(c.points) == 1 { // a band of no width: draw the interval as a bar
		x := c.points[0].X
		bar := &plotter.Line{
			XYs:       plotter.XYs{{X: x, Y: c.bands[0][0]}, {X: x, Y: c.bands[0][1]}},
			LineStyle: draw.LineStyle{Color: c.color, Width: 1},
		}
		return []plot.Plotter{bar, dots}, []plot.Thumbnailer{dots}, nil
	}
	ring := make(plotter.XYs, 0, 2*len(c.points))
	for i, p := range c.points {
		ring = append(ring, plotter.XY{X: p.X, Y: c.bands[i][0]})
	}
	for i := len(c.points) - 1; i >= 0; i-- {
		ring = append(ring, plotter.XY{X: c.points[i].X, Y: c.bands[i][1]})
	}
	band, err := plotter.NewPolygon(ring)
	if err != nil {
		return nil, nil, err
	}
	band.Color = color.NRGBA{R: c.color.R, G: c.color.G, B: c.color.B, A: 50}
	band.LineStyle.Width = 0
	if c.glyph == nil {
		return []plot.Plotter{band, line}, []plot.Thumbnailer{band, line}, nil
	}
	return []plot.Plotter{band, line, dots}, []plot.Thumbnailer{band, line, dots}, nil
}

// A legendBox is a legend that looks for the place where it hides least.
type legendBox struct {
	plot.Legend
	lo, hi float64 // the x axis
	// Lowest and highest place of a curve's band, from one column of the x axis to the next; lo >
	// hi where it is not.
	bands  [][legendColumns][2]float64
	chance float64
	slack  vg.Length
}

const legendColumns = 400

// avoid tells l of a curve: bands holds an interval for each of points, and is straight between
// them.
func (l *legendBox) avoid(points plotter.XYs, bands [][2]float64) {
	var columns [legendColumns][2]float64
	for k := range columns {
		columns[k] = [2]float64{math.Inf(1), math.Inf(-1)}
	}
	place := func(eps float64) float64 { return legendColumns * ((eps - l.lo) / (l.hi - l.lo)) }
	for i := range points {
		next := min(i+1, len(points)-1) // of one point itself
		from, to := place(points[i].X), place(points[next].X)
		at := func(x float64) (lo, hi float64) {
			t := min(1, max(0, (x-from)/(to-from)))
			return (1-t)*bands[i][0] + t*bands[next][0], (1-t)*bands[i][1] + t*bands[next][1]
		}
		for k := max(0, int(from)); k <= min(int(to), legendColumns-1); k++ {
			lo, hi := min(bands[i][0], bands[next][0]), max(bands[i][1], bands[next][1])
			if to > from { // else a jump
				lo1, hi1 := at(float64(k))
				lo2, hi2 := at(float64(k + 1))
				lo, hi = min(lo1, lo2), max(hi1, hi2)
			}
			columns[k] = [2]float64{min(columns[k][0], lo), max(columns[k][1], hi)}
		}
	}
	l.bands = append(l.bands, columns)
}

// Plot draws the legend on a white box, the last of the plotters.
func (l *legendBox) Plot(c draw.Canvas, p *plot.Plot) {
	const inside, outside = 4, 6 // padding within the box, distance from the axes
	r := l.Rectangle(c)
	size := vg.Point{
		X: l.ThumbnailWidth + l.slack*(r.Size().X-l.ThumbnailWidth) + 2*inside,
		Y: r.Size().Y + l.TextStyle.FontExtents().Descent + 2*inside, // which r leaves out
	}

	x, y := p.Transforms(&c)
	best := l.place(draw.Crop(c, outside, -outside, outside, -outside).Rectangle, size, x, y)
	c.SetColor(color.NRGBA{R: 255, G: 255, B: 255, A: 220})
	c.Fill(best.Path())
	c.StrokeLines(draw.LineStyle{Color: color.Gray{Y: 200}, Width: 0.5}, []vg.Point{
		best.Min, {X: best.Min.X, Y: best.Max.Y}, best.Max, {X: best.Max.X, Y: best.Min.Y}, best.Min,
	})
	l.Draw(draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{
		Min: vg.Point{X: best.Min.X + inside, Y: best.Min.Y + inside},
		Max: vg.Point{X: best.Max.X - inside, Y: best.Max.Y - inside},
	}})
}

// place finds the box of that size within area that hides least. x and y map data
// to the canvas.
func (l *legendBox) place(area vg.Rectangle, size vg.Point, x, y func(float64) vg.Length) vg.Rectangle {
	middle := (area.Min.X + area.Max.X - size.X) / 2
	best, least := vg.Rectangle{}, math.MaxInt
	// Of equal ones the first: right before left before middle, each from the top down.
	for _, left := range []vg.Length{area.Max.X - size.X, area.Min.X, middle} {
		for top := area.Max.Y; top == area.Max.Y || top-size.Y >= area.Min.Y; top -= 4 {
			box := vg.Rectangle{Min: vg.Point{X: left, Y: top - size.Y}, Max: vg.Point{X: left + size.X, Y: top}}
			if n := l.hidden(box, x, y); n < least {
				best, least = box, n
			}
		}
	}
	return best
}

// hidden counts how much box hides: columns of a curve or its band, and the chance line.
func (l *legendBox) hidden(box vg.Rectangle, x, y func(float64) vg.Length) (n int) {
	const near = 3 // a marker's radius
	covers := func(lo, hi float64) bool {
		return y(hi) > box.Min.Y-near && y(lo) < box.Max.Y+near
	}
	if covers(l.chance, l.chance) {
		n++
	}
	left, right := x(l.lo), x(l.hi)
	column := func(at vg.Length) int {
		return min(legendColumns-1, max(0, int(math.Floor(float64(legendColumns*(at-left)/(right-left))))))
	}
	for _, band := range l.bands {
		for k := column(box.Min.X - near); k <= column(box.Max.X+near); k++ {
			if lo, hi := band[k][0], band[k][1]; lo <= hi && covers(lo, hi) {
				n++
			}
		}
	}
	return n
}

// niceTicks marks an axis at multiples of 1, 2 or 5 times a power of ten, with
// one small mark between two labelled ones, or four between multiples of 5.
type niceTicks struct{}

// Ticks implements plot.Ticker.
func (niceTicks) Ticks(lo, hi float64) []plot.Tick {
	const most = 6 // steps; of the labels that this gives all fit
	// Of a range below 1e-300 there are no ticks that a float64 could tell apart.
	exponent := int(math.Floor(math.Log10(max((hi-lo)/most, 1e-300))))
	mantissa := 10
	for _, m := range []int{5, 2, 1} {
		if (hi-lo)/math.Pow10(exponent) <= most*float64(m)+1e-9 {
			mantissa = m
		}
	}
	if mantissa == 10 {
		mantissa, exponent = 1, exponent+1
	}
	parts := 2
	if mantissa == 5 {
		parts = 5
	}
	// The step as a decimal literal, so that 3 steps of 0.1 are 0.3.
	step := func(k int) float64 {
		v, _ := strconv.ParseFloat(fmt.Sprintf("%de%d", k*mantissa*10/parts, exponent-1), 64)
		return v
	}
	var ticks []plot.Tick
	slack := step(1) * 1e-6
	// 100: steps that underflow to 0
	for k := int(math.Ceil((lo - slack) / step(1))); step(k) <= hi+slack && len(ticks) < 100; k++ {
		t := plot.Tick{Value: step(k)}
		if k%parts == 0 {
			if exponent < -4 || exponent > 4 {
				t.Label = strconv.FormatFloat(t.Value, 'g', -1, 64)
			} else {
				t.Label = strconv.FormatFloat(t.Value, 'f', max(0, -exponent), 64)
			}
		}
		ticks = append(ticks, t)
	}
	return ticks
}

// sans is black sans-serif text, its top left corner at the point given.
func sans(size vg.Length) text.Style {
	return text.Style{
		Color:   color.Black,
		Font:    font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size),
		XAlign:  draw.XLeft,
		YAlign:  draw.YTop,
		Handler: plot.DefaultTextHandler,
	}
}

// wrap breaks s between words into lines of at most width; a longer word loses its
// middle.
func wrap(style text.Style, s string, width vg.Length) []string {
	var lines []string
	for _, word := range strings.Fields(printable(s)) {
		if runes := []rune(word); style.Width(word) > width {
			for cut := len(runes) - 1; style.Width(word) > width && cut > 1; cut-- {
				word = string(runes[:cut/2]) + "…" + string(runes[len(runes)-cut/2:])
			}
		}
		if n := len(lines); n > 0 && style.Width(lines[n-1]+" "+word) <= width {
			lines[n-1] += " " + word
		} else {
			lines = append(lines, word)
		}
	}
	return lines
}

// printable replaces what XML cannot hold and a font cannot draw.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) || r == ' ' {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}
