// Package pipeline runs attacks on a backend: accuracy as a function of eps over
// many images (Sweep), and one image before and after (Craft). The loop over the
// steps of an attack is its attack.Method's.
//
// A Sweep cuts its work into chunks, and a chunk leaves a record of what it found. A Strike attacks
// images row by row, and its records say an Outcome of each image at each eps. A Walk follows
// FGSM's ray. Where no row is needed, all else about the attack is read off the walk: its records
// say a Ray of each image. A Curve has one of the two forms, and its methods answer of both.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/dataset"
	"advsweep/internal/portable"

	"gorgonia.org/tensor"
)

// A Backend holds one model and one batch on one device. It is used by one
// goroutine at a time. Every method returns an error after Close.
//
// Load, then Begin, then any number of Step, then what is asked for.
type Backend interface {
	// Info describes the backend and the model that it holds.
	Info() backend.Info
	// Load copies in clean images x0 [N, …] (Uint8: v is the pixel v/255; Float32; Float64)
	// and labels [N]. first is the index of the first image in its data set.
	Load(ctx context.Context, first int, x0 *tensor.Dense, labels []int32) error
	// Begin makes a row x = x0 for each of the loaded images lo to hi-1 and each column of eps [E],
	// which does not fall: row (i-lo)·E + e. Equal neighbours are restarts. If memory is too short
	// for so many rows, the error has a method OutOfMemory that returns true: with fewer it may do.
	Begin(ctx context.Context, lo, hi int, eps []float64) error
	// Step moves every row. If memory is too short for what the step needs besides, the error has
	// OutOfMemory, as that of Begin. If a gradient is not finite a later call may return the error
	// instead, at the latest the next one that returns something of the rows.
	Step(ctx context.Context, s attack.Step) error
	// Gradient returns the gradient of Σ_j q_j·z_j with respect to x [rows, I], in the backend's
	// precision, for weights q [rows, O] (Float32 or Float64, rounded to that precision) on the
	// logits z, at the rows' x. No row moves, and Outcomes.Zero does not count it. It returns an
	// error if a weight or an element of the gradient is not finite. The error for the gradient has
	// a method NotFiniteImage that names the image.
	Gradient(ctx context.Context, q *tensor.Dense) (*tensor.Dense, error)
	// Keep copies x of the rows r with rows[r] set, rows [rows], to slot 0 or 1; Restore copies it
	// back for those that are set. Begin empties the slots: a row that was not kept is restored to
	// its clean image.
	Keep(ctx context.Context, slot int, rows []bool) error
	Restore(ctx context.Context, slot int, rows []bool) error
	// Outcomes returns logits, zero gradients and norms of the rows as they are. If rounding is not
	// nil it then rounds x, and returns also the classes of the rounded rows. They stay rounded.
	Outcomes(ctx context.Context, rounding *backend.Rounding) (backend.Outcomes, error)
	// Logits returns f(x) [rows, O] and Images x [rows, I], in the backend's precision.
	Logits(ctx context.Context) (*tensor.Dense, error)
	Images(ctx context.Context) (*tensor.Dense, error)
	// Close frees the device.
	Close() error
}

// A Seer is a Backend that goes up and down the network once for logits and a gradient with weights
// that are made of them.
type Seer interface {
	Backend
	// See is Logits and then Gradient with weights q [O] that weigh writes for each row at its
	// logits z [O]. q is 0 before. weigh may be called for several rows at once, and is not called
	// for a row whose logits are not finite. Where the gradient is not finite the error is that of
	// Gradient, and the logits are there.
	See(ctx context.Context, weigh func(row int, z, q []float64)) (logits, gradient *tensor.Dense, err error)
}

// A Looker is a Backend that looks at rows and at once takes the gradient of the step to come.
type Looker interface {
	Backend
	// Look is Logits. The next Step may be one like s, in its direction, loss and targets, whose
	// gradient Look has taken.
	Look(ctx context.Context, s attack.Step) (*tensor.Dense, error)
}

