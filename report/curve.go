// Package report turns what pipeline found into what a person or a program reads: CSV, JSON, tables
// for a terminal, plots and pictures. It computes nothing but intervals and norms, and prints
// nothing by itself.
package report

import (
	"bytes"
	"encoding/csv"
	"strconv"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/stat"
)

// A Row is the accuracy under one attack at one eps. Its JSON names are the
// columns of the CSV.
type Row struct {
	Attack       string  `json:"attack"`
	Steps        int     `json:"steps"`
	Eps          float64 `json:"eps"`
	N            int     `json:"n"`
	Correct      int     `json:"correct"`
	Accuracy     float64 `json:"accuracy"` // Correct/N
	CILow        float64 `json:"ci_low"`   // 95 %, by Wilson
	CIHigh       float64 `json:"ci_high"`
	ZeroGradient int     `json:"zero_gradient"` // images that were not attacked, or not to the end
	// What follows is of what became of each image; null where that was not asked.
	Norm string `json:"norm"` // of eps: "linf", "l2"
	// images that are right as they are, and wrong now
	Fooled *int `json:"fooled"`
	// Fooled of those that are right as they are; null if there are none
	SuccessRate *float64 `json:"success_rate"`
	SuccessLow  *float64 `json:"success_low"`  // 95 %, by Wilson
	SuccessHigh *float64 `json:"success_high"` //
	Within      *int     `json:"within"`       // right at every eps up to this one
	// right once pixels are rounded to 8 bits within the ball
	Rounded *int     `json:"rounded_correct"`
	Linf    *float64 `json:"mean_linf"` // of the perturbation, over all images
	L2      *float64 `json:"mean_l2"`
	L0      *float64 `json:"mean_l0"`
}

