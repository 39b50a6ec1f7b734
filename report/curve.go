// Package report turns what pipeline found into what a person or a program reads: CSV, JSON, tables
// for a terminal, plots and pictures. It computes nothing but intervals and norms, and prints
// nothing by itself.
package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/stat"
)

// A Row is what one attack does at one eps. Its columns in files are rowColumns.
type Row struct {
	Attack string
	Steps  int
	Eps    float64
	Norm   string // of Eps: "linf", "l2"
	N      int
	Right  Share // of N images
	// ZeroGradient counts the images that were not attacked, and are right for that: see
	// pipeline.Curve.Unattacked.
	ZeroGradient int
	// Outcomes is of what became of each image; nil where that is not known.
	Outcomes *RowOutcomes
}

// A Share is a part of a count, with its 95 % interval by Wilson.
type Share struct {
	Count            int
	Ratio, Low, High float64
}

func newShare(k, n int) Share {
	lo, hi := stat.Wilson(k, n)
	return Share{k, stat.Ratio(k, n), lo, hi}
}

// A RowOutcomes is what a Row counts of the outcomes of images.
type RowOutcomes struct {
	Fooled  int    // images that are right as they are, and wrong now
	Success *Share // Fooled of the images that are right as they are; nil if there are none
	Within  int    // images that are right at every eps up to this one
	// Reached counts the images that are given the attack's target, or toward all other classes at
	// least one that a run went to; nil: it has none.
	Reached  *int
	Rounded  *int       // images that are right with pixels rounded to 8 bits; nil: not asked
	MeanNorm [3]float64 // of the perturbations of all images: L∞, L2, L0
	MeanL1   *float64   // nil where it was not measured: of an attack in another norm
	Passes   *float64   // up or down the network for an image: see pipeline.Curve.MeanPasses; nil: not known
}

// Rows lists the curves of r as rows, attack by attack, eps increasing.
func Rows(r *pipeline.Result) []Row {
	rows := make([]Row, 0, len(r.Curves)*len(r.Eps))
	for i := range r.Curves {
		rows = append(rows, curveRows(r, i)...)
	}
	return rows
}

// curveRows are the rows of curve i of r, [E].
func curveRows(r *pipeline.Result, i int) []Row {
	c := &r.Curves[i]
	rows := make([]Row, len(r.Eps))
	for e, eps := range r.Eps {
		rows[e] = Row{
			Attack: c.Attack.Name, Steps: c.Attack.Steps, Eps: eps, Norm: c.Attack.Norm.String(),
			N: r.N, Right: newShare(c.Correct[e], r.N), ZeroGradient: c.ZeroGradient[e],
		}
	}
	if c.Known() {
		outcomes := rowOutcomes(r, c)
		for e := range rows {
			rows[e].Outcomes = &outcomes[e]
		}
	}
	return rows
}

// rowOutcomes counts what became of the images under c at each eps, [E], in one pass over them.
func rowOutcomes(r *pipeline.Result, c *pipeline.Curve) []RowOutcomes {
	E := len(r.Eps)
	all, rounded, asked := make([]RowOutcomes, E), make([]int, E), make([]bool, E)
	reached := make([]int, E)
	for i := range r.Images {
		im := &r.Images[i]
		within := true
		target, aims := r.Target(c.Attack, i)
		for e := range all {
			if aims && c.Class(i, e) == target || c.Reached != nil && len(c.Reached[i*E+e]) > 0 {
				reached[e]++
			}
			if c.Class(i, e) != im.Label {
				within = false
				if im.Class == im.Label {
					all[e].Fooled++
				}
			}
			if within {
				all[e].Within++
			}
			right, known := c.RoundedRight(i, e, im.Label)
			if right {
				rounded[e]++
			}
			asked[e] = asked[e] || known
		}
	}
	passes, counted := c.MeanPasses()
	for e, m := range c.AllMeanNorms() {
		o := &all[e]
		if counted {
			o.Passes = &passes[e]
		}
		if c.Attack.Target.Aims() || c.Reached != nil {
			o.Reached = &reached[e]
		}
		if o.MeanNorm = [3]float64{m.Linf, m.L2, m.L0}; c.Attack.Norm == attack.L1 {
			o.MeanL1 = &m.L1
		}
		if asked[e] {
			o.Rounded = &rounded[e]
		}
		if r.Clean > 0 {
			success := newShare(o.Fooled, r.Clean)
			o.Success = &success
		}
	}
	return all
}

