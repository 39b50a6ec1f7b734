package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/certify"
	"advsweep/cpu"
	"advsweep/falsify"
	"advsweep/internal/ref"
	"advsweep/vnnlib"
)

// TestFalsify asks three properties of one network: y_0 at most some bound in a box, which is above
// a value that the network has there, below what is proven, and between the two.
func TestFalsify(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(6, 2))
	m := ref.RandomModel(r, 1, 16, 24, 24, 3)
	data, err := m.Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	network := filepath.Join(dir, "net.safetensors")
	if err := os.WriteFile(network, data, 0o600); err != nil {
		t.Fatal(err)
	}
	lo, hi := make([]float64, 16), make([]float64, 16)
	for i := range hi {
		hi[i] = 1
	}
	c, err := certify.New(m, certify.CROWN)
	if err != nil {
		t.Fatal(err)
	}
	proven, err := c.Lower(t.Context(), lo, hi, [][]float64{{1, 0, 0}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New[float32](m, cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	found := 0.0
	one := vnnlib.Case{Lo: lo, Hi: hi, All: []vnnlib.Constraint{{Terms: []vnnlib.Term{{Output: 0, Factor: 1}}, Bound: -1e6}}}
	s := falsify.Search{Model: m, Backend: b, Property: &vnnlib.Property{Inputs: 16, Outputs: 3, Cases: []vnnlib.Case{one}}, Rounds: 3}
	s.Progress = func(now falsify.Progress) { found = now.Least - 1e6 }
	if _, err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !(found-proven[0] > 0.1) {
		t.Fatalf("least value found %v, proven %v: no room between them", found, proven[0])
	}
	property := func(name string, bound float64) string {
		var s strings.Builder
		for i := range 16 {
			fmt.Fprintf(&s, "(declare-const X_%d Real)(assert (>= X_%[1]d 0))(assert (<= X_%[1]d 1))\n", i)
		}
		fmt.Fprintf(&s, "(declare-const Y_0 Real)(declare-const Y_1 Real)(declare-const Y_2 Real)\n(assert (<= Y_0 %v))\n", bound)
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(s.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	codes := map[string]int{"sat": exitSat, "unsat": exitUnsat, "unknown": exitDone}
	bounds := map[string]float64{"sat": found + 0.01, "unsat": proven[0] - 0.01, "unknown": proven[0]/2 + found/2}
	common := []string{"--backend", "cpu", "--rounds", "2", "-q"}
	for want, bound := range bounds {
		out := filepath.Join(dir, "out-"+want)
		code, stdout, stderr := advsweep(t, append([]string{"falsify", network, property(want+".vnnlib", bound), "--out", out}, common...)...)
		if code != codes[want] || !strings.HasPrefix(stdout, want+"\n") || stderr != "" {
			t.Errorf("exit code %d, want %d of %s:\n%s%s", code, codes[want], want, stdout, stderr)
		}
		witness, err := os.ReadFile(filepath.Join(out, "net_"+want+".counterexample"))
		if (err == nil) != (want == "sat") {
			t.Errorf("%s: the counterexample: %v", want, err)
		}
		if want == "sat" && !strings.HasPrefix(string(witness), "sat\n((X_0 ") {
			t.Errorf("the counterexample is %.60q", witness)
		}
	}
	// A counterexample of an earlier answer does not stay beside another one.
	out := filepath.Join(dir, "out-sat")
	do(t, append([]string{"falsify", network, filepath.Join(dir, "unknown.vnnlib"), "--out", out}, common...)...)
	if _, err := os.Stat(filepath.Join(out, "net_sat.counterexample")); err == nil {
		t.Error("the counterexample of an earlier answer is still there")
	}
	// A folder has one answer after the other, and the exit code of the strongest.
	out = filepath.Join(dir, "all")
	code, stdout, _ := advsweep(t, append([]string{"falsify", network, dir, "--out", out}, common...)...)
	if code != exitSat || !strings.HasPrefix(stdout, "1 sat, 1 unsat, 1 unknown of 3 properties\n") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	rows, err := csv.NewReader(strings.NewReader(string(read(t, out, "falsify.csv")))).ReadAll()
	if err != nil || len(rows) != 4 || rows[1][0] != "sat" || rows[2][0] != "unknown" || rows[3][0] != "unsat" {
		t.Errorf("rows %v, %v", rows, err)
	}
	// A list, in JSON.
	list := filepath.Join(dir, "instances.csv")
	if err := os.WriteFile(list, []byte("net.safetensors,unsat.vnnlib,20\nnet.safetensors,sat.vnnlib,20\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, stdout, _ = advsweep(t, append([]string{"falsify", list, "--format", "json", "--out", filepath.Join(dir, "list")}, common...)...)
	var got struct {
		Answers []struct {
			Answer         string
			Timeout        float64
			Counterexample []float64
		}
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || len(got.Answers) != 2 || got.Answers[0].Answer != "unsat" || got.Answers[1].Answer != "sat" || got.Answers[1].Timeout != 20 || len(got.Answers[1].Counterexample) != 16 {
		t.Errorf("%v: %s", err, stdout)
	}
	// What is answered before a file that cannot be read is not lost.
	if err := os.WriteFile(list, []byte("net.safetensors,unsat.vnnlib,20\nnone.safetensors,sat.vnnlib,20\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out = filepath.Join(dir, "half")
	code, stdout, stderr := advsweep(t, append([]string{"falsify", list, "--out", out}, common...)...)
	if code != exitError || !strings.HasPrefix(stdout, "unsat\n") || !strings.Contains(stderr, "none.safetensors") || !strings.Contains(stderr, "1 of 2 properties were answered before it") || !strings.Contains(string(read(t, out, "falsify.csv")), "unsat.vnnlib") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	// Mistakes are named.
	bad := filepath.Join(dir, "bad.txt")
	if err := os.WriteFile(bad, []byte("(declare-const X_0 Real)\n(assert (>= X_0 zero))"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{network}, exitUsage, "want a network and a property"},
		{[]string{network, bad}, exitError, `bad.txt: line 2, column 17: "zero" is not declared`},
		{[]string{network, t.TempDir()}, exitError, "holds no properties"},
		{[]string{network, filepath.Join(dir, "none.vnnlib")}, exitError, "none.vnnlib"},
		{[]string{"mlp.onnx", filepath.Join(dir, "sat.vnnlib")}, exitError, "mlp.onnx"},
		{[]string{network, filepath.Join(dir, "sat.vnnlib"), "--timeout", "0s"}, exitUsage, "--timeout 0s, want more than 0"},
		{[]string{network, filepath.Join(dir, "sat.vnnlib"), "--rounds", "-1"}, exitUsage, "--rounds -1"},
		{[]string{filepath.Join(dir, "none.csv")}, exitError, "none.csv"},
	} {
		if stderr := fails(t, c.code, append([]string{"falsify", "--out", filepath.Join(dir, "bad"), "-q"}, c.args...)...); !strings.Contains(stderr, c.want) {
			t.Errorf("%q: no %q in %s", c.args, c.want, stderr)
		}
	}
}
