package main

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/corrupt"
	"advsweep/internal/remedy"
	"advsweep/record"
	"advsweep/report"

	"github.com/spf13/cobra"
)

// A corruptVerb is 'advsweep corrupt' with its flags.
type corruptVerb struct {
	inputs    inputFlags
	backend   backendFlags
	images    rangeFlags
	output    outputFlags
	only      string // a list of names
	rotations int    // of the spatial grid
	seed      uint64
	files     string // a folder of published arrays, or ""
}

func newCorrupt() *cobra.Command {
	v := &corruptVerb{}
	c := &cobra.Command{
		Use:   "corrupt",
		Short: "Accuracy under common corruptions, and under rotations and shifts",
		Long: `Measure accuracy on images that nobody attacked: under noise, blur and other common corruptions, and
under rotations and shifts. Only logits are asked for, so that no gradient can be hidden.

  mean corruption accuracy   over corruptions and their severities 1 to 5, with the constants of
                             CIFAR-10-C; pixels are in 8 bits then (Hendrycks and Dietterich 2019)
  worst spatial accuracy     an image is right only if it is right under every rotation and shift of a
                             grid, which has the clean image in it; zeros come in at the edges
                             (Engstrom et al. 2019)

` + corruptionTable() + `

With --files DIR the corrupted images are those that others published, and nothing is made:

  CIFAR-10-C, CIFAR-100-C    NAME.npy for each corruption, five severities one after another, and
                             labels.npy. The mean over the fifteen of the benchmark at all five
                             severities is the number that RobustBench lists; --n takes the first
                             images of each severity (default all)
  MNIST-C                    a folder for each corruption with test_images.npy and test_labels.npy;
                             identity is taken for the clean images

Clean images stand beside them if --data or --images names them, too.

Files: corruptions.csv, corruptions.json and, of the grid, spatial.csv.`,
		Example: `  advsweep corrupt
  advsweep corrupt --model my.onnx --data cifar-10-batches-bin/ --n 10000
  advsweep corrupt --only contrast,spatial --rotations 31
  advsweep corrupt --model my.onnx --data cifar-10-batches-bin/ --files CIFAR-10-C/`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return v.run(c) },
	}
	v.inputs.add(c)
	v.images.add(c, 1000)
	c.Flags().StringVar(&v.only, "only", "", "`LIST` of what to ask: corruptions and "+corrupt.Spatial+" (default all)")
	c.Flags().IntVar(&v.rotations, "rotations", corrupt.StandardGrid.Rotations, fmt.Sprintf("how many, to ±%v°, with %d × %d shifts; an odd number. The paper's grid has 31",
		corrupt.StandardGrid.Degrees, corrupt.StandardGrid.Shifts, corrupt.StandardGrid.Shifts))
	c.Flags().StringVar(&v.files, "files", "", "`DIR` of published arrays, as CIFAR-10-C or MNIST-C, instead of images made here")
	addSeed(c, &v.seed, "noises")
	v.backend.add(c)
	v.output.add(c)
	return c
}

// corruptionTable lists what is made here, for the help.
func corruptionTable() string {
	var lines []string
	for _, c := range corrupt.Corruptions {
		lines = append(lines, fmt.Sprintf("  %-25s  %s", c.Name, c.About))
	}
	return strings.Join(append(lines, fmt.Sprintf("  %-25s  %s", corrupt.Spatial, corrupt.StandardGrid)), "\n")
}

func (v *corruptVerb) run(c *cobra.Command) error {
	if err := given(c); err != nil { // before what is empty passes for not given
		return err
	}
	ask := v.made
	if v.files != "" {
		ask = v.published
	}
	a, err := ask(c)
	if err != nil {
		return err
	}
	files, err := a.found.Files()
	if err != nil {
		return err
	}
	return finish(c, v.output.quiet, a.folder, files, func(w *bytes.Buffer) error {
		switch v.output.format {
		case "csv":
			w.Write(files[0].Data)
			return nil
		case "json":
			w.Write(files[1].Data)
			return nil
		}
		err := a.found.Table(w)
		w.WriteString("\n" + a.settings)
		return err
	})
}

// An answered is what corrupt has found, where it goes, and what was used.
type answered struct {
	found    *report.Corruptions
	folder   *report.Folder
	settings string
}

// names are those of --only; nil: all.
func (v *corruptVerb) names(c *cobra.Command) ([]string, error) {
	if !c.Flags().Changed("only") {
		return nil, nil
	}
	var names []string
	for name := range strings.SplitSeq(v.only, ",") {
		name = strings.TrimSpace(name)
		if slices.Contains(names, name) {
			return nil, usagef("--only: %s stands twice in %q", name, v.only)
		}
		names = append(names, name)
	}
	return names, nil
}

