//go:build !purego

package gemm

//go:noescape
func neon_float32_5x1(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_5x2(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_5x3(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_5x4(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_2x1(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_2x2(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_2x3(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_2x4(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_1x1(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_1x2(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_1x3(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_1x4(n int, list *uint32, a *float32, ars, acs int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float64_5x1(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_5x2(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_5x3(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_5x4(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_2x1(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_2x2(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_2x3(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_2x4(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_1x1(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_1x2(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_1x3(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_1x4(n int, list *uint32, a *float64, ars, acs int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float32_strip5x1(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip5x2(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip5x3(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip5x4(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip2x1(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip2x2(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip2x3(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip2x4(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip1x1(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip1x2(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip1x3(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float32_strip1x4(times, n int, at *int32, a *float32, ars int, w, init *float32, ldi int, c *float32, ldc int)

//go:noescape
func neon_float64_strip5x1(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip5x2(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip5x3(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip5x4(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip2x1(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip2x2(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip2x3(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip2x4(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip1x1(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip1x2(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip1x3(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

//go:noescape
func neon_float64_strip1x4(times, n int, at *int32, a *float64, ars int, w, init *float64, ldi int, c *float64, ldc int)

var (
	neon = kernel[float32]{path: "neon", lanes: 4,
		index: sets[indexKernel[float32]]{
			five: []indexKernel[float32]{neon_float32_5x1, neon_float32_5x2, neon_float32_5x3, neon_float32_5x4},
			two:  []indexKernel[float32]{neon_float32_2x1, neon_float32_2x2, neon_float32_2x3, neon_float32_2x4},
			one:  []indexKernel[float32]{neon_float32_1x1, neon_float32_1x2, neon_float32_1x3, neon_float32_1x4},
		},
		strips: sets[stripKernel[float32]]{
			five: []stripKernel[float32]{neon_float32_strip5x1, neon_float32_strip5x2, neon_float32_strip5x3, neon_float32_strip5x4},
			two:  []stripKernel[float32]{neon_float32_strip2x1, neon_float32_strip2x2, neon_float32_strip2x3, neon_float32_strip2x4},
			one:  []stripKernel[float32]{neon_float32_strip1x1, neon_float32_strip1x2, neon_float32_strip1x3, neon_float32_strip1x4},
		}}
	neond = kernel[float64]{path: "neon", lanes: 2,
		index: sets[indexKernel[float64]]{
			five: []indexKernel[float64]{neon_float64_5x1, neon_float64_5x2, neon_float64_5x3, neon_float64_5x4},
			two:  []indexKernel[float64]{neon_float64_2x1, neon_float64_2x2, neon_float64_2x3, neon_float64_2x4},
			one:  []indexKernel[float64]{neon_float64_1x1, neon_float64_1x2, neon_float64_1x3, neon_float64_1x4},
		},
		strips: sets[stripKernel[float64]]{
			five: []stripKernel[float64]{neon_float64_strip5x1, neon_float64_strip5x2, neon_float64_strip5x3, neon_float64_strip5x4},
			two:  []stripKernel[float64]{neon_float64_strip2x1, neon_float64_strip2x2, neon_float64_strip2x3, neon_float64_strip2x4},
			one:  []stripKernel[float64]{neon_float64_strip1x1, neon_float64_strip1x2, neon_float64_strip1x3, neon_float64_strip1x4},
		}}
)

// Every 64-bit ARM processor has NEON.
func kernels[T Float]() []kernel[T] {
	for _, k := range []any{neon, neond} {
		if k, ok := k.(kernel[T]); ok {
			return []kernel[T]{k, goKernel[T]()}
		}
	}
	return []kernel[T]{goKernel[T]()}
}

func vectors(path string) []any { return nil }

func tiles(path string) []any { return nil }
