package pipeline_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/model"
	"advsweep/pipeline"
)

// TestPeers compares counts with those of torchattacks, Foolbox and AutoAttack in testdata/peers,
// on the networks that the folder ADVSWEEP_REFERENCE holds. Where nothing is random they are equal
// within 2 of 1,000; else they lie within the spread of the peer's own five seeds, widened by its
// width for what five draws can miss and by 1 % of the images.
func TestPeers(t *testing.T) {
	_, all := embedded(t)
	for name, m := range peerNetworks(t) {
		b := open[float32](t, m)
		for _, e := range peerEntries[peerEntry](t, name) {
			if e.Eps == nil {
				continue // distances, see TestPeersNorms
			}
			a, ok := e.parse(t)
			if !ok {
				continue
			}
			set, err := all.Slice(0, e.Images)
			if err != nil {
				t.Fatal(err)
			}
			res, err := pipeline.Sweep{Attacks: []attack.Attack{a}, Eps: e.Eps, Bounds: attack.Bounds{Lo: 0, Hi: 1}}.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			got := res.Curves[0].Correct
			outside, off := 0, 0
			for k, n := range got {
				slack := 2
				if len(e.Seeds) > 1 {
					slack = e.Max[k] - e.Min[k] + e.Images/100
				}
				d := max(e.Min[k]-n, n-e.Max[k], 0)
				off = max(off, d)
				if d > 0 {
					outside++
				}
				// L2 steps of peers are shorter where gradients are tiny, see testdata/peers: fewer
				// left is no fault.
				if d > slack && !(e.Norm == "l2" && n < e.Min[k]) {
					t.Errorf("%s, %s by %s, eps %v: %d of %d right, want %d to %d, give or take %d", name, a.Label(), e.Peer, e.Eps[k], n, e.Images, e.Min[k], e.Max[k], slack)
				}
			}
			t.Logf("%s, %s by %s: %v; %d of %d outside the peer's spread, by at most %d of %d", name, a.Label(), e.Peer, got, outside, len(got), off, e.Images)
		}
	}
}

// peerNetworks are the networks that the folder ADVSWEEP_REFERENCE holds, by the names of their files
// in testdata/peers. Where it is not set the test is skipped.
func peerNetworks(t *testing.T) map[string]*model.Model {
	t.Helper()
	dir := os.Getenv("ADVSWEEP_REFERENCE")
	if dir == "" {
		t.Skip("ADVSWEEP_REFERENCE names no folder")
	}
	mlp, err := model.Load(filepath.Join(dir, "mlp.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*model.Model{"mlp": mlp, "cnn": referenceCNN(t, filepath.Join(dir, "cnn.safetensors"))}
}

// peerEntries are those of a network in testdata/peers.
func peerEntries[E any](t *testing.T, name string) []E {
	t.Helper()
	data, err := os.ReadFile("../testdata/peers/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Entries []E }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	return file.Entries
}

// A peerEntry is what testdata/peers/README.md describes.
type peerEntry struct {
	Attack, Peer, Norm, Loss, Size string
	Steps, Images                  int
	Eps                            []float64
	Seeds, Min, Max                []int
}

// parse returns the entry's attack. ok is false for one that the peer understands otherwise.
func (e peerEntry) parse(t *testing.T) (a attack.Attack, ok bool) {
	if e.Attack == "mi-fgsm" && e.Peer == "foolbox" || e.Norm == "l2" && e.Attack == "pgd" && e.Peer == "torchattacks" {
		return a, false // signs summed up; steps of a mean over the batch
	}
	if e.Attack == "autoattack" {
		return a, false // counts after each of several attacks
	}
	kind := map[string]string{"fgm": "fgsm", "apgd": "apgd-" + e.Loss, "apgd-targeted": "apgd-t"}[e.Attack]
	if kind == "" {
		kind = strings.ReplaceAll(e.Attack, "-", "")
	}
	item := kind + ":norm=" + e.Norm
	if slices.Contains([]string{"bim", "pgd", "mifgsm", "nifgsm", "square"}, kind) || strings.HasPrefix(e.Attack, "apgd") {
		item += fmt.Sprintf(":steps=%d", e.Steps)
	}
	return parse(t, item, attack.Options{Seed: 1, Decay: 1})[0], true
}
