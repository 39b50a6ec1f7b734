package simulate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"advsweep/record"
	"advsweep/study"
)

// lies is how many workers lie each in a way of their own.
const lies = 4

// A Truth is a study, and what each shard comes out as.
type Truth struct {
	Plan       *study.Plan
	Shards     []study.Shard
	arithmetic record.Arithmetic
	results    [][][]byte       // by shard, the payloads of its chunks
	wrong      [lies][][][]byte // payloads that shards can have found, and have not
}

// NewTruth computes what all shards of plan come out as, on device. inputs are its models and
// images. It also makes wrong results that no check can tell from right ones.
func NewTruth(plan *study.Plan, inputs study.Inputs, device study.Device) (*Truth, error) {
	shards, err := plan.Shards()
	if err != nil {
		return nil, err
	}
	t := &Truth{Plan: plan, Shards: shards}
	w := study.NewWorker(plan, inputs, device, false)
	defer w.Close()
	check, err := study.On(nil, "simulated", plan)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for _, s := range shards {
		r, err := w.Do(context.Background(), nil, s, nil)
		if err != nil {
			return nil, err
		}
		t.arithmetic = r.Arithmetic
		t.results = append(t.results, r.Chunks)
		for i := range lies {
			wrong, err := t.lie(check, s, r, i, rng)
			if err != nil {
				return nil, err
			}
			t.wrong[i] = append(t.wrong[i], wrong)
		}
	}
	return t, nil
}

// lie returns chunks that s can have found, and that are neither r's nor what others lie.
func (t *Truth) lie(check *study.Folder, s study.Shard, r *study.Result, i int, rng *rand.Rand) ([][]byte, error) {
	for range 10_000 {
		one := &study.Result{Arithmetic: r.Arithmetic, Chunks: append([][]byte(nil), r.Chunks...)}
		k := rng.IntN(len(one.Chunks))
		one.Chunks[k] = bytes.Clone(one.Chunks[k])
		one.Chunks[k][rng.IntN(len(one.Chunks[k]))] ^= 1 << rng.IntN(8)
		fresh := !one.Same(r)
		for j := range i {
			fresh = fresh && !one.Same(&study.Result{Chunks: t.wrong[j][s.Index]})
		}
		if fresh && check.Check(s, one) == nil {
			return one.Chunks, nil
		}
	}
	return nil, fmt.Errorf("simulate: no change of shard %d gives a result that it can have found: %w", s.Index, errors.ErrUnsupported)
}

// isTrue reports whether r is what s comes out as.
func (t *Truth) isTrue(s int, r *study.Result) bool {
	return r.Same(&study.Result{Chunks: t.results[s]})
}
