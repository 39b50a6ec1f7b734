package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"advsweep/internal/ref"
	"advsweep/model"
)

// Networks in forms that were once misread, refused or ended in a panic: testdata/cases. The sweep
// of the command gives the counts of PyTorch's float64, and onnxruntime's classes.
func TestCases(t *testing.T) {
	var all []struct {
		Name      string
		Data      string // "": of the same name
		Eps       []float64
		FGSM, BIM []int
		Refused   string
		Logits    []float64
	}
	if err := json.Unmarshal(read(t, "testdata", "cases", "cases.json"), &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("%d cases, want at least 50", len(all))
	}
	for i, c := range all {
		if testing.Short() && i%4 != 0 {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			path := filepath.Join("testdata", "cases", c.Name)
			if c.Eps == nil {
				m, err := model.Load(path + ".onnx")
				switch {
				case c.Refused == "" && err == nil:
					checkLogits(t, m, c.Logits)
				case c.Refused == "":
					t.Fatal(err)
				case err == nil || !strings.Contains(err.Error(), c.Refused):
					t.Errorf("error %v, want one that contains %q", err, c.Refused)
				}
				return
			}
			data := path
			if c.Data != "" {
				data = filepath.Join("testdata", "cases", c.Data)
			}
			var eps []string
			for _, e := range c.Eps {
				eps = append(eps, number(e))
			}
			out := t.TempDir()
			do(t, "sweep", "--model", path+".onnx", "--data", data+".npz", "--attack", "fgsm,bim:steps=3", "--eps", strings.Join(eps, ","),
				"--bounds", "0,1", "--precision", "float64", "--out", out, "--quiet")
			got := countsOf(t, filepath.Join(out, "curve.csv"))
			if !slices.Equal(got["1"], c.FGSM) {
				t.Errorf("FGSM %v, want %v", got["1"], c.FGSM)
			}
			if c.BIM != nil && !slices.Equal(got["3"], c.BIM) {
				t.Errorf("BIM %v, want %v", got["3"], c.BIM)
			}
		})
	}
}

// countsOf returns how many images are right at each eps of a curve.csv, by steps.
func countsOf(t *testing.T, path string) map[string][]int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	steps, correct := slices.Index(rows[0], "steps"), slices.Index(rows[0], "correct")
	all := make(map[string][]int)
	for _, r := range rows[1:] {
		n, err := strconv.Atoi(r[correct])
		if err != nil {
			t.Fatal(err)
		}
		all[r[steps]] = append(all[r[steps]], n)
	}
	return all
}

// checkLogits compares the logits of the image whose number k is (7k mod 33)/32, in the order of
// the file, with onnxruntime's, which computes in float32.
func checkLogits(t *testing.T, m *model.Model, want []float64) {
	t.Helper()
	x := make([]float64, m.Inputs())
	for k := range x {
		x[k] = float64(k*7%33) / 32
	}
	got, _ := ref.Forward(m, x)
	if len(got) != len(want) {
		t.Fatalf("%d logits, want %d", len(got), len(want))
	}
	top := 0.0
	for _, w := range want {
		top = max(top, math.Abs(w))
	}
	for k, w := range want {
		if !(math.Abs(got[k]-w) <= 1e-5*top) {
			t.Errorf("logit %d is %v, want %v", k, got[k], w)
		}
	}
}
