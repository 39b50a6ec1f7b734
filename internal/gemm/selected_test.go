package gemm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// randomSelections makes selections of the given number of groups. Each group has rows rows, and
// the last may have fewer. A selection chooses each k with probability shared, and each of its
// groups chooses each of these with probability own. A column is chosen with probability wanted.
// The rows of C are shuffled among selections.
func randomSelections[T Float](r *rand.Rand, m, k, n, perSelection, rows int, shared, own, wanted float64) []Selection[T] {
	groups, _ := randomGroups[T](r, m, k, rows, 0)
	r.Shuffle(len(groups), func(i, j int) { groups[i], groups[j] = groups[j], groups[i] })
	var selections []Selection[T]
	for len(groups) > 0 {
		h := min(perSelection, len(groups))
		x := Selection[T]{Columns: someOf(r, n, wanted), Groups: groups[:h]}
		groups = groups[h:]
		common := someOf(r, k, shared)
		for i := range x.Groups {
			g := &x.Groups[i]
			for _, j := range someOf(r, len(common), own) {
				g.List = append(g.List, common[j])
			}
			g.LDA = len(g.List)
			g.A = random[T](r, g.Rows*g.LDA)
		}
		selections = append(selections, x)
	}
	return selections
}

// someOf chooses some of 0 … n-1.
func someOf(r *rand.Rand, n int, probability float64) (list []uint32) {
	for i := range n {
		if r.Float64() < probability {
			list = append(list, uint32(i))
		}
	}
	return list
}

// allGroups returns the groups of all selections.
func allGroups[T Float](selections []Selection[T]) (groups []Group[T]) {
	for _, x := range selections {
		groups = append(groups, x.Groups...)
	}
	return groups
}

// TestMulSelected compares products with the dense one. They are equal, as those of groups are.
func TestMulSelected(t *testing.T) {
	t.Run("float32", testMulSelected[float32])
	t.Run("float64", testMulSelected[float64])
}

func testMulSelected[T Float](t *testing.T) {
	shapes := [][3]int{{3, 0, 20}, {1, 1, 1}, {5, 1, 80}, {7, 33, 17}, {11, 64, 160}, {13, 257, 131}, {23, 300, 197}, {9, 131, 685}, {3, 40, 9001}}
	for _, path := range Paths() {
		var s Scratch[T] // for all: what one product leaves must not disturb the next
		for _, sh := range shapes {
			for _, c := range []struct {
				groups, rows        int // of a selection, of a group
				shared, own, wanted float64
			}{
				{4, GroupRows, .65, .85, .42}, {4, GroupRows, 1, 1, 1}, {1, 2, .3, .5, .7}, {2, 1, .5, .5, .02},
				{3, 2, .02, .5, .2}, {2, GroupRows, .5, 0, .5}, {2, GroupRows, .5, .5, 0},
			} {
				m, k, n := sh[0], sh[1], sh[2]
				what := fmt.Sprintf("%s %v %+v", path, sh, c)
				r := rand.New(rand.NewPCG(17, uint64(k)))
				selections := randomSelections[T](r, m, k, n, c.groups, c.rows, c.shared, c.own, c.wanted)
				selections = append(selections, Selection[T]{}, Selection[T]{Columns: []uint32{0}})
				mat := NewMatrix[T](path, k, n)
				mat.Pack(random[T](r, k*n), n, 1)
				ldc := mat.Padded() + 3
				got, full := make([]T, m*ldc), make([]T, m*n)
				for i := range got {
					got[i] = T(math.NaN())
				}
				want := slices.Clone(got)
				mat.MulSelected(got, ldc, selections, &s)
				mat.MulAdd(full, n, dense(allGroups(selections), m, k), k, 1, m, new(Scratch[T]))
				for _, x := range selections {
					for _, g := range x.Groups {
						for i := g.Row; i < g.Row+g.Rows; i++ {
							padded := (len(x.Columns) + mat.kernel.lanes - 1) / mat.kernel.lanes * mat.kernel.lanes
							clear(want[i*ldc:][:padded])
							for j, col := range x.Columns {
								want[i*ldc+j] = full[i*n+int(col)]
							}
						}
					}
				}
				for i, w := range want {
					if got[i] != w && (got[i] == got[i] || w == w) {
						t.Fatalf("%s: c[%d,%d] = %v, want %v", what, i/ldc, i%ldc, got[i], w)
					}
				}
			}
		}
	}
}

// BenchmarkMulSelected compares MulSelected, in turns, with the product in all columns. The work is
// that of a sweep at its first hidden layer, for rows of one image that are nearly alike.
func BenchmarkMulSelected(b *testing.B) {
	const m, k, n = 1200, 1024, 1024
	for _, path := range Paths() {
		for _, groups := range []int{4, 2, 1} {
			b.Run(fmt.Sprintf("path=%s/M=%d/K=%d/N=%d/groups=%d", path, m, k, n, groups), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				mat := NewMatrix[float32](path, k, n)
				mat.Pack(random[float32](r, k*n), n, 1)
				selections := randomSelections[float32](r, m, k, n, groups, GroupRows, .65, .85, .42)
				const ldc = n + VectorPad // rows a power of two apart would share sets of the cache
				c, all := make([]float32, m*ldc), allGroups(selections)
				var s Scratch[float32]
				least := [2]time.Duration{1 << 62, 1 << 62}
				for b.Loop() {
					for i, product := range []func(){
						func() { mat.MulAddGroups(c, ldc, all) },
						func() { mat.MulSelected(c, ldc, selections, &s) },
					} {
						start := time.Now()
						product()
						least[i] = min(least[i], time.Since(start))
					}
				}
				b.ReportMetric(float64(least[0].Microseconds())/1000, "ms-all")
				b.ReportMetric(float64(least[1].Microseconds())/1000, "ms-selected")
				b.ReportMetric(float64(least[0])/float64(least[1]), "times-faster")
			})
		}
	}
}
