package cpu

import (
	"strings"
	"testing"

	"advsweep/internal/gemm"
	"advsweep/internal/lower"
)

// What this backend has no operation of is an error that names it, and not a nil that dies later.
func TestUnknownOperation(t *testing.T) {
	path := gemm.Paths()[0]
	type strange struct{}
	for _, c := range []struct {
		op   lower.Operation
		want string
	}{
		{strange{}, "layer 3: no operation for cpu.strange"},
		{nil, "layer 3: no operation for <nil>"},
		{lower.Elementwise{Name: "cosine"}, `no elementwise function "cosine"`},
	} {
		op, err := newOperation[float32](path, lower.Op{Layer: 3, Operation: c.op})
		if op != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, %v, want %s", op, err, c.want)
		}
	}
}
