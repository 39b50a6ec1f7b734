//go:build cuda && linux && cgo

package gpu

import (
	"fmt"
	"slices"

	"advsweep/internal/batch"
	"advsweep/internal/lower"

	"gorgonia.org/cu"
)

// A constant is the same numbers for every image. v [width] is on the device.
type constant struct {
	v cu.DevicePtr
	shape
}

// newConstant copies l, an image of shape s, to the device.
func (d *device) newConstant(l lower.Constant, s shape) (*constant, error) {
	values := batch.Elements[float32](l.Value)
	v := make([]float32, s.width)
	for q := range s.pixels {
		copy(v[q*s.pitch:], values[q*s.channels:][:s.channels])
	}
	ptr, err := upload32(d, v)
	return &constant{ptr, s}, err
}

func (l *constant) forward(net *network, y cu.DevicePtr, _ []cu.DevicePtr, n int) error {
	return net.elementwise("constant_forward", n, l.shape, y, l.v, int32(l.width))
}

// backward is never called: a constant takes nothing.
func (l *constant) backward(_ *network, _, _, _ cu.DevicePtr, _ []cu.DevicePtr, arg, _ int) error {
	return fmt.Errorf("gpu: gradient at value %d of a constant, which takes none", arg)
}

// An arrange puts numbers of what it takes in another order: see kernels/arrange.cu.
type arrange struct {
	takes []arranged
	y     shape
}

// An arranged is what an arrange has of one of its values. Places are counted with the padding. The
// lists are on the device.
type arranged struct {
	x      shape
	n      int          // how many numbers of y come from it
	to, at cu.DevicePtr // [n]: their places in y, and in x; -1 in at is a 0
	// first [width + 1] and list say where each number of x went, see kernels/arrange.cu. first is 0
	// if no number went to more than one place.
	first, list cu.DevicePtr
}

// newArrange copies l, which takes values of shapes in and gives one of shape out, to the device.
func (d *device) newArrange(l *lower.Arrange, in []lower.Shape, out lower.Shape) (*arrange, error) {
	a := &arrange{y: newShape(out)}
	for k, s := range in {
		x := arranged{x: newShape(s)}
		to, at := places(l, k, x.x, a.y)
		x.n = len(to)
		first, list := wentTo(to, at, x.x.width, l.Once[k])
		for _, c := range []struct {
			ptr  *cu.DevicePtr
			from []int32
		}{{&x.to, to}, {&x.at, at}, {&x.first, first}, {&x.list, list}} {
			if c.from == nil {
				continue
			}
			var err error
			if *c.ptr, err = upload32(d, c.from); err != nil {
				return nil, err
			}
		}
		a.takes = append(a.takes, x)
	}
	return a, nil
}

// upload32 copies v to new memory of the device.
func upload32[T int32 | float32](d *device, v []T) (cu.DevicePtr, error) {
	ptr, err := d.alloc(int64(4 * len(v)))
	if err != nil {
		return 0, err
	}
	return ptr, upload(d, ptr, v)
}

// places returns the places in y of what l gives of its value k, of shape x, in rising order, and
// the places in x that it comes from. The zeros of y, and its padding, are among those of value 0,
// from place -1.
func places(l *lower.Arrange, k int, x, y shape) (to, at []int32) {
	to, at = []int32{}, []int32{}
	for p := range y.width {
		from, place := -1, -1
		if c := p % y.pitch; c < y.channels {
			o := p/y.pitch*y.channels + c
			if from = 0; l.From != nil {
				from = int(l.From[o])
			}
			if i := int(l.Index[o]); from >= 0 {
				place = i/x.channels*x.pitch + i%x.channels
			}
		}
		if from == k || from < 0 && k == 0 {
			to, at = append(to, int32(p)), append(at, int32(place))
		}
	}
	return to, at
}

// wentTo returns where each of width numbers went, given places, see kernels/arrange.cu. first is
// nil with once, which says that no number went to more than one place.
func wentTo(to, at []int32, width int, once bool) (first, list []int32) {
	if once {
		list = slices.Repeat([]int32{-1}, width)
		for i, from := range at {
			if from >= 0 {
				list[from] = to[i]
			}
		}
		return nil, list
	}
	first = make([]int32, width+1)
	for _, from := range at {
		if from >= 0 {
			first[from+1]++
		}
	}
	for t := range width {
		first[t+1] += first[t]
	}
	next := slices.Clone(first)
	list = make([]int32, first[width])
	for i, from := range at {
		if from >= 0 {
			list[next[from]] = to[i]
			next[from]++
		}
	}
	return first, list
}

func (l *arrange) forward(net *network, y cu.DevicePtr, x []cu.DevicePtr, n int) error {
	for k, v := range l.takes {
		if v.n == 0 {
			continue
		}
		if err := net.launch("arrange_forward", dim{ceil(v.n, 256), n}, dim{256, 1}, 0, []int{n, v.n},
			y, x[k], v.to, v.at, int32(v.n), int32(v.x.width), int32(l.y.width)); err != nil {
			return err
		}
	}
	return nil
}

func (l *arrange) backward(net *network, dx, from, dy cu.DevicePtr, _ []cu.DevicePtr, arg, n int) error {
	v := l.takes[arg]
	return net.elementwise("arrange_backward", n, v.x, dx, from, dy, v.first, v.list, int32(v.x.width), int32(l.y.width))
}
