package verdict

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/batch"
	"advsweep/pipeline"
	"advsweep/stat"
)

// A Gate is an accuracy that is to be reached at an eps.
type Gate struct{ Accuracy, Eps float64 }

// A Check asks whether the numbers of an evaluation can be trusted: whether attacks do what they
// must on any model whose gradients can be followed. A model that fails looks more robust than it
// is, most often since its gradients are masked.
//
// Carlini, Athalye, Papernot et al. 2019, "On Evaluating Adversarial Robustness", arXiv:1902.06705,
// sections 3 to 5.
type Check struct {
	Eps []float64 // [E], increasing; 0 and Far join them
	// Far is an eps at which no model can be right by more than chance: the width of the bounds
	Far    float64
	Bounds attack.Bounds
	Norm   attack.Norm
	Steps  int // of the iterated attacks; also twice as many are tried
	Seed   uint64
	More   []attack.Attack // that are made besides, and judged too; none is composite
	Gates  []Gate          // their eps join Eps
	Proofs Proofs
	Rows   int
	// Prober tries what may be behind clean images that are wrong; nil: nothing is tried.
	Prober *Prober
	// Progress is as Sweep's.
	Progress func(done, total int)
}

// Proofs are gates that count the images that are proven to be right at an eps in L∞. Prover is
// asked, and may be nil where there are no gates.
type Proofs struct {
	Gates  []Gate
	Prover pipeline.Prover
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
	search
	checkAttacks
)

// checkLists are the attacks of a Check in a norm, with their steps: K, or others.
var checkLists = map[attack.Norm]func(k int) [checkAttacks]listed{
	attack.Linf: ballLists, attack.L2: ballLists,
	// There is no attack of one step, and none of another loss on every model, but these do for them.
	attack.L1: func(k int) [checkAttacks]listed {
		return [checkAttacks]listed{
			oneStep: {"apgd-ce", 1}, iterated: {"fab", k}, projected: {"apgd-ce", k}, longer: {"apgd-ce", 2 * k}, margin: {"fmn", k},
			noise: {"noise", 0}, uniform: {"uniform", 0}, search: {"square", searchQueries},
		}
	},
}

// A listed is an attack of a list, and its steps; of 0 those that it has.
type listed struct {
	list  string
	steps int
}

func ballLists(k int) [checkAttacks]listed {
	return [checkAttacks]listed{
		oneStep: {"fgsm", 1}, iterated: {"bim", k}, projected: {"pgd", k}, longer: {fmt.Sprintf("pgd:steps=%d", 2*k), 0}, margin: {"pgd:loss=cw", k},
		noise: {"noise", 0}, uniform: {"uniform", 0}, search: {"square", searchQueries},
	}
}

// Judges reports whether a Check can be made in norm: there are attacks for its questions.
func Judges(norm attack.Norm) bool { return checkLists[norm] != nil }

// searchQueries is K of the search without gradients. So few take about half as long as the other
// attacks together, and fool about as many images as one step along the gradient.
const searchQueries = 100

// Run answers all questions about b's model on set. The result is of the attacks that were made,
// with what the gates ask for.
func (c Check) Run(ctx context.Context, b pipeline.Backend, set *dataset.Set) ([]Finding, *pipeline.Result, error) {
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
	if !Judges(c.Norm) {
		return nil, nil, fmt.Errorf("verdict: no check in %v: there are neither controls nor a search without gradients in that norm", c.Norm)
	}
	attacks := make([]attack.Attack, checkAttacks)
	for i, a := range checkLists[c.Norm](c.Steps) {
		var err error
		if attacks[i], err = o(a.list, a.steps); err != nil {
			return nil, nil, err
		}
	}
	s, _ := pipeline.Sweep{Attacks: append(attacks, c.More...), Eps: eps, Bounds: c.Bounds, Rows: c.Rows, Progress: c.Progress}.LeaveOut(b.Info().Classes)
	res, err := s.Run(ctx, b, set)
	finite := Finding{What: Finite}
	var logits *pipeline.NotFiniteError
	var gradient interface{ NotFiniteImage() int } // a backend's
	switch {
	case errors.As(err, &logits):
		finite.Level, finite.Err, finite.Images = Fail, err, []int{logits.Image}
		return []Finding{finite}, nil, nil
	case errors.As(err, &gradient):
		finite.Level, finite.Err, finite.Images = Fail, err, []int{gradient.NotFiniteImage()}
		return []Finding{finite}, nil, nil
	case err != nil:
		return nil, nil, err
	}
	ball, err := c.ball(ctx, b, set, s)
	if err != nil {
		return nil, nil, err
	}
	found := c.Judge(res)
	if c.Prober != nil {
		if found[0], err = c.Prober.explain(ctx, b, set, found[0]); err != nil {
			return nil, nil, err
		}
	}
	for _, g := range c.Proofs.Gates {
		f, err := c.proofs(ctx, b, set, g)
		if err != nil {
			return nil, nil, err
		}
		found = append(found, f)
	}
	return append([]Finding{found[0], finite, found[1], ball}, found[2:]...), res, nil
}

