package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/report"
)

// TestCertifiedSweep: shards that are merged give the files of one run, and a run without
// certificates has none of their files and no word of them.
func TestCertifiedSweep(t *testing.T) {
	dir := t.TempDir()
	out := func(name string) string { return filepath.Join(dir, name) }
	args := func(name string, more ...string) []string {
		return append([]string{"sweep", "--attack", "fgsm,pgd", "--steps", "3", "--n", "20", "--bounds", "0,1", "--eps", "0:0.04:0.02", "--backend", "cpu", "-q", "--certify", "crown", "--out", out(name)}, more...)
	}
	table := do(t, args("whole")...)
	for _, part := range []string{"proven by crown", "certified", "unknown", "gap in %"} {
		if !strings.Contains(table, part) {
			t.Errorf("no %q in the table:\n%s", part, table)
		}
	}
	do(t, args("a", "--shard", "1/2", "--threads", "1")...)
	do(t, args("b", "--shard", "2/2")...)
	do(t, "merge", out("a"), out("b"), "--out", out("merged"), "-q")
	for _, name := range append(report.Names(), report.CertifiedNames()...) {
		whole, err := os.ReadFile(filepath.Join(out("whole"), name))
		if err != nil {
			t.Fatal(err)
		}
		merged, err := os.ReadFile(filepath.Join(out("merged"), name))
		if err != nil || !bytes.Equal(whole, merged) {
			t.Errorf("%s of merged shards is not that of one run: %v", name, err)
		}
	}
	do(t, "report", out("whole"), "-q")
	page, err := os.ReadFile(filepath.Join(out("whole"), report.PageName))
	if err != nil || !bytes.Contains(page, []byte("<h2>Certified</h2>")) {
		t.Errorf("no section on certificates in the page: %v", err)
	}
	// The same folder, without certificates.
	plain := slices.DeleteFunc(args("whole"), func(a string) bool { return a == "--certify" || a == "crown" })
	if table := do(t, plain...); strings.Contains(table, "certified") {
		t.Errorf("a run without certificates speaks of them:\n%s", table)
	}
	for _, name := range report.CertifiedNames() {
		if _, err := os.Stat(filepath.Join(out("whole"), name)); !os.IsNotExist(err) {
			t.Errorf("%s of an earlier run stays: %v", name, err)
		}
	}
}

// TestCertifyFlags: what cannot be certified is refused, by name.
func TestCertifyFlags(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"sweep --certify simplex", exitUsage, `"simplex"`},
		{"sweep --certify crown --norm l2 --attack pgd", exitError, "linf"},
		{"check --min-certified 0.5", exitUsage, "--min-certified"},
		{"check --min-certified 1.5@0.1", exitUsage, "--min-certified"},
		{"check --certify crown", exitUsage, "--min-certified"},
		{"check --min-certified 0.5@0.1 --certify simplex", exitUsage, `"simplex"`},
	} {
		args := append(strings.Fields(c.args), "--n", "2")
		if strings.HasPrefix(c.args, "sweep") {
			args = append(args, "--out", filepath.Join(t.TempDir(), "out"))
		}
		if code, _, stderr := advsweep(t, args...); code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, want %d; %q not in %s", c.args, code, c.code, c.want, stderr)
		}
	}
}

// A liar proves everything.
type liar struct{}

func (liar) Margin(context.Context, []float64, []float64, int) (float64, error) { return 1, nil }

// TestFault: an image that is certified and misread in float64 too ends the command, with both
// witnesses.
func TestFault(t *testing.T) {
	m, err := model.Default()
	if err != nil {
		t.Fatal(err)
	}
	whole, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	set, err := whole.Slice(500, 5)
	if err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New[float32](m, cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	pgd, err := attack.Parse("pgd", attack.Options{Steps: 10, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := pipeline.Sweep{Attacks: pgd, Eps: []float64{0, 0.1, 0.2}, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Certify: "crown", Prover: liar{}}
	res, err := s.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	in := &inputs{model: m, set: set, backend: b}
	var fault *faultError
	if err := in.confirm(t.Context(), io.Discard, s, res); !errors.As(err, &fault) {
		t.Fatalf("%v, want a fault", err)
	}
	if fault.margin > 0 || fault.class == fault.label {
		t.Errorf("a fault of margin %v, class %d and label %d", fault.margin, fault.class, fault.label)
	}
	for _, part := range []string{"image 50", "eps 0.2", "pgd", "eps 0.1", "fault"} {
		if !strings.Contains(fault.Error(), part) {
			t.Errorf("no %q in %q", part, fault)
		}
	}
	// What the backend misreads by rounding alone is no fault: here an honest image is said to be
	// misread.
	res.Curves[0].Outcomes[0].Class = (res.Images[0].Label + 1) % 10
	res = res.Select(0)
	for e := range res.Curves[0].Outcomes[1:] {
		res.Curves[0].Outcomes[e+1].Class = res.Images[(e+1)/len(s.Eps)].Label
	}
	var notes bytes.Buffer
	if err := in.confirm(t.Context(), &notes, s, res); err != nil || !strings.Contains(notes.String(), "500") {
		t.Errorf("rounding alone: %v, notes %q", err, notes.String())
	}
}
