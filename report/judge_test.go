package report

import (
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/verdict"
)

// TestOneJudge: report.html and a study's page say what check says of noise that fools 400 of 1,000
// images and PGD that fools 370 of the same. The Wilson intervals of the two overlap.
func TestOneJudge(t *testing.T) {
	const n, E = 1000, 2
	r := &pipeline.Result{N: n, Clean: n, Classes: 4, Eps: []float64{0, 0.1}, Images: make([]pipeline.Clean, n)}
	for i := range r.Images {
		r.Images[i].Margin = 1
	}
	add := func(a attack.Attack, fooled int) {
		c := pipeline.Curve{Attack: a, Correct: []int{n, n - fooled}, ZeroGradient: make([]int, E), Outcomes: make([]pipeline.Outcome, n*E)}
		for k := range c.Outcomes {
			if c.Outcomes[k].Margin = 1; k%E == 1 && k/E < fooled {
				c.Outcomes[k].Class, c.Outcomes[k].Margin = 1, -1
			}
		}
		r.Curves = append(r.Curves, c)
	}
	pgd, noise := attack.PGD(20, 1), attack.Noise(1)
	for _, a := range []attack.Attack{attack.FGSM(), pgd, pgd, pgd, pgd, noise} {
		fooled := 370
		if a.Control() {
			fooled = 400
		}
		add(a, fooled)
	}
	add(attack.UniformNoise(1), 100)
	add(attack.Square(100, 1), 300)
	checked := verdict.Check{Far: 0.1}.Judge(r)
	failed := false
	for _, f := range checked {
		if f.What == verdict.Noise {
			failed = f.Level == verdict.Fail && strings.Contains(f.String(), "at eps 0.1 30 images are fooled by random ±eps alone and 0 by PGD, k = 20 alone (chance of that 9.3e-10)")
		}
	}
	if !failed || verdict.Failed(checked) == 0 {
		t.Errorf("check: %v", checked)
	}

	part := r.Select(1, 5) // a sweep of PGD and noise
	p := page(part, "m")
	const want = "PGD, k = 20 is weaker than random ±eps at eps 0.1: 630 images are right under the attack and 600 under the control."
	data, err := p.HTML()
	if err != nil {
		t.Fatal(err)
	}
	study, err := Study{Name: "s", Runs: []StudyRun{{Name: "run", Manifest: p.Manifest, Result: part}}}.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"report.html": string(data), "the study's page": string(study)} {
		if !strings.Contains(text, want) {
			t.Errorf("%s does not warn", name)
		}
	}

	// The same counts with nothing to find: each fools 30 that the other does not, and noise 3
	// more.
	few := r.Select(1, 5)
	few.Curves[1].Correct, few.Curves[1].Outcomes = []int{n, n - 373}, append([]pipeline.Outcome{}, few.Curves[1].Outcomes...)
	for i := range n {
		few.Curves[1].Outcomes[i*E+1].Class = 0
		if i >= 30 && i < 403 {
			few.Curves[1].Outcomes[i*E+1].Class = 1
		}
	}
	if got := strings.Join(Warnings(few), "\n"); strings.Contains(got, "weaker than") {
		t.Errorf("a difference that may be chance: %s", got)
	}
}

// TestSentences: every warning that verdict has is said in words of its own, and what is unknown is
// named.
func TestSentences(t *testing.T) {
	said := map[string]verdict.Question{}
	for _, what := range []verdict.Question{verdict.CleanAccuracy, verdict.AtZero, verdict.Monotone, verdict.ShortSteps, verdict.ZeroGradient,
		verdict.ExactEnds, verdict.Noise, verdict.Iterated, verdict.BlackBox, verdict.NoAttack, verdict.NoControl, verdict.AboveChance} {
		s := sentence(verdict.Finding{Level: verdict.Fail, What: what, Attack: attack.BIM(5), Other: attack.FGSM()}, 10)
		if other, ok := said[s]; ok || strings.Contains(s, "no words") || !strings.HasSuffix(s, ".") {
			t.Errorf("%s: %q, as %q", what, s, other)
		}
		said[s] = what
	}
	if s := sentence(verdict.Finding{What: "new"}, 10); !strings.Contains(s, "new") {
		t.Errorf("an unknown question: %q", s)
	}
}
