package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"advsweep/internal/regular"
	"advsweep/internal/staged"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"
	"advsweep/rundir"
	"advsweep/study"

	"github.com/spf13/cobra"
)

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

// parseShard reads "3/16", counted from 1.
func parseShard(text string) (pipeline.Fraction, error) {
	if text == "" {
		return pipeline.Fraction{}, nil
	}
	index, count, ok := strings.Cut(text, "/")
	i, err1 := strconv.Atoi(index)
	n, err2 := strconv.Atoi(count)
	if !ok || err1 != nil || err2 != nil || i < 1 || i > n || n > 1_000_000 {
		return pipeline.Fraction{}, usagef("--shard %q, want I/N as in 3/16, I from 1 to N", text)
	}
	return pipeline.Fraction{Index: i - 1, Count: n}, nil
}

// compute runs s, which m fixes, in --out, going on with what is there. res is nil if this is a
// shard and others are missing.
func (v *sweepVerb) compute(c *cobra.Command, in *inputs, m *record.Manifest, s pipeline.Sweep, shard pipeline.Fraction) (res *pipeline.Result, took timing, err error) {
	dir, quiet := v.output.out, v.output.quiet
	bar := newProgress(c.ErrOrStderr(), quiet, "sweep")
	defer bar.finish()
	s.Progress = bar.update
	var start time.Time
	res, st, err := rundir.Run(v.hard, dir, m, s, in.backend, in.set, rundir.Options{Shard: shard, Stop: c.Context().Done(), Begin: func(had rundir.State) error {
		if err := v.saveCommand(dir); err != nil {
			return err
		}
		if had.Done > 0 && !quiet {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: %s has %d of %d chunks already\n", dir, had.Done, had.Total)
		}
		start = time.Now()
		return nil
	}})
	bar.finish()
	if start.IsZero() { // nothing was begun
		return nil, took, err
	}
	took = timing{compute: time.Since(start), appending: st.Appending}
	switch {
	case errors.Is(err, pipeline.ErrStopped) || errors.Is(err, context.Canceled):
		return nil, took, &stoppedError{dir: dir, done: st.Done, total: st.Total}
	case err != nil:
		return nil, took, fmt.Errorf("%w (%d of %d chunks are safe in %s)", err, st.Done, st.Total, dir)
	case res == nil && !quiet:
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: shard %d/%d is done: %s has %d of %d chunks; 'advsweep merge' puts all shards together\n",
			shard.Index+1, shard.Count, dir, st.Done, st.Total)
	case res != nil:
		warn(c.ErrOrStderr(), res)
	}
	return res, took, nil
}

// commandName is the file that says how a run was started, for resume.
const commandName = "command.json"

// maxSmall is how large a file of a run may be that holds some settings, in bytes.
const maxSmall = 4 << 20

type command struct {
	Folder string   `json:"folder"` // in which it was started
	Args   []string `json:"args"`
}

// saveCommand writes how this run was started to dir, for resume.
func (p *program) saveCommand(dir string) error {
	folder, err := os.Getwd()
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(command{folder, p.args}, "", "  ")
	if err != nil {
		return err
	}
	root, err := regular.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	defer root.Close()
	if err := staged.Write(root, commandName, append(data, '\n'), true); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(dir, commandName), err)
	}
	return nil
}

// A mergeVerb is 'advsweep merge' with its flags.
type mergeVerb struct {
	output outputFlags
	mixed  bool
}

func newMerge() *cobra.Command {
	v := &mergeVerb{}
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
			if err := given(c); err != nil {
				return err
			}
			if slices.ContainsFunc(args, study.Is) {
				return v.studies(c, args)
			}
			return v.shards(c, args)
		},
	}
	c.Flags().BoolVar(&v.mixed, "allow-mixed", false, "of a study, also merge results of several backends, whose bits may differ")
	v.output.add(c)
	return c
}

// shards puts the shards of a sweep in dirs together, in --out.
func (v *mergeVerb) shards(c *cobra.Command, dirs []string) error {
	if v.mixed {
		return usagef("--allow-mixed is for studies: shards of one sweep have one manifest, which names the backend")
	}
	folder, err := report.OpenFolder(v.output.out, append(report.Names(), report.CertifiedNames()...)...)
	if err != nil {
		return err
	}
	m, res, err := rundir.Merge(v.output.out, dirs...)
	if err != nil {
		return err
	}
	warn(c.ErrOrStderr(), res)
	files, err := report.Files(m, res)
	if err != nil {
		return err
	}
	return finish(c, v.output.quiet, folder, files, func(w *bytes.Buffer) error { return printCurves(w, v.output.format, "", m, "", nil, res, files) })
}

// studies takes the results of copies of a study into the first of dirs, and merges it there.
func (v *mergeVerb) studies(c *cobra.Command, dirs []string) error {
	if c.Flags().Changed("out") || c.Flags().Changed("format") {
		return usagef("--out and --format are for sweeps: a study's runs are written to its own folder")
	}
	folder, unlock, err := study.Gather(release, v.mixed, dirs...)
	if err != nil {
		return err
	}
	defer unlock()
	return mergeStudy(c, v.output.quiet, folder, v.mixed)
}
