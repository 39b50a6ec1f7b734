package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/record"

	"github.com/google/go-cmp/cmp"
	"gorgonia.org/tensor"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file in testdata, made by this package: go test -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// result is a made-up sweep of 1000 images under FGSM, BIM and noise.
func result(eps ...float64) *pipeline.Result {
	r := &pipeline.Result{N: 1000, Clean: 985, Classes: 10, Eps: eps}
	for i, a := range []attack.Attack{attack.FGSM(), attack.BIM(5), attack.Noise(7)} {
		c := pipeline.Curve{Attack: a}
		for _, e := range eps {
			rate := []float64{300, 700, 0.5}[i] // of decay
			c.Correct = append(c.Correct, int(985*math.Exp(-rate*e*e)))
			c.ZeroGradient = append(c.ZeroGradient, (2-i)*int(math.Ceil(e)))
		}
		if c.Attack.Direction == attack.Gradient {
			c.ZeroImages = []int{17, 503}
		}
		r.Curves = append(r.Curves, c)
	}
	return r
}

// grid is n values from 0 to top.
func grid(n int, top float64) []float64 {
	eps := make([]float64, n)
	for i := range eps {
		eps[i] = top * float64(i) / float64(n-1)
	}
	return eps
}

// example is FGSM on the 2 by 2 image (0, 1; 0.5, 0.25).
func example() *pipeline.Example {
	return &pipeline.Example{
		Index: 3, Label: 1, Attack: attack.FGSM(), Eps: 0.25,
		Original:    pipeline.Prediction{Class: 1, Logits: []float64{-20, 8.5, 0}, Probabilities: []float64{4.2e-13, 0.9997966, 2.034e-4}},
		Adversarial: pipeline.Prediction{Class: 2, Logits: []float64{-3, 1, 18}, Probabilities: []float64{7.58e-10, 4.14e-8, 0.9999999578}},
		Clean:       tensor.New(tensor.WithShape(2, 2), tensor.WithBacking([]float64{0, 1, 0.5, 0.25})),
		Perturbed:   tensor.New(tensor.WithShape(2, 2), tensor.WithBacking([]float64{-0.25, 1.25, 0.5, 0})),
	}
}

func meta() record.Meta {
	return record.Meta{
		Version: "v0.0.0-test",
		Model:   record.Model{Source: record.Source{Name: "mlp & more.safetensors", SHA256: "aa"}},
		Data:    record.Data{Images: record.Source{Name: "images", SHA256: "bb"}, Labels: record.Source{Name: "labels", SHA256: "cc"}, Offset: 5, N: 1000, SHA256: "dd"},
		Seed:    7, Backend: "cpu", Device: "2 cores", Precision: "float32",
	}
}

func TestCurveFiles(t *testing.T) {
	r := result(0, 8.0/255, 0.1)
	golden(t, "curve.csv", CurveCSV(r))
	data, err := CurveJSON(meta(), r)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "curve.json", data)

	empty, err := CurveJSON(meta(), &pipeline.Result{Classes: 10})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(empty), "null") {
		t.Errorf("an empty result has null in its JSON, want [] and 0:\n%s", empty)
	}
}

// The keys are a contract with other programs; the golden files could be updated.
func TestKeys(t *testing.T) {
	curve, err := CurveJSON(meta(), result(0, 0.1))
	if err != nil {
		t.Fatal(err)
	}
	example, err := AttackJSON(meta(), example(), record.Seconds{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		data []byte
		keys string
	}{
		{"curve", curve, "version model model.sha256 data.images.sha256 data.labels.name data.offset data.n data.sha256 " +
			"attacks attacks.name attacks.steps eps bounds seed backend precision classes clean_correct clean_accuracy " +
			"zero_gradient_images zero_gradient_indices rows.attack rows.steps rows.eps rows.n rows.correct rows.accuracy " +
			"rows.ci_low rows.ci_high rows.zero_gradient rows.norm rows.within rows.fooled rows.success_rate rows.rounded_correct rows.mean_l2 attacks.norm chance"},
		{"attack", example, "index label attack steps eps bounds fooled original.class original.logits original.probabilities " +
			"adversarial.class adversarial.logits adversarial.probabilities zero_gradient pixels.clean.min pixels.perturbed.max " +
			"perturbation.linf perturbation.l2 model.sha256 seconds.load seconds.compute seconds.write"},
	} {
		var v any
		if err := json.Unmarshal(c.data, &v); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for path := range strings.FieldsSeq(c.keys) {
			at := v
			for key := range strings.SplitSeq(path, ".") {
				if list, ok := at.([]any); ok && len(list) > 0 {
					at = list[0]
				}
				object, _ := at.(map[string]any)
				var ok bool
				if at, ok = object[key]; !ok {
					t.Errorf("%s: no key %s, want %s", c.name, key, path)
				}
			}
		}
	}
}

func TestAttackJSON(t *testing.T) {
	data, err := AttackJSON(meta(), example(), record.Seconds{Load: 0.25, Compute: 1.5, Write: 0.125})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "attack.json", data)

	e := example()
	e.Original.Logits[0] = math.NaN()
	if _, err := AttackJSON(meta(), e, record.Seconds{}); err == nil || !strings.HasPrefix(err.Error(), "report: ") {
		t.Errorf("NaN logit: error %v, want one of report", err)
	}
}

