package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"

	"github.com/spf13/cobra"
)

// A demoVerb is 'advsweep demo' with its flags.
type demoVerb struct {
	inputs   inputFlags
	ball     ballFlags
	images   rangeFlags
	more     moreFlags
	backend  backendFlags
	output   outputFlags
	steps    int
	class    int    // of the one image
	imageEps string // that it is attacked at
	seed     uint64
}

func newDemo() *cobra.Command {
	v := &demoVerb{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "The whole tour: two attacked images and two accuracy curves",
		Long: `Run four parts and write their pictures, plots and data:

  1  FGSM on a correctly classified image of class 7: 1-fgsm-image.png, .json
  2  FGSM, accuracy against eps:                      2-fgsm-curve.png, .svg, .csv, .json
  3  the same image with BIM, k = 5 steps of eps/k:   3-bim-image.png, .json
  4  BIM, accuracy against eps:                       4-bim-curve.png, .svg, .csv, .json

and both curves together with a control of random ±eps noise: curve.png, .svg, .csv, .json.
On the CPU the curve of FGSM is exact at every eps, not only at those of --eps, and images.csv says
of each image where it is right: see 'advsweep sweep --help'.`,
		Example: `  advsweep demo
  advsweep demo --bounds 0,1 --class 3 --out clipped
  advsweep demo --model my.safetensors --data mnist/`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return v.run(c) },
	}
	v.inputs.add(c)
	c.Flags().IntVar(&v.class, "class", 7, "class of the image in parts 1 and 3")
	c.Flags().StringVar(&v.imageEps, "image-eps", "0.3", "eps of parts 1 and 3")
	addSteps(c, &v.steps)
	v.ball.add(c, epsStandard, epsList)
	v.more.add(c)
	v.images.add(c, 1000)
	v.backend.add(c)
	addSeed(c, &v.seed, "the noise control")
	v.output.add(c)
	return c
}

func (v *demoVerb) run(c *cobra.Command) error {
	s, err := parseText(c, pipeline.Text{Attack: "fgsm,bim,noise", Eps: v.ball.eps, Bounds: v.ball.bounds, Steps: v.steps, Seed: v.seed})
	if err != nil {
		return err
	}
	fgsm, bim := s.Attacks[0], s.Attacks[1]
	if err := v.more.ask(c, &s, "fgsm,bim,noise", v.ball.eps); err != nil {
		return err
	}
	one, err := attack.ParseEps(v.imageEps)
	if err != nil {
		return asUsage("image-eps", err)
	}
	if len(one) != 1 {
		return usagef("--image-eps %q holds %d values, want one", v.imageEps, len(one))
	}
	in, err := open(c, &v.inputs, &v.backend, v.output.quiet, v.images.cut(c), func(in *inputs) error { return in.canPick(c, v.class, 0) })
	if err != nil {
		return err
	}
	defer in.backend.Close()
	set := in.set
	s.Exact = s.Exact && in.follows(c)
	names := report.CurveNames("curve")
	for _, base := range []string{"1-fgsm-image", "3-bim-image"} {
		names = append(names, base+".json", base+".png")
	}
	names = append(append(names, report.CurveNames("2-fgsm-curve")...), report.CurveNames("4-bim-curve")...)
	names = append(names, report.ImagesName, report.ClassesName, report.RunName)
	folder, err := report.OpenFolder(v.output.out, names...)
	if err != nil {
		return err
	}

	// Parts 1 and 3: the image.
	start := time.Now()
	picked, err := in.pick(c, v.class, 0)
	if err != nil {
		return err
	}
	image := func(base string, a attack.Attack) (*pipeline.Example, []report.File, error) {
		ex, err := pipeline.Craft(c.Context(), in.backend, picked, a, one[0], s.Bounds)
		if err != nil {
			return nil, nil, err
		}
		files, err := report.ExampleFiles(base, ex, in.meta(picked, v.seed), record.Seconds{Load: in.load.Seconds(), Compute: time.Since(start).Seconds()})
		start = time.Now()
		return ex, files, err
	}
	part1, files1, err := image("1-fgsm-image", fgsm)
	if err != nil {
		return err
	}
	part3, files3, err := image("3-bim-image", bim)
	if err != nil {
		return err
	}

	// Parts 2 and 4: the curves, and both together.
	res, compute, err := in.sweep(c, v.output.quiet, s)
	if err != nil {
		return err
	}
	m := in.manifest(s, v.seed)
	written := time.Now()
	drawn, err := report.CurveFiles(&m, res,
		report.Drawing{Base: "2-fgsm-curve", Title: "FGSM: accuracy against eps", Curves: []int{0, 2}},
		report.Drawing{Base: "4-bim-curve", Title: fmt.Sprintf("%s: accuracy against eps", bim.Label()), Curves: []int{1, 2}},
		report.Drawing{Base: "curve", Title: fmt.Sprintf("FGSM and %s: accuracy against eps", bim.Label())})
	if err != nil {
		return err
	}
	files2, files4, both := drawn[0], drawn[1], drawn[2]

	var files []report.File
	for _, part := range [][]report.File{files1, files2, files3, files4, both} {
		files = append(files, part...)
	}
	files = append(files, report.ListFiles(&m, res)...)
	run, err := in.runFile(v.backend.threads, v.seed, timing{compute: compute, write: time.Since(written)})
	if err != nil {
		return err
	}
	files = append(files, run)
	return finish(c, v.output.quiet, folder, files, func(w *bytes.Buffer) error {
		switch v.output.format {
		case "csv":
			w.Write(both[0].Data)
			return nil
		case "json":
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			enc.SetIndent("", "  ")
			return enc.Encode(map[string]json.RawMessage{"part1": files1[0].Data, "part2": files2[1].Data, "part3": files3[0].Data, "part4": files4[1].Data})
		}
		w.WriteString(settings(in.meta(set, v.seed), m.Layers, in.rivals, fmt.Sprintf("eps      %s for the curves, %s for the image; bounds %s; seed %d", v.ball.eps, v.imageEps, s.Bounds, v.seed), ""))
		w.WriteString("Part 1: one image, FGSM\n\n")
		if err := report.PredictionTable(w, part1); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nPart 3: the same image, %s\n\n", bim.Label())
		if err := report.PredictionTable(w, part3); err != nil {
			return err
		}
		w.WriteString("\nParts 2 and 4: accuracy against eps\n\n")
		return report.CurveTable(w, res)
	})
}

// sweep runs s with progress on standard error, in memory, and returns how long it took.
func (in *inputs) sweep(c *cobra.Command, quiet bool, s pipeline.Sweep) (*pipeline.Result, time.Duration, error) {
	p := newProgress(c.ErrOrStderr(), quiet, "sweep")
	defer p.finish()
	s.Progress = p.update
	start := time.Now()
	res, err := s.Run(c.Context(), in.backend, in.set)
	took := time.Since(start)
	if err == nil {
		p.finish()
		warn(c.ErrOrStderr(), res)
	}
	return res, took, err
}
