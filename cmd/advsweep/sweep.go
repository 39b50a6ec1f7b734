package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"advsweep/dataset"
	"advsweep/pipeline"
	"advsweep/report"

	"github.com/spf13/cobra"
)

func newSweep() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "sweep",
		Short: "Accuracy as a function of eps: curve.csv, .json, .png, .svg, and images.csv",
		Long: `Attack every image at every eps and count what is still classified correctly.

curve.csv has a row for each attack and eps: attack,steps,eps,n,correct,accuracy,
ci_low,ci_high (95 % Wilson interval),zero_gradient (images that the attack could
not move because their gradient is zero in every pixel),bounds_low,bounds_high
(empty without bounds). curve.json has the same rows and everything needed to repeat
the run.

On the CPU the curve of FGSM is exact: from eps 0 to the largest of --eps each image is
followed through every linear region of the model, and the counts at --eps are read off
what was found. curve.json then has each jump of the curve, and images.csv a row for each
image: index,label,clean (the class that the model gives the clean image),eps_star (the
least eps at which it is wrong, empty if there is none),intervals (where it is right, as
lo:hi;lo:hi),zero_gradient,disagreed (ends of intervals of which a forward pass said
otherwise). BIM and noise are measured at --eps only, and so is FGSM with --exact=false
and on CUDA.`,
		Example: `  advsweep sweep
  advsweep sweep --attack fgsm,bim,noise --steps 5 --eps 0:0.5:0.025
  advsweep sweep --bounds 0,1 --eps 0,4/255,8/255,16/255
  advsweep sweep --model my.safetensors --data mnist/ --n 10000 --format csv`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.sweep(c) },
	}
	f.addInputs(c)
	c.Flags().StringVar(&f.attack, "attack", "fgsm", "`LIST` of fgsm, bim, noise (random ±eps signs, the control)")
	f.addSteps(c)
	f.addEpsList(c)
	f.addExact(c)
	f.addBounds(c)
	f.addRange(c)
	f.addBackend(c)
	f.addSeed(c, "noise")
	f.addOutput(c)
	return c
}

func (f *flags) sweep(c *cobra.Command) error {
	s, err := f.parseSweep(f.attack)
	if err != nil {
		return err
	}
	if s.Exact, err = f.canBeExact(c, s); err != nil {
		return err
	}
	in, err := f.openRange(c)
	if err != nil {
		return err
	}
	defer in.backend.Close()
	set := in.set
	s.Exact = s.Exact && f.follows(c, in)
	folder, err := f.openFolder(s, curveNames("curve")...)
	if err != nil {
		return err
	}
	res, compute, err := in.runSweep(c, f.quiet, set, s)
	if err != nil {
		return err
	}
	meta := in.meta(set, f.seed)
	seconds := report.Seconds{Load: in.load.Seconds(), Compute: compute.Seconds()}
	drawn, err := curveFiles(in, res, meta, seconds, drawing{"curve", "Accuracy against eps", nil})
	if err != nil {
		return err
	}
	files := drawn[0]
	return f.finish(c, folder, append(files, imageFiles(in, res)...), func(w *bytes.Buffer) error { return f.printCurves(w, in, meta, res, files) })
}

// imagesName is the file of the exact curve's images.
const imagesName = "images.csv"

// openFolder opens the folder for the files called names, and for images.csv if s is exact. If not, one of an earlier run will
// go.
func (f *flags) openFolder(s pipeline.Sweep, names ...string) (*report.Folder, error) {
	if s.Exact {
		return report.OpenFolder(f.out, append(names, imagesName)...)
	}
	folder, err := report.OpenFolder(f.out, names...)
	if err != nil {
		return nil, err
	}
	return folder, folder.Outdated(imagesName)
}

// imageFiles is images.csv of the first curve of res that is exact, if there is one.
func imageFiles(in *inputs, res *pipeline.Result) []report.File {
	for _, curve := range res.Curves {
		if curve.Exact != nil {
			return []report.File{{Name: imagesName, Data: report.ImagesCSV(in.set.First, in.set.Labels, curve.Exact, in.backend.Precision())}}
		}
	}
	return nil
}

