package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
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
		Short: "Accuracy as a function of eps: curve.csv, curve.json, curve.png, curve.svg",
		Long: `Attack every image at every eps and count what is still classified correctly.

curve.csv has a row for each attack and eps: attack,steps,eps,n,correct,accuracy,
ci_low,ci_high (95 % Wilson interval),zero_gradient (images that the attack could
not move because their gradient is zero in every pixel),bounds_low,bounds_high
(empty without bounds). curve.json has the same rows and everything needed to repeat
the run.`,
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
	in, err := f.openRange(c)
	if err != nil {
		return err
	}
	defer in.backend.Close()
	set := in.set
	folder, err := report.OpenFolder(f.out, curveNames("curve")...)
	if err != nil {
		return err
	}
	res, compute, err := in.runSweep(c, f.quiet, set, s)
	if err != nil {
		return err
	}
	meta := in.meta(set, f.seed)
	seconds := report.Seconds{Load: in.load.Seconds(), Compute: compute.Seconds()}
	files, err := curveFiles("curve", "Accuracy against eps", in, res, nil, meta, seconds)
	if err != nil {
		return err
	}
	return f.finish(c, folder, files, func(w *bytes.Buffer) error { return f.printCurves(w, in, meta, res, files) })
}

// runSweep runs s with progress on standard error and returns how long it took.
func (in *inputs) runSweep(c *cobra.Command, quiet bool, set *dataset.Set, s pipeline.Sweep) (*pipeline.Result, time.Duration, error) {
	p := newProgress(c.ErrOrStderr(), quiet, "sweep")
	defer p.finish()
	s.Progress = p.update
	start := time.Now()
	res, err := s.Run(c.Context(), in.backend, set)
	return res, time.Since(start), err
}

// curveNames are the files of one sweep.
func curveNames(base string) []string {
	return []string{base + ".csv", base + ".json", base + ".png", base + ".svg"}
}

// curveFiles draws and encodes the named curves of res, or all if curves is nil. The time that
// this takes is Seconds.Write, all but the encoding of the JSON that says so.
func curveFiles(base, title string, in *inputs, res *pipeline.Result, curves []int, meta report.Meta, s report.Seconds) ([]report.File, error) {
	start := time.Now()
	fig := report.Figure{Title: title, Model: meta.Model.Name + " " + in.model.String(), Result: res, Curves: curves}
	png, err := fig.PNG()
	if err != nil {
		return nil, err
	}
	svg, err := fig.SVG()
	if err != nil {
		return nil, err
	}
	if curves != nil {
		res = res.Select(curves...)
	}
	csv := report.CurveCSV(res)
	s.Write = time.Since(start).Seconds()
	json, err := report.CurveJSON(meta, res, s)
	if err != nil {
		return nil, err
	}
	names := curveNames(base)
	return []report.File{{Name: names[0], Data: csv}, {Name: names[1], Data: json}, {Name: names[2], Data: png}, {Name: names[3], Data: svg}}, nil
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
	}
	return nil
}
