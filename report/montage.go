package report

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"

	"advsweep/pipeline"

	scaling "golang.org/x/image/draw"
	"gorgonia.org/tensor"
)

// The measures of a montage, in its pixels.
const (
	montageMost    = 100
	montageColumns = 10
	montageSide    = 84  // what the longer side of a small image is scaled to, nearly
	montageLargest = 128 // and that of a large one at most
)

// Montage draws the first images of c, at most 100, as a PNG, each with its label and the class
// that it is taken for, red where that is another one. labels is [N], first the index of the first
// image in its data set, names those of the classes or nil. Pixels are drawn as Picture draws them;
// colour images are cut to [0, 1].
func Montage(c *pipeline.Crafted, labels []int32, first int, names []string) ([]byte, error) {
	n := min(len(labels), montageMost)
	if n == 0 || n > c.Images.Shape()[0] || n > len(c.Outcomes) {
		return nil, fmt.Errorf("report: montage: %d labels of images %v", len(labels), c.Images.Shape())
	}
	images := make([]image.Image, n)
	wrong := 0
	for i := range n {
		var err error
		if images[i], err = drawing(c, i); err != nil {
			return nil, err
		}
		if c.Outcomes[i].Class != labels[i] {
			wrong++
		}
	}
	size := images[0].Bounds().Size()
	longer := max(size.X, size.Y)
	scale := math.Max(1, math.Round(montageSide/float64(longer)))
	if longer > montageLargest {
		scale = montageLargest / float64(longer)
	}
	w, h := max(1, int(math.Round(scale*float64(size.X)))), max(1, int(math.Round(scale*float64(size.Y))))
	lines := 1
	if names != nil {
		lines = 2
	}
	a := &painter{}
	if err := a.fonts(); err != nil {
		return nil, err
	}
	title := fmt.Sprintf("%s, eps %s: %d of %d are wrong", c.Attack.Label(), short(c.Eps), wrong, n)
	if n == 1 {
		title = fmt.Sprintf("%s, eps %s", c.Attack.Label(), short(c.Eps))
	}
	under := fmt.Sprintf("images %d to %d; label → what the model says", first, first+n-1)
	const edge, gap, head, line, text = 20, 10, 62, 17, 13.0
	cellW, cellH := max(w, 64)+gap, h+line*lines+gap
	columns := min(n, montageColumns)
	wide := max(columns*cellW-gap, a.textWidth(20, title)+20, a.textWidth(14, under)) + 2*edge
	a.img = image.NewRGBA(image.Rect(0, 0, wide, 2*edge+head+(n+columns-1)/columns*cellH-gap))
	draw.Draw(a.img, a.img.Bounds(), image.White, image.Point{}, draw.Src)
	a.text(edge, edge+20, 20, true, ink, title)
	a.text(edge, edge+42, 14, false, faint, under)
	red := color.RGBA{R: 178, G: 24, B: 43, A: 255}
	for i, m := range images {
		x, y := edge+i%columns*cellW, edge+head+i/columns*cellH
		to := image.Rect(x, y, x+w, y+h).Add(image.Pt((cellW-gap-w)/2, 0))
		if scale >= 1 {
			scaling.NearestNeighbor.Scale(a.img, to, m, m.Bounds(), draw.Src, nil)
		} else {
			scaling.CatmullRom.Scale(a.img, to, m, m.Bounds(), draw.Src, nil)
		}
		label, class := int(labels[i]), int(c.Outcomes[i].Class)
		ink, captions := ink, []string{fmt.Sprintf("%d → %d", label, class)}
		if label != class {
			ink = red
		}
		if names != nil {
			captions = []string{named(names, label), "→ " + named(names, class)}
		}
		for k, s := range captions {
			for a.textWidth(text, s) > cellW-2 { // no caption runs into the next one
				r := []rune(s)
				if len(r) < 3 {
					break
				}
				s = string(r[:len(r)-2]) + "…"
			}
			a.text(x+(cellW-gap-a.textWidth(text, s))/2, y+h+14+k*line, text, false, ink, s)
		}
	}
	if a.err != nil {
		return nil, fmt.Errorf("report: montage: %w", a.err)
	}
	var b bytes.Buffer
	if err := png.Encode(&b, a.img); err != nil {
		return nil, fmt.Errorf("report: montage: %w", err)
	}
	return b.Bytes(), nil
}

func named(names []string, class int) string {
	if class < len(names) {
		return names[class]
	}
	return fmt.Sprint(class)
}

// drawing is image i of c, a pixel of it a pixel.
func drawing(c *pipeline.Crafted, i int) (image.Image, error) {
	shape := c.Images.Shape()[1:].Clone()
	x, ok := c.Images.Data().([]float32)
	if !ok {
		return nil, fmt.Errorf("report: montage: images of %v, want float32", c.Images.Dtype())
	}
	n := shape.TotalSize()
	v := make([]float64, n)
	for j := range v {
		v[j] = float64(x[i*n+j])
	}
	p, err := newPixels(tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v)))
	if err != nil {
		return nil, err
	}
	if len(shape) == 3 && shape[0] == 3 {
		return coloured(v, shape[1], shape[2], func(v float64) float64 { return v }), nil
	}
	reach := max(c.Eps, -p.lo, p.hi-1)
	return small(p, func(v float64) color.RGBA { return grey(v, reach) }), nil
}
