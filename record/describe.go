package record

import (
	"fmt"
	"slices"

	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
)

// Describe names the images of set for a manifest.
func Describe(set *dataset.Set) Data {
	return Data{
		Images: Source(set.Source.Images),
		Labels: Source(set.Source.Labels),
		Offset: set.First, N: set.N(), SHA256: set.SHA256(),
	}
}

// DescribeModel returns what a manifest says of the reading of mod.
func DescribeModel(mod *model.Model) Model {
	return Model{Source{mod.Source.Name, mod.Source.SHA256}, mod.Source.Pixels, mod.Source.Activation, mod.Source.Output}
}

// Reading says what was asked of the reading of m, as ", tanh, pixels 0,255". It is empty where
// nothing was.
func (m Model) Reading() string {
	s := ""
	if m.Output != "" {
		s += ", output " + m.Output
	}
	if m.Activation != "" {
		s += ", " + m.Activation
	}
	if m.Pixels != "" {
		s += ", pixels " + m.Pixels
	}
	return s
}

// Apply makes of mod, which was read as its file has it, the model that m tells of: what m asks of
// the reading is done.
func (m Model) Apply(mod *model.Model) error {
	if m.Activation != "" {
		if err := mod.SetActivation(m.Activation); err != nil {
			return err
		}
	}
	if m.Pixels == "" {
		return nil
	}
	lo, hi, err := model.ParsePixels(m.Pixels)
	if err != nil {
		return fmt.Errorf("pixels %w", err)
	}
	return mod.TakePixels(lo, hi)
}

// New returns the manifest of the run of s with mod on set. mathMode is what else decides of the
// last bits: see Manifest. The device of meta is left out, as it changes no bit.
func New(meta Meta, mod *model.Model, set *dataset.Set, s pipeline.Sweep, mathMode string) Manifest {
	meta.Device = ""
	return Manifest{
		Meta: meta, Arithmetic: mathMode, Layers: mod.String(), Shape: slices.Clone(set.Images.Shape()[1:]), Classes: mod.Outputs(), ClassNames: set.Classes,
		Attacks: s.Attacks, Eps: s.Eps, Bounds: s.Bounds.String(), Exact: s.Exact, Rounded: s.Rounded, Certify: s.Certify, Work: s.ChunkWork,
	}
}
