package attack

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestReadmeTable wants README to have the table that is made of Methods.
func TestReadmeTable(t *testing.T) {
	var b strings.Builder
	b.WriteString("| attack | what it does | options | source |\n|---|---|---|---|\n")
	for _, m := range Methods {
		f := m.Facts()
		about := f.About
		if f.Control {
			about += " (control)"
		}
		options := strings.Join(f.Options, ", ")
		if f.Takes("steps") {
			options = strings.Replace(options, "steps", fmt.Sprintf("steps (%d)", f.Default.Steps), 1)
		}
		if f.Takes("norm") && len(f.Norms) > 0 {
			options = strings.Replace(options, "norm", "norm ("+namesOf(f.Norms)+")", 1)
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.Name(), about, options, f.Source)
	}
	readmeHas(t, b.String())
}

// TestReadmeAliases wants README to have the table that is made of aliases.
func TestReadmeAliases(t *testing.T) {
	var b strings.Builder
	b.WriteString("| is here | called elsewhere |\n|---|---|\n")
	for _, a := range aliases {
		is := "`" + a.item + "`"
		if a.missing != "" {
			is = a.missing + " is not; meanwhile " + is
		}
		fmt.Fprintf(&b, "| %s | %s |\n", is, strings.Join(a.names, ", "))
	}
	readmeHas(t, b.String())
}

func readmeHas(t *testing.T, table string) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "\n"+table+"\n") {
		t.Errorf("README.md has not this table:\n\n%s", table)
	}
}

// The JSON of an attack is part of manifests and of what identifies shards.
func TestJSON(t *testing.T) {
	for list, want := range map[string]string{
		"pgd:steps=3:restarts=2:seed=7":        `{"Name":"pgd:steps=3:restarts=2:seed=7","Kind":"pgd","Steps":3,"Direction":0,"Seed":7,"Norm":0,"Loss":0,"Factor":2.5,"Size":0,"Start":true,"Restarts":2,"Momentum":false,"Decay":0,"Nesterov":false,"Target":0,"Adaptive":false}`,
		"apgd-dlr:norm=l2:target=least-likely": `{"Name":"apgd-dlr:norm=l2:target=least-likely","Kind":"apgd-dlr","Steps":100,"Direction":0,"Seed":0,"Norm":1,"Loss":2,"Factor":0,"Size":0,"Start":true,"Restarts":1,"Momentum":false,"Decay":0,"Nesterov":false,"Target":-1,"Adaptive":true}`,
		"nifgsm:decay=0.5:step=0.01":           `{"Name":"nifgsm:decay=0.5:step=0.01","Kind":"nifgsm","Steps":10,"Direction":0,"Seed":0,"Norm":0,"Loss":0,"Factor":0,"Size":0.01,"Start":false,"Restarts":0,"Momentum":true,"Decay":0.5,"Nesterov":true,"Target":0,"Adaptive":false}`,
		"uniform:seed=3":                       `{"Name":"uniform:seed=3","Kind":"uniform","Steps":1,"Direction":2,"Seed":3,"Norm":0,"Loss":0,"Factor":0,"Size":0,"Start":false,"Restarts":0,"Momentum":false,"Decay":0,"Nesterov":false,"Target":0,"Adaptive":false}`,
	} {
		all, err := Parse(list, Options{Decay: -1})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(all[0]); err != nil || string(got) != want {
			t.Errorf("%s: %v\n got %s\nwant %s", list, err, got, want)
		}
	}
}

