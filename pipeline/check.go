package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/stat"
)

// A Level says how bad a Finding is.
type Level int

const (
	Pass Level = iota
	Warn
	Fail
)

func (l Level) String() string { return [...]string{"PASS", "WARN", "FAIL"}[l] }

// A Finding is the answer to one question about a robustness evaluation.
type Finding struct {
	Level  Level
	Name   string // of the question: "eps-0"
	Text   string // what was found, with numbers
	Images []int  // that it is about, by their index in the data set
}

// A Gate is an accuracy that is to be reached at an eps.
type Gate struct{ Accuracy, Eps float64 }

// A Check asks whether the numbers of an evaluation can be trusted: whether attacks do what they must on any model whose
// gradients can be followed. A model that fails looks more robust than it is, most often since its gradients are masked.
//
// Carlini, Athalye, Papernot et al. 2019, "On Evaluating Adversarial Robustness", arXiv:1902.06705, sections 3 to 5.
type Check struct {
	Eps    []float64 // [E], increasing; 0 and Far join them
	Far    float64   // an eps at which no model can be right by more than chance: the width of the bounds
	Bounds attack.Bounds
	Norm   attack.Norm
	Steps  int // of the iterated attacks; also twice as many are tried
	Seed   uint64
	Gates  []Gate // their eps join Eps
	Rows   int
	// Progress is as Sweep's.
	Progress func(done, total int)
}

// Far returns an eps of norm that reaches any image of inputs pixels within bounds from any other; without bounds, within [0, 1].
func Far(norm attack.Norm, bounds attack.Bounds, inputs int) float64 {
	far := 1.0
	if !bounds.None() {
		far = bounds.Hi - bounds.Lo
	}
	if norm == attack.L2 {
		far *= math.Sqrt(float64(inputs))
	}
	return far
}

// The attacks of a Check, by their places in its result.
const (
	oneStep = iota
	iterated
	projected
	longer
	margin
	noise
	uniform
	checkAttacks
)

// sure is the chance of a difference as large as one found between attacks that are as strong, below which it counts.
const sure = 0.001

