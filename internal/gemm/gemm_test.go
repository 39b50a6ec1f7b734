package gemm

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func random[T Float](r *rand.Rand, n int) []T {
	d := make([]T, n)
	for i := range d {
		d[i] = T(r.Float64()*2 - 1)
	}
	return d
}

// An operand is a matrix with its strides.
type operand[T Float] struct {
	data   []T
	rs, cs int
}

func newOperand[T Float](r *rand.Rand, rows, cols int, layout string) operand[T] {
	switch layout {
	case "row-major":
		return operand[T]{random[T](r, rows*cols), cols, 1}
	case "transposed":
		return operand[T]{random[T](r, rows*cols), 1, rows}
	default: // every second element of padded rows
		return operand[T]{random[T](r, rows*(2*cols+3)), 2*cols + 3, 2}
	}
}

func (o operand[T]) at(i, j int) float64 { return float64(o.data[i*o.rs+j*o.cs]) }

var shapes = [][3]int{{0, 5, 3}, {1, 1, 1}, {3, 1, 10}, {1, 784, 1}, {5, 7, 3}, {6, 4, 16}, {7, 33, 17}, {12, 32, 32}, {13, 33, 31}, {33, 513, 10}, {97, 784, 130}, {31, 1100, 97}}

// TestMulAdd compares every path with float64. A chain of n fused multiply-adds errs by at most
// γₙ·Σ|aᵢbᵢ|, with γₙ = n·u/(1-n·u) (Higham 2002, §3.1). The plain-Go kernel rounds the products
// too, which the bound for 2n terms covers.
func TestMulAdd(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testMulAdd[float32](t, 0x1p-24) })
	t.Run("float64", func(t *testing.T) { testMulAdd[float64](t, 0x1p-53) })
}

func testMulAdd[T Float](t *testing.T, u float64) {
	layouts := []string{"row-major", "transposed", "strided"}
	for _, path := range Paths() {
		for _, sh := range shapes {
			for l := range 9 {
				m, k, n := sh[0], sh[1], sh[2]
				if m*k*n > 100_000 && l%4 != 0 {
					continue // large: each layout once for A and B, not every pair
				}
				r := rand.New(rand.NewPCG(1, uint64(l)))
				a, b := newOperand[T](r, m, k, layouts[l%3]), newOperand[T](r, k, n, layouts[l/3])
				ldc := n + l%2*5
				c := random[T](r, m*ldc)
				old := append([]T(nil), c...)
				mat := NewMatrix[T](path, k, n)
				mat.Pack(b.data, b.rs, b.cs)
				var s Scratch[T]
				mat.MulAdd(c, ldc, a.data, a.rs, a.cs, m, &s)
				g := 2 * float64(k+1) * u
				if path == "go" {
					g *= 2
				}
				for i := range m {
					for j := range ldc {
						want, abs := float64(old[i*ldc+j]), math.Abs(float64(old[i*ldc+j]))
						if j < n {
							for x := range k {
								want += a.at(i, x) * b.at(x, j)
								abs += math.Abs(a.at(i, x) * b.at(x, j))
							}
						}
						tol := g * abs
						if j >= n {
							tol = 0 // padding between rows must stay
						}
						if got := float64(c[i*ldc+j]); !(math.Abs(got-want) <= tol) {
							t.Fatalf("%s %v a %s b %s: c[%d,%d] = %v, want %v ± %.2g", path, sh, layouts[l%3], layouts[l/3], i, j, got, want, tol)
						}
					}
				}
			}
		}
	}
}

