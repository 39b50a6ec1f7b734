package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"testing"
	"time"

	"advsweep/attack"

	"github.com/spf13/cobra"
	"gorgonia.org/tensor"
)

func newBench() *cobra.Command {
	var f flags
	var count int
	var benchtime time.Duration
	c := &cobra.Command{
		Use:   "bench",
		Short: "Time forward, gradient, step and whole sweeps, in Go's benchmark format",
		Long: `Print Go benchmark lines, which benchstat reads. An operation ends when its result is on
the host, also on a GPU:

  Forward   the classes of N images
  Gradient  ∂L/∂x of N images, all N·I numbers of it
  Step      one step along the gradient, and for each image whether the gradient was zero
  Sweep     the whole of 'advsweep sweep' but for its files, with the copying of the images to
            the device

Forward, Gradient and Step are at images that have moved twice, which are on the device already.
Loading the model and opening the device are in none of them.`,
		Example: `  advsweep bench
  advsweep bench --count 10 > new.txt && benchstat old.txt new.txt
  advsweep bench --precision float64 --threads 1
  advsweep bench --backend cuda --precision tf32`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.bench(c, count, benchtime) },
	}
	f.addInputs(c)
	f.addSteps(c)
	f.addEpsList(c)
	f.addBounds(c)
	f.addRange(c)
	f.addBackend(c)
	f.addSeed(c, "noise")
	c.Flags().IntVar(&count, "count", 1, "times that each benchmark is run")
	c.Flags().DurationVar(&benchtime, "benchtime", time.Second, "time for each run of each benchmark, at least once through")
	return c
}

// gradienter is what bench asks of a backend beyond pipeline.Backend.
type gradienter interface {
	InputGradient(context.Context) (*tensor.Dense, error)
}

func (f *flags) bench(c *cobra.Command, count int, benchtime time.Duration) error {
	if count < 1 || benchtime <= 0 {
		return usagef("--count %d --benchtime %v, want at least 1 and more than 0s", count, benchtime)
	}
	sweep, err := f.parseSweep("fgsm,bim,noise")
	if err != nil {
		return err
	}
	in, err := f.openRange(c)
	if err != nil {
		return err
	}
	defer in.backend.Close()
	set := in.set
	testing.Init()
	if err := flag.Set("test.benchtime", benchtime.String()); err != nil {
		return err
	}
	ctx, b, w := c.Context(), in.backend, c.OutOrStdout()
	n := set.N()
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return err
	}
	n = min(n, b.MaxRows())
	class, zero := make([]int32, n), make([]bool, n)
	step := attack.FGSM().At(0, []float64{0.001}, sweep.Bounds)
	type benchmark struct {
		name   string
		images int
		f      func() error
	}
	run := []benchmark{
		{"Forward", n, func() error { return b.Predictions(ctx, class) }},
	}
	if g, ok := b.(gradienter); ok {
		run = append(run, benchmark{"Gradient", n, func() error { _, err := g.InputGradient(ctx); return err }})
	}
	// A Step alone may only be launched when it returns, and ZeroGradient computes nothing.
	stepped := func() error {
		if err := b.Step(ctx, step); err != nil {
			return err
		}
		return b.ZeroGradient(ctx, zero)
	}
	run = append(run, benchmark{"Step", n, stepped})
	for _, a := range sweep.Attacks {
		s := sweep
		s.Attacks = []attack.Attack{a}
		run = append(run, benchmark{fmt.Sprintf("Sweep/attack=%s/K=%d/E=%d", a.Name, a.Steps, len(s.Eps)), set.N(),
			func() error { _, err := s.Run(ctx, b, set); return err }})
	}
	fmt.Fprintf(w, "goos: %s\ngoarch: %s\npkg: advsweep\nmodel: %s\ndevice: %s\n", runtime.GOOS, runtime.GOARCH, in.model, b.Device())
	for _, bm := range run {
		for range count {
			// Rows that have moved twice: the plain batched operations. After one step a backend may have kept
			// what all eps share of the first layer, and would leave out that product.
			if err := b.Begin(ctx, 0, n, []float64{0.001}); err != nil {
				return err
			}
			for range 2 {
				if err := stepped(); err != nil {
					return err
				}
			}
			var failed error
			r := testing.Benchmark(func(tb *testing.B) {
				for tb.Loop() {
					if failed = bm.f(); failed != nil {
						tb.FailNow()
					}
				}
				tb.ReportMetric(float64(bm.images)*float64(tb.N)/tb.Elapsed().Seconds(), "images/s")
			})
			if failed != nil {
				return failed
			}
			fmt.Fprintf(w, "Benchmark%s/backend=%s/precision=%s/N=%d-%d\t%s\n", bm.name, in.chosen, b.Precision(), bm.images, runtime.GOMAXPROCS(0), r)
		}
	}
	return nil
}
