package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"

	"github.com/spf13/cobra"
	"gorgonia.org/tensor"
)

// A work is a sweep of a fixed size, which other programs are timed on too, or the walk of one.
type work struct {
	name  string   // for --works
	label string   // of its benchmark lines
	n     int      // images
	walk  bool     // only along the ray of each image, which is part of an exact sweep
	flags []string // of 'advsweep sweep', but for bounds, images, model and backend
}

var works = []work{
	{"W1", "W1", 1000, false, []string{"--attack=fgsm", "--eps=0:0.5:0.025"}},
	{"W1-grid", "W1", 1000, false, []string{"--attack=fgsm", "--eps=0:0.5:0.025", "--exact=false"}},
	{"W2", "W2", 1000, false, []string{"--attack=bim", "--steps=5", "--eps=0:0.5:0.025"}},
	{"W3", "W3", 10000, false, []string{"--attack=fgsm", "--eps=0:0.5:0.005"}},
	{"W3-grid", "W3", 10000, false, []string{"--attack=fgsm", "--eps=0:0.5:0.005", "--exact=false"}},
	{"Exact1000", "Exact", 1000, true, []string{"--attack=fgsm", "--eps=0,0.5"}},
	{"Exact10000", "Exact", 10000, true, []string{"--attack=fgsm", "--eps=0,0.5"}},
}

// operations are what --works knows besides works. Their size is that of --n, --eps, --steps.
var operations = []string{"Forward", "Gradient", "Step", "Sweep"}

func workNames() (names []string) {
	names = append(names, operations...)
	for _, w := range works {
		names = append(names, w.name)
	}
	return names
}

// A benchVerb is 'advsweep bench' with its flags.
type benchVerb struct {
	inputs    inputFlags
	ball      ballFlags // of Sweep, and the bounds of all
	images    rangeFlags
	backend   backendFlags
	steps     int // of Sweep
	seed      uint64
	works     string
	count     int
	benchtime time.Duration
	once      bool
}

func newBench() *cobra.Command {
	v := &benchVerb{}
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time forward, gradient, step and whole sweeps, in Go's benchmark format",
		Long: `Print Go benchmark lines, which benchstat reads. An operation ends when its result is on
the host, also on a GPU:

  Forward   the classes of N images
  Gradient  ∂L/∂x of N images, all N·I numbers of it
  Step      one step along the gradient, and for each image whether the gradient was zero
  Sweep     what 'advsweep sweep --exact=false' computes for fgsm, bim and noise at --eps

Forward, Gradient and Step are at images that have moved twice, which are on the device already.

A sweep, here and below, is all that 'advsweep sweep' computes with its defaults: counts, what becomes of
each image with its margin and norms, the same with pixels rounded to 8 bits, and the classes of the
clean images. It begins with the copying of the images to the device. Loading the model, opening the
device and files are in none of them; run.json of a sweep tells what the command itself took.

--works also knows sweeps of fixed sizes, without bounds and clipped to [0, 1] unless --bounds chooses:

  W1        FGSM, the first 1,000 images, 21 eps 0, 1/40, …, 1/2
  W2        BIM with k = 5, the same images and eps
  W3        FGSM, 10,000 images, 101 eps 0, 1/200, …, 1/2
  W1-grid, W3-grid
            the same with --exact=false
  Exact1000, Exact10000
            no sweep: only the walks, which are a part of W1 and W3. Each image is followed along
            FGSM's ray from eps 0 to 1/2

Where there are fewer images, or --n asks for fewer, they are scaled down and their lines say N=. FGSM's
lines say how: route=exact follows each image along its ray, as 'advsweep sweep' does where the backend
can, route=grid does not.

dense-GFLOP/s is the speed at which a dense program would have to multiply to be as fast, which takes no
gradient twice and finds the counts alone: no clean classes, no rounded pixels. Of a model with P weights,
P1 of them in the first layer, it multiplies for each image

  Forward          2·P
  Gradient, Step   4·P, a forward pass and one back to the pixels
  FGSM             4·P + E·2·P, and without bounds 4·P + 2·P1 + E·2·(P - P1): the first layer is linear
                   in eps, and is taken once for the direction
  BIM              4·P + E·((k-1)·4·P + 2·P)
  noise            E·2·P, and without bounds 4·P1 + E·2·(P - P1)

Exact has no such number. done-GFLOP/s, where the backend counts, is of the products it has made in truth.`,
		Example: `  advsweep bench
  advsweep bench --count 10 > new.txt && benchstat old.txt new.txt
  advsweep bench --works W1,W1-grid,W2 --bounds none --threads 1
  advsweep bench --works W3,Exact10000 --data mnist/
  advsweep bench --once --works W1 --bounds none
  advsweep bench --backend cuda --precision tf32`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return v.run(c) },
	}
	v.inputs.add(c)
	addSteps(c, &v.steps)
	v.ball.add(c, epsStandard, epsList)
	v.images.add(c, 1000)
	v.backend.add(c)
	addSeed(c, &v.seed, "noise")
	c.Flags().StringVar(&v.works, "works", "Forward,Gradient,Step,Sweep,W1,W2", "`LIST` of what to time: "+strings.Join(workNames(), ", "))
	c.Flags().IntVar(&v.count, "count", 1, "times that each benchmark is run")
	c.Flags().DurationVar(&v.benchtime, "benchtime", time.Second, "time for each run of each benchmark, at least once through")
	c.Flags().BoolVar(&v.once, "once", false, "time one work alone, once through when warm, and print one line of JSON, its \"ms\" the time (the median of --count)")
	return c
}

