package cpu

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"advsweep/dataset"
	"advsweep/internal/gemm"
	"advsweep/internal/portable"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// A Training fits a multilayer perceptron or a small convolutional network to labelled images. It
// uses Adam on the mean cross-entropy of batches. The learning rate falls linearly from Rate to a
// tenth of it. Images are drawn without replacement, in a new order each epoch.
//
// Kingma and Ba 2015, arXiv:1412.6980, algorithm 1.
type Training struct {
	// Channels are those of convolutions of 3×3 with padding 1. They come before the hidden layers,
	// each followed by ReLU and a max-pool of 2×2. Nil: none.
	Channels []int
	Hidden   []int // widths of the hidden layers
	Classes  int
	Epochs   int
	Batch    int
	Rate     float64
	Seed     uint64
	Options  Options
	// Progress, if set, is called after each batch from the goroutine of Run.
	Progress func(TrainingProgress)
}

// DefaultTraining makes the embedded model: 784-1024-1024-10 on MNIST.
func DefaultTraining() Training {
	return Training{Hidden: []int{1024, 1024}, Classes: 10, Epochs: 5, Batch: 128, Rate: 1e-3, Seed: 1}
}

// DefaultCNN makes the embedded convolutional network: 1x28x28-16x28x28-32x14x14-10 on MNIST.
func DefaultCNN() Training {
	return Training{Channels: []int{16, 32}, Classes: 10, Epochs: 5, Batch: 128, Rate: 1e-3, Seed: 1}
}

// A TrainingProgress says how far a Training is.
type TrainingProgress struct {
	Done, Total int // batches
	Epoch       int // the current one, from 1
	// Loss is the mean cross-entropy and Accuracy the share of correct predictions over the epoch
	// so far. Each image is judged before the step that it is a part of.
	Loss, Accuracy float64
}

const (
	beta1, beta2, adamEps = 0.9, 0.999, 1e-8
	maxWeights            = 1 << 27 // with what Adam keeps, 3 GiB
	weightRows            = 32      // output units whose weights one task updates
	trainRows             = 100     // of a batch, in one task
)

// Run returns the trained model, in float32. The same set, seed and kernel give the same weights
// bit for bit, whatever the number of threads. It stops with ctx's error soon after ctx ends.
func (t Training) Run(ctx context.Context, set *dataset.Set) (*model.Model, error) {
	n := set.N()
	if err := set.Check(t.Classes); err != nil {
		return nil, err
	}
	switch {
	case n == 0:
		return nil, errors.New("cpu: train: no images")
	case t.Epochs < 1 || t.Batch < 1 || t.Classes < 2:
		return nil, fmt.Errorf("cpu: train: %d epochs, batches of %d, %d classes; want at least 1, 1, 2", t.Epochs, t.Batch, t.Classes)
	case !(t.Rate > 0) || math.IsInf(t.Rate, 0):
		return nil, fmt.Errorf("cpu: train: rate %v, want a finite number > 0", t.Rate)
	}
	pixels, ok := set.Images.Data().([]uint8)
	if !ok {
		return nil, fmt.Errorf("cpu: train: images of %v, want uint8", set.Images.Dtype())
	}
	in := len(pixels) / n
	m, err := t.model(set.Images.Shape()[1:])
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(t.Seed, 0))
	for _, l := range m.Layers { // uniform within ±1/√(terms of a sum)
		w, bias := learned(l)
		if w == nil {
			continue
		}
		bound := 1 / math.Sqrt(float64(len(w)/len(bias)))
		for _, w := range [][]float32{w, bias} {
			for i := range w {
				w[i] = float32((2*float64(rng.Float64()) - 1) * bound)
			}
		}
	}
	b, err := New[float32](m, t.Options)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	s := newSample(min(t.Batch, n), in)
	var step func(ctx context.Context, rows int, rate float64) error
	if b.model.net != nil {
		trainer, err := newNetTrainer(b, m, s)
		if err != nil {
			return nil, err
		}
		step = trainer.step
	} else {
		step = newTrainer(b, m, s).step
	}
	batches := (n + s.batch - 1) / s.batch
	total := t.Epochs * batches
	for epoch := range t.Epochs {
		order := rng.Perm(n)
		loss, correct := 0.0, 0
		for k := range batches {
			drawn := order[k*s.batch : min((k+1)*s.batch, n)]
			for r, i := range drawn {
				for j, v := range pixels[i*in:][:in] {
					s.images[r*in+j] = float32(v) / 255
				}
				s.labels[r] = set.Labels[i]
			}
			done := epoch*batches + k
			if err := step(ctx, len(drawn), t.Rate*(1-0.9*float64(done)/float64(total))); err != nil {
				return nil, err
			}
			for r := range drawn {
				loss += s.loss[r]
				if s.class[r] == s.labels[r] {
					correct++
				}
			}
			seen := float64(min((k+1)*s.batch, n))
			if math.IsNaN(loss) {
				return nil, fmt.Errorf("cpu: train: the loss is not a number in epoch %d, batch %d: try a rate below %v", epoch+1, k+1, t.Rate)
			}
			if t.Progress != nil {
				t.Progress(TrainingProgress{done + 1, total, epoch + 1, loss / seen, float64(correct) / seen})
			}
		}
	}
	return m, nil
}

