package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/record"
	"advsweep/study"
)

// wrongResult is a result of s that its shard can have found, and has not: a bit of truth, its
// result, is another one.
func wrongResult(t testing.TB, f *study.Folder, truth []byte, s study.Shard) *study.Result {
	t.Helper()
	r, err := study.DecodeResult(s, truth)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Chunks {
		for k := range r.Chunks[i] {
			for bit := range 8 {
				one := &study.Result{Arithmetic: r.Arithmetic, Chunks: append([][]byte(nil), r.Chunks...)}
				one.Chunks[i] = bytes.Clone(one.Chunks[i])
				one.Chunks[i][k] ^= 1 << bit
				if f.Check(s, one) == nil {
					return one
				}
			}
		}
	}
	t.Fatalf("no bit of shard %d makes another result", s.Index)
	return nil
}

// untilThere waits until so many workers are there: what nobody else is there to do twice is not.
func untilThere(ctx context.Context, there *atomic.Int32, n int32) {
	for there.Load() < n && pause(ctx, 10*time.Millisecond) {
	}
}

// TestLies has a worker that finds wrong results of all shards. Some shards are done twice, so it is
// found out: it is excluded and ends, and what it found is done again. Without that all its results
// were in the merged files.
func TestLies(t *testing.T) {
	f := newStudy(t, 3)
	want := inProcess(t, f)
	var last Snapshot
	var there atomic.Int32
	r := serve(t, f, ServeOptions{Trust: Trust{Verify: 1}, Progress: func(s Snapshot) {
		last = s
		there.Store(int32(len(s.Workers)))
	}})
	var lied atomic.Int32
	do := with(func(ctx context.Context, s study.Shard) (*study.Result, error) {
		lied.Add(1)
		untilThere(ctx, &there, 3)
		return wrongResult(t, f, want[s.Index], s), nil
	})
	liar := r.workers(1, func(i int, o *WorkOptions) {
		do(i, o)
		o.Name = "liar"
	})
	honest := r.workers(2, func(i int, o *WorkOptions) {
		with(func(ctx context.Context, _ study.Shard) (*study.Result, error) {
			untilThere(ctx, &there, 3)
			return nil, nil
		})(i, o)
		o.Name = fmt.Sprint("honest", i)
	})
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, honest, 2, r.log)
	if err := <-liar; err == nil || !strings.Contains(err.Error(), "contradicted") || !strings.Contains(err.Error(), "liar") {
		t.Errorf("the worker that was wrong ends with %v, want why", err)
	}
	same(t, f, want)
	out, err := f.Excluded()
	if err != nil || len(out) != 1 || out["liar"] == "" {
		t.Errorf("excluded are %v (%v), want liar\n%s", out, err, r.log)
	}
	if n := len(f.Shards); last.Verified.Twice != n || last.Verified.Missed != 0 {
		t.Errorf("%+v, want that all of %d shards were done twice", last.Verified, n)
	}
	if lied.Load() == 0 {
		t.Error("the worker never lied")
	}
	t.Logf("%s", r.log)
}

// TestConflict has two workers that disagree about every shard, and nobody else. The study ends with
// an error that names both and says how to decide. A third one decides when it is served again.
func TestConflict(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	var there atomic.Int32
	r := serve(t, f, ServeOptions{Trust: Trust{Verify: 1}, Progress: func(s Snapshot) { there.Store(int32(len(s.Workers))) }})
	liars := r.workers(1, func(i int, o *WorkOptions) {
		with(func(ctx context.Context, s study.Shard) (*study.Result, error) {
			untilThere(ctx, &there, 2)
			return wrongResult(t, f, want[s.Index], s), nil
		})(i, o)
		o.Name = "liar"
	})
	honest := r.workers(1, func(i int, o *WorkOptions) {
		with(func(ctx context.Context, _ study.Shard) (*study.Result, error) {
			untilThere(ctx, &there, 2)
			return nil, nil
		})(i, o)
		o.Name = "honest"
	})
	var conflict *ConflictError
	if err := r.end(); !errors.As(err, &conflict) || !strings.Contains(err.Error(), "liar") || !strings.Contains(err.Error(), "honest") || !strings.Contains(err.Error(), "advsweep settle") {
		t.Fatalf("%v, want a ConflictError that names both and says what to do\n%s", err, r.log)
	}
	wait(t, liars, 1, r.log)
	wait(t, honest, 1, r.log)
	if n := len(conflict.Disputes); n != len(f.Shards) {
		t.Errorf("%d shards are disputed, want all %d", n, len(f.Shards))
	}
	if err := f.Missing(); err == nil {
		t.Error("nothing is missing")
	}
	r = serve(t, f, ServeOptions{})
	third := r.workers(1, func(_ int, o *WorkOptions) { o.Name = "third" })
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, third, 1, r.log)
	same(t, f, want)
	if out, err := f.Excluded(); err != nil || out["liar"] == "" || len(out) != 1 {
		t.Errorf("excluded are %v (%v), want liar", out, err)
	}
}

// A damagedDoer finds what no shard can have found.
type damagedDoer struct{ doer }