func TestTables(t *testing.T) {
	var b bytes.Buffer
	if err := CurveTable(&b, result(grid(5, 0.1)...)); err != nil {
		t.Fatal(err)
	}
	golden(t, "curve.txt", b.Bytes())
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(line) - 1; n > 80 {
			t.Errorf("line of %d columns, want at most 80: %q", n, line)
		}
	}
	b.Reset()
	if err := PredictionTable(&b, example()); err != nil {
		t.Fatal(err)
	}
	golden(t, "prediction.txt", b.Bytes())
}

func TestAligned(t *testing.T) {
	for _, c := range []struct {
		eps  []float64
		want []string
	}{
		{[]float64{0, 0.025, 0.5}, []string{"0.000", "0.025", "0.500"}},
		{[]float64{0, 8.0 / 255, 1}, []string{"0.00000", "0.03137", "1.00000"}},
		{[]float64{0.100001, 0.100002}, []string{"0.100001", "0.100002"}},
		{[]float64{0, 1e-7, 100}, []string{"0", "1e-07", "100"}},
		{[]float64{1, 2, 100}, []string{"1", "2", "100"}},
		{nil, []string{}},
	} {
		if diff := cmp.Diff(c.want, aligned(c.eps)); diff != "" {
			t.Errorf("aligned(%v) (-want +got):\n%s", c.eps, diff)
		}
	}
}

func TestProbability(t *testing.T) {
	for _, c := range []struct {
		p    float64
		want string
	}{
		{0, "0.000000"}, {1e-12, "1.00e-12"}, {9.9e-5, "9.90e-05"}, {0.5, "0.500000"},
		{0.9999994, "0.999999"}, {1 - 1e-9, ">0.999999"}, {1, "1.000000"},
	} {
		if got := probability(c.p); got != c.want {
			t.Errorf("probability(%v) = %q, want %q", c.p, got, c.want)
		}
	}
}

func decode(t *testing.T, data []byte, err error) image.Image {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// count counts the pixels of colour c, give or take rounding.
func count(img image.Image, c color.Color) (n int) {
	near := func(a, b uint32) bool { return max(a, b)-min(a, b) <= 2*0x101 }
	r, g, b, _ := c.RGBA()
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			if r1, g1, b1, _ := img.At(x, y).RGBA(); near(r, r1) && near(g, g1) && near(b, b1) {
				n++
			}
		}
	}
	return n
}

func TestPicture(t *testing.T) {
	data, err := Picture(example())
	img := decode(t, data, err)
	if again, _ := Picture(example()); !bytes.Equal(data, again) {
		t.Error("the second picture has other bytes than the first")
	}
	black, white := color.RGBA{A: 255}, color.RGBA{R: 255, G: 255, B: 255, A: 255}
	blue, red := color.RGBA{R: 33, G: 102, B: 172, A: 255}, color.RGBA{R: 178, G: 24, B: 43, A: 255}
	violet, orange := color.RGBA{R: 124, G: 44, B: 205, A: 255}, color.RGBA{R: 235, G: 110, A: 255}
	grey := func(v uint8) color.RGBA { return color.RGBA{R: v, G: v, B: v, A: 255} }
	for panel, want := range [3][4]color.RGBA{
		{black, white, grey(128), grey(64)},
		{blue, red, white, blue},
		{violet, orange, grey(128), black},
	} {
		for i, c := range want {
			// 2 pixels in about 392: the middle of each.
			x := margin + panel*(panelSide+panelGap) + panelSide/4 + i%2*panelSide/2
			y := margin + 122 + panelSide/4 + i/2*panelSide/2
			if got := color.RGBAModel.Convert(img.At(x, y)); got != c {
				t.Errorf("panel %d, pixel %d: colour %v, want %v", panel, i, got, c)
			}
		}
	}
	if got, want := img.Bounds().Dx(), 2*margin+3*panelSide+2*panelGap; got != want {
		t.Errorf("width %d, want %d", got, want)
	}

	e := example()
	e.Bounds = attack.Bounds{Lo: 0, Hi: 1}
	e.Perturbed = tensor.New(tensor.WithShape(2, 2), tensor.WithBacking([]float64{0, 1, 0.5, 0}))
	data, err = Picture(e)
	img = decode(t, data, err)
	if v, o := count(img, violet), count(img, orange); v != 0 || o != 0 {
		t.Errorf("no pixel is out of [0, 1], but %d are violet and %d orange, want none", v, o)
	}
}