// model returns the model to train for images of a shape. All its weights are 0.
func (t Training) model(image []int) (*model.Model, error) {
	if len(t.Channels) == 0 {
		sizes := append(append([]int{volume(image)}, t.Hidden...), t.Classes)
		return model.MLP(sizes...), checkSizes(sizes)
	}
	if len(image) == 2 {
		image = append([]int{1}, image...)
	}
	if len(image) != 3 {
		return nil, fmt.Errorf("cpu: train: images of shape %v, want [H, W] or [C, H, W] for convolutions", image)
	}
	m := &model.Model{Input: append([]int(nil), image...)}
	c, h, w := image[0], image[1], image[2]
	for i, out := range t.Channels {
		if h < 2 || w < 2 {
			return nil, fmt.Errorf("cpu: train: images of shape %v, too small to be halved %d times", image, len(t.Channels))
		}
		if err := checkSizes([]int{9 * c, out}); err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, model.Conv2D{
			Name: fmt.Sprintf("conv%d", i+1), Weight: zeros(out, c, 3, 3), Bias: zeros(out), Stride: [2]int{1, 1}, Pad: [4]int{1, 1, 1, 1},
		}, model.ReLU{}, model.MaxPool2D{Kernel: [2]int{2, 2}, Stride: [2]int{2, 2}})
		c, h, w = out, h/2, w/2
	}
	sizes := append(append([]int{c * h * w}, t.Hidden...), t.Classes)
	if err := checkSizes(sizes); err != nil {
		return nil, err
	}
	m.Layers = append(m.Layers, model.MLP(sizes...).Layers...)
	return m, nil
}

// checkSizes returns an error if layers of these sizes have too many weights.
func checkSizes(sizes []int) error {
	weights := 0
	for i, s := range sizes {
		if s < 1 || s > maxWeights {
			return fmt.Errorf("cpu: train: layer sizes %v, want 1 to %d", sizes, maxWeights)
		}
		if i > 0 && s > (maxWeights-weights)/sizes[i-1] {
			return fmt.Errorf("cpu: train: layer sizes %v make more than %d weights", sizes, maxWeights)
		}
		if i > 0 {
			weights += s * sizes[i-1]
		}
	}
	return nil
}

func volume(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

func zeros(shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(make([]float32, volume(shape))))
}

// learned returns the weights of a layer that training moves, nil if it has none.
func learned(l model.Layer) (w, bias []float32) {
	switch l := l.(type) {
	case model.Linear:
		return l.Weight.Data().([]float32), l.Bias.Data().([]float32)
	case model.Conv2D:
		return l.Weight.Data().([]float32), l.Bias.Data().([]float32)
	}
	return nil, nil
}

// A sample is the images of one step, and what the step finds. Run writes images and labels, and a
// trainer's step writes class and loss.
type sample struct {
	batch  int
	images []float32 // [batch, in]
	labels []int32
	class  []int32
	loss   []float64
}

func newSample(batch, in int) *sample {
	return &sample{batch, make([]float32, batch*in), make([]int32, batch), make([]int32, batch), make([]float64, batch)}
}

// A trainer trains an MLP. It has one batch and the state of Adam. Work is split so that one task
// computes each number in a fixed order. Sums over the batch run over k in the product.
type trainer struct {
	*sample
	b      *Backend[float32]
	steps  int
	x      [][]float32 // the input of each layer, [batch, in]: the images first; then the logits
	dz     [][]float32 // the gradient at the output of each layer, [batch, out]
	params []param
}

// A param is the weights of one layer, which the model shares, and what Adam keeps of them. Only
// step and update change it.
type param struct {
	w, bias      []float32             // [out, in], [out]
	dw           []float32             // [out, in]
	m, v, mb, vb []float32             // first and second moments of w and bias
	h            *gemm.Matrix[float32] // [batch, in]: the layer's input, packed
}

func newTrainer(b *Backend[float32], m *model.Model, s *sample) *trainer {
	t := &trainer{sample: s, b: b, x: [][]float32{s.images}}
	batch := s.batch
	for _, l := range m.Layers {
		if l, ok := l.(model.Linear); ok {
			out, in := l.Weight.Shape()[0], l.Weight.Shape()[1]
			t.params = append(t.params, param{
				w: l.Weight.Data().([]float32), bias: l.Bias.Data().([]float32), dw: make([]float32, out*in),
				m: make([]float32, out*in), v: make([]float32, out*in), mb: make([]float32, out), vb: make([]float32, out),
				h: gemm.NewMatrix[float32](b.model.kernel, batch, in),
			})
			t.x = append(t.x, make([]float32, batch*out))
			t.dz = append(t.dz, make([]float32, batch*out))
		}
	}
	return t
}

