package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"
	"advsweep/rundir"

	"github.com/spf13/cobra"
)

// A sweepVerb is 'advsweep sweep' with its flags.
type sweepVerb struct {
	*program
	inputs  inputFlags
	attack  attackFlags
	ball    ballFlags
	images  rangeFlags
	more    moreFlags
	backend backendFlags
	output  outputFlags
	shard   string // as in "3/16"
	save    string // an eps, or ""
	certify string // a certify.Method, or ""
	seed    uint64
}

func newSweep(p *program) *cobra.Command { return (&sweepVerb{program: p}).command() }

func (v *sweepVerb) command() *cobra.Command {
	c := &cobra.Command{
		Use:   "sweep",
		Short: "Accuracy as a function of eps: curve.csv, .json, .png, .svg, images.csv, classes.csv",
		Long: `Attack every image at every eps and report what is still classified correctly.

curve.csv has a row for each attack and eps: attack,steps,eps,n,correct,accuracy,
ci_low,ci_high (95 % Wilson interval),zero_gradient (images that are right because the
attack could not move them: their gradient is zero in every pixel),bounds_low,
bounds_high (empty without bounds),norm,fooled (right as they are, wrong now),
success_rate (of those that are right as they are),success_low,success_high,within
(right at every eps up to this one),rounded_correct (right once pixels are rounded to
8 bits within the ball),mean_linf,mean_l2,mean_l0 (of the perturbation),reached (given
the attack's target, with --target all at least one; empty without),passes (up or down
the network, that the attack asks for an image; a gradient is two). curve.json has the
same rows and everything needed to repeat the run. images.csv has a row for each image
under each attack, classes.csv for each class at each eps with what it is taken for, and
with --target all which classes its images reach.

On the CPU the curve of FGSM on an MLP of Linear and ReLU is also exact: from eps 0 to
the largest of --eps each image is followed through every linear region of the model.
curve.json then has each jump of the curve, and images.csv the intervals of each image.
With --exact so it is on other networks of piecewise linear layers: convolutions, pools,
ReLU and its like, sums, constants. That takes some five times as long as the grid.

An attack of minimum norm, such as fab-t, looks for the nearest misread image of each, and
its curve is known at every eps too: eps_star of images.csv is the distance then. The
attacks autoattack and quick are several, each on the images that are still right.

With --certify each image is also proven to be right up to an eps in linf, as far as the
method can tell: certified.csv has, for each eps, how many are proven, how many no attack
of the run fools, and how many are unknown; certified_images.csv the eps of each image.

What is done is safe in --out at once. After Ctrl-C, which finishes the chunk in hand, or
a kill the same command goes on, and its files are the same, byte for byte.

` + saveHelp,
		Example: `  advsweep sweep
  advsweep sweep --attack fgsm,bim,noise --steps 5 --eps 0:0.5:0.025
  advsweep sweep --attack worst --bounds 0,1 --eps 0,4/255,8/255,16/255
  advsweep sweep --attack autoattack --bounds 0,1 --eps 0.1,0.3
  advsweep sweep --attack fab-t,ddn --norm l2 --eps 0:3:0.5
  advsweep sweep --attack pgd:restarts=5,mifgsm --norm l2 --eps 0:3:0.5
  advsweep sweep --attack pgd --bounds 0,1 --save-images 8/255
  advsweep sweep --attack quick --bounds 0,1 --eps 0:0.05:0.01 --certify crown
  advsweep sweep --model my.onnx --data mnist/ --n 10000 --format csv`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return v.run(c) },
	}
	v.inputs.add(c)
	v.attack.add(c, "fgsm", "`LIST` of "+strings.Join(attack.Names, ", ")+"; options as in pgd:steps=20:restarts=5"+madeOf()+otherNames)
	v.ball.add(c, epsStandard, epsList)
	v.more.add(c)
	v.images.add(c, 1000)
	c.Flags().StringVar(&v.shard, "shard", "", "do part `I/N` of the work only, I from 1; see 'advsweep merge'")
	c.Flags().StringVar(&v.save, "save-images", "", "write the perturbed images at `EPS`, which need not be of --eps: NPZ and PNG")
	addCertify(c, &v.certify)
	v.backend.add(c)
	addSeed(c, &v.seed, "random draws")
	v.output.add(c)
	return c
}

