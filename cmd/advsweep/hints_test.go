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
	"advsweep/study"
)

// TestHints wants the flag in what a user reads, for errors of each type.
func TestHints(t *testing.T) {
	for need, hint := range hints {
		err := hinted(fmt.Errorf("outer: %w", remedy.Want(need, errors.New("inner"))))
		if want := "outer: inner (" + hint + ")"; err.Error() != want {
			t.Errorf("%s: %q, want %q", need, err, want)
		}
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{&study.MixedError{}, "--allow-mixed"},
		{&chunklog.LockedError{}, "--out"},
		{&chunklog.VersionError{}, "--out"},
		{&chunklog.OtherRunError{Than: "here"}, "--out"},
	} {
		if err := hinted(c.err); !strings.Contains(err.Error(), c.want) || !errors.Is(err, c.err) {
			t.Errorf("%T: %q, want %s", c.err, err, c.want)
		}
	}
	if err := errors.New("plain"); hinted(err) != err {
		t.Error("a hint on an error that has none")
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
	// Slurm's, the command of a job, a property of CSS
	allowed := regexp.MustCompile(`#SBATCH|run-shard %s --tasks|"--share:`)
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
