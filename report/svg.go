package report

import (
	"fmt"
	"html/template"
	"math"
	"strconv"
	"strings"

	"advsweep/attack"
	"advsweep/pipeline"
)

// A panel is one chart of a page, drawn as SVG in units of its view box. What colours and fonts it
// has, html.css says.
type panel struct {
	w, h                     float64
	left, right, top, bottom float64 // margins, for what stands beside the axes
	x, y                     scale
	label                    string // for those who do not see it
	xTitle                   string
	lines                    []float64 // levels of y marked by a dotted line,
	lineText                 string    // and what the first of them is
	series                   []series
	heads                    []string  // of what the hover shows at each of xs
	xs                       []float64 // values of x
}

// A scale maps values to a share of an axis.
type scale struct {
	lo, hi float64
	log    bool
	ticks  []axisTick
}

type axisTick struct {
	v    float64
	text string // empty: a small one
}

func (s scale) at(v float64) float64 {
	if s.log {
		return (math.Log(v) - math.Log(s.lo)) / (math.Log(s.hi) - math.Log(s.lo))
	}
	return (v - s.lo) / (s.hi - s.lo)
}

// A series is one line of a panel.
type series struct {
	class, label string
	line         []xy         // in the values of the axes
	band         [][3]float64 // x, low, high
	marks        []point      // and what each says
	tips         []string     // at each of the panel's xs; nil: no part in the hover
	shape        int
	second       bool // thin and dotted
	faint        bool
}

type xy struct{ x, y float64 }

type point struct {
	xy
	text string
}

// length is one in the SVG, with as many digits as the eye can tell.
func length(v float64) string { return strconv.FormatFloat(math.Round(10*v)/10, 'f', -1, 64) }

func (p *panel) px(x float64) float64 { return p.left + (p.w-p.left-p.right)*p.x.at(x) }
func (p *panel) py(y float64) float64 { return p.h - p.bottom - (p.h-p.top-p.bottom)*p.y.at(y) }

