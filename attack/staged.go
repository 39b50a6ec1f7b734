package attack

import (
	"context"
	"fmt"
)

// A Staged is a Method whose attacks are several attacks one after the other. Each sees only the
// images that are still right, and a row is fooled by whatever fools it first. Package pipeline
// runs the stages, as it alone can leave rows out: Run returns an error.
type Staged interface {
	Method
	// Stages are the attacks in their order, on a model with so many classes: those that need more
	// are left out.
	Stages(a Attack, classes int) []Attack
}

// Staged reports whether the attack is several, one after the other.
func (a Attack) Staged() bool {
	m, err := MethodOf(a.Kind)
	_, ok := m.(Staged)
	return err == nil && ok
}

// Stages are the attacks that a staged one is made of, on a model with so many classes; nil of
// another.
func (a Attack) Stages(classes int) []Attack {
	m, err := MethodOf(a.Kind)
	if s, ok := m.(Staged); err == nil && ok {
		return s.Stages(a, classes)
	}
	return nil
}

// staged are the kinds that are known by their stages alone. The norm and the seed of an attack are
// those of all its stages.
type staged struct {
	facts  Facts
	label  string
	stages []Attack
	inL1   []Attack // the stages in L1; nil if they are the same
}

func (m staged) Facts() Facts        { return m.facts }
func (m staged) Label(Attack) string { return m.label }

// Ray is false: stages follow no ray.
func (staged) Ray(Attack) bool { return false }

// Run returns an error.
func (staged) Run(_ context.Context, a Attack, _ Rows) error {
	return fmt.Errorf("attack: %s is several attacks, of which each sees what the ones before have left: package pipeline runs it", a.Name)
}

// in are the stages in norm n.
func (m staged) in(n Norm) []Attack {
	if n == L1 && m.inL1 != nil {
		return m.inL1
	}
	return m.stages
}

func (m staged) Stages(a Attack, classes int) (of []Attack) {
	for _, s := range m.in(a.Norm) {
		s.Norm = a.Norm
		if s.Draws() {
			s.Seed = a.Seed
		}
		if s.Lacks(classes) == 0 {
			of = append(of, s)
		}
	}
	return of
}

// Cost is that of an image that is right after all stages.
func (m staged) Cost(a Attack) Cost {
	c := Cost{Share: 1}
	for _, s := range m.in(a.Norm) {
		s.Norm = a.Norm
		of, _ := MethodOf(s.Kind) // a stage is a kind with a row in Methods
		one := of.Cost(s)
		c.Row += one.Image + float64(float64(s.Runs())*one.Row)
		c.Share += s.Runs() * one.Share
	}
	return c
}