// A rowColumn is a column of curve.csv and a field of the rows of curve.json. Its value is a
// string, an int or a float64, or nil for what is not known.
type rowColumn struct {
	name  string
	value func(Row) any
}

// rowColumns are in the order of the files. Other programs read them: the first eight and their
// order stay as they are.
var rowColumns = []rowColumn{
	{"attack", func(r Row) any { return r.Attack }},
	{"steps", func(r Row) any { return r.Steps }},
	{"eps", func(r Row) any { return r.Eps }},
	{"n", func(r Row) any { return r.N }},
	{"correct", func(r Row) any { return r.Right.Count }},
	{"accuracy", func(r Row) any { return r.Right.Ratio }},
	{"ci_low", func(r Row) any { return r.Right.Low }},
	{"ci_high", func(r Row) any { return r.Right.High }},
	{"zero_gradient", func(r Row) any { return r.ZeroGradient }},
	{"norm", func(r Row) any { return r.Norm }},
	{"fooled", known(func(o *RowOutcomes) any { return o.Fooled })},
	{"success_rate", success(func(s *Share) float64 { return s.Ratio })},
	{"success_low", success(func(s *Share) float64 { return s.Low })},
	{"success_high", success(func(s *Share) float64 { return s.High })},
	{"within", known(func(o *RowOutcomes) any { return o.Within })},
	{"rounded_correct", known(func(o *RowOutcomes) any {
		if o.Rounded == nil {
			return nil
		}
		return *o.Rounded
	})},
	{"mean_linf", known(func(o *RowOutcomes) any { return o.MeanNorm[0] })},
	{"mean_l2", known(func(o *RowOutcomes) any { return o.MeanNorm[1] })},
	{"mean_l0", known(func(o *RowOutcomes) any { return o.MeanNorm[2] })},
	{"reached", known(func(o *RowOutcomes) any {
		if o.Reached == nil {
			return nil
		}
		return *o.Reached
	})},
	{"passes", known(func(o *RowOutcomes) any {
		if o.Passes == nil {
			return nil
		}
		return *o.Passes
	})},
	{"mean_l1", known(func(o *RowOutcomes) any {
		if o.MeanL1 == nil {
			return nil
		}
		return *o.MeanL1
	})},
}

// boundsAt is where curve.csv has the bounds, which curve.json has once.
const boundsAt = 9

// known is a column of outcomes, nil where there are none.
func known(value func(*RowOutcomes) any) func(Row) any {
	return func(r Row) any {
		if r.Outcomes == nil {
			return nil
		}
		return value(r.Outcomes)
	}
}

// success is a column of the success rate, nil where there is none.
func success(value func(*Share) float64) func(Row) any {
	return known(func(o *RowOutcomes) any {
		if o.Success == nil {
			return nil
		}
		return value(o.Success)
	})
}

