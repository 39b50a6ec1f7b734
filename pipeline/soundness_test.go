package pipeline_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/npy"
	"advsweep/internal/ref"
	"advsweep/model"
	_ "advsweep/model/onnx"
	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

// vnnBenchmarks are networks of the verification competition and the normalisation of their inputs,
// for each channel: an input is (pixel - mean)/std, and pixels lie in [0, 1].
var vnnBenchmarks = []struct {
	name      string
	mean, std []float64
}{
	{"mnistfc", []float64{0}, []float64{1}},
	{"eran", []float64{0}, []float64{1}},
	{"oval21", []float64{0.485, 0.456, 0.406}, []float64{0.225, 0.225, 0.225}},
	{"cifar10_resnet", []float64{0.4914, 0.4822, 0.4465}, []float64{0.2471, 0.2435, 0.2616}},
}

// A vnnInstance is a box of inputs [I], in units of the network, and what is known of it.
type vnnInstance struct {
	net, verdict string // verdict is unsat, that no input in the box is misread; sat; or unknown
	lo, hi       []float64
	label        int32
	// The same box as a ball of pixels: x0 [I] ± eps, clipped to [0, 1].
	x0  []float32
	eps float64
}

// vnnArrays reads NAME.npz, whose arrays are as in the folder's README.
func vnnArrays(t *testing.T, path string) (all []vnnInstance) {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if raw[strings.TrimSuffix(f.Name, ".npy")], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	numbers := func(name string) (shape []int, words []uint64) {
		a, err := npy.Read(bytes.NewReader(raw[name]), int64(len(raw[name])))
		if err != nil || a.Width != 8 || a.Fortran {
			t.Fatalf("%s of %s: %v, want rows of numbers of 8 bytes", name, path, err)
		}
		for p := a.Data; len(p) > 0; p = p[8:] {
			words = append(words, a.Order.Uint64(p))
		}
		return a.Shape, words
	}
	_, labels := numbers("label")
	n := len(labels)
	texts := func(name string) (all []string) { // of fixed width in UTF-32, which package npy refuses
		p := raw[name][10+int(binary.LittleEndian.Uint16(raw[name][8:])):]
		for one := range slices.Chunk(p, len(p)/n) {
			var s strings.Builder
			for ; len(one) > 0; one = one[4:] {
				if v := binary.LittleEndian.Uint32(one); v != 0 {
					s.WriteRune(rune(v))
				}
			}
			all = append(all, s.String())
		}
		return all
	}
	shape, lo := numbers("lo")
	_, hi := numbers("hi")
	floats := func(words []uint64) (v []float64) {
		for _, w := range words {
			v = append(v, math.Float64frombits(w))
		}
		return v
	}
	nets, verdicts, I := texts("net"), texts("verdict"), shape[1]
	for i := range n {
		all = append(all, vnnInstance{net: nets[i], verdict: verdicts[i], lo: floats(lo[i*I:][:I]), hi: floats(hi[i*I:][:I]), label: int32(int64(labels[i]))})
	}
	return all
}

// ball finds x0 and eps, and returns whether the box is theirs: to 1e-6 of a pixel, and by no more
// than rounding to float32 beyond it.
func (v *vnnInstance) ball(mean, std []float64) bool {
	plane := len(v.lo) / len(mean)
	lo, hi, width := make([]float64, len(v.lo)), make([]float64, len(v.lo)), 0.0
	for i := range lo {
		c := i / plane
		lo[i], hi[i] = float64(v.lo[i]*std[c])+mean[c], float64(v.hi[i]*std[c])+mean[c]
		width = max(width, hi[i]-lo[i])
	}
	const off = 1e-6
	v.eps = width/2 - off/4 // ends of boxes are rounded to float32
	for i := range lo {
		x := (lo[i] + hi[i]) / 2
		switch {
		case hi[i]-lo[i] > width-off: // not clipped
		case lo[i] < off:
			x = hi[i] - width/2
		default:
			x = lo[i] + width/2
		}
		x = min(max(x, 0), 1)
		v.x0 = append(v.x0, float32(x))
		if !(math.Abs(max(x-v.eps, 0)-lo[i]) <= off && math.Abs(min(x+v.eps, 1)-hi[i]) <= off) {
			return false
		}
	}
	return v.label >= 0
}

// misread reports whether the network, in float64, misreads pixels [I], put into the box where
// rounding has carried them out of it.
func (v *vnnInstance) misread(m *model.Model, pixels []float32, mean, std []float64) bool {
	plane, x := len(v.lo)/len(mean), make([]float64, len(pixels))
	for i, p := range pixels {
		c := i / plane
		x[i] = min(max((float64(p)-mean[c])/std[c], v.lo[i]), v.hi[i])
	}
	logits, _ := ref.Forward(m, x)
	_, margin, ok := attack.Judge(logits, int(v.label))
	return ok && margin <= 0
}

// normalised returns m with pixels as its input.
func normalised(m *model.Model, mean, std []float64) *model.Model {
	if len(mean) == 1 {
		return m
	}
	weight, bias := make([]float32, len(mean)), make([]float32, len(mean))
	for c := range mean {
		weight[c], bias[c] = float32(1/std[c]), float32(-mean[c]/std[c])
	}
	dense := func(v []float32) *tensor.Dense { return tensor.New(tensor.WithShape(len(v)), tensor.WithBacking(v)) }
	out := *m
	out.Layers = append([]model.Layer{model.Scale{Name: "pixels", Weight: dense(weight), Bias: dense(bias)}}, m.Layers...)
	out.From = [][]int{{-1}}
	for i := range m.Layers {
		var from []int
		for _, k := range m.Takes(i) {
			from = append(from, k+1)
		}
		out.From = append(out.From, from)
	}
	return &out
}

