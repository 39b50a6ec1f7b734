//go:build !purego

package gemm

// neon_float32 is kernelGo with MR = NR = 8 and fused multiply-adds.
//
//go:noescape
func neon_float32(k int, a, b, c *float32, ldc int)

// neon_float64 is kernelGo with MR = 8, NR = 4 and fused multiply-adds.
//
//go:noescape
func neon_float64(k int, a, b, c *float64, ldc int)

// Every 64-bit ARM processor has NEON.
func kernels[T Float]() []kernel[T] {
	for _, k := range []any{kernel[float32]{"neon", 8, 8, neon_float32}, kernel[float64]{"neon", 8, 4, neon_float64}} {
		if k, ok := k.(kernel[T]); ok {
			return []kernel[T]{k, goKernel[T]()}
		}
	}
	return []kernel[T]{goKernel[T]()}
}
