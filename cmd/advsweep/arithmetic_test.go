package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"advsweep/backend"
	"advsweep/cpu"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// arithmeticName has the multiply-adds of each part of each run: lines of run, part and number.
// 'make arithmetic' makes it.
const arithmeticName = "testdata/arithmetic.golden"

// plainKernel is the one that every processor has. It is not held to the golden file.
const plainKernel = "go"

// TestArithmetic holds how many multiply-adds the command does, part by part, to a golden file.
// Work that creeps in fails it without a clock, on a machine of any speed. The numbers are the same
// with any threads and kernels, but for those in plain Go: on amd64 they round products too, so
// that here and there another term is zero.
//
// W1 to W3 are the workloads that the project is timed with. W3 is over the 1,000 embedded images
// here, not the 10,000 of the test set, which are not in the repository.
func TestArithmetic(t *testing.T) {
	runs := []struct {
		name  string
		short bool // also in short tests
		args  string
	}{
		{"W1", true, "sweep --eps 0:0.5:0.025"},
		{"W2", false, "sweep --attack bim --steps 5 --eps 0:0.5:0.025"},
		{"W3", false, "sweep --attack fgsm --eps 0:0.5:0.005"},
		{"cnn", true, "sweep --model cnn --attack fgsm --n 100 --eps 0:0.2:0.05 --bounds 0,1"},
		{"demo", false, "demo"},
	}
	if *update && testing.Short() {
		t.Fatal("the golden file has all runs: -update without -short")
	}
	t.Setenv(cpu.EnvDense, "") // the products of other programs take more
	t.Setenv("ADVSWEEP_KERNEL", "")
	if cpu.Kernels()[0] == plainKernel {
		t.Skip("this processor has no kernel but the plain one")
	}
	var golden bytes.Buffer
	want := map[string]uint64{}
	if !*update {
		want = readArithmetic(t)
	}
	for _, r := range runs {
		if testing.Short() && !r.short {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			for p, cost := range spentBy(t, strings.Fields(r.args)...) {
				key := r.name + " " + backend.Part(p).String()
				fmt.Fprintln(&golden, key, cost.MultiplyAdds)
				if *update {
					continue
				}
				w, ok := want[key]
				if said := grown(key, w, cost.MultiplyAdds); !ok || said != "" {
					t.Errorf("advsweep %s: %s. If that is meant, 'make arithmetic' accepts it: say why in the commit", r.args, said)
				}
			}
		})
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(arithmeticName, golden.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// grown says how far got is from the want multiply-adds of key, "" if not at all.
func grown(key string, want, got uint64) string {
	verb, by := "grew", got-want
	switch {
	case got == want:
		return ""
	case got < want:
		verb, by = "shrank", want-got
	}
	text := fmt.Sprintf("%s %s by %d multiply-adds, from %d to %d", key, verb, by, want, got)
	if want > 0 {
		text += fmt.Sprintf(" (%.3g %%)", 100*float64(by)/float64(want))
	}
	return text
}

// readArithmetic returns the numbers of the golden file by run and part, as in "W1 steps".
func readArithmetic(t *testing.T) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	for line := range strings.Lines(string(read(t, arithmeticName))) {
		f := strings.Fields(line)
		if len(f) != 3 {
			t.Fatalf("%s: line %q, want a run, a part and a number", arithmeticName, line)
		}
		n, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", arithmeticName, err)
		}
		all[f[0]+" "+f[1]] = n
	}
	return all
}

// spentBy runs a command on the CPU and returns what its run.json says by parts.
func spentBy(t *testing.T, args ...string) backend.Spent {
	t.Helper()
	out := t.TempDir()
	do(t, append(args, "--backend", "cpu", "--precision", "float32", "--quiet", "--out", out)...)
	var ran struct {
		MultiplyAdds uint64 `json:"multiply_adds"`
		Parts        backend.Spent
		Seconds      struct{ Compute, Write float64 }
	}
	if err := json.Unmarshal(read(t, out, "run.json"), &ran); err != nil {
		t.Fatal(err)
	}
	if sum := ran.Parts.MultiplyAdds(); ran.MultiplyAdds != sum || sum == 0 {
		t.Errorf("%d multiply-adds, and %d in all parts", ran.MultiplyAdds, sum)
	}
	seconds := 0.0
	for _, c := range ran.Parts {
		seconds += c.Seconds
	}
	if all := ran.Seconds.Compute + ran.Seconds.Write; seconds <= 0 || ran.Parts[backend.Writing].Seconds <= ran.Seconds.Write && args[0] == "sweep" {
		t.Errorf("%v s in parts of %v s; %v s for log and files, of which files took %v", seconds, all, ran.Parts[backend.Writing].Seconds, ran.Seconds.Write)
	}
	return ran.Parts
}

// TestArithmeticSays holds what the golden test says of a number that is another.
func TestArithmeticSays(t *testing.T) {
	for _, c := range []struct {
		want, got uint64
		says      string
	}{
		{7, 7, ""},
		{200, 203, "W1 steps grew by 3 multiply-adds, from 200 to 203 (1.5 %)"},
		{1 << 60, 1<<60 - 1, "W1 steps shrank by 1 multiply-adds, from 1152921504606846976 to 1152921504606846975 (8.67e-17 %)"},
		{0, 5, "W1 steps grew by 5 multiply-adds, from 0 to 5"},
	} {
		if got := grown("W1 steps", c.want, c.got); got != c.says {
			t.Errorf("%q, want %q", got, c.says)
		}
	}
}

// TestArithmeticAnywhere wants the same counts with any threads and kernel, of sweeps in which rows
// of different images share groups and in which they do not. The kernel in plain Go is left out.
func TestArithmeticAnywhere(t *testing.T) {
	best := cpu.Kernels()[0]
	type way struct{ threads, kernel string }
	ways := []way{{"1", best}, {"2", best}, {"3", best}, {"16", best}}
	for _, k := range cpu.Kernels()[1:] {
		if k != plainKernel {
			ways = append(ways, way{"2", k})
		}
	}
	for _, args := range []string{
		"sweep --n 27 --attack fgsm,bim,mifgsm --steps 2 --eps 0,0.05,0.1,0.15,0.2,0.25",
		"sweep --n 27 --attack fgsm,pgd:steps=2 --eps 0.1,0.3 --bounds 0,1",
		"sweep --model cnn --n 13 --attack bim --steps 2 --eps 0.1",
	} {
		var first backend.Spent
		for i, o := range ways {
			t.Setenv("ADVSWEEP_KERNEL", o.kernel)
			got := spentBy(t, append(strings.Fields(args), "--threads", o.threads)...)
			for p := range got {
				got[p].Seconds = 0
			}
			if i == 0 {
				first = got
			} else if got != first {
				t.Errorf("advsweep %s: %v with %s threads, kernel %q, want %v as with one", args, got, o.threads, o.kernel, first)
			}
		}
	}
}
