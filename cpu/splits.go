package cpu

import "advsweep/internal/gemm"

// A split divides the rows 0 to n-1 of a product into groups. It calls list for each group. list
// makes the group's list of columns and returns how many of the columns it names.
type split[T Float] func(r *rows[T], n, columns int, list func(row, count int) int)

// unlike is the split for rows of different images, which have few active units in common. It takes
// two rows at a time, or five where that is faster.
func unlike[T Float](r *rows[T], n, columns int, list func(row, count int) int) {
	r.loose = true
	for row := 0; row < n; row += gemm.GroupRows {
		mixed(r, row, min(row+gemm.GroupRows, n), columns, list)
	}
}

// mixed divides the rows from to end-1, five at most, as unlike does.
func mixed[T Float](r *rows[T], from, end, columns int, list func(row, count int) int) {
	mark, sum := r.mark(), 0
	for i := from; i < end; i += 2 {
		sum += list(i, min(2, end-i))
	}
	if end-from == gemm.GroupRows && grouped(sum, columns) {
		r.back(mark)
		list(from, gemm.GroupRows)
	}
}

// alike is the split for rows lo to hi-1 of the batch. It takes five neighbours of one image at a
// time, whose active units are mostly the same. Rows of the first skip eps are left out.
func (b *Backend[T]) alike(lo, hi, skip int) split[T] {
	if len(b.batch.eps) < gemm.GroupRows && skip == 0 {
		return unlike[T]
	}
	return b.neighbours(lo, hi, skip)
}

// neighbours is alike, but no group has rows of different images.
func (b *Backend[T]) neighbours(lo, hi, skip int) split[T] {
	E, still := len(b.batch.eps), b.state.still
	return func(_ *rows[T], _, _ int, list func(row, count int) int) {
		for r := lo; r < hi; {
			end := min(hi, (r/E+1)*E)
			count := 1
			switch e := r % E; {
			case e < skip:
				r++
				continue
			case e >= still && end-r >= gemm.GroupRows:
				count = gemm.GroupRows
			case e >= still && end-r >= 2:
				count = 2
			}
			list(r-lo, count)
			r += count
		}
	}
}

// A subset is the rows of a block that are computed.
type subset[T Float] struct {
	n     int              // rows of the block
	split split[T]         // groups those that are computed
	skips func(r int) bool // row r is left out
}

// allOf returns all n rows of a block, each of another image.
func allOf[T Float](n int) subset[T] {
	return subset[T]{n, unlike[T], func(int) bool { return false }}
}

// subset returns the rows lo to hi-1 of the batch without those of the first skip eps.
func (b *Backend[T]) subset(lo, hi, skip int) subset[T] {
	E := len(b.batch.eps)
	return subset[T]{hi - lo, b.alike(lo, hi, skip), func(r int) bool { return (lo+r)%E < skip }}
}

// A stripe is the rows from to to-1 of a product. They are rows of one image, and have many active
// units in common.
type stripe struct{ from, to int }

// stripes returns the images among rows lo to hi-1 that have many rows, the first skip eps of each
// image left out.
func (b *Backend[T]) stripes(lo, hi, skip int) (all []stripe) {
	// Gathering the columns that an image wants takes as long as the product of 5 to 10 rows.
	const many = 15
	E := len(b.batch.eps)
	for r := lo; r < hi; {
		end := min(hi, (r/E+1)*E)
		if from := max(r, r/E*E+skip); end-from >= many && !b.model.dense {
			all = append(all, stripe{from - lo, end - lo})
		}
		r = end
	}
	return all
}
