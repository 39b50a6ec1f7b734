package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"advsweep/backends"
	"advsweep/dataset"
	"advsweep/internal/plain"
	"advsweep/internal/words"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/verdict"

	"github.com/spf13/cobra"
)

// warnShort says on w which attacks cannot reach the edge of the ball.
func warnShort(w io.Writer, s pipeline.Sweep) {
	top := s.Eps[len(s.Eps)-1]
	for _, a := range s.Attacks {
		if a.Short(top) {
			fmt.Fprintf(w, "advsweep: %s: %d steps of %s do not reach eps %v: the model will look stronger than it is\n", a.Name, a.Steps, a.StepSize(), top)
		}
	}
}

// warnUnits says on w, also where no notes are wanted, where the eps or bounds of s, which are the
// list eps on the command line, are not in the units of the images of in.
func (in *inputs) warnUnits(w io.Writer, s pipeline.Sweep, eps string) {
	lo, hi := in.set.Range()
	for _, f := range verdict.Units(s, lo, hi, in.model.Inputs()) {
		fmt.Fprintf(w, "advsweep: %s%s\n", f, unitsRemedy(f, eps))
	}
}

// leaveOut returns s without what the model has too few classes for and nobody named, and says so
// on w unless quiet.
func (in *inputs) leaveOut(w io.Writer, s pipeline.Sweep, quiet bool) pipeline.Sweep {
	s, left := s.LeaveOut(in.model.Outputs())
	for _, l := range left {
		if !quiet {
			fmt.Fprintf(w, "advsweep: %s\n", l)
		}
	}
	return s
}

// An inputs is what a verb works on.
type inputs struct {
	model   *model.Model
	stored  *dataset.Stored // the images, before a model says which shape it takes
	set     *dataset.Set
	backend pipeline.Backend
	chosen  string // name of its backends.Entry
	// rivals are the names of the backends that auto may choose elsewhere instead, none where the
	// command line leaves no choice.
	rivals []string
	// arithmetic decides of the last bits of results, see record.Manifest.
	arithmetic string
	math       string        // of record.Meta
	load       time.Duration // that reading and opening took
}

// open reads the model and the images that from names, makes checks and opens the backend that by
// names. That comes last: it can take a second and may print a line, which a mistake in the command
// line is not worth.
func open(c *cobra.Command, from *inputFlags, by *backendFlags, quiet bool, checks ...func(*inputs) error) (*inputs, error) {
	start := time.Now()
	in := &inputs{}
	err := cmp.Or(given(c), from.check(c), by.check())
	if err != nil {
		return nil, err
	}
	var unread error
	read := make(chan struct{})
	go func() { // the images of a whole test set take longer to unpack than the model
		defer close(read)
		in.stored, unread = from.images.open()
	}()
	in.model, err = from.loadModel()
	<-read
	if err := cmp.Or(err, unread); err != nil {
		return nil, err
	}
	if !quiet {
		for _, note := range in.model.Notes {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: %s: %s\n", cell(in.model.Source.Name), plain.Line(note, plain.Message))
		}
	}
	if in.set, err = in.stored.For(shapeOf(in.model)); err != nil {
		return nil, err
	}
	if !quiet {
		for _, note := range append(slices.Clone(in.set.Notes), in.set.ClassNotes(in.model.Outputs())...) {
			fmt.Fprintln(c.ErrOrStderr(), noted(c, in.set, note))
		}
	}
	if err := in.set.Check(in.model.Outputs()); err != nil {
		return nil, err
	}
	if lo, hi := in.set.Range(); lo < 0 || hi > 1 {
		if in.model.Source.Pixels != "" {
			return nil, usagef("--pixels %s scales pixels in [0, 1], and those of %s reach from %.4g to %.4g: leave it out, or give the images in [0, 1]", in.model.Source.Pixels, in.set.Source.Images.Name, lo, hi)
		}
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: pixels of %s reach from %.4g to %.4g, beyond [0, 1]: eps and bounds are in their units, and there are no 8-bit pixels%s\n", in.set.Source.Images.Name, lo, hi, tamed(lo, hi))
	}
	for _, check := range checks {
		if err := check(in); err != nil {
			return nil, err
		}
	}
	if err = by.open(c, quiet, in); err != nil {
		return nil, err
	}
	in.load = time.Since(start)
	return in, nil
}

