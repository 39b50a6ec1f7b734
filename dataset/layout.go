package dataset

import (
	"fmt"
	"slices"

	"advsweep/internal/remedy"

	"gorgonia.org/tensor"
)

// For returns the images in the shape in which a model takes them: input is [C, H, W] or [I], nil
// where no model says. Images of one channel are [N, H, W].
//
//   - [N, H, W], [N, C, H, W] and [N, H, W, C] fit a model of [C, H, W]. Which dimension is the
//     channels' is told by the Query, or by what the model takes, or by the one that is 1, 3 or 4.
//   - [N, I] fits a model of as many numbers. They are taken in the order C, H, W.
//   - A model of [I] takes any images of I numbers, those of an array in the order of its file.
//     Rows of numbers come as a square, where I is one, or as a line, so that they can be drawn,
//     and pixels in the order H, W, C as [N, H, W·C].
//
// Other shapes are an error, which says both of them. What is taken for granted is a note.
func (s *Stored) For(input []int) (*Set, error) {
	p, err := s.plan(input)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", s.set.imagesName(), err)
	}
	set := s.set
	set.Notes = append(slices.Clone(set.Notes), p.notes...)
	if s.bytes != nil {
		set.Images = run(p, s.bytes)
	} else {
		set.Images = run(p, s.floats)
	}
	return &set, nil
}

// Image returns the shape [C, H, W] of the images for a model of so many channels, of any rows and
// columns.
func (s *Stored) Image(channels int) ([]int, error) {
	shape, err := s.Shape(nil)
	switch {
	case err != nil:
		return nil, err
	case len(shape) == 2:
		shape = append([]int{1}, shape...)
	case len(shape) != 3:
		return nil, fmt.Errorf("dataset: %s: images are %v, want rows and columns", s.set.imagesName(), shape)
	}
	if shape[0] != channels && shape[2] == channels {
		shape = []int{shape[2], shape[0], shape[1]}
	}
	return shape, nil
}

// Shape returns the shape of one image that For gives a model of input, or its error.
func (s *Stored) Shape(input []int) ([]int, error) {
	p, err := s.plan(input)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", s.set.imagesName(), err)
	}
	return p.shape[1:], nil
}

// A plan is what is done to the numbers of each image, in this order.
type plan struct {
	n      int
	fromHW bool // the file has H, W, C: make it C, H, W
	from   dims // then
	change transform
	toHW   bool // make it H, W, C again
	shape  []int
	notes  []Note
}

// dims are the channels, height and width of an image.
type dims [3]int

func (d dims) volume() int { return d[0] * d[1] * d[2] }

func (d dims) fits(input []int) bool { return slices.Equal(d[:], input) }

