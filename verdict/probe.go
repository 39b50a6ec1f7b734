package verdict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/batch"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/stat"

	"gorgonia.org/tensor"
)

// A Prober looks at clean images before or beside an evaluation, and tries what may be behind those
// that are wrong: images in other units or another order, and other activations.
type Prober struct {
	Model *model.Model // that the backend holds
	// Open opens a backend for another model.
	Open func(*model.Model) (pipeline.Backend, error)
}

// Bounds of what a Prober asks.
const (
	lookImages  = 50   // images of the first look, which a sound model passes
	probeImages = 200  // images of a probe, at most
	fewImages   = 20   // and, of a large model, at least
	probeWork   = 4e9  // multiply-adds of a probe, if that allows for fewImages
	sureImages  = 1000 // images that are asked before it says that a model is at chance
	probeRows   = 32   // images that a backend holds at once
	probeCauses = 3    // causes that are named
)

// Look asks Clean of a few images of set, spread over all of it, and of many if these are at
// chance. It adds the causes for which a probe speaks. Where the model or its file raises a
// suspicion, it probes for that also if the images are better than chance: the finding then is a
// warning with a cause. b holds other images afterwards.
func (p *Prober) Look(ctx context.Context, b pipeline.Backend, set *dataset.Set) (Finding, error) {
	var f Finding
	for _, n := range []int{lookImages, sureImages} {
		x, err := samples(set, n)
		if err != nil {
			return f, err
		}
		said, err := x.ask(ctx, b)
		if err != nil {
			return f, err
		}
		if f = Clean(said, b.Info().Classes); f.Level != Fail || x.n == set.N() {
			break
		}
	}
	f.Images = nil // places in the sample
	return p.explain(ctx, b, set, f)
}

// sample is how many images a probe asks.
func (p *Prober) sample() (int, error) {
	macs, err := p.Model.MACs()
	if err != nil {
		return 0, err
	}
	return int(min(probeImages, max(fewImages, probeWork/max(1, macs)))), nil
}

// explain adds to f, which Clean found of set, the causes for which probes speak.
func (p *Prober) explain(ctx context.Context, b pipeline.Backend, set *dataset.Set, f Finding) (Finding, error) {
	n, err := p.sample()
	if err != nil {
		return f, err
	}
	x, err := samples(set, n)
	if err != nil {
		return f, err
	}
	x.flat = len(p.Model.Input) < 2
	var before []Said // as the images are
	var found []Cause
	for _, one := range probes(p.Model, x) {
		if !one.fits(x) || f.Level != Fail && !one.suspected(p.Model, x) {
			continue
		}
		if before == nil {
			if before, err = x.ask(ctx, b); err != nil {
				return f, err
			}
			if !better(before, perfect(before)) {
				break // so few are wrong that no probe could speak
			}
		}
		said, err := p.try(ctx, b, x, one)
		if err != nil {
			return f, err
		}
		if after := Clean(said, b.Info().Classes); after.Level == Pass && better(before, said) {
			c := one.cause
			c.Right, c.N = after.Right[0], after.N
			found = append(found, c)
		}
	}
	if len(found) > 0 && f.Level != Fail {
		f.Level = Warn
	}
	f.Causes = likeliest(append(found, f.Causes...)) // what was tried goes before what fits
	return f, nil
}

// likeliest returns the few causes that explain most, those first that make most images right. That
// all images are given one class is a symptom of others, and left out beside one.
func likeliest(all []Cause) []Cause {
	share := func(c Cause) float64 {
		if c.Reason == OneClass {
			return 0
		}
		return stat.Ratio(c.Right, c.N)
	}
	slices.SortStableFunc(all, func(a, b Cause) int { return cmp.Compare(share(b), share(a)) })
	if len(all) > 0 {
		best := share(all[0])
		all = slices.DeleteFunc(all, func(c Cause) bool { return share(c) < 0.9*best })
	}
	return all[:min(len(all), probeCauses)]
}

// better reports whether far more images are right in after than in before, by the sign test.
func better(before, after []Said) bool {
	gained, lost := 0, 0
	for i := range after {
		was, is := before[i].Class == before[i].Label, after[i].Class == after[i].Label
		if is && !was {
			gained++
		}
		if was && !is {
			lost++
		}
	}
	return gained > lost && stat.SignTest(gained, lost) < sure
}

// perfect is said of the same images by a model that has all of them right.
func perfect(said []Said) []Said {
	all := slices.Clone(said)
	for i := range all {
		all[i].Class = all[i].Label
	}
	return all
}

// try asks what b's model, or the probe's, says of the probe's images.
func (p *Prober) try(ctx context.Context, b pipeline.Backend, x *sampled, one probe) ([]Said, error) {
	if one.change == nil {
		return x.moved(one).ask(ctx, b)
	}
	other := *p.Model
	if err := one.change(&other); err != nil {
		return nil, err
	}
	changed, err := p.Open(&other)
	if err != nil {
		return nil, fmt.Errorf("verdict: a probe: %w", err)
	}
	defer changed.Close()
	return x.ask(ctx, changed)
}

