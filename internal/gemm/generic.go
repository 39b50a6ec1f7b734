package gemm

import (
	"math"
	"unsafe"
)

// goKernel is the kernel for every processor.
func goKernel[T Float]() kernel[T] {
	return kernel[T]{path: "go", lanes: 4,
		index:  sets[indexKernel[T]]{five: []indexKernel[T]{kernelGo5[T]}, two: []indexKernel[T]{kernelGo2[T]}, one: []indexKernel[T]{kernelGo[T]}},
		strips: sets[stripKernel[T]]{five: []stripKernel[T]{stripGo5[T]}, two: []stripKernel[T]{stripGo2[T]}, one: []stripKernel[T]{stripGo[T]}}}
}

// kernelGo computes a row of c [width] from init [width], which may be c, and the product of a row
// of A with a panel w [K][width], for width = 4. Only n columns of A are given, those that list
// names, rising:
//
//	c[j] ← init[j] + Σ_t a[t·acs]·w[list[t]·width+j]
//
// Each element is one chain over t that starts from init. The kernels for more rows do the same for
// c[r·ldc+j], init[r·ldi+j] and a[r·ars+t·acs]. n is not 0.
func kernelGo[T Float](n int, list *uint32, a *T, ars, acs int, w, init *T, ldi int, c *T, ldc int) {
	ls := unsafe.Slice(list, n)
	as, ws := unsafe.Slice(a, (n-1)*acs+1), unsafe.Slice(w, 4*int(ls[n-1])+4)
	i0, r0 := unsafe.Slice(init, 4), unsafe.Slice(c, 4)
	c0, c1, c2, c3 := i0[0], i0[1], i0[2], i0[3]
	p := 0
	for _, k := range ls {
		a0, b := as[p], ws[4*int(k):][:4]
		c0 += a0 * b[0]
		c1 += a0 * b[1]
		c2 += a0 * b[2]
		c3 += a0 * b[3]
		p += acs
	}
	r0[0], r0[1], r0[2], r0[3] = c0, c1, c2, c3
}

// kernelGo5 is kernelGo for 5 rows. It takes 2, 2 and 1, for which 16 registers are enough.
func kernelGo5[T Float](n int, list *uint32, a *T, ars, acs int, w, init *T, ldi int, c *T, ldc int) {
	as, is, cs := unsafe.Slice(a, 4*ars+1), unsafe.Slice(init, 4*ldi+1), unsafe.Slice(c, 4*ldc+1)
	kernelGo2(n, list, a, ars, acs, w, init, ldi, c, ldc)
	kernelGo2(n, list, &as[2*ars], ars, acs, w, &is[2*ldi], ldi, &cs[2*ldc], ldc)
	kernelGo(n, list, &as[4*ars], ars, acs, w, &is[4*ldi], ldi, &cs[4*ldc], ldc)
}

// kernelGo2 is kernelGo for 2 rows.
func kernelGo2[T Float](n int, list *uint32, a *T, ars, acs int, w, init *T, ldi int, c *T, ldc int) {
	ls := unsafe.Slice(list, n)
	as, ws := unsafe.Slice(a, ars+(n-1)*acs+1), unsafe.Slice(w, 4*int(ls[n-1])+4)
	is, cs := unsafe.Slice(init, ldi+4), unsafe.Slice(c, ldc+4)
	i0, i1, r0, r1 := is[:4], is[ldi:][:4], cs[:4], cs[ldc:][:4]
	c00, c01, c02, c03 := i0[0], i0[1], i0[2], i0[3]
	c10, c11, c12, c13 := i1[0], i1[1], i1[2], i1[3]
	p := 0
	for _, k := range ls {
		a0, a1, b := as[p], as[p+ars], ws[4*int(k):][:4]
		c00 += a0 * b[0]
		c01 += a0 * b[1]
		c02 += a0 * b[2]
		c03 += a0 * b[3]
		c10 += a1 * b[0]
		c11 += a1 * b[1]
		c12 += a1 * b[2]
		c13 += a1 * b[3]
		p += acs
	}
	r0[0], r0[1], r0[2], r0[3] = c00, c01, c02, c03
	r1[0], r1[1], r1[2], r1[3] = c10, c11, c12, c13
}

