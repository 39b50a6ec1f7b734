package report

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"

	"advsweep/attack"
	"advsweep/pipeline"

	"codeberg.org/go-fonts/liberation/liberationsansbold"
	"codeberg.org/go-fonts/liberation/liberationsansregular"
	"golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// The measures of a picture, in its pixels.
const (
	panelSide  = 392 // what the longer side of an image is scaled to, nearly
	panelLeast = 24  // the least that the shorter side is scaled to
	panelWidth = 370 // the least width of a panel, for its text
	panelGap   = 36
	margin     = 28
	barHeight  = 16
)

var (
	ink   = color.RGBA{R: 25, G: 25, B: 25, A: 255}
	faint = color.RGBA{R: 90, G: 90, B: 90, A: 255}
	frame = color.RGBA{R: 150, G: 150, B: 150, A: 255}
)

// Picture draws e as a PNG: the clean image, the perturbation, the perturbed
// image, side by side and each pixel a block of equal pixels.
//
// Pixels in [0, 1] are grey. Those below 0 are violet and those above 1 orange,
// stronger the further out, and a line counts them. The perturbation is blue
// where it is negative, white at 0, red where it is positive, the full colour
// at ±eps, in other norms than L∞ at the farthest pixel.
func Picture(e *pipeline.Example) ([]byte, error) {
	d, err := newDifference(e)
	if err != nil {
		return nil, err
	}
	p, err := newPainter(d.clean)
	if err != nil {
		return nil, err
	}
	// Graded over at least eps, so that a rounding error is not drawn as the worst. In another norm eps
	// is no distance of a pixel.
	least := e.Eps
	if e.Attack.Norm != attack.Linf {
		least = min(e.Eps, d.linf)
	}
	reach := max(least, -d.perturbed.lo, d.perturbed.hi-1, -d.clean.lo, d.clean.hi-1)
	scale := max(least, d.linf)

	p.text(margin, margin+22, 22, true, ink, fmt.Sprintf("Image %d, label %d: %s", e.Index, e.Label, outcome(e)))

	p.heading(0, "clean image", prediction(e.Original), fmt.Sprintf("true class %d", e.Label))
	p.image(0, d.clean, func(v float64) color.RGBA { return grey(v, reach) })
	p.greyLegend(0, d.clean, reach)

	bounds := "not clipped"
	if !e.Bounds.None() {
		bounds = fmt.Sprintf("clipped to [%s, %s]", short(e.Bounds.Lo), short(e.Bounds.Hi))
	}
	own := "" // the attack's norm, if it is another
	if n := e.Attack.Norm; n.Above() {
		own = fmt.Sprintf("%s = %s, ", n.Title(), short(n.Length(d.delta.v)))
	}
	p.heading(1, "perturbation", fmt.Sprintf("%s, eps = %s", e.Attack.Label(), short(e.Eps)),
		fmt.Sprintf("L∞ = %s, L2 = %s, %s%s", short(d.linf), short(d.l2), own, bounds))
	p.image(1, d.delta, func(v float64) color.RGBA { return diverging(v, scale) })
	marks := []mark{{0.5, "0"}}
	if scale > 0 {
		marks = append(marks, mark{0, "-" + short(scale)}, mark{1, "+" + short(scale)})
	}
	p.bar(1, func(t float64) color.RGBA { return diverging((2*t-1)*scale, scale) }, marks...)

	if e.ZeroGradient {
		p.below(1, "zero gradient: not attacked", "")
	}

	verdict := "correctly classified"
	if e.Fooled() {
		verdict = "misclassified"
	}
	p.heading(2, "perturbed image", prediction(e.Adversarial), fmt.Sprintf("true class %d: %s", e.Label, verdict))
	p.image(2, d.perturbed, func(v float64) color.RGBA { return grey(v, reach) })
	p.greyLegend(2, d.perturbed, reach)

	if p.err != nil {
		return nil, fmt.Errorf("report: picture of image %d: %w", e.Index, p.err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, p.img); err != nil {
		return nil, fmt.Errorf("report: picture of image %d: %w", e.Index, err)
	}
	return b.Bytes(), nil
}

// prediction names the class and how sure the model is of it.
func prediction(p pipeline.Prediction) string {
	v := p.Probabilities[p.Class]
	s := fmt.Sprintf("= %.4f", v)
	if v < 1 && v >= 0.99995 {
		s = "> 0.9999" // 1.0000 would claim certainty
	}
	return fmt.Sprintf("class %d, p %s", p.Class, s)
}

// grey is the colour of a pixel of value v, reach how far out of [0, 1] the
// colours are graded.
func grey(v, reach float64) color.RGBA {
	switch {
	case v < 0:
		return mix(color.RGBA{R: 52, G: 0, B: 84, A: 255}, color.RGBA{R: 124, G: 44, B: 205, A: 255}, -v/reach)
	case v > 1:
		return mix(color.RGBA{R: 255, G: 222, B: 150, A: 255}, color.RGBA{R: 235, G: 110, B: 0, A: 255}, (v-1)/reach)
	}
	return mix(color.RGBA{A: 255}, color.RGBA{R: 255, G: 255, B: 255, A: 255}, v)
}

// diverging is blue at -scale, white at 0, red at +scale.
func diverging(v, scale float64) color.RGBA {
	white := color.RGBA{R: 255, G: 255, B: 255, A: 255}
	switch {
	case v < 0:
		return mix(white, color.RGBA{R: 33, G: 102, B: 172, A: 255}, -v/scale)
	case v > 0:
		return mix(white, color.RGBA{R: 178, G: 24, B: 43, A: 255}, v/scale)
	}
	return white
}

// mix goes from a at t = 0 to b at t = 1.
func mix(a, b color.RGBA, t float64) color.RGBA {
	at := func(a, b uint8) uint8 { return uint8(math.Round(float64(a) + float64(t*(float64(b)-float64(a))))) }
	return color.RGBA{R: at(a.R, b.R), G: at(a.G, b.G), B: at(a.B, b.B), A: 255}
}

// A painter draws three panels. The first error of a font stays in err.
type painter struct {
	img            *image.RGBA
	regular, bold  *opentype.Font
	faces          map[faceKey]font.Face
	cellW, cellH   int // size of one pixel of the images
	width          int // of a panel
	imageY, underY int // top of the images, and of what is below them
	err            error
}

type faceKey struct {
	size float64
	bold bool
}

// newPainter makes a white picture for three panels of the size of p.
func newPainter(p pixels) (*painter, error) {
	cell := max(1, int(math.Round(panelSide/float64(max(p.w, p.h)))))
	a := &painter{
		cellW:  max(cell, (panelLeast+p.w-1)/p.w),
		cellH:  max(cell, (panelLeast+p.h-1)/p.h),
		imageY: margin + 122,
	}
	a.width = max(panelWidth, a.cellW*p.w)
	a.underY = a.imageY + a.cellH*p.h + 14
	a.img = image.NewRGBA(image.Rect(0, 0, 2*margin+3*a.width+2*panelGap, a.underY+barHeight+66+margin))
	draw.Draw(a.img, a.img.Bounds(), image.White, image.Point{}, draw.Src)
	return a, a.fonts()
}

// fonts loads them.
func (a *painter) fonts() (err error) {
	a.faces = map[faceKey]font.Face{}
	if a.regular, err = opentype.Parse(liberationsansregular.TTF); err != nil {
		return fmt.Errorf("report: font: %w", err)
	}
	if a.bold, err = opentype.Parse(liberationsansbold.TTF); err != nil {
		return fmt.Errorf("report: font: %w", err)
	}
	return nil
}

// left is the x where panel i begins.
func (a *painter) left(i int) int { return margin + i*(a.width+panelGap) }

// face gives a font of size pixels, or nil once there was an error.
func (a *painter) face(size float64, bold bool) font.Face {
	k := faceKey{size, bold}
	if f, ok := a.faces[k]; ok || a.err != nil {
		return f
	}
	ttf := a.regular
	if bold {
		ttf = a.bold
	}
	f, err := opentype.NewFace(ttf, &opentype.FaceOptions{Size: size, DPI: 72})
	if err != nil {
		a.err = err
		return nil
	}
	a.faces[k] = f
	return f
}

// text writes s with its baseline at y and begins at x.
func (a *painter) text(x, y int, size float64, bold bool, c color.Color, s string) {
	if f := a.face(size, bold); f != nil {
		d := font.Drawer{Dst: a.img, Src: image.NewUniform(c), Face: f, Dot: fixed.P(x, y)}
		d.DrawString(s)
	}
}

// textWidth is how wide text would write s.
func (a *painter) textWidth(size float64, s string) int {
	if f := a.face(size, false); f != nil {
		return font.MeasureString(f, s).Ceil()
	}
	return 0
}

// heading writes three lines over panel i.
func (a *painter) heading(i int, title, first, second string) {
	x := a.left(i)
	a.text(x, a.imageY-62, 18, true, ink, title)
	a.text(x, a.imageY-36, 18, false, ink, first)
	a.text(x, a.imageY-13, 15, false, faint, second)
}

// image draws p in panel i, in the middle if it is narrower, within a frame.
func (a *painter) image(i int, p pixels, colour func(float64) color.RGBA) {
	w, h := a.cellW*p.w, a.cellH*p.h
	x0, y0 := a.left(i)+(a.width-w)/2, a.imageY
	draw.Draw(a.img, image.Rect(x0-1, y0-1, x0+w+1, y0+h+1), image.NewUniform(frame), image.Point{}, draw.Src)
	for k, v := range p.v {
		x, y := x0+k%p.w*a.cellW, y0+k/p.w*a.cellH
		draw.Draw(a.img, image.Rect(x, y, x+a.cellW, y+a.cellH), image.NewUniform(colour(v)), image.Point{}, draw.Src)
	}
}

// A mark labels a place of a bar, 0 its left end and 1 its right one.
type mark struct {
	at    float64
	label string
}

// bar draws a colour bar under panel i.
func (a *painter) bar(i int, colour func(t float64) color.RGBA, marks ...mark) {
	x0, y0, w := a.left(i), a.underY, a.width
	draw.Draw(a.img, image.Rect(x0-1, y0-1, x0+w+1, y0+barHeight+1), image.NewUniform(frame), image.Point{}, draw.Src)
	for x := range w {
		c := image.NewUniform(colour(float64(x) / float64(w-1)))
		draw.Draw(a.img, image.Rect(x0+x, y0, x0+x+1, y0+barHeight), c, image.Point{}, draw.Src)
	}
	for _, m := range marks {
		x, wide := x0+int(m.at*float64(w)), a.textWidth(14, m.label)
		x = min(max(x-wide/2, x0), x0+w-wide) // the ends stay under the bar
		a.text(x, y0+barHeight+17, 14, false, ink, m.label)
	}
}

// greyLegend draws the bar for the pixels p in panel i, and says how many are out of
// [0, 1] if any are.
func (a *painter) greyLegend(i int, p pixels, reach float64) {
	below, above := p.outside()
	if below+above == 0 {
		a.bar(i, func(t float64) color.RGBA { return grey(t, reach) }, mark{0, "0"}, mark{1, "1"})
		return
	}
	// Not to scale: a reach of 0.01 would leave no room for its colours.
	const side = 0.25
	a.bar(i, func(t float64) color.RGBA {
		switch {
		case t < side:
			return grey((t/side-1)*reach, reach)
		case t > 1-side:
			return grey(1+(t-1+side)/side*reach, reach)
		}
		return grey((t-side)/(1-2*side), reach)
	}, mark{0, short(-reach)}, mark{side, "0"}, mark{1 - side, "1"}, mark{1, short(1 + reach)})
	a.below(i, fmt.Sprintf("%d of %d pixels are out of [0, 1]:", below+above, len(p.v)),
		fmt.Sprintf("%d below, %d above, from %s to %s", below, above, short(p.lo), short(p.hi)))
}

// below writes two lines below the bar of panel i.
func (a *painter) below(i int, first, second string) {
	a.text(a.left(i), a.underY+barHeight+43, 15, false, ink, first)
	a.text(a.left(i), a.underY+barHeight+63, 15, false, ink, second)
}
