package report

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"

	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/smooth"
	"advsweep/stat"

	"gonum.org/v1/plot/plotter"
)

// A Certified is what randomized smoothing certified, and what it was done with.
type Certified struct {
	Meta   record.Meta
	Layers string // of the model, for the caption
	Result *smooth.Result
}

// certifiedNote is what every form of a Certified says with its numbers.
const certifiedNote = "this certifies the smoothed classifier, not the network itself"

// Files makes the files of c, in the order of CurveNames.
func (c *Certified) Files(base string) ([]File, error) {
	json, err := c.JSON()
	if err != nil {
		return nil, err
	}
	f := c.figure()
	png, err := f.PNG()
	if err != nil {
		return nil, err
	}
	svg, err := f.SVG()
	if err != nil {
		return nil, err
	}
	var files []File
	for i, data := range [][]byte{c.CSV(), json, png, svg} {
		files = append(files, File{Name: CurveNames(base)[i], Data: data})
	}
	return files, nil
}

// CSV writes a row for each image below one header line, each line ended by LF:
//
//	image      its index in the data set
//	label      the true class
//	clean      the class that the network says of it as it is
//	class      the class that the first draws chose
//	count      how many of the other draws have it
//	p_low      lower end of the interval of its chance (Clopper and Pearson)
//	abstained  true if that is below 1/2: the smoothed classifier says nothing
//	radius     the certified L2 radius, in units of pixels; 0 if it abstains
//	correct    true if it does not abstain and class is the label
func (c *Certified) CSV() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	// A bytes.Buffer takes every write, so the errors of w are nil.
	_ = w.Write([]string{"image", "label", "clean", "class", "count", "p_low", "abstained", "radius", "correct"})
	for _, i := range c.Result.Images {
		class := func(v int32) string { return strconv.Itoa(int(v)) }
		_ = w.Write([]string{strconv.Itoa(i.Index), class(i.Label), class(i.Clean), class(i.Class), strconv.Itoa(i.Count), float(i.Low),
			strconv.FormatBool(i.Abstains()), float(i.Radius), strconv.FormatBool(i.Right())})
	}
	w.Flush()
	return b.Bytes()
}

// JSON writes c as one indented object: what is needed to do it again, the counts, and the certified
// accuracy at every radius as its steps. Equal runs give equal bytes.
func (c *Certified) JSON() ([]byte, error) {
	type step struct {
		Radius    float64 `json:"radius"`
		Certified int     `json:"certified"`
	}
	type counts struct {
		Asked     int     `json:"images_asked"` // more than n if it was stopped
		Classes   int     `json:"classes"`
		Clean     int     `json:"clean_correct"` // of the network itself
		Smoothed  int     `json:"smoothed_correct"`
		Abstained int     `json:"abstained"`
		Mean      float64 `json:"mean_radius"`
		Largest   float64 `json:"largest_radius"` // that so many draws can show
		Steps     []step  `json:"steps"`
	}
	r := c.Result
	meta := c.Meta
	meta.Device = ""
	n := counts{r.Asked, r.Classes, r.Clean(), r.Smoothed(), r.Abstained(), r.MeanRadius(), r.Largest(), []step{}}
	for _, s := range r.Steps() {
		n.Steps = append(n.Steps, step(s))
	}
	return record.Indented("report: certified", struct {
		record.Meta
		Note  string  `json:"note"`
		Sigma float64 `json:"sigma"`
		N0    int     `json:"n0"`
		Draws int     `json:"draws"`
		Alpha float64 `json:"alpha"`
		counts
	}{meta, certifiedNote + "; each radius is wrong with a chance of at most alpha", r.Sigma, r.Choose, r.Draws, r.Alpha, n})
}

// radii are those of the table, from 0 to the largest that there can be: the ticks of the plot, the
// small ones too where these are few.
func (c *Certified) radii() (list []float64) {
	const few = 13
	ticks := niceTicks{}.Ticks(0, c.end())
	for _, t := range ticks {
		if t.Label != "" || len(ticks) <= few {
			list = append(list, t.Value)
		}
	}
	return list
}

