package report

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"advsweep/attack"
	"advsweep/pipeline"
)

// digits is the size in bits of the floats that the ends of intervals were computed in. More digits
// than that would be noise.
type digits int

func newDigits(precision string) digits {
	if precision == "float64" {
		return 64
	}
	return 32
}

func (d digits) text(v float64) string { return strconv.FormatFloat(v, 'g', -1, int(d)) }

// round is the float64 that text(v) reads as.
func (d digits) round(v float64) float64 {
	v, _ = strconv.ParseFloat(d.text(v), 64) // what FormatFloat wrote is a float
	return v
}

// steps is x.Curve() with eps rounded by d, without jumps that change nothing: an image that fails
// where another one recovers, or on an interval of one point.
func steps(x *pipeline.Exact, d digits) []pipeline.Jump {
	var out []pipeline.Jump
	for _, j := range x.Curve() {
		j.Eps = d.round(j.Eps)
		if n := len(out); n > 0 && out[n-1].Eps == j.Eps {
			out = out[:n-1]
		}
		if n := len(out); n == 0 || out[n-1].Correct != j.Correct {
			out = append(out, j)
		}
	}
	return out
}

// recoveries counts the images that are given their label at an eps above one where they are not.
func recoveries(x *pipeline.Exact) (n int) {
	for _, w := range x.Walks {
		if len(w.Correct) > 1 || len(w.Correct) == 1 && w.Correct[0].Lo > 0 {
			n++
		}
	}
	return n
}

// within is the largest distance from an end at which forward passes agreed.
func within(x *pipeline.Exact) (eps float64) {
	for _, w := range x.Walks {
		eps = max(eps, w.Within)
	}
	return eps
}

// mean is the accuracy at an eps drawn evenly from [0, Max].
func mean(x *pipeline.Exact) float64 { return x.Area() / x.Max }

// exactJSON is an exact curve as curve.json has it.
type exactJSON struct {
	Max      float64  `json:"max"`
	Area     float64  `json:"area"` // the integral of the accuracy over [0, Max]
	Mean     float64  `json:"mean_accuracy"`
	Median   *float64 `json:"median_critical_eps"` // null: it is above Max
	Recovery int      `json:"recovery_images"`
	Checked  int      `json:"ends_checked"`
	// Within is the farthest from its end that a forward pass agreed.
	Within    float64      `json:"ends_checked_within"`
	Disagreed int          `json:"ends_disagreed"`
	Ties      []int        `json:"ties"`
	Jumps     [][2]float64 `json:"jumps"` // eps, and the count from there on
}

// minimumNormJSON is the curve of an attack of minimum norm as curve.json has it. Distances are in
// the attack's norm, 0 of an image that is wrong as it is.
type minimumNormJSON struct {
	Max       float64        `json:"max"`
	Found     int            `json:"found"`         // images whose distance is at most Max
	Area      float64        `json:"area"`          // the integral of the accuracy over [0, Max]
	Mean      float64        `json:"mean_accuracy"` // Area/Max
	Median    *float64       `json:"median_distance"`
	Quantiles []quantileJSON `json:"quantiles"`
	Jumps     [][2]float64   `json:"jumps"` // eps, and the count from there on
}

// quantileJSON says within which distance a part of the images has a misread one; null stands for
// more than Max.
type quantileJSON struct {
	Part     float64  `json:"part"`
	Distance *float64 `json:"distance"`
}

// quantileParts are those parts.
var quantileParts = []float64{0.1, 0.25, 0.5, 0.75, 0.9}

func newMinimumNormJSON(x *pipeline.Exact) *minimumNormJSON {
	const d = digits(32) // norms are float32
	j := &minimumNormJSON{Max: x.Max, Found: found(x), Area: x.Area(), Mean: mean(x)}
	for _, p := range quantileParts {
		q := quantileJSON{Part: p}
		if eps, ok := x.Quantile(p); ok {
			eps = d.round(eps)
			q.Distance = &eps
		}
		if p == 0.5 {
			j.Median = q.Distance
		}
		j.Quantiles = append(j.Quantiles, q)
	}
	for _, s := range steps(x, d) {
		j.Jumps = append(j.Jumps, [2]float64{s.Eps, float64(s.Correct)})
	}
	return j
}

// everyEps are the labels of the curves that are known at every eps: those that are exact, and those
// of minimum norm.
func everyEps(curves []pipeline.Curve) (exact, nearest []string) {
	for _, c := range curves {
		switch {
		case c.Exact == nil:
		case c.Exact.MinimumNorm:
			nearest = append(nearest, c.Attack.Label())
		default:
			exact = append(exact, c.Attack.Label())
		}
	}
	return exact, nearest
}

// found counts the images that are wrong at Max or nearer.
func found(x *pipeline.Exact) (n int) {
	for i := range x.Walks {
		if _, fails := x.Walks[i].Critical(x.Max); fails {
			n++
		}
	}
	return n
}

