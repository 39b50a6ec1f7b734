package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/outdir"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"

	"github.com/spf13/cobra"
)

func newSweep() *cobra.Command {
	var f flags
	var shard, save string
	c := &cobra.Command{
		Use:   "sweep",
		Short: "Accuracy as a function of eps: curve.csv, .json, .png, .svg, images.csv, classes.csv",
		Long: `Attack every image at every eps and report what is still classified correctly.

curve.csv has a row for each attack and eps: attack,steps,eps,n,correct,accuracy,
ci_low,ci_high (95 % Wilson interval),zero_gradient (images that the attack could
not move because their gradient is zero in every pixel),bounds_low,bounds_high
(empty without bounds),norm,fooled (right as they are, wrong now),success_rate (of
those that are right as they are),success_low,success_high,within (right at every
eps up to this one),rounded_correct (right once pixels are rounded to 8 bits within
the ball),mean_linf,mean_l2,mean_l0 (of the perturbation). curve.json has the same
rows and everything needed to repeat the run. images.csv has a row for each image
under each attack, classes.csv for each class at each eps with what it is taken for.

On the CPU the curve of FGSM on a stack of Linear and ReLU is also exact: from eps 0 to
the largest of --eps each image is followed through every linear region of the model.
curve.json then has each jump of the curve, and images.csv the intervals of each image.

What is done is safe in --out at once. After Ctrl-C, which finishes the chunk in hand, or
a kill the same command goes on, and its files are the same, byte for byte.

` + saveHelp,
		Example: `  advsweep sweep
  advsweep sweep --attack fgsm,bim,noise --steps 5 --eps 0:0.5:0.025
  advsweep sweep --attack worst --bounds 0,1 --eps 0,4/255,8/255,16/255
  advsweep sweep --attack pgd:restarts=5,mifgsm --norm l2 --eps 0:3:0.5
  advsweep sweep --attack pgd --bounds 0,1 --save-images 8/255
  advsweep sweep --model my.onnx --data mnist/ --n 10000 --format csv`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.sweep(c, shard, save) },
	}
	f.addInputs(c)
	f.addAttacks(c, "fgsm", "`LIST` of "+strings.Join(attack.Names, ", ")+"; options as in pgd:steps=20:restarts=5")
	f.addEpsList(c)
	f.addExact(c)
	f.addRounded(c)
	f.addBounds(c)
	f.addRange(c)
	c.Flags().StringVar(&shard, "shard", "", "do part `I/N` of the work only, I from 1; see 'advsweep merge'")
	c.Flags().StringVar(&save, "save-images", "", "write the perturbed images at `EPS`, which need not be of --eps: NPZ and PNG")
	f.addBackend(c)
	f.addSeed(c, "random draws")
	f.addOutput(c)
	return c
}

func (f *flags) sweep(c *cobra.Command, part, save string) error {
	shard, err := parseShard(part)
	if err != nil {
		return err
	}
	saveEps, saves, err := parseSave(save, part)
	if err != nil {
		return err
	}
	s, err := f.parseSweep(c, f.attack)
	if err != nil {
		return err
	}
	f.warnShort(c, s)
	if s.Exact, err = f.canBeExact(c, s); err != nil {
		return err
	}
	in, err := f.openRange(c)
	if err != nil {
		return err
	}
	defer in.backend.Close()
	s.Exact = s.Exact && f.follows(c, in)
	lo, hi := in.set.Range()
	// A backend finds that too, but when the run is begun: then it could never be finished, and
	// would be in the way of the right one.
	if b := s.Bounds; !b.None() && (float32(lo) < float32(b.Lo) || float32(hi) > float32(b.Hi)) {
		return fmt.Errorf("pixels of %s reach from %.4g to %.4g, outside the bounds %s", in.set.Source.Images.Name, lo, hi, b)
	}
	// else levels of 1/255 are not those of the images
	s.Outcomes, s.Rounded = true, f.rounded && lo >= 0 && hi <= 1
	s.ChunkWork = pipeline.ChunkWork(in.model.MACs())
	folder, err := f.openSweepFolder(in.manifest(s, f.seed), saves, dataset.HasPNG(in.set.Images.Shape()))
	if err != nil {
		return err
	}
	res, m, compute, err := f.runSweep(c, in, s, shard)
	if res == nil || err != nil {
		return err
	}
	start := time.Now()
	files, err := sweepFiles(&m, res)
	if err != nil {
		return err
	}
	run, err := in.runFile(f, record.Seconds{Load: in.load.Seconds(), Compute: compute.Seconds(), Write: time.Since(start).Seconds()})
	if err != nil {
		return err
	}
	err = f.finish(c, folder, append(files, run), func(w *bytes.Buffer) error { return f.printCurves(w, &m, in.backend.Info().Device, res, files) })
	if err != nil || !saves {
		return err
	}
	return f.saveImages(c, in, folder, s, res, saveEps)
}

