package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"image/color"
	"strconv"
	"strings"

	"advsweep/pipeline"
	"advsweep/stat"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The files of a run that has certificates, beside those of Names.
const (
	CertifiedName       = "certified.csv"
	CertifiedImagesName = "certified_images.csv"
)

// CertifiedNames lists these files.
func CertifiedNames() []string { return []string{CertifiedName, CertifiedImagesName} }

// A bracketRow is what is known at one eps. Its columns in files are bracketColumns.
type bracketRow struct {
	method    string
	eps       float64
	n         int
	certified Share
	pipeline.Bracket
}

// gap is the part of the images of which it is not known whether they are right.
func (b bracketRow) gap() float64 { return stat.Ratio(b.Unknown, b.n) }

// bracketColumns are the columns of certified.csv. Other programs read them: their order stays.
var bracketColumns = []struct {
	name  string
	value func(bracketRow) string
}{
	{"method", func(b bracketRow) string { return b.method }},
	{"eps", func(b bracketRow) string { return float(b.eps) }},
	{"n", func(b bracketRow) string { return strconv.Itoa(b.n) }},
	{"certified", func(b bracketRow) string { return strconv.Itoa(b.Certified) }},
	{"certified_accuracy", func(b bracketRow) string { return float(b.certified.Ratio) }},
	{"ci_low", func(b bracketRow) string { return float(b.certified.Low) }},
	{"ci_high", func(b bracketRow) string { return float(b.certified.High) }},
	{"right", func(b bracketRow) string { return strconv.Itoa(b.Right) }},
	{"right_accuracy", func(b bracketRow) string { return float(stat.Ratio(b.Right, b.n)) }},
	{"unknown", func(b bracketRow) string { return strconv.Itoa(b.Unknown) }},
	{"gap", func(b bracketRow) string { return float(b.gap()) }},
}

// bracketRows are the brackets of r, [E]; nil if nothing was certified.
func bracketRows(r *pipeline.Result) (rows []bracketRow) {
	for e, b := range r.Brackets() {
		rows = append(rows, bracketRow{r.Certified.Method, r.Eps[e], r.N, newShare(b.Certified, r.N), b})
	}
	return rows
}

// CertifiedCSV writes a row for each eps below one header line, each line ended by LF:
//
//	method             of the certificates
//	eps, n             the size of the ball, in L∞; the images
//	certified          images that are proven to be right at every point of the ball, with their share
//	                   and its 95 % interval (Wilson)
//	right              images that are right under every attack of the run at this eps and below
//	unknown            images of right that are not proven, and gap, their share
func CertifiedCSV(r *pipeline.Result) []byte {
	var head []string
	for _, c := range bracketColumns {
		head = append(head, c.name)
	}
	lines := [][]string{head}
	for _, row := range bracketRows(r) {
		var line []string
		for _, c := range bracketColumns {
			line = append(line, c.value(row))
		}
		lines = append(lines, line)
	}
	return asCSV(lines)
}

// CertifiedImagesCSV writes a row for each image: its index in the data set, its label, the class
// that the model gives it and the largest eps that was proven of it, empty if none was.
func CertifiedImagesCSV(r *pipeline.Result) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"index", "label", "clean", "certified_eps"}) // a bytes.Buffer takes every write
	for i, im := range r.Images {
		top := ""
		if eps := r.Certified.Eps[i]; eps >= 0 {
			top = float(eps)
		}
		_ = w.Write([]string{strconv.Itoa(r.First + i), strconv.Itoa(int(im.Label)), strconv.Itoa(int(im.Class)), top})
	}
	w.Flush()
	return b.Bytes()
}

// certifiedFiles are the files of CertifiedNames; none if nothing was certified.
func certifiedFiles(r *pipeline.Result) []File {
	if r.Certified == nil {
		return nil
	}
	return []File{{Name: CertifiedName, Data: CertifiedCSV(r)}, {Name: CertifiedImagesName, Data: CertifiedImagesCSV(r)}}
}

// A certifiedJSON is what curve.json says of certificates, each list [E].
type certifiedJSON struct {
	Method    string    `json:"method"`
	Certified []int     `json:"certified"`
	Right     []int     `json:"right"` // under every attack, at this eps and below
	Unknown   []int     `json:"unknown"`
	Gap       []float64 `json:"gap"`
}

