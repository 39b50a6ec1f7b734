package ref

import (
	"math/rand/v2"

	"advsweep/model"
)

// RandomWide returns a model of convolutions with enough channels that backends may compute them in
// other ways than few channels, drawn from r: 3×3 windows side by side with any padding up to 2,
// others with a stride, a residual connection, max-pools, images of odd and even sizes down to 3×3.
// It has 4 to 7 classes.
func RandomWide(r *rand.Rand) *model.Model {
	n := network{r: r, m: &model.Model{}}
	n.shape = []int{1 + r.IntN(3), 4 + r.IntN(10), 4 + r.IntN(10)}
	n.m.Input = n.shape
	if r.IntN(2) == 0 { // else the first wide convolution takes the image
		n.add(n.wide(3, 1, 1))
		n.add(n.activation())
	} else {
		n.shape = []int{16 + r.IntN(5), 3 + r.IntN(5), 3 + r.IntN(8)}
		n.m.Input = n.shape
	}
	for range 2 + r.IntN(2) {
		switch pad := 1; r.IntN(6) {
		case 0:
			n.add(model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}, Pad: [4]int{0, 0, 1, 1}})
		case 1:
			n.add(n.wide(3, 2, 1))
			n.add(n.activation())
		case 2:
			from := n.last()
			channels := n.shape[0]
			n.add(n.wide(3, 1, 1))
			n.add(n.activation())
			l := n.conv(channels).(model.Conv2D)
			l.Stride, l.Pad = [2]int{1, 1}, [4]int{1, 1, 1, 1}
			l.Weight, l.Bias = n.weights(9*n.shape[0], channels, n.shape[0], 3, 3)
			n.add(l)
			n.add(model.Add{}, n.last(), from)
			n.add(n.activation())
		default:
			if pad = r.IntN(3); min(n.shape[1], n.shape[2])+2*pad < 5 {
				pad = 1
			}
			n.add(n.wide(3, 1, pad))
			n.add(n.activation())
		}
	}
	n.add(n.linear(4 + r.IntN(4)))
	return n.m
}

// wide is a convolution to 16 to 36 channels. Its padding is pad, but may be one less on a side.
func (n *network) wide(kernel, stride, pad int) model.Layer {
	out := 16 + n.r.IntN(21)
	l := model.Conv2D{Name: n.name("conv"), Stride: [2]int{stride, stride}}
	for d := range l.Pad {
		if l.Pad[d] = pad; pad > 1 {
			l.Pad[d] -= n.r.IntN(2)
		}
	}
	l.Weight, l.Bias = n.weights(n.shape[0]*kernel*kernel, out, n.shape[0], kernel, kernel)
	return l
}
