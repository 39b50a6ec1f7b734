package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

type shortOfMemory struct{}

func (shortOfMemory) Error() string     { return "no memory" }
func (shortOfMemory) OutOfMemory() bool { return true }

func TestBatches(t *testing.T) {
	all := batch{lo: 10, hi: 13, from: 2, to: 5, first: 0, last: 4} // 3 images at 3 eps, 4 restarts
	for _, c := range []struct {
		name   string
		all    batch
		rows   int // at most
		memory int // rows that there is memory for; 0: as many as one likes
		whole  bool
		want   []batch
	}{
		{"everything fits", all, 36, 0, false, []batch{{10, 13, 2, 5, 0, 4}}},
		{"everything fits, and more would", all, 1000, 0, true, []batch{{10, 13, 2, 5, 0, 4}}},
		{"two images fit", all, 35, 0, false, []batch{{10, 12, 2, 5, 0, 4}, {12, 13, 2, 5, 0, 4}}},
		{"one image does not fit with all eps", all, 11, 0, false, []batch{
			{10, 11, 2, 4, 0, 4}, {10, 11, 4, 5, 0, 4}, {11, 12, 2, 4, 0, 4}, {11, 12, 4, 5, 0, 4}, {12, 13, 2, 4, 0, 4}, {12, 13, 4, 5, 0, 4}}},
		{"nor do all restarts", batch{0, 1, 0, 2, 0, 4}, 3, 0, false, []batch{{0, 1, 0, 1, 0, 3}, {0, 1, 0, 1, 3, 4}, {0, 1, 1, 2, 0, 3}, {0, 1, 1, 2, 3, 4}}},
		{"one row at a time", batch{0, 1, 0, 1, 0, 2}, 1, 0, false, []batch{{0, 1, 0, 1, 0, 1}, {0, 1, 0, 1, 1, 2}}},
		{"restarts stay together", batch{0, 1, 0, 2, 0, 4}, 3, 0, true, []batch{{0, 1, 0, 1, 0, 4}, {0, 1, 1, 2, 0, 4}}},
		// 36 rows are too many, 18 are not: that is one image of 12.
		{"memory halves a batch", all, 36, 20, false, []batch{{10, 11, 2, 5, 0, 4}, {11, 12, 2, 5, 0, 4}, {12, 13, 2, 5, 0, 4}}},
		{"memory halves eps", batch{0, 1, 0, 4, 0, 1}, 4, 2, false, []batch{{0, 1, 0, 2, 0, 1}, {0, 1, 2, 4, 0, 1}}},
		{"memory halves restarts", batch{0, 1, 0, 1, 0, 5}, 5, 2, false, []batch{{0, 1, 0, 1, 0, 2}, {0, 1, 0, 1, 2, 4}, {0, 1, 0, 1, 4, 5}}},
		{"memory halves whole restarts", batch{0, 4, 0, 1, 0, 3}, 12, 6, true, []batch{{0, 2, 0, 1, 0, 3}, {2, 4, 0, 1, 0, 3}}},
		{"nothing to do", batch{5, 5, 0, 3, 0, 1}, 4, 0, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []batch
			r := sweeping{rows: c.rows}
			err := r.batches(c.all, c.whole, func(b batch) error {
				r.progress(b.rows()) // which a batch that fails half way has done, too
				if c.memory > 0 && b.rows() > c.memory {
					return fmt.Errorf("wrapped: %w", shortOfMemory{})
				}
				got = append(got, b)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("batches %v, want %v", got, c.want)
			}
			once := map[[3]int]int{}
			for _, b := range got {
				for i := b.lo; i < b.hi; i++ {
					for e := b.from; e < b.to; e++ {
						for k := b.first; k < b.last; k++ {
							once[[3]int{i, e, k}]++
						}
					}
				}
			}
			if len(once) != c.all.rows() || r.done != c.all.rows() {
				t.Errorf("%d rows, progress %d, want %d of both", len(once), r.done, c.all.rows())
			}
			for row, n := range once {
				if n != 1 {
					t.Errorf("row %v is in %d batches", row, n)
				}
			}
		})
	}
}

// Memory that runs out in the middle leaves what was done before as it is.
func TestBatchesGoOn(t *testing.T) {
	var got []batch
	calls := 0
	r := sweeping{rows: 8}
	err := r.batches(batch{0, 8, 0, 4, 0, 1}, false, func(b batch) error {
		if calls++; calls == 3 {
			return shortOfMemory{}
		}
		got = append(got, b)
		return nil
	})
	want := []batch{{0, 2, 0, 4, 0, 1}, {2, 4, 0, 4, 0, 1}, {4, 5, 0, 4, 0, 1}, {5, 6, 0, 4, 0, 1}, {6, 7, 0, 4, 0, 1}, {7, 8, 0, 4, 0, 1}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, batches %v, want %v", err, got, want)
	}
}

func TestBatchesErrors(t *testing.T) {
	calls := 0
	other := errors.New("another")
	for _, c := range []struct {
		name  string
		all   batch
		whole bool
		err   error
		calls int
	}{
		{"another error", batch{0, 8, 0, 1, 0, 1}, false, other, 1},
		// of 4, of 2, of 1
		{"one row is too much", batch{0, 4, 0, 1, 0, 1}, false, shortOfMemory{}, 3},
		{"whole restarts are too much", batch{0, 2, 0, 1, 0, 4}, true, shortOfMemory{}, 2},
	} {
		calls = 0
		r := sweeping{rows: 8}
		if err := r.batches(c.all, c.whole, func(batch) error { calls++; return c.err }); err != c.err || calls != c.calls {
			t.Errorf("%s: error %v after %d calls, want %v after %d", c.name, err, calls, c.err, c.calls)
		}
	}
}
