// Package formats is what the readers of all formats of models share: bounds on what a file may
// claim, names in messages, and numbers of a file as tensors.
package formats

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"gorgonia.org/tensor"
)

// MaxElements bounds what one layer makes of one image.
const MaxElements = 1 << 30

// MaxSide bounds kernels, strides and padding, so that no sum of them overflows.
const MaxSide = 1 << 20

// MaxRank is more than any layer needs. It bounds what a header can make us hold.
const MaxRank = 8

// Volume is how many elements a shape has.
func Volume(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

// Dense wraps data, which must have as many elements as shape says.
func Dense[T float32 | float64](data []T, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}

// Wide returns the numbers of t, of float32 or float64, as float64. Those of float64 are t's own.
func Wide(t *tensor.Dense) []float64 {
	if data, ok := t.Data().([]float64); ok {
		return data
	}
	single := t.Data().([]float32)
	all := make([]float64, len(single))
	for i, v := range single {
		all[i] = float64(v)
	}
	return all
}

// Read fills p from r. An end before that is an error.
func Read(r io.Reader, p []byte) error {
	// In pieces that stay in a cache for whoever looks at them next, such as a hash.
	for len(p) > 0 {
		piece := p[:min(len(p), readPiece)]
		_, err := io.ReadFull(r, piece)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return errors.New("the file shrank while it was read")
		}
		if err != nil {
			return err
		}
		p = p[len(piece):]
	}
	return nil
}

// readPiece is how many bytes are read at a time.
const readPiece = 128 << 10

// Quote returns a name from a file so that it cannot break a line, a terminal or an eye.
func Quote(name string) string {
	const most = 80
	cut := len(name) > most
	if cut {
		name = name[:most]
	}
	plain := name != ""
	for _, r := range name {
		plain = plain && r > ' ' && strconv.IsPrint(r) && r != '"' && r != utf8Error
	}
	if !plain {
		name = strconv.Quote(name)
	}
	if cut {
		name += "…"
	}
	return name
}

// utf8Error stands for bytes that are no UTF-8, such as a rune cut in two.
const utf8Error = '\uFFFD'

// SplitName cuts the name of a tensor into its layer's and its own, as conv1 and weight. A name
// without a layer is all the tensor's own.
func SplitName(tensor string) (layer, part string) {
	if i := strings.LastIndexByte(tensor, '.'); i > 0 {
		return tensor[:i], tensor[i+1:]
	}
	return "", tensor
}

// FoldNorm returns what batch normalisation multiplies with and adds: γ/√(σ² + ε) and β - μ·γ/√(σ²
// + ε).
//
// Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2.
func FoldNorm(gamma, beta, mean, variance []float64, eps float64) (w, b []float64, err error) {
	w, b = make([]float64, len(mean)), make([]float64, len(mean))
	for i := range w {
		w[i] = gamma[i] / math.Sqrt(variance[i]+eps)
		b[i] = beta[i] - float64(mean[i]*w[i])
		if v := w[i] + b[i]; v-v != 0 {
			return nil, nil, fmt.Errorf("channel %d: variance %v and eps %v give no finite factor", i, variance[i], eps)
		}
	}
	return w, b, nil
}