// Judge answers what the result of the attacks alone tells: all questions of Run but Finite and
// Ball. The curves of res are Known, and those of a Check, in their order, with those of More
// behind them.
func (c Check) Judge(res *pipeline.Result) []Finding {
	j := judge{res}
	curve := make([]*pipeline.Curve, len(res.Curves))
	for i := range curve {
		curve[i] = &res.Curves[i]
	}
	found := []Finding{
		j.clean(), j.atZero(curve...),
		j.stronger(Iterated, curve[longer], curve[oneStep]), j.stronger(Noise, curve[projected], curve[noise]),
		j.betterThanNoise(curve[longer], curve[noise]),
	}
	found = append(found, j.blackBox()...)
	found = append(found,
		j.far(c.Far), j.zeroGradient(curve...), j.saturated(),
		j.converged(curve[projected], curve[longer]), j.stronger(OtherLoss, curve[projected], curve[margin]),
	)
	up := j.monotone(curve[projected])
	if other := j.monotone(curve[longer]); other.P < up.P {
		up = other
	}
	found = append(found, up)
	for _, g := range c.Gates {
		found = append(found, j.gate(g))
	}
	return found
}

// ball attacks again and looks at every pixel.
func (c Check) ball(ctx context.Context, b pipeline.Backend, set *dataset.Set, s pipeline.Sweep) (Finding, error) {
	n := set.N()
	at := s.Eps[len(s.Eps)/2]
	clean, err := cleanImages(ctx, b, set, c.Rows)
	if err != nil {
		return Finding{}, err
	}
	inputs := len(clean) / n
	bad := map[int]bool{}
	worst, out := 0.0, 0.0
	for _, a := range s.Attacks {
		made, err := pipeline.CraftAll(ctx, b, set, a, at, s.Bounds, nil)
		if err != nil {
			return Finding{}, err
		}
		for i, pixel := range made.Images.Data().([]float32) {
			v, over := float64(pixel), math.Abs(float64(pixel)-clean[i])-at
			image := set.First + i/inputs
			if a.Norm == attack.Linf && over > worst {
				worst = over
			}
			if a.Norm == attack.Linf && !(over <= slack(at, clean[i])) {
				bad[image] = true
			}
			if !s.Bounds.None() && !(v >= s.Bounds.Lo-slack(1, s.Bounds.Lo) && v <= s.Bounds.Hi+slack(1, s.Bounds.Hi)) {
				out = max(out, s.Bounds.Lo-v, v-s.Bounds.Hi)
				bad[image] = true
			}
		}
		if a.Norm == attack.Linf {
			continue
		}
		for i, o := range made.Outcomes {
			far := o.Norms.In(a.Norm)
			worst = max(worst, far-at)
			top := 0.0
			for _, pixel := range clean[i*inputs:][:inputs] {
				top = max(top, math.Abs(pixel))
			}
			most := at + slack(at, top)
			if a.Norm == attack.L1 { // each pixel rounds by itself
				most += float64(float64(inputs) * 0x1p-23 * max(1, top))
			}
			if !(far <= most) {
				bad[set.First+i] = true
			}
		}
	}
	f := Finding{What: Ball, Eps: at, Outside: Outside{Bounds: s.Bounds}, N: n}
	if len(bad) > 0 {
		f.Level, f.Only[0], f.Excess = Fail, len(bad), [2]float64{worst, out}
		f.Images = slices.Sorted(maps.Keys(bad))
	}
	return f, nil
}

// slack is how far rounding may carry a pixel past a distance. It adds up over the steps, each of
// which rounds by 2^-24 of the pixel, or of numbers near 1 that it is made of.
func slack(eps, pixel float64) float64 {
	return float64(1e-5 * (eps + float64(0.1*max(1, math.Abs(pixel)))))
}

// cleanRows bounds the images that are copied out of a backend at once.
const cleanRows = 1024