// svg draws p.
func (p *panel) svg() template.HTML {
	var b strings.Builder
	text := template.HTMLEscapeString
	var xs []string
	for _, x := range p.xs {
		xs = append(xs, length(p.px(x)))
	}
	fmt.Fprintf(&b, `<svg class="chart" viewBox="0 0 %s %s" role="img" aria-label="%s"`, length(p.w), length(p.h), text(p.label))
	if len(xs) > 0 {
		fmt.Fprintf(&b, ` tabindex="0" data-xs="%s" data-heads="%s"`, strings.Join(xs, " "), text(strings.Join(p.heads, "|")))
	}
	b.WriteString(">\n")
	// The grid and the axes.
	top, bottom, left, right := p.top, p.h-p.bottom, p.left, p.w-p.right
	for _, t := range p.x.ticks {
		x := length(p.px(t.v))
		if t.text == "" {
			fmt.Fprintf(&b, `<path class="tick" d="M%s %sv4"/>`, x, length(bottom))
			continue
		}
		fmt.Fprintf(&b, `<path class="grid" d="M%s %sV%s"/><text class="x" x="%s" y="%s">%s</text>`, x, length(top), length(bottom), x, length(bottom+20), text(t.text))
	}
	for _, t := range p.y.ticks {
		y := length(p.py(t.v))
		if t.text == "" {
			fmt.Fprintf(&b, `<path class="tick" d="M%s %sh-4"/>`, length(left), y)
			continue
		}
		fmt.Fprintf(&b, `<path class="grid" d="M%s %sH%s"/><text class="y" x="%s" y="%s">%s</text>`, length(left), y, length(right), length(left-7), length(p.py(t.v)+4.5), text(t.text))
	}
	fmt.Fprintf(&b, `<path class="axis" d="M%s %sV%sH%s"/>`, length(left), length(top), length(bottom), length(right))
	if p.xTitle != "" {
		fmt.Fprintf(&b, `<text class="x title" x="%s" y="%s">%s</text>`, length((left+right)/2), length(p.h-6), text(p.xTitle))
	}
	b.WriteString("\n")
	for _, y := range p.lines {
		at := p.py(y)
		fmt.Fprintf(&b, `<path class="level" d="M%s %sH%s"/>`, length(left), length(at), length(right))
	}
	// The worst of all runs along others, which it would hide
	for _, under := range []bool{true, false} {
		for _, s := range p.series {
			if (s.class == "sw") == under {
				p.draw(&b, s)
			}
		}
	}
	if len(p.lines) > 0 && p.lineText != "" { // where curves begin, which is far above
		fmt.Fprintf(&b, `<text class="level" x="%s" y="%s">%s</text>`, length(left+6), length(p.py(p.lines[0])-5), text(p.lineText))
	}
	if len(xs) > 0 {
		fmt.Fprintf(&b, `<path class="cross" d="M0 %sV%s"/>`, length(top), length(bottom))
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

func (p *panel) draw(b *strings.Builder, s series) {
	text := template.HTMLEscapeString
	class := s.class
	if s.second {
		class += " second"
	}
	if s.faint {
		class += " faint"
	}
	fmt.Fprintf(b, `<g class="%s"`, class)
	if s.tips != nil {
		fmt.Fprintf(b, ` data-label="%s" data-tips="%s"`, text(s.label), text(strings.Join(s.tips, "|")))
	}
	b.WriteString(">")
	path := func(points []xy) string {
		var d strings.Builder
		for i, q := range points {
			verb := "L"
			if i == 0 {
				verb = "M"
			}
			fmt.Fprintf(&d, "%s%s %s", verb, length(p.px(q.x)), length(p.py(q.y)))
		}
		return d.String()
	}
	if len(s.band) > 1 {
		var ring []xy
		for _, v := range s.band {
			ring = append(ring, xy{v[0], v[2]})
		}
		for i := len(s.band) - 1; i >= 0; i-- {
			ring = append(ring, xy{s.band[i][0], s.band[i][1]})
		}
		fmt.Fprintf(b, `<path class="band" d="%sZ"/>`, path(ring))
	} else if len(s.band) == 1 { // no width: a bar
		v := s.band[0]
		fmt.Fprintf(b, `<path class="line" d="%s"/>`, path([]xy{{v[0], v[1]}, {v[0], v[2]}}))
	}
	if len(s.line) > 1 {
		fmt.Fprintf(b, `<path class="line" d="%s"/>`, path(s.line))
	}
	for _, m := range s.marks {
		fmt.Fprintf(b, `<path class="mark" d="%s"><title>%s</title></path>`, glyph(s.shape, p.px(m.x), p.py(m.y)), text(m.text))
	}
	b.WriteString("</g>\n")
}

// glyph outlines a mark; the shapes tell curves apart in black and white.
func glyph(shape int, x, y float64) string {
	f := func(format string, v ...float64) string {
		var t []any
		for _, v := range v {
			t = append(t, length(v))
		}
		return fmt.Sprintf(format, t...)
	}
	switch shape % 5 {
	case 1: // box
		return f("M%s %sh6v6h-6Z", x-3, y-3)
	case 2: // pyramid
		return f("M%s %sl4 7h-8Z", x, y-4)
	case 3: // upside down
		return f("M%s %sl-4 -7h8Z", x, y+4)
	case 4: // diamond
		return f("M%s %sl4.5 4.5l-4.5 4.5l-4.5 -4.5Z", x, y-4.5)
	}
	return f("M%s %sa3.3 3.3 0 1 0 6.6 0a3.3 3.3 0 1 0 -6.6 0Z", x-3.3, y)
}

// style is the class of curve i of r, whose colour is the same in all panels: controls are grey,
// the worst of all is ink.
func style(r *pipeline.Result, i int) string {
	a := r.Curves[i].Attack
	switch {
	case a.Composite():
		return "sw"
	case a.Control() && a.Direction == attack.RandomSign:
		return "sn"
	case a.Control():
		return "sn d1"
	}
	class := fmt.Sprintf("s%d", i%len(okabeIto))
	if round := i / len(okabeIto); round > 0 {
		class += fmt.Sprintf(" d%d", min(round, 2))
	}
	return class
}

// swatch is the sample of curve i for legends.
func swatch(r *pipeline.Result, i int) template.HTML { return sample(style(r, i), i) }

// sample is a piece of a line of a class for legends.
func sample(class string, shape int) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="swatch" viewBox="0 0 34 12" aria-hidden="true"><g class="%s"><path class="line" d="M1 6H33"/><path class="mark" d="%s"/></g></svg>`,
		class, glyph(shape, 17, 6)))
}

// linear is a scale over [lo, hi] with ticks at round values.
func linear(lo, hi float64) scale {
	s := scale{lo: lo, hi: hi}
	for _, t := range (niceTicks{}).Ticks(lo, hi) {
		s.ticks = append(s.ticks, axisTick{t.Value, t.Label})
	}
	return s
}

// shares is the scale of a share of 1, in percent.
func shares(every float64) scale {
	s := scale{lo: 0, hi: 1}
	for k := 0; float64(k)*every <= 1; k++ {
		v := float64(k) * every
		s.ticks = append(s.ticks, axisTick{v, strconv.FormatFloat(math.Round(100*v), 'f', -1, 64) + " %"})
	}
	return s
}

// logarithmic is a scale over [lo, hi], 0 < lo < hi, with ticks at powers of 10 and, where these
// are few, at 2 and 5 times them.
func logarithmic(lo, hi float64, name func(float64) string) scale {
	s := scale{lo: lo, hi: hi, log: true}
	decades := math.Log10(hi / lo)
	for e := int(math.Floor(math.Log10(lo))); e <= int(math.Ceil(math.Log10(hi))); e++ {
		for m := 1; m <= 9; m++ {
			v, _ := strconv.ParseFloat(fmt.Sprintf("%de%d", m, e), 64)
			if v < lo*(1-1e-9) || v > hi*(1+1e-9) {
				continue
			}
			t := axisTick{v: v}
			if m == 1 || decades < 2 && (m == 2 || m == 5) || decades < 0.5 {
				t.text = name(v)
			}
			s.ticks = append(s.ticks, t)
		}
	}
	return s
}
