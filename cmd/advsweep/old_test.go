package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"advsweep/record"
)

// old is a copy of a folder of testdata/0.1.0.
func old(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "0.1.0", name))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOlder gives every verb that reads or continues a folder one of version 0.1.0, whose records
// have another form: each refuses it by name, and leaves it as it is.
func TestOlder(t *testing.T) {
	sweep := []string{"sweep", "--backend", "cpu", "--n", "8", "--eps", "0,0.1", "--quiet"}
	now, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
	do(t, append(slices.Clone(sweep), "--out", now)...)
	finished, part1, part2, study := old(t, "finished"), old(t, "part1"), old(t, "part2"), old(t, "study")
	for _, dir := range []string{finished, part1} {
		how, err := json.Marshal(command{t.TempDir(), sweep})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, commandName), how, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "study.toml")
	if err := os.WriteFile(file, []byte("eps = \"0,0.1\"\n[[model]]\nfile = \"mlp\"\n[[data]]\nn = 8\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	const again = "use advsweep 0.1.0, or run the sweep again"
	const finish = "finish it with advsweep 0.1.0"
	const plan = "use 0.1.0 on all machines, or plan the study again in another folder"
	for _, c := range []struct {
		dir, want string
		args      []string
	}{
		{part1, finish, append(slices.Clone(sweep), "--out", part1)},
		// another run besides
		{part1, finish, append(slices.Clone(sweep), "--eps", "0,0.2", "--out", part1)},
		{part1, finish, []string{"resume", part1}},
		{finished, again, []string{"resume", finished}},
		{finished, again, []string{"report", finished}},
		{part1, finish, []string{"report", part1}},
		{finished, again, []string{"compare", now, finished, "--out", out}},
		{finished, again, []string{"compare", finished, now, "--out", out}},
		{part1, finish, []string{"merge", part1, part2, "--out", out}},
		{part2, finish, []string{"merge", now, part2, "--out", out}},
		{study, plan, []string{"plan", file, "--out", study}},
		{study, plan, []string{"work", study}},
		{study, plan, []string{"serve", study, "--http", "none", "--listen", "127.0.0.1:0"}},
		{study, plan, []string{"run-shard", study, "--index", "0", "--tasks", "1"}},
		{study, plan, []string{"status", study}},
		{study, plan, []string{"submit", study, "--on", "slurm"}},
		{study, plan, []string{"merge", study}},
		{study, plan, []string{"report", study}},
	} {
		before := content(t, c.dir)
		stderr := fails(t, exitError, c.args...)
		for _, want := range []string{c.dir, c.want, record.Version} {
			if !strings.Contains(stderr, want) {
				t.Errorf("advsweep %s: %q, want %q in it", strings.Join(c.args, " "), stderr, want)
			}
		}
		if !slices.Equal(content(t, c.dir), before) {
			t.Errorf("advsweep %s changes %s", strings.Join(c.args, " "), c.dir)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "chunks.log")); err == nil {
		t.Error("something was merged")
	}
	// Nothing that is finished is in the way: the sweep again takes its place.
	do(t, append(slices.Clone(sweep), "--out", finished)...)
	for _, name := range []string{"chunks.log", "manifest.json", "curve.csv"} {
		if !bytes.Equal(read(t, finished, name), read(t, now, name)) {
			t.Errorf("%s differs where an older run was", name)
		}
	}
	do(t, "resume", finished)
}

// content lists the files of dir that are not hidden, each with its bytes.
func content(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			all = append(all, e.Name()+"\x00"+string(read(t, dir, e.Name())))
		}
	}
	return all
}