// TestChain compares each element with one chain of fused multiply-adds, computed here by rounding
// the exact product and sum once. That each element is such a chain makes results independent of
// the batch, and equal on all paths with fused arithmetic.
func TestChain(t *testing.T) {
	const m, k, n = 28, 1100, 35
	r := rand.New(rand.NewPCG(3, 4))
	a, b := random[float64](r, m*k), random[float64](r, k*n)
	c0 := random[float64](r, n)
	for _, path := range Paths() {
		mat := NewMatrix[float64](path, k, n)
		mat.Pack(b, n, 1)
		for _, rows := range []int{1, 2, 4, 5, 28} {
			c := make([]float64, rows*n)
			for i := range rows {
				copy(c[i*n:], c0)
			}
			var s Scratch[float64]
			mat.MulAdd(c, n, a, k, 1, rows, &s)
			for i := range rows {
				for j := range n {
					fused, plain := c0[j], c0[j]
					for x := range k {
						fused = math.FMA(a[i*k+x], b[x*n+j], fused)
						plain += float64(a[i*k+x] * b[x*n+j])
					}
					if got := c[i*n+j]; got != fused && !(path == "go" && got == plain) {
						t.Fatalf("%s, %d rows: c[%d,%d] = %v, want the chain's %v", path, rows, i, j, got, fused)
					}
				}
			}
		}
	}
}

// fusedHash is the FNV-1a hash of what TestPathsAgree computes, as AVX2 on amd64 gave it first.
// Every path with fused arithmetic must give it, on every architecture.
const fusedHash = 0xfdc72658fe4e7119

// TestPathsAgree compares the bits of the paths that fuse in float32.
func TestPathsAgree(t *testing.T) {
	const m, k, n = 61, 1100, 77
	r := rand.New(rand.NewPCG(5, 6))
	a, b := random[float32](r, m*k), random[float32](r, k*n)
	for _, path := range Paths() {
		if path == "go" {
			continue // fuses only where the compiler does
		}
		mat := NewMatrix[float32](path, k, n)
		mat.Pack(b, n, 1)
		c := make([]float32, m*n)
		var s Scratch[float32]
		mat.MulAdd(c, n, a, k, 1, m, &s)
		h := fnv.New64a()
		if err := binary.Write(h, binary.LittleEndian, c); err != nil {
			t.Fatal(err)
		}
		if got := h.Sum64(); got != fusedHash {
			t.Errorf("%s: the bits hash to %#x, want %#x", path, got, uint64(fusedHash))
		}
	}
}

// randomGroups makes groups for m rows of A [m, k]. Each has rows rows, but those at the end may
// have fewer. A column is listed with the given probability. It also returns the number of
// elements in all groups.
func randomGroups[T Float](r *rand.Rand, m, k, rows int, density float64) (groups []Group[T], terms int) {
	for i := 0; i < m; {
		g := Group[T]{Row: i, Rows: rows}
		if i+rows > m {
			g.Rows = min(2, m-i)
		}
		for j := range k {
			if r.Float64() < density {
				g.List = append(g.List, uint32(j))
			}
		}
		g.LDA = len(g.List) + 3
		g.A = random[T](r, g.Rows*g.LDA)
		groups = append(groups, g)
		terms += g.Rows * len(g.List)
		i += g.Rows
	}
	return groups, terms
}

// dense returns the rows of groups as A [m, k].
func dense[T Float](groups []Group[T], m, k int) []T {
	a := make([]T, m*k)
	for _, g := range groups {
		for r := range g.Rows {
			for t, j := range g.List {
				a[(g.Row+r)*k+int(j)] = g.A[r*g.LDA+t]
			}
		}
	}
	return a
}

// TestMulAddGroups compares products with the dense one. Both are the same chains but for terms
// that are zero, so they are equal. That holds on the plain-Go path too, for all its kernels have
// the same expression, which a compiler fuses always or never.
func TestMulAddGroups(t *testing.T) {
	t.Run("float32", testMulAddGroups[float32])
	t.Run("float64", testMulAddGroups[float64])
}

