// Package attack describes adversarial attacks as small values, and holds the loop over the steps
// of each kind, a Method. It holds no device code: a backend does each step, and pipeline cuts a
// sweep into batches of rows.
package attack

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"advsweep/internal/words"
)

// Direction is what a step goes along.
type Direction int

const (
	// Gradient is the gradient of the loss: its sign, with sign(0) = 0, or for L2 itself at length
	// 1.
	Gradient Direction = iota
	// RandomSign is +1 or -1 for each pixel by a fair coin; see RandomSigns. For L2 it is divided
	// by √I.
	RandomSign
	// Uniform is a point drawn from the unit ball; see UniformDraw.
	Uniform
	// Along is what the method says for each row and pixel: Step.Along. It needs nothing of the
	// model, so that an attack that only asks for logits, such as Square, can move its rows.
	Along
)

// String names d for a person: "random signs".
func (d Direction) String() string {
	return name("direction", int(d), "the gradient", "random signs", "uniform in the ball", "what the attack says")
}

// An Attack moves each image K times:
//
//	x ← x + size·d,  d by Direction, taken anew at each step, size by StepLength.
//
// See Step for what the fields that both have do. As JSON it is part of manifests, so the names and
// the order of its fields stay.
type Attack struct {
	Name  string // as it stands in a list: "bim", "pgd:steps=20"
	Kind  string // one of Names: which Method it is
	Steps int    // K, at least 1
	// Direction is that of its steps, unless its method says another. What else the attack has, a
	// loss or random draws, does not follow from it: see Draws and HasLoss.
	Direction Direction
	Seed      uint64 // keys random draws

	Norm Norm
	Loss Loss
	StepLength
	Start bool // from a random point of the eps-ball
	// how many times from the start, toward each target if it has several by Aim; an image counts as
	// fooled if any of them fools it. 0 stands for 1
	Restarts int
	Inertia
	Aim
	// Adaptive is APGD: the step size starts at 2·eps and is halved for each image when the loss
	// does not rise enough, and the search goes on from the best point. Croce and Hein 2020,
	// arXiv:2003.01690, algorithm 1.
	Adaptive bool
	Noisy
}

// An Inertia is how much of its direction a step keeps: see Step.
type Inertia struct {
	Momentum bool
	Decay    float64
	Nesterov bool
}

// An Aim is where an attack goes.
type Aim struct {
	Target Target
	// Targets is how many other classes the model has, where Target is All and Attack.For was told;
	// else 0.
	Targets int `json:",omitempty"`
}

// A Target says which class an attack comes near to.
type Target int

const (
	Untargeted Target = 0 // away from the label
	// to the class with the smallest logit of the clean image, the first one on a tie
	LeastLikely Target = -1
	// to another class with each restart: first to the one with the largest logit of the clean
	// image, the label left out, the first one on a tie, then to the next
	ByRank Target = -2
	// as ByRank, but first to the class whose plane is nearest in the clean image: see Nearer
	ByDistance Target = -3
	// toward every other class, in the order of ByRank, each as often as there are restarts: see
	// Attack.For
	All Target = -4
)

// Class is the Target of class t. An image with that label goes to the next class.
func Class(t int) Target { return Target(t + 1) }

func (t Target) String() string {
	switch {
	case t == Untargeted:
		return "none"
	case t == LeastLikely:
		return "least-likely"
	case t == ByRank:
		return "by rank"
	case t == ByDistance:
		return "by distance"
	case t == All:
		return "all"
	}
	return strconv.Itoa(int(t) - 1)
}

// Aims reports whether t is one class for all restarts of an image: an attack toward it has reached
// what it wants only there. ByRank, ByDistance and All are ways to leave the label.
func (t Target) Aims() bool { return t > Untargeted || t == LeastLikely }

// Of returns the class that an image goes to, given its label, the logits of the clean image and
// the number of the run, see Attack.Runs. Of ByDistance these do not say it: see Nearer.
func (t Target) Of(label int, logits []float64, restart int) int {
	switch t {
	case LeastLikely:
		least := -1
		for j, z := range logits {
			if j != label && (least < 0 || z < logits[least]) {
				least = j
			}
		}
		return least
	case ByRank, All:
		others := byLogit(label, logits)
		return others[restart%len(others)]
	}
	class := int(t) - 1
	if class == label {
		class = (class + 1) % len(logits)
	}
	return class
}

