package pipeline_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
	"advsweep/pipeline"
)

// tallied is a sweep in many chunks, its labels and log: two of its attacks are controls, and one
// may be the worst of all.
func tallied(t *testing.T, worst bool) (pipeline.Sweep, []int32, pipeline.Memory) {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 4))
	set := randomSet(r, 2100, 2, 2, 3)
	s := pipeline.Sweep{
		Attacks: []attack.Attack{attack.FGSM(), attack.Noise(1), attack.Worst(), attack.BIM(3), attack.UniformNoise(2), attack.PGD(4, 9)},
		Eps:     []float64{0, 0.02, 0.05, 0.1, 0.2, 0.4}, Exact: true,
	}
	if !worst {
		s.Attacks = slices.DeleteFunc(s.Attacks, attack.Attack.Composite)
	}
	log := pipeline.Memory{}
	if err := s.Work(t.Context(), open[float32](t, ref.RandomModel(r, 1, 4, 8, 3)), set, log, pipeline.Fraction{}); err != nil {
		t.Fatal(err)
	}
	return s, set.Labels, log
}

// TestTally holds the counts of all chunks, in any order and some of them twice, against those of
// Assemble, and those of some of them against a count image by image of what Assemble has found for
// these.
func TestTally(t *testing.T) {
	for _, worst := range []bool{true, false} { // without it FGSM is read off its walks
		t.Run(fmt.Sprintf("worst=%v", worst), func(t *testing.T) { testTally(t, worst) })
	}
}

