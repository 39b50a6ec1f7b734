package pipeline

import (
	"fmt"

	"advsweep/attack"
)

// A Tally counts what chunks of a sweep have found, as they arrive, in any order. Adding a chunk
// takes as long as reading it, and Curves next to no time. Only Add changes its fields. One
// goroutine at a time may use it.
type Tally struct {
	plan   []Chunk
	labels []int32
	form   form
	reader int    // see Sweep.reader
	has    []bool // [chunks]
	left   int    // chunks
	clean  int    // images that are right as they are, of shown
	shown  int
	curves []Partial
	// worst is the place of the worst of all attacks, or -1, and of how many attacks that is the
	// worst of. seen counts, for image i at eps e in i·E + e, those of them that were added, and
	// has the bit fooled once one fools the model. It is nil before the first Add and after the
	// last.
	worst int
	of    uint16
	seen  []uint16
}

const fooled = 1 << 15

// A Partial is a curve so far.
type Partial struct {
	Attack  attack.Attack
	N       []int // [E], images that were attacked at each eps
	Correct []int // [E], those of them that are given their label
}

// Tally returns the empty Tally of s over images with these labels [N]. It returns an error for a
// label that is none of the classes.
func (s Sweep) Tally(labels []int32, classes int) (*Tally, error) {
	for i, y := range labels {
		if y < 0 || int(y) >= classes {
			return nil, fmt.Errorf("pipeline: tally: image %d has label %d, want 0 to %d", i, y, classes-1)
		}
	}
	if err := s.Small(classes); err != nil { // attacks are below fooled
		return nil, err
	}
	t := &Tally{plan: s.Plan(len(labels)), labels: labels, form: s.formOf(classes), reader: s.reader(), worst: -1}
	t.has, t.left = make([]bool, len(t.plan)), len(t.plan)
	for i, a := range s.Attacks {
		t.curves = append(t.curves, Partial{a, make([]int, len(s.Eps)), make([]int, len(s.Eps))})
		if a.Composite() {
			t.worst = i
		}
	}
	t.of = uint16(len(attack.Parts(s.Attacks)))
	return t, nil
}

// Has reports whether chunk i was added.
func (t *Tally) Has(i int) bool { return i >= 0 && i < len(t.has) && t.has[i] }

// Chunks returns how many chunks were added, and how many there are.
func (t *Tally) Chunks() (done, total int) { return len(t.plan) - t.left, len(t.plan) }

// Add counts what chunk i of the plan found; a second time it changes nothing. A payload that
// cannot be of that chunk is an error, and not counted. A Walk of an attack that is struck too
// counts nothing: its curve counts from the attack's other chunks.
func (t *Tally) Add(i int, payload []byte) error {
	if i < 0 || i >= len(t.plan) {
		return fmt.Errorf("pipeline: tally: chunk %d, want 0 to %d", i, len(t.plan)-1)
	}
	if t.has[i] {
		return nil
	}
	if err := t.count(t.plan[i], payload); err != nil {
		return fmt.Errorf("pipeline: tally: chunk %d: %w", i, err)
	}
	t.has[i] = true
	if t.left--; t.left == 0 {
		t.seen = nil
	}
	return nil
}

// count counts what chunk c found, or nothing if it cannot have found that.
func (t *Tally) count(c Chunk, payload []byte) error {
	switch c.Kind {
	case Look:
		right, other := 0, -1
		err := t.form.looks(c, payload, func(image int, im Clean) { t.look(image, im, &right, &other) })
		if err != nil {
			return err
		}
		return t.looked(c, right, other)
	case Walk:
		curve := &t.curves[c.Attack]
		correct := make([]int, len(curve.N))
		right, other := 0, -1
		reads := false
		_, err := t.form.walks(c, payload, func(image int, im Clean, _ attack.Walk, ray *rayRecord) {
			t.look(image, im, &right, &other)
			if reads = ray != nil; !reads {
				return
			}
			for e, class := range ray.classes {
				if class == t.labels[image] {
					correct[e]++
				}
			}
		})
		switch {
		case err != nil:
			return err
		case other >= 0 || c.Attack == t.reader:
			if err := t.looked(c, right, other); err != nil {
				return err
			}
		}
		if reads {
			for e, n := range correct {
				curve.N[e] += c.Hi - c.Lo
				curve.Correct[e] += n
			}
		}
		return nil
	case Strike:
		// First whether all of it is sound, so that no half is counted.
		if err := t.form.strikes(c, payload, func(int, int, Outcome, []int32) {}); err != nil {
			return err
		}
		curve := &t.curves[c.Attack]
		E := len(curve.N)
		worst := t.worst >= 0 && !curve.Attack.Control()
		if worst && t.seen == nil {
			t.seen = make([]uint16, len(t.labels)*E)
		}
		return t.form.strikes(c, payload, func(image, e int, o Outcome, _ []int32) {
			right := o.Class == t.labels[image]
			curve.N[e]++
			if right {
				curve.Correct[e]++
			}
			if !worst {
				return
			}
			v := &t.seen[image*E+e]
			if *v++; !right {
				*v |= fooled
			}
			if *v&^fooled == t.of {
				t.curves[t.worst].N[e]++
				if *v&fooled == 0 {
					t.curves[t.worst].Correct[e]++
				}
			}
		})
	}
	return fmt.Errorf("a chunk of kind %d", c.Kind)
}

// look counts what the model says of a clean image to right, and notes an image with another label.
func (t *Tally) look(image int, im Clean, right, other *int) {
	if im.Label != t.labels[image] {
		*other = image
	}
	if im.Class == im.Label {
		*right++
	}
}

// looked adds the images of c, of which so many are right, unless one has another label.
func (t *Tally) looked(c Chunk, right, other int) error {
	if other >= 0 {
		return fmt.Errorf("it has another label of image %d than %d: it is of other images", other, t.labels[other])
	}
	t.clean, t.shown = t.clean+right, t.shown+c.Hi-c.Lo
	return nil
}

// Clean returns of how many images n the chunk was added that says what the model says of them as
// they are, a Look or a Walk, and how many of them are classified correctly.
func (t *Tally) Clean() (correct, n int) { return t.clean, t.shown }

// Curves returns the curves so far, one for each attack. That of the worst of all attacks is over
// the images at which all of those that it is of have been. What it returns does not change as more
// is added.
func (t *Tally) Curves() []Partial {
	out := make([]Partial, len(t.curves))
	for i, c := range t.curves {
		out[i] = Partial{c.Attack, append([]int(nil), c.N...), append([]int(nil), c.Correct...)}
	}
	return out
}
