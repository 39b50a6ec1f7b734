package report

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
)

// search is an attack that a program brings itself: it asks for logits, and draws. Its direction is
// the zero one, as it says what its steps go along when it takes them.
type search struct{ options []string }

func (s search) Facts() attack.Facts {
	return attack.Facts{Default: attack.Attack{Name: "search", Kind: "search", Steps: 20}, Options: s.options, About: "a search"}
}
func (search) Label(attack.Attack) string { return "Search" }
func (search) Cost(a attack.Attack) attack.Cost {
	return attack.Cost{Row: float64(a.Steps), Share: 1 + a.Steps}
}
func (search) Ray(attack.Attack) bool                                { return false }
func (search) Run(context.Context, attack.Attack, attack.Rows) error { return nil }

func init() { attack.Register(search{[]string{"steps", "restarts", "norm", "target", "seed"}}) }

// TestCurveAttack wants of every attack what it has, and nothing else. The text of those inside is a
// contract with other programs.
func TestCurveAttack(t *testing.T) {
	random := attack.BIM(3)
	random.Start, random.Seed = true, 4
	for _, c := range []struct {
		list, want string
	}{
		{"fgsm", `{"name":"fgsm","steps":1,"norm":"linf","loss":"ce","step_size":"eps/k"}`},
		{"bim:step=0.01:target=3", `{"name":"bim:step=0.01:target=3","steps":5,"norm":"linf","loss":"ce","step_size":"0.01","target":"3"}`},
		{"pgd", `{"name":"pgd","steps":40,"seed":7,"norm":"linf","loss":"ce","step_size":"2.5*eps/k","random_start":true,"restarts":1}`},
		{"pgd:restarts=3:loss=cw:seed=0", `{"name":"pgd:restarts=3:loss=cw:seed=0","steps":40,"seed":0,"norm":"linf","loss":"cw","step_size":"2.5*eps/k","random_start":true,"restarts":3}`},
		{"nifgsm", `{"name":"nifgsm","steps":10,"norm":"linf","loss":"ce","step_size":"eps/k","decay":1}`},
		{"apgd-dlr:norm=l2", `{"name":"apgd-dlr:norm=l2","steps":100,"seed":7,"norm":"l2","loss":"dlr","step_size":"adaptive","random_start":true,"restarts":1}`},
		{"noise", `{"name":"noise","steps":1,"seed":7,"norm":"linf"}`},
		{"uniform:seed=2", `{"name":"uniform:seed=2","steps":1,"seed":2,"norm":"linf"}`},
		{"fgsm,worst", `{"name":"worst","steps":1,"norm":"linf"}`},
		{"search", `{"name":"search","steps":20,"seed":7,"norm":"linf","restarts":1}`},
		{"search:restarts=4:target=least-likely", `{"name":"search:restarts=4:target=least-likely","steps":20,"seed":7,"norm":"linf","restarts":4,"target":"least-likely"}`},
	} {
		all, err := attack.Parse(c.list, attack.Options{Seed: 7, Decay: -1})
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(newAttackJSON(pipeline.Curve{Attack: all[len(all)-1]}, "float32"))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(c.want, string(got)); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.list, d)
		}
	}
	got, err := json.Marshal(newAttackJSON(pipeline.Curve{Attack: random}, "float32"))
	if want := `{"name":"bim","steps":3,"seed":4,"norm":"linf","loss":"ce","step_size":"eps/k","random_start":true,"restarts":1}`; err != nil || string(got) != want {
		t.Errorf("bim from a random start: %v\n got %s\nwant %s", err, got, want)
	}
}

// TestCurveOfOwnAttack wants the seed of an attack from outside in curve.json and on the page, and
// two seeds of it to be two attacks.
func TestCurveOfOwnAttack(t *testing.T) {
	of := func(seed uint64) *pipeline.Result {
		all, err := attack.Parse("search:restarts=2", attack.Options{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		c := pipeline.Curve{Attack: all[0], Correct: []int{2, 1}, ZeroGradient: []int{0, 0}, Outcomes: make([]pipeline.Outcome, 4)}
		c.Outcomes[1].Class = 1
		return &pipeline.Result{N: 2, Clean: 2, Classes: 2, Eps: []float64{0, 0.1}, Images: make([]pipeline.Clean, 2), Curves: []pipeline.Curve{c}}
	}
	data, err := CurveJSON(meta(), of(7))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{`"seed": 7,`: true, `"restarts": 2`: true, `"loss"`: false, `"step_size"`: false} {
		if strings.Contains(string(data), text) != want {
			t.Errorf("curve.json: %s is there %v, want %v\n%s", text, !want, want, data)
		}
	}
	html, err := page(of(7), "m").HTML()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"restarts": true, "seed": true, "step size": false} {
		if strings.Contains(string(html), text) != want {
			t.Errorf("the page: %q is there %v, want %v", text, !want, want)
		}
	}
	if _, err := pipeline.NewComparison(of(7), of(7)); err != nil {
		t.Error(err)
	}
	if _, err := pipeline.NewComparison(of(7), of(8)); err == nil {
		t.Error("two seeds of an attack that draws compare as one attack")
	}
}