// Run answers all questions about b's model on set. The result is of the attacks that were made, with what the gates ask for.
func (c Check) Run(ctx context.Context, b Backend, set *dataset.Set) ([]Finding, *Result, error) {
	eps := append([]float64{0, c.Far}, c.Eps...)
	for _, g := range c.Gates {
		eps = append(eps, g.Eps)
	}
	slices.Sort(eps)
	eps = slices.Compact(eps)
	o := func(list string, steps int) (attack.Attack, error) {
		a, err := attack.Parse(list, attack.Options{Steps: steps, Seed: c.Seed, Norm: c.Norm, Decay: -1})
		if err != nil {
			return attack.Attack{}, err
		}
		return a[0], nil
	}
	attacks := make([]attack.Attack, checkAttacks)
	for i, a := range []struct {
		list  string
		steps int
	}{{"fgsm", 1}, {"bim", c.Steps}, {"pgd", c.Steps}, {fmt.Sprintf("pgd:steps=%d", 2*c.Steps), 0}, {"pgd:loss=cw", c.Steps}, {"noise", 0}, {"uniform", 0}} {
		var err error
		if attacks[i], err = o(a.list, a.steps); err != nil {
			return nil, nil, err
		}
	}
	s := Sweep{Attacks: attacks, Eps: eps, Bounds: c.Bounds, Outcomes: true, Rows: c.Rows, Progress: c.Progress}
	res, err := s.Run(ctx, b, set)
	var logits *NotFiniteError
	if errors.As(err, &logits) {
		return []Finding{{Fail, "finite", err.Error(), []int{logits.Image}}}, nil, nil
	}
	var gradient interface{ NotFiniteImage() int } // a backend's
	if errors.As(err, &gradient) {
		return []Finding{{Fail, "finite", err.Error(), []int{gradient.NotFiniteImage()}}}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	ball, err := c.ball(ctx, b, set, s)
	if err != nil {
		return nil, nil, err
	}
	j := judgement{c, res}
	found := []Finding{{Pass, "finite", "every logit and gradient is a finite number", nil}}
	found = append(found, j.eps0(), ball, j.stronger("iterated", longer, oneStep), j.stronger("noise", projected, noise), j.useful(), j.far(),
		j.zero(), j.saturated(), j.converged(), j.stronger("loss", projected, margin), j.monotone())
	for _, g := range c.Gates {
		found = append(found, j.gate(g))
	}
	return found, res, nil
}

// ball attacks again and looks at every pixel.
func (c Check) ball(ctx context.Context, b Backend, set *dataset.Set, s Sweep) (Finding, error) {
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return Finding{}, err
	}
	inputs := b.Info().Inputs
	r := run{Sweep: s, b: b, labels: set.Labels, first: set.First}
	r.limit()
	bad := map[int]bool{}
	worst, out := 0.0, 0.0
	at := s.Eps[len(s.Eps)/2]
	n := set.N()
	step := max(1, min(n, r.rows, defaultWork/4))
	clean, err := cleanImages(ctx, b, n, step, inputs)
	if err != nil {
		return Finding{}, err
	}
	for _, a := range s.Attacks {
		for lo := 0; lo < n; lo += step {
			hi := min(n, lo+step)
			one, err := newRows(ctx, b, a, []float64{at}, s.Bounds, set.Labels, lo, hi)
			if err != nil {
				return Finding{}, err
			}
			if err := one.attack(ctx, func() {}); err != nil {
				return Finding{}, one.named(err, set.First)
			}
			d, err := b.Images(ctx)
			if err != nil {
				return Finding{}, err
			}
			for k, v := range float64s(d) {
				i := lo*inputs + k
				row := i / inputs
				over := math.Abs(v-clean[i]) - at
				if a.Norm == attack.Linf && over > worst {
					worst = over
				}
				if a.Norm == attack.Linf && !(over <= slack(at, clean[i])) {
					bad[set.First+row] = true
				}
				if !s.Bounds.None() && !(v >= s.Bounds.Lo-slack(1, s.Bounds.Lo) && v <= s.Bounds.Hi+slack(1, s.Bounds.Hi)) {
					out = max(out, s.Bounds.Lo-v, v-s.Bounds.Hi)
					bad[set.First+row] = true
				}
			}
			if a.Norm == attack.L2 {
				found, err := b.Outcomes(ctx, nil)
				if err != nil {
					return Finding{}, err
				}
				for k, v := range found.Norms {
					worst = max(worst, float64(v.L2)-at)
					top := 0.0
					for _, pixel := range clean[(lo+k)*inputs:][:inputs] {
						top = max(top, math.Abs(pixel))
					}
					if !(float64(v.L2) <= at+slack(at, top)) {
						bad[set.First+lo+k] = true
					}
				}
			}
		}
	}
	f := Finding{Name: "ball", Text: fmt.Sprintf("at eps %.4g every perturbed image lies in its ball and within bounds %s", at, s.Bounds)}
	if len(bad) > 0 {
		f.Level, f.Text = Fail, fmt.Sprintf("at eps %.4g %d images leave the ball, by up to %.3g, or bounds %s, by up to %.3g", at, len(bad), worst, s.Bounds, out)
	}
	for i := range bad {
		f.Images = append(f.Images, i)
	}
	slices.Sort(f.Images)
	return f, nil
}

// slack is how far rounding may carry a pixel past a distance: it adds up over the steps, each of which rounds by 2^-24 of
// the pixel, or of numbers near 1 that it is made of.
func slack(eps, pixel float64) float64 {
	return float64(1e-5 * (eps + float64(0.1*max(1, math.Abs(pixel)))))
}

// cleanImages are the images that b holds [n·inputs].
func cleanImages(ctx context.Context, b Backend, n, step, inputs int) ([]float64, error) {
	var all []float64
	for lo := 0; lo < n; lo += step {
		if err := b.Begin(ctx, lo, min(n, lo+step), []float64{0}); err != nil {
			return nil, err
		}
		d, err := b.Images(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, float64s(d)...)
	}
	return all, nil
}

// A judgement is of one result.
type judgement struct {
	Check
	*Result
}

