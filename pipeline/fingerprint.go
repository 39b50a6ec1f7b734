package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"math"
	"strconv"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/model"

	"gorgonia.org/tensor"
)

// Fingerprint returns 16 hexadecimal digits that say which bits a backend gives, and this program
// with it: the start of a SHA-256 of what steps of every kind make of fixed images on a few small
// models, of the logits, norms, losses and levels of 8 bits there, and of walks, if the backend can
// walk. Results of devices with equal fingerprints may be put together; those of others may differ
// in last bits. open returns a backend for a model, which Fingerprint closes. It does not depend on
// threads or batches, and takes some tenths of a second on a CPU.
func Fingerprint(open func(*model.Model) (Backend, error)) (string, error) {
	h := sha256.New()
	for i, m := range fingerprintModels() {
		attacks := fingerprintAttacks
		if i >= firstFingerprints {
			attacks = exampleAttacks
		}
		b, err := open(m)
		if err == nil {
			err = fingerprint(h, b, m, attacks)
			if closing := b.Close(); err == nil {
				err = closing
			}
		}
		if err != nil {
			return "", fmt.Errorf("pipeline: fingerprint: model %s: %w", m, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// fingerprintAttacks have steps with and without every field of attack.Step. Bounds are [0, 1] in
// every second one.
const fingerprintAttacks = "fgsm,bim:steps=4,bim:steps=3,fgsm:norm=l2,pgd:steps=3:restarts=2:loss=dlr:seed=1,mifgsm:steps=3:decay=0.5:loss=cw,nifgsm:steps=3," +
	"apgd-ce:steps=7:seed=2,apgd-dlr:steps=7:norm=l2:seed=3,pgd:steps=2:norm=l2:loss=cw:target=2,pgd:steps=2:loss=dlr:target=least-likely,noise:seed=4,uniform:seed=5," +
	"noise:norm=l2,uniform:norm=l2"

// exampleAttacks are for the models of one layer that came later: gradients pass the layer, and all
// else has been seen.
const exampleAttacks = "fgsm,bim:steps=3"

// firstFingerprints is how many of fingerprintModels never change.
const firstFingerprints = 3

// fingerprint writes what b, which holds m, makes of a few images under attacks to h.
func fingerprint(h hash.Hash, b Backend, m *model.Model, attacks string) error {
	ctx, n := context.Background(), 3
	info := b.Info()
	inputs, classes := info.Inputs, info.Classes
	if inputs != m.Inputs() || classes != m.Outputs() {
		return fmt.Errorf("the backend's has %d inputs and %d classes", inputs, classes)
	}
	draw := formula(2)
	x, labels := make([]float32, n*inputs), make([]int32, n)
	for i := range x {
		x[i] = min(max(draw()+0.5, 0), 1) // a quarter of them at either bound
	}
	for i := range labels {
		labels[i] = int32(i % classes)
	}
	const first = 3
	if err := b.Load(ctx, first, tensor.New(tensor.WithShape(append([]int{n}, m.Input...)...), tensor.WithBacking(x)), labels); err != nil {
		return err
	}
	of := held{labels: labels, first: first, shape: m.Input}
	all, err := attack.Parse(attacks, attack.Options{Decay: -1})
	if err != nil {
		return err
	}
	eps := []float64{0, 0.02, 0.15}
	for i, a := range all {
		var bounds attack.Bounds
		if i%2 == 1 {
			bounds = attack.Bounds{Lo: 0, Hi: 1}
		}
		var moved, rounded []byte
		all := sweeping{b: b}
		err := all.batches(batch{0, n, 0, len(eps), 0, runs(a)}, false, func(bt batch) error {
			r := rowsOf(b, a, eps[bt.from:bt.to], bounds, of, bt.lo, bt.hi)
			r.restarts(eps[bt.from:bt.to], bt.first, bt.restarts())
			if err := r.begin(ctx); err != nil {
				return err
			}
			if err := r.attack(ctx, func() {}); err != nil {
				return r.named(err)
			}
			at, err := r.bits(ctx, nil, roundingIn(a.Norm))
			if err != nil {
				return err
			}
			level, err := r.bits(ctx, nil, nil)
			moved, rounded = append(moved, at...), append(rounded, level...)
			return err
		})
		if err != nil {
			return err
		}
		h.Write(moved)
		h.Write(rounded)
	}
	if !ExactPays(b) { // a walk that seldom is asked for says no more than rows do
		return nil
	}
	walker, _ := AsExacter(b)
	levels := make([]uint8, len(x)) // rounded images are on rays then
	for i, v := range x {
		levels[i] = uint8(math.Round(float64(255 * v)))
	}
	if err := b.Load(ctx, first, tensor.New(tensor.WithShape(append([]int{n}, m.Input...)...), tensor.WithBacking(levels)), labels); err != nil {
		return err
	}
	for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
		read := make([]attack.Reading, n)
		if err := walker.Read(ctx, 0, readAt, bounds, true, read); err != nil {
			return err
		}
		h.Write(Sweep{Eps: readAt, Rounded: true}.formOf(b.Info().Classes).reading(labels, read))
	}
	return nil
}

// readAt are the eps at which walks are read.
var readAt = []float64{0, 0.01, 0.05, 0.1, 0.3, 0.5}

// bits appends what is to be seen of every row to buf, and then rounds x if rounding is not nil.
func (r *rows) bits(ctx context.Context, buf []byte, rounding *backend.Rounding) ([]byte, error) {
	images, err := r.b.Images(ctx)
	if err != nil {
		return nil, err
	}
	found, err := r.b.Outcomes(ctx, rounding)
	if err != nil {
		return nil, err
	}
	logits, norms := r.split(found.Logits), found.Norms
	x := float64s(images)
	inputs := len(x) / len(logits)
	put := func(v float64) { buf = binary.LittleEndian.AppendUint64(buf, math.Float64bits(v)) }
	for k, z := range logits {
		for _, v := range x[k*inputs:][:inputs] {
			put(v)
		}
		for _, v := range z {
			put(v)
		}
		for l := attack.CrossEntropy; l <= attack.DLR; l++ {
			v, err := l.Value(z, r.label(k), -1)
			if err != nil {
				return nil, err
			}
			put(v)
		}
		buf = appendFloat32(appendFloat32(buf, norms[k].Linf), norms[k].L2)
		buf = binary.LittleEndian.AppendUint32(buf, uint32(norms[k].L0))
	}
	return buf, nil
}

// formula returns numbers of 16 bits that are spread over [-1, 1): the upper bits of
// k·seed·(2^64/φ), which every processor has alike.
func formula(seed uint64) func() float32 {
	k := seed << 32
	return func() float32 {
		k++
		v := k * 0x9E3779B97F4A7C15
		v = (v ^ v>>31) * 0xBF58476D1CE4E5B9
		return float32(float32(int16(v>>48)) * 0x1p-15)
	}
}

// fingerprintModels are those that never change, which have all kinds of layers of their time, and
// one for each of model.Examples of a kind that came later. So a new kind changes fingerprints by
// itself, and what it needs is only the new numbers in the tests.
func fingerprintModels() []*model.Model {
	all := firstModels()
	known := make(map[string]bool)
	for _, m := range all {
		for _, l := range m.Layers {
			known[l.Kind()] = true
		}
	}
	for _, e := range model.Examples() {
		if !known[e.Layer.Kind()] {
			all = append(all, e.Model())
		}
	}
	return all
}

// firstModels are an MLP, the same with logits so far apart that softmax is 0 or 1, and a network
// of every other layer that there was. Sizes are no multiples of a vector, and long enough for some
// whole ones. A change here changes every fingerprint.
func firstModels() []*model.Model {
	draw := formula(1)
	weights := func(scale float64, shape ...int) *tensor.Dense {
		n := 1
		for _, s := range shape {
			n *= s
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(scale) * draw()
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
	}
	k := 0
	name := func() string { k++; return "layer" + strconv.Itoa(k) }
	linear := func(scale float64, out, in int) model.Linear {
		return model.Linear{Name: name(), Weight: weights(scale, out, in), Bias: weights(0x1p-3, out)}
	}
	conv := func(out, in, kh, kw int, stride [2]int, pad [4]int) model.Conv2D {
		return model.Conv2D{Name: name(), Weight: weights(0x1p-2, out, in, kh, kw), Bias: weights(0x1p-3, out), Stride: stride, Pad: pad}
	}
	mlp := func(top float64) *model.Model {
		return &model.Model{Input: []int{307}, Layers: []model.Layer{
			linear(0x1p-3, 75, 307), model.ReLU{}, linear(0x1p-2, 43, 75), model.ReLU{}, linear(top, 11, 43),
		}}
	}
	one := [2]int{1, 1}
	network := &model.Model{Input: []int{3, 6, 7}, Layers: []model.Layer{
		model.Scale{Name: name(), Weight: weights(2, 3), Bias: weights(0x1p-1, 3)},
		conv(17, 3, 3, 3, one, [4]int{1, 1, 1, 1}), // [17, 6, 7]
		model.GELU{},
		conv(17, 17, 3, 3, one, [4]int{1, 1, 1, 1}),
		model.Tanh{},
		model.Add{}, // of the GELU and the tanh
		// [17, 3, 4]
		model.MaxPool2D{Kernel: [2]int{3, 2}, Stride: [2]int{2, 2}, Pad: [4]int{1, 0, 0, 1}},
		model.GELU{Tanh: true},
		conv(19, 17, 3, 2, [2]int{2, 1}, [4]int{0, 1, 1, 0}), // [19, 1, 4]
		model.LeakyReLU{Slope: 0.1},
		model.AvgPool2D{Kernel: [2]int{2, 3}, Stride: one, Pad: [4]int{1, 1, 0, 1}}, // [19, 1, 4]
		model.Sigmoid{},
		model.AvgPool2D{Kernel: [2]int{2, 2}, Stride: one, Pad: [4]int{0, 0, 1, 1}, CountPad: true},
		linear(0x1p-1, 23, 76),
		model.ReLU{},
		linear(2, 7, 23),
	}}
	for i := range network.Layers {
		network.From = append(network.From, []int{i - 1})
	}
	network.From[5] = []int{2, 4}
	return []*model.Model{mlp(0x1p-1), mlp(0x1p+11), network}
}
