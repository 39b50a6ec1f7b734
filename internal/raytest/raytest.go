// Package raytest says a result in the other of the two forms that a curve may have. Tests hold by
// it that nobody who asks a curve can tell the forms apart.
package raytest

import (
	"slices"
	"testing"

	"advsweep/pipeline"
)

// Rays returns r with some curves, by their places, in the form of pipeline.Curve.Rays. r is left
// as it is. The test fails if those have no outcomes, or outcomes that a ray cannot say: an image
// whose gradient is zero at some eps alone, or that is asked for its rounding at some eps alone.
func Rays(t testing.TB, r *pipeline.Result, curves ...int) *pipeline.Result {
	t.Helper()
	all := *r
	all.Curves = slices.Clone(r.Curves)
	E := len(r.Eps)
	for _, k := range curves {
		c, from := &all.Curves[k], &r.Curves[k]
		if from.Outcomes == nil {
			t.Fatalf("curve %d has no outcomes", k)
		}
		c.Outcomes, c.RayNorms, c.Rays = nil, make([]pipeline.MeanNorms, E), make([]pipeline.Ray, r.N)
		for e := range c.RayNorms {
			c.RayNorms[e] = from.MeanNorms(e)
		}
		for i := range c.Rays {
			found := from.Outcomes[i*E:][:E]
			ray := pipeline.Ray{Zero: found[0].Zero}
			ray.Least, ray.At = from.Least(i)
			for e, o := range found {
				ray.Classes = append(ray.Classes, o.Class)
				if o.Rounded >= 0 {
					ray.Rounded = append(ray.Rounded, o.Rounded == r.Images[i].Label)
				}
				if o.Zero != ray.Zero || (o.Rounded >= 0) != (found[0].Rounded >= 0) {
					t.Fatalf("curve %d, image %d: no ray is so at eps %v alone", k, i, r.Eps[e])
				}
			}
			c.Rays[i] = ray
		}
	}
	return &all
}
