package attack

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// A Method is what the program knows of attacks of one kind. It is a small type in a file of its
// own; a row in Methods makes it known to lists of attacks, help texts, plans, estimates of cost,
// sweeps and reports.
type Method interface {
	// Facts are what holds for every attack of the kind.
	Facts() Facts
	// Label names a for a person, without what all kinds share: restarts, norm, loss and target.
	Label(a Attack) string
	// Cost is how many passes a takes.
	Cost(a Attack) Cost
	// Ray reports whether a moves an image along one ray, the same for every eps, so that its curve
	// can be exact.
	Ray(a Attack) bool
	// Run moves rows, which are at their clean images. It calls rows.Done a.Steps times.
	// It returns an error of rows as it is, or NotFiniteRow.
	Run(ctx context.Context, a Attack, rows Rows) error
}

// Facts are what holds for every attack of a kind.
type Facts struct {
	// Default is the attack with no option set. Its Kind is the name that lists of attacks have for
	// it.
	Default Attack
	// Options are the keys that an attack in a list takes, as in pgd:steps=20. See Options.
	Options []string
	// Norms are those that the option norm may name; none stands for Linf and L2.
	Norms []Norm
	// MostSteps is the largest K; 0 stands for MaxSteps. A step's number has 16 bits.
	MostSteps int
	// Family is the word for several kinds of one name, "apgd" for apgd-ce and apgd-dlr. Empty
	// stands for the kind.
	Family string
	// About says what the attack does, in a line for a table.
	About string
	// Source is the paper, as in "Goodfellow et al. 2015, arXiv:1412.6572"; empty if there is none.
	Source string
	// OwnLoss says that the attack goes along the gradient of Default.Loss, which is no option. What
	// takes the option loss goes along one in any case.
	OwnLoss bool
	// OwnSize says that Attack.StepSize tells how far a step goes, though it is no option. What takes
	// the option step is told by it in any case.
	OwnSize bool
	// Control says that the attack never asks the model anything: an attack that does no better has
	// found nothing.
	Control bool
	// BlackBox says that the attack asks the model for logits or classes alone, and for no gradient.
	BlackBox bool
	// Composite says that there is nothing to run: the attack is made of what the others of a sweep
	// found.
	Composite bool
	// Of are the kinds that a composite is made of where a list names no attack for it; controls
	// are none. They are put before it in the list.
	Of []string
}

// Name is the kind.
func (f Facts) Name() string { return f.Default.Kind }

// mostSteps is the largest K.
func (f Facts) mostSteps() int {
	if f.MostSteps == 0 {
		return MaxSteps
	}
	return f.MostSteps
}

// norms are those that the option norm may name.
func (f Facts) norms() []Norm {
	if len(f.Norms) == 0 {
		return []Norm{Linf, L2}
	}
	return f.Norms
}

// lacks is the error of an attack of the kind in norm n, which it has not.
func (f Facts) lacks(n Norm) error {
	own := []Norm{f.Default.Norm}
	if f.Takes("norm") {
		own = f.norms()
	}
	var others []string
	for _, m := range Methods {
		if o := m.Facts(); !o.Composite && o.Has(n) {
			others = append(others, o.Name())
		}
	}
	use := ""
	if f.Takes("norm") {
		use = fmt.Sprintf(", as %s:norm=%v", f.Name(), own[0])
	}
	return fmt.Errorf("attack: %s has no norm %v, but %s%s; attacks in %v are %s", f.Name(), n, namesOf(own), use, n, strings.Join(others, ", "))
}

// Has reports whether there are attacks of the kind in norm n.
func (f Facts) Has(n Norm) bool {
	return f.Default.Norm == n || f.Takes("norm") && slices.Contains(f.norms(), n)
}

// Takes reports whether an attack of the kind takes an option.
func (f Facts) Takes(option string) bool { return slices.Contains(f.Options, option) }

// A Cost counts passes up or down the network. A gradient is two: one forward, one backward. What
// the model says of rows in the end is not in it, nor what it says of clean images to choose
// targets.
type Cost struct {
	Image float64 // passes of an image, whatever eps and restarts
	Row   float64 // passes of a row besides
	// Share is what Sweep.Plan counts for a row, what the model says in the end included; of a
	// Nearest for one search of an image. Plans and so the identity of shards rest on it: it must
	// not change once the method is released.
	Share int
}

