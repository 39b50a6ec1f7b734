package rundir_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/rundir"
)

// TestRead wants an error of its own type, with its fields, for each folder that has no finished
// run.
func TestRead(t *testing.T) {
	r := prepare()
	defer r.backend.Close()
	dir := t.TempDir()
	var none *rundir.NoRunError
	if _, _, err := rundir.Read(dir); !errors.As(err, &none) || none.Dir != dir || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v, want a NoRunError of it", err)
	}
	_, st, err := rundir.Run(context.Background(), dir, &r.manifest, r.sweep, r.backend, r.set, rundir.Options{Shard: pipeline.Fraction{Index: 0, Count: 2}})
	if err != nil {
		t.Fatal(err)
	}
	var unfinished *rundir.UnfinishedError
	if _, _, err := rundir.Read(dir); !errors.As(err, &unfinished) || unfinished.Dir != dir || unfinished.Done != st.Done || unfinished.Total != st.Total || unfinished.Err != nil {
		t.Errorf("half a run: %v, want an UnfinishedError with %v", err, st)
	}
	if _, _, err := rundir.Merge(filepath.Join(t.TempDir(), "whole"), dir); err == nil {
		t.Error("half a run is merged")
	}
	// Another run in its place.
	other := r.manifest
	other.Seed++
	unfinished = nil
	if _, _, err := rundir.Run(context.Background(), dir, &other, r.sweep, r.backend, r.set, rundir.Options{}); !errors.As(err, &unfinished) || unfinished.Err == nil {
		t.Errorf("another run on half a run: %v, want an UnfinishedError that says in what they differ", err)
	}
}

// TestReadVersion has a run by another version, and one whose chunks are not those of its manifest.
func TestReadVersion(t *testing.T) {
	r := prepare()
	defer r.backend.Close()
	dir := t.TempDir()
	other := r.manifest
	other.Version = "9.9"
	_, st, err := rundir.Run(context.Background(), dir, &other, r.sweep, r.backend, r.set, rundir.Options{Shard: pipeline.Fraction{Index: 0, Count: 2}})
	if err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(t.TempDir(), "whole")
	for what, f := range map[string]func() error{
		"Read":  func() error { _, _, err := rundir.Read(dir); return err },
		"Check": func() error { return rundir.CheckVersion(dir) },
		"Merge": func() error { _, _, err := rundir.Merge(whole, dir); return err },
		"Run": func() error {
			_, _, err := rundir.Run(context.Background(), dir, &r.manifest, r.sweep, r.backend, r.set, rundir.Options{})
			return err
		},
	} {
		var version *rundir.VersionError
		want := rundir.VersionError{Dir: dir, Version: "9.9", Done: st.Done, Total: st.Total}
		if err := f(); !errors.As(err, &version) || *version != want || !strings.Contains(err.Error(), record.Version) {
			t.Errorf("%s: %v, want %+v with both versions", what, err, want)
		}
	}
	empty := t.TempDir()
	if err := rundir.CheckVersion(empty); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	// A log that was only begun holds nothing, and a run goes on there.
	if err := os.WriteFile(filepath.Join(empty, "chunks.log"), []byte("adv"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := rundir.CheckVersion(empty); err != nil {
		t.Errorf("a log without a header: %v", err)
	}
	if _, _, err := rundir.Run(context.Background(), empty, &r.manifest, r.sweep, r.backend, r.set, rundir.Options{}); err != nil {
		t.Errorf("a run where a log was only begun: %v", err)
	}

	dir = t.TempDir()
	r.manifest.Work = 9
	if _, _, err := rundir.Run(context.Background(), dir, &r.manifest, r.sweep, r.backend, r.set, rundir.Options{}); err == nil {
		t.Error("a sweep that is not the manifest's: no error")
	}
	if _, _, err := rundir.Read(dir); err == nil || !strings.Contains(err.Error(), "not of its manifest") {
		t.Errorf("%v, want that the chunks are not of the manifest", err)
	}
}

// TestFit wants what cannot be asked to be left out, and images outside the bounds to be refused.
func TestFit(t *testing.T) {
	r := prepare()
	defer r.backend.Close()
	if !r.sweep.Exact || !r.sweep.Rounded {
		t.Errorf("%+v, want all that there is", r.sweep)
	}
	at0 := r.sweep
	at0.Eps = []float64{0}
	noise := r.sweep
	noise.Attacks = []attack.Attack{attack.Noise(1)}
	for _, s := range []pipeline.Sweep{at0, noise} {
		if rundir.CanBeExact(s) {
			t.Errorf("the curve of %s at %v is taken for exact", s.Attacks[0].Name, s.Eps)
		}
	}
	narrow := r.sweep
	narrow.Bounds = attack.Bounds{Lo: 0, Hi: 0.5}
	var bounds *rundir.BoundsError
	if _, err := rundir.Fit(narrow, nil, r.backend, r.set); !errors.As(err, &bounds) || bounds.Hi != 1 || !strings.Contains(err.Error(), r.manifest.Data.Images.Name) {
		t.Errorf("pixels outside of [0, 0.5]: %v, want a BoundsError", err)
	}
}

// TestCompare wants a run to differ in nothing from itself, and runs on other images to be refused.
func TestCompare(t *testing.T) {
	r := prepare()
	defer r.backend.Close()
	whole, half := t.TempDir(), t.TempDir()
	for dir, n := range map[string]int{whole: 100, half: 50} {
		set, err := r.set.Slice(0, n)
		if err != nil {
			t.Fatal(err)
		}
		m := r.manifest
		m.Data = record.Describe(set)
		if _, _, err := rundir.Run(context.Background(), dir, &m, r.sweep, r.backend, set, rundir.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	p, err := rundir.Compare(whole, whole)
	if err != nil || len(p.Left) > 0 || p.A.Data.N != 100 || p.Found == nil {
		t.Errorf("a run and itself: %v, %+v", err, p)
	}
	var mismatch *rundir.MismatchError
	if _, err := rundir.Compare(whole, half); !errors.As(err, &mismatch) || mismatch.A != whole || mismatch.B != half {
		t.Errorf("100 images and 50: %v, want a MismatchError with both folders", err)
	}
}
