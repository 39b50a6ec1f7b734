package verdict

import (
	"advsweep/attack"
	"advsweep/pipeline"
)

// Units asks whether eps and bounds of s can be in the units of images of so many pixels from lo to
// hi. It returns a warning for eps that reach further than from any image to any other, and for
// bounds that are far wider than pixels in [0, 1]: most often levels from 0 to 255 are meant, or a
// decimal comma. It returns nothing where all is as it should be.
func Units(s pipeline.Sweep, lo, hi float64, inputs int) (found []Finding) {
	bounds := s.Bounds
	unit := lo >= 0 && hi <= 1
	if unit && !bounds.None() && bounds.Hi-bounds.Lo > 2 {
		found = append(found, Finding{Level: Warn, What: BoundsUnits, Outside: Outside{[2]float64{lo, hi}, bounds}})
		bounds = attack.Bounds{}
	}
	if bounds.None() {
		bounds = attack.Bounds{Lo: 0, Hi: 1}
		if !unit {
			bounds = attack.Bounds{Lo: lo, Hi: hi}
		}
	}
	top := s.Eps[len(s.Eps)-1]
	for _, a := range s.Attacks {
		if far := attack.Reach(a.Norm, bounds, inputs); top > far && far > 0 {
			return append(found, Finding{Level: Warn, What: EpsUnits, Attack: a, Eps: top, Want: far, Outside: Outside{Bounds: bounds}})
		}
	}
	return found
}
