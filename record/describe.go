package record

import (
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

// New returns the manifest of the run of s with mod on set. mathMode is what else decides of the
// last bits: see Manifest. The device of meta is left out, as it changes no bit.
func New(meta Meta, mod *model.Model, set *dataset.Set, s pipeline.Sweep, mathMode string) Manifest {
	meta.Device = ""
	return Manifest{
		Meta: meta, Arithmetic: mathMode, Layers: mod.String(), Shape: slices.Clone(set.Images.Shape()[1:]), Classes: mod.Outputs(), ClassNames: set.Classes,
		Attacks: s.Attacks, Eps: s.Eps, Bounds: s.Bounds.String(), Exact: s.Exact, Rounded: s.Rounded, Work: s.ChunkWork,
	}
}
