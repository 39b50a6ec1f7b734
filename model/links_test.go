package model_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestLinksNoONNX keeps a program that reads no ONNX free of its reader, of its schema, and of all
// of protobuf that gorgonia.org/tensor does not bring by itself.
func TestLinksNoONNX(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command to list packages with")
	}
	deps := func(pkg string) []string {
		out, err := exec.Command(goTool, "list", "-deps", pkg).CombinedOutput()
		if err != nil {
			t.Fatalf("go list %s: %v\n%s", pkg, err, out)
		}
		return strings.Fields(string(out))
	}
	tensor := deps("gorgonia.org/tensor")
	for _, c := range []struct {
		pkg   string
		links bool
	}{
		{"advsweep/model", false},
		{"advsweep/pipeline", false},
		{"advsweep/rundir", false},
		{"advsweep/report", false},
		{"advsweep/model/onnx", true}, // else the test could not see it
	} {
		var found []string
		for _, dep := range deps(c.pkg) {
			if strings.HasPrefix(dep, "advsweep/model/onnx") || strings.Contains(dep, "protobuf") && !slices.Contains(tensor, dep) {
				found = append(found, dep)
			}
		}
		if (len(found) > 0) != c.links {
			t.Errorf("%s links %q, want some: %v", c.pkg, found, c.links)
		}
	}
}