func (v *sweepVerb) run(c *cobra.Command) error {
	shard, err := parseShard(v.shard)
	if err != nil {
		return err
	}
	saveEps, saves, err := parseSave(v.save, v.shard)
	if err != nil {
		return err
	}
	s, err := v.asked(c)
	if err != nil {
		return err
	}
	asked := s
	warnShort(c.ErrOrStderr(), s)
	in, err := open(c, &v.inputs, &v.backend, v.output.quiet, v.images.cut(c))
	if err != nil {
		return err
	}
	defer in.backend.Close()
	if s, err = in.fit(c, in.leaveOut(c.ErrOrStderr(), s, v.output.quiet)); err != nil {
		return err
	}
	if !v.output.quiet && v.more.exact && !insists(c) && !s.Exact {
		in.offerExact(c.ErrOrStderr(), asked)
	}
	s.Certify = v.certify
	if s.Prover, err = in.prover(v.certify); err != nil {
		return err
	}
	in.warnUnits(c.ErrOrStderr(), s, v.ball.eps)
	if err := in.warnClean(c.Context(), c.ErrOrStderr()); err != nil {
		return err
	}
	m := in.manifest(s, v.seed)
	var saved [][]string // of each attack
	if saves {
		saved = report.SavedNames(s.Attacks, in.set)
	}
	folder, err := report.OpenRun(v.output.out, &m, slices.Concat(saved...)...)
	if err != nil {
		return err
	}
	v.warnBackend(c.ErrOrStderr(), &m)
	res, took, err := v.compute(c, in, &m, s, shard)
	if res == nil || err != nil {
		return err
	}
	if err := in.confirm(v.hard, c.ErrOrStderr(), s, res); err != nil {
		return err
	}
	start := time.Now()
	files, err := report.Files(&m, res)
	if err != nil {
		return err
	}
	took.write = time.Since(start)
	run, err := in.runFile(v.backend.threads, v.seed, took)
	if err != nil {
		return err
	}
	err = finish(c, v.output.quiet, folder, append(files, run), func(w *bytes.Buffer) error {
		return printCurves(w, v.output.format, v.ball.eps, &m, in.backend.Info().Device, in.rivals, res, files)
	})
	if err != nil || !saves {
		return err
	}
	return v.saveImages(c, in, folder, s, res, saved, saveEps)
}

// warnBackend says on w, also where no notes are wanted, that the folder holds a run of another
// arithmetic than m. If it is finished its files are replaced; their last bits may change.
func (v *sweepVerb) warnBackend(w io.Writer, m *record.Manifest) {
	old, err := rundir.Begun(v.output.out)
	if err != nil || old.Planned() == m.Planned() {
		return
	}
	fmt.Fprintf(w, "advsweep: %s holds a run by %s, %s; this one is by %s, %s, whose last bits may differ", v.output.out, old.Backend, old.Arithmetic, m.Backend, m.Arithmetic)
	if old.Backend != m.Backend {
		fmt.Fprintf(w, ": --backend %s keeps to the other", old.Backend)
	}
	fmt.Fprintln(w)
}

// asked returns the sweep that the flags ask for, which no backend has seen yet.
func (v *sweepVerb) asked(c *cobra.Command) (pipeline.Sweep, error) {
	s, err := v.attack.parse(c, v.ball, v.seed)
	if err != nil {
		return s, err
	}
	return s, v.more.ask(c, &s, v.attack.list, v.ball.eps)
}

// fit returns s, which was asked for, as the command computes it on in. 'advsweep bench' times it.
func (in *inputs) fit(c *cobra.Command, s pipeline.Sweep) (pipeline.Sweep, error) {
	exact := s.Exact && in.follows(c)
	if exact {
		deep, err := in.tooDeep(c.Context(), s)
		if err != nil {
			return s, err
		}
		if deep != nil {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: the model is too deep for an exact curve: the ray of image %d is not decided after %d points; the curve of fgsm is at --eps only\n", deep.Image, deep.Points)
			exact = false
		}
	}
	s.Exact = exact
	s, err := rundir.Fit(s, in.model, in.backend, in.set)
	s.Exact = exact
	return s, err
}

