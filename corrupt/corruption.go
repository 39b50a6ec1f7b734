// Package corrupt measures how a model bears what happens to pictures without an attacker: the
// common corruptions of Hendrycks and Dietterich, made here or read from the published arrays, and
// the worst of a grid of rotations and shifts. A model is asked for its logits, and for nothing
// else.
package corrupt

import (
	"fmt"
	"math"
	"strings"
)

// An Image is row-major [C, H, W]. Its pixels lie in [0, 1].
type Image struct {
	C, H, W int
	Pixels  []float64
}

// newImage returns a black image of the shape of im.
func newImage(im Image) Image {
	im.Pixels = make([]float64, im.C*im.H*im.W)
	return im
}

// plane returns channel c of im, [H·W].
func (im Image) plane(c int) []float64 { return im.Pixels[c*im.H*im.W:][:im.H*im.W] }

// Severities is how many there are of each corruption. The mildest is 1.
const Severities = 5

// A Corruption is a kind of damage to an image. It is a file of its own; a row in Corruptions makes
// it known to help, results and reports.
type Corruption struct {
	Name   string
	About  string // what it does, in a line for a table
	Source string // the paper, as in "Hendrycks and Dietterich 2019, arXiv:1903.12261"
	// Constants are those of severities 1 to 5.
	Constants [Severities]float64
	Meaning   string // what the constants are, in a word or two
	// stream keys the random draws. It differs from that of every other corruption, and must not
	// change: results rest on it. 0 says that nothing is drawn.
	stream int
	// apply writes to dst, which is black, what constant c makes of src. Both have one shape. What
	// leaves [0, 1] is clipped afterwards.
	apply func(dst, src Image, c float64, d draw)
	// channels lists the numbers of channels that an image may have; nil: any.
	channels []int
}

// hendrycks is the source of the common corruptions. The constants are those of the script that
// made CIFAR-10-C.
const hendrycks = "Hendrycks and Dietterich 2019, arXiv:1903.12261"

// Corruptions are all that are made here, in the order of tables. To add one, write its file and
// add its row.
var Corruptions = []Corruption{
	gaussianNoise, shotNoise, impulseNoise, contrast, brightness, pixelate, zoomBlur,
}

// Names lists the Corruptions.
func Names() []string {
	names := make([]string, len(Corruptions))
	for i, c := range Corruptions {
		names[i] = c.Name
	}
	return names
}

// ByName returns the corruption with a name. It returns an error that lists all names if there is
// none.
func ByName(name string) (Corruption, error) {
	for _, c := range Corruptions {
		if c.Name == name {
			return c, nil
		}
	}
	return Corruption{}, fmt.Errorf("corrupt: no corruption %.60q, want one of %s", name, strings.Join(Names(), ", "))
}

// Apply returns what a severity, 1 to 5, makes of src, whose index in its data set is index. Pixels
// of the result are levels n/255: they are stored in 8 bits, as those of the published arrays. The
// draws are keyed by (seed, index, corruption, severity), so that neither batches nor other
// corruptions change them. It returns an error for another severity, and for an image of channels
// that the corruption cannot have.
func (c Corruption) Apply(src Image, severity int, seed uint64, index int) (Image, error) {
	if severity < 1 || severity > Severities {
		return Image{}, fmt.Errorf("corrupt: %s: severity %d, want 1 to %d", c.Name, severity, Severities)
	}
	if err := c.fits(src.C); err != nil {
		return Image{}, err
	}
	dst := newImage(src)
	c.apply(dst, src, c.Constants[severity-1], newDraw(seed, index, c.stream, severity))
	for i, x := range dst.Pixels {
		dst.Pixels[i] = stored(x)
	}
	return dst, nil
}

// fits returns an error unless the corruption knows images of so many channels.
func (c Corruption) fits(channels int) error {
	for _, n := range c.channels {
		if n == channels {
			return nil
		}
	}
	if c.channels == nil {
		return nil
	}
	return fmt.Errorf("corrupt: %s: images of %d channels, want %s", c.Name, channels, strings.Trim(strings.ReplaceAll(fmt.Sprint(c.channels), " ", " or "), "[]"))
}

// slack is how far below a level, in levels, a pixel may lie and still be that level. It is more
// than the rounding errors of all corruptions here, so that these decide nothing.
const slack = 1e-9

// stored is x as 8 bits keep it: the largest level n/255 that is not above x clipped to [0, 1]. The
// authors' script cuts off what follows the point, and does not round to nearest.
func stored(x float64) float64 {
	return math.Floor(float64(255*min(max(x, 0), 1))+slack) / 255
}
