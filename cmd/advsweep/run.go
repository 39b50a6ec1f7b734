package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"advsweep/internal/chunklog"
	"advsweep/internal/outdir"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/rundir"
	"advsweep/study"

	"github.com/spf13/cobra"
)

// hardKey is the key of a context's value that ends when the user wants the work to end at once.
// The context itself ends when he wants it to end well.
type hardKey struct{}

// hard returns the context that work runs in which finishes what it has in hand when ctx ends.
func hard(ctx context.Context) context.Context {
	if h, ok := ctx.Value(hardKey{}).(context.Context); ok {
		return h
	}
	return context.WithoutCancel(ctx)
}

// A stoppedError says that a run stopped before it was done, and how it goes on.
type stoppedError struct {
	dir         string
	done, total int
	study       bool
}

func (e *stoppedError) Error() string {
	if e.study {
		return fmt.Sprintf("stopped: %d of %d are done and safe in %s; the same command goes on", e.done, e.total, e.dir)
	}
	return fmt.Sprintf("stopped: %d of %d chunks are done and safe in %s; the same command goes on, or 'advsweep resume %s'", e.done, e.total, e.dir, e.dir)
}

// manifest is what fixes the run of s on in.
func (in *inputs) manifest(s pipeline.Sweep, seed uint64) record.Manifest {
	return record.New(in.meta(in.set, seed), in.model, in.set, s, in.arithmetic)
}

// parseShard reads "3/16", counted from 1.
func parseShard(text string) (pipeline.Shard, error) {
	if text == "" {
		return pipeline.Shard{}, nil
	}
	index, count, ok := strings.Cut(text, "/")
	i, err1 := strconv.Atoi(index)
	n, err2 := strconv.Atoi(count)
	if !ok || err1 != nil || err2 != nil || i < 1 || i > n || n > 1_000_000 {
		return pipeline.Shard{}, usagef("--shard %q, want I/N as in 3/16, I from 1 to N", text)
	}
	return pipeline.Shard{Index: i - 1, Count: n}, nil
}

// runSweep runs s in --out, going on with what is there. res is nil if this is a shard and other
// parts are missing.
func (f *flags) runSweep(c *cobra.Command, in *inputs, s pipeline.Sweep, shard pipeline.Shard) (res *pipeline.Result, m record.Manifest, took time.Duration, err error) {
	m = in.manifest(s, f.seed)
	p := newProgress(c.ErrOrStderr(), f.quiet, "sweep")
	defer p.finish()
	s.Progress = p.update
	var start time.Time
	res, st, err := rundir.Run(hard(c.Context()), f.out, &m, s, in.backend, in.set, rundir.Options{Shard: shard, Stop: c.Context().Done(), Begin: func(had rundir.State) error {
		if err := saveCommand(f.out); err != nil {
			return err
		}
		if had.Done > 0 && !f.quiet {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: %s has %d of %d chunks already\n", f.out, had.Done, had.Total)
		}
		start = time.Now()
		return nil
	}})
	p.finish()
	if start.IsZero() { // nothing was begun
		var other *rundir.UnfinishedError
		if errors.As(err, &other) {
			err = fmt.Errorf("%w: finish it with 'advsweep resume %s' (in the environment in which it was started), delete the folder, or choose another --out", err, f.out)
		}
		return nil, m, 0, err
	}
	took = time.Since(start)
	switch {
	case errors.Is(err, pipeline.ErrStopped) || errors.Is(err, context.Canceled):
		return nil, m, took, &stoppedError{dir: f.out, done: st.Done, total: st.Total}
	case err != nil:
		return nil, m, took, fmt.Errorf("%w (%d of %d chunks are safe in %s)", err, st.Done, st.Total, f.out)
	case res == nil && !f.quiet:
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: shard %d/%d is done: %s has %d of %d chunks; 'advsweep merge' puts all shards together\n",
			shard.Index+1, shard.Count, f.out, st.Done, st.Total)
	case res != nil:
		warn(c.ErrOrStderr(), res)
	}
	return res, m, took, nil
}

