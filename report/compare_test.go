package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"image"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/record"

	"github.com/google/go-cmp/cmp"
)

// compared is a made-up comparison of 40 images under FGSM and noise; with models also what they
// say.
func compared(t *testing.T, models bool) *Compared {
	t.Helper()
	eps := []float64{0, 0.1, 0.2}
	build := func(shift int) *pipeline.Result {
		r := &pipeline.Result{N: 40, First: 500, Classes: 10, Eps: eps, Bounds: attack.Bounds{Hi: 1}}
		class := func(i, e, k int) int32 {
			if i*7%40 < 38-18*e+shift*e*(1+k) {
				return int32(i % 10)
			}
			return int32((i + 1 + shift) % 10)
		}
		for i := range r.N {
			r.Images = append(r.Images, pipeline.Clean{Label: int32(i % 10), Class: class(i, 0, 0)})
		}
		for k, a := range []attack.Attack{attack.FGSM(), attack.Noise(3)} {
			c := pipeline.Curve{Attack: a, Correct: make([]int, len(eps)), ZeroGradient: make([]int, len(eps))}
			for i := range r.N {
				for e := range eps {
					o := pipeline.Outcome{Class: class(i, e, k), Rounded: -1}
					if o.Class == int32(i%10) {
						c.Correct[e]++
					}
					c.Outcomes = append(c.Outcomes, o)
				}
			}
			r.Curves = append(r.Curves, c)
		}
		return r
	}
	found, err := pipeline.NewComparison(build(0), build(6))
	if err != nil {
		t.Fatal(err)
	}
	c := &Compared{Comparison: found, Left: []string{"eps that only old has: [0.5]"}}
	m := record.Manifest{Meta: record.Meta{Version: record.Version, Model: record.Model{Source: record.Source{Name: "m.safetensors", SHA256: strings.Repeat("ab", 32)}}, Data: record.Data{Images: record.Source{Name: "images", SHA256: "12"}, Labels: record.Source{Name: "labels", SHA256: "34"}, Offset: 500, N: 40, SHA256: "5678"},
		Seed: 3, Backend: "cpu", Device: "amd64 avx2", Precision: "float32"}, Arithmetic: "float32", Layers: "784-10"}
	other := m
	other.Precision, other.Arithmetic = "float64", "float64"
	c.A, c.B = Side{"float32", &m}, Side{"float64", &other}
	if models {
		c.Models = &pipeline.Models{
			Clean: pipeline.Spread{P50: 1e-7, P90: 2e-7, P99: 1.25e-6, Max: 3e-6}, Signs: pipeline.Signs{Differ: 3, Pixels: 31360, Images: 2}, Judged: true,
			Flips: []pipeline.Flip{
				{Attack: -1, Image: 501, A: 1, B: 2, Short: 1e-8, Bound: 2e-6, Explained: true},
				{Attack: 0, Eps: 0.1, Image: 502, A: 3, B: 2, Short: 0.25, Bound: 2e-6},
				{Attack: 0, Eps: 0.1, Image: 504, A: 3, B: 2, Short: math.Inf(1), Bound: math.NaN()},
			},
		}
		for i := range found.Pairs {
			c.Models.Own = append(c.Models.Own, &pipeline.Spread{P50: 1e-7, P90: 1e-6, P99: 0.125, Max: 2.5})
			c.Models.Same = append(c.Models.Same, &pipeline.Spread{P50: 1e-7, P90: 2e-7, P99: 3e-7, Max: 4e-7 * float64(i+1)})
			c.Models.SameFlips = append(c.Models.SameFlips, []int{0, 2, 0, 0, 0, 0}[i])
		}
	}
	return c
}

func TestComparedFiles(t *testing.T) {
	for name, models := range map[string]bool{"compare-models": true, "compare-runs": false} {
		c := compared(t, models)
		data, err := c.JSON()
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if bytes.Contains(data, []byte("avx2")) {
			t.Errorf("%s: the device is in the JSON", name)
		}
		golden(t, name+".json", data)
		golden(t, name+".csv", c.CSV())
		var b bytes.Buffer
		if err := c.Table(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", b.Bytes())
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(line); n > 81 && !strings.Contains(line, "sha256") {
				t.Errorf("%s: %d columns: %s", name, n-1, line)
			}
		}

		// The rows are the same numbers in both forms.
		rows, err := csv.NewReader(bytes.NewReader(c.CSV())).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 1+len(c.Pairs) {
			t.Fatalf("%s: %d lines, want %d", name, len(rows), 1+len(c.Pairs))
		}
		for i, p := range c.Pairs {
			got := v["rows"].([]any)[i].(map[string]any)
			for k, head := range rows[0] {
				value, ok := got[head]
				if text := strings.Trim(string(encode(t, value)), `"`); ok && text != rows[i+1][k] && !(text == "null" && rows[i+1][k] == "") && number(t, text) != number(t, rows[i+1][k]) {
					t.Errorf("%s: row %d: %s is %s in JSON, %s in CSV", name, i, head, text, rows[i+1][k])
				}
			}
			if int(got["correct_a"].(float64)) != c.Comparison.A.Curves[i/3].Correct[i%3] || int(got["flips"].(float64)) != len(p.Flips) {
				t.Errorf("%s: row %d: %v", name, i, got)
			}
		}
	}
}

func encode(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	var v float64
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}

func TestFlatLists(t *testing.T) {
	in := "{\n  \"a_images\": [\n    1,\n    22\n  ],\n  \"b_images\": [],\n  \"eps\": [\n    0\n  ],\n  \"c_images\": [\n    3\n  ]\n}\n"
	want := "{\n  \"a_images\": [1, 22],\n  \"b_images\": [],\n  \"eps\": [\n    0\n  ],\n  \"c_images\": [3]\n}\n"
	if diff := cmp.Diff(want, string(flatLists([]byte(in)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestComparedFigure(t *testing.T) {
	c := compared(t, true)
	data, err := c.PNG()
	img := decode(t, data, err)
	again, err := c.PNG()
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("the second PNG has other bytes (%v)", err)
	}
	if img.Bounds().Size() != (image.Point{1440, 960}) {
		t.Errorf("%v, want 1440 by 960", img.Bounds().Size())
	}
	// Each side of FGSM has a line of its own, and without colour they differ by more than a third
	// of black to white.
	var grey [2]float64
	for i, curve := range c.figure().lines[:3:3] {
		if i == 1 {
			continue // noise of a
		}
		if n := count(img, curve.color); n < 300 {
			t.Errorf("%s: %d pixels of its colour %v, want a line", curve.label, n, curve.color)
		}
		grey[i/2] = 0.299*float64(curve.color.R) + 0.587*float64(curve.color.G) + 0.114*float64(curve.color.B)
	}
	if d := grey[0] - grey[1]; !(d > 255.0/3) {
		t.Errorf("in grey the sides differ by %v of 255", d)
	}
	svg, err := c.SVG()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FGSM · float32", "FGSM · float64", "random ±eps · float64", "bands: 95 % (Wilson)"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("no %q in the SVG", want)
		}
	}
	c.B.Label = strings.Repeat("folder/", 20)
	if svg, err = c.SVG(); err != nil || !bytes.Contains(svg, []byte("FGSM · b<")) || !bytes.Contains(svg, []byte("a is float32, b is")) {
		t.Errorf("long labels: no short ones in the legend (%v)", err)
	}
}