// A worker counts its arithmetic, which bench asks of a backend beyond pipeline.Backend.
type worker interface {
	// Work returns the floating-point operations of all matrix products since the backend was
	// opened, 2 for each multiply-add.
	Work() (flop uint64)
}

// A benchmark is one line of output.
type benchmark struct {
	name   string // with the key=value pairs that are its own
	images int
	dense  float64 // operations of a dense program, 0 if that means nothing
	f      func() error

	work    string // in --works
	bounds  attack.Bounds
	sweep   *pipeline.Sweep  // of a work
	result  *pipeline.Result // of the sweep of a work
	correct func() []int     // of a work that was run: counts at each eps
}

func (v *benchVerb) run(c *cobra.Command) error {
	chosen, err := v.chosen(c)
	if err != nil {
		return err
	}
	flags := []string{"--attack=fgsm,bim,noise", "--exact=false", "--eps=" + v.ball.eps, "--bounds=" + v.ball.bounds, fmt.Sprint("--seed=", v.seed)}
	if c.Flags().Changed("steps") {
		flags = append(flags, fmt.Sprint("--steps=", v.steps))
	}
	sweep, err := asSweep(flags...)
	if err != nil {
		return err
	}
	if !c.Flags().Changed("n") { // each work has its own
		for _, w := range works {
			if slices.Contains(chosen, w.name) {
				v.images.n = max(v.images.n, w.n)
			}
		}
	}
	in, err := open(c, &v.inputs, &v.backend, false, v.images.cut(c))
	if err != nil {
		return err
	}
	defer in.backend.Close()
	all, err := v.benchmarks(c, in, chosen, sweep)
	if err != nil {
		return err
	}
	if v.once {
		return v.printOnce(c, in, all[0])
	}
	testing.Init()
	if err := flag.Set("test.benchtime", v.benchtime.String()); err != nil {
		return err
	}
	w, b := c.OutOrStdout(), in.backend
	fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: advsweep\nmodel: %s\ndevice: %s\n", runtime.GOOS, runtime.GOARCH, in.model, b.Info().Device)
	for _, bm := range all {
		for i := range v.count {
			// A work is warm after once through. The others come to rows that have moved twice,
			// each time.
			if i == 0 || bm.sweep == nil {
				if err := in.prepare(c.Context(), bm, sweep.Bounds); err != nil {
					return err
				}
			}
			var failed error
			r := testing.Benchmark(func(tb *testing.B) {
				before := flops(b)
				for tb.Loop() {
					if failed = bm.f(); failed != nil {
						tb.FailNow()
					}
				}
				seconds := tb.Elapsed().Seconds()
				tb.ReportMetric(float64(bm.images)*float64(tb.N)/seconds, "images/s")
				if bm.dense > 0 {
					tb.ReportMetric(bm.dense*float64(tb.N)/seconds/1e9, "dense-GFLOP/s")
				}
				if done := flops(b) - before; done > 0 {
					tb.ReportMetric(float64(done)/seconds/1e9, "done-GFLOP/s")
				}
			})
			if failed != nil {
				return failed
			}
			fmt.Fprintf(w, "Benchmark%s/backend=%s/precision=%s/N=%d-%d\t%s\n", bm.name, in.chosen, strings.ReplaceAll(in.precision(), " ", "-"), bm.images, runtime.GOMAXPROCS(0), r)
		}
	}
	return nil
}

