//go:build amd64 && !purego

package gemm

// activations returns the tables of a path by element type.
func activations(path string) []any {
	switch path {
	case "avx512":
		return []any{avx512_float32_activations, avx512_float64_activations}
	case "avx2":
		return []any{avx2_float32_activations, avx2_float64_activations}
	}
	return nil
}
