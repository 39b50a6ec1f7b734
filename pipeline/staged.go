package pipeline

import (
	"context"
	"fmt"
	"slices"

	"advsweep/attack"
)

// A staging is a staged attack on some images: what became of each so far.
type staging struct {
	*sweeping
	a      attack.Attack
	eps    []float64 // [E]
	places []int     // [n], of the images in the set
	stages []attack.Attack
	clean  [][]float64 // [n][O], logits of the clean images
	found  []Outcome   // [n·E]
	idle   []bool      // [n], whether no stage has attacked the image at the eps in hand: see Outcome.Zero
	// What is known of an image whatever eps: by the place of a stage, what its search found
	// [n], and the order of its targets [n]; nil where nobody has asked yet.
	near  map[int][]*attack.Found
	order map[int][][]int
	// moved and rounded are the pixels of each row [n·E][I], as they are and rounded, if they are
	// asked for; else nil.
	moved, rounded [][]float64
}

// staged attacks the images at places of the set, which b need not hold, at eps [E], which rise,
// and returns what becomes of each, with the pixels if they are asked for. When it returns b holds
// other images than the set's.
//
// At each eps every stage sees the images that are still right there. An image that is fooled at an
// eps is fooled at every larger one by the same perturbation, so that nothing is asked there.
func (r *sweeping) staged(ctx context.Context, a attack.Attack, places []int, eps []float64, pixels bool) (*staging, error) {
	n, E := len(places), len(eps)
	s := &staging{
		sweeping: r, a: a, eps: eps, places: places, stages: a.Stages(r.b.Info().Classes),
		clean: make([][]float64, n), found: make([]Outcome, n*E), near: map[int][]*attack.Found{}, order: map[int][][]int{},
	}
	if pixels {
		s.moved, s.rounded = make([][]float64, n*E), make([][]float64, n*E)
	}
	if len(s.stages) == 0 {
		return nil, fmt.Errorf("pipeline: %s has no stage for a model of %d classes", a.Name, r.b.Info().Classes)
	}
	r.loaded = false
	if err := s.look(ctx); err != nil {
		return nil, err
	}
	for e, v := range eps {
		alive, before := s.alive(e), r.done
		s.idle = slices.Repeat([]bool{true}, n)
		if v > 0 {
			for at, stage := range s.stages {
				if err := s.strike(ctx, at, stage, e); err != nil {
					return nil, err
				}
			}
		}
		for _, i := range alive {
			o := s.found[i*E+e]
			if o.Class == s.label(i) {
				s.found[i*E+e].Zero = v > 0 && s.idle[i]
				continue
			}
			o.Passes = 0
			for later := e + 1; later < E; later++ {
				s.found[i*E+later] = o
				if pixels {
					s.moved[i*E+later], s.rounded[i*E+later] = s.moved[i*E+e], s.rounded[i*E+e]
				}
			}
		}
		r.progress(before + n*stageUnits(a) - r.done) // of what need not be done, too
	}
	return s, nil
}

// stageUnits is how many units of Progress a staged attack is of an image at an eps: a step and one
// for each restart of each stage, but of a search once for all.
func stageUnits(a attack.Attack) (units int) {
	for _, stage := range a.Stages(MaxClasses) {
		units += runs(stage) * (stage.Steps + 1)
	}
	return units
}

func (s *staging) label(i int) int32 { return s.labels[s.places[i]] }

// alive lists the images, by their places in places, that are right at eps e so far.
func (s *staging) alive(e int) (some []int) {
	for i := range s.places {
		if s.found[i*len(s.eps)+e].Class == s.label(i) {
			some = append(some, i)
		}
	}
	return some
}

// rowsFor makes b hold some images, by their places in places, and returns rows of them under an
// attack at an eps.
func (s *staging) rowsFor(ctx context.Context, a attack.Attack, some []int, eps float64) (*rows, error) {
	of := held{shape: s.set.Images.Shape()[1:]}
	at := make([]int, len(some))
	for k, i := range some {
		at[k] = s.places[i]
		of.labels = append(of.labels, s.label(i))
		of.index = append(of.index, s.set.First+at[k])
	}
	inputs := s.b.Info().Inputs
	if err := s.b.Load(ctx, 0, pickRows(s.set.Images, at, inputs), of.labels); err != nil {
		return nil, err
	}
	return rowsOf(s.b, a, []float64{eps}, s.Bounds, of, 0, len(some)), nil
}

// each calls do with some images in batches.
func (s *staging) each(some []int, do func(some []int) error) error {
	return s.batches(batch{0, len(some), 0, 1, 0, 1}, true, func(bt batch) error { return do(some[bt.lo:bt.hi]) })
}

// look fills found with what the model says of the clean images.
func (s *staging) look(ctx context.Context) error {
	return s.each(places(0, len(s.places)), func(some []int) error {
		one, err := s.rowsFor(ctx, untouched, some, 0)
		if err != nil {
			return err
		}
		one.a.Norm = s.a.Norm
		if err := one.begin(ctx); err != nil {
			return err
		}
		logits, err := one.logits(ctx)
		if err != nil {
			return err
		}
		return s.take(ctx, one, some, 0, len(s.eps), func(k int, o *Outcome) bool {
			i := some[k]
			s.clean[i] = logits[k]
			o.Passes = 1
			return true
		})
	})
}