// The files of a sweep beside its plots and their data.
const (
	imagesName  = "images.csv"
	classesName = "classes.csv"
	runName     = "run.json"
)

// sweepNames are the files that follow from what a sweep found, and so are the same however it was
// run.
var sweepNames = append(curveNames("curve"), imagesName, classesName)

// sweepFiles makes the files of sweepNames.
func sweepFiles(m *record.Manifest, res *pipeline.Result) ([]outdir.File, error) {
	drawn, err := curveFiles(m, res, drawing{"curve", "Accuracy against eps", nil})
	if err != nil {
		return nil, err
	}
	return append(drawn[0], outdir.File{Name: imagesName, Data: report.ImagesCSV(res, m.Precision)}, outdir.File{Name: classesName, Data: report.ClassesCSV(res)}), nil
}

// runFile says where and how fast in ran.
func (in *inputs) runFile(f *flags, s record.Seconds) (outdir.File, error) {
	threads := f.threads
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	data, err := record.RunJSON(in.meta(in.set, f.seed), threads, s)
	return outdir.File{Name: runName, Data: data}, err
}

// warn says on standard error, also where no notes are wanted, that an exact curve did not pass its
// check.
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

// curveFiles draws and encodes drawings of res, all at once, and returns the files of each.
func curveFiles(m *record.Manifest, res *pipeline.Result, drawings ...drawing) ([][]outdir.File, error) {
	pngs, svgs := make([][]byte, len(drawings)), make([][]byte, len(drawings))
	errs := make([]error, 2*len(drawings))
	var wg sync.WaitGroup
	for i, d := range drawings {
		fig := report.Figure{Title: d.title, Model: m.Model.Name + " " + m.Layers, Result: res, Curves: d.curves}
		wg.Go(func() { pngs[i], errs[2*i] = fig.PNG() })
		wg.Go(func() { svgs[i], errs[2*i+1] = fig.SVG() })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	all := make([][]outdir.File, len(drawings))
	for i, d := range drawings {
		part := res
		if d.curves != nil {
			part = res.Select(d.curves...)
		}
		json, err := report.CurveJSON(m.Meta, part)
		if err != nil {
			return nil, err
		}
		names := curveNames(d.base)
		all[i] = []outdir.File{{Name: names[0], Data: report.CurveCSV(part)}, {Name: names[1], Data: json}, {Name: names[2], Data: pngs[i]}, {Name: names[3], Data: svgs[i]}}
	}
	return all, nil
}

// printCurves writes res to standard output in the chosen format. files are those of curveFiles;
// device is empty where nothing was computed.
func (f *flags) printCurves(w *bytes.Buffer, m *record.Manifest, device string, res *pipeline.Result, files []outdir.File) error {
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
	eps := f.eps
	if eps == "" {
		eps = fmt.Sprintf("%d from %v to %v", len(m.Eps), m.Eps[0], m.Eps[len(m.Eps)-1])
	}
	meta := m.Meta
	meta.Device = device
	w.WriteString(settings(meta, m.Layers, "attacks  "+strings.Join(names, "; "), fmt.Sprintf("eps      %s, bounds %s, seed %d", eps, m.Bounds, m.Seed), ""))
	return report.CurveTable(w, res)
}

// finish writes files to folder and then what show makes to standard output: files are safe before
// a closed pipe can end the program, and a full disk does not cost the output.
func (f *flags) finish(c *cobra.Command, folder *outdir.Folder, files []outdir.File, show func(w *bytes.Buffer) error) error {
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