func (d damagedDoer) Do(ctx context.Context, stop <-chan struct{}, s study.Shard, progress func(done, total int)) (*study.Result, error) {
	r, err := d.doer.Do(ctx, stop, s, progress)
	if err == nil {
		r.Chunks = append([][]byte(nil), r.Chunks...)
		r.Chunks[0] = append(bytes.Clone(r.Chunks[0]), 1)
	}
	return r, err
}

// TestDamagedResults has a worker whose results are none. It is excluded after three, no shard fails
// for them, and what it sent is nowhere.
func TestDamagedResults(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	r := serve(t, f, ServeOptions{Attempts: 2})
	err := Work(t.Context(), nil, r.url, func() WorkOptions {
		o := workOptions(t, r.log)
		o.Name = "broken"
		o.open = func(p *study.Plan, in study.Inputs, d study.Device, mixed bool) doer {
			return damagedDoer{study.NewWorker(p, in, d, mixed)}
		}
		return o
	}())
	if err == nil || !strings.Contains(err.Error(), "3 results that are none") {
		t.Errorf("the worker ends with %v, want why\n%s", err, r.log)
	}
	done, err := f.Done()
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range done {
		if d {
			t.Errorf("shard %d is done", i)
		}
	}
	errs := r.workers(1, nil)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 1, r.log)
	same(t, f, want)
}

// TestOtherFormat has a worker of a build with results of another format: it ends at once, and names
// both builds.
func TestOtherFormat(t *testing.T) {
	s := protocol.State{Format: study.ResultFormat + 1, Build: "aaaa"}
	if err := s.Admit("w", "bbbb"); err == nil || !strings.Contains(err.Error(), "aaaa") || !strings.Contains(err.Error(), "bbbb") {
		t.Errorf("%v, want both builds", err)
	}
	s.Format = study.ResultFormat
	if err := s.Admit("w", "bbbb"); err != nil {
		t.Errorf("a worker of the same format: %v", err)
	}
}

// strange makes a worker's doers say that they compute with another fingerprint.
func strange(o *WorkOptions, print string) {
	open := o.open
	if open == nil {
		open = func(p *study.Plan, in study.Inputs, d study.Device, mixed bool) doer {
			return study.NewWorker(p, in, d, mixed)
		}
	}
	o.open = func(p *study.Plan, in study.Inputs, d study.Device, mixed bool) doer {
		return strangeDoer{open(p, in, d, mixed), print}
	}
}

type strangeDoer struct {
	doer
	print string
}

func (s strangeDoer) Prepare(run int) (record.Arithmetic, error) {
	a, err := s.doer.Prepare(run)
	a.Fingerprint = s.print
	return a, err
}

func (s strangeDoer) Do(ctx context.Context, stop <-chan struct{}, shard study.Shard, progress func(done, total int)) (*study.Result, error) {
	r, err := s.doer.Do(ctx, stop, shard, progress)
	if err == nil {
		r.Arithmetic.Fingerprint = s.print
	}
	return r, err
}

// TestMajority: a worker of a strange fingerprint that comes first shuts out nobody. When two others
// come, theirs rules, and what the first one found is done again.
func TestMajority(t *testing.T) {
	f := newStudy(t, 3)
	want := inProcess(t, f)
	r := serve(t, f, ServeOptions{})
	first := make(chan struct{})
	var once atomic.Bool
	odd := r.workers(1, func(_ int, o *WorkOptions) {
		o.Name = "odd"
		with(func(ctx context.Context, s study.Shard) (*study.Result, error) {
			if once.Swap(true) {
				<-first // it has done one
				pause(ctx, 300*time.Millisecond)
			}
			return nil, nil
		})(0, o)
		strange(o, "odd")
	})
	for {
		done, err := f.Done()
		if err != nil {
			t.Fatal(err)
		}
		if done[0] {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	even := r.workers(2, func(_ int, o *WorkOptions) { o.pace = 100 * time.Millisecond })
	close(first)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, even, 2, r.log)
	if err := <-odd; err != nil && (!errors.As(err, new(*protocol.PrintError)) || !strings.Contains(err.Error(), "fingerprint odd")) {
		t.Errorf("the odd worker ends with %v, want both fingerprints", err)
	}
	same(t, f, want)
	if !strings.Contains(r.log.String(), "most workers compute by") {
		t.Errorf("nothing was set aside\n%s", r.log)
	}
}

// TestOwnFingerprint: where the coordinator knows what its machine computes with, a worker of
// another fingerprint ends at once, though it comes first.
func TestOwnFingerprint(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	first, err := study.DecodeResult(f.Shards[0], want[0])
	if err != nil {
		t.Fatal(err)
	}
	r := serve(t, f, ServeOptions{Trust: Trust{Fingerprint: func(record.Arithmetic) (string, bool) { return first.Arithmetic.Fingerprint, true }}})
	o := workOptions(t, r.log)
	o.pace = time.Hour // else it would wait so long
	strange(&o, "odd")
	var other *protocol.PrintError
	if err := Work(t.Context(), nil, r.url, o); !errors.As(err, &other) || !other.Rule.Own || other.Mine.Fingerprint != "odd" || !strings.Contains(err.Error(), "own machine") {
		t.Errorf("%v, want a PrintError of the coordinator's own machine", err)
	}
	errs := r.workers(1, nil)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 1, r.log)
	same(t, f, want)
}