// Rows lists the curves of r as rows, attack by attack, eps increasing.
func Rows(r *pipeline.Result) []Row {
	rows := make([]Row, 0, len(r.Curves)*len(r.Eps))
	for _, c := range r.Curves {
		within := c.Within(r.Images)
		for e, eps := range r.Eps {
			lo, hi := stat.Wilson(c.Correct[e], r.N)
			row := Row{
				Attack: c.Attack.Name, Steps: c.Attack.Steps, Eps: eps,
				N: r.N, Correct: c.Correct[e], Accuracy: stat.Ratio(c.Correct[e], r.N),
				CILow: lo, CIHigh: hi, ZeroGradient: c.ZeroGradient[e], Norm: c.Attack.Norm.String(),
			}
			if c.Outcomes != nil {
				row.Within = &within[e]
				row.outcomes(r, &c, e)
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// outcomes fills what follows Norm of c at eps e.
func (row *Row) outcomes(r *pipeline.Result, c *pipeline.Curve, e int) {
	fooled, rounded, asked := 0, 0, false
	var linf, l2, l0 float64
	for i, im := range r.Images {
		o := &c.Outcomes[i*len(r.Eps)+e]
		if im.Class == im.Label && o.Class != im.Label {
			fooled++
		}
		asked = asked || o.Rounded >= 0
		if o.Rounded == im.Label {
			rounded++
		}
		linf, l2, l0 = linf+float64(o.Linf), l2+float64(o.L2), l0+float64(o.L0)
	}
	n := float64(r.N)
	linf, l2, l0 = linf/n, l2/n, l0/n
	row.Fooled, row.Linf, row.L2, row.L0 = &fooled, &linf, &l2, &l0
	if asked {
		row.Rounded = &rounded
	}
	if r.Clean > 0 {
		rate := stat.Ratio(fooled, r.Clean)
		lo, hi := stat.Wilson(fooled, r.Clean)
		row.SuccessRate, row.SuccessLow, row.SuccessHigh = &rate, &lo, &hi
	}
}

// CurveCSV writes the Rows of r below one header line, each line ended by LF. A float has
// the fewest digits that read back as the same float64; both bounds are empty
// if there are none. Other programs read this: the first eight columns and their order stay as
// they are.
func CurveCSV(r *pipeline.Result) []byte {
	return asCSV(append([][]string{curveHead}, curveLines(r)...))
}

var curveHead = []string{"attack", "steps", "eps", "n", "correct", "accuracy", "ci_low", "ci_high", "zero_gradient", "bounds_low", "bounds_high",
	"norm", "fooled", "success_rate", "success_low", "success_high", "within", "rounded_correct", "mean_linf", "mean_l2", "mean_l0"}

// curveLines are what stands below curveHead.
func curveLines(r *pipeline.Result) (lines [][]string) {
	var lo, hi string
	if !r.Bounds.None() {
		lo, hi = float(r.Bounds.Lo), float(r.Bounds.Hi)
	}
	for _, r := range Rows(r) {
		lines = append(lines, []string{
			r.Attack, strconv.Itoa(r.Steps), float(r.Eps),
			strconv.Itoa(r.N), strconv.Itoa(r.Correct), float(r.Accuracy),
			float(r.CILow), float(r.CIHigh), strconv.Itoa(r.ZeroGradient), lo, hi,
			r.Norm, optional(r.Fooled, strconv.Itoa), optional(r.SuccessRate, float), optional(r.SuccessLow, float), optional(r.SuccessHigh, float),
			optional(r.Within, strconv.Itoa), optional(r.Rounded, strconv.Itoa), optional(r.Linf, float), optional(r.L2, float), optional(r.L0, float),
		})
	}
	return lines
}

func asCSV(lines [][]string) []byte {
	var b bytes.Buffer
	_ = csv.NewWriter(&b).WriteAll(lines) // a bytes.Buffer takes every write, so the error is nil
	return b.Bytes()
}

// optional is empty for nothing.
func optional[T any](v *T, text func(T) string) string {
	if v == nil {
		return ""
	}
	return text(*v)
}

func float(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// attackJSON is an attack as a result file names it.
type attackJSON struct {
	Name     string  `json:"name"`
	Steps    int     `json:"steps"`
	Seed     *uint64 `json:"seed,omitempty"` // of random draws; 0 is a seed too, so a pointer
	Norm     string  `json:"norm"`
	Loss     string  `json:"loss,omitempty"`
	StepSize string  `json:"step_size,omitempty"`
	Start    bool    `json:"random_start,omitempty"`
	Restarts int     `json:"restarts,omitempty"`
	Decay    float64 `json:"decay,omitempty"`
	Target   string  `json:"target,omitempty"`
	// Exact is there if the curve is known at every eps.
	Exact *exactJSON `json:"exact,omitempty"`
}

func newAttackJSON(c pipeline.Curve, precision string) attackJSON {
	a := c.Attack
	j := attackJSON{Name: a.Name, Steps: a.Steps, Norm: a.Norm.String(), Start: a.Start}
	if a.Direction != attack.Gradient || a.Start {
		j.Seed = &a.Seed
	}
	if a.Direction == attack.Gradient && !a.Composite() {
		j.Loss = a.Loss.String()
		if j.StepSize = a.StepSize(); a.Target != attack.Untargeted {
			j.Target = a.Target.String()
		}
	}
	if a.Start {
		j.Restarts = a.Runs()
	}
	if a.Momentum {
		j.Decay = a.Decay
	}
	if c.Exact != nil {
		j.Exact = newExactJSON(c.Exact, precision)
	}
	return j
}

// CurveJSON writes r as one indented object: the fields of m but the device, those of r, and "rows"
// with the names that CurveCSV uses. An attack whose curve is known at every eps has an object
// "exact", with a jump [eps, correct] on each line. Equal runs give equal bytes.
func CurveJSON(m record.Meta, r *pipeline.Result) ([]byte, error) {
	m.Device = ""
	attacks := make([]attackJSON, len(r.Curves))
	for i, c := range r.Curves {
		attacks[i] = newAttackJSON(c, m.Precision)
	}
	data, err := record.Indented("report: curve", struct {
		record.Meta
		Attacks       []attackJSON `json:"attacks"`
		Eps           []float64    `json:"eps"`
		Bounds        string       `json:"bounds"`
		Classes       int          `json:"classes"`
		CleanCorrect  int          `json:"clean_correct"`
		CleanAccuracy float64      `json:"clean_accuracy"`
		Chance        float64      `json:"chance"`
		ZeroImages    int          `json:"zero_gradient_images"`
		ZeroIndices   []int        `json:"zero_gradient_indices"`
		Rows          []Row        `json:"rows"`
	}{
		m, attacks, append([]float64{}, r.Eps...), r.Bounds.String(), r.Classes, r.Clean, stat.Ratio(r.Clean, r.N), stat.Ratio(1, r.Classes),
		len(r.ZeroGradient()), r.ZeroGradient(), Rows(r),
	})
	return onOneLine(data), err
}

// predictionJSON is a prediction as attack.json names it.
type predictionJSON struct {
	Class         int       `json:"class"`
	Logits        []float64 `json:"logits"`
	Probabilities []float64 `json:"probabilities"`
}

// AttackJSON writes e as one indented object: first what other programs rely on,
// "index" to "adversarial", then what the perturbation did to the pixels, the
// fields of m, and last "seconds".
func AttackJSON(m record.Meta, e *pipeline.Example, s record.Seconds) ([]byte, error) {
	d, err := newDifference(e)
	if err != nil {
		return nil, err
	}
	type span struct {
		Min float64 `json:"min"`
		Max float64 `json:"max"`
	}
	type pixelSpans struct {
		Clean     span `json:"clean"`
		Perturbed span `json:"perturbed"`
	}
	type norms struct {
		LInf float64 `json:"linf"`
		L2   float64 `json:"l2"`
	}
	return record.Indented("report: attack", struct {
		Index        int            `json:"index"`
		Label        int            `json:"label"`
		Attack       string         `json:"attack"`
		Steps        int            `json:"steps"`
		Eps          float64        `json:"eps"`
		Bounds       string         `json:"bounds"`
		Fooled       bool           `json:"fooled"`
		Original     predictionJSON `json:"original"`
		Adversarial  predictionJSON `json:"adversarial"`
		ZeroGradient bool           `json:"zero_gradient"`
		Pixels       pixelSpans     `json:"pixels"`
		Perturbation norms          `json:"perturbation"`
		record.Meta
		Seconds record.Seconds `json:"seconds"`
	}{
		e.Index, e.Label, e.Attack.Name, e.Attack.Steps, e.Eps, e.Bounds.String(), e.Fooled(),
		predictionJSON(e.Original), predictionJSON(e.Adversarial), e.ZeroGradient,
		pixelSpans{span{d.clean.lo, d.clean.hi}, span{d.perturbed.lo, d.perturbed.hi}},
		norms{d.linf, d.l2},
		m, s,
	})
}
