package corrupt

import (
	"fmt"
	"math"

	"advsweep/internal/portable"
)

// A Grid is rotations and shifts, all of them together. An image counts as right on a grid if it is
// right under every Transformation of it.
//
// Engstrom, Tran, Tsipras, Schmidt, Madry 2019, "Exploring the Landscape of Spatial Robustness",
// arXiv:1712.02779. The paper's own grid has 31 rotations.
type Grid struct {
	Rotations int     // how many, spread evenly over ±Degrees
	Degrees   float64 // the largest
	Shifts    int     // how many in each direction, spread evenly over ±Pixels
	Pixels    float64 // the largest
}

// Spatial names a grid where corruptions are named.
const Spatial = "spatial"

// StandardGrid is 5 rotations to ±30° with 5 × 5 shifts to ±3 pixels: 125 transformations.
var StandardGrid = Grid{Rotations: 5, Degrees: 30, Shifts: 5, Pixels: 3}

// maxGrid bounds how many rotations, and shifts in one direction, a grid has.
const maxGrid = 361

// Validate returns an error unless numbers of rotations and shifts are odd, which has the clean
// image among the transformations, and the largest of both are finite.
func (g Grid) Validate() error {
	for _, of := range []struct {
		name string
		n    int
	}{{"rotations", g.Rotations}, {"shifts", g.Shifts}} {
		if of.n < 1 || of.n > maxGrid || of.n%2 == 0 {
			return fmt.Errorf("corrupt: a grid of %d %s, want an odd number from 1 to %d: the clean image is one of them", of.n, of.name, maxGrid)
		}
	}
	if !(g.Degrees >= 0 && g.Degrees <= 180) || !(g.Pixels >= 0 && g.Pixels <= 1<<20) {
		return fmt.Errorf("corrupt: a grid of ±%v° and ±%v pixels, want 0 to 180 and 0 to %d", g.Degrees, g.Pixels, 1<<20)
	}
	return nil
}

// None reports whether there is no grid.
func (g Grid) None() bool { return g == Grid{} }

func (g Grid) String() string {
	shifts := fmt.Sprintf("%d × %d shifts to ±%v pixels", g.Shifts, g.Shifts, g.Pixels)
	if g.Rotations == 1 {
		return shifts + " without rotation"
	}
	return fmt.Sprintf("%d rotations to ±%v° with %s", g.Rotations, g.Degrees, shifts)
}

// Transformations are those of the grid, shifts to the right running fastest and rotations slowest.
func (g Grid) Transformations() []Transformation {
	var all []Transformation
	for a := range g.Rotations {
		for d := range g.Shifts {
			for r := range g.Shifts {
				all = append(all, Transformation{spread(a, g.Rotations, g.Degrees), spread(r, g.Shifts, g.Pixels), spread(d, g.Shifts, g.Pixels)})
			}
		}
	}
	return all
}

// spread is number i of n from -most to most.
func spread(i, n int, most float64) float64 {
	if n == 1 {
		return 0
	}
	return most * float64(2*i-(n-1)) / float64(n-1)
}

// A Transformation rotates an image about its middle, counterclockwise, and then shifts it.
type Transformation struct {
	Rotation    float64 // in degrees
	Right, Down float64 // in pixels
}

// IsZero reports whether m moves nothing.
func (m Transformation) IsZero() bool { return m == Transformation{} }

func (m Transformation) String() string {
	return fmt.Sprintf("rotated %v°, %v right, %v down", m.Rotation, m.Right, m.Down)
}

// Apply returns src moved: each pixel is what lies at the place that comes to it, between four
// pixels linearly, with zeros around the image. Pixels are not rounded to 8 bits. What moves
// nothing changes no bit.
func (m Transformation) Apply(src Image) Image {
	dst := newImage(src)
	angle := m.Rotation * math.Pi / 180
	cos, sin := portable.Cos(angle), portable.Sin(angle)
	y0, x0 := float64(float64(src.H-1)/2), float64(float64(src.W-1)/2)
	for r := range src.H {
		for s := range src.W {
			// Rows count downwards, so that counterclockwise has these signs. The way goes back,
			// from where a pixel is to where it was.
			y, x := float64(r)-y0-m.Down, float64(s)-x0-m.Right
			fromX := float64(cos*x) - float64(sin*y) + x0
			fromY := float64(sin*x) + float64(cos*y) + y0
			top, left := math.Floor(fromY), math.Floor(fromX)
			if !(top >= -1 && top < float64(src.H) && left >= -1 && left < float64(src.W)) {
				continue
			}
			t, l, down, right := int(top), int(left), fromY-top, fromX-left
			for ch := range src.C {
				p := src.plane(ch)
				at := func(r, s int) float64 {
					if r < 0 || r >= src.H || s < 0 || s >= src.W {
						return 0
					}
					return p[r*src.W+s]
				}
				dst.Pixels[(ch*src.H+r)*src.W+s] = between(down, between(right, at(t, l), at(t, l+1)), between(right, at(t+1, l), at(t+1, l+1)))
			}
		}
	}
	return dst
}
