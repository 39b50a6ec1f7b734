package model

import "testing"

// Every kind that a model may hold has examples, whose models are valid.
func TestExamples(t *testing.T) {
	seen := make(map[string]bool)
	for i, e := range Examples() {
		seen[e.Layer.Kind()] = true
		m := e.Model()
		if err := m.Validate(); err != nil {
			t.Fatalf("example %d, %s: %v", i, e.Layer.Kind(), err)
		}
		if m.IsMLP() || m.Outputs() != exampleClasses {
			t.Errorf("example %d, %s: %v, want no MLP, and %d classes", i, e.Layer.Kind(), m, exampleClasses)
		}
		if _, ok := e.Layer.(Elementwise); !ok && (e.Lo != 0 || e.Hi != 0) {
			t.Errorf("example %d, %s: %v to %v, want none", i, e.Layer.Kind(), e.Lo, e.Hi)
		}
	}
	for _, name := range Kinds() {
		if !seen[name] {
			t.Errorf("%s has no example", name)
		}
	}
}

// TestListedFields holds what kinds may give in a layer list to the fields that there are.
func TestListedFields(t *testing.T) {
	for name, row := range kinds {
		for _, key := range row.fields {
			if new(listed).field(key) == nil {
				t.Errorf("%s may give %s, which is no field of a layer list", name, key)
			}
		}
	}
	for _, key := range []string{"", "-", "none"} {
		if new(listed).field(key) != nil {
			t.Errorf("%q is taken for a field", key)
		}
	}
}