// A Counter is a Backend that counts its rows itself. Less is copied to the host than by Outcomes.
type Counter interface {
	Backend
	// Count writes three things. correct [E] is how many rows have the class of their label at each
	// eps. zero [E] is for how many rows at each eps a gradient since Begin was zero in every
	// pixel. stuck [hi-lo] says for each image whether that is so at any eps. bad is the first row
	// with a logit that is not finite, or -1.
	Count(ctx context.Context, correct, zero []int, stuck []bool) (bad int, err error)
}

// count is Count, by Outcomes if the backend is no Counter. If it is one, count allocates nothing.
func (r *rows) count(ctx context.Context, correct, zero []int, stuck []bool) (bad int, err error) {
	if c, ok := r.b.(Counter); ok {
		return c.Count(ctx, correct, zero, stuck)
	}
	o, err := r.b.Outcomes(ctx, nil)
	if err != nil {
		return -1, err
	}
	bad = -1
	E := len(r.columns)
	for k, z := range r.split(o.Logits) {
		class, _, ok := attack.Judge(z, r.label(k))
		switch {
		case !ok && bad < 0:
			bad = k
		case ok && class == r.label(k):
			correct[k%E]++
		}
		if o.Zero[k] {
			zero[k%E]++
			stuck[k/E] = true
		}
	}
	return bad, nil
}

// A Sweep measures accuracy as a function of eps, a curve for each attack.
type Sweep struct {
	Attacks []attack.Attack
	Eps     []float64 // [E], in units of pixels, increasing
	Bounds  attack.Bounds
	// Implied are the names of those of Attacks that nobody asked for by name: see attack.List.
	// They give way on a model that they cannot be run on, see LeaveOut.
	Implied []string
	// Exact asks for the curve of FGSM at every eps up to the largest of Eps. The backend must be
	// an Exacter. What became of every image at Eps is then read off its walk, unless the worst of
	// all attacks is asked for too: that needs the margin of every row. Other attacks are measured
	// at Eps only.
	Exact bool
	// Rounded asks also what the model says of every image at every eps once its pixels are rounded
	// to 8 bits.
	Rounded bool
	// Certify asks Prover for the largest eps at which each image is proven to be right, and names
	// its method; "" does not ask. All attacks are in L∞ then.
	Certify string
	Prover  Prover
	// ChunkWork bounds a chunk in rows times passes up and down the network: see Plan. It changes
	// how the work is cut, never the result. 0 is the default; the function ChunkWork returns what
	// suits a model.
	ChunkWork int
	// Rows bounds the rows of a batch, if it is less than backend.Info.Rows; 0 does not. It changes
	// memory and time, never the result.
	Rows int
	// Progress, if set, is called now and then from the goroutine of Run: done of total
	// units of work.
	Progress func(done, total int)
}

// Run attacks every image of set. It does what Work and Assemble do, with the records in memory.
// The result does not depend on Rows or on the backend's threads. When ctx ends it soon returns
// ctx's error.
func (s Sweep) Run(ctx context.Context, b Backend, set *dataset.Set) (*Result, error) {
	log := Memory{}
	if err := s.Work(ctx, b, set, log, Fraction{}); err != nil {
		return nil, err
	}
	return s.Assemble(set.N(), set.First, b.Info().Classes, log)
}

// walks reports whether attack a is measured at every eps.
func (s Sweep) walks(a attack.Attack) bool {
	return s.Exact && Rays(a) && s.Eps[len(s.Eps)-1] > 0
}

// reads reports whether all that is found of attack a is read off its walks.
func (s Sweep) reads(a attack.Attack) bool {
	return s.walks(a) && !slices.ContainsFunc(s.Attacks, attack.Attack.Composite)
}

// reader is the place of the first attack that is read off its walks, or -1. Its walks say what a
// Look says.
func (s Sweep) reader() int { return slices.IndexFunc(s.Attacks, s.reads) }

// Rays reports whether a moves along the same ray at every eps, so that its curve can be exact.
// Only FGSM does.
func Rays(a attack.Attack) bool {
	return a.Ray()
}

