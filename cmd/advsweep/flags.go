package main

import (
	"errors"
	"slices"
	"strings"

	"advsweep/attack"
	"advsweep/backends"
	"advsweep/cpu"
	"advsweep/internal/words"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/rundir"

	"github.com/spf13/cobra"
)

// The flags that several verbs have, in groups, so that a flag has one name, one meaning and one
// default. A verb holds the groups that it has, and no other. A group has a method add, which gives
// a command the flags that set its fields, and checks what does not depend on other groups.

// inputFlags say which model to attack, and with which images: --model, --layers, --activation,
// --pixels, --output, --split and those of imageFlags.
type inputFlags struct {
	images     imageFlags
	model      string // a file or the name of an embedded model; "" is the default one
	layers     string // a file that describes the layers of model
	activation string // one of model.Activations, or "" for what reading takes for granted
	pixels     string // "LO,HI", or "" for a model that takes pixels as they are
	output     string // of an ONNX file that has several; "" for the only one
}

func (f *inputFlags) add(c *cobra.Command) {
	f.images.add(c)
	c.Flags().StringVar(&f.images.split, "split", "test", "which part of --data: test or train")
	c.Flags().StringVar(&f.model, "model", "", "`FILE` (ONNX, safetensors, NPZ), or mlp or cnn for an embedded one (default mlp)")
	c.Flags().StringVar(&f.layers, "layers", "", "JSON `FILE` with the layers of a safetensors or NPZ file; see model/README.md")
	c.Flags().StringVar(&f.activation, "activation", "", "`NAME` of the function between the layers of a file that holds tensors alone: "+words.Or(model.Activations())+"\n(default relu, with a note)")
	c.Flags().StringVar(&f.output, "output", "", "`NAME` of the output of an ONNX file that holds the logits, if it has several")
	c.Flags().StringVar(&f.pixels, "pixels", "", "`LO,HI`: the model takes pixels from LO to HI, as in 0,255 or -1,1, instead of those of the images, in [0, 1];\neps and bounds stay in units of the images")
}

func (f *inputFlags) check(c *cobra.Command) error {
	if err := f.images.check(c); err != nil {
		return err
	}
	switch {
	case f.images.split != "test" && f.images.split != "train":
		return usagef("--split %q, want test or train", f.images.split)
	case f.layers != "" && f.model == "":
		return usagef("--layers describes the file of --model, which is not given")
	case f.output != "" && f.model == "":
		return usagef("--output is of the file of --model, which is not given")
	case f.activation != "" && f.model == "":
		return usagef("--activation is of the file of --model, which is not given")
	case f.activation != "" && !slices.Contains(model.Activations(), f.activation):
		return usagef("--activation %q, want %s", f.activation, words.Or(model.Activations()))
	case f.images.data == "" && c.Flags().Changed("split"):
		return usagef("--split chooses a part of --data, which is not given")
	}
	return nil
}

func (f *inputFlags) loadModel() (*model.Model, error) {
	m, err := f.readModel()
	if err != nil {
		return nil, err
	}
	return m, record.Model{Pixels: f.pixels, Activation: f.activation}.Apply(m)
}

// readModel reads the model as it is in its file.
func (f *inputFlags) readModel() (*model.Model, error) {
	switch {
	case f.model == "":
		return model.Default()
	case slices.Contains(model.EmbeddedNames, f.model):
		return model.Embedded(f.model)
	}
	m, err := model.LoadAsking(f.model, f.layers, model.Ask{Output: f.output})
	var free *model.FreeSizeError
	if !errors.As(err, &free) {
		return m, err
	}
	stored, err := f.images.open()
	if err != nil {
		return nil, err
	}
	image, err := stored.Image(free.Channels)
	if err != nil {
		return nil, err
	}
	return model.LoadAsking(f.model, f.layers, model.Ask{Output: f.output, Image: image})
}

