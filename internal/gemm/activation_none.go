//go:build purego || !amd64

package gemm

func activations(path string) []any { return nil }
