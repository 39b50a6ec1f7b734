package report

import (
	"strconv"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
)

// studied runs the embedded models on the first n images of MNIST with these seeds, under FGSM, PGD, noise and the worst of them.
func studied(t testing.TB, n int, seeds ...uint64) (s Study) {
	t.Helper()
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.Slice(0, n); err != nil {
		t.Fatal(err)
	}
	s.Name = "embedded models"
	for _, name := range model.EmbeddedNames {
		m, err := model.Embedded(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := cpu.New[float32](m, cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, seed := range seeds {
			sweep := pipeline.Sweep{
				Attacks: []attack.Attack{attack.FGSM(), attack.PGD(3, seed), attack.Noise(seed), attack.Worst()},
				Eps:     []float64{0, 0.02, 0.05, 0.1, 0.15, 0.2}, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Outcomes: true,
			}
			r, err := sweep.Run(t.Context(), b, set)
			if err != nil {
				t.Fatal(err)
			}
			_, classes := b.Shape()
			s.Runs = append(s.Runs, StudyRun{name + "-" + strconv.FormatUint(seed, 10), &Manifest{
				Meta: Meta{Version: "0.1.0", Model: Source{m.Source.Name, m.Source.SHA256}, Data: Data{
					Images: Source{"MNIST", strings.Repeat("b2", 32)}, Labels: Source{"MNIST labels", strings.Repeat("c3", 32)}, N: n, SHA256: strings.Repeat("d4", 32),
				}, Seed: seed, Backend: "cpu", Precision: "float32"},
				Arithmetic: "float32", Layers: m.String(), Shape: []int{28, 28}, Classes: classes, Attacks: sweep.Attacks, Eps: sweep.Eps, Bounds: sweep.Bounds.String(),
			}, r})
		}
	}
	return s
}