// backendFlags say what computes: --backend, --device, --precision, --math, --threads.
type backendFlags struct {
	name      string // of a backends.Entry, or "auto"
	device    string // as backends.Spec.Devices
	precision string
	math      string // one of backends.Maths
	threads   int    // of the CPU; 0 is one for each processor
}

func (f *backendFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.name, "backend", "auto", strings.Join(backends.Names(), ", ")+", or auto: "+autoTakes())
	c.Flags().StringVar(&f.device, "device", "0", backends.Titles(func(e backends.Entry) bool { return e.Accelerator })+" devices: a `LIST` as in 0,1, or all; see 'advsweep devices'")
	c.Flags().StringVar(&f.precision, "precision", "float32", precisionHelp())
	c.Flags().StringVar(&f.math, "math", backends.DefaultMath(), mathHelp())
	addThreads(c, &f.threads)
}

// mathHelp says what the values of --math do.
func mathHelp() string {
	return words.Or(backends.Maths()) + " (" + strings.TrimPrefix(backends.Titles(func(e backends.Entry) bool { return e.HasMath(lastMath()) }), "the ") +
		" only): fast takes Winograd's F(4×4, 3×3) for convolutions of 3×3;\nits rounding errors are up to four times as large, and its results are never mixed with others"
}

// lastMath is the value of --math that the fewest backends have.
func lastMath() string { all := backends.Maths(); return all[len(all)-1] }

func (f *backendFlags) check() error { return checkThreads(f.threads) }

// autoTakes says what --backend auto takes: "cuda if there is a device, else cpu".
func autoTakes() string {
	var tried []string
	for _, e := range backends.Auto() {
		tried = append(tried, e.Name)
	}
	return strings.Join(tried, " if there is a device, else ")
}