// Others returns the classes but label in the order of ByRank, by the logits of the clean image.
func Others(label int, logits []float64) []int { return byLogit(label, logits) }

// byLogit returns the classes but label by falling logits, of equal ones the first one first.
func byLogit(label int, logits []float64) []int {
	var others []int
	for j := range logits {
		if j != label {
			others = append(others, j)
		}
	}
	slices.SortStableFunc(others, func(a, b int) int { return cmp.Compare(logits[b], logits[a]) })
	return others
}

// Options are what Parse gives the attacks of a list, each where Facts.Options of its kind say that
// it applies. The zero value leaves all at their defaults.
type Options struct {
	Steps    int // of the iterated ones; 0: that of Facts.Default
	Seed     uint64
	Norm     Norm
	Loss     *Loss      // nil: that of Facts.Default
	Step     StepLength // if neither of it is 0
	Restarts int        // 0: that of Facts.Default, at least 1
	Decay    float64    // of the momentum; negative: that of Facts.Default
	Target   Target
	Targets  int // how many, of an attack that has several; 0: that of Facts.Default
	Noisy        // what is 0: that of Facts.Default
}

// A StepLength is how far a step goes: Size, or if that is 0 Factor·eps/K.
type StepLength struct {
	Factor float64 // of eps/K; 0 stands for 1
	Size   float64 // in units of pixels, whatever eps
}

// ParseSize reads "eps/k", "2.5*eps/k" or a number of pixel units, "0.01" or "2/255".
func ParseSize(s string) (StepLength, error) {
	if left, ok := strings.CutSuffix(s, "eps/k"); ok {
		left = strings.TrimSuffix(left, "*")
		if left == "" && s == "eps/k" {
			return StepLength{Factor: 1}, nil
		}
		if v, err := one(left); err == nil && v > 0 {
			return StepLength{Factor: v}, nil
		}
	} else if v, err := one(s); err == nil && v > 0 {
		return StepLength{Size: v}, nil
	}
	return StepLength{}, fmt.Errorf("attack: step size %q, want eps/k, a factor of it as in 2.5*eps/k, or a size in units of pixels above 0", s)
}

func one(s string) (float64, error) {
	r, err := parseRat(s)
	if err != nil {
		return 0, err
	}
	v, _ := r.Float64()
	return v, nil
}

// ParseTarget reads "none", "least-likely", "all" or a class.
func ParseTarget(s string) (Target, error) {
	switch s {
	case "none":
		return Untargeted, nil
	case "least-likely":
		return LeastLikely, nil
	case "all":
		return All, nil
	}
	if t, err := strconv.Atoi(s); err == nil && t >= 0 && t < math.MaxInt32 {
		return Class(t), nil
	}
	return 0, fmt.Errorf("attack: target %q, want none, least-likely, all or a class", s)
}

// Parse reads a comma list of Names such as "fgsm,bim", each of which may have options of its own
// before those of o: "pgd:steps=20:restarts=5:step=0.01,pgd:loss=cw". Keys are steps, step,
// restarts, norm, loss, decay, target, targets and seed. The same item may stand in the list once.
//
// Where "worst" is in a list without an attack, alone or with controls, its Facts.Of are put before
// it: "worst,noise" is "pgd,apgd-ce,apgd-dlr,worst,noise".
//
// An attack may be called as other programs call it, in any case: "I-FGSM" is "bim". Its name is
// then the one that it has here.
func Parse(list string, o Options) ([]Attack, error) {
	l, err := ParseList(list, o)
	return l.Attacks, err
}

// A List is what a list of attacks holds.
type List struct {
	Attacks []Attack
	// Implied are the names of those that nobody named: a composite stands for them.
	Implied []string
}