// What each kind has must be as the rest of the program takes it to be.
func TestMethods(t *testing.T) {
	for _, m := range Methods {
		f := m.Facts()
		a := f.Default
		if err := a.Validate(); err != nil {
			t.Error(err)
		}
		if a.Name != a.Kind || f.About == "" {
			t.Errorf("%s: name %q, about %q, want the kind and a line", a.Kind, a.Name, f.About)
		}
		if got, err := MethodOf(a.Kind); err != nil || got.Facts().Name() != a.Kind {
			t.Errorf("%s: %v, %v", a.Kind, got, err)
		}
		for _, key := range f.Options {
			changed := false
			// One of two values may be the default.
			for _, value := range map[string][2]string{"steps": {"2", "3"}, "step": {"0.01", "0.02"}, "restarts": {"1", "2"}, "norm": {f.norms()[0].String(), f.norms()[1].String()}, "loss": {"ce", "cw"},
				"decay": {"0.5", "1"}, "target": {"none", "1"}, "targets": {"2", "3"}, "draws": {"2", "3"}, "sigma": {"0.1", "0.2"}, "seed": {"8", "9"}}[key] {
				all, err := Parse(a.Kind+":"+key+"="+value, Options{Norm: f.norms()[0], Decay: -1})
				if err != nil {
					t.Error(err)
					continue
				}
				all[0].Name = a.Name
				changed = changed || all[0] != a
			}
			if !changed {
				t.Errorf("%s: option %s changes nothing", a.Kind, key)
			}
		}
		if f.OwnLoss && f.Takes("loss") || f.OwnSize && f.Takes("step") {
			t.Errorf("%s: own loss %v, own size %v, and options %v: one or the other", a.Kind, f.OwnLoss, f.OwnSize, f.Options)
		}
		r := &fakeRows{logits: [][]float64{{1, 0, 0, 0.5}, {0, 1, 0.5, 0}}}
		if f.Takes("steps") {
			a.Steps = min(a.Steps, 3)
		}
		switch err := a.Run(t.Context(), r); {
		case a.Staged():
			if err == nil || len(r.calls) > 0 || len(a.Stages(10)) < 2 {
				t.Errorf("%s has stages %v, but did %q, error %v", a.Kind, a.Stages(10), r.calls, err)
			}
			for _, s := range a.Stages(10) {
				if s.Validate() != nil || s.Staged() || s.Composite() {
					t.Errorf("%s: stage %+v", a.Kind, s)
				}
			}
		case f.Composite:
			if err == nil || len(r.calls) > 0 || slices.Contains(Single, a.Kind) {
				t.Errorf("%s is composite, but did %q, error %v; attacks of their own are %v", a.Kind, r.calls, err, Single)
			}
		case err != nil:
			t.Error(err)
		case f.Control == r.asked:
			t.Errorf("%s: control %v, but it did %q", a.Kind, f.Control, r.calls)
		case f.BlackBox != (r.asked && !r.graded):
			t.Errorf("%s: black box %v, but it did %q", a.Kind, f.BlackBox, r.calls)
		case r.done != a.Steps:
			t.Errorf("%s: %d steps done, want %d: %q", a.Kind, r.done, a.Steps, r.calls)
		case a.Ray() && !slices.Equal(r.calls, []string{"step 0 [0.1]", "done"}):
			t.Errorf("%s goes along a ray, but did %q, want one step of eps", a.Kind, r.calls)
		}
		if c, err := a.Cost(); err != nil || (c.Share < 2) != f.Composite || (c.Row+c.Image == 0) != (f.Composite || f.Control) {
			t.Errorf("%s: cost %+v, %v", a.Kind, c, err)
		}
	}
	if !FGSM().Ray() {
		t.Error("fgsm goes along no ray")
	}
	if !BIM(1).Ray() || BIM(2).Ray() {
		t.Errorf("bim of one step and of two: rays %v, %v, want true, false", BIM(1).Ray(), BIM(2).Ray())
	}
}

// An attack whose own direction is Along is valid before its method says which way.
func TestAlongIsValid(t *testing.T) {
	a := FGSM()
	if a.Direction = Along; a.Validate() != nil {
		t.Error(a.Validate())
	}
	if a.Momentum = true; a.Validate() == nil {
		t.Error("momentum of what the method says: no error")
	}
}

