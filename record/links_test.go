package record_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestLinksNoPlots keeps what a worker needs free of what shows results: a worker on a cluster
// draws nothing.
func TestLinksNoPlots(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command to list packages with")
	}
	for _, c := range []struct {
		pkg   string
		draws bool
	}{
		{"advsweep/record", false},
		{"advsweep/rundir", false},
		{"advsweep/study", false},
		{"advsweep/cluster", false},
		{"advsweep/report", true}, // else the test could not see a plot
	} {
		out, err := exec.Command(goTool, "list", "-deps", c.pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("go list %s: %v\n%s", c.pkg, err, out)
		}
		var drawing []string
		for _, dep := range strings.Fields(string(out)) {
			if dep == "advsweep/report" || strings.HasPrefix(dep, "gonum.org/v1/plot") {
				drawing = append(drawing, dep)
			}
		}
		if (len(drawing) > 0) != c.draws {
			t.Errorf("%s links what draws: %q, want some: %v", c.pkg, drawing, c.draws)
		}
	}
}
