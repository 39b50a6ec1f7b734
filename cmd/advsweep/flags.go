package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"advsweep/attack"
	"advsweep/backends"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"

	"github.com/spf13/cobra"
)

// flags holds the value of every flag that more than one verb has, so that a flag
// has one name, one meaning and one default.
type flags struct {
	model, layers               string
	images, labels, data, split string
	backend, device, precision  string
	threads                     int
	out                         string
	seed                        uint64
	quiet                       bool
	format                      string
	steps                       int
	bounds                      string
	attack, eps                 string
	norm, loss, step, target    string
	restarts                    int
	decay                       float64
	exact, rounded              bool
	n, offset                   int
}

// addInputs adds what a verb works on: a model, and images of either split.
func (f *flags) addInputs(c *cobra.Command) {
	f.addData(c)
	c.Flags().StringVar(&f.split, "split", "test", "which part of --data: test or train")
	c.Flags().StringVar(&f.model, "model", "", "`FILE` (ONNX, safetensors, NPZ), or mlp or cnn for an embedded one (default mlp)")
	c.Flags().StringVar(&f.layers, "layers", "", "JSON `FILE` with the layers of a safetensors or NPZ file; see model/README.md")
}

func (f *flags) addData(c *cobra.Command) {
	c.Flags().StringVar(&f.images, "images", "", "IDX (plain or gzip) or NPY `FILE` of images, with --labels")
	c.Flags().StringVar(&f.labels, "labels", "", "IDX (plain or gzip) or NPY `FILE` of labels")
	c.Flags().StringVar(&f.data, "data", "", "`DIR` with the MNIST or CIFAR-10 files under their usual names or with PNG files and labels.csv, or FILE.npz")
	c.MarkFlagsRequiredTogether("images", "labels")
	c.MarkFlagsMutuallyExclusive("data", "images")
}

func (f *flags) addBackend(c *cobra.Command) {
	c.Flags().StringVar(&f.backend, "backend", "auto", strings.Join(backends.Names(), ", ")+", or auto: cuda if there is a device, else cpu")
	c.Flags().StringVar(&f.device, "device", "0", "CUDA devices: a `LIST` as in 0,1, or all; see 'advsweep devices'")
	c.Flags().StringVar(&f.precision, "precision", "float32", "float32; float64, CPU only; tf32, CUDA only: faster, factors of 3 digits")
	f.addThreads(c)
}

func (f *flags) addThreads(c *cobra.Command) {
	c.Flags().IntVar(&f.threads, "threads", 0, "CPU threads; 0 is one for each processor")
}

// addOutput adds where results go, in which form, and what goes with them.
func (f *flags) addOutput(c *cobra.Command) {
	f.addFormat(c)
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no notes on standard error")
	c.Flags().StringVar(&f.out, "out", "advsweep-out", "`DIR` for the results; nothing of yours is overwritten")
}

func (f *flags) addSeed(c *cobra.Command, of string) {
	c.Flags().Uint64Var(&f.seed, "seed", 1, "seed of "+of)
}

func (f *flags) addFormat(c *cobra.Command) {
	c.Flags().StringVar(&f.format, "format", "table", "what goes to standard output: table, json or csv")
	c.PreRunE = func(*cobra.Command, []string) error {
		switch f.format {
		case "table", "json", "csv":
			return nil
		}
		return usagef("--format %q, want table, json or csv", f.format)
	}
}

// addAttacks adds the list of attacks and the options of all of them.
func (f *flags) addAttacks(c *cobra.Command, standard, usage string) {
	c.Flags().StringVar(&f.attack, "attack", standard, usage)
	f.addSteps(c)
	c.Flags().StringVar(&f.step, "step", "", "size of a step: eps/k, a factor of it as in 2.5*eps/k, or in units of pixels\n(default "+defaultSizes()+")")
	c.Flags().StringVar(&f.norm, "norm", "linf", "of eps: "+attack.NormNames())
	c.Flags().StringVar(&f.loss, "loss", "ce", attack.LossNames()+"; "+ownLosses()+"'s is in its name")
	c.Flags().IntVar(&f.restarts, "restarts", 1, "of "+takers("restarts")+", from random points; an image counts by the worst")
	c.Flags().Float64Var(&f.decay, "decay", 1, "of the momentum of "+takers("decay"))
	c.Flags().StringVar(&f.target, "target", "none", "class to come near to, or least-likely, or none: away from the label")
}

