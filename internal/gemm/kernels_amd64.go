//go:build !purego

package gemm

import "golang.org/x/sys/cpu"

func kernels[T Float]() []kernel[T] {
	avx2, avx512 := kernel[float32]{"avx2", 6, 16, avx2_float32}, kernel[float32]{"avx512", 12, 32, avx512_float32}
	avx2d, avx512d := kernel[float64]{"avx2", 6, 8, avx2_float64}, kernel[float64]{"avx512", 12, 16, avx512_float64}
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