func testMulAddGroups[T Float](t *testing.T) {
	shapes := [][3]int{{1, 1, 1}, {5, 1, 80}, {7, 33, 17}, {11, 64, 160}, {13, 257, 131}, {23, 784, 97}, {9, 3001, 85}, {6, 13001, 9}}
	for _, path := range Paths() {
		for _, sh := range shapes {
			for _, rows := range []int{1, 2, GroupRows} {
				for _, density := range []float64{0, .01, .3, 1} {
					m, k, n := sh[0], sh[1], sh[2]
					r := rand.New(rand.NewPCG(7, uint64(k)))
					groups, _ := randomGroups[T](r, m, k, rows, density)
					mat := NewMatrix[T](path, k, n)
					mat.Pack(random[T](r, k*n), n, 1)
					ldc := mat.Padded() + 3
					got := random[T](r, m*ldc)
					want := append([]T(nil), got...)
					mat.MulAddGroups(got, ldc, groups)
					var s Scratch[T]
					mat.MulAdd(want, ldc, dense(groups, m, k), k, 1, m, &s)
					for i, w := range want {
						if got[i] != w { // behind N: what was there
							t.Fatalf("%s %v rows %d density %v: c[%d,%d] = %v, want %v", path, sh, rows, density, i/ldc, i%ldc, got[i], w)
						}
					}
				}
			}
		}
	}
}

// TestMulGroups compares MulGroups with MulAddGroups on copies of the row, to the bit, and the
// latter with the dense product. There are several blocks of k. Many lists have nothing in the
// first block, in the last, or in any.
func TestMulGroups(t *testing.T) {
	t.Run("float32", testMulGroups[float32])
	t.Run("float64", testMulGroups[float64])
}

func testMulGroups[T Float](t *testing.T) {
	shapes := [][3]int{{1, 0, 5}, {1, 1, 1}, {5, 1, 80}, {7, 33, 17}, {11, 64, 160}, {43, 257, 131}, {61, 130, 97}, {23, 3001, 85}}
	for _, path := range Paths() {
		for _, sh := range shapes {
			for _, rows := range []int{1, 2, GroupRows} {
				for _, depth := range []int{0, 1, 7, 50, 1000} {
					m, k, n := sh[0], sh[1], sh[2]
					what := fmt.Sprintf("%s %v rows %d depth %d", path, sh, rows, depth)
					r := rand.New(rand.NewPCG(23, uint64(k+depth)))
					mat := NewMatrix[T](path, k, n)
					mat.Pack(random[T](r, k*n), n, 1)
					if depth > 0 && depth < k {
						mat.depth = depth
					}
					groups, _ := randomGroups[T](r, m, k, rows, .5)
					for i := range groups {
						g := &groups[i]
						if blocks := r.Uint64(); mat.depth < k { // which of them to keep
							g.List = slices.DeleteFunc(g.List, func(j uint32) bool { return blocks>>(int(j)/mat.depth%64)&1 == 0 })
						}
						if r.IntN(8) == 0 {
							g.List = nil
						}
					}
					ldc := mat.Padded() + 3
					from, got := random[T](r, mat.Padded()), make([]T, m*ldc)
					from[r.IntN(len(from))] = T(math.Copysign(0, -1))
					for i := range got {
						got[i] = T(math.NaN())
					}
					want, full := slices.Clone(got), slices.Clone(got)
					for i := range m {
						copy(want[i*ldc:], from)
						copy(full[i*ldc:], from)
					}
					mat.MulGroups(got, ldc, groups, from)
					mat.MulAddGroups(want, ldc, groups)
					mat.MulAdd(full, ldc, dense(groups, m, k), k, 1, m, new(Scratch[T]))
					for i, w := range want {
						g, f := float64(got[i]), float64(full[i])
						if j := i % ldc; math.Float64bits(g) != math.Float64bits(float64(w)) || j < mat.Padded() && g != f {
							t.Fatalf("%s: c[%d,%d] = %v, want %v, dense %v", what, i/ldc, j, got[i], w, f)
						}
					}
				}
			}
		}
	}
}

