package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/dataset"
)

// A Chunk is a piece of a Sweep's work: images Lo to Hi-1 under one attack at eps From to To-1, or
// another Kind of work on these images. A Look has no eps, nor has a Walk off which nothing is
// read; one that is read has all. What a chunk finds depends on the Sweep, the model and the
// images, and on nothing else.
type Chunk struct {
	Kind     Kind
	Attack   int // its place in Sweep.Attacks
	Lo, Hi   int // images, from the first of the set
	From, To int // eps
}

// A Kind of work.
type Kind int

const (
	Look   Kind = iota // at the clean images
	Walk               // along FGSM's ray, and what is read off it
	Strike             // the attack, row by row
	Prove              // the largest eps at which an image is proven to be right
)

// How large a chunk is by default. defaultWork is in rows times passes up and down the network:
// that takes about a second for a small model on a laptop. chunkMACs is in multiply-adds: that
// takes a second too, or a few where the model has convolutions. Neither may change within a
// version of the program: a manifest does not hold them but the version.
const (
	defaultWork = 1 << 16
	chunkMACs   = 1 << 38
)

// stagedWork is how many times the work of another chunk one of a staged attack has at most. Its
// images are asked at one eps after the other, and few of them are left in the end.
const stagedWork = 4

// chunkRows is how many rows a chunk has at least, if there are so many. The threads of a CPU share
// a batch by its rows; with fewer rows some of them have nothing to do, and a GPU has little.
const chunkRows = 8

// ChunkWork returns the ChunkWork that suits a model of so many multiply-adds, see
// model.Model.MACs. Up to 4 million it is 0, the default; the embedded models are below that. Above
// it is less than the default, so that a chunk takes a few seconds on a laptop, but at least 1.
func ChunkWork(macs int64) int {
	if macs <= chunkMACs/defaultWork {
		return 0
	}
	return int(max(1, chunkMACs/macs))
}

// Plan lists the chunks of a sweep over n images, about in the order in which they are done: see
// inTurn. A chunk has at most ChunkWork rows times passes. If that is fewer than eight rows, it has
// as few images as make eight rows.
//
// An attack that is read off its walks has no other chunks, and then there is no Look: its walks
// say what the model says of the clean images.
func (s Sweep) Plan(n int) []Chunk {
	var plan []Chunk
	for _, c := range s.cuts() {
		for from := 0; from < max(1, c.eps); from += max(1, c.columns) {
			for lo := 0; lo < n; lo += c.images {
				plan = append(plan, Chunk{c.kind, c.attack, lo, min(lo+c.images, n), from, min(from+c.columns, c.eps)})
			}
		}
	}
	return plan
}

// Chunks returns how many chunks Plan lists. It lists none, so n may be more than any memory holds:
// what a file claims. Where there are more than math.MaxInt32 it need not count them all.
func (s Sweep) Chunks(n int) int64 {
	sum := int64(0)
	for _, c := range s.cuts() {
		sum += parts(n, c.images) * max(1, parts(c.eps, c.columns))
		if sum > math.MaxInt32 {
			break
		}
	}
	return sum
}

// Least returns the fewest bytes in which chunks write down what they find of n images of a model
// with so many classes: with fewer a log does not hold all. It lists no chunks either.
func (s Sweep) Least(n, classes int) float64 {
	f, sum := s.formOf(classes), 0.0
	for _, c := range s.cuts() {
		sum += float64(float64(n) * float64(f.least(c)))
	}
	return sum
}

// parts returns in how many parts of at most size things n are cut.
func parts(n, size int) int64 {
	if n <= 0 {
		return 0
	}
	return (int64(n)-1)/int64(size) + 1
}

// A cut is the chunks of one kind that Plan makes for an attack, or the Looks.
type cut struct {
	kind    Kind
	attack  int
	images  int // of a chunk, at most
	columns int // eps of a chunk, at most; 0: it has none
	eps     int // in all
}