// stripGo computes rows of c [width] from rows of init [width], which may be c, and the product of
// windows of A with a panel w [n][width], for width = 4. Term t of the window of row r is at
// a[r·ars+at[t]]:
//
//	c[r·ldc+j] ← init[r·ldi+j] + Σ_t a[r·ars+at[t]]·w[t·width+j]
//
// for 0 ≤ r < times. Each element is one chain over t that starts from init. The kernels for more
// rows do the same for times as many. n is not 0.
func stripGo[T Float](times, n int, at *int32, a *T, ars int, w, init *T, ldi int, c *T, ldc int) {
	terms, ws := unsafe.Slice(at, n), unsafe.Slice(w, 4*n)
	for r := range times {
		as, i0, r0 := behind(a, r*ars), unsafe.Slice(behind(init, r*ldi), 4), unsafe.Slice(behind(c, r*ldc), 4)
		c0, c1, c2, c3 := i0[0], i0[1], i0[2], i0[3]
		for t, k := range terms {
			a0, b := *behind(as, int(k)), ws[4*t:][:4]
			c0 += a0 * b[0]
			c1 += a0 * b[1]
			c2 += a0 * b[2]
			c3 += a0 * b[3]
		}
		r0[0], r0[1], r0[2], r0[3] = c0, c1, c2, c3
	}
}

// stripGo5 is stripGo for 5 rows at a time. It takes 2, 2 and 1, for which 16 registers are enough.
func stripGo5[T Float](times, n int, at *int32, a *T, ars int, w, init *T, ldi int, c *T, ldc int) {
	for i := range times {
		a, init, c := behind(a, 5*i*ars), behind(init, 5*i*ldi), behind(c, 5*i*ldc)
		stripGo2(2, n, at, a, ars, w, init, ldi, c, ldc)
		stripGo(1, n, at, behind(a, 4*ars), ars, w, behind(init, 4*ldi), ldi, behind(c, 4*ldc), ldc)
	}
}

// stripGo2 is stripGo for 2 rows at a time.
func stripGo2[T Float](times, n int, at *int32, a *T, ars int, w, init *T, ldi int, c *T, ldc int) {
	terms, ws := unsafe.Slice(at, n), unsafe.Slice(w, 4*n)
	for i := range times {
		r := 2 * i
		as, i0, r0 := behind(a, r*ars), unsafe.Slice(behind(init, r*ldi), 4), unsafe.Slice(behind(c, r*ldc), 4)
		bs, i1, r1 := behind(as, ars), unsafe.Slice(behind(init, (r+1)*ldi), 4), unsafe.Slice(behind(c, (r+1)*ldc), 4)
		c00, c01, c02, c03 := i0[0], i0[1], i0[2], i0[3]
		c10, c11, c12, c13 := i1[0], i1[1], i1[2], i1[3]
		for t, k := range terms {
			a0, a1, b := *behind(as, int(k)), *behind(bs, int(k)), ws[4*t:][:4]
			c00 += a0 * b[0]
			c01 += a0 * b[1]
			c02 += a0 * b[2]
			c03 += a0 * b[3]
			c10 += a1 * b[0]
			c11 += a1 * b[1]
			c12 += a1 * b[2]
			c13 += a1 * b[3]
		}
		r0[0], r0[1], r0[2], r0[3] = c00, c01, c02, c03
		r1[0], r1[1], r1[2], r1[3] = c10, c11, c12, c13
	}
}

// behind returns the place n elements behind p.
func behind[T Float](p *T, n int) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(p), n*int(unsafe.Sizeof(*p))))
}

// fused returns k·x + y, rounded once. k is a power of two.
//
// A product in float64 has all digits of a float32 x. The sum is rounded to float64 and then to
// float32. That is the same as to round it once, since a float64 has twice as many digits as a
// float32 and two more: Figueroa 1995, "When is double rounding innocuous?".
func fused[T Float](k float64, x, y T) T {
	if unsafe.Sizeof(x) == 4 {
		return T(float64(k*float64(x)) + float64(y))
	}
	return T(math.FMA(k, float64(x), float64(y)))
}