// cleanImages loads set into b and returns the images that b then holds [n·I], as its arithmetic
// rounds them. rows above 0 bounds how many are asked for at once.
func cleanImages(ctx context.Context, b pipeline.Backend, set *dataset.Set, rows int) ([]float64, error) {
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return nil, err
	}
	n, step := set.N(), max(1, min(b.Info().Rows, cleanRows))
	if rows > 0 {
		step = min(step, rows)
	}
	var all []float64
	for lo := 0; lo < n; lo += step {
		if err := b.Begin(ctx, lo, min(n, lo+step), []float64{0}); err != nil {
			return nil, err
		}
		d, err := b.Images(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, batch.Floats[float64](nil, d)...)
	}
	return all, nil
}

// betterThanNoise asks whether the attack finds what noise does not.
func (j judge) betterThanNoise(c, noise *pipeline.Curve) Finding {
	most, at := -1, 0
	for e := range j.Eps {
		if d := noise.Correct[e] - c.Correct[e]; d > most {
			most, at = d, e
		}
	}
	f := Finding{Level: Fail, What: BetterThanNoise, Attack: c.Attack, Other: noise.Attack, Eps: j.Eps[at], N: j.N,
		Right: [2]int{c.Correct[at], noise.Correct[at]}, Only: [2]int{j.Clean}}
	f.P = stat.SignTest(max(0, most), 0)
	few := stat.SignTest(j.Clean, 0) >= sure // even if the attack fooled all of them
	switch {
	case most > 0 && f.P < sure:
		f.Level = Pass
	case few:
		f.Level = Warn
	}
	return f
}

// far asks whether the strongest attack along a gradient leaves more images right than chance at
// eps, which reaches any image. That a search without gradients does not is another question.
func (j judge) far(eps float64) Finding {
	e := slices.Index(j.Eps, eps)
	k, best := j.N, &j.Curves[0]
	for a := range j.Curves {
		if c := &j.Curves[a]; c.Attack.HasLoss() && c.Correct[e] < k {
			k, best = c.Correct[e], c
		}
	}
	f := Finding{What: AtFar, Attack: best.Attack, Eps: eps, Right: [2]int{k}, N: j.N, Want: j.luck()}
	if j.beyondLuck(k) {
		f.Level = Fail
		f.Images = j.which(func(i int, _ *pipeline.Clean) bool { return j.right(best, i, e) })
	}
	return f
}

// saturation is the margin from which p_y is 1 in float32: 25·ln 2.
const saturation = 17.33

func (j judge) saturated() Finding {
	f := Finding{What: Saturated, N: j.N}
	f.Images = j.which(func(_ int, im *pipeline.Clean) bool { return im.Margin > saturation })
	if f.Only[0] = len(f.Images); 20*len(f.Images) > j.N {
		f.Level = Warn
	}
	return f
}

// converged asks whether the attack with twice the steps fools more.
func (j judge) converged(c, twice *pipeline.Curve) Finding {
	most, at := 0, 0
	for e := range j.Eps {
		if d := c.Correct[e] - twice.Correct[e]; d > most {
			most, at = d, e
		}
	}
	f := Finding{What: Converged, Attack: c.Attack, Other: twice.Attack, Eps: j.Eps[at], Only: [2]int{most}, N: j.N}
	if 100*most > j.N*2 {
		f.Level = Warn
	}
	return f
}

// gate asks whether the worst of all attacks leaves the accuracy of g.
func (j judge) gate(g Gate) Finding {
	e := slices.Index(j.Eps, g.Eps)
	f := Finding{What: MinAccuracy, Eps: g.Eps, Want: g.Accuracy, N: j.N}
	f.Images = j.which(func(i int, _ *pipeline.Clean) bool {
		for a := range j.Curves {
			if !j.right(&j.Curves[a], i, e) {
				return true
			}
		}
		return false
	})
	if f.Right[0] = j.N - len(f.Images); float64(f.Right[0])/float64(j.N) < g.Accuracy {
		f.Level = Fail
	}
	return f
}

// proofs asks whether so many images are proven to be right as g wants.
func (c Check) proofs(ctx context.Context, b pipeline.Backend, set *dataset.Set, g Gate) (Finding, error) {
	f := Finding{What: MinCertified, Eps: g.Eps, Want: g.Accuracy, N: set.N()}
	proven, err := pipeline.Proven(ctx, c.Proofs.Prover, set, g.Eps, c.Bounds, b.Info().Threads)
	if err != nil {
		return f, err
	}
	for i, ok := range proven {
		if !ok {
			f.Images = append(f.Images, set.First+i)
		}
	}
	if f.Right[0] = f.N - len(f.Images); !(float64(f.Right[0])/float64(f.N) >= g.Accuracy) {
		f.Level = Fail
	}
	return f, nil
}
