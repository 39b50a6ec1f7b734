package main

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestSmooth: the table stands on standard output and says what is certified, and the files are the
// same bytes with other threads.
func TestSmooth(t *testing.T) {
	dir := t.TempDir()
	common := []string{"smooth", "--backend", "cpu", "--n", "3", "--n0", "20", "--draws", "300", "--seed", "4"}
	text := do(t, append(common, "--out", filepath.Join(dir, "a"), "--threads", "1")...)
	for _, part := range []string{"noise    sigma 0.25; 20 draws choose, 300 count; chance of a failure 0.001; seed 4\n\nradius  certified of 3, ",
		"\n0.00    3 100.0 (43.9-100.0)\n", "\nnetwork itself        right of 3 of 3, ", "not the network itself", "Of each image the radius is wrong with a chance of at most 0.001.\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q:\n%s", part, text)
		}
	}
	do(t, append(common, "--out", filepath.Join(dir, "b"), "--threads", "2", "-q")...)
	for _, name := range []string{"smooth.csv", "smooth.json", "smooth.png", "smooth.svg"} {
		if a, b := read(t, dir, "a", name), read(t, dir, "b", name); !bytes.Equal(a, b) {
			t.Errorf("%s differs between one thread and two", name)
		}
	}
	csv := string(read(t, dir, "a", "smooth.csv"))
	if got := do(t, append(common, "--out", filepath.Join(dir, "c"), "--format", "csv", "-q")...); got != csv {
		t.Errorf("--format csv:\n%s\nwant\n%s", got, csv)
	}
	v := decode(t, []byte(do(t, append(common, "--out", filepath.Join(dir, "d"), "--format", "json", "-q")...)), "model", "sigma", "n0", "draws", "alpha", "steps", "mean_radius")
	if v["images_asked"] != 3.0 || v["smoothed_correct"] != 3.0 {
		t.Errorf("%v images asked, %v right, want 3 and 3", v["images_asked"], v["smoothed_correct"])
	}
}

// A counting context ends once it was asked so many times whether it has.
type counting struct {
	context.Context
	left atomic.Int64
}

func (c *counting) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// TestSmoothStops: what is finished when the user stops is written, and the rest is certified by the
// flags that the message says: together they are the rows of one run.
func TestSmoothStops(t *testing.T) {
	dir := t.TempDir()
	args := func(out string, more ...string) []string {
		return append([]string{"smooth", "--backend", "cpu", "--threads", "1", "--n0", "20", "--draws", "300", "-q", "--out", filepath.Join(dir, out)}, more...)
	}
	whole := &counting{Context: t.Context()}
	const plenty = 1 << 40
	whole.left.Store(plenty)
	var stdout, stderr bytes.Buffer
	if code := run(whole, args("whole", "--n", "4"), &stdout, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	rows := strings.SplitAfter(string(read(t, dir, "whole", "smooth.csv")), "\n")
	asked := plenty - whole.left.Load()
	part := &counting{Context: t.Context()}
	part.left.Store(asked * 5 / 8) // within the third of four images
	stdout.Reset()
	if code := run(part, args("part", "--n", "4"), &stdout, &stderr); code != exitError || !strings.Contains(stderr.String(), "stopped: 2 of 4 images are certified and written to ") ||
		!strings.HasSuffix(stderr.String(), "; --offset 2 --n 2 and another --out do the rest\n") {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	if !strings.Contains(stdout.String(), "certified of 2, ") {
		t.Errorf("the table of what is finished:\n%s", stdout.String())
	}
	do(t, args("rest", "--n", "2", "--offset", "2")...)
	if got, want := string(read(t, dir, "part", "smooth.csv")), strings.Join(rows[:3], ""); got != want {
		t.Errorf("finished:\n%s\nwant\n%s", got, want)
	}
	if got, want := string(read(t, dir, "rest", "smooth.csv")), rows[0]+strings.Join(rows[3:], ""); got != want {
		t.Errorf("the rest:\n%s\nwant\n%s", got, want)
	}
	if v := decode(t, read(t, dir, "part", "smooth.json"), "images_asked", "data"); v["images_asked"] != 4.0 || v["data"].(map[string]any)["n"] != 2.0 {
		t.Errorf("%v asked and %v found, want 4 and 2", v["images_asked"], v["data"])
	}
	none := &counting{Context: t.Context()}
	none.left.Store(asked / 8)
	stderr.Reset()
	if code := run(none, args("none", "--n", "4"), &stdout, &stderr); code != exitError || !strings.Contains(stderr.String(), "interrupted; no result was written") {
		t.Errorf("stopped at once: exit code %d: %s", code, stderr.String())
	}
}

func TestSmoothRefuses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	for line, want := range map[string]string{
		"--sigma 0":        "--sigma 0, want a finite number above 0",
		"--sigma nan":      "--sigma NaN, want a finite number above 0",
		"--n0 0":           "--n0 0, want 1 to 1000000000",
		"--draws -1":       "--draws -1, want 1 to 1000000000",
		"--draws 9":        "--draws 9, too few to certify anything with a chance of failure of 0.001, want at least 10",
		"--failure 1":      "--failure 1, want a chance between 0 and 1",
		"--n 0":            "--n 0, want at least 1",
		"--alpha 0.01":     "--alpha 0.01: here it is of transparent pixels; alpha of the paper is --failure 0.01",
		"--alpha grey":     "want white or drop or refuse",
		"--out ":           "--out is empty",
		"--format xml":     `--format "xml", want table, json or csv`,
		"--model none.npz": "none.npz",
	} {
		flag, value, _ := strings.Cut(line, " ")
		args := []string{"smooth", "--out", out, flag, value}
		if code, stdout, stderr := advsweep(t, args...); code == exitDone || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %q, want %q", line, code, stderr, want)
		}
	}
}