// readRun reads the finished run in dir.
func readRun(dir string) (*record.Manifest, *pipeline.Result, error) {
	log, err := chunklog.Read(dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%s holds no run: want a folder that 'advsweep sweep --out' wrote", dir)
		}
		return nil, nil, err
	}
	defer log.Close()
	m, err := record.ParseManifest(log.Manifest())
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	if want := len(m.Sweep().Plan(m.Data.N)); log.Chunks() != want {
		return nil, nil, fmt.Errorf("%s: %d chunks, want %d: another version of advsweep wrote it (%s, here %s)", dir, log.Chunks(), want, m.Version, release)
	}
	if log.Done() < log.Chunks() {
		return nil, nil, fmt.Errorf("%s: %d of %d chunks are done: finish it with 'advsweep resume %s', or merge all shards", dir, log.Done(), log.Chunks(), dir)
	}
	res, err := m.Assemble(log)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, res, nil
}

// commandName is the file that says how a run was started, for resume.
const commandName = "command.json"

type command struct {
	Folder string   `json:"folder"` // in which it was started
	Args   []string `json:"args"`
}

// started is the command line of this process; resume puts the one that it takes up there.
var started []string

// saveCommand writes how this run was started to dir, for resume.
func saveCommand(dir string) error {
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(command{folder, started}, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(dir, commandName)
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o666); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

func newResume() *cobra.Command {
	return &cobra.Command{
		Use:   "resume DIR",
		Short: "Go on with a sweep that was stopped",
		Long: `Go on with the sweep in DIR where it was stopped, by Ctrl-C, a full disk or a kill, with the command
that started it. Its files are the same, byte for byte, as if it had not been stopped.`,
		Example: `  advsweep resume advsweep-out`,
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dir, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			data, err := os.ReadFile(filepath.Join(dir, commandName))
			if err != nil {
				return fmt.Errorf("%s holds no run to go on with: %w", args[0], err)
			}
			var was command
			if err := json.Unmarshal(data, &was); err != nil || len(was.Args) == 0 || was.Args[0] != "sweep" {
				return fmt.Errorf("%s: not how a sweep was started: start it again with its own command", filepath.Join(dir, commandName))
			}
			here, err := os.Getwd()
			if err != nil {
				return err
			}
			if err := os.Chdir(was.Folder); err != nil {
				return fmt.Errorf("the folder in which it was started: %w", err)
			}
			defer func() { _ = os.Chdir(here) }() // the process ends
			started = was.Args
			root, _ := newRoot(c.OutOrStdout(), c.ErrOrStderr())
			root.SetArgs(append(append([]string{}, was.Args...), "--out", dir))
			return root.ExecuteContext(c.Context())
		},
	}
}

func newMerge() *cobra.Command {
	var f flags
	var mixed bool
	c := &cobra.Command{
		Use:   "merge DIR...",
		Short: "Put the shards of a sweep or of a study together",
		Long: `Put together what 'advsweep sweep --shard I/N' left in the folders, in any order, and write the files
that one run would have written, byte for byte. Nothing is written unless every chunk of the one run is
there once: shards of other runs, missing and double chunks, and damaged files are named.

Given the folder of a study, write the files of each of its runs to DIR/runs, the same bytes whatever
machines did the shards. Results that were computed by backends whose bits may differ are refused, unless
--allow-mixed, which marks them in the manifest. Given copies of one study's folder, take the results of
all into the first.`,
		Example: `  advsweep sweep --shard 1/2 --out a
  advsweep sweep --shard 2/2 --out b
  advsweep merge a b --out whole
  advsweep merge study`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := f.named(c); err != nil {
				return err
			}
			if slices.ContainsFunc(args, study.Is) {
				return f.mergeStudies(c, args, mixed)
			}
			if mixed {
				return usagef("--allow-mixed is for studies: shards of one sweep have one manifest, which names the backend")
			}
			folder, err := outdir.Open(f.out, sweepNames...)
			if err != nil {
				return err
			}
			if err := chunklog.Merge(f.out, args...); err != nil {
				return err
			}
			m, res, err := readRun(f.out)
			if err != nil {
				return err
			}
			warn(c.ErrOrStderr(), res)
			files, err := sweepFiles(m, res)
			if err != nil {
				return err
			}
			return f.finish(c, folder, files, func(w *bytes.Buffer) error { return f.printCurves(w, m, "", res, files) })
		},
	}
	c.Flags().BoolVar(&mixed, "allow-mixed", false, "of a study, also merge results of several backends, whose bits may differ")
	f.addOutput(c)
	return c
}