func TestPath(t *testing.T) {
	t.Setenv(EnvPath, "go")
	if p, err := Path(""); p != "go" || err != nil {
		t.Errorf("forced path %q, %v, want go", p, err)
	}
	t.Setenv(EnvPath, "mmx")
	if p, err := Path(""); err == nil {
		t.Errorf("path %q for %s=mmx, want an error", p, EnvPath)
	}
	t.Setenv(EnvPath, "")
	if p, err := Path(""); p != Paths()[0] || err != nil {
		t.Errorf("path %q, %v, want %q", p, err, Paths()[0])
	}
}

func BenchmarkMulAdd(b *testing.B) {
	b.Run("float32", benchmarkMulAdd[float32])
	b.Run("float64", benchmarkMulAdd[float64])
}

func benchmarkMulAdd[T Float](b *testing.B) {
	for _, path := range Paths() {
		for _, sh := range [][2]int{{96, 784}, {96, 1024}, {1000, 1024}} {
			m, k := sh[0], sh[1]
			b.Run(fmt.Sprintf("path=%s/M=%d/K=%d/N=1024", path, m, k), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				const n = 1024
				x, w, c := random[T](r, m*k), random[T](r, k*n), make([]T, m*n)
				mat := NewMatrix[T](path, k, n)
				mat.Pack(w, n, 1)
				var s Scratch[T]
				for b.Loop() {
					mat.MulAdd(c, n, x, k, 1, m, &s)
				}
				b.ReportMetric(2*n*float64(m*k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkMulAddGroups(b *testing.B) {
	const m, k, n = 1000, 1024, 1024
	for _, path := range Paths() {
		for _, g := range []struct {
			rows    int
			density float64
		}{{GroupRows, .2}, {GroupRows, .4}, {GroupRows, .7}, {GroupRows, 1}, {2, .4}, {1, .4}} {
			b.Run(fmt.Sprintf("path=%s/M=%d/K=%d/N=%d/rows=%d/density=%v", path, m, k, n, g.rows, g.density), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				mat := NewMatrix[float32](path, k, n)
				mat.Pack(random[float32](r, k*n), n, 1)
				c := make([]float32, m*n)
				groups, terms := randomGroups[float32](r, m, k, g.rows, g.density)
				for b.Loop() {
					mat.MulAddGroups(c, n, groups)
				}
				b.ReportMetric(2*n*float64(terms)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

// BenchmarkMulGroups compares MulGroups, in turns, with MulAddGroups on rows that are cleared or
// filled with a bias first.
func BenchmarkMulGroups(b *testing.B) {
	const m, k, n, density = 640, 1024, 1024, .38
	for _, path := range Paths() {
		b.Run(fmt.Sprintf("path=%s/M=%d/K=%d/N=%d/density=%v", path, m, k, n, density), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			mat := NewMatrix[float32](path, k, n)
			mat.Pack(random[float32](r, k*n), n, 1)
			groups, _ := randomGroups[float32](r, m, k, GroupRows, density)
			const ldc = n + VectorPad // rows a power of two apart would share sets of the cache
			c, from := make([]float32, m*ldc), random[float32](r, n)
			least := [3]time.Duration{1 << 62, 1 << 62, 1 << 62}
			for b.Loop() {
				for i, product := range []func(){
					func() { mat.MulGroups(c, ldc, groups, from) },
					func() { clear(c); mat.MulAddGroups(c, ldc, groups) },
					func() {
						for i := range m {
							copy(c[i*ldc:][:n], from)
						}
						mat.MulAddGroups(c, ldc, groups)
					},
				} {
					start := time.Now()
					product()
					least[i] = min(least[i], time.Since(start))
				}
			}
			b.ReportMetric(float64(least[0].Microseconds())/1000, "ms")
			b.ReportMetric(float64(least[1])/float64(least[0]), "times-clear")
			b.ReportMetric(float64(least[2])/float64(least[0]), "times-copy")
		})
	}
}
