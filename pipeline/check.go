package pipeline

import (
	"fmt"

	"advsweep/attack"
)

// A Checker says whether a payload can be what a chunk of a sweep has found. It does not know the
// images: that the classes are the true ones it cannot say. Several goroutines may use it.
type Checker struct {
	plan []Chunk
	form form
}

// Checker returns the Checker of s over n images of so many classes.
func (s Sweep) Checker(n, classes int) *Checker {
	return &Checker{s.Plan(n), s.formOf(classes)}
}

// Check returns an error if chunk i of the plan cannot have found payload: if it is no record of
// that chunk, or has a class, a margin, a norm or an interval that is none.
func (c *Checker) Check(i int, payload []byte) error {
	if i < 0 || i >= len(c.plan) {
		return fmt.Errorf("pipeline: check: chunk %d, want 0 to %d", i, len(c.plan)-1)
	}
	if err := c.check(c.plan[i], payload); err != nil {
		return fmt.Errorf("pipeline: check: chunk %d: %w", i, err)
	}
	return nil
}

func (c *Checker) check(of Chunk, payload []byte) error {
	switch of.Kind {
	case Look:
		return c.form.looks(of, payload, func(int, Clean) {})
	case Walk:
		_, err := c.form.walks(of, payload, func(int, Clean, attack.Walk, *rayRecord) {})
		return err
	case Strike:
		return c.form.strikes(of, payload, func(int, int, Outcome, []int32) {})
	}
	return fmt.Errorf("a chunk of kind %d", of.Kind)
}
