package report

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"advsweep/pipeline"
	"advsweep/stat"
)

// ImagesCSV writes a row for each image under each attack below one header line, each line ended by
// LF:
//
//	index             in the data set
//	label, clean      the true class, and the one that the model gives the clean image
//	eps_star          the least eps at which it is not given its label: of a curve known at
//	                  every eps of all, else of Eps; empty if there is none
//	intervals         of such a curve, lo:hi;lo:hi… where it is given its label: lo is in, hi is
//	                  not unless it is the largest eps
//	zero_gradient     true if it was not attacked at some of Eps, and is right for that: its
//	                  gradient was zero in every pixel and no step moved it
//	disagreed         of an exact curve, those ends, joined by ;, of which a forward pass beside
//	                  them said otherwise
//	attack            its name
//	first_failing_eps the least of Eps at which it is not given its label; empty if there is none
//	class_there       what it is taken for there
//	clean_margin      logit of its label less the largest other one, as it is
//	min_margin        the same at the eps where it is least
//	min_margin_eps    that eps, the first one on a tie
//	worst_class       what it is taken for there
//
// Ends of intervals have the fewest digits that read back in precision. Other programs read this:
// the first five columns and their order stay as they are.
func ImagesCSV(r *pipeline.Result, precision string) []byte {
	digits := newDigits(precision)
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	// A bytes.Buffer takes every write, so the errors of w are nil.
	_ = w.Write([]string{"index", "label", "clean", "eps_star", "intervals", "zero_gradient", "disagreed", "attack", "first_failing_eps", "class_there",
		"clean_margin", "min_margin", "min_margin_eps", "worst_class"})
	for k := range r.Curves {
		c := &r.Curves[k]
		if !c.Known() {
			continue
		}
		for i, im := range r.Images {
			star, failing, there := "", "", ""
			if e := c.FirstFailing(r.Images, i); e >= 0 {
				failing, there = float(r.Eps[e]), strconv.Itoa(int(c.Class(i, e)))
				star = failing
			}
			margin, least := c.Least(i)
			var intervals, disagreed []string
			if c.Exact != nil {
				walk := &c.Exact.Walks[i]
				star = ""
				if eps, fails := walk.Critical(c.Exact.Max); fails {
					star = digits.text(eps)
				}
				for _, v := range walk.Correct {
					intervals = append(intervals, digits.text(v.Lo)+":"+digits.text(v.Hi))
				}
				for _, eps := range walk.Disagreed {
					disagreed = append(disagreed, digits.text(eps))
				}
			}
			_ = w.Write([]string{
				strconv.Itoa(r.First + i), strconv.Itoa(int(im.Label)), strconv.Itoa(int(im.Class)), star,
				strings.Join(intervals, ";"), strconv.FormatBool(c.EverUnattacked(i, im.Label)), strings.Join(disagreed, ";"),
				c.Attack.Name, failing, there, float32Text(im.Margin), float32Text(margin), float(r.Eps[least]), strconv.Itoa(int(c.Class(i, least))),
			})
		}
	}
	w.Flush()
	return b.Bytes()
}

func float32Text(v float32) string { return strconv.FormatFloat(float64(v), 'g', -1, 32) }