// chosen returns what --works names, and checks the flags of bench.
func (v *benchVerb) chosen(c *cobra.Command) ([]string, error) {
	if v.count < 1 || v.benchtime <= 0 {
		return nil, usagef("--count %d --benchtime %v, want at least 1 and more than 0s", v.count, v.benchtime)
	}
	var chosen []string
	for name := range strings.SplitSeq(v.works, ",") {
		name = strings.TrimSpace(name)
		switch {
		case !slices.Contains(workNames(), name):
			return nil, usagef("--works: no work %q, want some of %s", name, strings.Join(workNames(), ","))
		case slices.Contains(chosen, name):
			return nil, usagef("--works: %s stands twice in %q", name, v.works)
		}
		chosen = append(chosen, name)
	}
	if !slices.Contains(chosen, "Sweep") {
		for _, name := range []string{"eps", "steps", "seed"} {
			if c.Flags().Changed(name) {
				return nil, usagef("--%s is for Sweep, which --works %s leaves out", name, v.works)
			}
		}
	}
	if v.once {
		switch {
		case len(chosen) != 1 || slices.Contains(operations, chosen[0]):
			return nil, usagef("--once times one work: give --works with one of %s", strings.Join(workNames()[len(operations):], ","))
		case !c.Flags().Changed("bounds"):
			return nil, usagef("--once times one work: give --bounds none or --bounds LO,HI")
		case c.Flags().Changed("benchtime"):
			return nil, usagef("--once runs --count times, whatever --benchtime")
		}
	}
	return chosen, nil
}

// asSweep returns what 'advsweep sweep' with these flags asks for: bench takes the defaults of that
// command, and in.fit makes of it what the command computes.
func asSweep(flags ...string) (pipeline.Sweep, error) {
	v := &sweepVerb{}
	c := v.command()
	if err := c.ParseFlags(flags); err != nil {
		return pipeline.Sweep{}, usagef("%w", err)
	}
	return v.asked(c)
}

// first returns in with the first n images, or with all if there are fewer.
func (in *inputs) first(n int) *inputs {
	some := *in
	some.set = first(in.set, n)
	return &some
}

// benchmarks makes the lines of what is chosen. sweep is that of the flags.
func (v *benchVerb) benchmarks(c *cobra.Command, in *inputs, chosen []string, sweep pipeline.Sweep) ([]*benchmark, error) {
	ctx, b := c.Context(), in.backend
	all, one := weights(in.model)
	var list []*benchmark
	some := in
	// The operations have the flag's default where a work asked for more
	if !c.Flags().Changed("n") {
		some = in.first(1000)
	}
	set := some.set
	n := min(set.N(), b.Info().Rows)
	class, zero := make([]int32, n), make([]bool, n)
	for _, name := range chosen {
		switch name {
		case "Forward":
			list = append(list, &benchmark{name: name, images: n, dense: 2 * all * float64(n), f: func() error { return forward(ctx, b, class) }})
		case "Gradient":
			// No weight is 0: all of the way back is computed
			q := make([]float64, n*b.Info().Classes)
			for k := range q {
				q[k] = 1 - 2*float64(k%2)
			}
			weights := tensor.New(tensor.WithShape(n, b.Info().Classes), tensor.WithBacking(q))
			list = append(list, &benchmark{name: name, images: n, dense: 4 * all * float64(n), f: func() error { _, err := b.Gradient(ctx, weights); return err }})
		case "Step":
			list = append(list, &benchmark{name: name, images: n, dense: 4 * all * float64(n), f: func() error { return in.stepped(ctx, sweep.Bounds, zero) }})
		case "Sweep":
			fit, err := some.fit(c, sweep)
			if err != nil {
				return nil, err
			}
			for _, a := range fit.Attacks {
				s := fit
				s.Attacks = []attack.Attack{a}
				list = append(list, &benchmark{name: fmt.Sprintf("Sweep/attack=%s/K=%d/E=%d", a.Name, a.Steps, len(s.Eps)), images: set.N(),
					dense: dense(all, one, s) * float64(set.N()), f: func() error { _, err := s.Run(ctx, b, set); return err }})
			}
		}
	}
	bounds := []attack.Bounds{{}, {Lo: 0, Hi: 1}}
	if c.Flags().Changed("bounds") {
		bounds = []attack.Bounds{sweep.Bounds}
	}
	for _, w := range works {
		if !slices.Contains(chosen, w.name) {
			continue
		}
		for _, bound := range bounds {
			bm, err := in.first(w.n).work(c, w, bound)
			if err != nil {
				return nil, err
			}
			if !w.walk {
				bm.dense = dense(all, one, *bm.sweep) * float64(bm.images)
			}
			if !slices.ContainsFunc(list, func(b *benchmark) bool { return b.name == bm.name && b.images == bm.images }) {
				list = append(list, bm)
			}
		}
	}
	return list, nil
}

