//go:build !purego

package gemm

import "golang.org/x/sys/cpu"

var (
	avx512 = kernel[float32]{"avx512", 16,
		[]indexKernel[float32]{avx512_float32_5x1, avx512_float32_5x2, avx512_float32_5x3, avx512_float32_5x4, avx512_float32_5x5},
		[]indexKernel[float32]{avx512_float32_1x1, avx512_float32_1x2, avx512_float32_1x3, avx512_float32_1x4, avx512_float32_1x5}}
	avx512d = kernel[float64]{"avx512", 8,
		[]indexKernel[float64]{avx512_float64_5x1, avx512_float64_5x2, avx512_float64_5x3, avx512_float64_5x4, avx512_float64_5x5},
		[]indexKernel[float64]{avx512_float64_1x1, avx512_float64_1x2, avx512_float64_1x3, avx512_float64_1x4, avx512_float64_1x5}}
	avx2 = kernel[float32]{"avx2", 8,
		[]indexKernel[float32]{avx2_float32_5x1, avx2_float32_5x2},
		[]indexKernel[float32]{avx2_float32_1x1, avx2_float32_1x2}}
	avx2d = kernel[float64]{"avx2", 4,
		[]indexKernel[float64]{avx2_float64_5x1, avx2_float64_5x2},
		[]indexKernel[float64]{avx2_float64_1x1, avx2_float64_1x2}}
)

func kernels[T Float]() []kernel[T] {
	var ks []kernel[T]
	add := func(both ...any) {
		for _, k := range both {
			if k, ok := k.(kernel[T]); ok {
				ks = append(ks, k)
			}
		}
	}
	if cpu.X86.HasAVX512F {
		add(avx512, avx512d)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		add(avx2, avx2d)
	}
	return append(ks, goKernel[T]())
}