// tamed says how pixels from lo to hi come to lie in [0, 1], if a flag does it.
func tamed(lo, hi float64) string {
	if lo < 0 || hi > 255 {
		return ""
	}
	return "; --pixel-max 255 divides them by 255"
}

// manifest is what fixes the run of s on in.
func (in *inputs) manifest(s pipeline.Sweep, seed uint64) record.Manifest {
	return record.New(in.meta(in.set, seed), in.model, in.set, s, in.arithmetic)
}

// meta describes the run for the result files.
func (in *inputs) meta(set *dataset.Set, seed uint64) record.Meta {
	return record.Meta{
		Version:   release,
		Model:     record.DescribeModel(in.model),
		Data:      record.Describe(set),
		Seed:      seed,
		Backend:   in.chosen,
		Device:    in.backend.Info().Device,
		Precision: in.backend.Info().Precision,
		Math:      in.math,
	}
}

// precision is that of the backend, with its math where that is not the default: "float32 fast".
func (in *inputs) precision() string {
	return strings.TrimSpace(in.backend.Info().Precision + " " + in.math)
}

// settings prints what a run uses, defaults included; of images only where there are some. layers
// describes the model, rivals are those of inputs.
func settings(m record.Meta, layers string, rivals []string, lines ...string) string {
	device := m.Backend
	if m.Device != "" {
		device += " (" + m.Device + ")"
	}
	head := []string{
		fmt.Sprintf("model    %s, %s%s, sha256 %.12s", m.Model.Name, layers, m.Model.Reading(), m.Model.SHA256),
	}
	if m.Data.N > 0 {
		head = append(head, fmt.Sprintf("images   %s, %d from index %d, sha256 %.12s", m.Data.Images.Name, m.Data.N, m.Data.Offset, m.Data.SHA256))
	}
	head = append(head, fmt.Sprintf("backend  %s, %s", device, m.Computed()))
	if len(rivals) > 0 {
		head = append(head, autoChose(m.Backend, rivals))
	}
	s := ""
	for _, l := range append(head, lines...) {
		s += plain.Line(l, plain.Error) + "\n"
	}
	return s
}

// autoChose is a line for the top of a text: that auto chose the backend, and how to fix it. There
// are rivals, as in inputs.
func autoChose(backend string, rivals []string) string {
	return fmt.Sprintf("         auto chose %s; elsewhere it may choose %s, whose last bits may differ: --backend %s fixes it", backend, words.Or(rivals), backend)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// prober returns what looks at clean images of in before attacks do. Other models than in's are
// opened on the backend that every machine has.
func (in *inputs) prober() *verdict.Prober {
	return &verdict.Prober{Model: in.model, Open: func(m *model.Model) (pipeline.Backend, error) {
		spare := backends.Always()
		b, _, err := spare.Open(m, backends.Spec{Precision: spare.Precisions[0], Shared: true})
		return b, err
	}}
}

// warnClean says on w, also where no notes are wanted, that the model is no better than chance on
// the clean images, or that something makes more of them right: then an attack measures another
// model than the one that was trained.
func (in *inputs) warnClean(ctx context.Context, w io.Writer) error {
	f, err := in.prober().Look(ctx, in.backend, in.set)
	if ctx.Err() != nil { // whoever works next says what was stopped
		return nil
	}
	if err != nil || f.Level != verdict.Fail && len(f.Causes) == 0 {
		return err
	}
	if f.Level == verdict.Fail {
		fmt.Fprintf(w, "advsweep: the model is no better than chance: %d of %d clean images are right, and always the same answer gives %d (chance of so many %.2g); its robustness says nothing\n", f.Right[0], f.N, f.Guess, f.P)
	} else {
		fmt.Fprintf(w, "advsweep: %d of %d clean images are right, and more could be\n", f.Right[0], f.N)
	}
	for _, c := range f.Causes {
		fmt.Fprintf(w, "advsweep: likely cause: %s: %s\n", c, remedies(c, in))
	}
	if len(f.Causes) == 0 {
		fmt.Fprintln(w, "advsweep: no cause was found: are these the model's images, with its labels, and pixels as in its training?")
	}
	return nil
}