func testTally(t *testing.T, worst bool) {
	s, labels, log := tallied(t, worst)
	n, E := len(labels), len(s.Eps)
	all, err := s.Assemble(n, 0, 3, log)
	if err != nil {
		t.Fatal(err)
	}
	plan := s.Plan(n)
	if len(plan) < 12 {
		t.Fatalf("%d chunks are too few to try orders of", len(plan))
	}
	bytes := 0
	for _, p := range log {
		bytes += len(p)
	}
	if least := s.Least(n, 3); least > float64(bytes) || least < float64(bytes)/4 {
		t.Errorf("at least %v bytes are wanted of a log of %d", least, bytes)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for turn := range 30 {
		tally, err := s.Tally(labels, 3)
		if err != nil {
			t.Fatal(err)
		}
		order := r.Perm(len(plan))
		if part := turn * len(plan) / 20; part < len(plan) { // a third of the turns have all
			order = order[:part]
		}
		there := make([][]bool, len(s.Attacks)) // by attack: image i at eps e
		for a := range there {
			there[a] = make([]bool, n*E)
		}
		clean, looked := 0, 0
		for _, i := range order {
			for range 1 + i%2 {
				if err := tally.Add(i, log[i]); err != nil {
					t.Fatal(err)
				}
			}
			c := plan[i]
			for k := c.Lo; k < c.Hi; k++ {
				if c.Kind == pipeline.Look || c.Kind == pipeline.Walk && !worst {
					looked++
					if all.Images[k].Class == labels[k] {
						clean++
					}
				}
				for e := c.From; e < c.To; e++ {
					there[c.Attack][k*E+e] = true
				}
			}
		}
		if done, total := tally.Chunks(); done != len(order) || total != len(plan) {
			t.Errorf("%d of %d chunks, want %d of %d", done, total, len(order), len(plan))
		}
		if k, m := tally.Clean(); k != clean || m != looked {
			t.Errorf("%d of %d right as they are, want %d of %d", k, m, clean, looked)
		}
		for a, c := range tally.Curves() {
			for e := range E {
				k, m := 0, 0
				for i := range n {
					is := there[a][i*E+e]
					right := all.Curves[a].Class(i, e) == labels[i]
					if s.Attacks[a].Composite() {
						is, right = true, true
						for b := range s.Attacks {
							if b != a && !s.Attacks[b].Control() {
								is = is && there[b][i*E+e]
								right = right && all.Curves[b].Class(i, e) == labels[i]
							}
						}
					}
					if is {
						m++
						if right {
							k++
						}
					}
				}
				if c.Correct[e] != k || c.N[e] != m {
					t.Errorf("%d chunks: %s at eps %v: %d of %d, want %d of %d", len(order), c.Attack.Name, s.Eps[e], c.Correct[e], c.N[e], k, m)
				}
			}
			if len(order) == len(plan) && (!slices.Equal(c.Correct, all.Curves[a].Correct) || slices.Min(c.N) != n || slices.Max(c.N) != n) {
				t.Errorf("all chunks: %s: %v of %v, Assemble has %v of %d", c.Attack.Name, c.Correct, c.N, all.Curves[a].Correct, n)
			}
		}
	}
}

// TestTallyEps: chunks that have some of the eps only.
func TestTallyEps(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	set := randomSet(r, 3, 2, 2, 3)
	slow := attack.PGD(200, 5)
	slow.Restarts = 60
	s := pipeline.Sweep{Attacks: []attack.Attack{slow, attack.FGSM(), attack.Worst()}, Eps: []float64{0, 0.1, 0.2, 0.3}}
	plan := s.Plan(3)
	at := slices.IndexFunc(plan, func(c pipeline.Chunk) bool { return c.Kind == pipeline.Strike && c.From > 0 })
	if at < 0 {
		t.Fatalf("no chunk with some of the eps: %v", plan)
	}
	log := pipeline.Memory{}
	if err := s.Work(t.Context(), open[float32](t, ref.RandomModel(r, 1, 4, 3)), set, log, pipeline.Fraction{}); err != nil {
		t.Fatal(err)
	}
	tally, err := s.Tally(set.Labels, 3)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]int, 4)
	for e := plan[at].From; e < plan[at].To; e++ {
		want[e] = plan[at].Hi - plan[at].Lo
	}
	for i, c := range plan {
		if c.Attack == 1 && c.Kind == pipeline.Strike || i == at {
			if err := tally.Add(i, log[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	curves := tally.Curves()
	if !slices.Equal(curves[0].N, want) || !slices.Equal(curves[1].N, []int{3, 3, 3, 3}) || !slices.Equal(curves[2].N, want) {
		t.Errorf("images %v, %v, %v, want %v, 3 each, %v", curves[0].N, curves[1].N, curves[2].N, want, want)
	}
}

// TestTallyErrors: what cannot be of a chunk is refused and leaves no trace.
func TestTallyErrors(t *testing.T) {
	s, labels, log := tallied(t, true)
	tally, err := s.Tally(labels, 3)
	if err != nil {
		t.Fatal(err)
	}
	plan := s.Plan(len(labels))
	strike := slices.IndexFunc(plan, func(c pipeline.Chunk) bool { return c.Kind == pipeline.Strike })
	with := func(i, at int, v uint32) []byte {
		p := slices.Clone(log[i])
		binary.LittleEndian.PutUint32(p[at:], v)
		return p
	}
	for _, c := range []struct {
		name    string
		i       int
		payload []byte
		want    string
	}{
		{"place", len(plan), log[0], "want 0 to"},
		{"place below 0", -1, log[0], "want 0 to"},
		{"short look", 0, log[0][:len(log[0])-1], "too short"},
		{"empty look", 0, nil, "too short"},
		{"class of a look", 0, with(0, 4, 3), "class 3"},
		{"label of a look", 0, with(0, 0, uint32(labels[0]+1)%3), "other images"},
		{"long strike", strike, append(slices.Clone(log[strike]), 0), "1 bytes too many"},
		{"last class of a strike", strike, with(strike, len(log[strike])-5, 9), "class 9"},
	} {
		if err := tally.Add(c.i, c.payload); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if k, n := tally.Clean(); k != 0 || n != 0 {
		t.Errorf("%d of %d are right after errors alone", k, n)
	}
	for _, c := range tally.Curves() {
		if slices.Max(c.N) != 0 || slices.Max(c.Correct) != 0 {
			t.Errorf("%s: %v of %v after errors alone", c.Attack.Name, c.Correct, c.N)
		}
	}
	if done, _ := tally.Chunks(); done != 0 || tally.Has(0) || tally.Has(-1) || tally.Has(len(plan)) {
		t.Errorf("%d chunks after errors alone", done)
	}
	before := tally.Curves()
	if err := tally.Add(strike, log[strike]); err != nil || slices.Max(before[plan[strike].Attack].N) != 0 || slices.Max(tally.Curves()[plan[strike].Attack].N) == 0 {
		t.Errorf("what Curves returned has changed, or Add changes nothing (%v)", err)
	}
	if err := tally.Add(0, log[0]); err != nil || !tally.Has(0) {
		t.Errorf("the sound chunk after errors: %v", err)
	}
	if _, err := s.Tally([]int32{0, 3}, 3); err == nil {
		t.Error("label 3 of 3 classes: no error")
	}
}
