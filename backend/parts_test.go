package backend

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func TestSpentJSON(t *testing.T) {
	var s Spent
	for p := range s {
		s.Add(Part(p), 0.5*float64(p), 1<<60+uint64(p)) // more than a float64 holds
	}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	const first, last = `[{"part":"clean_pass","seconds":0,"multiply_adds":1152921504606846976},`, `{"part":"writing","seconds":3,"multiply_adds":1152921504606846982}]`
	if text := string(data); !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		t.Errorf("%s, want %s … %s", data, first, last)
	}
	got := Spent{Walk: {Seconds: 9}} // is overwritten
	if err := json.Unmarshal(data, &got); err != nil || got != s {
		t.Errorf("%v (%v), want %v", got, err, s)
	}
	s = Spent{Looks: {1, 2}, Steps: {3, 5}}
	if n := s.MultiplyAdds(); n != 7 {
		t.Errorf("%d multiply-adds, want 7", n)
	}
	if err := json.Unmarshal([]byte(`[{"part":"lunch"}]`), &got); err == nil || !strings.Contains(err.Error(), `"lunch"`) {
		t.Errorf("error %v, want one that names lunch", err)
	}
}

func TestPartNames(t *testing.T) {
	seen := map[string]bool{}
	for p := range partNames {
		name := Part(p).String()
		if name == "" || seen[name] {
			t.Errorf("part %d is called %q, want a name of its own", p, name)
		}
		seen[name] = true
	}
	if got, want := fmt.Sprint(Part(-1), Part(len(partNames))), fmt.Sprintf("Part(-1) Part(%d)", len(partNames)); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
