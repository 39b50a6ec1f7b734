package cpu

// argmax writes to each of dst [rows] the place of the first largest element of its row of z [rows,
// out], with stride ld. It writes -1 if the row has a NaN or an infinity.
func argmax[T Float](dst []int32, z []T, out, ld int) {
	for r := range dst {
		row := z[r*ld:][:out]
		best := 0
		for j, v := range row {
			if v-v != 0 {
				best = -1
				break
			}
			if v > row[best] {
				best = j
			}
		}
		dst[r] = int32(best)
	}
}
