package certify

import (
	"cmp"
	"math"
	"slices"
)

// lower is Certifier.Lower of the box that is loaded.
func (w *work) lower(method Method, rows [][]float64) ([]float64, error) {
	if _, err := ParseMethod(string(method)); err != nil {
		return nil, err
	}
	best := slices.Repeat([]float64{math.Inf(-1)}, len(rows))
	if method == IBP || method == Auto {
		if err := w.forward(false); err != nil {
			return nil, err
		}
		var err error
		if best, err = w.last(rows, true); err != nil || method == IBP {
			return best, err
		}
	}
	all := open(best, method != Auto)
	if len(all) == 0 {
		return best, nil
	}
	if err := w.forward(true); err != nil {
		return nil, err
	}
	for _, near := range []bool{true, false} { // tighter boxes may be better for intervals, too
		if err := w.better(best, rows, all, func(some [][]float64) ([]float64, error) { return w.last(some, near) }); err != nil {
			return nil, err
		}
	}
	if method == CROWN {
		return best, nil
	}
	all = open(best, method == Alpha)
	if err := w.better(best, rows, all, w.climb); err != nil || method != Branch {
		return best, err
	}
	all = open(best, false)
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(best[a], best[b]) }) // the hardest first
	budget := BranchBudget
	for _, k := range all {
		v, err := w.branch(rows[k], &budget)
		if err != nil {
			return nil, err
		}
		if !(best[k] >= v) {
			best[k] = v
		}
	}
	return best, nil
}

// open returns the places of bounds that are not above 0, or of all.
func open(bounds []float64, all bool) (places []int) {
	for k, v := range bounds {
		if all || !(v > 0) {
			places = append(places, k)
		}
	}
	return places
}

// better puts what find says of some of rows, by their places, into best where that is higher.
func (w *work) better(best []float64, rows [][]float64, places []int, find func([][]float64) ([]float64, error)) error {
	if len(places) == 0 {
		return nil
	}
	some := make([][]float64, len(places))
	for i, k := range places {
		some[i] = rows[k]
	}
	bounds, err := find(some)
	if err != nil {
		return err
	}
	for i, k := range places {
		if !(best[k] >= bounds[i]) {
			best[k] = bounds[i]
		}
	}
	return nil
}