func (j judgement) outcome(attack, i, e int) *Outcome {
	return &j.Curves[attack].Outcomes[i*len(j.Result.Eps)+e]
}

func (j judgement) right(attack, i, e int) bool {
	return j.outcome(attack, i, e).Class == j.Images[i].Label
}

func (j judgement) eps0() Finding {
	f := Finding{Name: "eps-0", Text: "at eps 0 every attack leaves every image and its logits as they are"}
	for i, im := range j.Images {
		for a := range checkAttacks {
			if o := j.outcome(a, i, 0); o.Norms != (attack.Norms{}) || o.Class != im.Class || o.Margin != im.Margin {
				f.Level = Fail
				f.Images = append(f.Images, j.First+i)
				break
			}
		}
	}
	if f.Level == Fail {
		f.Text = fmt.Sprintf("at eps 0 %d images are moved or judged otherwise", len(f.Images))
	}
	return f
}

// stronger asks whether attack strong fools at least as many images as attack weak at every eps. Images that only weak fools count
// against those that only strong does, by the sign test.
func (j judgement) stronger(name string, strong, weak int) Finding {
	labels := [2]string{j.Curves[strong].Attack.Label(), j.Curves[weak].Attack.Label()}
	f := Finding{Name: name, Text: fmt.Sprintf("%s fools at least as many images as %s at every eps", labels[0], labels[1])}
	worst := 1.0
	for e, eps := range j.Result.Eps {
		only := [2]int{}
		var images []int
		for i := range j.Images {
			s, w := j.right(strong, i, e), j.right(weak, i, e)
			switch {
			case s && !w:
				only[1]++
				images = append(images, j.First+i)
			case w && !s:
				only[0]++
			}
		}
		if only[1] <= only[0] {
			continue
		}
		if p := stat.SignTest(only[1], only[0]); p < worst {
			worst, f.Images = p, images
			f.Level = Warn
			if p < sure {
				f.Level = Fail
			}
			f.Text = fmt.Sprintf("at eps %.4g %d images are fooled by %s alone and %d by %s alone (chance of that %.2g)", eps, only[1], labels[1], only[0], labels[0], p)
		}
	}
	if f.Level == Warn {
		f.Text += "; few enough to be chance"
	}
	return f
}

// useful asks whether the attack finds what noise does not.
func (j judgement) useful() Finding {
	f := Finding{Level: Fail, Name: "better-than-noise"}
	most, at := -1, 0
	for e := range j.Result.Eps {
		if d := j.Curves[noise].Correct[e] - j.Curves[longer].Correct[e]; d > most {
			most, at = d, e
		}
	}
	f.Text = fmt.Sprintf("at eps %.4g %d images withstand random signs and %d the attack", j.Result.Eps[at], j.Curves[noise].Correct[at], j.Curves[longer].Correct[at])
	few := stat.SignTest(j.Clean, 0) >= sure // even if the attack fooled all of them
	if only := most; only > 0 && stat.SignTest(only, 0) < sure {
		f.Level = Pass
	} else if j.Clean == 0 {
		f.Level, f.Text = Warn, "no image is right as it is: there is nothing to attack"
	} else if few {
		f.Level = Warn
		f.Text += fmt.Sprintf(": %d images that are right as they are are too few to tell", j.Clean)
	} else {
		f.Text += ": nowhere is the attack better than chance"
	}
	return f
}

func (j judgement) far() Finding {
	e := slices.Index(j.Result.Eps, j.Far)
	k, best := j.N, 0
	for a := range checkAttacks {
		if j.Curves[a].Attack.Control() {
			continue
		}
		if c := j.Curves[a].Correct[e]; c < k {
			k, best = c, a
		}
	}
	chance := 1 / float64(j.Classes)
	f := Finding{Name: "far", Text: fmt.Sprintf("at eps %.4g %d of %d images are right under %s; chance is %.3g", j.Far, k, j.N, j.Curves[best].Attack.Label(), chance*float64(j.N))}
	// How many would be right by luck is binomial: 4 standard deviations above the mean are no luck.
	if n := float64(j.N); float64(k) > float64(n*chance)+float64(4*math.Sqrt(n*chance*(1-chance))) {
		f.Level = Fail
		for i := range j.Images {
			if j.right(best, i, e) {
				f.Images = append(f.Images, j.First+i)
			}
		}
		f.Text += ": gradients do not lead where any image could be reached"
	}
	return f
}