func TestPictureShapes(t *testing.T) {
	for _, c := range []struct {
		shape []int
		h, w  int
	}{
		{[]int{28, 28}, 28, 28},
		{[]int{32, 20}, 32, 20},
		{[]int{1, 10}, 1, 10},
		{[]int{1, 28, 28}, 28, 28},
		{[]int{28, 28, 1}, 28, 28},
		{[]int{3, 8, 9}, 24, 9},
		{[]int{224, 224}, 224, 224},
		{[]int{784}, 28, 28},
		{[]int{10}, 1, 10},
		{[]int{1}, 1, 1},
		{[]int{150}, 12, 13},
	} {
		e := example()
		n := tensor.Shape(c.shape).TotalSize()
		e.Clean = tensor.New(tensor.WithShape(c.shape...), tensor.WithBacking(make([]float64, n)))
		e.Perturbed = tensor.New(tensor.WithShape(c.shape...), tensor.WithBacking(grid(n+1, 0.25)[1:]))
		p, err := newPixels(e.Clean)
		if err != nil || p.h != c.h || p.w != c.w {
			t.Errorf("shape %v: %d by %d, error %v, want %d by %d", c.shape, p.h, p.w, err, c.h, c.w)
			continue
		}
		data, err := Picture(e)
		if img := decode(t, data, err); img.Bounds().Dx() < 1200 || img.Bounds().Dx() > 1500 {
			t.Errorf("shape %v: picture of width %d, want about 1300", c.shape, img.Bounds().Dx())
		}
	}
}

func TestPictureErrors(t *testing.T) {
	whole := tensor.New(tensor.WithShape(2, 4), tensor.WithBacking(make([]float64, 8)))
	view, err := whole.Slice(nil, tensor.S(1, 3))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		spoil func(e *pipeline.Example)
		want  string
	}{
		{"nil", func(e *pipeline.Example) { e.Clean = nil }, "nil"},
		{"float32", func(e *pipeline.Example) {
			e.Clean = tensor.New(tensor.WithShape(2, 2), tensor.WithBacking(make([]float32, 4)))
		}, "want float64"},
		{"view", func(e *pipeline.Example) { e.Clean = view.(*tensor.Dense) }, "view"},
		{"NaN", func(e *pipeline.Example) { e.Perturbed.Set(2, math.NaN()) }, "pixel 2 of the image is NaN"},
		{"shapes", func(e *pipeline.Example) { e.Perturbed = whole }, "(2, 4), want (2, 2)"},
	} {
		e := example()
		c.spoil(e)
		if _, err := Picture(e); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// TestWorstOf: tables and the page say what the worst of all is the worst of, controls left out,
// and nothing where there is none.
func TestWorstOf(t *testing.T) {
	r := swept(0, 0.1)
	table := func() string {
		var b bytes.Buffer
		if err := CurveTable(&b, r); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if s := table(); strings.Contains(s, "the worst of") {
		t.Errorf("no worst was asked for:\n%s", s)
	}
	worst := r.Curves[1]
	worst.Attack = attack.Worst()
	r.Curves = append(r.Curves, worst)
	const want = "of each image at each eps the worst of FGSM; BIM, k = 5"
	if s := table(); !strings.Contains(s, "\nworst of all: "+want+".\n") {
		t.Errorf("no %q in\n%s", want, s)
	}
	p := Page{Result: r, Manifest: &record.Manifest{}}
	if got := p.attackRow(len(r.Curves) - 1).Facts; got[len(got)-1] != (fact{"what", want}) {
		t.Errorf("the page says %q, want %q", got, want)
	}
	for range 5 { // many of them
		r.Curves = append(r.Curves[:1:1], r.Curves...)
	}
	for line := range strings.Lines(table()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