// A probe is a cause with what would mend it: other images, or another model.
type probe struct {
	cause Cause
	fits  func(*sampled) bool
	// suspected reports whether the model raises the suspicion itself.
	suspected func(*model.Model, *sampled) bool
	// image writes to dst [C·H·W] the image that a model with this cause takes for src.
	image func(dst, src []float32, x *sampled)
	// change makes of the model the one that this cause asks for; nil: only images are changed.
	change func(*model.Model) error
}

func never(*model.Model, *sampled) bool { return false }

// SmallFactor is the factor below which a first layer raises the suspicion that it was made for
// pixels from 0 to 255.
const SmallFactor = 0.1

// probes are all that is tried of m and x.
func probes(m *model.Model, x *sampled) []probe {
	unit := func(x *sampled) bool { return x.lo >= 0 && x.hi <= 1 }
	colour := func(x *sampled) bool { return x.c == 3 }
	scaled := func(factor, add float32) func(dst, src []float32, x *sampled) {
		return func(dst, src []float32, _ *sampled) {
			for i, v := range src {
				dst[i] = float32(factor*v) + add
			}
		}
	}
	all := []probe{
		{cause: Cause{Reason: PixelRange, Lo: 0, Hi: 1 / x.hi}, fits: func(x *sampled) bool { return unit(x) && x.hi <= dark && x.hi > 1.5/255 },
			image: scaled(float32(1/x.hi), 0), suspected: func(*model.Model, *sampled) bool { return true }},
		{cause: Cause{Reason: PixelRange, Lo: 0, Hi: 255}, fits: unit, image: scaled(255, 0),
			suspected: func(m *model.Model, _ *sampled) bool {
				factor, ok := m.FirstFactor()
				return ok && math.Abs(factor) < SmallFactor || x.hi <= 1.5/255 // bytes of 0 and 1
			}},
		{cause: Cause{Reason: PixelRange, Lo: -1, Hi: 1}, fits: unit, image: scaled(2, -1), suspected: never},
		{cause: Cause{Reason: Divided}, fits: func(x *sampled) bool { return x.hi > 1 || m.Source.Pixels != "" }, image: scaled(1./255, 0), suspected: never},
		{cause: Cause{Reason: Rescaled}, fits: func(x *sampled) bool { return x.lo < 0 }, suspected: never,
			image: func(dst, src []float32, x *sampled) {
				for i, v := range src {
					dst[i] = (v - float32(x.lo)) / float32(x.hi-x.lo)
				}
			}},
		{cause: Cause{Reason: Inverted}, fits: unit, image: scaled(-1, 1), suspected: never},
		{cause: Cause{Reason: Reversed}, fits: colour, image: reversed, suspected: never},
		{cause: Cause{Reason: CaffeOrder}, fits: func(x *sampled) bool { return colour(x) && unit(x) }, suspected: never,
			image: func(dst, src []float32, x *sampled) {
				reversed(dst, src, x)
				byChannel(dst, x, func(c int, v float32) float32 { return float32(255*v) - caffeMean[c] })
			}},
		{cause: Cause{Reason: Transposed}, suspected: never, fits: func(x *sampled) bool { return x.h > 1 && x.w > 1 && (x.h == x.w || x.flat) },
			image: func(dst, src []float32, x *sampled) {
				for i := range src {
					c, r, s := i/(x.h*x.w), i/x.w%x.h, i%x.w
					dst[(c*x.w+s)*x.h+r] = src[i]
				}
			}},
		{cause: Cause{Reason: ChannelsLast}, suspected: never, fits: func(x *sampled) bool { return x.c > 1 && x.flat },
			image: func(dst, src []float32, x *sampled) {
				for i := range src {
					c, at := i/(x.h*x.w), i%(x.h*x.w)
					dst[at*x.c+c] = src[i]
				}
			}},
	}
	for _, one := range normalisations {
		all = append(all, probe{cause: Cause{Reason: Normalised, Name: one.name}, suspected: never,
			fits: func(x *sampled) bool { return unit(x) && x.c == len(one.mean) },
			image: func(dst, src []float32, x *sampled) {
				copy(dst, src)
				byChannel(dst, x, func(c int, v float32) float32 { return (v - one.mean[c]) / one.std[c] })
			}})
	}
	if m.Assumed != "" {
		given := m.Source.Activation != "" // then nobody has to be told unless images are wrong
		for _, name := range model.Activations() {
			if name == m.Assumed {
				continue
			}
			all = append(all, probe{cause: Cause{Reason: Activation, Name: name}, fits: func(*sampled) bool { return true },
				suspected: func(*model.Model, *sampled) bool { return !given },
				change:    func(m *model.Model) error { return m.SetActivation(name) }})
		}
	}
	return all
}

