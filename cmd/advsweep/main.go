// Command advsweep measures how easily an image classifier is fooled: it makes
// adversarial examples by the fast gradient sign method, its iterated forms and
// others, and reports accuracy as a function of eps.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitDone  = 0
	exitError = 1 // could not do it
	exitUsage = 2 // wrong usage
	exitFail  = 3 // a model did not pass a check
)

// A program is one call of the command: what it was given, and where its words go. The verbs that
// need it get it from newRoot.
type program struct {
	args           []string // of the command line, after the program's name
	stdout, stderr io.Writer
	// hard ends when the user wants the work to end at once. Work runs in it that finishes what it
	// has in hand when the command's own context ends.
	hard  context.Context
	began bool // a verb's own code has begun: errors before that are cobra's about the command line
}

func main() {
	// Memory is a few large blocks that stay. Collecting more often than by default costs next to
	// no time then, and the peak is lower.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50)
	}
	ctx, end := context.WithCancel(context.Background())
	atOnce, endAtOnce := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		<-signals
		end() // what is in hand is finished, where that pays
		// A terminal that goes away sends its signal, and the shell in it one more: they count once.
		for <-signals == syscall.SIGHUP {
		}
		signal.Stop(signals) // a third Ctrl-C ends the process whatever it does
		endAtOnce()
	}()
	p := &program{args: os.Args[1:], stdout: os.Stdout, stderr: os.Stderr, hard: atOnce}
	os.Exit(p.run(ctx))
}

// run is the whole program but for the process around it: it does what the command line says, until
// ctx ends, and returns the exit code.
func (p *program) run(ctx context.Context) (code int) {
	p.stderr = screen{p.stderr}
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(p.stderr, "advsweep: a bug in advsweep: %v\n", r)
			code = exitError
		}
	}()
	root := newRoot(p)
	root.SetArgs(p.args)
	command, err := root.ExecuteContextC(ctx)
	err = mended(command, err)
	var usage usageError
	var answer exitCode
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &answer):
		return int(answer)
	case errors.As(err, new(failedError)):
		fmt.Fprintf(p.stderr, "advsweep: %v\n", err)
		return exitFail
	case errors.As(err, new(*stoppedError)):
		fmt.Fprintf(p.stderr, "advsweep: %v\n", err)
		return exitError
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(p.stderr, "advsweep: interrupted; no result was written")
		return exitError
	case errors.As(err, &usage) || !p.began:
		fmt.Fprintf(p.stderr, "advsweep: %v\nRun '%s --help' for usage.\n", err, command.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(p.stderr, "advsweep: %v\n", err)
	return exitError
}

// A usageError is a mistake in the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// asUsage marks err, if there is one, as a mistake in the value of flag.
func asUsage(flag string, err error) error {
	if err == nil {
		return nil
	}
	return usageError{fmt.Errorf("--%s: %w", flag, err)}
}

// newRoot returns the command tree of p.
func newRoot(p *program) *cobra.Command {
	root := &cobra.Command{
		Use:   "advsweep",
		Short: "Measure how easily an image classifier is fooled",
		Long: `advsweep makes adversarial examples by the fast gradient sign method (FGSM)

    x* = x + eps·sign(∂L/∂x),   L the cross-entropy against the true label,

its iterated forms, PGD and Auto-PGD, and reports accuracy as a function of eps.
Two trained models and 1,000 MNIST test images are inside: 'advsweep demo' needs
nothing else. It runs on the CPU or, in a build with CUDA, on NVIDIA GPUs:
'advsweep devices' says which there are, or why there is none.`,
		Example: `  advsweep demo
  advsweep attack --class 7 --attack bim --steps 5 --eps 0.3
  advsweep sweep --attack fgsm,bim,noise --eps 0:0.5:0.025 --bounds 0,1
  advsweep sweep --model my.onnx --data mnist/ --attack worst --bounds 0,1 --out run
  advsweep report run --model my.onnx --data mnist/
  advsweep check --model my.onnx --data mnist/ --min-accuracy 0.80@0.05
  advsweep smooth --model my.onnx --data mnist/ --sigma 0.25 --out certified
  advsweep falsify net.onnx property.vnnlib --timeout 10s
  advsweep plan study.toml --out study && advsweep work study && advsweep report study`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.AddGroup(&cobra.Group{ID: "one", Title: "One model:"}, &cobra.Group{ID: "many", Title: "Many models, many machines:"})
	for _, c := range []*cobra.Command{
		newDemo(), newAttack(), newSweep(p), newResume(p), newMerge(), newCheck(), newCompare(), newSmooth(), newFalsify(), newCorrupt(), newReport(p), newTrain(), newDevices(), newFormats(), newBench(), newLicenses(),
		newPlan(), newWork(p), newServe(p), newStatus(), newSettle(), newSubmit(), newRunShard(p),
	} {
		verb := c.RunE
		c.RunE = func(c *cobra.Command, args []string) error {
			p.began = true
			return verb(c, args)
		}
		c.GroupID = "one"
		switch c.Name() {
		case "plan", "work", "serve", "status", "settle", "submit", "run-shard":
			c.GroupID = "many"
		}
		root.AddCommand(c)
	}
	return root
}
