package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/backends"
	"advsweep/internal/chunklog"
	"advsweep/report"
)

// halfRun does half of a sweep of two chunks in a folder, as shards do, and leaves a command.json
// there that asks for all of it with args.
func halfRun(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	do(t, "sweep", "--backend", "cpu", "--n", "40", "--attack", "fgsm,pgd:steps=3", "--eps", "0.1", "--shard", "1/2", "--out", dir, "--quiet")
	saveArgs(t, dir, append([]string{"sweep", "--n", "40", "--attack", "fgsm,pgd:steps=3", "--eps", "0.1", "--out", dir, "--quiet"}, args...))
	return dir
}

func saveArgs(t *testing.T, dir string, args []string) {
	t.Helper()
	data, err := json.Marshal(command{Folder: dir, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, commandName), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// beginAs makes of the run in dir one that the backend began: it stores a chunk in a folder of its
// own under a manifest that names it.
func beginAs(t *testing.T, dir, backend string) string {
	t.Helper()
	manifest := bytes.Replace(read(t, dir, "manifest.json"), []byte(`"backend": "cpu"`), []byte(`"backend": "`+backend+`"`), 1)
	other := filepath.Join(t.TempDir(), backend)
	log, err := chunklog.Open(other, manifest, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Append(0, []byte("what it found")); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	saveArgs(t, other, []string{"sweep", "--n", "40", "--attack", "fgsm,pgd:steps=3", "--eps", "0.1", "--out", other})
	return other
}

// TestResumeOnCPUThoughCUDA wants a run that the CPU began to be finished by the CPU, whatever auto
// would choose here: with the simulated driver that is CUDA.
func TestResumeOnCPUThoughCUDA(t *testing.T) {
	dir := halfRun(t, "--backend", "auto")
	do(t, "resume", dir)
	v := decode(t, read(t, dir, "curve.json"))
	if v["backend"] != "cpu" {
		t.Errorf("backend %v, want that of the beginning, cpu", v["backend"])
	}
	whole := t.TempDir()
	do(t, "sweep", "--backend", "cpu", "--n", "40", "--attack", "fgsm,pgd:steps=3", "--eps", "0.1", "--out", whole, "--quiet")
	for _, name := range report.Names() {
		if !bytes.Equal(read(t, dir, name), read(t, whole, name)) {
			t.Errorf("%s differs from that of a run that nothing stopped", name)
		}
	}
}

// TestResumeWithoutBackend wants an error that names the backend, why it does not work, and what
// to do, and a folder that is as it was.
func TestResumeWithoutBackend(t *testing.T) {
	half := halfRun(t)
	cases := []struct {
		backend string
		wants   []string
	}{
		{"tpu", []string{"begun on tpu", `backend "tpu", want cpu or cuda`, "--backend cpu"}},
		{"cuda", []string{"begun on CUDA", "go on where cuda works", "--backend cpu"}},
	}
	for _, c := range cases {
		if e, err := backends.Lookup(c.backend); err == nil {
			if _, err := e.Devices(); err == nil {
				t.Logf("%s works here", c.backend)
				continue
			}
		}
		dir := beginAs(t, half, c.backend)
		before := read(t, dir, "chunks.log")
		text := fails(t, exitError, "resume", dir)
		for _, want := range c.wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q lacks %q", c.backend, text, want)
			}
		}
		if !bytes.Equal(before, read(t, dir, "chunks.log")) {
			t.Errorf("%s: the log has changed", c.backend)
		}
	}
}

// TestResumeOtherArithmetic wants no advice to resume from resume itself.
func TestResumeOtherArithmetic(t *testing.T) {
	dir := halfRun(t)
	t.Setenv("ADVSWEEP_DENSE", "1")
	text := fails(t, exitError, "resume", dir)
	if !strings.Contains(text, "float32 dense") || !strings.Contains(text, "same files, environment") || strings.Contains(text, "advsweep resume") {
		t.Errorf("got %q, want what differs and where to go on", text)
	}
}

// TestMergeOtherBackend wants the remedy of shards of one sweep by two backends.
func TestMergeOtherBackend(t *testing.T) {
	half := halfRun(t)
	other := beginAs(t, half, "cuda")
	text := fails(t, exitError, "merge", half, other, "--out", filepath.Join(t.TempDir(), "whole"))
	for _, want := range []string{"backend", "cuda", "cpu", "--shard I/N --backend"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
}

// TestAutoSays wants the text of every verb that computes to say at its top that auto chose the
// backend, what it may choose elsewhere and how to fix it, and to say nothing of it where nothing
// else could have been chosen.
func TestAutoSays(t *testing.T) {
	const says = "auto chose "
	for _, verb := range [][]string{
		{"sweep", "--n", "10", "--eps", "0.1", "--exact=false"},
		{"attack"},
		{"check", "--n", "10"},
		{"demo", "--n", "10", "--eps", "0.1"},
		{"compare", "mlp", "cnn", "--n", "10", "--eps", "0.1"},
	} {
		args := append(verb, "--quiet")
		if verb[0] != "check" {
			args = append(args, "--out", t.TempDir())
		}
		_, out, _ := advsweep(t, args...)
		head, _, _ := strings.Cut(out, "\n\n")
		if !strings.Contains(head, says) || !strings.Contains(head, ": --backend ") {
			t.Errorf("%s: the text begins with %q, want %q and how to fix it", verb[0], head, says)
		}
		for _, fixed := range [][]string{{"--backend", "cpu"}, {"--precision", "float64"}} {
			if _, out, _ := advsweep(t, append(args[:len(args):len(args)], fixed...)...); strings.Contains(out, says) || !strings.Contains(out, "cpu") {
				t.Errorf("%s %v: there was no choice, and it says %q", verb[0], fixed, out[:min(300, len(out))])
			}
		}
	}
}

// TestOtherBackendTakesPlace wants a line where a finished run gives way to one of other bits.
func TestOtherBackendTakesPlace(t *testing.T) {
	dir := t.TempDir()
	args := []string{"sweep", "--backend", "cpu", "--n", "10", "--eps", "0.1", "--quiet", "--out", dir}
	do(t, args...)
	if _, _, said := advsweep(t, args...); said != "" {
		t.Errorf("the same run again says %q", said)
	}
	t.Setenv("ADVSWEEP_DENSE", "1")
	if _, _, said := advsweep(t, args...); !strings.Contains(said, "a run by cpu, float32; this one is by cpu, float32 dense") {
		t.Errorf("got %q, want a line on the run whose place is taken", said)
	}
}