// dark is the largest pixel, of bytes v as v/255, up to which images raise the suspicion that their
// bytes reach up to another number than 255, as digits from 0 to 16 or images of 0 and 1 do.
const dark = 0.5

func reversed(dst, src []float32, x *sampled) {
	plane := x.h * x.w
	for c := range x.c {
		copy(dst[c*plane:][:plane], src[(x.c-1-c)*plane:][:plane])
	}
}

func byChannel(dst []float32, x *sampled, f func(c int, v float32) float32) {
	for i, v := range dst {
		dst[i] = f(i/(x.h*x.w), v)
	}
}

// caffeMean is the mean of ImageNet's images that networks of Caffe subtract, in BGR from 0 to 255.
//
// Simonyan and Zisserman 2015, arXiv:1409.1556: the models as published.
var caffeMean = [3]float32{103.939, 116.779, 123.68}

// normalisations are the means and standard deviations of the pixels in [0, 1] of training sets, by
// channel, with which the models of these sets are most often trained.
var normalisations = []struct {
	name      string
	mean, std []float32
}{
	{"ImageNet", []float32{0.485, 0.456, 0.406}, []float32{0.229, 0.224, 0.225}},
	{"CIFAR-10", []float32{0.4914, 0.4822, 0.4465}, []float32{0.2470, 0.2435, 0.2616}},
	{"MNIST", []float32{0.1307}, []float32{0.3081}},
	{"Fashion-MNIST", []float32{0.2860}, []float32{0.3530}},
}

// sampled are some images of a set, as the numbers that a model takes.
type sampled struct {
	n, c, h, w int
	pixels     []float32 // [n, c, h, w]
	labels     []int32   // [n]
	shape      []int     // that of the set's images, with n in front
	lo, hi     float64   // of all pixels of the set
	flat       bool      // the model takes a row of pixels
}

// samples returns n images of set, spread evenly over all of it, or all if there are no more.
func samples(set *dataset.Set, n int) (*sampled, error) {
	total := set.N()
	n = min(n, total)
	x := &sampled{n: n, shape: slices.Clone([]int(set.Images.Shape()))}
	x.lo, x.hi = set.Range()
	x.shape[0] = n
	size := set.Images.Shape().TotalSize() / total
	switch s := x.shape; len(s) {
	case 3:
		x.c, x.h, x.w = 1, s[1], s[2]
	case 4:
		x.c, x.h, x.w = s[1], s[2], s[3]
	default:
		return nil, fmt.Errorf("verdict: images %v, want [N, H, W] or [N, C, H, W]", s)
	}
	x.pixels = make([]float32, 0, n*size)
	for k := range n {
		i := k * total / n
		switch data := set.Images.Data().(type) {
		case []uint8:
			for _, v := range data[i*size:][:size] {
				x.pixels = append(x.pixels, float32(v)/255)
			}
		case []float32:
			x.pixels = append(x.pixels, data[i*size:][:size]...)
		default:
			return nil, fmt.Errorf("verdict: images of %v, want uint8 or float32", set.Images.Dtype())
		}
		x.labels = append(x.labels, set.Labels[i])
	}
	return x, nil
}

// moved returns the images that one makes of x.
func (x *sampled) moved(one probe) *sampled {
	y := *x
	y.pixels = make([]float32, len(x.pixels))
	size := x.c * x.h * x.w
	for i := 0; i < len(x.pixels); i += size {
		one.image(y.pixels[i:][:size], x.pixels[i:][:size], x)
	}
	return &y
}

// ask returns what b's model says of x. A class is -1 where a logit is not finite.
func (x *sampled) ask(ctx context.Context, b pipeline.Backend) ([]Said, error) {
	images := tensor.New(tensor.WithShape(x.shape...), tensor.WithBacking(x.pixels))
	if err := b.Load(ctx, 0, images, x.labels); err != nil {
		return nil, err
	}
	classes, step := b.Info().Classes, max(1, min(b.Info().Rows, probeRows))
	all := make([]Said, 0, x.n)
	for lo := 0; lo < x.n; lo = len(all) {
		err := b.Begin(ctx, lo, min(x.n, lo+step), []float64{0})
		var short interface{ OutOfMemory() bool }
		if step > 1 && errors.As(err, &short) && short.OutOfMemory() {
			step /= 2
			continue
		}
		if err != nil {
			return nil, err
		}
		d, err := b.Logits(ctx)
		if err != nil {
			return nil, err
		}
		for z := range slices.Chunk(batch.Floats[float64](nil, d), classes) {
			label := x.labels[len(all)]
			class, _, ok := attack.Judge(z, int(label))
			if !ok {
				class = -1
			}
			all = append(all, Said{label, int32(class)})
		}
	}
	return all, nil
}
