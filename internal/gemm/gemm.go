// Package gemm multiplies dense matrices, C ← C + A·B, on one goroutine.
//
// B is packed once and used often (weights); A is packed on the way. Every element
// of C is one chain of fused multiply-adds over k in rising order, whatever the shape,
// the blocking, the kernel, or the rows that stand beside it in A. So a result does
// not depend on batch size, and AVX2, AVX-512 and NEON agree bit for bit. Only the plain-Go
// kernel may differ from them, where the compiler does not fuse.
package gemm

//go:generate go run -modfile=../../tools/go.mod asm/gen.go -out gemm_amd64.s -stubs gemm_amd64.go -pkg gemm

import (
	"fmt"
	"os"
	"strings"
)

// Float is an element type.
type Float interface{ float32 | float64 }

// A kernel adds the product of two packed panels to a tile of C; see generic.go.
type kernel[T Float] struct {
	path   string // "avx512", "avx2", "neon", "go"
	mr, nr int
	mulAdd func(k int, a, b, c *T, ldc int)
}

// Paths lists the kernels that this processor can run, best first.
func Paths() []string {
	var names []string
	for _, k := range kernels[float32]() {
		names = append(names, k.path)
	}
	return names
}

// EnvPath names the environment variable that forces one of Paths.
const EnvPath = "ADVSWEEP_KERNEL"

// Path returns the path of that name, or if name is empty the one that EnvPath forces, or
// else the best. It returns an error if this processor has no such path.
func Path(name string) (string, error) {
	from := ""
	if name == "" {
		name, from = os.Getenv(EnvPath), EnvPath+"="
	}
	paths := Paths()
	if name == "" {
		return paths[0], nil
	}
	for _, p := range paths {
		if p == name {
			return p, nil
		}
	}
	return "", fmt.Errorf("gemm: %s%s: no such kernel here, want one of %s", from, name, strings.Join(paths, ", "))
}

// kc bounds the depth of a block, so that a panel of B stays in the first-level
// cache and a block of A in the second.
const kc = 512

// A Matrix is a right-hand matrix B [K, N], packed for one kernel.
type Matrix[T Float] struct {
	K, N   int
	kernel kernel[T]
	depth  int // of a block, kc at most
	data   []T // for each block of depth rows: the panels of nr columns, each [depth][nr]
}

// NewMatrix makes room for a matrix [k, n] on a path that Path returned. Its
// elements are zero until Pack.
func NewMatrix[T Float](path string, k, n int) *Matrix[T] {
	m := &Matrix[T]{K: k, N: n}
	for _, m.kernel = range kernels[T]() {
		if m.kernel.path == path {
			break
		}
	}
	blocks := max(1, (k+kc-1)/kc)
	m.depth = (k + blocks - 1) / blocks
	m.data = make([]T, k*m.panels()*m.kernel.nr)
	return m
}

func (m *Matrix[T]) panels() int { return (m.N + m.kernel.nr - 1) / m.kernel.nr }

// panel returns panel j of the block that begins at row k0.
func (m *Matrix[T]) panel(k0, j int) []T {
	nr, depth := m.kernel.nr, min(m.depth, m.K-k0)
	return m.data[k0*m.panels()*nr+j*depth*nr:][:depth*nr]
}

// Pack copies b, element (k, n) at b[k·rs + n·cs]. Use strides (N, 1) for B as
// it stands row-major, (1, K) for the transpose of a row-major [N, K].
func (m *Matrix[T]) Pack(b []T, rs, cs int) {
	nr := m.kernel.nr
	for k0 := 0; k0 < m.K; k0 += m.depth {
		for j := range m.panels() {
			j0 := j * nr
			pack(m.panel(k0, j), b[k0*rs+j0*cs:], cs, rs, min(nr, m.N-j0), nr)
		}
	}
}

// A Scratch is the memory that MulAdd works in. The zero value is ready; one
// goroutine uses it at a time.
type Scratch[T Float] struct{ a, tile []T }

// MulAdd computes C ← C + A·B for rows rows: A [rows, K] with element (i, k) at
// a[i·rs + k·cs], B = m, C [rows, N] row-major with stride ldc. C must not
// overlap A. Start C from zero or from a bias.
func (m *Matrix[T]) MulAdd(c []T, ldc int, a []T, rs, cs, rows int, s *Scratch[T]) {
	if rows == 0 || m.N == 0 || m.K == 0 {
		return
	}
	_ = c[(rows-1)*ldc+m.N-1]
	_ = a[(rows-1)*rs+(m.K-1)*cs]
	mr, nr := m.kernel.mr, m.kernel.nr
	strips := (rows + mr - 1) / mr
	s.a = grow(s.a, strips*mr*m.depth)
	s.tile = grow(s.tile, mr*nr)
	for k0 := 0; k0 < m.K; k0 += m.depth {
		depth := min(m.depth, m.K-k0)
		for i := range strips {
			i0 := i * mr
			pack(s.a[i0*depth:][:mr*depth], a[i0*rs+k0*cs:], rs, cs, min(mr, rows-i0), mr)
		}
		for j := range m.panels() {
			b := m.panel(k0, j)
			j0 := j * nr
			w := min(nr, m.N-j0)
			for i := range strips {
				i0 := i * mr
				h := min(mr, rows-i0)
				tile := c[i0*ldc+j0:]
				if h == mr && w == nr {
					m.kernel.mulAdd(depth, &s.a[i0*depth], &b[0], &tile[0], ldc)
					continue
				}
				for r := range h { // an edge: the kernel works on a copy
					copy(s.tile[r*nr:][:w], tile[r*ldc:])
				}
				m.kernel.mulAdd(depth, &s.a[i0*depth], &b[0], &s.tile[0], nr)
				for r := range h {
					copy(tile[r*ldc:][:w], s.tile[r*nr:])
				}
			}
		}
	}
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// pack writes dst [depth][width]: dst[k·width + j] = src[j·js + k·ks] for j < w,
// 0 for the rest.
func pack[T Float](dst, src []T, js, ks, w, width int) {
	depth := len(dst) / width
	switch {
	case js == 1:
		for k := range depth {
			row := dst[k*width:][:width]
			copy(row[:w], src[k*ks:])
			clear(row[w:])
		}
	case ks == 1:
		j := 0
		for ; j+2 <= w; j += 2 {
			p, q := src[j*js:][:depth], src[(j+1)*js:][:depth]
			d := dst[j:]
			for k := range p {
				pair := d[k*width:][:2]
				pair[0], pair[1] = p[k], q[k]
			}
		}
		for ; j < width; j++ {
			if j < w {
				for k, v := range src[j*js:][:depth] {
					dst[k*width+j] = v
				}
				continue
			}
			for k := range depth {
				dst[k*width+j] = 0
			}
		}
	default:
		for k := range depth {
			row := dst[k*width:][:width]
			clear(row)
			for j := range w {
				row[j] = src[j*js+k*ks]
			}
		}
	}
}
