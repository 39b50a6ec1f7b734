package corrupt

import (
	"slices"

	"advsweep/dataset"
	"advsweep/stat"
)

// A Count is how many of N images are right.
type Count struct{ Right, N int }

func countOf(right []bool) Count {
	c := Count{N: len(right)}
	for _, is := range right {
		if is {
			c.Right++
		}
	}
	return c
}

// Accuracy is Right/N, and 0 of no images.
func (c Count) Accuracy() float64 { return stat.Ratio(c.Right, c.N) }

// Interval is the 95 % interval of the accuracy: stat.Wilson.
func (c Count) Interval() (lo, hi float64) { return stat.Wilson(c.Right, c.N) }

// A Mean is an accuracy over several answers about each of the same images.
type Mean struct {
	Right int // answers
	N     int // images
	Times int // that each image was asked
}

// meanOf is the mean of counts, all of as many images.
func meanOf(counts []Count) Mean {
	m := Mean{Times: len(counts)}
	for _, c := range counts {
		m.Right, m.N = m.Right+c.Right, c.N
	}
	return m
}

// Asked is how many answers there are.
func (m Mean) Asked() int { return m.N * m.Times }

// Accuracy is the share of right answers, and 0 of none.
func (m Mean) Accuracy() float64 { return stat.Ratio(m.Right, m.Asked()) }

// Interval is a 95 % interval of the accuracy. Images are drawn and corruptions are not: answers
// about one image agree, so that there are N trials and not Times as many. The share of an image's
// answers that are right varies no more than right and wrong do, so that stat.Wilson of N trials
// covers it. The count is taken to the whole number below for the lower end, and above for the
// upper one.
func (m Mean) Interval() (lo, hi float64) {
	if m.Times == 0 {
		return 0, 1
	}
	lo, _ = stat.Wilson(m.Right/m.Times, m.N)
	_, hi = stat.Wilson((m.Right+m.Times-1)/m.Times, m.N)
	return lo, hi
}

// A Result is what was found of a model.
type Result struct {
	// Clean is of the images as they are. It has no images where none were given.
	Clean Count
	// Scores are those of corruptions in their order, severities within.
	Scores []Score
	// Files are those of published arrays, in the order of their names.
	Files []ArrayFiles
	// Spatial is nil if no grid was asked for.
	Spatial *SpatialResult
}

// A Score is how many images are right under a corruption at a severity.
type Score struct {
	Corruption string
	Severity   int // 0 of arrays that have none
	// Extra says that the mean corruption accuracy leaves it out.
	Extra bool
	Count
}

// Mean is the mean corruption accuracy: over the scores that are not extra.
func (r *Result) Mean() Mean {
	var counts []Count
	for _, s := range r.Scores {
		if !s.Extra {
			counts = append(counts, s.Count)
		}
	}
	return meanOf(counts)
}

// Corruptions lists the names of the scores in their order.
func (r *Result) Corruptions() []string {
	var names []string
	for _, s := range r.Scores {
		if !slices.Contains(names, s.Corruption) {
			names = append(names, s.Corruption)
		}
	}
	return names
}

// Of returns the scores of a corruption.
func (r *Result) Of(name string) (scores []Score) {
	for _, s := range r.Scores {
		if s.Corruption == name {
			scores = append(scores, s)
		}
	}
	return scores
}

// A SpatialResult is what was found on a grid.
type SpatialResult struct {
	Grid            Grid
	Transformations []Transformation // those of the grid
	Each            []Count          // images that are right under each transformation
	Worst           Count            // images that are right under all of them
}

// Mean is the accuracy over all transformations.
func (s *SpatialResult) Mean() Mean { return meanOf(s.Each) }

// Most returns the place of the transformation that fools most: it leaves the fewest images right.
// Of equals it is the first.
func (s *SpatialResult) Most() int {
	most := 0
	for i, c := range s.Each {
		if c.Right < s.Each[most].Right {
			most = i
		}
	}
	return most
}

// ArrayFiles are the files of an Array as they were read.
type ArrayFiles struct {
	Corruption     string
	Images, Labels dataset.File
}