// A score-based attack asks the model for logits alone. That its steps are no gradients does not
// make it a control.
func TestControlIsNotTheDirection(t *testing.T) {
	for _, d := range []Direction{RandomSign, Uniform} {
		a := FGSM()
		if a.Direction = d; a.Control() {
			t.Errorf("an fgsm along direction %d counts as a control", d)
		}
		n := Noise(1)
		if n.Direction = Gradient; !n.Control() {
			t.Error("noise is no control once its direction is the gradient")
		}
	}
}

// fakeRows are two rows of one pixel whose logits do not depend on x. calls are what a method
// did.
type fakeRows struct {
	logits [][]float64
	calls  []string
	asked  bool // anything of the model
	graded bool // a gradient
	done   int
}

func (r *fakeRows) N() int             { return 2 }
func (r *fakeRows) Columns() []float64 { return []float64{0.1} }
func (r *fakeRows) Restarts() []int    { return nil }
func (r *fakeRows) Labels() []int32    { return []int32{0, 0} }
func (r *fakeRows) Images() []int      { return []int{5, 6} }
func (r *fakeRows) Shape() (c, h, w int) {
	return 1, 1, 1
}
func (r *fakeRows) Threads() int     { return 1 }
func (r *fakeRows) Targets() []int32 { return nil }
func (r *fakeRows) Bounds() Bounds   { return Bounds{} }
func (r *fakeRows) Done()            { r.calls, r.done = append(r.calls, "done"), r.done+1 }
func (r *fakeRows) Step(_ context.Context, s Step) error {
	r.calls, r.asked, r.graded = append(r.calls, fmt.Sprint("step ", s.Index, s.Size)), r.asked || s.Direction == Gradient, r.graded || s.Direction == Gradient
	return nil
}
func (r *fakeRows) Logits(context.Context) ([][]float64, error) {
	r.calls, r.asked = append(r.calls, "logits"), true
	return r.logits, nil
}
func (r *fakeRows) Pixels(context.Context) ([][]float64, error) {
	return [][]float64{{0.5}, {0.25}}, nil
}
func (r *fakeRows) Gradient(_ context.Context, q []float64) ([][]float64, error) {
	r.calls, r.asked, r.graded = append(r.calls, fmt.Sprint("gradient ", q)), true, true
	return [][]float64{{1}, {-1}}, nil
}
func (r *fakeRows) See(_ context.Context, weigh func(k int, z, q []float64)) (logits, g [][]float64, err error) {
	r.calls, r.asked, r.graded = append(r.calls, "see"), true, true
	for k, z := range r.logits {
		weigh(k, z, make([]float64, len(z)))
	}
	return r.logits, [][]float64{{1}, {1}}, nil
}
func (r *fakeRows) Look(_ context.Context, s Step) ([][]float64, error) {
	r.calls, r.asked = append(r.calls, fmt.Sprint("look ", s.Index)), true
	return r.logits, nil
}
func (r *fakeRows) Keep(_ context.Context, slot int, which []bool) error {
	r.calls = append(r.calls, fmt.Sprint("keep ", slot, which))
	return nil
}
func (r *fakeRows) Restore(_ context.Context, slot int, which []bool) error {
	r.calls = append(r.calls, fmt.Sprint("restore ", slot, which))
	return nil
}

func TestRun(t *testing.T) {
	for _, c := range []struct {
		a    Attack
		want string
	}{
		{FGSM(), "step 0 [0.1]; done"},
		{BIM(2), "step 0 [0.05]; done; step 1 [0.05]; done"},
		{PGD(1, 0), "step 1 [0.1]; step 0 [0.25]; done"},
		{Noise(0), "step 0 [0.1]; done"},
		// The second row is fooled all the time and ends at its last fooling point; the loss of the
		// first never rises.
		{APGD(Margin, 1, 0), "step 1 [0.1]; look 0; keep 0 [true true]; keep 1 [false true]; step 0 [0.2 0.2]; logits; keep 0 [false false]; keep 1 [false true]; done; " +
			"restore 1 [false true]; restore 0 [true false]"},
	} {
		if c.a.Kind == "apgd-cw" { // Auto-PGD knows no such kind
			c.a.Kind = "apgd-ce"
		}
		r := &fakeRows{logits: [][]float64{{1, 0}, {0, 1}}}
		if err := c.a.Run(t.Context(), r); err != nil {
			t.Errorf("%s: %v", c.a.Name, err)
		}
		if got := strings.Join(r.calls, "; "); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.a.Name, got, c.want)
		}
	}
	r := &fakeRows{logits: [][]float64{{1, 0}, {0, math.NaN()}}}
	if err := APGD(CrossEntropy, 1, 0).Run(t.Context(), r); err != NotFiniteRow(1) {
		t.Errorf("a logit that is not finite: error %v, want NotFiniteRow(1)", err)
	}
	if err := Worst().Run(t.Context(), r); err == nil || !strings.Contains(err.Error(), "worst") {
		t.Errorf("worst was run: error %v", err)
	}
}