// step moves the weights by one step of Adam for the first rows of images and labels. It writes
// their loss and class.
func (t *trainer) step(ctx context.Context, rows int, rate float64) error {
	b, layers := t.b, t.b.model.mlp.layers
	top := len(layers) - 1
	if rows < t.batch { // what an earlier batch left must not count
		for _, d := range t.dz {
			clear(d)
		}
	}
	err := b.workers.each(ctx, rows, trainRows, func(s *scratch[float32], lo, hi int) {
		for i := range layers {
			l := &layers[i]
			l.forward(t.x[i+1][lo*l.out:hi*l.out], t.x[i][lo*l.in:hi*l.in], hi-lo, &s.gemm)
		}
		out := layers[top].out
		argmax(t.class[lo:hi], t.x[top+1][lo*out:hi*out], out, out)
		for r := lo; r < hi; r++ {
			t.loss[r] = meanLossGradient(t.dz[top][r*out:][:out], t.x[top+1][r*out:][:out], int(t.labels[r]), rows)
		}
		for i := top; i > 0; i-- {
			l := &layers[i]
			l.backward(t.dz[i-1][lo*l.in:hi*l.in], t.dz[i][lo*l.out:hi*l.out], t.x[i+1][lo*l.out:hi*l.out], hi-lo, &s.gemm)
		}
		layers[0].mask(t.dz[0][lo*layers[0].out:hi*layers[0].out], t.x[1][lo*layers[0].out:hi*layers[0].out])
	})
	if err != nil {
		return err
	}
	t.steps++
	var pack, update, repack []func(*scratch[float32])
	for i := range layers {
		p, l, x, dz := &t.params[i], &layers[i], t.x[i], t.dz[i]
		pack = append(pack, func(*scratch[float32]) { p.h.Pack(x, l.in, 1) })
		for lo := 0; lo < l.out; lo += weightRows {
			hi := min(lo+weightRows, l.out)
			update = append(update, func(s *scratch[float32]) { t.update(p, l, dz, lo, hi, rate, s) })
		}
		repack = append(repack, func(*scratch[float32]) { l.wt.Pack(p.w, 1, l.in) }, func(*scratch[float32]) { l.w.Pack(p.w, l.in, 1); copy(l.bias, p.bias) })
	}
	for _, tasks := range [][]func(*scratch[float32]){pack, update, repack} {
		if err := b.workers.run(ctx, len(tasks), func(s *scratch[float32], i int) { tasks[i](s) }); err != nil {
			return err
		}
	}
	return nil
}

// update moves the weights of output units lo to hi-1 by Adam. Their gradient is dW [out, in] =
// dzᵀ·x, and that of the bias is the sum of dz over the batch.
func (t *trainer) update(p *param, l *affine[float32], dz []float32, lo, hi int, rate float64, s *scratch[float32]) {
	dw := p.dw[lo*l.in : hi*l.in]
	clear(dw)
	p.h.MulAdd(dw, l.in, dz[lo:], 1, l.out, hi-lo, &s.gemm)
	size := stepSize(rate, t.steps)
	adam(p.w[lo*l.in:hi*l.in], dw, p.m[lo*l.in:hi*l.in], p.v[lo*l.in:hi*l.in], size)
	for o := lo; o < hi; o++ {
		var g float32
		for r := range t.batch {
			g += dz[r*l.out+o]
		}
		adam(p.bias[o:o+1], []float32{g}, p.mb[o:o+1], p.vb[o:o+1], size)
	}
}

// stepSize is the learning rate at a step, counted from 1, times Adam's correction of moments that
// start at 0.
func stepSize(rate float64, step int) float32 {
	return float32(rate * math.Sqrt(1-math.Pow(beta2, float64(step))) / (1 - math.Pow(beta1, float64(step))))
}

// adam moves w by size·m/(√v + eps). The conversions keep compilers from fusing, so that processors
// agree.
func adam(w, g, m, v []float32, size float32) {
	for i, g := range g {
		m[i] = float32(beta1*m[i]) + float32((1-beta1)*g)
		v[i] = float32(beta2*v[i]) + float32((1-beta2)*float32(g*g))
		w[i] -= float32(size * (m[i] / (float32(math.Sqrt(float64(v[i]))) + adamEps)))
	}
}

// meanLossGradient returns the loss -log softmax(z)[y] and writes its gradient (softmax -
// onehot)/rows to d. Training may form p_y - 1, which loses digits, for that only rounds a step. An
// attack must not, see attack.CrossEntropyGradient.
func meanLossGradient(d, z []float32, y, rows int) float64 {
	top := math.Inf(-1)
	for _, v := range z {
		top = max(top, float64(v))
	}
	sum := 0.0
	for _, v := range z {
		sum += portable.Exp(float64(v) - top)
	}
	for j, v := range z {
		p := portable.Exp(float64(v)-top) / sum
		if j == y {
			p--
		}
		d[j] = float32(p / float64(rows))
	}
	return portable.Log(sum) + top - float64(z[y])
}
