package attack

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseEps(t *testing.T) {
	grid := make([]float64, 21)
	for i := range grid {
		grid[i] = float64(i) / 40
	}
	for _, c := range []struct {
		in   string
		want []float64
	}{
		{"0:0.5:0.025", grid},
		{"0,8/255,0.1", []float64{0, 8. / 255, 0.1}},
		{"0.3", []float64{0.3}},
		{" 0.1 , 0.05,0.1", []float64{0.05, 0.1}},
		{"0:1:0.4", []float64{0, 0.4, 0.8}},
		{"0:2/255:1/255,1e-1,.5", []float64{0, 1. / 255, 2. / 255, 0.1, 0.5}},
		{"0.2:0.2:1", []float64{0.2}},
	} {
		got, err := ParseEps(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", c.in, d)
		}
		if err := ValidateEps(got); err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
	}
	for in, want := range map[string]string{
		"":                      "not a finite number",
		"0.1,":                  "not a finite number",
		"NaN":                   "not a finite number",
		"Inf":                   "not a finite number",
		"0x1p-2":                "not a finite number",
		"1e999999999":           "not a finite number",
		"-0.1":                  "negative",
		"0.5:0:0.1":             "reversed",
		"0:1:0":                 "step",
		"0:1:-0.1":              "negative",
		"0:1":                   "colons",
		"1/0":                   "divides by 0",
		"0:1:0.000001":          "more than",
		"0:1:1e-5,2,3":          "more than",
		"0:1:1e-99":             "more than",
		"0:1:0.1:0.2":           "colons",
		strings.Repeat("9", 99): "not a finite number",
	} {
		got, err := ParseEps(in)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want an error with %q", in, got, err, want)
		}
	}
	for _, bad := range [][]float64{nil, {-1}, {math.NaN()}, {math.Inf(1)}, {0.1, 0.1}, {0.2, 0.1}} {
		if ValidateEps(bad) == nil {
			t.Errorf("ValidateEps(%v): nil, want an error", bad)
		}
	}
}

func FuzzParseEps(f *testing.F) {
	for _, s := range []string{"0:0.5:0.025", "8/255", "1e9,2", "0:1:1e-3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if eps, err := ParseEps(s); err == nil {
			if err := ValidateEps(eps); err != nil {
				t.Errorf("ParseEps(%q) = %v: %v", s, eps, err)
			}
		}
	})
}

func TestBounds(t *testing.T) {
	for in, want := range map[string]Bounds{"none": {}, "0,1": {0, 1}, "-0.5, 2": {-0.5, 2}} {
		got, err := ParseBounds(in)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", in, got, err, want)
		}
		if back, err := ParseBounds(got.String()); err != nil || back != got {
			t.Errorf("%q does not read back: %v, %v", got, back, err)
		}
	}
	for _, in := range []string{"", "0", "1,0", "0,0", "1,1", "NaN,1", "0,Inf", "0,1,2", "a,b"} {
		if got, err := ParseBounds(in); err == nil {
			t.Errorf("%q: %v, want an error", in, got)
		}
	}
}