// follows reports whether the backend follows rays for less than a grid costs, or must because
// --exact insists: then pipeline says why it cannot.
func (in *inputs) follows(c *cobra.Command) bool {
	return insists(c) || pipeline.ExactPays(in.backend)
}

// probed is how many images tell whether a model is too deep for an exact curve. A ray of a deep
// model is deep for nearly every image.
const probed = 4

// tooDeep walks the first images of s, and returns how a ray was too deep, or nil. The same images
// give the same answer, so a sweep that is taken up again, or a shard of it, is not another one. It
// returns no other error of a walk, for the sweep will find it.
func (in *inputs) tooDeep(ctx context.Context, s pipeline.Sweep) (*backend.DeepError, error) {
	walker, ok := pipeline.AsExacter(in.backend)
	if !ok || walker.ExactPays() {
		return nil, nil
	}
	some := first(in.set, probed)
	if err := walker.Load(ctx, some.First, some.Images, some.Labels); err != nil {
		return nil, err
	}
	var deep *backend.DeepError
	if err := walker.Exact(ctx, 0, s.Eps[len(s.Eps)-1], s.Bounds, make([]attack.Walk, some.N())); errors.As(err, &deep) {
		return deep, nil
	}
	return nil, ctx.Err()
}

// offerExact says on w that s could be exact for more time, if so.
func (in *inputs) offerExact(w io.Writer, s pipeline.Sweep) {
	if _, ok := pipeline.AsExacter(in.backend); ok && s.Exact {
		fmt.Fprintln(w, "advsweep: the curve of fgsm is at --eps only: --exact has it at every eps, for some five times as long")
	}
}

// A timing is how long a run took: to compute, of that to append to its log, and to draw and encode
// its files.
type timing struct{ compute, appending, write time.Duration }

// runFile says where and how fast in ran, and what was spent by parts if its backend counts.
func (in *inputs) runFile(threads int, seed uint64, took timing) (report.File, error) {
	if threads == 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	var parts *backend.Spent
	if spent, ok := pipeline.SpentBy(in.backend); ok {
		spent.Add(backend.Writing, (took.appending + took.write).Seconds(), 0)
		parts = &spent
	}
	s := record.Seconds{Load: in.load.Seconds(), Compute: took.compute.Seconds(), Write: took.write.Seconds()}
	data, err := record.RunJSON(in.meta(in.set, seed), threads, s, parts, in.model.Notes...)
	return report.File{Name: report.RunName, Data: data}, err
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
				curve.Attack.Label(), disagreed, checked, report.ImagesName)
		}
	}
}

// printCurves writes res to w in a format of --format. eps is the list as it was given, or "" for
// what m says. files are those of report.Files; device is empty, and rivals are none, where
// nothing was computed.
func printCurves(w *bytes.Buffer, format, eps string, m *record.Manifest, device string, rivals []string, res *pipeline.Result, files []report.File) error {
	switch format {
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
	if eps == "" {
		eps = fmt.Sprintf("%d from %v to %v", len(m.Eps), m.Eps[0], m.Eps[len(m.Eps)-1])
	}
	meta := m.Meta
	meta.Device = device
	w.WriteString(settings(meta, m.Layers, rivals, "attacks  "+strings.Join(names, "; "), fmt.Sprintf("eps      %s, bounds %s, seed %d", eps, m.Bounds, m.Seed), ""))
	return report.CurveTable(w, res)
}

// finish writes files to folder and then what show makes to standard output: files are safe before
// a closed pipe can end the program, and a full disk does not cost the output.
func finish(c *cobra.Command, quiet bool, folder *report.Folder, files []report.File, show func(w *bytes.Buffer) error) error {
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
	if !quiet {
		for _, file := range files {
			fmt.Fprintf(c.ErrOrStderr(), "wrote %s\n", folder.Path(file.Name))
		}
		for _, name := range folder.Removed() {
			fmt.Fprintf(c.ErrOrStderr(), "removed %s, which was of an earlier run\n", folder.Path(name))
		}
	}
	return nil
}
