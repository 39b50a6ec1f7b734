package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"advsweep/internal/counts"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/report"
)

// process is advsweep with args as a process of its own.
func process(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), "ADVSWEEP_TEST_PROGRAM=1")
	return c
}

// manyChunks writes a small model and returns the command line of a sweep on it of about 60 chunks.
func manyChunks(t *testing.T) []string {
	t.Helper()
	data, err := ref.RandomModel(rand.New(rand.NewPCG(1, 2)), 1, 784, 3, 10).Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "small.safetensors")
	if err := os.WriteFile(name, data, 0o666); err != nil {
		t.Fatal(err)
	}
	return []string{"sweep", "--backend", "cpu", "--quiet", "--model", name, "--n", "90", "--eps", "0:0.3:0.1", "--attack", "fgsm,noise,pgd:steps=300:restarts=5:seed=7,worst", "--bounds", "0,1"}
}

// sameRun fails unless the folders hold the same results, the log included, and nothing that a kill
// left.
func sameRun(t *testing.T, got, want string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(got, ".tmp-*")); left != nil {
		t.Errorf("temporary files are left: %q", left)
	}
	for _, name := range append([]string{"manifest.json", "chunks.log"}, report.Names()...) {
		if !bytes.Equal(read(t, got, name), read(t, want, name)) {
			t.Errorf("%s differs from that of a run that nothing stopped", name)
		}
	}
}

// eachForm runs test on a sweep whose rows are asked and on one that is read off its walks.
func eachForm(t *testing.T, test func(t *testing.T, args []string)) {
	for name, args := range map[string]func(*testing.T) []string{"rows": manyChunks, "walks": manyWalks} {
		t.Run(name, func(t *testing.T) { test(t, args(t)) })
	}
}

// TestKill kills sweeps as kill -9 does, at random moments, until they are done all the same: 12
// times at least, 40 in the long form. Each time the same command or resume goes on, and the files
// are those of a run that nothing stopped.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	eachForm(t, testKill)
}

func testKill(t *testing.T, args []string) {
	whole := t.TempDir()
	do(t, append(args, "--out", whole)...)
	r := rand.New(rand.NewPCG(3, 4))
	kills, writing, wanted := 0, 0, counts.Wanted(t, "run-kills", testsize.Of(0, 6, 20))
	counted := counts.Start(t, "run-kills")
	for round := 0; kills < wanted; round++ {
		if round == 10+wanted/5 {
			t.Fatalf("%d kills in %d runs: they end too soon", kills, round)
		}
		dir := filepath.Join(t.TempDir(), "out")
		for done := false; !done; {
			again := append(slices.Clone(args), "--out", dir)
			if _, err := os.Stat(filepath.Join(dir, commandName)); err == nil && r.IntN(2) == 0 {
				again = []string{"resume", dir}
			}
			p := process(t, again...)
			var stderr bytes.Buffer
			p.Stderr = &stderr
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			// After a few more chunks, so that it goes on however slow the machine is, and a random
			// while.
			size := func() int64 {
				info, err := os.Stat(filepath.Join(dir, "chunks.log"))
				if err != nil {
					return 0
				}
				return info.Size()
			}
			until := size() + int64(r.IntN(2_500))
			wait := time.Duration(r.IntN(20_000)) * time.Microsecond
			for alive := true; alive; {
				select {
				case err := <-ended:
					if err != nil {
						t.Fatalf("advsweep %s: %v\n%s", strings.Join(again, " "), err, stderr.String())
					}
					alive, done = false, true
				case <-time.After(time.Millisecond):
					if size() > until {
						time.Sleep(wait)
						if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
							t.Fatal(err)
						}
						if <-ended != nil {
							kills++
							counted.Add(1)
							if _, err := os.Stat(filepath.Join(dir, "curve.csv")); err != nil {
								writing++
							}
						} else {
							done = true
						}
						alive = false
					}
				}
			}
		}
		sameRun(t, dir, whole)
	}
	t.Logf("%d kills, %d before the results were written", kills, writing)
	if writing < wanted*4/5 {
		t.Errorf("%d of %d kills came before the results were written, want most", writing, kills)
	}
}

// TestCtrlC stops a sweep by one interrupt, which finishes the chunk in hand, and by two.
func TestCtrlC(t *testing.T) { eachForm(t, testCtrlC) }