// asked is what the flags ask for of images that are corrupted here.
func (v *corruptVerb) asked(c *cobra.Command) (corrupt.Evaluation, error) {
	e := corrupt.Evaluation{Seed: v.seed}
	grid := corrupt.StandardGrid
	grid.Rotations = v.rotations
	names, err := v.names(c)
	if err != nil {
		return e, err
	}
	if names == nil {
		names = append(corrupt.Names(), corrupt.Spatial)
	}
	for _, name := range names {
		if name == corrupt.Spatial {
			e.Grid = grid
			continue
		}
		one, err := corrupt.ByName(name)
		if err != nil {
			return e, usagef("--only: no corruption %.60q, want some of %s,%s", name, strings.Join(corrupt.Names(), ","), corrupt.Spatial)
		}
		e.Corruptions = append(e.Corruptions, one)
	}
	if e.Grid.None() && c.Flags().Changed("rotations") {
		return e, usagef("--rotations is for %s, which --only %s leaves out", corrupt.Spatial, v.only)
	}
	return e, asUsage("rotations", grid.Validate())
}

// made asks of images that are corrupted here.
func (v *corruptVerb) made(c *cobra.Command) (*answered, error) {
	e, err := v.asked(c)
	if err != nil {
		return nil, err
	}
	var folder *report.Folder
	in, err := open(c, &v.inputs, &v.backend, v.output.quiet, v.images.cut(c), (*inputs).pictures, func(*inputs) (err error) {
		folder, err = report.OpenCorruptions(v.output.out, !e.Grid.None())
		return err
	})
	if err != nil {
		return nil, err
	}
	defer in.backend.Close()
	if err := in.warnClean(c.Context(), c.ErrOrStderr()); err != nil {
		return nil, err
	}
	p := newProgress(c.ErrOrStderr(), v.output.quiet, "corrupt")
	defer p.finish()
	e.Progress = p.update
	found, err := e.Run(c.Context(), in.backend, in.set)
	p.finish()
	if err != nil {
		return nil, err
	}
	meta := in.meta(in.set, v.seed)
	line := fmt.Sprintf("asked    seed %d; severities 1 to %d", v.seed, corrupt.Severities)
	if !e.Grid.None() {
		line += "; " + e.Grid.String()
	}
	return &answered{&report.Corruptions{Meta: meta, Result: found}, folder, settings(meta, in.model.String(), in.rivals, line)}, nil
}

// pictures returns an error unless the rows and columns of the images are those of pictures. A
// model of one dimension may take other orders of numbers. It is a check for open.
func (in *inputs) pictures() error {
	have := in.set.Images.Shape()[1:]
	shape, err := in.stored.Shape(nil)
	if err == nil && !slices.Equal(shape, have) {
		return remedy.Want(remedy.Flat, fmt.Errorf("the images are %v, and the model takes their numbers in another order, as %v: rows and columns are not those of pictures", shape, []int(have)))
	}
	return nil
}

// published asks of arrays that others made.
func (v *corruptVerb) published(c *cobra.Command) (*answered, error) {
	for _, name := range []string{"seed", "rotations"} {
		if c.Flags().Changed(name) {
			return nil, usagef("--%s with --files: the arrays hold what was made of the images; leave it out", name)
		}
	}
	names, err := v.names(c)
	if err != nil {
		return nil, err
	}
	arrays, err := corrupt.OpenPublished(v.files)
	if err != nil {
		return nil, err
	}
	total := len(arrays.Arrays)
	if names != nil {
		if arrays, err = arrays.Select(names); err != nil {
			return nil, asUsage("only", err)
		}
	}
	all := !c.Flags().Changed("n")
	if v.images.n < 1 || v.images.offset < 0 {
		return nil, usagef("--n %d --offset %d, want at least 1 and 0", v.images.n, v.images.offset)
	}
	from, clean := v.inputs, v.inputs.images.data != "" || v.inputs.images.images != ""
	if !clean { // the model and the first array are looked at as any images are
		from.images.images, from.images.labels = arrays.Arrays[0].Images, arrays.Arrays[0].Labels
	}
	how := corrupt.Selection{Offset: v.images.offset}
	if !all {
		how.N = v.images.n
	}
	var folder *report.Folder
	in, err := open(c, &from, &v.backend, v.output.quiet, func(in *inputs) error {
		if !clean {
			return nil
		}
		if all {
			v.images.n = math.MaxInt // cut takes what there is
		}
		return v.images.cut(c)(in)
	}, func(in *inputs) (err error) {
		folder, err = report.OpenCorruptions(v.output.out, false)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer in.backend.Close()
	if how.Query, err = from.images.query(); err != nil {
		return nil, err
	}
	how.Shape = shapeOf(in.model)
	meta := in.meta(in.set, 0)
	if !clean {
		in.set, in.stored, meta.Data = nil, nil, record.Data{} // an array is large
	} else if err := in.warnClean(c.Context(), c.ErrOrStderr()); err != nil {
		return nil, err
	}
	p := newProgress(c.ErrOrStderr(), v.output.quiet, "corrupt")
	defer p.finish()
	found, err := corrupt.Evaluation{Progress: p.update}.Published(c.Context(), in.backend, in.set, arrays, how)
	p.finish()
	if err != nil {
		return nil, err
	}
	line := fmt.Sprintf("arrays   %s, %d of %d files, from index %d", v.files, len(arrays.Arrays), total, v.images.offset)
	res := &report.Corruptions{Meta: meta, Folder: filepath.Base(v.files), Result: found}
	return &answered{res, folder, settings(meta, in.model.String(), in.rivals, line)}, nil
}
