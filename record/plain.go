package record

import (
	"slices"

	"advsweep/internal/plain"
)

// Plain returns m with names that are fit to be shown, whoever wrote them: see package plain. It is
// for people. What is compared or hashed is m itself.
func (m *Manifest) Plain() *Manifest {
	p := *m
	p.ClassNames, p.Mixed = slices.Clone(m.ClassNames), slices.Clone(m.Mixed)
	names := []*string{
		&p.Version, &p.Backend, &p.Device, &p.Precision, &p.Math, &p.Arithmetic, &p.Bounds, &p.Certify,
		&p.Model.Name, &p.Model.SHA256, &p.Model.Pixels, &p.Model.Activation, &p.Model.Output,
		&p.Data.Images.Name, &p.Data.Images.SHA256, &p.Data.Labels.Name, &p.Data.Labels.SHA256, &p.Data.SHA256,
	}
	for i := range p.ClassNames {
		names = append(names, &p.ClassNames[i])
	}
	for i := range p.Mixed {
		a := &p.Mixed[i].Arithmetic
		names = append(names, &a.Backend, &a.Precision, &a.MathMode, &a.Fingerprint)
	}
	for _, s := range names {
		*s = plain.Line(*s, plain.Name)
	}
	p.Layers = plain.Line(p.Layers, plain.Message) // a hundred layers
	return &p
}