// untouched leaves images as they are.
var untouched = attack.Attack{Name: "clean"}

// Correct returns how many images of set are classified correctly as they are.
func Correct(ctx context.Context, b Backend, set *dataset.Set) (int, error) {
	if err := fits(b, set); err != nil {
		return 0, err
	}
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return 0, err
	}
	r := sweeping{b: b, held: heldOf(set)}
	correct := 0
	err := r.batches(batch{0, set.N(), 0, 1, 0, 1}, true, func(bt batch) error {
		one, err := newRows(ctx, b, untouched, []float64{0}, attack.Bounds{}, r.held, bt.lo, bt.hi)
		if err != nil {
			return err
		}
		right, zero := []int{0}, []int{0}
		bad, err := one.count(ctx, right, zero, make([]bool, bt.images()))
		if err != nil {
			return err
		}
		if bad >= 0 {
			return one.named(notFinite(bad))
		}
		correct += right[0]
		return nil
	})
	return correct, err
}

// Bounds of a sweep. MaxCells is how many classes times eps times attacks it has at most: it has a
// row for each in classes.csv.
const (
	MaxAttacks = 4096
	MaxClasses = 1 << 16
	MaxCells   = 20_000_000
)

// Small returns an error if the sweep is beyond these bounds on a model with so many classes.
func (s Sweep) Small(classes int) error {
	switch n, E := len(s.Attacks), len(s.Eps); {
	case n > MaxAttacks:
		return fmt.Errorf("pipeline: %d attacks, want at most %d", n, MaxAttacks)
	case E > attack.MaxEps:
		return fmt.Errorf("pipeline: %d eps, want at most %d", E, attack.MaxEps)
	case classes > MaxClasses:
		return fmt.Errorf("pipeline: %d classes, want at most %d", classes, MaxClasses)
	case n*E > MaxCells/max(1, classes):
		return fmt.Errorf("pipeline: %d classes, %d eps and %d attacks, want at most %d of all at once", classes, E, n, MaxCells)
	}
	return nil
}

// Validate returns an error unless s can be run on b over set.
func (s Sweep) Validate(b Backend, set *dataset.Set) error {
	if len(s.Attacks) == 0 {
		return fmt.Errorf("pipeline: no attack")
	}
	if err := s.Small(b.Info().Classes); err != nil {
		return err
	}
	for _, a := range s.Attacks {
		if err := a.Validate(); err != nil {
			return err
		}
	}
	classes := b.Info().Classes
	for _, a := range s.Attacks {
		if err := a.FitsClasses(classes); err != nil {
			return err
		}
		if err := a.FitsRange(s.Bounds, b.Info().Inputs); err != nil {
			return err
		}
	}
	if err := attack.ValidateEps(s.Eps); err != nil {
		return err
	}
	if err := s.Bounds.Validate(); err != nil {
		return err
	}
	if err := s.fitsProof(); err != nil {
		return err
	}
	if s.ChunkWork < 0 {
		return fmt.Errorf("pipeline: chunks of %d rows times passes, want at least 0", s.ChunkWork)
	}
	if top := s.Eps[len(s.Eps)-1]; b.Info().Precision != "float64" && float32(top)-float32(top) != 0 {
		return fmt.Errorf("pipeline: eps %v is not finite in float32", top)
	}
	if _, ok := AsExacter(b); s.Exact && !ok {
		why := errors.New("no walks")
		if e, ok := b.(Exacter); ok {
			why = e.NotExact()
		}
		return fmt.Errorf("pipeline: %s cannot follow a ray of this model: %w: ask it for counts at eps only", b.Info().Device, why)
	}
	return fits(b, set)
}

// A LeftOut is an attack that a sweep does without, as it needs more classes than the model has.
type LeftOut struct {
	Attack attack.Attack
	// From is the name of what goes without it: a staged attack of which it is a stage, or the worst
	// of all.
	From          string
	Need, Classes int
}