// precisionHelp lists the precisions, with the backends of one that not all have: "float32;
// float64, CPU only".
func precisionHelp() string {
	var list []string
	for _, p := range backends.Precisions() {
		has := func(e backends.Entry) bool { return e.Has(p) }
		text := p
		if where := backends.Titles(has); where != backends.Titles(func(backends.Entry) bool { return true }) {
			text += ", " + strings.TrimPrefix(where, "the ") + " only"
		}
		if p == "tf32" {
			text += ": faster, factors of 3 digits"
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

func addThreads(c *cobra.Command, threads *int) {
	c.Flags().IntVar(threads, "threads", 0, "CPU threads; 0 is one for each processor")
}

func checkThreads(threads int) error {
	if threads < 0 || threads > cpu.MaxThreads {
		return usagef("--threads %d, want 0 to %d", threads, cpu.MaxThreads)
	}
	return nil
}

// outputFlags say where results go, in which form, and what goes with them: --out, --format,
// --quiet.
type outputFlags struct {
	out    string // a folder
	format string // of standard output: "table", "json", "csv"
	quiet  bool
}

func (f *outputFlags) add(c *cobra.Command) {
	addFormat(c, &f.format)
	addQuiet(c, &f.quiet)
	c.Flags().StringVar(&f.out, "out", "advsweep-out", "`DIR` for the results; nothing of yours is overwritten")
}

func addQuiet(c *cobra.Command, quiet *bool) {
	c.Flags().BoolVarP(quiet, "quiet", "q", false, "no progress and no notes on standard error")
}

// addFormat adds --format, which is checked before the verb's own code begins.
func addFormat(c *cobra.Command, format *string) {
	c.Flags().StringVar(format, "format", "table", "what goes to standard output: table, json or csv")
	c.PreRunE = func(*cobra.Command, []string) error {
		switch *format {
		case "table", "json", "csv":
			return nil
		}
		return usagef("--format %q, want table, json or csv", *format)
	}
}

func addSeed(c *cobra.Command, seed *uint64, of string) {
	c.Flags().Uint64Var(seed, "seed", 1, "seed of "+of)
}

// attackFlags are the list of attacks, --attack, and the options of all of them: --steps, --step,
// --norm, --loss, --target, --restarts, --decay.
type attackFlags struct {
	list                     string
	steps                    int // 0 is each attack's default
	step, norm, loss, target string
	restarts                 int
	decay                    float64
}

func (f *attackFlags) add(c *cobra.Command, standard, usage string) {
	c.Flags().StringVar(&f.list, "attack", standard, usage)
	addSteps(c, &f.steps)
	c.Flags().StringVar(&f.step, "step", "", "size of a step: eps/k, a factor of it as in 2.5*eps/k, or in units of pixels, at most what they span\n(default "+defaultSizes()+")")
	c.Flags().StringVar(&f.norm, "norm", "linf", "of eps: "+attack.NormNames()+normTakers())
	c.Flags().StringVar(&f.loss, "loss", "ce", attack.LossNames()+"; not of "+ownLosses()+", which have their own"+defaultLosses())
	c.Flags().IntVar(&f.restarts, "restarts", 1, "of "+takers("restarts")+", from random points; an image counts by the worst")
	c.Flags().Float64Var(&f.decay, "decay", 1, "of the momentum of "+takers("decay"))
	c.Flags().StringVar(&f.target, "target", "none", "class to come near to, or least-likely, or all: every other class, one after the other, an image counting by\nthe worst; or none: away from the label")
}

// parse reads the attacks at the eps and bounds of ball. seed is that of random draws.
func (f *attackFlags) parse(c *cobra.Command, ball ballFlags, seed uint64) (pipeline.Sweep, error) {
	if f.restarts == 0 { // it would pass for the default
		return pipeline.Sweep{}, usagef("--restarts 0, want 1 to %d", attack.MaxRestarts)
	}
	t := pipeline.Text{Attack: f.list, Eps: ball.eps, Bounds: ball.bounds, Norm: f.norm, Step: f.step, Target: f.target,
		Steps: f.steps, Seed: seed}
	// Of what is not given an attack has its own default, which need not be the flag's.
	if c.Flags().Changed("loss") {
		t.Loss = f.loss
	}
	if c.Flags().Changed("restarts") {
		t.Restarts = f.restarts
	}
	if c.Flags().Changed("decay") {
		t.Decay = &f.decay
	}
	s, err := parseText(c, t)
	if err != nil || c.Flags().Changed("eps") {
		return s, err
	}
	for _, a := range s.Attacks {
		if a.Norm.Above() && !a.Composite() {
			return s, usagef("--eps: %s is in %v, where eps is %s, so that the default, %s, says nothing: give a list, as in %s", a.Name, a.Norm, a.Norm.Axis(), ball.eps, exampleEps[a.Norm])
		}
	}
	return s, nil
}

// exampleEps are lists of eps in norms for which the default of --eps is of no use: images of MNIST
// change within them.
var exampleEps = map[attack.Norm]string{attack.L1: "0:40:2", attack.L0: "0:60:3"}

// parseText reads t, whose fields are the values of the flags with their names.
func parseText(c *cobra.Command, t pipeline.Text) (pipeline.Sweep, error) {
	if t.Steps == 0 && c.Flags().Changed("steps") { // it would pass for the default
		return pipeline.Sweep{}, usagef("--steps 0, want 1 to %d", attack.MostSteps)
	}
	s, err := t.Sweep()
	var field *pipeline.FieldError
	if errors.As(err, &field) {
		err = usagef("--%w", err)
	}
	return s, err
}

func addSteps(c *cobra.Command, steps *int) {
	c.Flags().IntVar(steps, "steps", 0, "K of iterated attacks (default "+defaultSteps()+")")
}

// ballFlags say how far pixels may move: --eps, --bounds.
type ballFlags struct {
	eps    string // a list
	bounds string // of all pixels: "LO,HI" or "none"
}

// What --eps is where it is a list of some length.
const epsStandard, epsList = "0:0.5:0.025", "`LIST` as in 0,8/255,0.1:0.3:0.05 (lo:hi:step); pixels are in [0, 1]"

func (f *ballFlags) add(c *cobra.Command, standard, usage string) {
	c.Flags().StringVar(&f.eps, "eps", standard, usage)
	c.Flags().StringVar(&f.bounds, "bounds", "none", "clip to `LO,HI` and the eps-ball after every step; or none")
}

// rangeFlags say which of the images to take: --n, --offset.
type rangeFlags struct {
	n      int // how many; the default gives way where there are fewer
	offset int // index of the first
}

func (f *rangeFlags) add(c *cobra.Command, standard int) {
	c.Flags().IntVar(&f.n, "n", standard, "number of images")
	c.Flags().IntVar(&f.offset, "offset", 0, "index of the first image")
}

// cut takes the images that the flags choose out of those of an inputs. It is a check for open.
func (f *rangeFlags) cut(c *cobra.Command) func(*inputs) error {
	return func(in *inputs) (err error) {
		set := in.set
		if f.n < 1 {
			return usagef("--n %d, want at least 1", f.n)
		}
		if f.offset < 0 || f.offset >= set.N() {
			return usagef("--offset %d, but there are %d images (0 to %d)", f.offset, set.N(), set.N()-1)
		}
		n := f.n
		if left := set.N() - f.offset; n > left {
			if c.Flags().Changed("n") {
				return usagef("--n %d from --offset %d, but only %d of %d images are left there", n, f.offset, left, set.N())
			}
			n = left
		}
		in.set, err = set.Slice(f.offset, n)
		return err
	}
}

// moreFlags are what a sweep may find out beside counts at single eps: --exact, --rounded.
type moreFlags struct {
	exact   bool // the curve at every eps; left alone it gives way where it cannot be
	rounded bool // what becomes of pixels that are rounded to 8 bits
}

func (f *moreFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.exact, "exact", true, "FGSM at every eps up to the largest, on "+backends.Titles(func(e backends.Entry) bool { return e.Exact })+", by itself for an MLP alone; false: at --eps only")
	c.Flags().BoolVar(&f.rounded, "rounded", true, "ask the model also of the pixels rounded to 8 bits within the ball")
}

// ask adds to s what is asked for beside counts. It returns an error if --exact insists on what s
// does not have; attacks and eps are what s was read from.
func (f *moreFlags) ask(c *cobra.Command, s *pipeline.Sweep, attacks, eps string) error {
	s.Exact, s.Rounded = f.exact && rundir.CanBeExact(*s), f.rounded
	switch {
	case s.Exact || !insists(c):
		return nil
	case !slices.ContainsFunc(s.Attacks, pipeline.Rays):
		return usagef("--exact with --attack %s: only the curve of fgsm can be exact; add fgsm or leave --exact out", attacks)
	}
	return usagef("--exact with --eps %s: the curve ends at the largest eps, which is 0; give a larger one or leave --exact out", eps)
}

// insists reports whether --exact stands on the command line: whoever writes it wants it.
func insists(c *cobra.Command) bool {
	exact := c.Flags().Lookup("exact")
	return exact != nil && exact.Changed && exact.Value.String() == "true"
}

// given returns an error if a flag was given but empty, as a script with an unset variable gives
// it: falling back to what is embedded, or leaving out a gate, would answer another question than
// the one asked.
func given(c *cobra.Command) error {
	for _, name := range []string{"model", "layers", "activation", "pixels", "output", "images", "labels", "data", "split", "out", "shard", "save-images", "min-accuracy", "attack", "far", "norm", "loss", "step", "target",
		"images-key", "labels-key", "layout", "flat", "alpha", "resize", "crop", "only", "files"} {
		if flag := c.Flags().Lookup(name); flag != nil && flag.Changed && flag.Value.String() == "" {
			return usagef("--%s is empty", name)
		}
	}
	return nil
}
