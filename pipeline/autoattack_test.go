package pipeline_test

import (
	"encoding/json"
	"maps"
	"os"
	"testing"

	"advsweep/attack"
	"advsweep/internal/testsize"
	"advsweep/model"
	"advsweep/pipeline"
)

// TestAutoAttack compares AutoAttack with its authors' code in float64 on networks that
// testdata/peers/adversarial.py trained against attacks, and quick with both. What is right after
// each stage lies within the spread of the peer's seeds, widened by 1 % of the images for what few
// seeds can miss. In the end no more is right than under the peer's worst seed, nor under quick
// than under AutoAttack, of whose passes it takes at most a fifth for an image that stays right. It
// is at the largest eps of each entry, where fewest are left. Where ADVSWEEP_REFERENCE is set, as for
// TestPeers, it is at all of them and of the networks there too.
func TestAutoAttack(t *testing.T) {
	if !testsize.Long() {
		t.Skip("it takes a minute")
	}
	_, all := embedded(t)
	networks := map[string]*model.Model{}
	for _, name := range []string{"adv-mlp", "adv-cnn"} {
		m, err := model.Load("../testdata/peers/" + name + ".safetensors")
		if err != nil {
			t.Fatal(err)
		}
		networks[name] = m
	}
	if os.Getenv("ADVSWEEP_REFERENCE") != "" {
		maps.Copy(networks, peerNetworks(t))
	}
	for name, m := range networks {
		compared := 0
		for _, e := range peerEntries[peerStages](t, name) {
			if e.Attack != "autoattack" {
				continue
			}
			compared++
			var correct [][][]int // [seed][stage][eps]
			if err := json.Unmarshal(e.Correct, &correct); err != nil {
				t.Fatal(err)
			}
			from := len(e.Eps) - 1
			if os.Getenv("ADVSWEEP_REFERENCE") != "" {
				from = 0
			}
			e.Eps = e.Eps[from:]
			for _, seed := range correct {
				for k := range seed {
					seed[k] = seed[k][from:]
				}
			}
			norm, err := attack.ParseNorm(e.Norm)
			if err != nil {
				t.Fatal(err)
			}
			set, err := all.Slice(0, e.Images)
			if err != nil {
				t.Fatal(err)
			}
			s := pipeline.Sweep{Attacks: parse(t, "autoattack,quick", attack.Options{Norm: norm, Seed: 1}), Eps: e.Eps, Bounds: attack.Bounds{Lo: 0, Hi: 1}}
			res, err := s.Run(t.Context(), open[float32](t, m), set)
			if err != nil {
				t.Fatal(err)
			}
			full, quick := &res.Curves[0], &res.Curves[1]
			stages := full.Stages(res.Images, res.Classes)
			if len(stages) != len(e.Stages) {
				t.Fatalf("%s: %d stages, want %v", name, len(stages), e.Stages)
			}
			for e2, eps := range e.Eps {
				for k, stage := range stages {
					lo, hi := correct[0][k][e2], correct[0][k][e2]
					for _, seed := range correct {
						lo, hi = min(lo, seed[k][e2]), max(hi, seed[k][e2])
					}
					slack := e.Images / 100
					if got := stage.Right[e2]; got < lo-slack || got > hi+slack || k == len(stages)-1 && got > hi {
						t.Errorf("%s, %v, eps %v: %d of %d right after %s, the peer's seeds have %d to %d", name, norm, eps, got, e.Images, e.Stages[k], lo, hi)
					}
				}
				if q, f := quick.Correct[e2], full.Correct[e2]; q > f {
					t.Errorf("%s, %v, eps %v: quick leaves %d right, AutoAttack %d", name, norm, eps, q, f)
				}
			}
			for i := range set.N() {
				for e2 := range e.Eps { // at later ones the search of FAB is not in AutoAttack's passes
					f, q := full.Outcomes[i*len(e.Eps)+e2], quick.Outcomes[i*len(e.Eps)+e2]
					if stays := f.Class == set.Labels[i] && q.Class == set.Labels[i]; stays && !(5*q.Passes <= f.Passes) {
						t.Errorf("%s, %v, image %d, eps %v: quick takes %d passes, AutoAttack %d, want at most a fifth", name, norm, i, e.Eps[e2], q.Passes, f.Passes)
					}
				}
			}
			many, _ := full.MeanPasses()
			few, _ := quick.MeanPasses()
			t.Logf("%s, %v, eps %v: right %v, quick %v, of %d; mean passes %.0f, quick %.0f", name, norm, e.Eps, full.Correct, quick.Correct, e.Images, many, few)
		}
		if compared == 0 {
			t.Errorf("%s: no entry of AutoAttack", name)
		}
	}
}

// peerStages is an entry of AutoAttack, see testdata/peers/README.md.
type peerStages struct {
	Attack, Norm string
	Stages       []string
	Images       int
	Eps          []float64
	Correct      json.RawMessage // entries of other attacks have another shape
}
