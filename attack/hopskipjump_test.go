package attack

import (
	"context"
	"math"
	"slices"
	"testing"
)

// lineRows are fakeRows of two pixels whose class changes on a line: the label where x·slope is not
// above bar.
type lineRows struct {
	fakeRows
	clean, x [][]float64
	slope    []float64
	bar      float64
	looks    int
}

func (r *lineRows) Shape() (c, h, w int) { return 1, 1, 2 }
func (r *lineRows) Step(_ context.Context, s Step) error {
	for k := range r.x {
		for i := range r.x[k] {
			r.x[k][i] += s.Along[2*k+i]
		}
	}
	return nil
}
func (r *lineRows) Restore(context.Context, int, []bool) error {
	for k := range r.x {
		r.x[k] = slices.Clone(r.clean[k])
	}
	return nil
}
func (r *lineRows) Pixels(context.Context) (all [][]float64, err error) {
	for _, x := range r.x {
		all = append(all, slices.Clone(x))
	}
	return all, nil
}
func (r *lineRows) Logits(context.Context) (all [][]float64, err error) {
	r.looks++
	for _, x := range r.x {
		all = append(all, []float64{0, x[0]*r.slope[0] + x[1]*r.slope[1] - r.bar})
	}
	return all, nil
}

// TestHopSkipJumpCost: it takes as many looks as Cost says but for the starts that it does not need.
// It goes nearer with every few jumps, and never nearer than the line is.
func TestHopSkipJumpCost(t *testing.T) {
	for norm, away := range map[Norm]float64{L2: 0.4 / math.Sqrt(5), Linf: 0.4 / 3} {
		last := math.Inf(1)
		for _, k := range []int{1, 4, 16} {
			clean := [][]float64{{0.3, 0.5}, {0.1, 0.6}} // both 0.4 below the line
			a := HopSkipJump(k, 7)
			a.Norm = norm
			r := &lineRows{clean: clean, x: [][]float64{slices.Clone(clean[0]), slices.Clone(clean[1])}, slope: []float64{1, 2}, bar: 1.7}
			found, err := a.Search(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			c, err := a.Cost()
			if err != nil {
				t.Fatal(err)
			}
			if least, most := int(c.Image)-jumpStarts+1, int(c.Image); r.looks < least || r.looks > most {
				t.Errorf("%v, %d jumps: %d looks, want %d to %d", norm, k, r.looks, least, most)
			}
			if r.done != k {
				t.Errorf("%v: %d steps done of %d", norm, r.done, k)
			}
			far := max(found[0].Distance, found[1].Distance)
			if !(min(found[0].Distance, found[1].Distance) >= away) || !(far <= last) {
				t.Errorf("%v, %d jumps: distances %v and %v, want at least %v and at most %v", norm, k, found[0].Distance, found[1].Distance, away, last)
			}
			last = far
		}
		if !(last <= 1.01*away) {
			t.Errorf("%v: distance %v after 16 jumps, want at most 1 %% above %v", norm, last, away)
		}
	}
}

// TestHopSkipJumpPlainStart: where no random image is misread a white one may be.
func TestHopSkipJumpPlainStart(t *testing.T) {
	clean := [][]float64{{0.3, 0.5}, {0.1, 0.6}}
	r := &lineRows{clean: clean, x: [][]float64{slices.Clone(clean[0]), slices.Clone(clean[1])}, slope: []float64{1, 2}, bar: 2.9999}
	found, err := HopSkipJump(3, 7).Search(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for k, f := range found {
		if away := (2.9999 - 1.3) / 3; !(f.Distance >= away) || !(f.Distance <= 1.5*away) {
			t.Errorf("row %d: distance %v, want %v to half as much again", k, f.Distance, away)
		}
	}
}

// TestHopSkipJumpNoStart: where no image is misread nothing is found, and no jump is made.
func TestHopSkipJumpNoStart(t *testing.T) {
	clean := [][]float64{{0.3, 0.5}, {0.1, 0.6}}
	r := &lineRows{clean: clean, x: [][]float64{slices.Clone(clean[0]), slices.Clone(clean[1])}, slope: []float64{1, 2}, bar: 4}
	found, err := HopSkipJump(5, 7).Search(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for k, f := range found {
		if f.Along != nil || !math.IsInf(f.Distance, 1) || f.Zero {
			t.Errorf("row %d: %+v, want nothing", k, f)
		}
	}
	if r.looks > 200 || r.done != 5 {
		t.Errorf("%d looks and %d steps done, want at most 200 and 5", r.looks, r.done)
	}
}