// work makes the line of w within bounds, of all images of in.
func (in *inputs) work(c *cobra.Command, w work, bounds attack.Bounds) (*benchmark, error) {
	s, err := asSweep(append(slices.Clone(w.flags), "--bounds="+bounds.String())...)
	if err != nil {
		return nil, err
	}
	if s, err = in.fit(c, s); err != nil {
		return nil, err
	}
	s.Exact = s.Exact || w.walk
	b, set := in.backend, in.set
	bm := &benchmark{name: w.label + "/bounds=" + bounds.String(), images: set.N(), work: w.name, bounds: bounds, sweep: &s}
	if slices.ContainsFunc(s.Attacks, pipeline.Rays) {
		bm.name += "/route=" + routeName(s)
	}
	if !w.walk {
		bm.f = func() (err error) { bm.result, err = s.Run(c.Context(), b, set); return err }
		bm.correct = func() []int { return bm.result.Curves[0].Correct }
		return bm, nil
	}
	walker, walks := pipeline.AsExacter(b)
	if !walks {
		return nil, usagef("--works %s: %s (%s) cannot follow a ray", w.name, in.chosen, b.Info().Device)
	}
	all := make([]attack.Walk, set.N())
	top := s.Eps[len(s.Eps)-1]
	bm.f = func() error { return walk(c.Context(), walker, set, top, bounds, all) }
	bm.correct = func() []int {
		correct := make([]int, len(s.Eps))
		for i := range all {
			for e, eps := range s.Eps {
				if eps == 0 && all[i].Class == int(set.Labels[i]) || eps > 0 && all[i].At(eps, top) {
					correct[e]++
				}
			}
		}
		return correct
	}
	return bm, nil
}

// walk fills all, of the images of set, as a sweep does: 1,000 images at a time.
func walk(ctx context.Context, b pipeline.Exacter, set *dataset.Set, top float64, bounds attack.Bounds, all []attack.Walk) error {
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return err
	}
	for lo := 0; lo < len(all); lo += 1000 {
		if err := b.Exact(ctx, lo, top, bounds, all[lo:min(lo+1000, len(all))]); err != nil {
			return err
		}
	}
	return nil
}

func routeName(s pipeline.Sweep) string {
	if s.Exact {
		return "exact"
	}
	return "grid"
}

// first returns the first n images of set, or all if there are fewer.
func first(set *dataset.Set, n int) *dataset.Set {
	if n >= set.N() {
		return set
	}
	some, err := set.Slice(0, n)
	if err != nil { // set has been checked, and n is in range
		panic(err)
	}
	return some
}

// weights returns P, how many weights m has without biases, and P1, how many of them are in its
// first layer.
func weights(m *model.Model) (all, one float64) {
	for _, layer := range m.Layers {
		if l, ok := layer.(model.Linear); ok {
			p := float64(l.Weight.Shape().TotalSize())
			if all == 0 {
				one = p
			}
			all += p
		}
	}
	return all, one
}