func (f *flags) addSteps(c *cobra.Command) {
	c.Flags().IntVar(&f.steps, "steps", 0, "K of iterated attacks (default "+defaultSteps()+")")
}

func (f *flags) addRounded(c *cobra.Command) {
	c.Flags().BoolVar(&f.rounded, "rounded", true, "ask the model also of the pixels rounded to 8 bits within the ball")
}

func (f *flags) addBounds(c *cobra.Command) {
	c.Flags().StringVar(&f.bounds, "bounds", "none", "clip to `LO,HI` and the eps-ball after every step; or none")
}

func (f *flags) addEpsList(c *cobra.Command) {
	c.Flags().StringVar(&f.eps, "eps", "0:0.5:0.025", "`LIST` as in 0,8/255,0.1:0.3:0.05 (lo:hi:step); pixels are in [0, 1]")
}

func (f *flags) addRange(c *cobra.Command) {
	c.Flags().IntVar(&f.n, "n", 1000, "number of images")
	c.Flags().IntVar(&f.offset, "offset", 0, "index of the first image")
}

// addExact adds --exact, which left alone gives way where it cannot be.
func (f *flags) addExact(c *cobra.Command) {
	c.Flags().BoolVar(&f.exact, "exact", true, "FGSM at every eps up to the largest, on the CPU; false: at --eps only")
}

// insists reports whether --exact stands on the command line: whoever writes it wants it.
func (f *flags) insists(c *cobra.Command) bool { return f.exact && c.Flags().Changed("exact") }

// canBeExact reports whether s has a curve that --exact is about. It returns an error if there is
// none and --exact insists.
func (f *flags) canBeExact(c *cobra.Command, s pipeline.Sweep) (bool, error) {
	fgsm := slices.ContainsFunc(s.Attacks, pipeline.Rays)
	far := s.Eps[len(s.Eps)-1] > 0
	switch {
	case f.exact && fgsm && far:
		return true, nil
	case f.insists(c) && !fgsm:
		return false, usagef("--exact with --attack %s: only the curve of fgsm can be exact; add fgsm or leave --exact out", f.attack)
	case f.insists(c):
		return false, usagef("--exact with --eps %s: the curve ends at the largest eps, which is 0; give a larger one or leave --exact out", f.eps)
	}
	return false, nil
}

// follows reports whether the backend can follow a ray, or must because --exact insists: then
// pipeline says why not.
func (f *flags) follows(c *cobra.Command, in *inputs) bool {
	_, ok := pipeline.AsExacter(in.backend)
	return ok || f.insists(c)
}

// parseSweep reads --eps, --bounds, the options of attacks and a list of them.
func (f *flags) parseSweep(c *cobra.Command, attacks string) (pipeline.Sweep, error) {
	// 0 would pass for the default
	if f.steps == 0 && c.Flags().Changed("steps") {
		return pipeline.Sweep{}, usagef("--steps 0, want 1 to %d", attack.MaxSteps)
	}
	if f.restarts == 0 && c.Flags().Changed("restarts") {
		return pipeline.Sweep{}, usagef("--restarts 0, want 1 to %d", attack.MaxRestarts)
	}
	t := pipeline.Text{Attack: attacks, Eps: f.eps, Bounds: f.bounds, Norm: f.norm, Loss: f.loss, Step: f.step, Target: f.target, Steps: f.steps, Restarts: f.restarts, Seed: f.seed}
	if c.Flags().Lookup("decay") != nil {
		t.Decay = &f.decay
	}
	s, err := t.Sweep()
	var field *pipeline.FieldError
	if errors.As(err, &field) {
		err = usagef("--%w", err)
	}
	return s, err
}

// warnShort says on standard error which attacks cannot reach the edge of the ball.
func (f *flags) warnShort(c *cobra.Command, s pipeline.Sweep) {
	top := s.Eps[len(s.Eps)-1]
	for _, a := range s.Attacks {
		if a.Short(top) {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: %s: %d steps of %s do not reach eps %v: the model will look stronger than it is\n", a.Name, a.Steps, a.StepSize(), top)
		}
	}
}

