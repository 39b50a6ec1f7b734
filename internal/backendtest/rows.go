package backendtest

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/ref"
)

// What the suite asks of rows is taken from Outcomes, which every backend has. Where a backend also
// tells a part by itself, it is asked first, and both must say the same.

// piecewise is a backend that tells one by one what Outcomes brings together. 'advsweep bench'
// asks for it.
type piecewise interface {
	// Predictions writes argmax f(x) to dst [rows], -1 where a logit is not finite.
	Predictions(ctx context.Context, dst []int32) error
	// ZeroGradient is Zero of Outcomes.
	ZeroGradient(ctx context.Context, dst []bool) error
}

// predictions writes argmax f(x) to dst [rows], the first on a tie, or -1 where a logit is not
// finite.
func predictions(ctx context.Context, t *testing.T, b Backend, dst []int32) error {
	t.Helper()
	return agree(ctx, t, b, dst, piecewise.Predictions, func(o backend.Outcomes) []int32 {
		if o.Logits == nil {
			return nil
		}
		class := make([]int32, o.Logits.Shape()[0])
		for r, z := range get(t, o.Logits, nil) {
			class[r] = int32(ref.Argmax(z))
			if slices.ContainsFunc(z, func(v float64) bool { return v-v != 0 }) {
				class[r] = -1
			}
		}
		return class
	})
}

// zeroGradient writes to dst [rows] whether a gradient since Begin was zero.
func zeroGradient(ctx context.Context, t *testing.T, b Backend, dst []bool) error {
	t.Helper()
	return agree(ctx, t, b, dst, piecewise.ZeroGradient, func(o backend.Outcomes) []bool { return o.Zero })
}

// rowNorms writes the norms of x - x0 to dst [rows].
func rowNorms(ctx context.Context, t *testing.T, b Backend, dst []attack.Norms) error {
	t.Helper()
	return agree(ctx, t, b, dst, nil, func(o backend.Outcomes) []attack.Norms { return o.Norms })
}

// agree writes to dst what of says of the Outcomes of b. Where own is not nil and b is piecewise,
// own must write the same, and fail where Outcomes does.
func agree[E comparable](ctx context.Context, t *testing.T, b Backend, dst []E, own func(p piecewise, ctx context.Context, dst []E) error, of func(backend.Outcomes) []E) error {
	t.Helper()
	p, asked := b.(piecewise)
	asked = asked && own != nil
	said := make([]E, len(dst))
	var refused error
	if asked {
		refused = own(p, ctx, said)
	}
	o, err := b.Outcomes(ctx, nil)
	if asked && (err == nil) != (refused == nil) {
		t.Errorf("by itself %T: %v, of Outcomes: %v", said, refused, err)
	}
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return err
	}
	got := of(o)
	if len(got) != len(dst) {
		return fmt.Errorf("%d rows, want %d", len(got), len(dst))
	}
	if asked && !slices.Equal(said, got) {
		t.Errorf("by itself %v, of Outcomes %v", said, got)
	}
	copy(dst, got)
	return nil
}

// roundRows rounds x as norm has it.
func roundRows(ctx context.Context, t *testing.T, b Backend, norm attack.Norm) error {
	t.Helper()
	o, err := b.Outcomes(ctx, &backend.Rounding{Norm: norm})
	if err != nil {
		return err
	}
	// The rows are as they were rounded, and so are their classes.
	now := make([]int32, len(o.Rounded))
	if err := predictions(ctx, t, b, now); err != nil {
		return err
	}
	if !slices.Equal(now, o.Rounded) {
		t.Errorf("rounded in norm %v: classes %v, and then %v", norm, o.Rounded, now)
	}
	return nil
}
