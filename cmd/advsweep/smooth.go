package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"

	"advsweep/report"
	"advsweep/smooth"

	"github.com/spf13/cobra"
)

// A smoothVerb is 'advsweep smooth' with its flags.
type smoothVerb struct {
	inputs    inputFlags
	backend   backendFlags
	images    rangeFlags
	smoothing smooth.Smoothing
	output    outputFlags
}

func newSmooth() *cobra.Command {
	v := &smoothVerb{}
	c := &cobra.Command{
		Use:   "smooth",
		Short: "Certify an L2 radius of each image by randomized smoothing",
		Long: `Randomized smoothing (Cohen, Rosenfeld and Kolter 2019, arXiv:1902.02918). The smoothed classifier says
what the network says most often of an image with normal noise of --sigma on each pixel. Attacks bound
robustness from above; this bounds that of the smoothed classifier from below:

  --n0 draws of noise choose the class, and --draws others count how often the network says it. p is the
  lower end of the exact one-sided interval of that chance (Clopper and Pearson). Below 1/2 the smoothed
  classifier abstains. Else it says the class of every image within R = sigma·Φ⁻¹(p) in L2.

It certifies the smoothed classifier, not the network itself. Of each image R is wrong with a chance of
at most --failure, alpha of the paper. Noise is not clipped. A network that was not trained with such
noise is often wrong under it, and is certified little. An image takes n0 + draws passes of the network.

Noise is keyed by seed, image, draw and pixel: the same counts come of any batch and number of threads.
After Ctrl-C the images that are finished are written, and the message says which flags do the rest.
Files: smooth.csv (a row for each image), .json, .png, .svg (certified accuracy against the radius).`,
		Example: `  advsweep smooth --n 20 --draws 10000
  advsweep smooth --model my.onnx --data cifar-10-batches-bin/ --sigma 0.5 --n 500 --out certified`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return v.run(c) },
	}
	s := &v.smoothing
	v.inputs.add(c)
	c.Flags().Float64Var(&s.Sigma, "sigma", 0.25, "standard deviation of the noise on each pixel; pixels are in [0, 1]")
	c.Flags().IntVar(&s.Choose, "n0", 100, "draws that choose the class of an image")
	c.Flags().IntVar(&s.Draws, "draws", 100_000, "draws that count it")
	c.Flags().Float64Var(&s.Alpha, "failure", 0.001, "chance, at most, that the radius of an image is wrong: alpha of the paper")
	v.images.add(c, 20)
	v.backend.add(c)
	addSeed(c, &s.Seed, "the noise")
	v.output.add(c)
	return c
}

// smoothFlags are the flags of the fields of a smooth.Smoothing.
var smoothFlags = map[string]string{"Sigma": "sigma", "Choose": "n0", "Draws": "draws", "Alpha": "failure"}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// smoothBase is what the names of the files begin with.
const smoothBase = "smooth"

func (v *smoothVerb) run(c *cobra.Command) error {
	var field *smooth.FieldError
	if err := v.smoothing.Validate(); errors.As(err, &field) {
		return usagef("--%s %w", smoothFlags[field.Field], field.Err)
	} else if err != nil {
		return err
	}
	if alpha := v.inputs.images.form.alpha; isNumber(alpha) {
		return usagef("--alpha %s: here it is of transparent pixels; alpha of the paper is --failure %s", alpha, alpha)
	}
	var folder *report.Folder
	in, err := open(c, &v.inputs, &v.backend, v.output.quiet, v.images.cut(c), func(*inputs) (err error) {
		folder, err = report.OpenFolder(v.output.out, report.CurveNames(smoothBase)...)
		return err
	})
	if err != nil {
		return err
	}
	defer in.backend.Close()
	res := &smooth.Result{Smoothing: v.smoothing, Classes: in.model.Outputs(), Asked: in.set.N()}
	p := newProgress(c.ErrOrStderr(), v.output.quiet, "smooth")
	defer p.finish()
	r := smooth.Runner{Backend: in.backend, Threads: v.backend.threads, Progress: p.update}
	stopped := r.Run(c.Context(), v.smoothing, in.set, func(i smooth.Image) error {
		res.Images = append(res.Images, i)
		return nil
	})
	p.finish()
	done := len(res.Images)
	if stopped != nil && (done == 0 || !errors.Is(stopped, context.Canceled)) {
		return stopped
	}
	set, err := in.set.Slice(0, done)
	if err != nil {
		return err
	}
	found := report.Certified{Meta: in.meta(set, v.smoothing.Seed), Layers: in.model.String(), Result: res}
	files, err := found.Files(smoothBase)
	if err != nil {
		return err
	}
	err = finish(c, v.output.quiet, folder, files, func(w *bytes.Buffer) error {
		switch v.output.format {
		case "csv":
			w.Write(files[0].Data)
			return nil
		case "json":
			w.Write(files[1].Data)
			return nil
		}
		s := v.smoothing
		w.WriteString(settings(found.Meta, found.Layers, in.rivals,
			fmt.Sprintf("noise    sigma %v; %d draws choose, %d count; chance of a failure %v; seed %d", s.Sigma, s.Choose, s.Draws, s.Alpha, s.Seed), ""))
		return found.Table(w)
	})
	if err == nil && stopped != nil {
		return fmt.Errorf("stopped: %d of %d images are certified and written to %s; --offset %d --n %d and another --out do the rest",
			done, res.Asked, v.output.out, in.set.First+done, res.Asked-done)
	}
	return err
}
