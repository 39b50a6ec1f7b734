package cpu

import "advsweep/internal/gemm"

// rows lists rows of a left-hand matrix by what is not zero in them, for a product that skips the rest.
// Skipping changes no bit of a result: a term 0·w leaves its sum as it is.
type rows[T Float] struct {
	vec    gemm.Vector[T]
	list   []uint32
	a      []T
	groups []gemm.Group[T]
	flop   uint64 // of all products so far: two for each multiplication and addition
}

// alone is how long one row by itself takes, per column that is not zero, as a share of the time of five rows at once:
// the kernel then waits for the weights, which it uses once. Measured 0.4 to 0.5.
const alone = 0.45

// grouped tells whether rows that have nothing in common should go together: with sum columns in all that are not zero,
// one by one they take alone·sum, and together, where next to no column is zero in all of them, the n that there are.
func grouped(sum, n int) bool { return alone*float64(sum) > float64(n) }

// reset empties r and makes room for rows of n columns, count of them.
func (r *rows[T]) reset(count, n int) {
	r.groups = r.groups[:0]
	r.list = resize(r.list, count*(n+gemm.VectorPad))[:0]
	r.a = resize(r.a, count*(n+gemm.VectorPad))[:0]
}

// next returns room for a group of so many rows.
func (r *rows[T]) next(count, n int) (list []uint32, a []T, lda int) {
	lda = n + gemm.VectorPad
	l, v := len(r.list), len(r.a)
	r.list, r.a = r.list[:l+lda], r.a[:v+count*lda]
	return r.list[l:], r.a[v:], lda
}

// add appends the group that was written to the room of next, of so many columns, for rows of the product from row on.
func (r *rows[T]) add(row, count int, list []uint32, a []T, lda, columns int) {
	r.groups = append(r.groups, gemm.Group[T]{Row: row, Rows: count, List: list[:columns], A: a, LDA: lda})
}

// positive appends rows row to row+count-1 of v where m is positive, both [·, n] with stride ld. count is 1 or GroupRows.
func (r *rows[T]) positive(row, count int, v, m []T, ld, n int) int {
	list, a, lda := r.next(count, n)
	c := r.vec.Positive(list, a, lda, v[row*ld:], m[row*ld:], ld, n, count)
	r.add(row, count, list, a, lda, c)
	return c
}

// nonZero appends rows row to row+count-1 of v [·, n] with stride ld, as the product's rows from to on.
func (r *rows[T]) nonZero(to, row, count int, v []T, ld, n int) int {
	list, a, lda := r.next(count, n)
	c := r.vec.NonZero(list, a, lda, v[row*ld:], ld, n, count)
	r.add(to, count, list, a, lda, c)
	return c
}

// unlike appends count rows of different images, which share little: list appends some of them, as positive and
// nonZero do. It takes them one by one where that is faster, else by fives.
func (r *rows[T]) unlike(count, n int, list func(row, count int) int) {
	for row := 0; row < count; row += gemm.GroupRows {
		end, mark, sum := min(row+gemm.GroupRows, count), r.mark(), 0
		for i := row; i < end; i++ {
			sum += list(i, 1)
		}
		if end-row == gemm.GroupRows && grouped(sum, n) {
			r.back(mark)
			list(row, gemm.GroupRows)
		}
	}
}

// A mark is how far r has been filled.
type mark struct{ list, a, groups int }

func (r *rows[T]) mark() mark { return mark{len(r.list), len(r.a), len(r.groups)} }

// back takes away what was appended after m.
func (r *rows[T]) back(m mark) {
	r.list, r.a, r.groups = r.list[:m.list], r.a[:m.a], r.groups[:m.groups]
}

// multiply adds the product of the listed rows and m to z, rows of stride ld.
func (r *rows[T]) multiply(z []T, ld int, m *gemm.Matrix[T]) {
	for _, g := range r.groups {
		r.flop += 2 * uint64(g.Rows*len(g.List)*m.N)
	}
	m.MulAddGroups(z, ld, r.groups)
}
