//go:build !purego

package gemm

import "golang.org/x/sys/cpu"

var (
	avx512 = kernel[float32]{path: "avx512", lanes: 16,
		index: sets[indexKernel[float32]]{
			five:   []indexKernel[float32]{avx512_float32_5x1, avx512_float32_5x2, avx512_float32_5x3, avx512_float32_5x4, avx512_float32_5x5},
			two:    []indexKernel[float32]{avx512_float32_2x1, avx512_float32_2x2, avx512_float32_2x3, avx512_float32_2x4, avx512_float32_2x5},
			one:    []indexKernel[float32]{avx512_float32_1x1, avx512_float32_1x2, avx512_float32_1x3, avx512_float32_1x4, avx512_float32_1x5},
			narrow: []narrow[indexKernel[float32]]{{15, avx512_float32_15x1}, {10, avx512_float32_10x1}},
		},
		strips: sets[stripKernel[float32]]{
			five:   []stripKernel[float32]{avx512_float32_strip5x1, avx512_float32_strip5x2, avx512_float32_strip5x3, avx512_float32_strip5x4, avx512_float32_strip5x5},
			two:    []stripKernel[float32]{avx512_float32_strip2x1, avx512_float32_strip2x2, avx512_float32_strip2x3, avx512_float32_strip2x4, avx512_float32_strip2x5},
			one:    []stripKernel[float32]{avx512_float32_strip1x1, avx512_float32_strip1x2, avx512_float32_strip1x3, avx512_float32_strip1x4, avx512_float32_strip1x5},
			narrow: []narrow[stripKernel[float32]]{{15, avx512_float32_strip15x1}, {10, avx512_float32_strip10x1}},
		},
		gather:     []gatherKernel[float32]{avx512_float32_gather1, avx512_float32_gather2, avx512_float32_gather3, avx512_float32_gather4},
		gatherMore: avx512_float32_gatherMore, prefetch: prefetch}
	avx512d = kernel[float64]{path: "avx512", lanes: 8,
		index: sets[indexKernel[float64]]{
			five:   []indexKernel[float64]{avx512_float64_5x1, avx512_float64_5x2, avx512_float64_5x3, avx512_float64_5x4, avx512_float64_5x5},
			two:    []indexKernel[float64]{avx512_float64_2x1, avx512_float64_2x2, avx512_float64_2x3, avx512_float64_2x4, avx512_float64_2x5},
			one:    []indexKernel[float64]{avx512_float64_1x1, avx512_float64_1x2, avx512_float64_1x3, avx512_float64_1x4, avx512_float64_1x5},
			narrow: []narrow[indexKernel[float64]]{{15, avx512_float64_15x1}, {10, avx512_float64_10x1}},
		},
		strips: sets[stripKernel[float64]]{
			five:   []stripKernel[float64]{avx512_float64_strip5x1, avx512_float64_strip5x2, avx512_float64_strip5x3, avx512_float64_strip5x4, avx512_float64_strip5x5},
			two:    []stripKernel[float64]{avx512_float64_strip2x1, avx512_float64_strip2x2, avx512_float64_strip2x3, avx512_float64_strip2x4, avx512_float64_strip2x5},
			one:    []stripKernel[float64]{avx512_float64_strip1x1, avx512_float64_strip1x2, avx512_float64_strip1x3, avx512_float64_strip1x4, avx512_float64_strip1x5},
			narrow: []narrow[stripKernel[float64]]{{15, avx512_float64_strip15x1}, {10, avx512_float64_strip10x1}},
		},
		gather:     []gatherKernel[float64]{avx512_float64_gather1, avx512_float64_gather2, avx512_float64_gather3, avx512_float64_gather4},
		gatherMore: avx512_float64_gatherMore, prefetch: prefetch}
	avx2 = kernel[float32]{path: "avx2", lanes: 8,
		index: sets[indexKernel[float32]]{
			five:   []indexKernel[float32]{avx2_float32_5x1, avx2_float32_5x2},
			two:    []indexKernel[float32]{avx2_float32_2x1, avx2_float32_2x2},
			one:    []indexKernel[float32]{avx2_float32_1x1, avx2_float32_1x2},
			narrow: []narrow[indexKernel[float32]]{{10, avx2_float32_10x1}},
		},
		pairTwo: avx2_float32_pair2x2, pairOne: avx2_float32_pair1x2,
		strips: sets[stripKernel[float32]]{
			five:   []stripKernel[float32]{avx2_float32_strip5x1, avx2_float32_strip5x2},
			two:    []stripKernel[float32]{avx2_float32_strip2x1, avx2_float32_strip2x2},
			one:    []stripKernel[float32]{avx2_float32_strip1x1, avx2_float32_strip1x2},
			narrow: []narrow[stripKernel[float32]]{{10, avx2_float32_strip10x1}},
		},
		gather:     []gatherKernel[float32]{avx2_float32_gather1, avx2_float32_gather2, avx2_float32_gather3, avx2_float32_gather4},
		gatherMore: avx2_float32_gatherMore, prefetch: prefetch}
	avx2d = kernel[float64]{path: "avx2", lanes: 4,
		index: sets[indexKernel[float64]]{
			five:   []indexKernel[float64]{avx2_float64_5x1, avx2_float64_5x2},
			two:    []indexKernel[float64]{avx2_float64_2x1, avx2_float64_2x2},
			one:    []indexKernel[float64]{avx2_float64_1x1, avx2_float64_1x2},
			narrow: []narrow[indexKernel[float64]]{{10, avx2_float64_10x1}},
		},
		pairTwo: avx2_float64_pair2x2, pairOne: avx2_float64_pair1x2,
		strips: sets[stripKernel[float64]]{
			five:   []stripKernel[float64]{avx2_float64_strip5x1, avx2_float64_strip5x2},
			two:    []stripKernel[float64]{avx2_float64_strip2x1, avx2_float64_strip2x2},
			one:    []stripKernel[float64]{avx2_float64_strip1x1, avx2_float64_strip1x2},
			narrow: []narrow[stripKernel[float64]]{{10, avx2_float64_strip10x1}},
		}}
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

var (
	vectorAVX512 = Vector[float32]{
		1, [3]lister[float32]{avx512_float32_positive5, avx512_float32_positive2, avx512_float32_positive1}, [3]lister[float32]{avx512_float32_nonZero5, avx512_float32_nonZero2, avx512_float32_nonZero1}, [3]lister[float32]{avx512_float32_flipped5, avx512_float32_flipped2, avx512_float32_flipped1},
		avx512_float32_line, avx512_float32_plus, avx512_float32_move, avx512_float32_kinked1, avx512_float32_gate, avx512_float32_differences, avx512_float32_levels, avx512_float32_expand,
		windowKernels[float32]{avx512_float32_products, avx512_float32_largest, avx512_float32_sum, avx512_float32_mean, avx512_float32_hand, avx512_float32_handMore, avx512_float32_grouped, avx512_float32_groupedApart, 16},
	}
	vectorAVX512d = Vector[float64]{
		1, [3]lister[float64]{avx512_float64_positive5, avx512_float64_positive2, avx512_float64_positive1}, [3]lister[float64]{avx512_float64_nonZero5, avx512_float64_nonZero2, avx512_float64_nonZero1}, [3]lister[float64]{avx512_float64_flipped5, avx512_float64_flipped2, avx512_float64_flipped1},
		avx512_float64_line, avx512_float64_plus, avx512_float64_move, avx512_float64_kinked1, avx512_float64_gate, avx512_float64_differences, avx512_float64_levels, avx512_float64_expand,
		windowKernels[float64]{avx512_float64_products, avx512_float64_largest, avx512_float64_sum, avx512_float64_mean, avx512_float64_hand, avx512_float64_handMore, avx512_float64_grouped, avx512_float64_groupedApart, 8},
	}
	vectorAVX2 = Vector[float32]{
		8, [3]lister[float32]{avx2_float32_positive5, avx2_float32_positive2, avx2_float32_positive1}, [3]lister[float32]{avx2_float32_nonZero5, avx2_float32_nonZero2, avx2_float32_nonZero1}, [3]lister[float32]{avx2_float32_flipped5, avx2_float32_flipped2, avx2_float32_flipped1},
		avx2_float32_line, avx2_float32_plus, avx2_float32_move, avx2_float32_kinked1, avx2_float32_gate, avx2_float32_differences, avx2_float32_levels, nil,
		windowKernels[float32]{avx2_float32_products, avx2_float32_largest, avx2_float32_sum, avx2_float32_mean, avx2_float32_hand, avx2_float32_handMore, avx2_float32_grouped, avx2_float32_groupedApart, 8},
	}
)

// vectors returns the operations of a path by element type. AVX2 has none for float64.
func vectors(path string) []any {
	switch path {
	case "avx512":
		return []any{vectorAVX512, vectorAVX512d}
	case "avx2":
		return []any{vectorAVX2}
	}
	return nil
}

// assembly is the transforms of tiles of so many outputs, for vectors of so many channels.
func assembly[T Float](size int, whole multiple, in tilesIn[T], out tilesOut[T]) Tiles[T] {
	return Tiles[T]{tileForm: tileForm[T]{size: size}, whole: whole, in: in, out: out}
}

// tiles returns the transforms of a path by size and element type.
func tiles(path string) []any {
	switch path {
	case "avx512":
		return []any{
			assembly(2, 16, avx512_float32_tilesIn, avx512_float32_tilesOut), assembly(2, 8, avx512_float64_tilesIn, avx512_float64_tilesOut),
			assembly(4, 16, avx512_float32_tiles4In, avx512_float32_tiles4Out), assembly(4, 8, avx512_float64_tiles4In, avx512_float64_tiles4Out),
		}
	case "avx2":
		return []any{
			assembly(2, 8, avx2_float32_tilesIn, avx2_float32_tilesOut), assembly(2, 4, avx2_float64_tilesIn, avx2_float64_tilesOut),
			assembly(4, 8, avx2_float32_tiles4In, avx2_float32_tiles4Out), assembly(4, 4, avx2_float64_tiles4In, avx2_float64_tiles4Out),
		}
	}
	return nil
}
