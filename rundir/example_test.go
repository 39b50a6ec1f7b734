package rundir_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"reflect"

	"advsweep/backends"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"
	"advsweep/rundir"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A run is what fixes one sweep, and what computes it.
type run struct {
	sweep    pipeline.Sweep
	manifest record.Manifest
	set      *dataset.Set
	backend  pipeline.Backend
}

// prepare makes the run of 'advsweep sweep --backend cpu --n 100 --attack fgsm,bim --eps
// 0:0.2:0.1', of two chunks.
func prepare() run {
	m, err := model.Default()
	check(err)
	all, err := dataset.MNIST1000()
	check(err)
	set, err := all.Slice(0, 100)
	check(err)
	entry := backends.Always()
	b, arithmetic, err := entry.Open(m, backends.Spec{Precision: "float32"})
	check(err)
	s, err := pipeline.Text{Attack: "fgsm,bim", Eps: "0:0.2:0.1", Bounds: "none"}.Sweep()
	check(err)
	s.Exact, s.Rounded = true, true
	s, err = rundir.Fit(s, m, b, set)
	check(err)
	meta := record.Meta{Version: record.Version, Model: record.DescribeModel(m), Data: record.Describe(set), Seed: 1,
		Backend: entry.Name, Precision: b.Info().Precision}
	return run{s, record.New(meta, m, set, s, arithmetic), set, b}
}

// A sweep as the command does it: it goes on with what its folder has, and writes the same files.
func Example() {
	tmp, err := os.MkdirTemp("", "rundir")
	check(err)
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, "run")
	r := prepare()
	defer r.backend.Close()

	folder, err := report.OpenRun(dir, &r.manifest)
	check(err)
	found, _, err := rundir.Run(context.Background(), dir, &r.manifest, r.sweep, r.backend, r.set, rundir.Options{})
	check(err)
	files, err := report.Files(&r.manifest, found)
	check(err)
	check(folder.Write(files...))

	_, again, err := rundir.Read(dir)
	check(err)
	fmt.Println(again.Curves[0].Correct, "of", again.N)
	for _, f := range files {
		fmt.Println(f.Name)
	}
	// Output:
	// [100 1 0] of 100
	// curve.csv
	// curve.json
	// curve.png
	// curve.svg
	// images.csv
	// classes.csv
}

// Two shards, which two machines may do, are put together to what one run is.
func ExampleMerge() {
	tmp, err := os.MkdirTemp("", "rundir")
	check(err)
	defer os.RemoveAll(tmp)
	r := prepare()
	defer r.backend.Close()

	var dirs []string
	for i := range 2 {
		dirs = append(dirs, filepath.Join(tmp, fmt.Sprint("shard", i)))
		_, _, err := rundir.Run(context.Background(), dirs[i], &r.manifest, r.sweep, r.backend, r.set,
			rundir.Options{Shard: pipeline.Fraction{Index: i, Count: 2}})
		check(err)
	}
	whole := filepath.Join(tmp, "whole")
	m, found, err := rundir.Merge(whole, dirs...)
	check(err)
	check(report.Write(whole, m, found))
	fmt.Println(found.Curves[0].Correct, "of", found.N)
	// Output: [100 1 0] of 100
}

// A sweep that is stopped goes on where it was, and finds what one finds that was never stopped.
func ExampleRun_stopped() {
	tmp, err := os.MkdirTemp("", "rundir")
	check(err)
	defer os.RemoveAll(tmp)
	r := prepare()
	defer r.backend.Close()
	r.sweep.ChunkWork, r.manifest.Work = 60, 60 // small chunks, of which there are several

	compute := func(dir string, stop chan struct{}) (*pipeline.Result, rundir.State, error) {
		s := r.sweep
		s.Progress = func(done, total int) {
			if stop != nil && done > 0 {
				close(stop)
				stop = nil
			}
		}
		return rundir.Run(context.Background(), filepath.Join(tmp, dir), &r.manifest, s, r.backend, r.set, rundir.Options{Stop: stop})
	}
	_, st, err := compute("stopped", make(chan struct{}))
	fmt.Println(errors.Is(err, pipeline.ErrStopped), 0 < st.Done, st.Done < st.Total)
	resumed, st, err := compute("stopped", nil)
	check(err)
	whole, _, err := compute("whole", nil)
	check(err)
	one, err := os.ReadFile(filepath.Join(tmp, "stopped", "manifest.json"))
	check(err)
	two, err := os.ReadFile(filepath.Join(tmp, "whole", "manifest.json"))
	check(err)
	fmt.Println(st.Done == st.Total, string(one) == string(two), reflect.DeepEqual(resumed, whole))
	_, st, err = compute("whole", nil) // has all: nothing is put into the log
	check(err)
	fmt.Println(st.Done == st.Total, st.Appending)
	// Output:
	// true true true
	// true true true
	// true 0s
}