func TestParse(t *testing.T) {
	got, err := Parse("fgsm,bim, noise", Options{Seed: 9, Decay: -1})
	if d := cmp.Diff([]Attack{FGSM(), BIM(5), Noise(9)}, got); err != nil || d != "" {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	for _, in := range []string{"", "fgsm,", "fgsm,fgsm", "FGSM,fgsm", "ifgsm,bim", "boundary", "pgd:steps", "pgd:steps=0", "pgd:step=0", "pgd:k=3", "fgsm:steps=3", "bim:norm=l1", "bim:loss=", "pgd:target=-1", "worst:steps=2", "noise:seed=-1", "mifgsm:decay=-1"} {
		if got, err := Parse(in, Options{}); err == nil {
			t.Errorf("%q: %v, want an error", in, got)
		}
	}
	if _, err := Parse("bim:steps=0", Options{}); err == nil {
		t.Error("0 steps: no error")
	}
}

// TestAliases: a name of another program is the attack here, with the name that it has here, in
// results too.
func TestAliases(t *testing.T) {
	for in, want := range map[string]string{
		"FGSM": "fgsm", "PGD": "pgd", "Bim": "bim", "i-fgsm": "bim", "IFGSM:steps=3": "bim:steps=3", "MI-FGSM": "mifgsm", "mi_fgsm": "mifgsm", "NI-FGSM": "nifgsm",
		"APGD_DLR": "apgd-dlr", "APGD": "apgd-ce", "AutoProjectedGradientDescent": "apgd-ce", "AA": "autoattack", "HopSkipJump": "hopskipjump", "HSJA:steps=3": "hopskipjump:steps=3", "HopSkipJumpAttack": "hopskipjump", "CW": "carlini-wagner", "auto-attack:norm=l2": "autoattack:norm=l2", "FAB_T": "fab-t", "L2DeepFoolAttack": "deepfool:norm=l2", "PGDL2:steps=20": "pgd:norm=l2:steps=20", "LinfPGD": "pgd:norm=linf",
		"FastGradientMethod": "fgsm", "fast_gradient_method": "fgsm", "L2FastGradientAttack": "fgsm:norm=l2", "MomentumIterativeMethod": "mifgsm",
		" FGSM , Noise": "fgsm,noise", "WORST": "pgd,quick,worst",
	} {
		got, err := Parse(in, Options{Seed: 3, Decay: -1})
		if err != nil {
			t.Errorf("%q: %v", in, err)
			continue
		}
		wanted, err := Parse(want, Options{Seed: 3, Decay: -1})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(wanted, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", in, d)
		}
	}
	for _, in := range []string{"boundary", "BoundaryAttack", "fgsm,Boundary-Attack", "boundary_attack:steps=3"} {
		if _, err := Parse(in, Options{}); err == nil || !strings.Contains(err.Error(), "no Boundary Attack here yet; meanwhile use hopskipjump: minimum norm: jumps along") {
			t.Errorf("%q: error %v, want that it is not there, and what to use", in, err)
		}
	}
	seen := map[string]bool{}
	for _, name := range Names {
		seen[plainName(name)] = true
	}
	if len(seen) != len(Names) {
		t.Errorf("of %q two are alike but for case and hyphens", Names)
	}
	for _, a := range aliases {
		if _, err := Parse(a.item, Options{Decay: -1}); err != nil {
			t.Errorf("%q stand for %s: %v", a.names, a.item, err)
		}
		for _, name := range a.names {
			if name != plainName(name) || seen[name] {
				t.Errorf("%s, for %s: as it is it cannot be found, or it stands for two attacks", name, a.item)
			}
			seen[name] = true
		}
	}
}

// TestOwnName: an attack that a program registers goes before an alias.
func TestOwnName(t *testing.T) {
	byName["aa"] = fgsm{}
	defer delete(byName, "aa")
	if got, err := Parse("aa", Options{}); err != nil || got[0].Name != "aa" || got[0].Kind != "fgsm" {
		t.Errorf("%+v, %v; want the attack that is called so", got, err)
	}
}

// TestWorst: worst beside attacks is made of them, and beside controls alone, or alone, of those
// that it stands for. Options of the list are theirs too.
func TestWorst(t *testing.T) {
	for in, want := range map[string]string{
		"worst":             "pgd quick worst",
		"worst,noise":       "pgd quick worst noise",
		"uniform,worst":     "uniform pgd quick worst",
		"noise,Worst,bim":   "noise worst bim",
		"worst,fgsm,noise":  "worst fgsm noise",
		"pgd:steps=3,worst": "pgd:steps=3 worst",
	} {
		all, err := Parse(in, Options{Steps: 7, Seed: 3, Norm: L2, Decay: -1})
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		var names, parts []string
		for i, a := range all {
			names = append(names, a.Name)
			if slices.Contains(Parts(all), i) {
				parts = append(parts, a.Name)
				if a.Norm != L2 || a.facts().Takes("steps") && a.Name != "pgd:steps=3" && a.Steps != 7 {
					t.Errorf("%s: %s of %d steps in %v, want 7 in l2", in, a.Name, a.Steps, a.Norm)
				}
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
		for _, p := range parts {
			if p == "worst" || p == "noise" || p == "uniform" {
				t.Errorf("%s is made of %q, want attacks", in, parts)
			}
		}
		if len(parts) == 0 {
			t.Errorf("%s is made of nothing", in)
		}
	}
	for _, in := range []string{"worst,worst", "worst,noise,noise"} {
		if _, err := Parse(in, Options{}); err == nil || !strings.Contains(err.Error(), "twice") {
			t.Errorf("%s: error %v, want that one stands twice", in, err)
		}
	}
	for _, kind := range worstOf {
		if m, err := MethodOf(kind); err != nil || m.Facts().Composite || m.Facts().Control {
			t.Errorf("worst is made of %s: %v, want an attack", kind, err)
		}
	}
}

// TestFitsClasses: an attack whose loss needs more classes is refused with what to use, and of
// those that worst stands for it is told that their own loss does.
func TestFitsClasses(t *testing.T) {
	for _, c := range []struct {
		item    string
		classes int
		want    string // of the error; empty: none
		lacks   int
	}{
		{"apgd-dlr", 2, "apgd-dlr: loss dlr needs 3 classes, as it compares so many logits, and the model has 2: use apgd-ce", 3},
		{"apgd-dlr", 3, "", 0},
		{"apgd-dlr:target=1", 3, "needs 4 classes, as it compares so many logits, and the model has 3: use apgd-ce", 4},
		{"apgd-dlr", 1, "and the model has 1: leave it out", 3},
		{"apgd-ce", 2, "", 0},
		{"pgd:loss=dlr", 2, "needs 3 classes, as it compares so many logits, and the model has 2: use loss=ce or loss=cw", 0},
		{"pgd:loss=cw", 2, "", 0},
	} {
		all, err := Parse(c.item, Options{Decay: -1})
		if err != nil {
			t.Fatal(err)
		}
		err = all[0].FitsClasses(c.classes)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %d classes: error %v, want %q", c.item, c.classes, err, c.want)
		}
		if got := all[0].Lacks(c.classes); got != c.lacks {
			t.Errorf("%s, %d classes: lacks %d, want %d", c.item, c.classes, got, c.lacks)
		}
	}
	for in, want := range map[string][]string{"worst,noise": worstOf, "worst": worstOf, "pgd,worst": nil, "apgd-dlr,worst": nil, "noise": nil} {
		if l, err := ParseList(in, Options{}); err != nil || !slices.Equal(l.Implied, want) {
			t.Errorf("%s: %v, implied %q, want %q", in, err, l.Implied, want)
		}
	}
}

// TestFitsRange: a step is at most as long as images are apart, and the error says what step is and
// what was meant.
func TestFitsRange(t *testing.T) {
	for _, c := range []struct {
		list   string
		bounds Bounds
		inputs int
		want   []string // of the error; nil: none
	}{
		{"pgd:step=20", Bounds{}, 784, []string{"pgd:step=20", "how far one step moves", "pixels span 1", "[0, 1]", "write steps=20,", "step=20/255"}},
		{"bim:step=2", Bounds{0, 1}, 784, []string{"pixels span 1 (bounds 0,1)", "steps=2,"}},
		{"bim:step=1.5", Bounds{0, 1}, 784, []string{"pixels span 1", "smaller one"}},
		{"bim:step=5000", Bounds{0, 1}, 784, []string{"smaller one"}}, // more steps than any attack takes
		{"bim:step=1", Bounds{0, 1}, 784, nil},
		{"bim:step=0.6", Bounds{0, 0.5}, 784, []string{"pixels span 0.5 (bounds 0,0.5)"}},
		{"bim:step=20", Bounds{0, 255}, 784, nil},
		{"bim:step=300", Bounds{0, 255}, 784, []string{"pixels span 255", "write steps=300"}},
		{"pgd:step=20:norm=l2", Bounds{}, 784, nil}, // 28
		{"pgd:step=20:norm=l2", Bounds{}, 100, []string{"100 pixels are at most 10 apart in l2", "steps=20"}},
		{"pgd:step=20*eps/k", Bounds{}, 784, nil},
	} {
		all, err := Parse(c.list, Options{Decay: -1})
		if err != nil {
			t.Fatal(err)
		}
		err = all[0].FitsRange(c.bounds, c.inputs)
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s, bounds %s, %d pixels: error %v, want one: %v", c.list, c.bounds, c.inputs, err, c.want != nil)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s, bounds %s: %v, want %q in it", c.list, c.bounds, err, want)
			}
		}
	}
}

