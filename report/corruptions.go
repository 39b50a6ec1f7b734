package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"advsweep/corrupt"
	"advsweep/internal/plain"
	"advsweep/record"
)

// CorruptionNames lists the files of Corruptions. The last is of a spatial grid.
var CorruptionNames = []string{"corruptions.csv", "corruptions.json", "spatial.csv"}

// OpenCorruptions opens a folder for the files of Corruptions. Without a grid Write removes that of
// an earlier one. The errors are those of OpenFolder.
func OpenCorruptions(dir string, grid bool) (*Folder, error) {
	if grid {
		return OpenFolder(dir, CorruptionNames...)
	}
	folder, err := OpenFolder(dir, CorruptionNames[:2]...)
	if err != nil {
		return nil, err
	}
	return folder, folder.Outdated(CorruptionNames[2:]...)
}

// Corruptions is what package corrupt found of a model, for a person or a program to read.
type Corruptions struct {
	Meta record.Meta // without images where there were no clean ones
	// Folder is the name of the folder of published arrays; "" of corruptions that were made here.
	Folder string
	*corrupt.Result
}

// countedJSON is a count with its interval. The accuracy is correct/n, and of a mean
// correct/answers: n images were asked several times.
type countedJSON struct {
	N        int     `json:"n"`
	Correct  int     `json:"correct"`
	Accuracy float64 `json:"accuracy"`
	Low      float64 `json:"ci_low"`
	High     float64 `json:"ci_high"`
}

func countJSON(c corrupt.Count) countedJSON {
	lo, hi := c.Interval()
	return countedJSON{c.N, c.Right, c.Accuracy(), lo, hi}
}

type meanJSON struct {
	countedJSON
	Answers int `json:"answers"`
}

func meanOf(m corrupt.Mean) meanJSON {
	lo, hi := m.Interval()
	return meanJSON{countedJSON{m.N, m.Right, m.Accuracy(), lo, hi}, m.Asked()}
}

type scoreJSON struct {
	Corruption string `json:"corruption"`
	Severity   *int   `json:"severity"` // null: it has none
	countedJSON
	Extra bool `json:"extra,omitempty"` // left out of the mean
}

type transformationJSON struct {
	Rotation float64 `json:"rotation"`
	Right    float64 `json:"right"`
	Down     float64 `json:"down"`
	countedJSON
}

type spatialJSON struct {
	Rotations int     `json:"rotations"`
	Degrees   float64 `json:"degrees"`
	Shifts    int     `json:"shifts"`
	Pixels    float64 `json:"pixels"`

	Worst countedJSON          `json:"worst"`
	Mean  meanJSON             `json:"mean"`
	Most  transformationJSON   `json:"most_fooling"`
	Each  []transformationJSON `json:"transformations"`
}

type arrayJSON struct {
	Corruption string        `json:"corruption"`
	Images     record.Source `json:"images"`
	Labels     record.Source `json:"labels"`
}

func (c *Corruptions) scores() []scoreJSON {
	all := []scoreJSON{}
	for _, s := range c.Scores {
		one := scoreJSON{Corruption: s.Corruption, countedJSON: countJSON(s.Count), Extra: s.Extra}
		if s.Severity > 0 {
			one.Severity = &s.Severity
		}
		all = append(all, one)
	}
	return all
}

func transformations(s *corrupt.SpatialResult) []transformationJSON {
	var all []transformationJSON
	for i, t := range s.Transformations {
		all = append(all, transformationJSON{t.Rotation, t.Right, t.Down, countJSON(s.Each[i])})
	}
	return all
}