// Rows are those of one batch, as a Method sees them. A row is an image at one eps, at one restart.
// The rows of an image are neighbours: row k is at column k mod C of the C = len(Columns()).
//
// What is needed of a backend beyond this becomes a method here.
type Rows interface {
	N() int             // how many rows there are
	Columns() []float64 // [C], eps of each column, in units of pixels; not to be written to
	Restarts() []int    // [C], the number of each column's restart, from 0; nil if there is but one
	Labels() []int32    // [N], the class of each row
	// [N], the index of each row's image in its data set. With seed, restart and step it keys every
	// random draw, so that none depends on the batch: see NewUniformDraw. An attack's own steps are
	// 0 to K-1; K is that of Attack.Random.
	Images() []int
	// Shape is that of one image: row-major [channels, height, width], whose product is I. One that
	// is no picture is [1, 1, I].
	Shape() (channels, height, width int)
	// Threads is how many threads may decide where rows go, at least 1. It changes no result.
	Threads() int
	// [N], the class that each row comes near to by Attack.Aim; nil if it is none
	Targets() []int32
	Bounds() Bounds
	// Step moves every row. Attack.At makes a Step, Move one that knows of the batch.
	Step(ctx context.Context, s Step) error
	// Logits returns what the model says of every row now, [N][O].
	Logits(ctx context.Context) ([][]float64, error)
	// Pixels returns x of every row as it is now, [N][I], in the backend's precision. The image is
	// row-major, as Shape says. It is the caller's until the next Pixels, which may take its memory.
	Pixels(ctx context.Context) ([][]float64, error)
	// Gradient returns the gradient of Σ_j q[k·O + j]·z_j with respect to the pixels of every row k
	// as it is now, z its logits, for weights q [N·O]: [N][I]. No row moves.
	Gradient(ctx context.Context, q []float64) ([][]float64, error)
	// See is Logits, and the gradient of Gradient with weights q [O] that weigh writes for each row at
	// its logits z [O]; q is 0 before. It takes one pass up and one down. weigh may be called for
	// several rows at once. It returns NotFiniteRow for logits that are not finite. The gradient is
	// the caller's until the next See, which may take its memory.
	See(ctx context.Context, weigh func(k int, z, q []float64)) (logits, gradient [][]float64, err error)
	// Look is Logits where the next Step will be one like s but for its sizes: its gradient may be
	// taken at once, so that Step needs no pass. Until then no row moves but by Restore from slot 0.
	Look(ctx context.Context, s Step) ([][]float64, error)
	// Keep copies rows k with which[k] set to slot 0 or 1. Restore copies them back: a row never
	// kept becomes its clean image.
	Keep(ctx context.Context, slot int, which []bool) error
	Restore(ctx context.Context, slot int, which []bool) error
	// Done says that one of the attack's steps is over, for the progress.
	Done()
}

// Methods are all kinds of attacks, in the order of help texts and tables. To add one, write its
// file and add its row.
var Methods = []Method{
	fgsm{}, bim{}, pgd{}, mifgsm{}, mifgsm{nesterov: true}, eot{}, apgd{CrossEntropy}, apgd{DLR}, apgdTargeted{}, square{},
	malt{}, corner{}, fab{}, fabTargeted{}, fabAPGD{}, ddn{}, fmn{}, pdpgd{}, alma{}, almaTargeted{}, sigmaZero{}, sigmaZeroTargeted{}, deepFool{}, carliniWagner{}, rayS{}, hopSkipJump{}, autoAttack, autoAttackPlus, quick,
	noise{RandomSign}, noise{Uniform}, worst{},
}

var (
	// Names lists what a list of attacks may hold.
	Names []string
	// Single lists those of Names that are attacks of their own, not made of others.
	Single []string
	// MostSteps is the largest K that any attack takes.
	MostSteps int

	byName = map[string]Method{}
)

func init() {
	for _, m := range Methods {
		know(m)
	}
}

// Register makes an attack known that a program brings itself, as if it had a row in Methods. Call
// it from an init function. It panics if another attack has the name.
func Register(m Method) {
	know(m)
	Methods = append(slices.Clip(Methods), m)
}

func know(m Method) {
	f := m.Facts()
	if byName[f.Name()] != nil {
		panic("attack: two methods are called " + f.Name())
	}
	byName[f.Name()] = m
	Names = append(slices.Clip(Names), f.Name())
	if !f.Composite {
		Single = append(slices.Clip(Single), f.Name())
	}
	MostSteps = max(MostSteps, f.mostSteps())
}

// MethodOf returns the method of a kind. It returns an error that names the kind if there is none.
func MethodOf(kind string) (Method, error) {
	m, ok := byName[kind]
	if !ok {
		return nil, fmt.Errorf("attack: unknown attack %q, want one of %s", kind, strings.Join(Names, ", "))
	}
	return m, nil
}

// facts are those of the attack's kind, none of a kind that is not known; Validate has an error for
// that.
func (a Attack) facts() Facts {
	if m, ok := byName[a.Kind]; ok {
		return m.Facts()
	}
	return Facts{}
}

// Control reports whether the attack never asks the model anything.
func (a Attack) Control() bool { return a.facts().Control }

// BlackBox reports whether the attack asks the model for logits or classes alone.
func (a Attack) BlackBox() bool { return a.facts().BlackBox }

