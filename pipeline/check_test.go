package pipeline_test

import (
	"slices"
	"strings"
	"testing"

	"advsweep/pipeline"
)

// TestChecker: what chunks found passes, each at its own place only, and nothing else does.
func TestChecker(t *testing.T) {
	s, labels, log := tallied(t, true)
	c := s.Checker(len(labels), 3)
	plan := s.Plan(len(labels))
	for i := range plan {
		if err := c.Check(i, log[i]); err != nil {
			t.Errorf("chunk %d: %v", i, err)
		}
		for name, payload := range map[string][]byte{"cut": log[i][:len(log[i])-1], "longer": append(slices.Clone(log[i]), 0), "nonsense": []byte("nonsense"), "empty": nil} {
			if err := c.Check(i, payload); err == nil {
				t.Errorf("chunk %d, %s: no error", i, name)
			}
		}
	}
	strike := slices.IndexFunc(plan, func(c pipeline.Chunk) bool { return c.Kind == pipeline.Strike })
	bad := slices.Clone(log[strike])
	bad[len(bad)-5] = 9 // the last class
	if err := c.Check(strike, bad); err == nil || !strings.Contains(err.Error(), "class 9") {
		t.Errorf("a class that the model has not: %v", err)
	}
	for _, i := range []int{-1, len(plan)} {
		if err := c.Check(i, log[0]); err == nil || !strings.Contains(err.Error(), "want 0 to") {
			t.Errorf("chunk %d: %v", i, err)
		}
	}
}
