package pipeline_test

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/certify"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
)

// certified is a sweep with certificates of a few images of the embedded model, and what it needs.
func certified(t *testing.T) (pipeline.Sweep, *model.Model, *dataset.Set) {
	t.Helper()
	m, whole := embedded(t)
	set, err := whole.Slice(0, 20)
	if err != nil {
		t.Fatal(err)
	}
	prover, err := certify.New(m, certify.CROWN)
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.Sweep{
		Attacks: parse(t, "fgsm,pgd:steps=5", attack.Options{Seed: 1}), Eps: []float64{0, 0.01, 0.02, 0.04}, Bounds: attack.Bounds{Lo: 0, Hi: 1},
		Certify: "crown", Prover: prover,
	}, m, set
}

// TestCertify: certificates do not depend on threads or on the order of chunks, every eps up to
// that of an image is proven by itself, and the next one of the list is not.
func TestCertify(t *testing.T) {
	s, m, set := certified(t)
	b := open[float32](t, m)
	defer b.Close()
	res, err := s.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	// The other half of the chunks first, as a shard does.
	log := pipeline.Memory{}
	for _, half := range []int{1, 0} {
		if err := s.Work(t.Context(), b, set, log, pipeline.Fraction{Index: half, Count: 2}); err != nil {
			t.Fatal(err)
		}
	}
	again, err := s.Assemble(set.N(), set.First, m.Outputs(), log)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(res.Certified.Eps, again.Certified.Eps) {
		t.Errorf("shards certify %v, one run %v", again.Certified.Eps, res.Certified.Eps)
	}
	for e, eps := range s.Eps {
		proven, err := pipeline.Proven(t.Context(), s.Prover, set, eps, s.Bounds, 3)
		if err != nil {
			t.Fatal(err)
		}
		for i, ok := range proven {
			if holds := res.Certified.Holds(i, eps); ok != holds {
				t.Errorf("image %d, eps %v: certified %v in the sweep and %v by itself", i, eps, holds, ok)
			}
		}
		bracket := res.Brackets()[e]
		if bracket.Certified > bracket.Right || bracket.Unknown != bracket.Right-bracket.Certified {
			t.Errorf("eps %v: %+v", eps, bracket)
		}
	}
	if b := res.Brackets(); b[0].Certified == 0 || b[3].Certified >= b[1].Certified || res.Contradictions() != nil {
		t.Errorf("brackets %+v, contradictions %v", b, res.Contradictions())
	}
	// A record that no chunk can have written.
	plan := s.Plan(set.N())
	at := slices.IndexFunc(plan, func(c pipeline.Chunk) bool { return c.Kind == pipeline.Prove })
	for _, eps := range []float64{math.NaN(), -0.5, 0.05} {
		bad := pipeline.Memory{}
		for i, p := range log {
			bad[i] = slices.Clone(p)
		}
		binary.LittleEndian.PutUint64(bad[at], math.Float64bits(eps))
		if _, err := s.Assemble(set.N(), set.First, m.Outputs(), bad); err == nil {
			t.Errorf("a record of eps %v is read", eps)
		}
	}
}

// A liar proves everything.
type liar struct{}

func (liar) Margin(context.Context, []float64, []float64, int) (float64, error) { return 1, nil }

// TestContradiction: what is certified and misread is found, with the attack and the least eps.
func TestContradiction(t *testing.T) {
	s, m, set := certified(t)
	s.Eps, s.Prover = []float64{0, 0.1, 0.2}, liar{}
	b := open[float32](t, m)
	defer b.Close()
	res, err := s.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	found := res.Contradictions()
	if len(found) == 0 {
		t.Fatal("all is certified, and no contradiction is found")
	}
	for _, c := range found {
		if c.Certified != 0.2 || c.Eps == 0 || !strings.Contains(c.String(), c.Attack.Name) {
			t.Errorf("image %d: %v", c.Image, c)
		}
	}
}

// A broken prover returns an error.
type broken struct{ err error }

func (p broken) Margin(context.Context, []float64, []float64, int) (float64, error) { return 0, p.err }

// TestCertifyErrors: without a prover, and in another norm, a sweep is refused; an error names the
// image.
func TestCertifyErrors(t *testing.T) {
	s, m, set := certified(t)
	b := open[float32](t, m)
	defer b.Close()
	failed := errors.New("no proof today")
	s.Prover = broken{failed}
	if _, err := s.Run(t.Context(), b, set); !errors.Is(err, failed) || !strings.Contains(err.Error(), "image 0") {
		t.Errorf("a prover that fails: %v, want its error and the image", err)
	}
	s.Prover = nil
	if _, err := s.Run(t.Context(), b, set); err == nil || !strings.Contains(err.Error(), "prover") {
		t.Errorf("no prover: %v", err)
	}
	s.Prover, s.Attacks = liar{}, parse(t, "pgd", attack.Options{Norm: attack.L2})
	if _, err := s.Run(t.Context(), b, set); err == nil || !strings.Contains(err.Error(), "linf") {
		t.Errorf("in L2: %v", err)
	}
}