// inputs is what a verb works on.
type inputs struct {
	model   *model.Model
	set     *dataset.Set
	backend pipeline.Backend
	chosen  string // name of its backends.Entry
	// arithmetic decides of the last bits of results, see record.Manifest.
	arithmetic string
	load       time.Duration
}

// open reads the model and the images, makes checks and opens the backend. That comes last: it can
// take a second and may print a line, which a mistake in the command line is not worth.
func (f *flags) open(c *cobra.Command, checks ...func(*inputs) error) (*inputs, error) {
	start := time.Now()
	in := &inputs{}
	err := f.named(c)
	if err != nil {
		return nil, err
	}
	var unread error
	read := make(chan struct{})
	go func() { // the images of a whole test set take longer to unpack than the model
		defer close(read)
		in.set, unread = f.loadData()
	}()
	in.model, err = f.loadModel()
	<-read
	if err := cmp.Or(err, unread); err != nil {
		return nil, err
	}
	if !f.quiet {
		for _, note := range in.model.Notes {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: %s: %s\n", in.model.Source.Name, note)
		}
	}
	if got, want := in.set.Images.DataSize()/in.set.N(), in.model.Inputs(); got != want {
		return nil, fmt.Errorf("images of %s have %d pixels, the model takes %d", in.set.Source.Images.Name, got, want)
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
	if err = f.openBackend(c, in); err != nil {
		return nil, err
	}
	in.load = time.Since(start)
	return in, nil
}

// named returns an error if a flag was given but empty, as a script with an unset variable gives
// it: falling back to what is embedded, or leaving out a gate, would answer another question than
// the one asked.
func (f *flags) named(c *cobra.Command) error {
	for _, name := range []string{"model", "layers", "images", "labels", "data", "split", "out", "shard", "save-images", "min-accuracy", "far", "norm", "loss", "step", "target"} {
		if flag := c.Flags().Lookup(name); flag != nil && flag.Changed && flag.Value.String() == "" {
			return usagef("--%s is empty", name)
		}
	}
	switch {
	case f.split != "" && f.split != "test" && f.split != "train":
		return usagef("--split %q, want test or train", f.split)
	case f.layers != "" && f.model == "":
		return usagef("--layers describes the file of --model, which is not given")
	case f.data == "" && c.Flags().Changed("split"):
		return usagef("--split chooses a part of --data, which is not given")
	}
	return f.checkThreads()
}

func (f *flags) checkThreads() error {
	if f.threads < 0 || f.threads > cpu.MaxThreads {
		return usagef("--threads %d, want 0 to %d", f.threads, cpu.MaxThreads)
	}
	return nil
}

func (f *flags) loadModel() (*model.Model, error) {
	switch {
	case f.model == "":
		return model.Default()
	case slices.Contains(model.EmbeddedNames, f.model):
		return model.Embedded(f.model)
	}
	return model.LoadLayers(f.model, f.layers)
}

func (f *flags) loadData() (*dataset.Set, error) {
	switch {
	case f.images != "":
		return dataset.Read(f.images, f.labels)
	case f.data != "":
		return dataset.Load(f.data, f.split)
	}
	return dataset.MNIST1000()
}

// cut returns the images that --n and --offset choose. The default of --n gives way where
// there are fewer images.
func (f *flags) cut(c *cobra.Command, set *dataset.Set) (*dataset.Set, error) {
	if f.n < 1 {
		return nil, usagef("--n %d, want at least 1", f.n)
	}
	if f.offset < 0 || f.offset >= set.N() {
		return nil, usagef("--offset %d, but there are %d images (0 to %d)", f.offset, set.N(), set.N()-1)
	}
	n := f.n
	if left := set.N() - f.offset; n > left {
		if c.Flags().Changed("n") {
			return nil, usagef("--n %d from --offset %d, but only %d of %d images are left there", n, f.offset, left, set.N())
		}
		n = left
	}
	return set.Slice(f.offset, n)
}

// openRange is open with the images that --n and --offset choose.
func (f *flags) openRange(c *cobra.Command, checks ...func(*inputs) error) (*inputs, error) {
	cut := func(in *inputs) (err error) {
		in.set, err = f.cut(c, in.set)
		return err
	}
	return f.open(c, append([]func(*inputs) error{cut}, checks...)...)
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