func testCtrlC(t *testing.T, args []string) {
	for signals := 1; signals <= 2; signals++ {
		dir := t.TempDir()
		p := process(t, append(slices.Clone(args), "--out", dir)...)
		var stderr bytes.Buffer
		p.Stderr = &stderr
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		for {
			if info, err := os.Stat(filepath.Join(dir, "chunks.log")); err == nil && info.Size() > 10_000 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		for range signals {
			if err := p.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		var exit *exec.ExitError
		if err := p.Wait(); !errors.As(err, &exit) || exit.ExitCode() != exitError {
			t.Errorf("%d interrupts: %v, want exit code %d", signals, err, exitError)
		}
		if want := "advsweep resume " + dir; !strings.Contains(stderr.String(), want) || strings.Contains(stderr.String(), " 0 of ") {
			t.Errorf("%d interrupts: %q, want %q and some chunks done", signals, stderr.String(), want)
		}
	}
}

// TestShards does parts in folders of their own, and puts them together in any order.
func TestShards(t *testing.T) { eachForm(t, testShards) }

func testShards(t *testing.T, args []string) {
	whole, dirs := t.TempDir(), []string{}
	do(t, append(args, "--out", whole)...)
	for i := range 3 {
		dir := t.TempDir()
		dirs = append(dirs, dir)
		code, _, stderr := advsweep(t, append(slices.Clone(args), "--out", dir, "--shard", fmt.Sprintf("%d/3", i+1))...)
		if _, err := os.Stat(filepath.Join(dir, "curve.csv")); code != exitDone || err == nil {
			t.Fatalf("shard %d: exit code %d, %s", i+1, code, stderr)
		}
	}
	merged := filepath.Join(t.TempDir(), "merged")
	do(t, "merge", dirs[2], dirs[0], dirs[1], "--out", merged)
	sameRun(t, merged, whole)

	other := t.TempDir()
	do(t, append(slices.Clone(args), "--out", other, "--shard", "3/3", "--seed", "9", "--n", "89")...)
	damaged := t.TempDir()
	if err := os.CopyFS(damaged, os.DirFS(dirs[2])); err != nil {
		t.Fatal(err)
	}
	log := read(t, damaged, "chunks.log")
	log[len(log)/2] ^= 1
	if err := os.WriteFile(filepath.Join(damaged, "chunks.log"), log, 0o666); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		dirs []string
		want string
	}{
		"gap":     {dirs[:2], "chunks 2"},
		"overlap": {[]string{dirs[0], dirs[1], dirs[2], dirs[1]}, dirs[1]},
		"other":   {[]string{dirs[0], dirs[1], other}, "n: 89"},
		"damaged": {[]string{dirs[0], dirs[1], damaged}, filepath.Join(damaged, "chunks.log")},
		"no run":  {[]string{dirs[0], t.TempDir()}, "no "},
	} {
		out := filepath.Join(t.TempDir(), "out")
		code, _, stderr := advsweep(t, append([]string{"merge", "--out", out}, c.dirs...)...)
		if code != exitError || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, %q; want %d and %q", name, code, stderr, exitError, c.want)
		}
		if _, err := os.Stat(filepath.Join(out, "curve.csv")); err == nil {
			t.Errorf("%s: results were written", name)
		}
	}
}

// TestFolders: what is in --out already is gone on with, given way to, or named.
func TestFolders(t *testing.T) {
	args := []string{"sweep", "--backend", "cpu", "--attack", "fgsm,noise,bim", "--n", "20", "--eps", "0,0.1"}
	dir := t.TempDir()
	do(t, append(args, "--out", dir)...)
	before := read(t, dir, "curve.csv")
	code, _, stderr := advsweep(t, append(args, "--out", dir)...)
	if code != exitDone || !strings.Contains(stderr, "has 3 of 3 chunks already") || !bytes.Equal(before, read(t, dir, "curve.csv")) {
		t.Errorf("the same run again: exit code %d, %q", code, stderr)
	}
	do(t, append(args, "--out", dir, "--seed", "2")...) // a finished run gives way
	if bytes.Equal(before, read(t, dir, "manifest.json")) {
		t.Error("another run leaves the manifest as it is")
	}

	unfinished := t.TempDir()
	do(t, append(args, "--out", unfinished, "--shard", "1/2")...)
	code, _, stderr = advsweep(t, append(args, "--out", unfinished, "--eps", "0,0.2")...)
	if code != exitError || !strings.Contains(stderr, "eps") || !strings.Contains(stderr, "advsweep resume") {
		t.Errorf("another run where one is unfinished: exit code %d, %q", code, stderr)
	}
}