// JSON is corruptions.json: what was computed with what, the clean accuracy, the mean corruption
// accuracy, the spatial grid and the rows of the CSV files. What was not asked for is null.
func (c *Corruptions) JSON() ([]byte, error) {
	out := struct {
		record.Meta
		Data    *record.Data `json:"data"` // instead of Meta's
		Folder  string       `json:"folder,omitempty"`
		Arrays  []arrayJSON  `json:"arrays,omitempty"`
		Clean   *countedJSON `json:"clean"`
		Mean    *meanJSON    `json:"mean_corruption"`
		Spatial *spatialJSON `json:"spatial"`
		Rows    []scoreJSON  `json:"rows"`
	}{Meta: c.Meta, Folder: c.Folder, Rows: c.scores()}
	if c.Meta.Data.N > 0 {
		out.Data = &c.Meta.Data
	}
	for _, f := range c.Result.Files {
		out.Arrays = append(out.Arrays, arrayJSON{f.Corruption, record.Source(f.Images), record.Source(f.Labels)})
	}
	if c.Clean.N > 0 {
		clean := countJSON(c.Clean)
		out.Clean = &clean
	}
	if m := c.Mean(); m.Times > 0 {
		mean := meanOf(m)
		out.Mean = &mean
	}
	if s := c.Spatial; s != nil {
		each := transformations(s)
		out.Spatial = &spatialJSON{s.Grid.Rotations, s.Grid.Degrees, s.Grid.Shifts, s.Grid.Pixels, countJSON(s.Worst), meanOf(s.Mean()), each[s.Most()], each}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(out)
	return b.Bytes(), err
}

// CSV is corruptions.csv: a row for the clean images, for each corruption at each severity, and for
// the worst of the spatial grid. The severity is empty where there is none.
func (c *Corruptions) CSV() []byte {
	lines := [][]string{{"corruption", "severity", "n", "correct", "accuracy", "ci_low", "ci_high"}}
	add := func(name, severity string, n corrupt.Count) {
		lines = append(lines, append([]string{name, severity}, countCells(n)...))
	}
	if c.Clean.N > 0 {
		add("clean", "", c.Clean)
	}
	for _, s := range c.Scores {
		severity := ""
		if s.Severity > 0 {
			severity = strconv.Itoa(s.Severity)
		}
		add(s.Corruption, severity, s.Count)
	}
	if c.Spatial != nil {
		add(corrupt.Spatial, "", c.Spatial.Worst)
	}
	return asCSV(lines)
}

// SpatialCSV is spatial.csv: a row for each transformation of the grid, rotations in degrees
// counterclockwise, shifts in pixels. It is nil without a grid.
func (c *Corruptions) SpatialCSV() []byte {
	if c.Spatial == nil {
		return nil
	}
	lines := [][]string{{"rotation", "right", "down", "n", "correct", "accuracy", "ci_low", "ci_high"}}
	for i, t := range c.Spatial.Transformations {
		lines = append(lines, append([]string{float(t.Rotation), float(t.Right), float(t.Down)}, countCells(c.Spatial.Each[i])...))
	}
	return asCSV(lines)
}

// countCells are those of c from n on.
func countCells(c corrupt.Count) []string {
	lo, hi := c.Interval()
	return []string{strconv.Itoa(c.N), strconv.Itoa(c.Right), float(c.Accuracy()), float(lo), float(hi)}
}

// Files makes the files of c, in the order of CorruptionNames; without a grid not the last.
func (c *Corruptions) Files() ([]File, error) {
	json, err := c.JSON()
	if err != nil {
		return nil, fmt.Errorf("report: corruptions: %w", err)
	}
	files := []File{{Name: CorruptionNames[0], Data: c.CSV()}, {Name: CorruptionNames[1], Data: json}}
	if c.Spatial != nil {
		files = append(files, File{Name: CorruptionNames[2], Data: c.SpatialCSV()})
	}
	return files, nil
}

// Table writes c for a terminal: the answers first, then corruptions down and severities across.
func (c *Corruptions) Table(w io.Writer) error {
	var b strings.Builder
	columns := [4][]string{}
	add := func(what string, right, of int, share, lo, hi float64, remark string) {
		for i, s := range []string{what, fmt.Sprintf("%d/%d", right, of), fmt.Sprintf("%s %% (%s)", percent(share), span(lo, hi)), remark} {
			columns[i] = append(columns[i], s)
		}
	}
	count := func(what string, n corrupt.Count, remark string) {
		lo, hi := n.Interval()
		add(what, n.Right, n.N, n.Accuracy(), lo, hi, remark)
	}
	mean := func(what string, m corrupt.Mean, remark string) {
		lo, hi := m.Interval()
		add(what, m.Right, m.Asked(), m.Accuracy(), lo, hi, remark)
	}
	if c.Clean.N > 0 {
		count("clean accuracy", c.Clean, "")
	}
	if m := c.Mean(); m.Times > 0 {
		mean("mean corruption accuracy", m, c.over())
	}
	if s := c.Spatial; s != nil {
		count("worst spatial accuracy", s.Worst, fmt.Sprintf("under all %d transformations", len(s.Each)))
		mean("  mean", s.Mean(), "over these")
		count("  most fooled", s.Each[s.Most()], s.Transformations[s.Most()].String())
	}
	writeColumns(&b, columns[:])
	if c.Clean.N == 0 {
		b.WriteString("The clean images are not among the arrays.\n")
	}
	if n := len(c.inMean()); c.severities() && n > 0 && n < len(corrupt.Benchmark) {
		fmt.Fprintf(&b, "Published means are over %d corruptions, and this one is over %d of them.\n", len(corrupt.Benchmark), n)
	}
	b.WriteString("In brackets 95 % intervals. That of a mean is for as many images, each asked several times.\n")
	c.writeScores(&b)
	return flush(w, &b)
}

// inMean lists the corruptions that the mean is over.
func (c *Corruptions) inMean() []string {
	return slices.DeleteFunc(c.Corruptions(), func(name string) bool { return c.Of(name)[0].Extra })
}

// severities reports whether corruptions have them.
func (c *Corruptions) severities() bool { return len(c.Scores) > 0 && c.Scores[0].Severity > 0 }

// over says what the mean is over.
func (c *Corruptions) over() string {
	s := plural(len(c.inMean()), "corruption", "corruptions")
	if c.severities() {
		s += fmt.Sprintf(" × %d severities", corrupt.Severities)
	}
	return s
}

// writeScores writes corruptions down and severities across, in %.
func (c *Corruptions) writeScores(b *strings.Builder) {
	names := c.Corruptions()
	if len(names) == 0 {
		return
	}
	columns := [][]string{{"corruption"}}
	if c.severities() {
		fmt.Fprintf(b, "\nAccuracy in %% by severity, of %s:\n", plural(c.Scores[0].N, "image", "images"))
		for s := range corrupt.Severities {
			columns = append(columns, []string{strconv.Itoa(s + 1)})
		}
		columns = append(columns, []string{"all (95 % interval)"})
	} else {
		fmt.Fprintf(b, "\nAccuracy in %%, of %s:\n", plural(c.Scores[0].N, "image", "images"))
		columns = append(columns, []string{"accuracy (95 % interval)"})
	}
	last := len(columns) - 1
	for _, name := range names {
		scores := c.Of(name)
		shown := plain.Line(name, plain.Message)
		if scores[0].Extra {
			shown += ", not in the mean"
		}
		columns[0] = append(columns[0], shown)
		all := corrupt.Mean{N: scores[0].N, Times: len(scores)}
		for i, s := range scores {
			all.Right += s.Right
			if last > 1 {
				columns[i+1] = append(columns[i+1], percent(s.Accuracy()))
			}
		}
		lo, hi := all.Interval()
		columns[last] = append(columns[last], fmt.Sprintf("%s (%s)", percent(all.Accuracy()), span(lo, hi)))
	}
	for i := 1; i < last; i++ {
		columns[i] = justify(columns[i], true)
	}
	writeColumns(b, columns)
}