func (j judgement) zero() Finding {
	f := Finding{Name: "zero-gradient", Text: "no gradient is zero in every pixel"}
	for i := range j.Images {
		for a := range checkAttacks {
			if slices.ContainsFunc(j.Curves[a].Outcomes[i*len(j.Result.Eps):][:len(j.Result.Eps)], func(o Outcome) bool { return o.Zero && o.Class == j.Images[i].Label }) {
				f.Images = append(f.Images, j.First+i)
				break
			}
		}
	}
	if n := len(f.Images); n > 0 {
		f.Level = Warn
		if 100*n > j.N {
			f.Level = Fail
		}
		f.Text = fmt.Sprintf("%d of %d images were right with a gradient that is zero in every pixel at some step: they were not attacked, or not to the end", n, j.N)
	}
	return f
}

// saturation is the margin from which p_y is 1 in float32: 25·ln 2.
const saturation = 17.33

func (j judgement) saturated() Finding {
	f := Finding{Name: "saturated"}
	for i, im := range j.Images {
		if im.Margin > saturation {
			f.Images = append(f.Images, j.First+i)
		}
	}
	f.Text = fmt.Sprintf("%d of %d images have a margin of logits above %.4g, where 1 - p is 0 in float32", len(f.Images), j.N, saturation)
	if 20*len(f.Images) > j.N {
		f.Level = Warn
		f.Text += ": programs that differentiate softmax as it is written see no gradient there; advsweep does"
	}
	return f
}

func (j judgement) converged() Finding {
	f := Finding{Name: "converged"}
	most, at := 0, 0
	for e := range j.Result.Eps {
		if d := j.Curves[projected].Correct[e] - j.Curves[longer].Correct[e]; d > most {
			most, at = d, e
		}
	}
	f.Text = fmt.Sprintf("twice the steps fool at most %d of %d images more, at eps %.4g", most, j.N, j.Result.Eps[at])
	if 100*most > j.N*2 {
		f.Level = Warn
		f.Text += ": more steps would find more"
	}
	return f
}

func (j judgement) monotone() Finding {
	f := Finding{Name: "monotone", Text: "no curve of an iterated attack rises with eps"}
	worst := 1.0
	for _, a := range []int{projected, longer} {
		for e := 1; e < len(j.Result.Eps); e++ {
			up, down := 0, 0
			var images []int
			for i := range j.Images {
				switch before, now := j.right(a, i, e-1), j.right(a, i, e); {
				case now && !before:
					up++
					images = append(images, j.First+i)
				case before && !now:
					down++
				}
			}
			if up <= down {
				continue
			}
			if p := stat.SignTest(up, down); p < worst {
				worst, f.Images, f.Level = p, images, Warn
				if p < sure {
					f.Level = Fail
				}
				f.Text = fmt.Sprintf("%s: from eps %.4g to %.4g %d images become right and %d wrong (chance of that %.2g)", j.Curves[a].Attack.Label(), j.Result.Eps[e-1], j.Result.Eps[e], up, down, p)
			}
		}
	}
	return f
}

func (j judgement) gate(g Gate) Finding {
	e := slices.Index(j.Result.Eps, g.Eps)
	k := 0
	f := Finding{Name: "min-accuracy"}
	for i := range j.Images {
		right := true
		for a := range checkAttacks {
			right = right && j.right(a, i, e)
		}
		if right {
			k++
		} else {
			f.Images = append(f.Images, j.First+i)
		}
	}
	accuracy := float64(k) / float64(j.N)
	f.Text = fmt.Sprintf("accuracy %.4g (%d of %d) at eps %.4g under the worst of all attacks, want at least %.4g", accuracy, k, j.N, g.Eps, g.Accuracy)
	if accuracy < g.Accuracy {
		f.Level = Fail
	}
	return f
}