// patient is an attack that may take more steps than others: most of them.
type patient struct {
	fgsm
	most int
}

func (p patient) Facts() Facts {
	a := FGSM()
	a.Name, a.Kind, a.Steps = "patient", "patient", p.most
	return Facts{Default: a, Options: []string{"steps"}, MostSteps: p.most}
}

// A registered attack is known to lists, with its own bounds, and no two have one name.
func TestRegister(t *testing.T) {
	defer func(methods []Method, names, single []string, most int) {
		Methods, Names, Single, MostSteps = methods, names, single, most
		delete(byName, "patient")
	}(Methods, Names, Single, MostSteps)
	if _, err := Parse("patient", Options{Decay: -1}); err == nil {
		t.Fatal("it is known before it was registered")
	}
	before, most := len(Methods), MostSteps+5
	Register(patient{most: most})
	a, err := Parse(fmt.Sprint("patient:steps=", most-1), Options{Decay: -1})
	if err != nil || a[0].Steps != most-1 || MostSteps != most || len(Methods) != before+1 || !slices.Contains(Names, "patient") || !slices.Contains(Single, "patient") {
		t.Errorf("%+v, at most %d steps of %v: %v", a, MostSteps, Names, err)
	}
	if _, err := Parse(fmt.Sprint("patient:steps=", most+1), Options{Decay: -1}); err == nil || !strings.Contains(err.Error(), fmt.Sprint("want 1 to ", most)) {
		t.Errorf("too many steps: error %v", err)
	}
	if _, err := Parse(fmt.Sprint("bim:steps=", MaxSteps+1), Options{Decay: -1}); err == nil || !strings.Contains(err.Error(), fmt.Sprint("want 1 to ", MaxSteps)) {
		t.Errorf("too many steps of another: error %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("two methods of one name")
		}
	}()
	Register(patient{most: 1})
}

// chosen is an attack whose loss is not ce if none is given.
type chosen struct{ iterated }

func (chosen) Facts() Facts {
	a := BIM(2)
	a.Name, a.Kind, a.Loss, a.Restarts = "chosen", "chosen", Margin, 3
	return Facts{Default: a, Options: []string{"loss", "target", "restarts"}}
}

// A method's own default lasts where nothing is given, and gives way to what is: to ce, and to one
// restart, too.
func TestDefaults(t *testing.T) {
	byName["chosen"] = chosen{}
	defer delete(byName, "chosen")
	for _, c := range []struct {
		item  string
		given *Loss
		want  Loss
	}{
		{"chosen", nil, Margin},
		{"chosen", new(CrossEntropy), CrossEntropy},
		{"chosen", new(DLR), DLR},
		{"chosen:loss=ce", nil, CrossEntropy},
		{"chosen:loss=dlr", new(CrossEntropy), DLR},
		{"bim", nil, CrossEntropy},
		{"bim", new(DLR), DLR},
		{"apgd-dlr", new(Margin), DLR},
	} {
		all, err := Parse(c.item, Options{Loss: c.given, Decay: -1})
		if err != nil || all[0].Loss != c.want {
			t.Errorf("%s, %v given: %+v, %v; want loss %v", c.item, c.given, all, err, c.want)
		}
	}
	for given, want := range map[int]int{0: 3, 1: 1, 2: 2} {
		all, err := Parse("chosen,pgd", Options{Restarts: given, Decay: -1})
		if err != nil || all[0].Restarts != want || all[1].Restarts != max(1, given) {
			t.Errorf("%d restarts given: %+v, %v; want %d, and %d of pgd", given, all, err, want, max(1, given))
		}
	}
	// Options are the caller's: an item with a loss of its own changes no other.
	given := new(DLR)
	all, err := Parse("bim:loss=cw,fgsm", Options{Loss: given, Decay: -1})
	if err != nil || all[0].Loss != Margin || all[1].Loss != DLR || *given != DLR {
		t.Errorf("%+v, %v, %v", all, *given, err)
	}
}