// take writes what became of one's rows, an image each, to found at eps from to to-1, where better
// says that it speaks for the image. better may change the outcome.
func (s *staging) take(ctx context.Context, one *rows, some []int, from, to int, better func(k int, o *Outcome) bool) error {
	images := func() ([]float64, error) {
		if s.moved == nil {
			return nil, nil
		}
		d, err := s.b.Images(ctx)
		if err != nil {
			return nil, err
		}
		return slices.Clone(float64s(d)), nil
	}
	moved, err := images()
	if err != nil {
		return err
	}
	out, err := one.outcomes(ctx, s.Rounded)
	if err != nil {
		return one.named(err)
	}
	rounded, err := images()
	if err != nil {
		return err
	}
	E, inputs := len(s.eps), s.b.Info().Inputs
	for k := range out {
		o := out[k]
		if !better(k, &o) {
			continue
		}
		for e := from; e < to; e++ {
			row := some[k]*E + e
			s.found[row] = o
			o.Passes = 0
			if s.moved != nil {
				s.moved[row], s.rounded[row] = moved[k*inputs:][:inputs], rounded[k*inputs:][:inputs]
			}
		}
	}
	return nil
}

// strike is stage at of the attack, on the images that are right at eps e.
func (s *staging) strike(ctx context.Context, at int, stage attack.Attack, e int) error {
	for first := range runs(stage) {
		err := s.each(s.alive(e), func(some []int) error { return s.run(ctx, at, stage, first, e, some) })
		if err != nil {
			return err
		}
	}
	return nil
}

// run is one restart of stage at, on some images at eps e.
func (s *staging) run(ctx context.Context, at int, stage attack.Attack, first, e int, some []int) error {
	searches, E := stage.MinimumNorm(), len(s.eps)
	if searches {
		if err := s.search(ctx, at, stage, e, some); err != nil {
			return err
		}
		var near []int
		for _, i := range some {
			f := s.near[at][i]
			s.idle[i] = s.idle[i] && f.Zero && f.Along == nil
			if f.Distance <= s.eps[e] {
				near = append(near, i)
			}
		}
		if some = near; len(some) == 0 {
			return nil
		}
	}
	one, err := s.rowsFor(ctx, stage, some, s.eps[e])
	if err != nil {
		return err
	}
	if stage.Runs() > 1 && !searches {
		one.restarts([]float64{s.eps[e]}, first, 1)
	}
	switch {
	case searches:
		if err := one.open(ctx); err != nil {
			return err
		}
		best := make([]attack.Found, len(some))
		for k, i := range some {
			best[k] = *s.near[at][i]
		}
		err = one.placeAll(ctx, best)
	default:
		if err := s.aim(ctx, at, one, e, some); err != nil {
			return one.named(err)
		}
		if err := one.begin(ctx); err != nil {
			return one.named(err)
		}
		err = one.attack(ctx, func() { s.progress(len(some)) })
	}
	if err != nil {
		return one.named(err)
	}
	passes := uint32(1) // what it is asked in the end
	if !searches {
		passes += uint32(cost(stage).Row)
		if stage.Plain() { // its first gradient is at the clean image
			passes += uint32(cost(stage).Image)
		}
	}
	return s.take(ctx, one, some, e, e+1, func(k int, o *Outcome) bool {
		before := &s.found[some[k]*E+e]
		before.Passes += passes
		s.idle[some[k]] = s.idle[some[k]] && o.unattacked(stage, s.label(some[k]))
		if !worse(*o, *before, s.label(some[k])) {
			return false
		}
		if o.Passes = before.Passes; o.Class != s.label(some[k]) {
			o.Stage = uint8(at + 1)
		}
		return true
	})
}

// search fills near with what stage at finds of some images. The first eps that asks for it bears
// the passes.
func (s *staging) search(ctx context.Context, at int, stage attack.Attack, e int, some []int) error {
	if s.near[at] == nil {
		s.near[at] = make([]*attack.Found, len(s.places))
	}
	var todo []int
	for _, i := range some {
		if s.near[at][i] == nil {
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	one, err := s.rowsFor(ctx, stage, todo, s.eps[e])
	if err != nil {
		return err
	}
	one.after = func() { s.progress(len(todo)) }
	best, err := one.find(ctx)
	if err != nil {
		return err
	}
	for k, i := range todo {
		s.near[at][i] = &best[k]
		s.found[i*len(s.eps)+e].Passes += uint32(cost(stage).Image)
	}
	return nil
}

// aim sets the targets of one's rows, of some images, from what is known of the clean ones. The
// first eps that asks for an order bears the passes.
func (s *staging) aim(ctx context.Context, at int, one *rows, e int, some []int) error {
	if one.a.Target == attack.Untargeted {
		return nil
	}
	clean := make([][]float64, len(some))
	for k, i := range some {
		clean[k] = s.clean[i]
	}
	var order [][]int
	if one.a.Target == attack.ByDistance {
		if s.order[at] == nil {
			s.order[at] = make([][]int, len(s.places))
		}
		missing := slices.ContainsFunc(some, func(i int) bool { return s.order[at][i] == nil })
		if missing {
			if err := s.b.Begin(ctx, 0, len(some), []float64{0}); err != nil {
				return err
			}
			found, err := one.order(ctx, clean)
			if err != nil {
				return err
			}
			for k, i := range some {
				if s.order[at][i] == nil {
					s.order[at][i] = found[k]
					s.found[i*len(s.eps)+e].Passes += uint32(cost(one.a).Image)
				}
			}
		}
		for _, i := range some {
			order = append(order, s.order[at][i])
		}
	}
	one.aimAt(clean, order)
	return nil
}

// places are lo to hi-1.
func places(lo, hi int) []int {
	all := make([]int, 0, hi-lo)
	for i := lo; i < hi; i++ {
		all = append(all, i)
	}
	return all
}