// MarshalJSON writes r as an object with the names of rowColumns; null is for what is not known.
func (r Row) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // as record.Indented
	for i, c := range rowColumns {
		fmt.Fprintf(&b, "%s%q:", []string{",", "{"}[max(0, 1-i)], c.name)
		if err := enc.Encode(c.value(r)); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// CurveCSV writes the Rows of r below one header line, each line ended by LF. A float has
// the fewest digits that read back as the same float64; both bounds are empty
// if there are none.
func CurveCSV(r *pipeline.Result) []byte { return curveCSV(r, Rows(r)) }

// curveCSV is CurveCSV with rows, those of r.
func curveCSV(r *pipeline.Result, rows []Row) []byte {
	return asCSV(append([][]string{curveHead()}, curveLines(r, rows)...))
}

func curveHead() (names []string) {
	for _, c := range rowColumns {
		names = append(names, c.name)
	}
	return slices.Insert(names, boundsAt, "bounds_low", "bounds_high")
}

// curveLines are what stands below curveHead. rows are those of r.
func curveLines(r *pipeline.Result, rows []Row) (lines [][]string) {
	var lo, hi string
	if !r.Bounds.None() {
		lo, hi = float(r.Bounds.Lo), float(r.Bounds.Hi)
	}
	for _, row := range rows {
		line := make([]string, len(rowColumns))
		for i, c := range rowColumns {
			switch v := c.value(row).(type) {
			case nil: // stays empty
			case float64:
				line[i] = float(v)
			default:
				line[i] = fmt.Sprint(v)
			}
		}
		lines = append(lines, slices.Insert(line, boundsAt, lo, hi))
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
	Draws    int     `json:"draws,omitempty"` // of noise, for each gradient
	Sigma    float64 `json:"sigma,omitempty"` // of that noise
	// One of the two is there if the curve is known at every eps.
	Exact       *exactJSON       `json:"exact,omitempty"`
	MinimumNorm *minimumNormJSON `json:"minimum_norm,omitempty"`
	Stages      []stageJSON      `json:"stages,omitempty"` // of a staged attack, in their order
}

// stageJSON is a stage of a staged attack: how many images are right after it, at each eps.
type stageJSON struct {
	Name  string `json:"name"`
	Right []int  `json:"right"`
}

// addStages adds what is known of the stages of c, a curve of r, to j.
func (j *attackJSON) addStages(r *pipeline.Result, c *pipeline.Curve) {
	if !c.Attack.Staged() || !c.Known() {
		return
	}
	for _, s := range c.Stages(r.Images, r.Classes) {
		j.Stages = append(j.Stages, stageJSON{s.Attack.Label(), s.Right})
	}
}

func newAttackJSON(c pipeline.Curve, precision string) attackJSON {
	a := c.Attack
	j := attackJSON{Name: a.Name, Steps: a.Steps, Norm: a.Norm.String(), Start: a.Start}
	if a.Draws() {
		j.Seed = &a.Seed
	}
	if a.HasLoss() {
		j.Loss = a.Loss.String()
	}
	if a.HasStepSize() {
		j.StepSize = a.StepSize()
	}
	if a.Target != attack.Untargeted {
		j.Target = a.Target.String()
	}
	if a.Restartable() {
		j.Restarts = a.Starts()
	}
	if a.Momentum {
		j.Decay = a.Decay
	}
	j.Draws, j.Sigma = a.Noisy.Draws, a.Noisy.Sigma
	switch {
	case c.Exact == nil:
	case c.Exact.MinimumNorm:
		j.MinimumNorm = newMinimumNormJSON(c.Exact)
	default:
		j.Exact = newExactJSON(c.Exact, precision)
	}
	return j
}

// CurveJSON writes r as one indented object: the fields of m but the device, those of r, and "rows"
// with the names that CurveCSV uses. An attack whose curve is known at every eps has an object
// "exact" or "minimum_norm", with a jump [eps, correct] on each line. Equal runs give equal bytes.
func CurveJSON(m record.Meta, r *pipeline.Result) ([]byte, error) { return curveJSON(m, r, Rows(r)) }

// curveJSON is CurveJSON with rows, those of r.
func curveJSON(m record.Meta, r *pipeline.Result, rows []Row) ([]byte, error) {
	m.Device = ""
	attacks := make([]attackJSON, len(r.Curves))
	for i, c := range r.Curves {
		attacks[i] = newAttackJSON(c, m.Precision)
		attacks[i].addStages(r, &c)
	}
	zero := r.ZeroGradient()
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
		// Certified is left out where nothing was certified.
		Certified *certifiedJSON `json:"certified,omitempty"`
		Rows      []Row          `json:"rows"`
	}{
		m, attacks, append([]float64{}, r.Eps...), r.Bounds.String(), r.Classes, r.Clean, stat.Ratio(r.Clean, r.N), stat.Ratio(1, r.Classes),
		len(zero), zero, newCertifiedJSON(r), rows,
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