// ParseList is Parse that also says which attacks the list does not name itself.
func ParseList(list string, o Options) (List, error) {
	var out []Attack
	seen := map[string]bool{}
	for item := range strings.SplitSeq(list, ",") {
		item, err := canonical(strings.TrimSpace(item))
		if err != nil {
			return List{}, err
		}
		if seen[item] {
			return List{}, fmt.Errorf("attack: %s stands twice in %q", item, list)
		}
		seen[item] = true
		a, err := parseItem(item, o)
		if err != nil {
			return List{}, err
		}
		out = append(out, a)
	}
	made := slices.IndexFunc(out, Attack.Composite)
	if made < 0 || len(Parts(out)) > 0 {
		return List{Attacks: out}, nil
	}
	var kinds []string
	for _, kind := range out[made].facts().Of {
		if m, err := MethodOf(kind); err != nil || m.Facts().Has(o.Norm) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 && len(out[made].facts().Of) > 0 {
		return List{}, fmt.Errorf("attack: %[1]s in %[3]v in %[2]q: %[4]s are not in that norm: name the attacks that it is the %[1]s of", out[made].Name, list, o.Norm, words.And(out[made].facts().Of))
	}
	if len(kinds) == 0 {
		return List{}, fmt.Errorf("attack: %[1]s of nothing in %[2]q: name the attacks that it is the %[1]s of, which controls are not", out[made].Name, list)
	}
	var of []Attack
	for _, kind := range kinds {
		a, err := parseItem(kind, o)
		if err != nil {
			return List{}, err
		}
		of = append(of, a)
	}
	return List{slices.Insert(out, made, of...), kinds}, nil
}

func parseItem(item string, o Options) (Attack, error) {
	parts := strings.Split(item, ":")
	kind := parts[0]
	m, err := MethodOf(kind)
	if err != nil {
		return Attack{}, err
	}
	f := m.Facts()
	for _, p := range parts[1:] {
		key, value, _ := strings.Cut(p, "=")
		if !f.Takes(key) {
			want := "none"
			if len(f.Options) > 0 {
				want = "one of " + strings.Join(f.Options, ", ")
			}
			return Attack{}, fmt.Errorf("attack: %s: unknown option %q, want %s", kind, key, want)
		}
		if err := o.set(f, key, value); err != nil {
			return Attack{}, fmt.Errorf("%w (in %q)", err, item)
		}
	}
	a, err := o.attack(f)
	if err != nil {
		return Attack{}, err
	}
	a.Name = item
	return a, a.Validate()
}

// set takes in one option of an attack of the kind of f.
func (o *Options) set(f Facts, key, value string) (err error) {
	switch key {
	case "steps":
		o.Steps, err = atoi(key, value, 1, f.mostSteps())
	case "restarts":
		o.Restarts, err = atoi(key, value, 1, MaxRestarts)
	case "step":
		o.Step, err = ParseSize(value)
	case "norm":
		o.Norm, err = ParseNorm(value)
	case "loss":
		var l Loss
		l, err = ParseLoss(value)
		o.Loss = &l
	case "target":
		o.Target, err = ParseTarget(value)
	case "targets":
		o.Targets, err = atoi(key, value, 1, MaxRestarts)
	case "decay":
		if o.Decay, err = one(value); err != nil {
			err = fmt.Errorf("attack: decay %w", err)
		}
	case "draws":
		o.Noisy.Draws, err = atoi(key, value, 1, MaxDraws)
	case "sigma":
		if o.Sigma, err = one(value); err != nil || !(o.Sigma > 0) || math.IsInf(o.Sigma, 0) {
			err = fmt.Errorf("attack: sigma %q, want the standard deviation of the noise on a pixel, above 0", value)
		}
	case "seed":
		if o.Seed, err = strconv.ParseUint(value, 10, 64); err != nil {
			err = fmt.Errorf("attack: seed %q, want a number from 0 to 2^64-1", value)
		}
	default:
		err = fmt.Errorf("attack: unknown option %q", key)
	}
	return err
}

func atoi(key, s string, lo, hi int) (int, error) {
	v, err := strconv.Atoi(s)
	if err != nil || v < lo || v > hi {
		return 0, fmt.Errorf("attack: %s %q, want %d to %d", key, s, lo, hi)
	}
	return v, nil
}

// attack returns the attack of a kind with what of o applies to it.
func (o *Options) attack(f Facts) (Attack, error) {
	a := f.Default
	for _, key := range f.Options {
		switch key {
		case "steps":
			if o.Steps != 0 {
				a.Steps = o.Steps
			}
		case "step":
			if o.Step != (StepLength{}) {
				a.StepLength = o.Step
			}
		case "restarts":
			a.Restarts = max(1, cmp.Or(o.Restarts, a.Restarts)) // one value for one meaning: manifests are compared
		case "norm":
			if !f.Has(o.Norm) {
				return Attack{}, f.lacks(o.Norm)
			}
			a.Norm = o.Norm
		case "loss":
			if o.Loss != nil {
				a.Loss = *o.Loss
			}
		case "decay":
			if o.Decay >= 0 {
				a.Decay = o.Decay
			}
		case "target":
			a.Target = o.Target
		case "targets":
			a.Restarts = cmp.Or(o.Targets, a.Restarts)
		case "draws":
			a.Noisy.Draws = cmp.Or(o.Noisy.Draws, a.Noisy.Draws)
		case "sigma":
			a.Sigma = cmp.Or(o.Sigma, a.Sigma)
		case "seed":
			a.Seed = o.Seed
		default:
			return Attack{}, fmt.Errorf("attack: %s takes an unknown option %q", f.Name(), key)
		}
	}
	return a, nil
}

// MaxSteps is the largest K of a kind whose Facts.MostSteps is 0: with more, steps of eps/K come
// near the spacing of float32 numbers, and their rounding errors add up to a share of eps.
const MaxSteps = 1000

// Validate returns an error if no backend could run the attack.
func (a Attack) Validate() error {
	m, err := MethodOf(a.Kind)
	if err != nil {
		return err
	}
	if f := m.Facts(); a.Norm.known() && !f.Composite && !f.Has(a.Norm) {
		return f.lacks(a.Norm)
	}
	if most := m.Facts().mostSteps(); a.Steps < 1 || a.Steps > most {
		return fmt.Errorf("attack: %s: %d steps, want 1 to %d", a.Name, a.Steps, most)
	}
	if a.Restarts < 0 || a.Restarts > MaxRestarts {
		return fmt.Errorf("attack: %s: %d restarts, want 1 to %d", a.Name, a.Restarts, MaxRestarts)
	}
	if !(a.Factor >= 0) || !(a.Size >= 0) || math.IsInf(a.Factor+a.Size, 0) {
		return fmt.Errorf("attack: %s: step size %v·eps/k or %v, want finite numbers of at least 0", a.Name, a.Factor, a.Size)
	}
	if err := a.Noisy.validate(); err != nil {
		return fmt.Errorf("attack: %s: %w", a.Name, err)
	}
	if f := m.Facts(); f.Takes("draws") && a.Noisy.Draws == 0 {
		return fmt.Errorf("attack: %s: no draws of noise", a.Name)
	}
	if a.Target < All {
		return fmt.Errorf("attack: %s: unknown target %d", a.Name, int(a.Target))
	}
	if a.Targets != 0 && (a.Target != All || a.Targets < 0 || a.Targets > MaxRestarts) {
		return fmt.Errorf("attack: %s: %d targets where the target is %v", a.Name, a.Targets, a.Target)
	}
	if a.Target == All && (a.MinimumNorm() || a.Staged() || a.Composite()) { // whose rows go to no target
		return fmt.Errorf("attack: %s: toward all other classes, want an attack that takes the option target", a.Name)
	}
	if int64(a.Starts())*int64(max(1, a.Targets)) > MaxRestarts {
		return fmt.Errorf("attack: %s: %d restarts toward each of %d classes are %d runs, want at most %d", a.Name, a.Starts(), a.Targets, a.Runs(), MaxRestarts)
	}
	if a.Adaptive && (a.Momentum || a.Direction != Gradient) {
		return fmt.Errorf("attack: %s: adaptive steps go with the gradient alone", a.Name)
	}
	// What is left is the step's to say; a batch of one row of one pixel stands for all.
	s := a.step(0, []float64{0}, Bounds{})
	if s.Direction == Along { // which way only the method knows, once it has rows
		s.Along = []float64{0}
	}
	return s.Validate(1, 1, math.MaxInt32)
}

// For returns the attack as it is run on a model with so many classes: toward All it has as many
// Targets as there are other classes. It changes nothing else.
func (a Attack) For(classes int) Attack {
	if a.Target == All {
		a.Targets = max(0, classes-1)
	}
	return a
}

// FitsClasses returns an error unless the attack can be run on a model with so many classes.
func (a Attack) FitsClasses(classes int) error {
	if !a.Loss.known() {
		return fmt.Errorf("attack: %s: unknown loss %d", a.Name, int(a.Loss))
	}
	if n := a.Loss.MinClasses(a.Target != Untargeted); classes < n {
		return fmt.Errorf("attack: %s: loss %v needs %d classes, as it compares so many logits, and the model has %d: %s", a.Name, a.Loss, n, classes, a.instead(classes))
	}
	if a.Target > 0 && int(a.Target)-1 >= classes {
		return fmt.Errorf("attack: %s: target %v, but the model has classes 0 to %d", a.Name, a.Target, classes-1)
	}
	if n := classes - 1; a.Target == All && a.Targets != n {
		return fmt.Errorf("attack: %s: toward all of %d other classes, and the model has %d: Attack.For sets how many there are", a.Name, a.Targets, n)
	}
	return nil
}

// instead says what goes with so many classes where the attack's loss does not: attacks of its
// family whose loss does, or a loss.
func (a Attack) instead(classes int) string {
	f, targeted := a.facts(), a.Target != Untargeted
	fits := func(l Loss) bool { return l.MinClasses(targeted) <= classes }
	var use []string
	if f.OwnLoss {
		for _, m := range Methods {
			if o := m.Facts(); o.OwnLoss && o.Family != "" && o.Family == f.Family && fits(o.Default.Loss) {
				use = append(use, o.Name())
			}
		}
	} else {
		for l := range losses {
			if fits(Loss(l)) {
				use = append(use, "loss="+losses[l].name)
			}
		}
	}
	if len(use) == 0 {
		return "leave it out"
	}
	return "use " + words.Or(use)
}

// Lacks returns how many classes the attack needs, if these are too few for a loss that its kind
// has as its own; else 0. It is then no attack on the model, whatever its options.
func (a Attack) Lacks(classes int) int {
	if n := a.Loss.MinClasses(a.Target != Untargeted); a.facts().OwnLoss && a.Loss.known() && classes < n {
		return n
	}
	return 0
}

// FitsRange returns an error if one step of the attack goes further than from any image of inputs
// pixels to any other, see Reach. Such a step is most often a number of steps.
func (a Attack) FitsRange(bounds Bounds, inputs int) error {
	reach := Reach(a.Norm, bounds, inputs)
	if !(a.Size > reach) {
		return nil
	}
	where := "bounds " + bounds.String()
	if bounds.None() {
		where = "without bounds they are taken to lie in [0, 1]"
	}
	span := fmt.Sprintf("pixels span %v (%s)", reach, where)
	if a.Norm != Linf {
		span = fmt.Sprintf("images of %d pixels are at most %.6g apart in %v (%s)", inputs, reach, a.Norm, where)
	}
	size := strconv.FormatFloat(a.Size, 'g', -1, 64)
	s := fmt.Sprintf("attack: %s: step %s is how far one step moves, in units of pixels, and %s", a.Name, size, span)
	f := a.facts()
	switch {
	case a.Size != math.Trunc(a.Size) || a.Size > float64(f.mostSteps()):
		s += ": give a smaller one, or one that goes with eps as in step=2.5*eps/k"
	case a.Size < 256 && reach == 1:
		s += fmt.Sprintf(": for %[1]s steps write steps=%[1]s, for %[1]s of 255 levels step=%[1]s/255", size)
	default:
		s += fmt.Sprintf(": for %[1]s steps write steps=%[1]s", size)
	}
	return errors.New(s)
}

// Starts is how many times the attack starts toward each of its targets: Restarts, at least 1.
func (a Attack) Starts() int { return max(1, a.Restarts) }

// Runs is how many rows an image has at an eps: its Starts, toward All once for each target. Run r
// goes to target r mod Targets.
func (a Attack) Runs() int { return a.Starts() * max(1, a.Targets) }

// Plain reports whether every step is a plain one; see Step.
func (a Attack) Plain() bool {
	return !a.Adaptive && !a.Start && a.Runs() == 1 && a.Target == Untargeted && a.step(0, []float64{0}, Bounds{}).Plain(1)
}

// Short reports whether steps of StepSize are too short in all to reach eps. It is false where the
// method says how far a step goes.
func (a Attack) Short(eps float64) bool {
	reach := a.Size * float64(a.Steps)
	if a.Size == 0 {
		reach = a.factor() * eps
	}
	return a.HasStepSize() && !a.Adaptive && reach < eps*(1-1e-9)
}

// StepSize says how large the steps are: "eps/k", "2.5*eps/k", "0.01" or "adaptive". See
// HasStepSize.
func (a Attack) StepSize() string {
	switch {
	case a.Adaptive:
		return "adaptive"
	case a.Size > 0:
		return strconv.FormatFloat(a.Size, 'g', -1, 64)
	case a.factor() == 1:
		return "eps/k"
	}
	return strconv.FormatFloat(a.factor(), 'g', -1, 64) + "*eps/k"
}

func (a Attack) factor() float64 {
	if a.Factor == 0 {
		return 1
	}
	return a.Factor
}

// At returns step k of the attack, from 0, for each of eps [E] within bounds. It does not say what
// depends on the batch, Targets and Restarts, nor the sizes of an Adaptive attack.
func (a Attack) At(k int, eps []float64, bounds Bounds) Step {
	return a.step(k, eps, bounds)
}

func (a Attack) step(k int, eps []float64, bounds Bounds) Step {
	s := Step{
		Direction: a.Direction, Seed: a.Seed, Index: k, Size: make([]float64, len(eps)), Bounds: bounds,
		Norm: a.Norm, Loss: a.Loss, Momentum: a.Momentum, Decay: a.Decay, Nesterov: a.Nesterov,
		Ball: a.Start || a.Adaptive || a.Momentum || a.Size > 0 || a.factor() > 1 || a.Norm != Linf || a.Loss != CrossEntropy,
	}
	for e, v := range eps {
		switch {
		case v == 0:
		case a.Size > 0:
			s.Size[e] = a.Size
		case a.factor() == 1:
			s.Size[e] = v / float64(a.Steps)
		default:
			s.Size[e] = a.factor() * v / float64(a.Steps)
		}
	}
	return s
}

// Random returns the step to a random point of the eps-ball, with which an attack with Start
// begins. Its Index is K, which no other step has.
func (a Attack) Random(eps []float64, bounds Bounds) Step {
	return Step{Direction: Uniform, Seed: a.Seed, Index: a.Steps, Size: slices.Clone(eps), Bounds: bounds, Norm: a.Norm, Ball: true}
}

// Label names the attack for a person: "FGSM", "BIM, k = 5", "random ±eps". What differs from the
// default of its kind stands in it. An attack of an unknown kind has its Name.
func (a Attack) Label() string {
	m, err := MethodOf(a.Kind)
	if err != nil {
		return a.Name
	}
	s := m.Label(a)
	f := m.Facts()
	if f.Composite {
		return s
	}
	d := f.Default
	if n := a.Starts(); n > 1 || n != d.Starts() {
		s += fmt.Sprintf(" × %d", n)
	}
	if a.Norm != Linf || a.Norm != d.Norm {
		s += ", " + strings.ToUpper(a.Norm.String())
	}
	if f.Takes("loss") && (a.Loss != CrossEntropy || a.Loss != d.Loss) { // its name says one that is no option
		s += ", " + strings.ToUpper(a.Loss.String())
	}
	if f.Takes("step") && a.StepSize() != d.StepSize() {
		s += ", step " + a.StepSize()
	}
	if f.Takes("decay") && a.Decay != d.Decay {
		s += ", decay " + strconv.FormatFloat(a.Decay, 'g', -1, 64)
	}
	if a.Target != d.Target || a.Target != Untargeted && f.Takes("target") {
		s += ", target " + a.Target.String()
	}
	if seed, ok := a.option("seed"); ok { // that of the whole run is no option of the attack
		s += ", seed " + seed
	}
	return s
}

// option returns the value that the attack's item of a list gives an option, the last one if it
// gives several. ok is false if it gives none, and where no list names the attack.
func (a Attack) option(key string) (value string, ok bool) {
	for _, p := range strings.Split(a.Name, ":")[1:] {
		if k, v, _ := strings.Cut(p, "="); k == key {
			value, ok = v, true
		}
	}
	return value, ok
}
