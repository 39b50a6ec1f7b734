package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"testing"

	"advsweep/record"
	"advsweep/study"
)

// TestBallot: most workers decide which fingerprint rules, a tie changes nothing, and what the
// coordinator's own machine computes is not outvoted.
func TestBallot(t *testing.T) {
	of := func(print string) record.Arithmetic {
		return record.Arithmetic{Backend: "cpu", Precision: "float32", MathMode: "float32", Fingerprint: print}
	}
	other := of("x")
	other.Precision = "float64"
	for _, c := range []struct {
		name  string
		own   string
		votes []string // worker:print
		want  string   // of those that rule
		turns int      // how often another comes to rule
	}{
		{"nobody", "", nil, "", 0},
		{"the first", "", []string{"a:x"}, "x", 0},
		{"a tie", "", []string{"a:x", "b:y"}, "x", 0},
		{"a majority", "", []string{"a:x", "b:y", "c:y"}, "y", 1},
		{"one worker, many times", "", []string{"a:x", "b:y", "b:y", "b:y"}, "x", 0},
		{"there and back", "", []string{"a:x", "b:y", "c:y", "d:x", "e:x"}, "x", 2},
		{"who changes takes its vote along", "", []string{"a:x", "b:y", "c:y", "c:x"}, "x", 2},
		{"own", "x", []string{"b:y", "c:y", "d:y"}, "x", 0},
		{"own, and nobody else has it", "z", []string{"b:y", "c:y", "d:y"}, "z", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBallot()
			if c.own != "" {
				b.own(of(c.own))
			}
			b.vote("z", other, 1)
			turns := 0
			for _, v := range c.votes {
				b.vote(v[:1], of(v[2:]), -1)
				turns += len(b.count())
			}
			b.count()
			got, _ := b.rules(of(""))
			if got.Fingerprint != c.want || turns != c.turns {
				t.Errorf("%q rules after %d turns, want %q after %d", got.Fingerprint, turns, c.want, c.turns)
			}
			if got, ok := b.rules(other); !ok || got != other {
				t.Errorf("of another precision %v rules", got)
			}
		})
	}
}

// TestBallotBounds: names and fingerprints that are made up do not fill the memory.
func TestBallotBounds(t *testing.T) {
	b := newBallot()
	for i := range 2 * maxPrints {
		b.vote(fmt.Sprint("w", i), record.Arithmetic{Backend: "cpu", Fingerprint: fmt.Sprint(i)}, -1)
	}
	if len(b.prints) != maxPrints {
		t.Errorf("%d fingerprints are remembered, want %d", len(b.prints), maxPrints)
	}
	for i := range maxVoters + 10 {
		b.vote(fmt.Sprint("v", i), record.Arithmetic{Backend: "cpu", Fingerprint: "1"}, -1)
	}
	if len(b.voters) != maxVoters {
		t.Errorf("%d voters are remembered, want %d", len(b.voters), maxVoters)
	}
}

// TestChosen: of many shards about the fraction is chosen, the same each time, and more of a larger
// fraction.
func TestChosen(t *testing.T) {
	const n = 20_000
	for _, f := range []float64{0, 0.01, 0.3, 1} {
		got := 0
		for i := range n {
			id := sha256.Sum256(fmt.Append(nil, i))
			s := study.Shard{ID: hex.EncodeToString(id[:])}
			if chosen(s, f) {
				got++
				if !chosen(s, min(1, 2*f)) {
					t.Errorf("shard %d is chosen of %v and not of more", i, f)
				}
			}
		}
		// Five standard deviations of a binomial count.
		if want, tol := f*n, 5*math.Sqrt(n*f*(1-f)); math.Abs(float64(got)-want) > tol {
			t.Errorf("%d of %d shards are chosen of %v, want %.0f ± %.0f", got, n, f, want, tol)
		}
	}
}

// TestTable: a shard is open, done or failed, and every way between these is counted.
func TestTable(t *testing.T) {
	tb := newTable([]bool{true, false, false})
	steps := []struct {
		name        string
		do          func()
		open, count int
	}{
		{"new", func() {}, 2, 1},
		{"done", func() { tb.setDone(1) }, 1, 2},
		{"done twice", func() { tb.setDone(1) }, 1, 2},
		{"failed", func() { tb.setFailed(2) }, 0, 2},
		{"failed, and done after all", func() { tb.setDone(2) }, 0, 3},
		{"disputed", func() { tb.reopen(0) }, 1, 2},
		{"disputed, twice", func() { tb.reopen(0) }, 1, 2},
		{"failed in dispute", func() { tb.setFailed(0) }, 0, 2},
		{"opened again", func() { tb.reopen(0) }, 1, 2},
		{"closed", func() { tb.setDone(0) }, 0, 3},
	}
	for _, s := range steps {
		if s.do(); tb.open != s.open || tb.count != s.count {
			t.Errorf("%s: %d open and %d done, want %d and %d", s.name, tb.open, tb.count, s.open, s.count)
		}
	}
}
