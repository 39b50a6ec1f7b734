package cpu

import (
	"time"

	"advsweep/attack"
	"advsweep/backend"
)

// A meter is what each part of the work took so far. Every public method that computes is a section
// of one part. Sections nest: while an inner one is under way the outer one stands still.
//
// enter and leave change it, from the goroutine that uses the Backend.
type meter struct {
	spent backend.Spent // without what section now took since it was last entered
	now   section
	since time.Time
	flop  uint64 // of the workers at since
}

// A section is the part that is under way. The zero value is none.
type section struct {
	on   bool
	part backend.Part
}

// enter begins a section of part p and returns the one around it, which leave takes.
func (b *Backend[T]) enter(p backend.Part) (around section) {
	around = b.meter.now
	b.turn(section{true, p})
	return around
}

// leave ends the section that enter began.
func (b *Backend[T]) leave(around section) { b.turn(around) }

// turn adds up what the section under way took, and makes next the one under way.
func (b *Backend[T]) turn(next section) {
	m, at, flop := &b.meter, time.Now(), b.workers.flop()
	if m.now.on {
		m.spent.Add(m.now.part, at.Sub(m.since).Seconds(), (flop-m.flop)/2)
	}
	m.now, m.since, m.flop = next, at, flop
}

// Spent returns what each part of the work took since New. See pipeline.Meter. It may be asked for
// after Close.
func (b *Backend[T]) Spent() backend.Spent { return b.meter.spent }

// clean reports whether every row is its clean image.
func (b *Backend[T]) clean() bool { return b.state.fresh || b.state.still == len(b.batch.eps) }

// looking is the part of a look at the rows. A look inside a section belongs to that section.
func (b *Backend[T]) looking() backend.Part {
	switch {
	case b.meter.now.on:
		return b.meter.now.part
	case b.clean():
		return backend.CleanPass
	}
	return backend.Looks
}

// sloping is the part of a gradient at the rows.
func (b *Backend[T]) sloping() backend.Part {
	if b.clean() {
		return backend.Gradient
	}
	return backend.Steps
}

// stepping is the part of step s. A plain step takes the gradient at clean images before it moves
// rows, in a section of its own. Another step does both at once, and its first is a gradient.
func (b *Backend[T]) stepping(s attack.Step) backend.Part {
	if s.Direction == attack.Gradient && !s.Plain(len(b.batch.eps)) {
		return b.sloping()
	}
	return backend.Steps
}

// A walkCost is what one worker's walks took by part since the Backend last took it up.
type walkCost struct {
	spent backend.Spent // seconds of this worker
	since time.Time
	flop  uint64 // of the worker at since
}

// took adds what passed since the last call to part p.
func (w *walk[T]) took(p backend.Part) {
	c, at, flop := &w.cost, time.Now(), w.scratch.flop()
	c.spent.Add(p, at.Sub(c.since).Seconds(), (flop-c.flop)/2)
	c.since, c.flop = at, flop
}

// leaveWalk ends the section of walks that enter began. Each part has the share of its seconds that
// it has of the workers'. What no worker had, as the rates, stays with the walk.
func (b *Backend[T]) leaveWalk(around section) {
	m := &b.meter
	before := m.spent
	b.turn(around)
	var all backend.Spent
	busy := 0.0
	for k := range b.workers.scratch {
		w := b.workers.scratch[k].walk
		if w == nil {
			continue
		}
		for p, c := range w.cost.spent {
			all.Add(backend.Part(p), c.Seconds, c.MultiplyAdds)
			busy += c.Seconds
		}
		w.cost.spent = backend.Spent{}
	}
	took := m.spent[backend.Walk]
	seconds, left := took.Seconds-before[backend.Walk].Seconds, took.MultiplyAdds-before[backend.Walk].MultiplyAdds
	m.spent = before
	for p, c := range all {
		if busy > 0 {
			m.spent.Add(backend.Part(p), seconds*c.Seconds/busy, c.MultiplyAdds)
		}
		left -= c.MultiplyAdds
	}
	m.spent.Add(backend.Walk, 0, left)
}
