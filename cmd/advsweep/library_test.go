package main

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/backends"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"
	"advsweep/rundir"
)

// TestLibrary does what 'advsweep sweep' does by the packages that anybody can call, and wants the
// same files, byte for byte, the index of the folder included. command.json alone is the command's.
// run.json says how long each part took, so the times in it are taken over.
func TestLibrary(t *testing.T) {
	byCommand, byLibrary := t.TempDir(), t.TempDir()
	do(t, "sweep", "--backend", "cpu", "--n", "60", "--attack", "fgsm,pgd:steps=3,noise,worst", "--eps", "0:0.2:0.1", "--bounds", "0,1",
		"--seed", "7", "--save-images", "0.1", "--out", byCommand)
	var timed struct {
		Device  string
		Threads int
		Seconds record.Seconds
		Parts   backend.Spent
	}
	if err := json.Unmarshal(read(t, byCommand, report.RunName), &timed); err != nil {
		t.Fatal(err)
	}

	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	m, err := model.Default()
	check(err)
	all, err := dataset.MNIST1000()
	check(err)
	set, err := all.Slice(0, 60)
	check(err)
	entry, err := backends.Lookup("cpu")
	check(err)
	b, product, err := entry.Open(m, backends.Spec{Precision: "float32"})
	check(err)
	defer b.Close()
	s, err := pipeline.Text{Attack: "fgsm,pgd:steps=3,noise,worst", Eps: "0:0.2:0.1", Bounds: "0,1", Seed: 7}.Sweep()
	check(err)
	s.Exact, s.Rounded = true, true
	s, err = rundir.Fit(s, m, b, set)
	check(err)
	meta := record.Meta{Version: record.Version, Model: record.DescribeModel(m), Data: record.Describe(set), Seed: 7, Backend: entry.Name, Precision: b.Info().Precision}
	manifest := record.New(meta, m, set, s, product)
	saved := report.SavedNames(s.Attacks, set)
	folder, err := report.OpenRun(byLibrary, &manifest, slices.Concat(saved...)...)
	check(err)
	found, _, err := rundir.Run(t.Context(), byLibrary, &manifest, s, b, set, rundir.Options{})
	check(err)
	files, err := report.Files(&manifest, found)
	check(err)
	meta.Device = timed.Device
	data, err := record.RunJSON(meta, timed.Threads, timed.Seconds, &timed.Parts)
	check(err)
	check(folder.Write(append(files, report.File{Name: report.RunName, Data: data})...))
	check(rundir.CraftEach(t.Context(), b, set, s, 0.1, nil, func(at int, c *pipeline.Crafted) error {
		files, err := report.SavedFiles(saved[at], c, set, found.Images)
		check(err)
		return folder.Write(files...)
	}))

	sameFiles(t, byLibrary, byCommand, commandName)
	if !slices.ContainsFunc(s.Attacks, attack.Attack.Composite) || len(found.Curves) != 4 {
		t.Errorf("%d curves, want 4, one of them of all attacks", len(found.Curves))
	}
}

// TestLibraryMerge puts together by library calls what 'advsweep merge' does.
func TestLibraryMerge(t *testing.T) {
	one, two, byCommand, byLibrary := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	for i, dir := range []string{one, two} {
		do(t, "sweep", "--backend", "cpu", "--attack", "fgsm,bim", "--n", "60", "--eps", "0,0.1", "--shard", []string{"1/2", "2/2"}[i], "--out", dir)
	}
	do(t, "merge", one, two, "--out", byCommand)
	m, found, err := rundir.Merge(byLibrary, two, one)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Write(byLibrary, m, found); err != nil {
		t.Fatal(err)
	}
	sameFiles(t, byLibrary, byCommand)
}

// sameFiles fails unless both folders hold the same files but those left out.
func sameFiles(t *testing.T, got, want string, leftOut ...string) {
	t.Helper()
	names := func(dir string) (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !slices.Contains(leftOut, e.Name()) {
				names = append(names, e.Name())
			}
		}
		return names
	}
	if g, w := names(got), names(want); !slices.Equal(g, w) {
		t.Fatalf("files %q, want %q", g, w)
	}
	for _, name := range names(want) {
		if !bytes.Equal(read(t, got, name), read(t, want, name)) {
			t.Errorf("%s differs", name)
		}
	}
}