// runSweep runs s with progress on standard error and returns how long it took.
func (in *inputs) runSweep(c *cobra.Command, quiet bool, set *dataset.Set, s pipeline.Sweep) (*pipeline.Result, time.Duration, error) {
	p := newProgress(c.ErrOrStderr(), quiet, "sweep")
	defer p.finish()
	s.Progress = p.update
	start := time.Now()
	res, err := s.Run(c.Context(), in.backend, set)
	took := time.Since(start)
	if err == nil {
		p.finish()
		warn(c.ErrOrStderr(), res)
	}
	return res, took, err
}

// warn says on standard error, also where no notes are wanted, that an exact curve did not pass its check.
func warn(w io.Writer, res *pipeline.Result) {
	for _, curve := range res.Curves {
		if curve.Exact == nil {
			continue
		}
		if checked, disagreed := curve.Exact.Ends(); disagreed > 0 {
			fmt.Fprintf(w, "advsweep: the exact curve of %s is not to be trusted: %d of %d interval ends disagree with a forward pass beside them; see column disagreed of %s\n",
				curve.Attack.Label(), disagreed, checked, imagesName)
		}
	}
}

// curveNames are the files of one sweep.
func curveNames(base string) []string {
	return []string{base + ".csv", base + ".json", base + ".png", base + ".svg"}
}

// A drawing is one of a run's plots, and the files with its data.
type drawing struct {
	base, title string
	curves      []int // of the result; nil is all
}

// curveFiles draws and encodes drawings of res, all at once, and returns the files of each. The time that
// this takes is Seconds.Write, all but the encoding of the JSON that says so.
func curveFiles(in *inputs, res *pipeline.Result, meta report.Meta, s report.Seconds, drawings ...drawing) ([][]report.File, error) {
	start := time.Now()
	pngs, svgs := make([][]byte, len(drawings)), make([][]byte, len(drawings))
	errs := make([]error, 2*len(drawings))
	var wg sync.WaitGroup
	for i, d := range drawings {
		fig := report.Figure{Title: d.title, Model: meta.Model.Name + " " + in.model.String(), Result: res, Curves: d.curves}
		wg.Go(func() { pngs[i], errs[2*i] = fig.PNG() })
		wg.Go(func() { svgs[i], errs[2*i+1] = fig.SVG() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	s.Write = time.Since(start).Seconds()
	all := make([][]report.File, len(drawings))
	for i, d := range drawings {
		part := res
		if d.curves != nil {
			part = res.Select(d.curves...)
		}
		json, err := report.CurveJSON(meta, part, s)
		if err != nil {
			return nil, err
		}
		names := curveNames(d.base)
		all[i] = []report.File{{Name: names[0], Data: report.CurveCSV(part)}, {Name: names[1], Data: json}, {Name: names[2], Data: pngs[i]}, {Name: names[3], Data: svgs[i]}}
	}
	return all, nil
}

// printCurves writes res to standard output in the chosen format. files are those of curveFiles.
func (f *flags) printCurves(w *bytes.Buffer, in *inputs, meta report.Meta, res *pipeline.Result, files []report.File) error {
	switch f.format {
	case "csv":
		w.Write(files[0].Data)
		return nil
	case "json":
		w.Write(files[1].Data)
		return nil
	}
	var names []string
	for _, curve := range res.Curves {
		names = append(names, curve.Attack.Label())
	}
	w.WriteString(in.settings(meta, "attacks  "+strings.Join(names, "; "), fmt.Sprintf("eps      %s, bounds %s, seed %d", f.eps, f.bounds, f.seed), ""))
	return report.CurveTable(w, res)
}

// finish writes files to folder and then what show makes to standard output: files are safe before
// a closed pipe can end the program, and a full disk does not cost the output.
func (f *flags) finish(c *cobra.Command, folder *report.Folder, files []report.File, show func(w *bytes.Buffer) error) error {
	failed := folder.Write(files...)
	var b bytes.Buffer
	if err := show(&b); err != nil {
		return errors.Join(failed, err)
	}
	if _, err := c.OutOrStdout().Write(b.Bytes()); err != nil {
		return errors.Join(failed, fmt.Errorf("standard output: %w", err))
	}
	if failed != nil {
		return failed
	}
	if !f.quiet {
		for _, file := range files {
			fmt.Fprintf(c.ErrOrStderr(), "wrote %s\n", folder.Path(file.Name))
		}
		for _, name := range folder.Removed() {
			fmt.Fprintf(c.ErrOrStderr(), "removed %s, which was of an earlier run\n", folder.Path(name))
		}
	}
	return nil
}