// cuts says how Plan cuts the sweep, in the order of the chunks.
func (s Sweep) cuts() (all []cut) {
	work := s.ChunkWork
	if work <= 0 {
		work = defaultWork
	}
	if s.reader() < 0 {
		all = append(all, cut{Look, 0, min(walkImages, max(chunkRows, work)), 0, 0})
	}
	for i, a := range s.Attacks {
		if a.Composite() {
			continue
		}
		if s.walks(a) {
			read := 0
			if s.reads(a) {
				read = len(s.Eps)
			}
			all = append(all, cut{Walk, i, min(walkImages, max(chunkRows, work/s.walkCost(a))), read, read})
		}
		if s.reads(a) {
			continue
		}
		if a.Staged() { // an image that is fooled at an eps is not asked at the larger ones
			all = append(all, cut{Strike, i, min(walkImages, max(chunkRows, stagedWork*work/cost(a).Share)), len(s.Eps), len(s.Eps)})
			continue
		}
		if a.MinimumNorm() { // one search serves all eps
			few, work := (chunkRows+a.Runs()-1)/a.Runs(), work/(a.Runs()*cost(a).Share+len(s.Eps))
			all = append(all, cut{Strike, i, min(walkImages, max(few, work)), len(s.Eps), len(s.Eps)})
			continue
		}
		row := a.Runs() * cost(a).Share
		few := (chunkRows + a.Runs() - 1) / a.Runs()
		eps := min(len(s.Eps), max(few, work/row))
		images := min(walkImages, max((few+eps-1)/eps, work/(row*eps)))
		all = append(all, cut{Strike, i, images, eps, len(s.Eps)})
	}
	if s.Certify != "" {
		all = append(all, cut{Prove, 0, proofImages, 0, 0})
	}
	return all
}

// A Log keeps what chunks have found, each as a payload of bytes, by their place in the plan.
type Log interface {
	Has(i int) bool
	Get(i int) (payload []byte, err error) // of a chunk that it has
	Append(i int, payload []byte) error
}

// Memory is a Log that lasts as long as it is held.
type Memory map[int][]byte

// Has reports whether chunk i was appended.
func (m Memory) Has(i int) bool { _, ok := m[i]; return ok }

// Get returns what was appended for chunk i.
func (m Memory) Get(i int) ([]byte, error) { return m[i], nil }

// Append keeps payload.
func (m Memory) Append(i int, payload []byte) error { m[i] = payload; return nil }

// A ChunkSet is some of the chunks of a plan.
type ChunkSet interface {
	Has(i int) bool // whether chunk i belongs to it
}

// A Fraction is fraction Index of Count of a plan, Index from 0: every Count-th chunk. The zero
// value is the whole plan. It is no shard of a study, whose chunks follow each other.
type Fraction struct{ Index, Count int }

// Has reports whether chunk i belongs to the fraction.
func (f Fraction) Has(i int) bool { return f.Count <= 1 || i%f.Count == f.Index }

// Work does the chunks in of that log does not have, and appends what they find to log. When ctx
// ends it stops soon and returns an error. The chunk in hand is lost then; what is in log stays.
func (s Sweep) Work(ctx context.Context, b Backend, set *dataset.Set, log Log, of ChunkSet) error {
	return s.WorkUntil(ctx, nil, b, set, log, of)
}

// ErrStopped is returned by WorkUntil if it was asked to stop before all was done.
var ErrStopped = errors.New("pipeline: stopped before all chunks were done")