// What an attack has does not follow from its direction: an attack of a kind that takes nothing,
// whose direction is the zero one, has nothing, and one that takes all has all.
func TestDescription(t *testing.T) {
	byName["chosen"], byName["patient"] = chosen{}, patient{most: 4}
	defer func() { delete(byName, "chosen"); delete(byName, "patient") }()
	along := patient{most: 4}.Facts().Default
	along.Direction = Along
	random := BIM(2)
	random.Start = true
	short := StepLength{Size: 0.001}
	for _, c := range []struct {
		a                                Attack
		draws, restarts, loss, has, tiny bool // tiny: with steps of 0.001 it does not reach 0.3
	}{
		{FGSM(), false, false, true, true, true},
		{BIM(5), false, false, true, true, true},
		{random, true, true, true, true, true},
		{PGD(5, 0), true, true, true, true, true},
		{NIFGSM(5), false, false, true, true, true},
		{APGD(DLR, 5, 0), true, true, true, true, false},
		{Noise(0), true, false, false, false, false},
		{UniformNoise(0), true, false, false, false, false},
		{Worst(), false, false, false, false, false},
		{chosen{}.Facts().Default, false, true, true, false, false},
		{patient{most: 4}.Facts().Default, false, false, false, false, false},
		{along, false, false, false, false, false},
	} {
		c.a.StepLength = short
		got := []bool{c.a.Draws(), c.a.Restartable(), c.a.HasLoss(), c.a.HasStepSize(), c.a.Short(0.3)}
		if want := []bool{c.draws, c.restarts, c.loss, c.has, c.tiny}; !slices.Equal(got, want) {
			t.Errorf("%s, direction %d: draws, restarts, loss, step size, too short: %v, want %v", c.a.Name, c.a.Direction, got, want)
		}
		if c.a.Short(0) {
			t.Errorf("%s does not reach eps 0", c.a.Name)
		}
	}
	for _, m := range Methods {
		f := m.Facts()
		if a := f.Default; f.Takes("seed") != a.Draws() || (f.Takes("restarts") || f.Takes("targets")) != a.Restartable() || f.Takes("loss") && !a.HasLoss() || f.Takes("step") && !a.HasStepSize() {
			t.Errorf("%s: options %v, but draws %v, restarts %v, loss %v, step size %v", a.Kind, f.Options, a.Draws(), a.Restartable(), a.HasLoss(), a.HasStepSize())
		}
	}
}

