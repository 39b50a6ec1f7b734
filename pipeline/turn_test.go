package pipeline_test

import (
	"math/rand/v2"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/ref"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
)

// TestLooksInTurn counts the multiply-adds of clean passes. A gradient at the clean images brings
// along what a Look asks for, where it comes first.
func TestLooksInTurn(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 1))
	m := ref.RandomModel(r, 1, 12, 7, 5)
	set := randomSet(r, 40, 3, 4, 5)
	run := func(attacks ...attack.Attack) (*pipeline.Result, uint64) {
		b := open[float32](t, m)
		// Several chunks of each attack, by images and by eps.
		s := pipeline.Sweep{Attacks: attacks, Eps: []float64{0, 0.1, 0.2, 0.3}, ChunkWork: 60}
		if n := s.Chunks(set.N()); n < 8 {
			t.Fatalf("%d chunks: the test says little", n)
		}
		res, err := s.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		return res, b.Spent()[backend.CleanPass].MultiplyAdds
	}
	after, none := run(attack.BIM(2), attack.Noise(1))
	before, some := run(attack.Noise(1), attack.BIM(2))
	if none != 0 || some == 0 {
		t.Errorf("clean passes take %d multiply-adds after gradients and %d before, want 0 and more", none, some)
	}
	if d := cmp.Diff(before.Images, after.Images); d != "" {
		t.Errorf("the images differ:\n%s", d)
	}
	if before.Clean != after.Clean {
		t.Errorf("%d and %d clean images are right", before.Clean, after.Clean)
	}
}
