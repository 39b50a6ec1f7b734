//go:build purego || !(amd64 || arm64)

package gemm

func kernels[T Float]() []kernel[T] { return []kernel[T]{goKernel[T]()} }

func vectors(path string) []any { return nil }

func tiles(path string) []any { return nil }
