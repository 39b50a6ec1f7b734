//go:build cuda && linux && cgo

package gpu

import (
	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A groupedConv is a convolution whose channels are in groups, but no depthwise. It makes no matrix,
// and reads its windows where they lie: see kernels/grouped_conv.cu. It goes back in the way
// that the lowering chose, as conv does.
type groupedConv struct {
	there *grouped
	back  *grouped // the flipped convolution; nil: by windows
	relu  bool     // a ReLU follows, and the kernel computes it
}

// A grouped is one convolution as the kernels take it.
type grouped struct {
	window
	x, y                   shape
	groups, depth, filters int          // channels and filters are of one group
	w, bias                cu.DevicePtr // [KH·KW·depth, pitch of y], [pitch of y]
}

// newGroupedConv copies l to the device.
func (d *device) newGroupedConv(l *lower.Convolution) (*groupedConv, error) {
	filter := lower.Filter(l.Weight.Shape(), batch.Elements[float32](l.Weight))
	c := new(groupedConv)
	var err error
	if c.there, err = d.newGrouped(l.Unfold, filter, batch.Elements[float32](l.Bias)); err == nil && l.Back != nil {
		c.back, err = d.newGrouped(*l.Back, lower.FlipTranspose(l, filter), nil)
	}
	return c, err
}

// newGrouped copies the filters to the device. weight(o, c, u, v) is the weight of output o for
// channel c of its group. bias may be nil for 0.
func (d *device) newGrouped(places lower.Unfold, weight func(o, c, u, v int) float32, bias []float32) (*grouped, error) {
	g := &grouped{window: newWindow(places), x: newShape(places.In), y: newShape(places.Out),
		groups: places.Groups, depth: places.Depth(), filters: places.Out.C / places.Groups}
	w, b := make([]float32, g.kernel[0]*g.kernel[1]*g.depth*g.y.pitch), make([]float32, g.y.pitch)
	places.Terms(func(k, c, u, v int) {
		for o := range g.y.channels {
			w[k*g.y.pitch+o] = weight(o, c, u, v)
		}
	})
	copy(b, bias)
	var err error
	if g.w, err = upload32(d, w); err == nil {
		g.bias, err = upload32(d, b)
	}
	return g, err
}

// run launches y = from + the convolution of n images x, and then ReLU if relu is set. from may be 0.
func (g *grouped) run(net *network, y, from, x cu.DevicePtr, relu bool, n int) error {
	return net.elementwise("grouped_conv_forward", n, g.y, g.args(append([]any{y, from, x, g.w, g.bias}, g.sizes()...), relu)...)
}

// sizes are what both kernels take before the window.
func (g *grouped) sizes() []any {
	return []any{int32(g.x.pitch), int32(g.y.pitch), int32(g.groups), int32(g.depth), int32(g.filters)}
}

func (c *groupedConv) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	return c.there.run(net, y, 0, x[0], c.relu, n)
}

func (c *groupedConv) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, _, n int) error {
	if c.back != nil {
		return c.back.run(net, dx, from, dy, false, n)
	}
	g := c.there
	return net.elementwise("grouped_conv_backward", n, g.x, g.args(append([]any{dx, from, dy, g.w}, g.sizes()...))...)
}
