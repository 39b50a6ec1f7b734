package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/internal/ref"
)

// eachLoss calls f for every loss, with and without targets, of every label of so many classes.
func eachLoss(classes int, f func(loss attack.Loss, y, target int)) {
	for _, loss := range []attack.Loss{attack.CrossEntropy, attack.Margin, attack.DLR} {
		for y := range classes {
			if classes >= loss.MinClasses(false) {
				f(loss, y, -1)
			}
			for target := 0; target < classes && classes >= loss.MinClasses(true); target++ {
				f(loss, y, target)
			}
		}
	}
}

// scaled returns q divided by its largest |q|.
func scaled[T Float](q []T) []float64 {
	out, top := make([]float64, len(q)), 0.0
	for j, v := range q {
		out[j] = float64(v)
		top = math.Max(top, math.Abs(out[j]))
	}
	for j := range out {
		if top > 0 {
			out[j] /= top
		}
	}
	return out
}

func TestLossGradientOf(t *testing.T) {
	t.Run("float32", testLossGradientOf[float32])
	t.Run("float64", testLossGradientOf[float64])
}

// testLossGradientOf compares the gradients with the reference, at logits of all sizes, half of
// them with ties. Both are multiples of the gradient, so each is divided by its largest element
// first. A difference of two logits is exact in float64 but for a rounding of float64 logits, and
// so is the ratio of n and d. q is rounded to T.
func testLossGradientOf[T Float](t *testing.T) {
	tol := 0x1p-22
	if T(1)+T(0x1p-40) != 1 {
		tol = 0x1p-48
	}
	r := rand.New(rand.NewPCG(1, 2))
	for classes := 2; classes < 7; classes++ {
		for k := range 60 {
			z, wide := make([]T, classes), make([]float64, classes)
			for j := range z {
				v := float64(r.IntN(5) - 2)
				if k%2 == 0 {
					v = r.NormFloat64()
				}
				z[j] = T(v * []float64{1, 1e-3, 30, 1e-30, 1e30}[k/2%5])
				wide[j] = float64(z[j])
			}
			eachLoss(classes, func(loss attack.Loss, y, target int) {
				q := make([]T, classes)
				for j := range q {
					q[j] = 99 // what was there is overwritten
				}
				if err := lossGradientOf(loss, q, z, y, target); err != nil {
					t.Fatal(err)
				}
				want := scaled(ref.ObjectiveGradient(loss, wide, y, target))
				for j, got := range scaled(q) {
					if !(math.Abs(got-want[j]) <= tol) {
						t.Fatalf("loss %v, label %d, target %d, logits %v: %v, want %v", loss, y, target, z, scaled(q), want)
					}
				}
			})
		}
	}
}

// TestLossGradientLimits has logits at the ends of the range of each type. Nothing may overflow or
// become NaN, and Margin and DLR must be what they are at any other scale.
func TestLossGradientLimits(t *testing.T) {
	t.Run("float32", func(t *testing.T) { testLossGradientLimits[float32](t, 0x1p127, 0x1p-149) })
	t.Run("float64", func(t *testing.T) { testLossGradientLimits[float64](t, 0x1p1023, 0x1p-1074) })
}

func testLossGradientLimits[T Float](t *testing.T, largest, least T) {
	for _, pattern := range [][]T{{1, -1, 0, 0.5, -0.5}, {-1, 1, 1, -1, 1}, {0, 0, 0, 0, 1}, {1, 1, 1, 1, -1}, {1, 1, 1, 1, 1}} {
		for _, scale := range []T{largest, 16 * least} {
			z := make([]T, len(pattern))
			for j, v := range pattern {
				z[j] = v * scale
			}
			eachLoss(len(z), func(loss attack.Loss, y, target int) {
				what := fmt.Sprintf("loss %v, label %d, target %d, logits %v", loss, y, target, z)
				q, plain := make([]T, len(z)), make([]T, len(z))
				if err := lossGradientOf(loss, q, z, y, target); err != nil {
					t.Fatal(err)
				}
				if err := lossGradientOf(loss, plain, pattern, y, target); err != nil {
					t.Fatal(err)
				}
				for j, v := range q {
					if !(math.Abs(float64(v)) <= 4) {
						t.Fatalf("%s: %v", what, q)
					}
					if loss != attack.CrossEntropy && v != plain[j] {
						t.Fatalf("%s: %v, want %v as of %v", what, q, plain, pattern)
					}
				}
			})
		}
	}
	// With one logit far from all others DLR is not rounded away: n/d is 1e30 and more.
	q := make([]T, 4)
	if err := lossGradientOf(attack.DLR, q, []T{-1e30, 2, 1, 0}, 0, -1); err != nil {
		t.Fatal(err)
	}
	for j, v := range scaled(q) {
		if want := []float64{0, -1, 0, 1}[j]; !(math.Abs(v-want) <= 1e-29) {
			t.Errorf("DLR of a logit of -1e30: %v, want about [0 -1 0 1]", q)
		}
	}
}

// TestLossGradientNotFinite: Margin and DLR use few logits, but any that is not finite must show.
func TestLossGradientNotFinite(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		for at := range 5 {
			z := []float32{5, 4, 3, 2, 1}
			z[at] = bad
			eachLoss(5, func(loss attack.Loss, y, target int) {
				if loss == attack.CrossEntropy {
					return
				}
				q := make([]float32, 5)
				if err := lossGradientOf(loss, q, z, y, target); err != nil {
					t.Fatal(err)
				}
				if _, finite := largestSize(q); finite {
					t.Errorf("loss %v, label %d, target %d, logits %v: %v", loss, y, target, z, q)
				}
			})
		}
	}
}

// A loss that nobody knows has no gradient: not DLR's, and not cross-entropy's.
func TestLossGradientUnknown(t *testing.T) {
	err := lossGradientOf(attack.DLR+1, make([]float32, 5), []float32{5, 4, 3, 2, 1}, 0, -1)
	if err == nil || !strings.Contains(err.Error(), "loss(3)") {
		t.Errorf("error %v, want one that names loss(3)", err)
	}
}