// end is the radius where axes end: a little beyond the largest, so that the last step is seen.
func (c *Certified) end() float64 {
	if largest := c.Result.Largest(); largest > 0 {
		return 1.04 * largest
	}
	return c.Result.Sigma
}

// Table writes c for a terminal, in 80 columns: first the certified accuracy against the radius.
func (c *Certified) Table(w io.Writer) error {
	var b strings.Builder
	r := c.Result
	N := len(r.Images)
	share := func(k int) string {
		lo, hi := stat.Wilson(k, N)
		return fmt.Sprintf("%d of %d, %s %% (%s)", k, N, percent(stat.Ratio(k, N)), span(lo, hi))
	}
	radii := c.radii()
	cells := [3][]string{}
	for _, radius := range radii {
		k := r.Certified(radius)
		lo, hi := stat.Wilson(k, N)
		for i, s := range []string{strconv.Itoa(k), percent(stat.Ratio(k, N)), "(" + span(lo, hi) + ")"} {
			cells[i] = append(cells[i], s)
		}
	}
	count, accuracy, interval := justify(cells[0], true), justify(cells[1], true), justify(cells[2], false)
	column := []string{fmt.Sprintf("certified of %d, %% (95 %% interval)", N)}
	for i := range radii {
		column = append(column, count[i]+" "+accuracy[i]+" "+interval[i])
	}
	writeColumns(&b, [][]string{append([]string{"radius"}, aligned(radii)...), column})
	fmt.Fprintf(&b, "\nsmoothed classifier   right of %s; it abstains from %d\n", share(r.Smoothed()), r.Abstained())
	fmt.Fprintf(&b, "network itself        right of %s\n", share(r.Clean()))
	fmt.Fprintf(&b, "mean certified radius %s, 0 where it is wrong or abstains\n", short(r.MeanRadius()))
	fmt.Fprintf(&b, "largest radius        %s, where all %d draws agree\n", short(r.Largest()), r.Draws)
	text := fmt.Sprintf("Certified at a radius are the images that the smoothed classifier gets right, whatever moves them by less than the radius in L2 (units of pixels). "+
		"It says what the network says most often of an image with normal noise of sigma %s on each pixel. So %s. Of each image the radius is wrong with a chance of at most %s.",
		short(r.Sigma), certifiedNote, short(r.Alpha))
	b.WriteString("\n" + wrapped(text, 80) + "\n")
	return flush(w, &b)
}

// figure is the plot of certified accuracy against the radius, as the steps that it has.
func (c *Certified) figure() Figure {
	r := c.Result
	N, end := len(r.Images), c.end()
	line := curve{label: "smoothed classifier", color: okabeIto[0], width: 1.5}
	add := func(radius float64, k int) {
		lo, hi := stat.Wilson(k, N)
		line.points = append(line.points, plotter.XY{X: radius, Y: stat.Ratio(k, N)})
		line.bands = append(line.bands, [2]float64{lo, hi})
	}
	steps := r.Steps()
	add(0, r.Smoothed())
	for k, s := range steps {
		add(s.Radius, s.Certified)
		next := 0
		if k+1 < len(steps) {
			next = steps[k+1].Certified
		}
		add(s.Radius, next)
	}
	add(end, 0)
	return Figure{
		Title:  "Certified accuracy against the L2 radius",
		Result: &pipeline.Result{N: N, Classes: r.Classes, Eps: []float64{0, end}},
		lines:  []curve{line},
		axis:   "L2 radius, in units of pixels",
		about: fmt.Sprintf("n = %d · noise sigma %s, %d draws · model %s %s%s · %s · each radius wrong with a chance of at most %s · band: 95 %% (Wilson)",
			N, short(r.Sigma), r.Draws, c.Meta.Model.Name, c.Layers, c.Meta.Model.Reading(), certifiedNote, short(r.Alpha)),
	}
}
