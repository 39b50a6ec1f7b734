package backendtest_test

import (
	"testing"

	"advsweep/cpu"
	"advsweep/internal/backendtest"
	"advsweep/internal/ref"
	"advsweep/model"
)

// plain hides every method that pipeline.Backend does not have.
type plain struct{ backendtest.Backend }

func open(t *testing.T, m *model.Model) backendtest.Backend {
	t.Helper()
	b, err := cpu.New[float32](m, cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return plain{b}
}

// TestPlain runs the suite on a backend that has pipeline.Backend and no more, as the least that a
// new one can be.
func TestPlain(t *testing.T) {
	backendtest.Run(t, ref.Float32, open)
	backendtest.RunNetworks(t, ref.Float32, open)
}