// Composite reports whether there is nothing to run: the attack is made of what others found.
func (a Attack) Composite() bool { return a.facts().Composite }

// Draws reports whether the attack draws at random: with another seed it is another attack.
func (a Attack) Draws() bool {
	return a.Start || a.Direction == RandomSign || a.Direction == Uniform || a.facts().Takes("seed")
}

// Restartable reports whether it means something how often the attack starts, see Starts.
func (a Attack) Restartable() bool {
	f := a.facts()
	return a.Start || f.Takes("restarts") || f.Takes("targets")
}

// HasLoss reports whether the attack goes along the gradient of Attack.Loss.
func (a Attack) HasLoss() bool {
	f := a.facts()
	return f.OwnLoss || f.Takes("loss")
}

// HasStepSize reports whether StepSize tells how far a step of the attack goes.
func (a Attack) HasStepSize() bool {
	f := a.facts()
	return f.OwnSize || f.Takes("step")
}

// Ray reports whether the attack moves an image along one ray, the same for every eps: its curve
// can be exact.
func (a Attack) Ray() bool {
	m, err := MethodOf(a.Kind)
	return err == nil && m.Ray(a)
}

// Cost is how many passes the attack takes. It returns an error for an unknown kind.
func (a Attack) Cost() (Cost, error) {
	m, err := MethodOf(a.Kind)
	if err != nil {
		return Cost{}, err
	}
	return m.Cost(a), nil
}

// Run moves rows, which are at their clean images. It returns an error for an unknown kind.
func (a Attack) Run(ctx context.Context, rows Rows) error {
	m, err := MethodOf(a.Kind)
	if err != nil {
		return err
	}
	return m.Run(ctx, a, rows)
}

// Move is step k of the attack, from 0, for rows: At with the targets and restarts of the batch.
func (a Attack) Move(k int, rows Rows) Step {
	s := a.At(k, rows.Columns(), rows.Bounds())
	s.Restarts, s.Targets = rows.Restarts(), rows.Targets()
	return s
}

// judge returns the attack's loss at logits z of row k with a label, and whether they are misread.
// It returns NotFiniteRow for logits that are not finite.
func (a Attack) judge(rows Rows, k int, label int32, z []float64) (loss float64, misread bool, err error) {
	class, _, ok := Judge(z, int(label))
	if !ok {
		return 0, false, NotFiniteRow(k)
	}
	loss, err = a.Loss.Value(z, int(label), targetOf(rows, k))
	return loss, class != int(label), err
}

// targetOf is the class that row k comes near to, -1 if it is none.
func targetOf(rows Rows, k int) int {
	if t := rows.Targets(); t != nil {
		return int(t[k])
	}
	return -1
}

// start moves rows to a random point of the ball if the attack begins there.
func (a Attack) start(ctx context.Context, rows Rows) error {
	if !a.Start {
		return nil
	}
	s := a.Random(rows.Columns(), rows.Bounds())
	s.Restarts = rows.Restarts()
	return rows.Step(ctx, s)
}

// iterated is what the kinds share that take K steps of one form.
type iterated struct{}

// Run takes the K steps.
func (iterated) Run(ctx context.Context, a Attack, rows Rows) error {
	if err := a.start(ctx, rows); err != nil {
		return err
	}
	for k := range a.Steps {
		if err := rows.Step(ctx, a.Move(k, rows)); err != nil {
			return err
		}
		rows.Done()
	}
	return nil
}

// Cost is a gradient for each step. All eps share the first one of a plain attack, which is taken
// at the clean image.
func (iterated) Cost(a Attack) Cost {
	if a.Plain() {
		return Cost{Image: 2, Row: float64(2 * (a.Steps - 1)), Share: 1 + 2*a.Steps}
	}
	return Cost{Row: float64(2 * a.Steps), Share: 1 + 2*a.Steps}
}

// Ray holds for the single plain step along the sign of the gradient.
func (iterated) Ray(a Attack) bool { return a.Steps == 1 && a.Plain() }

// Label is the name and the number of steps.
func (iterated) Label(a Attack) string {
	return fmt.Sprintf("%s, k = %d", strings.ToUpper(a.Kind), a.Steps)
}

// NotFiniteRow is the error of a row with a logit that is not finite.
type NotFiniteRow int

func (k NotFiniteRow) Error() string { return fmt.Sprintf("logits of row %d are not finite", int(k)) }

// Judge returns the class of logits z [O], the first largest, and the margin z_label -
// max_{j≠label} z_j. ok is false if a logit is not finite.
func Judge(z []float64, label int) (class int, margin float64, ok bool) {
	for j, v := range z {
		if v-v != 0 {
			return 0, 0, false
		}
		if v > z[class] {
			class = j
		}
	}
	return class, z[label] - largest(z, label), true
}