// WorkUntil is Work, but once stop is closed it returns ErrStopped after the chunk in hand.
func (s Sweep) WorkUntil(ctx context.Context, stop <-chan struct{}, b Backend, set *dataset.Set, log Log, of ChunkSet) error {
	if err := s.Validate(b, set); err != nil {
		return err
	}
	plan := s.Plan(set.N())
	r := sweeping{Sweep: s, b: b, set: set, held: heldOf(set)}
	var todo []int
	for i, c := range plan {
		if !of.Has(i) {
			continue
		}
		r.total += s.units(c)
		if log.Has(i) {
			r.done += s.units(c)
		} else {
			todo = append(todo, i)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	for _, i := range s.inTurn(plan, todo) {
		select {
		case <-stop:
			return ErrStopped
		default:
		}
		payload, err := r.chunk(ctx, plan[i])
		if err != nil {
			return err
		}
		if err := log.Append(i, payload); err != nil {
			return err
		}
	}
	return nil
}

// inTurn returns the chunks todo of plan in the order in which they are done, which is the plan's
// but for Looks. A gradient at clean images brings along what the model says of them. Where the
// first attack begins with one, a Look so waits for the attack's first chunks of its images, and a
// backend that kept the logits does no pass for it.
func (s Sweep) inTurn(plan []Chunk, todo []int) []int {
	first := -1 // the attack
	for _, i := range todo {
		if plan[i].Kind != Look {
			if a := plan[i].Attack; plan[i].Kind == Strike && s.Attacks[a].Plain() && cost(s.Attacks[a]).Image > 0 {
				first = a
			}
			break
		}
	}
	if first < 0 {
		return todo
	}
	var turn, looks []int
	for _, i := range todo {
		c := plan[i]
		if c.Kind == Look {
			looks = append(looks, i)
			continue
		}
		if c.Attack != first {
			turn, looks = append(turn, looks...), nil
		}
		turn = append(turn, i)
		for len(looks) > 0 && c.Hi >= plan[looks[0]].Hi {
			turn, looks = append(turn, looks[0]), looks[1:]
		}
	}
	return append(turn, looks...)
}

// units returns how many units of Progress a chunk is: rows times steps and one, or images for a
// Look or Walk.
func (s Sweep) units(c Chunk) int {
	n := c.Hi - c.Lo
	if c.Kind != Strike {
		return n
	}
	a := s.Attacks[c.Attack]
	if a.Staged() {
		return n * (c.To - c.From) * stageUnits(a)
	}
	return n * (c.To - c.From) * runs(a) * (a.Steps + 1)
}

// chunk does c and returns what it finds as a payload.
func (r *sweeping) chunk(ctx context.Context, c Chunk) ([]byte, error) {
	if !r.loaded && c.Kind != Prove && !(c.Kind == Strike && r.Attacks[c.Attack].Staged()) {
		if err := r.b.Load(ctx, r.set.First, r.set.Images, r.set.Labels); err != nil {
			return nil, err
		}
		r.loaded = true
	}
	switch c.Kind {
	case Look:
		return r.look(ctx, c)
	case Walk:
		return r.walk(ctx, c)
	case Prove:
		return r.prove(ctx, c)
	case Strike:
		n := (c.Hi - c.Lo) * (c.To - c.From)
		found := make([]Outcome, n)
		var reached [][]int32
		if r.Attacks[c.Attack].Target == attack.All {
			reached = make([][]int32, n)
		}
		if err := r.strike(ctx, c, found, reached); err != nil {
			return nil, err
		}
		return r.form().strike(c, found, reached), nil
	}
	return nil, fmt.Errorf("pipeline: a chunk of kind %d", c.Kind)
}

// look returns what the model says of the clean images of c, as records of looks.
func (r *sweeping) look(ctx context.Context, c Chunk) ([]byte, error) {
	var payload []byte
	err := r.batches(batch{c.Lo, c.Hi, 0, 1, 0, 1}, true, func(bt batch) error {
		one, err := newRows(ctx, r.b, untouched, []float64{0}, attack.Bounds{}, r.held, bt.lo, bt.hi)
		if err != nil {
			return err
		}
		logits, err := one.logits(ctx)
		if err != nil {
			return err
		}
		for k, z := range logits {
			label := one.label(k)
			class, margin, ok := attack.Judge(z, label)
			if !ok {
				return one.named(notFinite(k))
			}
			least := attack.LeastLikely.Of(label, z, 0)
			payload = appendLook(payload, Clean{int32(label), int32(class), int32(least), float32(margin)})
		}
		r.progress(bt.images())
		return nil
	})
	return payload, err
}

// strike attacks the images of c and fills found [images, eps] with what becomes of each, and
// reached, if it is not nil, with the classes that were reached: see Curve.Reached.
func (r *sweeping) strike(ctx context.Context, c Chunk, found []Outcome, reached [][]int32) error {
	a, E := r.Attacks[c.Attack], c.To-c.From
	if a.Staged() {
		s, err := r.staged(ctx, a, places(c.Lo, c.Hi), r.Eps[c.From:c.To], false)
		if err == nil {
			copy(found, s.found)
		}
		return err
	}
	return r.batches(batch{c.Lo, c.Hi, c.From, c.To, 0, runs(a)}, false, func(bt batch) error {
		one := rowsOf(r.b, a, r.Eps[bt.from:bt.to], r.Bounds, r.held, bt.lo, bt.hi)
		one.restarts(r.Eps[bt.from:bt.to], bt.first, bt.restarts())
		if err := one.begin(ctx); err != nil {
			return one.named(err)
		}
		if err := one.attack(ctx, func() { r.progress(one.n()) }); err != nil {
			return one.named(err)
		}
		out, err := one.outcomes(ctx, r.Rounded)
		if err != nil {
			return one.named(err)
		}
		for i := range bt.images() {
			for e := range bt.eps() {
				row := (bt.lo+i-c.Lo)*E + bt.from + e - c.From
				if reached != nil {
					reached[row] = one.reach(reached[row], i, e, out)
				}
				k, to := one.pick(i, e, out), &found[row]
				if bt.first == 0 || one.beats(out[k], *to, k) {
					*to = out[k]
				}
			}
		}
		r.progress(one.n())
		return nil
	})
}

// Assemble makes the result of a sweep of what all its chunks have found. The sweep is over n
// images, of which the first has index first in its data set, with a model of so many classes.
// Assemble needs neither the model nor the images. It returns an error if log lacks a chunk, or if
// a payload cannot be of its chunk.
func (s Sweep) Assemble(n, first, classes int, log Log) (*Result, error) {
	if sized, ok := log.(interface{ Bytes() int64 }); ok {
		if least, have := s.Least(n, classes), sized.Bytes(); float64(have) < least {
			return nil, fmt.Errorf("pipeline: chunks of %d bytes in all, want at least %.0f of %d images", have, least, n)
		}
	}
	E, reader, f := len(s.Eps), s.reader(), s.formOf(classes)
	res := &Result{N: n, First: first, Classes: classes, Eps: slices.Clone(s.Eps), Bounds: s.Bounds, Images: make([]Clean, n), Certified: s.newCertificate(n)}
	walks := make([][]attack.Walk, len(s.Attacks))
	for i, a := range s.Attacks {
		c := Curve{Attack: a}
		if s.walks(a) {
			walks[i] = make([]attack.Walk, n)
		}
		if s.reads(a) {
			c.Rays, c.RayNorms = newRays(n, E, s.Rounded), make([]MeanNorms, E)
		} else {
			c.Outcomes = make([]Outcome, n*E)
		}
		if a.Target == attack.All {
			c.Reached = make([][]int32, n*E)
		}
		res.Curves = append(res.Curves, c)
	}
	for i, c := range s.Plan(n) {
		if !log.Has(i) {
			return nil, fmt.Errorf("pipeline: chunk %d is missing", i)
		}
		p, err := log.Get(i)
		if err != nil {
			return nil, err
		}
		curve := &res.Curves[c.Attack]
		switch c.Kind {
		case Look:
			err = f.looks(c, p, func(image int, im Clean) { res.Images[image] = im })
		case Walk:
			var sums []MeanNorms
			sums, err = f.walks(c, p, func(image int, im Clean, w attack.Walk, ray *rayRecord) {
				walks[c.Attack][image] = w
				if ray != nil {
					ray.fill(&curve.Rays[image])
				}
				if c.Attack == reader {
					res.Images[image] = im
				}
			})
			for e, sum := range sums {
				m := &curve.RayNorms[e]
				m.Linf, m.L2, m.L0 = m.Linf+sum.Linf, m.L2+sum.L2, m.L0+sum.L0
			}
		case Strike:
			err = f.strikes(c, p, func(image, e int, o Outcome, reached []int32) {
				if curve.Outcomes[image*E+e] = o; curve.Reached != nil {
					curve.Reached[image*E+e] = reached
				}
			})
		case Prove:
			err = f.proofs(c, p, func(image int, eps float64) { res.Certified.Eps[image] = eps })
		default:
			err = fmt.Errorf("a chunk of kind %d", c.Kind)
		}
		if err != nil {
			return nil, fmt.Errorf("pipeline: chunk %d: %w", i, err)
		}
	}
	for i := range res.Images {
		if im := &res.Images[i]; im.Class == im.Label {
			res.Clean++
		}
	}
	for i := range res.Curves {
		c := &res.Curves[i]
		for e := range c.RayNorms {
			c.RayNorms[e] = c.RayNorms[e].over(float64(n))
		}
		if c.Attack.Composite() {
			res.worst(c)
		}
		res.count(c)
		switch {
		case walks[i] != nil:
			c.Exact = newExact(walks[i], s.Eps, first)
		case c.Attack.MinimumNorm():
			c.Exact = res.distances(c)
		}
	}
	return res, nil
}

// attacks are those of the curves, [curves].
func (r *Result) attacks() []attack.Attack {
	all := make([]attack.Attack, len(r.Curves))
	for i := range r.Curves {
		all[i] = r.Curves[i].Attack
	}
	return all
}

// parts are the places in Curves of those that the worst of all is made of.
func (r *Result) parts() []int { return attack.Parts(r.attacks()) }

// WorstOf returns the attacks that the worst of all is made of. It returns nil where no curve is
// that of the worst of all.
func (r *Result) WorstOf() (of []attack.Attack) {
	all := r.attacks()
	if !slices.ContainsFunc(all, attack.Attack.Composite) {
		return nil
	}
	for _, i := range attack.Parts(all) {
		of = append(of, all[i])
	}
	return of
}

// worst fills c, the worst of all attacks, with what the other attacks found, without controls. For
// each image at each eps it takes the first attack that fools the model or, if none does, the one
// with the smallest margin.
func (r *Result) worst(c *Curve) {
	of := r.parts()
	for k := range c.Outcomes {
		label := r.Images[k/len(r.Eps)].Label
		_, c.Outcomes[k] = worstOf(len(of), label, func(i int) (attack.Attack, *Outcome) {
			one := &r.Curves[of[i]]
			return one.Attack, &one.Outcomes[k]
		})
	}
}

// worstOf returns which of n attacks speaks for an image with a label, and its outcome as that of
// the worst of all. of returns each attack and what became of the image.
func worstOf(n int, label int32, of func(i int) (attack.Attack, *Outcome)) (at int, worst Outcome) {
	zero := n > 0
	for i := range n {
		a, o := of(i)
		if i == 0 || worse(*o, worst, label) {
			at, worst = i, *o
		}
		zero = zero && o.unattacked(a, label)
	}
	worst.Zero = zero
	return at, worst
}

// count fills Correct, ZeroGradient and ZeroImages of c by what became of each image.
func (r *Result) count(c *Curve) {
	E := len(r.Eps)
	c.Correct, c.ZeroGradient = make([]int, E), make([]int, E)
	for i := range r.Images {
		for e := range E {
			if c.Class(i, e) == r.Images[i].Label {
				c.Correct[e]++
			}
		}
	}
	c.countUnattacked(r.Images, r.First)
}