func newExactJSON(x *pipeline.Exact, precision string) *exactJSON {
	d := newDigits(precision)
	j := &exactJSON{Max: x.Max, Area: x.Area(), Mean: mean(x), Recovery: recoveries(x), Ties: append([]int{}, x.Ties...)}
	if eps, ok := x.MedianCritical(); ok {
		eps = d.round(eps)
		j.Median = &eps
	}
	j.Checked, j.Disagreed = x.Ends()
	j.Within = d.round(within(x))
	for _, s := range steps(x, d) {
		j.Jumps = append(j.Jumps, [2]float64{s.Eps, float64(s.Correct)})
	}
	return j
}

// onOneLine writes each array of two numbers within an array in data, indented JSON, on a line of
// its own instead of four. The first is a float and the second a whole number from 0 on. No string
// of JSON holds a line break.
func onOneLine(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for {
		at := bytes.Index(data, []byte("[\n"))
		if at < 0 {
			return append(out, data...)
		}
		at++
		out, data = append(out, data[:at]...), data[at:]
		first, rest, ok := numberOnLine(data, "-+.e0123456789", ",")
		if before := bytes.TrimRight(out[:len(out)-1], " "); !ok || len(before) == len(out)-1 || !bytes.HasSuffix(before, []byte("\n")) {
			continue
		}
		second, rest, ok := numberOnLine(rest, "0123456789", "")
		if last := bytes.TrimLeft(bytes.TrimPrefix(rest, []byte("\n")), " "); ok && bytes.HasPrefix(rest, []byte("\n ")) && bytes.HasPrefix(last, []byte("]")) {
			out = append(append(append(append(out, first...), ", "...), second...), ']')
			data = last[1:]
		}
	}
}

// numberOnLine cuts data after a line break, spaces, a number of some digits, and end; there is at
// least one of each.
func numberOnLine(data []byte, digits, end string) (number, rest []byte, ok bool) {
	if !bytes.HasPrefix(data, []byte("\n ")) {
		return nil, nil, false
	}
	line := bytes.TrimLeft(data[1:], " ")
	rest = bytes.TrimLeft(line, digits)
	number = line[:len(line)-len(rest)]
	rest, ok = bytes.CutPrefix(rest, []byte(end))
	return number, rest, ok && len(number) > 0
}

// writeMinimumNorm writes x, the curve of a, which is of minimum norm, for a terminal.
func writeMinimumNorm(b *strings.Builder, a attack.Attack, x *pipeline.Exact) {
	top := short(x.Max)
	fmt.Fprintf(b, "\n%s at every eps in [0, %s], by the distance of each image from\nthe nearest misread one that was found:\n", a.Label(), top)
	fmt.Fprintf(b, "  accuracy     %s %% on average; area under the curve %s\n", percent(mean(x)), short(x.Area()))
	at := func(p float64) string {
		if eps, ok := x.Quantile(p); ok {
			return short(eps)
		}
		return "above " + top
	}
	fmt.Fprintf(b, "  distance     median %s; of a tenth of the images up to %s, of nine tenths\n               up to %s\n", at(0.5), at(0.1), at(0.9))
	fmt.Fprintf(b, "  found        of %d of %d images within %s, those that are wrong as they are\n               included\n", found(x), len(x.Walks), top)
}

// writeExact writes x, the curve of a, for a terminal.
func writeExact(b *strings.Builder, a attack.Attack, x *pipeline.Exact) {
	top := short(x.Max)
	fmt.Fprintf(b, "\n%s at every eps in [0, %s]:\n", a.Label(), top)
	fmt.Fprintf(b, "  accuracy     %s %% on average; area under the curve %s\n", percent(mean(x)), short(x.Area()))
	if eps, ok := x.MedianCritical(); ok {
		fmt.Fprintf(b, "  critical     median eps %s, the least at which an image is wrong\n", short(eps))
	} else {
		fmt.Fprintf(b, "  critical     the median image is never wrong up to %s\n", top)
	}
	fmt.Fprintf(b, "  recovery     %s wrong at some eps and right at a larger one\n", plural(recoveries(x), "image is", "images are"))
	checked, disagreed := x.Ends()
	ends := plural(checked, "interval end", "interval ends")
	switch {
	case checked == 0:
		b.WriteString("  checked      nothing: no interval ends\n")
	case disagreed == 0:
		fmt.Fprintf(b, "  checked      %s by forward passes on both sides, at most %s\n               away; 0 disagreed\n", ends, strconv.FormatFloat(within(x), 'g', 2, 64))
	default:
		n := 0
		for i := range x.Walks {
			if len(x.Walks[i].Disagreed) > 0 {
				n++
			}
		}
		fmt.Fprintf(b, "  CHECK FAILED %d of %s DISAGREE with a forward pass\n", disagreed, ends)
		fmt.Fprintf(b, "               beside them, of %s (column disagreed of images.csv)\n", plural(n, "image", "images"))
	}
	if len(x.Ties) == 0 {
		b.WriteString("  ties         none: no image changes within rounding of an eps above\n")
		return
	}
	const most = 5
	var names []string
	for _, i := range x.Ties[:min(len(x.Ties), most)] {
		names = append(names, strconv.Itoa(i))
	}
	list, what, change := strings.Join(names, ", "), "images", "change"
	if more := len(x.Ties) - most; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	if len(x.Ties) == 1 {
		what, change = "image", "changes"
	}
	fmt.Fprintf(b, "  ties         %s %s\n               %s within rounding of an eps above; either count could stand\n", what, list, change)
}