// TestLabel: whatever differs from the default of a kind stands in the label, and no label of
// defaults changes, as results have them.
func TestLabel(t *testing.T) {
	for list, want := range map[string]string{
		"fgsm": "FGSM", "fgsm:norm=l2": "FGM, L2", "bim": "BIM, k = 5", "pgd": "PGD, k = 40", "mifgsm": "MI-FGSM, k = 10", "nifgsm": "NI-FGSM, k = 10",
		"apgd-ce": "APGD-CE, k = 100", "apgd-dlr": "APGD-DLR, k = 100", "noise": "random ±eps", "uniform": "uniform noise", "fgsm,worst": "FGSM; worst of all",
		"bim:step=eps/k":                        "BIM, k = 5",
		"bim:step=2.5*eps/k":                    "BIM, k = 5, step 2.5*eps/k",
		"pgd:steps=20":                          "PGD, k = 20",
		"pgd:step=eps/k":                        "PGD, k = 40, step eps/k",
		"pgd:step=2/256:restarts=3:target=2":    "PGD, k = 40 × 3, step 0.0078125, target 2",
		"mifgsm:decay=0.5:loss=cw":              "MI-FGSM, k = 10, CW, decay 0.5",
		"mifgsm:decay=1":                        "MI-FGSM, k = 10",
		"pgd:seed=4,pgd:seed=5":                 "PGD, k = 40, seed 4; PGD, k = 40, seed 5",
		"noise:norm=l2:seed=7":                  "random ±eps, L2, seed 7",
		"apgd-ce:norm=l2:target=least-likely":   "APGD-CE, k = 100, L2, target least-likely",
		"apgd-dlr:restarts=5:steps=20:norm=l2":  "APGD-DLR, k = 20 × 5, L2",
		"nifgsm:step=0.25:decay=0:target=none":  "NI-FGSM, k = 10, step 0.25, decay 0",
		"pgd:loss=ce:restarts=1:step=2.5*eps/k": "PGD, k = 40",
	} {
		all, err := Parse(list, Options{Seed: 1, Decay: -1})
		if err != nil {
			t.Errorf("%s: %v", list, err)
			continue
		}
		var got []string
		for _, a := range all {
			got = append(got, a.Label())
		}
		if s := strings.Join(got, "; "); s != want {
			t.Errorf("%s: label %q, want %q", list, s, want)
		}
	}
	// Options of the whole list count as those of an item do.
	all, err := Parse("bim,mifgsm", Options{Step: StepLength{Size: 0.5}, Decay: 0.25})
	if err != nil {
		t.Fatal(err)
	}
	if a, b := all[0].Label(), all[1].Label(); a != "BIM, k = 5, step 0.5" || b != "MI-FGSM, k = 10, step 0.5, decay 0.25" {
		t.Errorf("labels %q and %q, want step 0.5 in both and decay 0.25 in the second", a, b)
	}
}