// TestUnknown asks every place that goes by kind, loss or norm for one that nobody knows.
func TestUnknown(t *testing.T) {
	strange := Attack{Name: "mine", Kind: "strange", Steps: 1}
	loss, norm := FGSM(), FGSM()
	loss.Loss, norm.Norm = Loss(len(losses)), Norm(len(norms))
	row := func(s Step) error { s.Size = []float64{0.1}; return s.Validate(1, 1, 10) }
	_, ofCost := strange.Cost()
	_, ofKind := MethodOf("strange")
	_, ofParse := Parse("strange", Options{})
	_, ofLoss := loss.Loss.Value([]float64{1, 2, 3}, 0, -1)
	_, ofName := ParseLoss("hinge")
	_, ofNorm := ParseNorm("l7")
	odd := FGSM()
	odd.Loss, odd.Target = loss.Loss, Class(1)
	o := Options{}
	_, ofOption := o.attack(Facts{Default: FGSM(), Options: []string{"queries"}})
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"Cost":                {ofCost, `"strange"`},
		"Run":                 {strange.Run(t.Context(), nil), `"strange"`},
		"Validate":            {strange.Validate(), `"strange"`},
		"MethodOf":            {ofKind, `"strange"`},
		"Parse":               {ofParse, `"strange"`},
		"Loss.Value":          {ofLoss, "loss 3"},
		"ParseLoss":           {ofName, `"hinge"`},
		"ParseNorm":           {ofNorm, `"l7"`},
		"Validate, loss":      {loss.Validate(), "loss 3"},
		"Validate, norm":      {norm.Validate(), "norm 4"},
		"FitsClasses":         {loss.FitsClasses(10), "loss 3"},
		"FitsClasses, target": {odd.FitsClasses(10), "loss 3"},
		"Step, loss":          {row(Step{Loss: loss.Loss}), "loss 3"},
		"Step, norm":          {row(Step{Norm: norm.Norm}), "norm 4"},
		"Step, direction":     {row(Step{Direction: Uniform + 1}), "direction 3"},
		"an option's value":   {o.set(FGSM().facts(), "queries", "3"), `"queries"`},
		"an option":           {ofOption, `"queries"`},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %s", name, c.err, c.want)
		}
	}
	if n := loss.Loss.MinClasses(false); n != math.MaxInt {
		t.Errorf("a loss that nobody knows needs %d classes, want more than there are", n)
	}
	if strange.Ray() || strange.Control() || strange.Composite() || strange.Label() != "mine" {
		t.Errorf("an attack that nobody knows: ray %v, control %v, composite %v, label %q", strange.Ray(), strange.Control(), strange.Composite(), strange.Label())
	}
}

// guess is an attack that asks for logits alone, as one that is added would be: one file and a row.
type guess struct{ iterated }

func (guess) Facts() Facts {
	return Facts{
		Default: Attack{Name: "guess", Kind: "guess", Steps: 7, Direction: RandomSign},
		Options: []string{"steps", "norm", "seed"},
		About:   "steps along random signs, kept where the loss rises",
	}
}

func (guess) Cost(a Attack) Cost { return Cost{Row: float64(a.Steps), Share: 1 + a.Steps} }
func (guess) Ray(Attack) bool    { return false }

// TestNewMethod adds an attack and asks for all that a list of attacks, a sweep and a report want
// of it.
func TestNewMethod(t *testing.T) {
	byName["guess"] = guess{}
	defer delete(byName, "guess")
	all, err := Parse("guess:steps=3:norm=l2,worst", Options{Seed: 5, Loss: new(DLR), Decay: -1})
	if err != nil {
		t.Fatal(err)
	}
	a := all[0]
	want := Attack{Name: "guess:steps=3:norm=l2", Kind: "guess", Steps: 3, Direction: RandomSign, Seed: 5, Norm: L2}
	if a != want {
		t.Errorf("attack %+v, want %+v", a, want)
	}
	if c, err := a.Cost(); err != nil || c != (Cost{Row: 3, Share: 4}) {
		t.Errorf("cost %+v, %v", c, err)
	}
	if a.Control() || a.Composite() || a.Ray() {
		t.Errorf("control %v, composite %v, ray %v, want none: it looks at the model", a.Control(), a.Composite(), a.Ray())
	}
	if got, want := a.Label(), "GUESS, k = 3, L2"; got != want {
		t.Errorf("label %q, want %q", got, want)
	}
	r := &fakeRows{}
	if err := a.Run(t.Context(), r); err != nil || len(r.calls) != 6 {
		t.Errorf("%v, calls %q", err, r.calls)
	}
	if _, err := Parse("guess:loss=cw", Options{}); err == nil || !strings.Contains(err.Error(), "steps, norm, seed") {
		t.Errorf("an option that it does not take: error %v", err)
	}
}