// dense returns the operations for each image of the only attack of s by a dense program, as the
// help says.
func dense(all, one float64, s pipeline.Sweep) float64 {
	a, E := s.Attacks[0], float64(len(s.Eps))
	c, err := a.Cost()
	if err != nil { // it has been parsed
		panic(err)
	}
	flop := 2 * all * (c.Image + E*c.Row)
	if c.Row > 0 || a.Steps > 1 || !s.Bounds.None() {
		return flop + E*2*all
	}
	if c.Image == 0 { // no forward pass has been at the clean image
		flop += 2 * one
	}
	return flop + 2*one + E*2*(all-one)
}

// flops returns what b says of its products, 0 if nothing.
func flops(b pipeline.Backend) uint64 {
	if w, ok := b.(worker); ok {
		return w.Work()
	}
	return 0
}

// prepare makes bm warm.
func (in *inputs) prepare(ctx context.Context, bm *benchmark, bounds attack.Bounds) error {
	if bm.sweep != nil {
		return bm.f()
	}
	b, n := in.backend, min(bm.images, in.backend.Info().Rows)
	set := first(in.set, bm.images)
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return err
	}
	// Rows that have moved twice: the plain batched operations. After one step a backend may have
	// kept what all eps share of the first layer, and would leave out that product.
	if err := b.Begin(ctx, 0, n, []float64{0.001}); err != nil {
		return err
	}
	for range 2 {
		if err := in.stepped(ctx, bounds, make([]bool, n)); err != nil {
			return err
		}
	}
	return nil
}

// piecewise is a backend that tells one by one what Outcomes brings together.
type piecewise interface {
	// Predictions writes the class of each row to dst [rows].
	Predictions(ctx context.Context, dst []int32) error
	// ZeroGradient writes to dst [rows] whether a gradient was zero. It computes nothing.
	ZeroGradient(ctx context.Context, dst []bool) error
}

// forward is one forward pass, of which only classes come down if b can do that.
func forward(ctx context.Context, b pipeline.Backend, class []int32) error {
	if p, ok := b.(piecewise); ok {
		return p.Predictions(ctx, class)
	}
	_, err := b.Logits(ctx)
	return err
}

// stepped is a Step that has ended: alone it may only be launched when it returns.
func (in *inputs) stepped(ctx context.Context, bounds attack.Bounds, zero []bool) error {
	if err := in.backend.Step(ctx, attack.FGSM().At(0, []float64{0.001}, bounds)); err != nil {
		return err
	}
	if p, ok := in.backend.(piecewise); ok {
		return p.ZeroGradient(ctx, zero)
	}
	_, err := in.backend.Outcomes(ctx, nil)
	return err
}

// printOnce runs bm warm --count times and prints a line of JSON.
func (v *benchVerb) printOnce(c *cobra.Command, in *inputs, bm *benchmark) error {
	if err := in.prepare(c.Context(), bm, bm.bounds); err != nil {
		return err
	}
	b := in.backend
	times := make([]float64, v.count)
	before := flops(b)
	for i := range times {
		start := time.Now()
		if err := bm.f(); err != nil {
			return err
		}
		times[i] = time.Since(start).Seconds() * 1e3
	}
	done := float64(flops(b)-before) / float64(v.count)
	slices.Sort(times)
	ms := (times[(len(times)-1)/2] + times[len(times)/2]) / 2
	return json.NewEncoder(c.OutOrStdout()).Encode(struct {
		Work      string  `json:"work"`
		Bounds    string  `json:"bounds"`
		Route     string  `json:"route"`
		N         int     `json:"n"`
		E         int     `json:"eps"`
		MS        float64 `json:"ms"`
		Least     float64 `json:"min_ms"`
		Runs      int     `json:"runs"`
		Dense     float64 `json:"dense_gflops,omitempty"`
		Done      float64 `json:"done_gflops,omitempty"`
		Correct   []int   `json:"correct"`
		Backend   string  `json:"backend"`
		Device    string  `json:"device"`
		Precision string  `json:"precision"`
		Version   string  `json:"version"`
	}{
		bm.work, bm.bounds.String(), routeName(*bm.sweep), bm.images, len(bm.sweep.Eps), ms, times[0], v.count,
		bm.dense / ms / 1e6, done / ms / 1e6, bm.correct(), in.chosen, b.Info().Device, in.precision(), version(),
	})
}