// newCertifiedJSON is nil if nothing was certified.
func newCertifiedJSON(r *pipeline.Result) *certifiedJSON {
	if r.Certified == nil {
		return nil
	}
	j := &certifiedJSON{Method: r.Certified.Method}
	for _, b := range bracketRows(r) {
		j.Certified, j.Right = append(j.Certified, b.Certified), append(j.Right, b.Right)
		j.Unknown, j.Gap = append(j.Unknown, b.Unknown), append(j.Gap, b.gap())
	}
	return j
}

// writeCertified says the bracket for a terminal.
func writeCertified(b *strings.Builder, r *pipeline.Result) {
	rows := bracketRows(r)
	if rows == nil {
		return
	}
	fmt.Fprintf(b, "\nNo perturbation within eps fools from certified to attacked of %d images:\nproven by %s, and right under every attack up to that eps.\n", r.N, r.Certified.Method)
	columns := [][]string{append([]string{"eps"}, aligned(r.Eps)...), {"certified"}, {"attacked"}, {"unknown"}, {"gap in %"}}
	for _, row := range rows {
		for i, text := range []string{
			strconv.Itoa(row.Certified) + " " + percent(row.certified.Ratio) + " %", strconv.Itoa(row.Right) + " " + percent(stat.Ratio(row.Right, row.n)) + " %",
			strconv.Itoa(row.Unknown), percent(row.gap()),
		} {
			columns[i+1] = append(columns[i+1], text)
		}
	}
	writeColumns(b, columns)
	if n := len(r.Contradictions()); n > 0 {
		fmt.Fprintf(b, "Contradiction: %s certified and misread.\n", images(n))
	}
}

// certifiedCurve is the lower side of the bracket. Its band reaches up to the upper side.
func certifiedCurve(r *pipeline.Result) curve {
	c := curve{label: "certified (" + r.Certified.Method + ")", color: color.NRGBA{R: 90, G: 60, A: 255}, glyph: draw.SquareGlyph{}, dashes: []vg.Length{6, 2}, width: 1.5, radius: 2.5}
	for _, row := range bracketRows(r) {
		low := row.certified.Ratio
		c.points = append(c.points, plotter.XY{X: row.eps, Y: low})
		c.bands = append(c.bands, [2]float64{low, max(low, stat.Ratio(row.Right, row.n))})
	}
	if len(r.Eps) > maxMarkers {
		c.glyph = nil
	}
	return c
}

// certifiedSeries is certifiedCurve for a page; ok is false if nothing was certified.
func certifiedSeries(r *pipeline.Result, columns []int) (s series, ok bool) {
	rows := bracketRows(r)
	if rows == nil {
		return s, false
	}
	s = series{class: "sw d1", label: "certified (" + r.Certified.Method + ")", shape: len(r.Curves), tips: []string{}}
	for _, e := range columns {
		row := rows[e]
		low := row.certified.Ratio
		here := xy{row.eps, low}
		text := fmt.Sprintf("%s; %d unknown", counted(row.Certified, row.n), row.Unknown)
		s.line = append(s.line, here)
		s.band = append(s.band, [3]float64{row.eps, low, max(low, stat.Ratio(row.Right, row.n))})
		s.tips = append(s.tips, text)
		s.marks = append(s.marks, point{here, s.label + ", eps " + float(row.eps) + ": " + text})
	}
	return s, true
}

// bracketTable is the section of a page on certificates; nil if there are none.
func bracketTable(r *pipeline.Result, columns []int) *numbersContent {
	rows := bracketRows(r)
	if rows == nil {
		return nil
	}
	t := &numbersContent{
		Note: fmt.Sprintf("How many images no perturbation within eps fools lies between two numbers: those that are proven by %s, for the model in exact arithmetic, and those that are right under every attack of the run up to that eps. The fate of the others is unknown.",
			r.Certified.Method),
		Heads: []string{"eps", "certified", "95 % interval", "attacked", "unknown", "gap"},
	}
	for _, e := range columns {
		row := rows[e]
		t.Rows = append(t.Rows, []string{float(row.eps), fmt.Sprintf("%d, %s %%", row.Certified, percent(row.certified.Ratio)), percent(row.certified.Low) + "–" + percent(row.certified.High),
			fmt.Sprintf("%d, %s %%", row.Right, percent(stat.Ratio(row.Right, row.n))), strconv.Itoa(row.Unknown), percent(row.gap()) + " %"})
	}
	return t
}
