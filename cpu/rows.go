package cpu

import "advsweep/internal/gemm"

// A rows lists rows of a left-hand matrix by what is not zero in them, for a product that skips the
// rest. Skipping changes no bit of a result, since a term 0·w leaves its sum as it is.
//
// One worker owns it. reset begins a list, add and what calls it fill the list, and a multiply uses
// it.
type rows[T Float] struct {
	vec    gemm.Vector[T]
	dense  bool // list every column
	list   []uint32
	a      []T
	groups []gemm.Group[T]
	loose  bool   // the groups are those of unlike; reset clears it
	flop   uint64 // of all products so far: two for each multiplication and addition
	own    rowList[T]
}

// A rowList is room for the list of one row, in which loose groups are counted.
type rowList[T Float] struct {
	list []uint32
	a    []T
}

// fewer is the time that one or two rows take for each column listed, as a share of the time of
// five. The kernel waits for the weights then, which it uses but once. Measured: 0.4 to 0.5 with
// AVX-512, 0.55 to 0.65 with AVX2.
const fewer = 0.55

// grouped reports whether five rows that have nothing in common should go together. By twos, with
// sum columns listed in all, they take fewer·sum. Together they take n, since next to no column is
// zero in all of them.
func grouped(sum, n int) bool { return fewer*float64(sum) > float64(n) }

// reset empties r and makes room for count rows of n columns.
func (r *rows[T]) reset(count, n int) {
	r.groups, r.loose = r.groups[:0], false
	r.list = resize(r.list, count*(n+gemm.VectorPad))[:0]
	r.a = resize(r.a, count*(n+gemm.VectorPad))[:0]
}

// next returns room for a group of count rows of n columns.
func (r *rows[T]) next(count, n int) (list []uint32, a []T, lda int) {
	lda = n + gemm.VectorPad
	l, v := len(r.list), len(r.a)
	r.list, r.a = r.list[:l+lda], r.a[:v+count*lda]
	return r.list[l:], r.a[v:], lda
}

// add appends a group that was written to the room of next. It has count rows from row on, and
// lists so many columns.
func (r *rows[T]) add(row, count int, list []uint32, a []T, lda, columns int) {
	r.groups = append(r.groups, gemm.Group[T]{Row: row, Rows: count, List: list[:columns], A: a, LDA: lda})
}

// positives lists n rows of v where m is positive, both [n, columns] with stride ld, in the groups
// of a split.
func (r *rows[T]) positives(v, m []T, ld, n, columns int, s split[T]) {
	r.reset(n, columns)
	s(r, n, columns, func(row, count int) int { return r.positive(row, count, v, m, ld, columns) })
}

// nonZeros lists n rows of v [n, columns] with stride ld where v is not zero, in the groups of a
// split.
func (r *rows[T]) nonZeros(v []T, ld, n, columns int, s split[T]) {
	r.reset(n, columns)
	s(r, n, columns, func(row, count int) int { return r.nonZero(row, count, v, ld, columns) })
}

// positive appends a group: rows row to row+count-1 of v where m is positive, both [·, n] with
// stride ld. count is 1, 2 or GroupRows. It returns how many columns the group lists.
func (r *rows[T]) positive(row, count int, v, m []T, ld, n int) int {
	list, a, lda := r.next(count, n)
	c := n
	if r.dense {
		r.all(list, a, lda, v[row*ld:], m[row*ld:], ld, n, count)
	} else {
		c = r.vec.Positive(list, a, lda, v[row*ld:], m[row*ld:], ld, n, count)
	}
	r.add(row, count, list, a, lda, c)
	return c
}

// nonZero appends a group: rows row to row+count-1 of v [·, n] with stride ld where v is not zero.
// It returns how many columns the group lists.
func (r *rows[T]) nonZero(row, count int, v []T, ld, n int) int {
	list, a, lda := r.next(count, n)
	c := n
	if r.dense {
		r.all(list, a, lda, v[row*ld:], nil, ld, n, count)
	} else {
		c = r.vec.NonZero(list, a, lda, v[row*ld:], ld, n, count)
	}
	r.add(row, count, list, a, lda, c)
	return c
}

// all lists every column with the value of v. The value is 0 where m, unless it is nil, is not
// positive.
func (r *rows[T]) all(list []uint32, a []T, lda int, v, m []T, ld, n, count int) {
	for k := range n {
		list[k] = uint32(k)
	}
	for i := range count {
		copy(a[i*lda:][:n], v[i*ld:])
		if m != nil {
			for k, z := range m[i*ld:][:n] {
				if z <= 0 { // a NaN is not
					a[i*lda+k] = 0
				}
			}
		}
	}
}

// A mark is how far a rows has been filled.
type mark struct{ list, a, groups int }

func (r *rows[T]) mark() mark { return mark{len(r.list), len(r.a), len(r.groups)} }

// back takes away what was appended after m.
func (r *rows[T]) back(m mark) {
	r.list, r.a, r.groups = r.list[:m.list], r.a[:m.a], r.groups[:m.groups]
}

// multiply adds the product of the listed rows and m to z, rows of stride ld.
func (r *rows[T]) multiply(z []T, ld int, m *gemm.Matrix[T]) {
	r.count(m)
	m.MulAddGroups(z, ld, r.groups)
}

// multiplyFrom writes to z, rows of stride ld, the sum of from and the product of the listed rows
// and m. from is a bias or zeros.
func (r *rows[T]) multiplyFrom(from, z []T, ld int, m *gemm.Matrix[T]) {
	r.count(m)
	m.MulGroups(z, ld, r.groups, from)
}

// count adds the product of the listed rows and m to flop.
//
// Which rows of different images form a group depends on where a block begins, and so on the
// threads. Flop must not. So a row of a loose group counts for what is not zero in it. Rows of one
// image always form the same groups, and count for all that their group lists.
func (r *rows[T]) count(m *gemm.Matrix[T]) {
	terms := 0
	for i := range r.groups {
		if g := &r.groups[i]; r.loose && !r.dense {
			terms += r.nonZerosOf(g)
		} else {
			terms += g.Rows * len(g.List)
		}
	}
	r.flop += 2 * uint64(terms) * uint64(m.N)
}

// nonZerosOf returns how many values of g are not zero.
func (r *rows[T]) nonZerosOf(g *gemm.Group[T]) (sum int) {
	n, own := len(g.List), &r.own
	if n == 0 {
		return 0
	}
	own.list, own.a = resize(own.list, n+gemm.VectorPad), resize(own.a, n+gemm.VectorPad)
	for row := range g.Rows {
		sum += r.vec.NonZero(own.list, own.a, n+gemm.VectorPad, g.A[row*g.LDA:][:n], n, n, 1)
	}
	return sum
}
