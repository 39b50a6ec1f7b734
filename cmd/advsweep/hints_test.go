package main

import (
	"errors"
	"fmt"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"advsweep/internal/chunklog"
	"advsweep/internal/remedy"
	"advsweep/report"
	"advsweep/rundir"
	"advsweep/study"

	"github.com/spf13/cobra"
)

// errorsWithHints is one error of each kind that a hint is of, and for each need one.
func errorsWithHints() map[string]error {
	all := map[string]error{
		"taken":       &report.TakenError{Path: "a", Why: "is there"},
		"make":        &report.MakeError{Dir: "a", Err: errors.New("no")},
		"another run": &rundir.UnfinishedError{Dir: "a", Err: errors.New("other")},
		"unfinished":  &rundir.UnfinishedError{Dir: "a"},
		"older":       &rundir.VersionError{Dir: "a", Version: "0.1.0", Done: 1, Total: 2},
		"no run":      &rundir.NoRunError{Dir: "a"},
		"not merged":  &study.NotMergedError{Run: "r", Dir: "a", Err: errors.New("no")},
		"mixed":       &study.MixedError{},
		"locked":      &chunklog.LockedError{},
		"version":     &chunklog.VersionError{},
		"other run":   &chunklog.OtherRunError{Than: "here"},
	}
	for _, need := range remedy.Needs {
		all[string(need)] = remedy.Want(need, errors.New("inner"))
	}
	return all
}

// TestHintsOfVerbs wants, of every verb and every error, no hint at a flag that the verb does not
// have: one of another verb is named with that verb. Each error has a hint somewhere.
func TestHintsOfVerbs(t *testing.T) {
	root := newRoot(&program{})
	verbs := map[string]*cobra.Command{}
	for _, c := range root.Commands() {
		verbs[c.Name()] = c
	}
	other := regexp.MustCompile(`'advsweep ([a-z-]+)([^']*)'`)
	flag := regexp.MustCompile(`--([a-z-]+)`)
	hinted := map[string]bool{}
	for name, c := range verbs {
		for what, err := range errorsWithHints() {
			err := fmt.Errorf("outer: %w", err)
			got := mended(c, err)
			if !errors.Is(got, err) {
				t.Errorf("%s: %s: %v does not wrap the error", name, what, got)
			}
			hint := strings.TrimPrefix(got.Error(), err.Error())
			hinted[what] = hinted[what] || hint != ""
			for _, m := range other.FindAllStringSubmatch(hint, -1) {
				for _, f := range flag.FindAllStringSubmatch(m[2], -1) {
					if verbs[m[1]] == nil || verbs[m[1]].Flags().Lookup(f[1]) == nil {
						t.Errorf("%s: %s: %q, but %s has no --%s", name, what, hint, m[1], f[1])
					}
				}
			}
			for _, f := range flag.FindAllStringSubmatch(other.ReplaceAllString(hint, ""), -1) {
				if c.Flags().Lookup(f[1]) == nil {
					t.Errorf("%s: %s: %q, but it has no --%s", name, what, hint, f[1])
				}
			}
		}
	}
	for what := range errorsWithHints() {
		if !hinted[what] {
			t.Errorf("%s: no verb has a hint", what)
		}
	}
	if len(verbs) < 17 || mended(root, nil) != nil {
		t.Errorf("%d verbs; of no error: %v", len(verbs), mended(root, nil))
	}
	if err := errors.New("plain"); mended(verbs["sweep"], err) != err {
		t.Error("a hint on an error that has none")
	}
}

// TestHints wants the flag in what a user reads.
func TestHints(t *testing.T) {
	root := newRoot(&program{})
	for _, c := range []struct {
		verb string
		err  error
		want string
	}{
		{"merge", &study.MixedError{}, "--allow-mixed mixes them"},
		{"sweep", &chunklog.LockedError{}, "--out"},
		{"sweep", &chunklog.VersionError{}, "--out"},
		{"sweep", &chunklog.OtherRunError{Than: "here"}, "--out"},
		{"sweep", &report.TakenError{}, ": choose another --out or move it away"},
		{"work", &report.TakenError{}, ": move it away"},
		{"resume", &rundir.UnfinishedError{Dir: "a"}, ": finish it with 'advsweep resume a', or merge all shards"},
		{"work", remedy.Want(remedy.ServeMixed, &study.MixedError{}), ": 'advsweep serve --allow-mixed' mixes them"},
	} {
		command, _, err := root.Find([]string{c.verb})
		if err != nil {
			t.Fatal(err)
		}
		if err := mended(command, c.err); !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s: %T: %q, want %s", c.verb, c.err, err, c.want)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "curve.csv"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := advsweep(t, "sweep", "--backend", "cpu", "--n", "1", "--eps", "0", "--out", dir); code != exitError || !strings.Contains(stderr, "curve.csv was not written by advsweep") || !strings.Contains(stderr, "--out") {
		t.Errorf("exit code %d, %q: want the file and the flag", code, stderr)
	}
	if code, _, stderr := advsweep(t, "work", "nats://user:secret@127.0.0.1:1"); code != exitError || !strings.Contains(stderr, "--credentials FILE") {
		t.Errorf("exit code %d, %q: want --credentials FILE", code, stderr)
	}
}

// TestNoFlagsBelow wants no flag of the command in a string below cmd: a program with other flags,
// or none, would mislead with it.
func TestNoFlagsBelow(t *testing.T) {
	flag := regexp.MustCompile(`(^|[\s"'(])--[a-z]`)
	// Slurm's, the command of a job, a property of CSS, and the lines of programs that write ONNX
	allowed := regexp.MustCompile(`#SBATCH|run-shard %s --tasks|"--share:|-m tf2onnx\.convert --|optimum-cli export onnx --`)
	files := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "cmd" || d.Name() == "build" || d.Name() == "tools" || strings.HasPrefix(d.Name(), ".") && d.Name() != ".." && path != "../..") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		var s scanner.Scanner
		s.Init(set.AddFile(path, -1, len(data)), data, nil, 0)
		for {
			pos, tok, text := s.Scan()
			if tok == token.EOF {
				return nil
			}
			if tok == token.STRING && flag.MatchString(text) && !allowed.MatchString(text) {
				t.Errorf("%s: a flag in %s", set.Position(pos), text)
			}
		}
	})
	if err != nil || files < 100 {
		t.Errorf("%d files, %v", files, err)
	}
}
