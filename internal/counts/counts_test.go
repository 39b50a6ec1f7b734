package counts

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestStart wants a line of each test, with what it counted, also where it stops early.
func TestStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	t.Setenv("ADVSWEEP_COUNTS", path)
	t.Run("one", func(t *testing.T) { Start(t, "log-cuts").Add(3) })
	t.Run("two", func(t *testing.T) {
		c := Start(t, "log-cuts")
		c.Add(1)
		c.Add(1)
	})
	t.Run("skipped", func(t *testing.T) {
		Start(t, "log-cuts").Add(9)
		t.Skip()
	})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []Line
	for line := range strings.Lines(string(data)) {
		var l Line
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		got = append(got, l)
	}
	want := []Line{{"log-cuts", "TestStart/one", 3, 0}, {"log-cuts", "TestStart/two", 2, 0}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWanted(t *testing.T) {
	t.Setenv("ADVSWEEP_WANT", "run-kills=100,log-kills=7")
	if a, b, c := Wanted(t, "run-kills", 1), Wanted(t, "log-kills", 1), Wanted(t, "plans", 5); a != 100 || b != 7 || c != 5 {
		t.Errorf("got %d, %d and %d, want 100, 7 and 5", a, b, c)
	}
}

// TestKinds wants every kind once, with all that the table says of it.
func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Kinds {
		if seen[k.Name] || k.Name == "" || k.What == "" || k.Want == "" {
			t.Errorf("%+v: twice, or something is missing", k)
		}
		seen[k.Name] = true
	}
}
