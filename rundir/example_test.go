package rundir_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"reflect"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/rundir"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A sweep that is stopped goes on where it was, and finds what one finds that was never stopped.
func Example() {
	tmp, err := os.MkdirTemp("", "rundir")
	check(err)
	defer os.RemoveAll(tmp)
	m, err := model.Embedded("mlp")
	check(err)
	all, err := dataset.MNIST1000()
	check(err)
	set, err := all.Slice(0, 100)
	check(err)
	b, err := cpu.New[float32](m, cpu.Options{})
	check(err)
	defer b.Close()
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0, 0.1, 0.2}, Outcomes: true, ChunkWork: 60}
	manifest := record.New(record.Meta{Model: record.Source(m.Source), Data: record.Describe(set), Backend: "cpu", Precision: "float32"}, m, set, s, "float32")

	run := func(dir string, stop chan struct{}) (*pipeline.Result, rundir.State, error) {
		s := s
		s.Progress = func(done, total int) {
			if stop != nil && done > 0 {
				close(stop)
				stop = nil
			}
		}
		return rundir.Run(context.Background(), filepath.Join(tmp, dir), &manifest, s, b, set, rundir.Options{Stop: stop})
	}
	_, st, err := run("stopped", make(chan struct{}))
	fmt.Println(errors.Is(err, pipeline.ErrStopped), 0 < st.Done, st.Done < st.Total)
	resumed, st, err := run("stopped", nil)
	check(err)
	whole, _, err := run("whole", nil)
	check(err)
	one, err := os.ReadFile(filepath.Join(tmp, "stopped", "manifest.json"))
	check(err)
	two, err := os.ReadFile(filepath.Join(tmp, "whole", "manifest.json"))
	check(err)
	fmt.Println(st.Done == st.Total, string(one) == string(two), reflect.DeepEqual(resumed, whole))
	// Output:
	// true true true
	// true true true
}
