package pipeline_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/internal/testsize"
	"advsweep/pipeline"
)

// TestPeersNorms compares the distance of each image with what attacks of minimum norm by Foolbox
// and by the authors of AutoAttack find in testdata/peers, on the networks that the folder
// ADVSWEEP_REFERENCE holds. At as many steps the median is at most 1 % above the peer's, and at
// least 95 % of the images are at most 5 % farther. Entries of 1,000 steps are for the long form.
//
// Where both draw at random two runs of one program differ by more: there the median is at most 10 %
// above the peer's, and half of the images are at most 5 % farther. Of HopSkipJump our median and
// Foolbox's are 0.0768 and 0.0765 in L∞ and 1.18 and 1.41 in L2 after 16 jumps (mlp, 20 images), and
// 0.0617 and 0.0612, 0.990 and 0.981 after its own 64, which no entry has: they take minutes. See
// testdata/peers for why it starts slower in L2.
func TestPeersNorms(t *testing.T) {
	for name, m := range peerNetworks(t) {
		for _, e := range peerEntries[peerNorms](t, name) {
			most := testsize.Of(100, 100, 1000)
			if e.Attack == "hopskipjump" { // whose 16 steps are 5,000 passes
				most = testsize.Of(0, 16, 64)
			}
			if e.Distances == nil || e.Projection != "" || e.Steps > most {
				continue // counts, or a contrast, or too long
			}
			e.Images = min(e.Images, testsize.Of(20, 100, 100))
			t.Run(name+"/"+e.String(), func(t *testing.T) {
				e.compare(t, open[float64](t, m))
			})
		}
	}
}

// peerNorms is an entry with distances, see testdata/peers/README.md.
type peerNorms struct {
	Attack, Peer, Norm, Projection string
	Steps, Images, Targets         int
	Distances                      []*float64
}

func (e peerNorms) String() string {
	return fmt.Sprintf("attack=%s/norm=%s/k=%d/peer=%s", e.Attack, e.Norm, e.Steps, e.Peer)
}

// compare runs our attack on b and holds its distances to those of e.
func (e peerNorms) compare(t *testing.T, b *cpu.Backend[float64]) {
	_, all := embedded(t)
	set, err := all.Slice(0, e.Images)
	if err != nil {
		t.Fatal(err)
	}
	item := fmt.Sprintf("%s:steps=%d", e.Attack, e.Steps)
	if e.Targets > 0 {
		item += fmt.Sprintf(":targets=%d", e.Targets)
	}
	if m, err := attack.MethodOf(e.Attack); err == nil && m.Facts().Takes("norm") {
		item += ":norm=" + e.Norm
	}
	a := parse(t, item, attack.Options{Decay: -1})[0]
	if a.Norm.String() != e.Norm {
		t.Fatalf("norm %v, want %s", a.Norm, e.Norm)
	}
	bounds := attack.Bounds{Lo: 0, Hi: 1}
	most := attack.Reach(a.Norm, bounds, 28*28)
	res, err := pipeline.Sweep{Attacks: []attack.Attack{a}, Eps: []float64{most}, Bounds: bounds}.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := make([]float64, e.Images), make([]float64, e.Images)
	near, lost, farthest := 0, 0, 0.0
	for i := range ours {
		ours[i], theirs[i] = math.Inf(1), math.Inf(1)
		if d, found := res.Curves[0].Exact.Walks[i].Critical(most); found {
			ours[i] = d
		}
		if d := e.Distances[i]; d != nil {
			theirs[i] = *d
		} else {
			lost++
		}
		if (ours[i] == 0) != (theirs[i] == 0) {
			t.Errorf("image %d: distance %v, the peer's %v: only one of them is wrong as it is", i, ours[i], theirs[i])
		}
		if ours[i] <= 1.05*theirs[i] {
			near++
		}
		if ours[i] > 0 {
			farthest = max(farthest, ours[i]/theirs[i])
		}
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	m, want := ours[e.Images/2], theirs[e.Images/2]
	t.Logf("median %.5g, the peer's %.5g, ratio %.4f; %d of %d images at most 5 %% farther, at most %.3f times as far; the peer finds nothing of %d", m, want, m/want, near, e.Images, farthest, lost)
	slack, share := 0.01, 95
	if a.Draws() {
		slack, share = 0.1, 50
	}
	if e.Attack == "alma" && e.Norm == "l1" { // of 100 images 10 are farther by so much, and 6 nearer
		share = 85
	}
	if !(m <= (1+slack)*want) {
		t.Errorf("median distance %v, want at most %v times %v", m, 1+slack, want)
	}
	if near*100 < share*e.Images {
		t.Errorf("%d of %d images are at most 5 %% farther than the peer's, want %d %%", near, e.Images, share)
	}
}