func (l LeftOut) String() string {
	return fmt.Sprintf("%s is left out of %s: its loss %v needs %d classes, and the model has %d", l.Attack.Name, l.From, l.Attack.Loss, l.Need, l.Classes)
}

// LeaveOut returns s as it is run on a model with so many classes, see attack.Attack.For, and what
// it leaves out for that:
// of Implied those whose own loss needs more classes, and of staged attacks the stages that do.
// Another attack that was asked for by name stays, and Validate has an error for it.
func (s Sweep) LeaveOut(classes int) (fit Sweep, left []LeftOut) {
	fit = s
	fit.Attacks, fit.Implied = nil, nil
	for _, a := range s.Attacks {
		implied := slices.Contains(s.Implied, a.Name)
		if n := a.Lacks(classes); implied && n > 0 {
			left = append(left, LeftOut{a, attack.Worst().Name, n, classes})
			continue
		}
		for _, stage := range a.Stages(MaxClasses) {
			if n := stage.Lacks(classes); n > 0 {
				left = append(left, LeftOut{stage, a.Name, n, classes})
			}
		}
		if fit.Attacks = append(fit.Attacks, a.For(classes)); implied {
			fit.Implied = append(fit.Implied, a.Name)
		}
	}
	return fit, left
}

// fits returns an error unless set is whole and its images are as long as b's model wants.
func fits(b Backend, set *dataset.Set) error {
	if set == nil || set.N() == 0 || set.Images == nil {
		return errors.New("pipeline: no images")
	}
	info := b.Info()
	inputs, classes := info.Inputs, info.Classes
	if err := set.Check(classes); err != nil {
		return err
	}
	if got := set.Images.DataSize() / set.N(); got != inputs {
		return fmt.Errorf("pipeline: images %v have %d pixels, the model takes %d", set.Images.Shape(), got, inputs)
	}
	return nil
}

// A sweeping is a Sweep under way: what it does once it is asked to, and how far it is. Its methods
// change rows, done, total, loaded and the memory of readings, and nothing else.
type sweeping struct {
	Sweep
	b   Backend
	set *dataset.Set
	held
	loaded      bool // b holds the images of set
	rows        int  // of a batch at most; 0 is not yet known
	done, total int
	readings    []attack.Reading // memory for those of a chunk
}

func (r *sweeping) progress(rows int) {
	r.done += rows
	if r.Progress != nil {
		r.Progress(r.done, r.total)
	}
}

// Craft attacks one image: the only one of set.
func Craft(ctx context.Context, b Backend, set *dataset.Set, a attack.Attack, eps float64, bounds attack.Bounds) (*Example, error) {
	if set.N() != 1 {
		return nil, fmt.Errorf("pipeline: craft: %d images, want 1", set.N())
	}
	s := Sweep{Attacks: []attack.Attack{a}, Eps: []float64{eps}, Bounds: bounds}
	if err := s.Validate(b, set); err != nil {
		return nil, err
	}
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return nil, err
	}
	ex := &Example{Index: set.First, Label: int(set.Labels[0]), Attack: a, Eps: eps, Bounds: bounds}
	rows, err := newRows(ctx, b, a, s.Eps, bounds, heldOf(set), 0, 1)
	if err != nil {
		return nil, err
	}
	if ex.Original, ex.Clean, err = look(ctx, b, set, 0); err != nil {
		return nil, fmt.Errorf("pipeline: image %d: %w", set.First, err)
	}
	if a.Staged() {
		return ex, ex.stage(ctx, s, b, set)
	}
	if err := rows.attack(ctx, func() {}); err != nil {
		return nil, err
	}
	found, err := rows.outcomes(ctx, false)
	if err != nil {
		return nil, rows.named(err)
	}
	if ex.Adversarial, ex.Perturbed, err = look(ctx, b, set, rows.pick(0, 0, found)); err != nil {
		return nil, fmt.Errorf("pipeline: image %d after %s, eps %v: %w", set.First, a.Name, eps, err)
	}
	ex.ZeroGradient = found[rows.pick(0, 0, found)].unattacked(a, set.Labels[0])
	return ex, nil
}