// The known answers are those published with Random123 (kat_vectors, philox4x32 10).
func TestPhilox(t *testing.T) {
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}, [2]uint32{^uint32(0), ^uint32(0)},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := philox(c.counter, c.key); got != c.want {
			t.Errorf("philox(%x, %x) = %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

// The layout is a contract: results of earlier versions depend on it. The signs were computed from
// Philox4x32-10 blocks by a Python program that shares no code with this one.
func TestRandomSignsLayout(t *testing.T) {
	d := make([]int8, 300)
	RandomSigns(d, 1|2<<32, 3, 0, 4)
	var got strings.Builder
	for _, v := range append(d[:40:40], d[120:140]...) {
		got.WriteByte("-.+"[v+1])
	}
	if want := "+---+-+-++-+++++++---+--+-----++++++-++-------++-+--+++--+--"; got.String() != want {
		t.Errorf("signs %s, want %s", got.String(), want)
	}
}

func TestRandomSigns(t *testing.T) {
	draw := func(n int, seed uint64, image int) []int8 {
		d := make([]int8, n)
		RandomSigns(d, seed, image, 0, 0)
		return d
	}
	a, step1 := draw(784, 1, 0), make([]int8, 784)
	RandomSigns(step1, 1, 0, 0, 1)
	if d := cmp.Diff(a[:300], draw(300, 1, 0)); d != "" {
		t.Errorf("a prefix is drawn otherwise:\n%s", d)
	}
	for name, b := range map[string][]int8{"seed": draw(784, 2, 0), "high seed": draw(784, 1+1<<40, 0), "image": draw(784, 1, 1), "step": step1} {
		same := 0
		for i := range a {
			if a[i] == b[i] {
				same++
			}
		}
		// 784 coins: mean 392, standard deviation 14; 6 of them is 84.
		if same < 308 || same > 476 {
			t.Errorf("another %s: %d of 784 signs agree, want about 392", name, same)
		}
	}
	sum := 0
	for image := range 1000 {
		for _, v := range draw(784, 1, image) {
			if v != 1 && v != -1 {
				t.Fatalf("sign %d, want ±1", v)
			}
			sum += int(v)
		}
	}
	// 784,000 coins: standard deviation 885.
	if sum < -5313 || sum > 5313 {
		t.Errorf("the signs sum to %d, want 0 within 5313", sum)
	}
}

// TestByRank: the targets of an image are the other classes by falling logits of the clean image,
// one for each restart, and then from the first on again.
func TestByRank(t *testing.T) {
	z := []float64{1, 5, 3, 5, -2}
	for label, want := range map[int][]int{0: {1, 3, 2, 4, 1, 3}, 1: {3, 2, 0, 4, 3, 2}, 4: {1, 3, 2, 0, 1, 3}} {
		var got []int
		for restart := range want {
			got = append(got, ByRank.Of(label, z, restart))
		}
		if !slices.Equal(got, want) {
			t.Errorf("label %d: targets %v, want %v", label, got, want)
		}
	}
	all, err := Parse("apgd-t,apgd-t:targets=3:steps=20", Options{Restarts: 5, Target: Class(2), Loss: new(CrossEntropy), Decay: -1})
	if err != nil {
		t.Fatal(err)
	}
	// Restarts, target and loss of others are not its own.
	for i, want := range []Attack{APGDTargeted(100, 9, 0), APGDTargeted(20, 3, 0)} {
		if all[i].Name = want.Name; all[i] != want {
			t.Errorf("attack %+v, want %+v", all[i], want)
		}
	}
	for i, want := range []string{"APGD-T, k = 100 × 9", "APGD-T, k = 20 × 3"} {
		if got := all[i].Label(); got != want {
			t.Errorf("label %q, want %q", got, want)
		}
	}
}

// TestAll: toward all other classes there are as many runs as these, times the starts, and what was
// written before there was such a target is written as it was.
func TestAll(t *testing.T) {
	all, err := Parse("pgd:target=all:restarts=3,fgsm:target=all,pgd", Options{Decay: -1})
	if err != nil {
		t.Fatal(err)
	}
	a := all[0]
	if a.Target != All || a.Runs() != 3 || a.Starts() != 3 {
		t.Errorf("%+v has %d runs", a, a.Runs())
	}
	if err := a.FitsClasses(10); err == nil || !strings.Contains(err.Error(), "Attack.For") {
		t.Errorf("before For: error %v", err)
	}
	a = a.For(10)
	if a.Runs() != 27 || a.Starts() != 3 || a.For(10) != a || a.Label() != "PGD, k = 40 × 3, target all" {
		t.Errorf("%+v: %d runs, %d starts, %q", a, a.Runs(), a.Starts(), a.Label())
	}
	if err := a.FitsClasses(10); err != nil {
		t.Error(err)
	}
	if err := a.FitsClasses(9); err == nil {
		t.Error("of 10 classes on a model of 9: no error")
	}
	if one := all[2]; one.For(10) != one || all[1].For(10).Runs() != 9 || all[1].For(10).Plain() || all[1].For(10).Ray() {
		t.Error("For changes what it must not, or FGSM toward all is a ray")
	}
	if a.Restarts = MaxRestarts; a.Validate() == nil {
		t.Error("65536 restarts toward 9 classes: no error")
	}
	for _, one := range []Attack{FABTargeted(5, 2), AutoAttack(1), Worst()} { // as a manifest may say
		if one.Target = All; one.For(10).Validate() == nil {
			t.Errorf("%s toward all: no error", one.Name)
		}
	}
	bad := all[2]
	if bad.Targets = 3; bad.Validate() == nil {
		t.Error("targets without a target: no error")
	}
	for label := range 3 {
		var seen []int
		for run := range 4 {
			seen = append(seen, All.Of(label, []float64{2, 5, 3}, run))
		}
		if want := [][]int{{1, 2, 1, 2}, {2, 0, 2, 0}, {1, 0, 1, 0}}[label]; !slices.Equal(seen, want) || !slices.Equal(Others(label, []float64{2, 5, 3}), want[:2]) {
			t.Errorf("label %d: targets %v, want %v", label, seen, want)
		}
	}
	for _, c := range []struct{ list, want string }{
		{"bim", `{"Name":"bim","Kind":"bim","Steps":5,"Direction":0,"Seed":0,"Norm":0,"Loss":0,"Factor":0,"Size":0,"Start":false,"Restarts":0,"Momentum":false,"Decay":0,"Nesterov":false,"Target":0,"Adaptive":false}`},
		{"bim:target=all", `{"Name":"bim:target=all","Kind":"bim","Steps":5,"Direction":0,"Seed":0,"Norm":0,"Loss":0,"Factor":0,"Size":0,"Start":false,"Restarts":0,"Momentum":false,"Decay":0,"Nesterov":false,"Target":-4,"Targets":9,"Adaptive":false}`},
	} {
		one, err := Parse(c.list, Options{Decay: -1})
		if err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(one[0].For(10)); err != nil || string(text) != c.want {
			t.Errorf("%s: %s, %v; want %s", c.list, text, err, c.want)
		}
	}
}
