//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"strings"
	"testing"

	"advsweep/internal/lower"
)

// TestUnknownOperation hands operations that nobody knows to the two switches over operations: the
// error names the operation, and no nil is left that fails later. New can't be asked, because
// model.Validate refuses layers of other packages, and the lowering knows those of its own.
func TestUnknownOperation(t *testing.T) {
	need(t)
	type strange struct{}
	onNothing(t, func(p *card) {
		for _, c := range []struct {
			operation lower.Operation
			want      string
		}{
			{strange{}, "gpu: layer 3: no operation for gpu.strange"},
			{nil, "gpu: layer 3: no operation for <nil>"},
			{lower.Elementwise{Name: "mystery"}, `gpu: layer 3: no kernel for the elementwise function "mystery": `},
			{lower.Pairwise{Name: "mystery"}, `gpu: layer 3: no kernel for the function "mystery" of two numbers: `},
			{lower.Reduce{By: "mystery"}, `gpu: layer 3: no kernel to reduce by "mystery": `},
		} {
			op := lower.Op{Layer: 3, Operation: c.operation}
			got, err := p.newOperation(op, []lower.Shape{{}, {}}, "fp32")
			if got != nil || err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("in a network %T: %v, %v, want %s", c.operation, got, err, c.want)
			}
			want := fmt.Sprintf("gpu: layer 3: no operation for %T in an MLP", c.operation)
			if _, ok := c.operation.(lower.Elementwise); ok {
				want = "gpu: layer 3: mystery in an MLP"
			}
			_, err = newMLP(p.device, &lower.Program{Inputs: 4, Classes: 3, MLP: true, Ops: []lower.Op{op}}, "fp32")
			if err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("in an MLP %T: %v, want %s", c.operation, err, want)
			}
		}
	})
}
