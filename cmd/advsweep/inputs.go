package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"

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

// An inputs is what a verb works on.
type inputs struct {
	model   *model.Model
	stored  *dataset.Stored // the images, before a model says which shape it takes
	set     *dataset.Set
	backend pipeline.Backend
	chosen  string // name of its backends.Entry
	// arithmetic decides of the last bits of results, see record.Manifest.
	arithmetic string
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
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: %s: %s\n", in.model.Source.Name, note)
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
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: pixels of %s reach from %.4g to %.4g, beyond [0, 1]: eps and bounds are in their units, and there are no 8-bit pixels\n", in.set.Source.Images.Name, lo, hi)
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

// manifest is what fixes the run of s on in.
func (in *inputs) manifest(s pipeline.Sweep, seed uint64) record.Manifest {
	return record.New(in.meta(in.set, seed), in.model, in.set, s, in.arithmetic)
}

// meta describes the run for the result files.
func (in *inputs) meta(set *dataset.Set, seed uint64) record.Meta {
	return record.Meta{
		Version:   release,
		Model:     record.Source(in.model.Source),
		Data:      record.Describe(set),
		Seed:      seed,
		Backend:   in.chosen,
		Device:    in.backend.Info().Device,
		Precision: in.backend.Info().Precision,
	}
}

// settings prints what a run uses, defaults included. layers describes the model.
func settings(m record.Meta, layers string, lines ...string) string {
	s := fmt.Sprintf("model    %s, %s, sha256 %.12s\n", m.Model.Name, layers, m.Model.SHA256)
	s += fmt.Sprintf("images   %s, %d from index %d, sha256 %.12s\n", m.Data.Images.Name, m.Data.N, m.Data.Offset, m.Data.SHA256)
	if m.Device != "" {
		m.Backend += " (" + m.Device + ")"
	}
	s += fmt.Sprintf("backend  %s, %s\n", m.Backend, m.Precision)
	for _, l := range lines {
		s += l + "\n"
	}
	return s
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
