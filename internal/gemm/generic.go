package gemm

import "unsafe"

// goKernel is the kernel for every processor.
func goKernel[T Float]() kernel[T] { return kernel[T]{"go", 2, 4, kernelGo[T]} }

// kernelGo adds the product of the panels a [k][MR] and b [k][NR] to the tile
// c [MR][ldc], MR = 2 and NR = 4, for which 16 registers are enough:
//
//	c[i·ldc+j] ← c[i·ldc+j] + Σ_k a[k·MR+i]·b[k·NR+j]
//
// Each element is one chain over k that starts from the old value.
func kernelGo[T Float](k int, a, b, c *T, ldc int) {
	as, bs := unsafe.Slice(a, 2*k), unsafe.Slice(b, 4*k)
	cs := unsafe.Slice(c, ldc+4)
	r0, r1 := cs[:4], cs[ldc:][:4]
	c00, c01, c02, c03 := r0[0], r0[1], r0[2], r0[3]
	c10, c11, c12, c13 := r1[0], r1[1], r1[2], r1[3]
	for len(as) >= 4 && len(bs) >= 8 { // two steps in a turn
		a0, a1 := as[0], as[1]
		b0, b1, b2, b3 := bs[0], bs[1], bs[2], bs[3]
		c00 += a0 * b0
		c01 += a0 * b1
		c02 += a0 * b2
		c03 += a0 * b3
		c10 += a1 * b0
		c11 += a1 * b1
		c12 += a1 * b2
		c13 += a1 * b3
		a0, a1 = as[2], as[3]
		b0, b1, b2, b3 = bs[4], bs[5], bs[6], bs[7]
		c00 += a0 * b0
		c01 += a0 * b1
		c02 += a0 * b2
		c03 += a0 * b3
		c10 += a1 * b0
		c11 += a1 * b1
		c12 += a1 * b2
		c13 += a1 * b3
		as, bs = as[4:], bs[8:]
	}
	if len(as) >= 2 && len(bs) >= 4 {
		a0, a1 := as[0], as[1]
		b0, b1, b2, b3 := bs[0], bs[1], bs[2], bs[3]
		c00 += a0 * b0
		c01 += a0 * b1
		c02 += a0 * b2
		c03 += a0 * b3
		c10 += a1 * b0
		c11 += a1 * b1
		c12 += a1 * b2
		c13 += a1 * b3
	}
	r0[0], r0[1], r0[2], r0[3] = c00, c01, c02, c03
	r1[0], r1[1], r1[2], r1[3] = c10, c11, c12, c13
}