// stage fills what a staged attack makes of the image of set.
func (e *Example) stage(ctx context.Context, s Sweep, b Backend, set *dataset.Set) error {
	r := sweeping{Sweep: s, b: b, set: set, held: heldOf(set)}
	found, err := r.staged(ctx, e.Attack, []int{0}, s.Eps, true)
	if err != nil {
		return err
	}
	moved := tensor.New(tensor.WithShape(set.Images.Shape()...), tensor.WithBacking(found.moved[0]))
	if err := show(ctx, b, set.First, moved, set.Labels); err != nil {
		return err
	}
	if e.Adversarial, e.Perturbed, err = look(ctx, b, set, 0); err != nil {
		return fmt.Errorf("pipeline: image %d after %s, eps %v: %w", set.First, e.Attack.Name, e.Eps, err)
	}
	e.ZeroGradient = found.found[0].unattacked(e.Attack, set.Labels[0])
	return nil
}

// look returns what the model says of a row that b holds, and the row itself.
func look(ctx context.Context, b Backend, set *dataset.Set, row int) (Prediction, *tensor.Dense, error) {
	logits, err := b.Logits(ctx)
	if err != nil {
		return Prediction{}, nil, err
	}
	image, err := b.Images(ctx)
	if err != nil {
		return Prediction{}, nil, err
	}
	info := b.Info()
	inputs, classes := info.Inputs, info.Classes
	z, x := float64s(logits)[row*classes:][:classes], float64s(image)[row*inputs:][:inputs]
	class, _, ok := attack.Judge(z, 0)
	if !ok {
		return Prediction{}, nil, errors.New("logits are not finite")
	}
	p := Prediction{Class: class, Logits: z, Probabilities: softmax(z)}
	shape := set.Images.Shape()[1:].Clone()
	return p, tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x)), nil
}

// FirstCorrect returns the first image of set with label class that is classified
// correctly, as a set of its own. It returns a *NotFoundError if there is none.
func FirstCorrect(ctx context.Context, b Backend, set *dataset.Set, class int) (*dataset.Set, error) {
	if err := fits(b, set); err != nil {
		return nil, err
	}
	seen := 0
	for i, y := range set.Labels {
		if int(y) != class {
			continue
		}
		seen++
		one, err := set.Slice(i, 1)
		if err != nil {
			return nil, err
		}
		if err := b.Load(ctx, one.First, one.Images, one.Labels); err != nil {
			return nil, err
		}
		if err := b.Begin(ctx, 0, 1, []float64{0}); err != nil {
			return nil, err
		}
		d, err := b.Logits(ctx)
		if err != nil {
			return nil, err
		}
		if got, _, ok := attack.Judge(float64s(d), class); ok && got == class {
			return one, nil
		}
	}
	return nil, &NotFoundError{Class: class, Seen: seen, N: set.N()}
}

// A NotFoundError says that no image of a class is classified correctly.
type NotFoundError struct {
	Class, Seen, N int // the class, its images, all images
}

func (e *NotFoundError) Error() string {
	if e.Seen == 0 {
		return fmt.Sprintf("pipeline: none of %d images has label %d", e.N, e.Class)
	}
	return fmt.Sprintf("pipeline: none of the %d images with label %d is classified correctly", e.Seen, e.Class)
}

// softmax returns exp(z_j) / Σ_k exp(z_k).
func softmax(z []float64) []float64 {
	top := math.Inf(-1)
	for _, v := range z {
		top = max(top, v)
	}
	p, sum := make([]float64, len(z)), 0.0
	for j, v := range z {
		p[j] = portable.Exp(v - top)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
	return p
}

// float64s returns the elements of t, Float32 or Float64, as float64.
func float64s(t *tensor.Dense) []float64 {
	switch d := t.Data().(type) {
	case []float64:
		return d
	case []float32:
		out := make([]float64, len(d))
		for i, v := range d {
			out[i] = float64(v)
		}
		return out
	}
	panic("pipeline: a backend returned a tensor of " + t.Dtype().String())
}