// volume is the product of shape, which is known to fit an int.
func volume(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// isFlat reports whether a model takes numbers in a row. [1, I] and [1, 1, I] are rows too.
func isFlat(input []int) bool {
	long := 0
	for _, d := range input {
		if d != 1 {
			long++
		}
	}
	return len(input) > 0 && (len(input) == 1 || long < 2)
}

// channelsOf returns whether the last of three dimensions is known to be that of the channels, as
// the one that is 1, 3 or 4. known is false if both ends are, or neither.
func channelsOf(shape []int) (last, known bool) {
	first, last := isChannels(shape[0]), isChannels(shape[2])
	return last && !first, first != last
}

func isChannels(d int) bool { return d == 1 || d == 3 || d == 4 }

func (s *Stored) plan(input []int) (p plan, err error) {
	p.n = s.shape[0]
	if !s.pictures {
		p.change = s.query.transform()
	}
	if len(input) == 2 && !isFlat(input) {
		input = []int{1, input[0], input[1]}
	}
	one := s.shape[1:]
	row := len(one) == 1 || len(one) == 2 && one[0] == 1 && len(input) > 0 && one[1] == volume(input)
	switch {
	case row:
		return s.planRow(p, input)
	case len(one) == 2:
		p.from = dims{1, one[0], one[1]}
	case len(one) == 3:
		if p.fromHW, err = s.channelsLast(one, input, p.change); err != nil {
			return p, err
		}
		p.from = asDims(one, p.fromHW)
	default:
		return p, fmt.Errorf("images are %v, want two to four dimensions", s.shape)
	}
	to, err := p.change.shape(p.from)
	if err != nil {
		return p, err
	}
	if !to.fits(input) && input != nil && !(isFlat(input) && to.volume() == volume(input)) {
		return p, misfit(to, input)
	}
	p.finish(s, to, input)
	return p, nil
}

// finish sets the shape of the result, from images of to, and the order for a flat model.
func (p *plan) finish(s *Stored, to dims, input []int) {
	p.shape = []int{p.n, to[0], to[1], to[2]}
	if to[0] == 1 {
		p.shape = []int{p.n, to[1], to[2]}
	}
	if to[0] == 1 || !isFlat(input) || slices.Equal(to[:], input) {
		return
	}
	order, why := s.query.Flat, ""
	switch {
	case order != "":
	case s.pictures:
		order, why = "chw", "each pixel's channels go to it apart, in the order C, H, W, as PyTorch flattens images"
	case p.fromHW:
		order, why = "hwc", "its numbers go to it in the order of the file, H, W, C, as NumPy's x.reshape(N, -1) has them"
	default:
		order = "chw"
	}
	if why != "" {
		p.notes = append(p.notes, Note{fmt.Sprintf("the images have %d channels and the model takes a row of %d numbers: %s", to[0], to.volume(), why), remedy.Flat})
	}
	if p.toHW = order == "hwc"; p.toHW {
		p.shape = []int{p.n, to[1], to[2] * to[0]}
	}
}

// planRow is the plan of images that are rows of numbers.
func (s *Stored) planRow(p plan, input []int) (plan, error) {
	n := volume(s.shape[1:])
	if p.change != (transform{}) {
		return p, fmt.Errorf("images are %v, rows of numbers, want a height and a width to scale, crop or colour them: save them as [N, H, W] or [N, H, W, C]", s.shape)
	}
	switch {
	case input != nil && n != volume(input):
		return p, fmt.Errorf("images are %v, rows of %d numbers, the model takes %d%s", s.shape, n, volume(input), ofShape(input))
	case input == nil || isFlat(input):
		p.from = dims{1, 1, n}
		if side := root(n); side*side == n {
			p.from = dims{1, side, side}
		}
		p.finish(s, p.from, input)
		return p, nil
	case len(input) != 3:
		return p, fmt.Errorf("images are %v, the model takes %v, want one of [C, H, W] or [I]", s.shape, input)
	}
	to := dims(input)
	p.from = to
	order := "C, H, W"
	if p.fromHW = s.query.Layout == "hwc" && to[0] > 1; p.fromHW {
		order = "H, W, C"
	}
	need := remedy.Need("")
	if to[0] > 1 && s.query.Layout == "" {
		need = remedy.Layout
	}
	if s.query.Layout == "" {
		p.notes = append(p.notes, Note{fmt.Sprintf("images are %v and the model takes %v: the numbers were taken in the order %s", s.shape, input, order), need})
	}
	p.finish(s, to, input)
	return p, nil
}

// root is the whole part of the square root of n.
func root(n int) int {
	r := 0
	for (r+1)*(r+1) <= n {
		r++
	}
	return r
}

func ofShape(input []int) string {
	if isFlat(input) {
		return ""
	}
	return fmt.Sprintf(", %v", input)
}

// channelsLast reports whether an image is H, W, C in the file.
func (s *Stored) channelsLast(one, input []int, change transform) (bool, error) {
	if s.layout != "" {
		return false, nil
	}
	if s.query.Layout != "" {
		return s.query.Layout == "hwc", nil
	}
	if len(input) == 3 && !isFlat(input) {
		var fit [2]bool
		for i, last := range []bool{false, true} {
			to, err := change.shape(asDims(one, last))
			fit[i] = err == nil && to.fits(input)
		}
		if fit[0] != fit[1] {
			return fit[1], nil
		}
	}
	last, known := channelsOf(one)
	switch {
	case known:
		return last, nil
	case isFlat(input) && change == transform{}:
		return false, nil // the order of the file, whichever it is
	}
	which := "neither dimension 1 nor 3 is"
	if isChannels(one[0]) {
		which = "both dimensions 1 and 3 are"
	}
	if input != nil {
		return false, remedy.Want(remedy.Layout, fmt.Errorf("images are %v, the model takes %v, and %s 1, 3 or 4, want the channels told by one that is, or by the layout", s.shape, input, which))
	}
	return false, remedy.Want(remedy.Layout, fmt.Errorf("images are %v, and %s 1, 3 or 4, want the channels told by one that is, or by the layout: save images of one channel as [N, H, W]", s.shape, which))
}

func asDims(one []int, last bool) dims {
	if last {
		return dims{one[2], one[0], one[1]}
	}
	return dims(one)
}

// misfit says how images and model differ, and what mends it.
func misfit(d dims, input []int) error {
	if len(input) != 3 || isFlat(input) {
		return fmt.Errorf("images are %v ([channels, height, width]), %d numbers, the model takes %d: want as many", d, d.volume(), volume(input))
	}
	err := fmt.Errorf("images are %v, the model takes %v: [channels, height, width]", d, input)
	m := dims(input)
	colour := d[0] == 1 && m[0] == 3 || d[0] == 3 && m[0] == 1
	sides := d[1] != m[1] || d[2] != m[2]
	switch {
	case d[0] == m[0] && d[1] == m[2] && d[2] == m[1]:
		return fmt.Errorf("%w: height and width are changed about: are the images transposed?", err)
	case slices.Equal(slices.Sorted(slices.Values(d[:])), slices.Sorted(slices.Values(m[:]))):
		return fmt.Errorf("%w: are the images transposed?", err)
	case colour && sides:
		return remedy.Want(remedy.ColourAndSize, err)
	case colour && d[0] == 1:
		return remedy.Want(remedy.GreyToRGB, err)
	case colour:
		return remedy.Want(remedy.RGBToGrey, err)
	case d[0] == m[0]:
		return remedy.Want(remedy.ImageSize, err)
	}
	return err
}

// run does p to the numbers of all images. The result may share src.
func run[T uint8 | float32](p plan, src []T) *tensor.Dense {
	size := p.from.volume()
	if p.change == (transform{}) && p.fromHW == p.toHW {
		return dense(p.shape, src)
	}
	dst := make([]T, 0, volume(p.shape))
	scratch := make([]T, size)
	for i := range p.n {
		one := src[i*size : (i+1)*size]
		c, area := p.from[0], p.from[1]*p.from[2]
		if p.fromHW {
			one = turn(scratch, one, area, c)
		}
		to := p.from
		one, to = change(p.change, one, to)
		if p.toHW {
			one = turn(make([]T, len(one)), one, to[0], to[1]*to[2])
		}
		dst = append(dst, one...)
	}
	return dense(p.shape, dst)
}

// turn writes the matrix src [rows, columns] to dst [columns, rows].
func turn[T any](dst, src []T, rows, columns int) []T {
	for r := range rows {
		for c := range columns {
			dst[c*rows+r] = src[r*columns+c]
		}
	}
	return dst
}
