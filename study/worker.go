package study

import (
	"context"
	"errors"
	"fmt"

	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
)

// A Device is what a worker computes on.
type Device struct {
	Name    string // for people: "cpu (amd64 avx512)", "cuda:0 NVIDIA H100"
	Backend string // "cpu", "cuda"
	// Open opens the device for a model at a precision. mathMode is the arithmetic of a manifest;
	// the device computes with that if it can. got is what it computes with, which a manifest would
	// hold.
	Open func(m *model.Model, precision, mathMode string) (b pipeline.Backend, got string, err error)
}

// Inputs gives inputs by their SHA-256 and checks that they have it. A *Folder is one.
type Inputs interface {
	Input(hash string) ([]byte, error)
}

// A Worker does shards of one plan on one device, one at a time. It keeps the run open that it
// opened last, because shards of a run follow each other.
//
// NewWorker sets the first four fields. Prepare and Close change the others, and none of its
// methods may be called while another runs.
type Worker struct {
	plan   *Plan
	inputs Inputs
	device Device
	mixed  bool

	prints map[record.Arithmetic]string // fingerprints, by an Arithmetic without one
	run    int                          // the run that is open; -1: none
	open   opened                       // what is open of it
}

// opened is what a worker holds of the run that is open.
type opened struct {
	arithmetic record.Arithmetic
	backend    pipeline.Backend
	set        *dataset.Set
	sweep      pipeline.Sweep
	classes    int
}

// NewWorker returns a worker. With mixed it does runs that are planned for another arithmetic too.
func NewWorker(plan *Plan, inputs Inputs, device Device, mixed bool) *Worker {
	return &Worker{plan: plan, inputs: inputs, device: device, mixed: mixed, prints: map[record.Arithmetic]string{}, run: -1}
}

// Close frees the device.
func (w *Worker) Close() error {
	if w.run < 0 {
		return nil
	}
	w.run = -1
	return w.open.backend.Close()
}

// A MixedError says that a device computes otherwise than a run was planned for.
type MixedError struct {
	Run    string
	Device string
	Want   string // backend and math mode
	Got    record.Arithmetic
}

func (e *MixedError) Error() string {
	return fmt.Sprintf("study: run %s is planned for %s, and %s computes with %s %s, whose bits may differ: they are mixed only if that is allowed, which is marked in the results",
		e.Run, e.Want, e.Device, e.Got.Backend, e.Got.MathMode)
}

// Prepare opens run i, and returns how its results are computed. It returns a *MixedError if that
// is not what was planned.
func (w *Worker) Prepare(i int) (record.Arithmetic, error) {
	if i == w.run {
		return w.open.arithmetic, nil
	}
	if err := w.Close(); err != nil {
		return record.Arithmetic{}, err
	}
	r := &w.plan.Runs[i]
	m := &r.Manifest
	data, err := w.inputs.Input(r.Model)
	if err != nil {
		return record.Arithmetic{}, err
	}
	mod, err := decodeModel(data, m.Model)
	if err != nil {
		return record.Arithmetic{}, err
	}
	if data, err = w.inputs.Input(r.Images); err != nil {
		return record.Arithmetic{}, err
	}
	set, err := decodeSet(data, m)
	if err != nil {
		return record.Arithmetic{}, err
	}
	b, mathMode, err := w.device.Open(mod, m.Precision, m.Arithmetic)
	if err != nil {
		return record.Arithmetic{}, err
	}
	a := record.Arithmetic{Backend: w.device.Backend, Precision: b.Info().Precision, MathMode: mathMode}
	if got, want := a, m.Planned(); got != want && !w.mixed {
		return a, errors.Join(&MixedError{Run: r.Name, Device: w.device.Name, Want: m.Backend + " " + m.Arithmetic, Got: a}, b.Close())
	}
	print, ok := w.prints[a]
	if !ok {
		print, err = pipeline.Fingerprint(func(probe *model.Model) (pipeline.Backend, error) {
			b, _, err := w.device.Open(probe, m.Precision, m.Arithmetic)
			return b, err
		})
		if err != nil {
			return a, errors.Join(fmt.Errorf("study: fingerprint of %s: %w", w.device.Name, err), b.Close())
		}
		w.prints[a] = print
	}
	a.Fingerprint = print
	w.run, w.open = i, opened{a, b, set, m.Sweep(), m.Classes}
	return a, nil
}

// Do does shard s. It calls progress, if given, now and then from this goroutine. Once stop is
// closed it returns pipeline.ErrStopped after the chunk in hand.
func (w *Worker) Do(ctx context.Context, stop <-chan struct{}, s Shard, progress func(done, total int)) (*Result, error) {
	a, err := w.Prepare(s.Run)
	if err != nil {
		return nil, err
	}
	log := pipeline.Memory{}
	sweep := w.open.sweep
	sweep.Progress = progress
	if err := sweep.WorkUntil(ctx, stop, w.open.backend, w.open.set, log, s); err != nil {
		return nil, err
	}
	r := &Result{Arithmetic: a}
	for i := s.From; i < s.To; i++ {
		r.Chunks = append(r.Chunks, log[i])
	}
	return r, nil
}