// ClassesCSV writes for each attack and eps how many images of each true class are given it, with
// its 95 % interval, and what they are taken for: "3:12;5:2" is 12 times class 3 and twice class 5,
// wrong ones only. The accuracy of a class without images is empty, not 0. Under an attack toward
// all other classes reached says in the same form how many of them reached each one; else it is
// empty.
func ClassesCSV(r *pipeline.Result) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"attack", "eps", "class", "n", "correct", "accuracy", "ci_low", "ci_high", "taken_for", "reached"})
	block := int(max(1, maxCounts/max(1, int64(r.Classes)*int64(r.Classes))))
	for k := range r.Curves {
		c := &r.Curves[k]
		if !c.Known() {
			continue
		}
		var all [][]flow
		for e, eps := range r.Eps {
			if e%block == 0 {
				all = confusions(r, c, e, min(e+block, len(r.Eps)))
			}
			left, reached := all[e%block], reachedFlows(r, c, e)
			for class := range r.Classes {
				n, right := 0, 0
				var taken []string
				for ; len(left) > 0 && left[0].from == class; left = left[1:] {
					f := left[0]
					if n += f.n; f.to == class {
						right = f.n
					} else {
						taken = append(taken, fmt.Sprintf("%d:%d", f.to, f.n))
					}
				}
				var targets []string
				for ; len(reached) > 0 && reached[0].from == class; reached = reached[1:] {
					targets = append(targets, fmt.Sprintf("%d:%d", reached[0].to, reached[0].n))
				}
				lo, hi := stat.Wilson(right, n)
				accuracy := ""
				if n > 0 {
					accuracy = float(stat.Ratio(right, n))
				}
				_ = w.Write([]string{c.Attack.Name, float(eps), strconv.Itoa(class), strconv.Itoa(n), strconv.Itoa(right), accuracy,
					float(lo), float(hi), strings.Join(taken, ";"), strings.Join(targets, ";")})
			}
		}
	}
	w.Flush()
	return b.Bytes()
}

// maxCounts bounds the counts of the confusions that are held at once.
const maxCounts = 1 << 18

// A flow says that n images with label from are taken for class to.
type flow struct{ from, to, n int }

// reachedFlows counts the images by their label and each class that they have reached at eps e, by
// label and then by class; none if the attack of c is not toward all other classes.
func reachedFlows(r *pipeline.Result, c *pipeline.Curve, e int) []flow {
	if c.Reached == nil {
		return nil
	}
	var pairs []flow
	for i := range r.Images {
		for _, class := range c.Reached[i*len(r.Eps)+e] {
			pairs = append(pairs, flow{int(r.Images[i].Label), int(class), 1})
		}
	}
	return gathered(pairs)
}

// gathered sorts pairs by label and then by class, and makes one of those that are alike. It
// changes pairs.
func gathered(pairs []flow) (all []flow) {
	slices.SortFunc(pairs, func(a, b flow) int { return cmp.Or(a.from-b.from, a.to-b.to) })
	for _, p := range pairs {
		if k := len(all) - 1; k >= 0 && all[k].from == p.from && all[k].to == p.to {
			all[k].n += p.n
		} else {
			all = append(all, p)
		}
	}
	return all
}

// Confusion counts the images by their label and the class they are taken for at eps e, [O][O].
func Confusion(r *pipeline.Result, c *pipeline.Curve, e int) [][]int {
	counts := make([][]int, r.Classes)
	for k := range counts {
		counts[k] = make([]int, r.Classes)
	}
	for _, f := range confusions(r, c, e, e+1)[0] {
		counts[f.from][f.to] = f.n
	}
	return counts
}

// confusions are the flows of eps from to to-1, by label and then by class, in one pass over the
// images. Memory is taken for the images and not for pairs of classes, of which there may be many
// more.
func confusions(r *pipeline.Result, c *pipeline.Curve, from, to int) [][]flow {
	all := make([][]flow, to-from)
	if O := r.Classes; int64(O)*int64(O)*int64(to-from) <= maxCounts { // counted by pairs
		counts := make([]int, (to-from)*O*O)
		for i := range r.Images {
			row := int(r.Images[i].Label) * O
			for e := from; e < to; e++ {
				counts[row+int(c.Class(i, e))]++
				row += O * O
			}
		}
		for k, n := range counts {
			if n > 0 {
				e := k / (O * O)
				all[e] = append(all[e], flow{k / O % O, k % O, n})
			}
		}
		return all
	}
	pairs := make([]flow, len(r.Images))
	for e := range all {
		for i := range r.Images {
			pairs[i] = flow{int(r.Images[i].Label), int(c.Class(i, from+e)), 1}
		}
		all[e] = gathered(pairs)
	}
	return all
}
