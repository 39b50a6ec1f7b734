package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestLinks holds the rules of docs/architecture.md about who may know whom, in what is linked.
func TestLinks(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command to list packages with")
	}
	const (
		plots  = "advsweep/report gonum.org/v1/plot"
		engine = "advsweep/pipeline advsweep/cpu advsweep/gpu advsweep/kernels advsweep/internal/lower"
	)
	for _, c := range []struct {
		pkg  string
		not  string // these and what is below them
		why  string
		sees string // a package that links some of them: else the test could not see them
	}{
		{"advsweep/record", plots, "what fixes a run knows nothing that shows it", "advsweep/report"},
		{"advsweep/rundir", plots, "the durable sweep draws nothing", "advsweep/report"},
		{"advsweep/study", plots, "a worker draws nothing", "advsweep/report"},
		{"advsweep/cluster", plots, "a worker draws nothing", "advsweep/report"},
		{"advsweep/smooth", plots + " advsweep/cpu advsweep/gpu advsweep/rundir", "what certifies draws nothing, and knows a backend by its interface", "advsweep/cmd/advsweep"},
		{"advsweep/internal/ref", engine, "the judge decides for itself", "advsweep/backends"},
		{"advsweep/cpu", "advsweep/gpu advsweep/kernels advsweep/pipeline advsweep/internal/ref", "backends know neither each other nor the engine nor the judge",
			"advsweep/pipeline"},
		{"advsweep/gpu", "advsweep/cpu advsweep/pipeline advsweep/internal/ref", "backends know neither each other nor the engine nor the judge", "advsweep/pipeline"},
		{"advsweep/internal/lower", "advsweep/cpu advsweep/gpu advsweep/pipeline advsweep/internal/ref", "the lowering stands above all backends", "advsweep/cpu"},
		{"advsweep/attack", "advsweep/model advsweep/dataset advsweep/pipeline", "an attack sees rows only", "advsweep/pipeline"},
		{"advsweep/model", "advsweep/attack advsweep/dataset advsweep/model/onnx", "a model is layers, and formats are leaves", "advsweep/model/onnx"},
		{"advsweep/vnnlib", "advsweep/attack advsweep/model advsweep/pipeline", "a property knows no network", "advsweep/falsify"},
		{"advsweep/falsify", plots + " advsweep/cpu advsweep/gpu advsweep/certify advsweep/rundir", "what answers draws nothing, and knows backend and prover by their interfaces", "advsweep/cmd/advsweep"},
		{"advsweep/corrupt", plots, "what is found knows nothing that shows it", "advsweep/report"},
		{"advsweep/stat", "advsweep/attack advsweep/model advsweep/dataset advsweep/pipeline", "statistics know numbers only", "advsweep/verdict"},
	} {
		links := func(pkg string) (found []string) {
			list := exec.Command(goTool, "list", "-tags", "cuda", "-deps", pkg)
			list.Env = append(os.Environ(), "CGO_ENABLED=1", "GOOS=linux") // as a build with CUDA
			out, err := list.Output()
			if err != nil {
				t.Fatalf("go list %s: %v", pkg, err)
			}
			for _, dep := range strings.Fields(string(out)) {
				if slices.ContainsFunc(strings.Fields(c.not), func(p string) bool { return dep == p || strings.HasPrefix(dep, p+"/") }) {
					found = append(found, dep)
				}
			}
			return found
		}
		if found := links(c.pkg); len(found) > 0 {
			t.Errorf("%s links %q: %s", c.pkg, found, c.why)
		}
		if len(links(c.sees)) == 0 {
			t.Errorf("%s links none of %s: the test could not see them", c.sees, c.not)
		}
	}
}
