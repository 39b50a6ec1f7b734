package record

import (
	"encoding/json"
	"strings"
	"testing"

	"advsweep/backend"
)

// TestRunJSON wants counts and parts only of a backend that counts.
func TestRunJSON(t *testing.T) {
	spent := backend.Spent{backend.Steps: {Seconds: 1.5, MultiplyAdds: 40}, backend.Writing: {Seconds: 0.25}, backend.Looks: {MultiplyAdds: 2}}
	data, err := RunJSON(Meta{Backend: "cpu"}, 2, Seconds{Compute: 3}, &spent, "left out")
	if err != nil {
		t.Fatal(err)
	}
	var ran struct {
		MultiplyAdds uint64 `json:"multiply_adds"`
		Parts        backend.Spent
		Seconds      Seconds
		Notes        []string
	}
	if err := json.Unmarshal(data, &ran); err != nil {
		t.Fatal(err)
	}
	if len(ran.Notes) != 1 || ran.Notes[0] != "left out" {
		t.Errorf("notes %q, want what was left out", ran.Notes)
	}
	if ran.MultiplyAdds != 42 || ran.Parts != spent || ran.Seconds.Compute != 3 {
		t.Errorf("%+v, want 42 multiply-adds, %v and 3 s, of\n%s", ran, spent, data)
	}
	data, err = RunJSON(Meta{Backend: "cuda"}, 2, Seconds{Compute: 3}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if text := string(data); strings.Contains(text, "parts") || strings.Contains(text, "notes") || strings.Contains(text, "multiply_adds") || !strings.Contains(text, `"compute": 3`) {
		t.Errorf("a backend that does not count: %s", text)
	}
}