// A vnnGroup is instances of one network with one eps.
type vnnGroup struct {
	net string
	eps float64
	of  []*vnnInstance
}

// vnnGroups puts together the instances whose box is a ball within bounds, and counts them by what
// is known of them. left is how many are none.
func vnnGroups(all []vnnInstance, mean, std []float64) (groups []*vnnGroup, asked map[string]int, left int) {
	asked = map[string]int{}
	for i := range all {
		v := &all[i]
		if !v.ball(mean, std) {
			left++
			continue
		}
		asked[v.verdict]++
		v.eps = math.Floor(v.eps*1e7) / 1e7 // the same for boxes that differ by rounding
		k := slices.IndexFunc(groups, func(g *vnnGroup) bool { return g.net == v.net && g.eps == v.eps })
		if k < 0 {
			k = len(groups)
			groups = append(groups, &vnnGroup{net: v.net, eps: v.eps})
		}
		groups[k].of = append(groups[k].of, v)
	}
	return groups, asked, left
}

// set is the images at the centres of the group's balls, all square and of so many channels.
func (g *vnnGroup) set(channels int) *dataset.Set {
	s := &dataset.Set{}
	var pixels []float32
	for _, v := range g.of {
		pixels, s.Labels = append(pixels, v.x0...), append(s.Labels, v.label)
	}
	side := int(math.Sqrt(float64(len(g.of[0].x0) / channels)))
	s.Images = tensor.New(tensor.WithShape(len(g.of), channels, side, side), tensor.WithBacking(pixels))
	return s
}

// TestSoundness attacks boxes of the verification competition: what is proven safe must not fall,
// and of what is known to be misread it says how much is found. ADVSWEEP_VNN names a folder with a
// file NAME.npz for each of vnnBenchmarks, and with their networks in nets: see 'make soundness'.
// ADVSWEEP_VNN_ATTACKS lists other attacks than all that have L∞.
func TestSoundness(t *testing.T) {
	folder := os.Getenv("ADVSWEEP_VNN")
	if folder == "" {
		t.Skip("ADVSWEEP_VNN names no folder of instances")
	}
	list := os.Getenv("ADVSWEEP_VNN_ATTACKS")
	if list == "" {
		list = "pgd:target=all"
		for _, m := range attack.Methods { // those of tests have no paper
			if f := m.Facts(); f.Source != "" {
				list += "," + f.Name()
			}
		}
	}
	attacks := slices.DeleteFunc(parse(t, list, attack.Options{Seed: 1}), func(a attack.Attack) bool { return a.Norm != attack.Linf })
	worst, err := attack.MethodOf(attack.Worst().Kind)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range vnnBenchmarks {
		t.Run(of.name, func(t *testing.T) {
			all := vnnArrays(t, filepath.Join(folder, of.name+".npz"))
			groups, asked, left := vnnGroups(all, of.mean, of.std)
			t.Logf("%d instances, %d left out, which are no ball within bounds: unsat %d, sat %d, unknown %d", len(all), left, asked["unsat"], asked["sat"], asked["unknown"])
			found, passes := make([]map[*vnnInstance]bool, len(attacks)), make([]float64, len(attacks))
			for k := range found {
				found[k] = map[*vnnInstance]bool{}
			}
			for _, g := range groups {
				m, err := model.Load(filepath.Join(folder, "nets", g.net))
				if err != nil {
					t.Fatal(err)
				}
				b, set := open[float32](t, normalised(m, of.mean, of.std)), g.set(len(of.mean))
				for k, a := range attacks {
					a = a.For(m.Outputs())
					made, err := pipeline.CraftAll(t.Context(), b, set, a, g.eps, attack.Bounds{Lo: 0, Hi: 1}, nil)
					if err != nil {
						t.Fatal(err)
					}
					c := pipeline.Curve{Attack: a, Correct: []int{0}, Outcomes: made.Outcomes}
					if mean, ok := c.MeanPasses(); ok {
						passes[k] += float64(mean[0]*float64(len(g.of))) / float64(len(all)-left)
					}
					x, inputs := made.Images.Data().([]float32), len(g.of[0].x0)
					for i, v := range g.of {
						o, wrong := made.Outcomes[i], v.misread(m, x[i*inputs:][:inputs], of.mean, of.std)
						if wrong {
							found[k][v] = true
						}
						if v.verdict == "unsat" && (wrong || o.Class != v.label) {
							t.Errorf("%s, label %d, eps %v: %s makes it class %d with margin %v (misread in float64: %v), and it is proven safe",
								g.net, v.label, g.eps, a.Name, o.Class, o.Margin, wrong)
						}
					}
				}
				b.Close()
			}
			line := func(name string, places ...int) { // of attacks together, by their places
				together, sum := map[*vnnInstance]bool{}, 0.0
				for _, k := range places {
					maps.Copy(together, found[k])
					sum += passes[k]
				}
				n := map[string]int{}
				for v := range together {
					n[v.verdict]++
				}
				t.Logf("| %s | %s | %d of %d | %d of %d | %d of %d | %.0f |", of.name, name, n["unsat"], asked["unsat"], n["sat"], asked["sat"], n["unknown"], asked["unknown"], sum)
			}
			var every, parts []int
			for k, a := range attacks {
				line(a.Name, k)
				if every = append(every, k); slices.Contains(worst.Facts().Of, a.Name) {
					parts = append(parts, k)
				}
			}
			if len(parts) == len(worst.Facts().Of) {
				line("worst", parts...)
			}
			line("all together", every...)
		})
	}
}
