//go:build cuda && linux && cgo

package gpu

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/cusim"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"gorgonia.org/tensor"
)

type ctx = context.Context

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// simulator skips t where the driver is a real one: no test can tell that one when to fail.
func simulator(t *testing.T) {
	t.Helper()
	need(t)
	if !cusim.Loaded() {
		t.Skip("needs the simulated driver")
	}
}

// again runs test t once more, in a process of its own with env added. It returns true in that
// process.
func again(t *testing.T, env ...string) bool {
	t.Helper()
	if os.Getenv("ADVSWEEP_TEST_AGAIN") == t.Name() {
		return true
	}
	parts := strings.Split(t.Name(), "/")
	for i, p := range parts {
		parts[i] = "^" + p + "$"
	}
	c := exec.Command(os.Args[0], "-test.run="+strings.Join(parts, "/"), "-test.v")
	c.Env = append(append(os.Environ(), env...), "ADVSWEEP_TEST_AGAIN="+t.Name())
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("with %v: %v\n%s", env, err, out)
	}
	return false
}

// small makes an MLP and images for runs that are repeated often.
func small(t testing.TB) (*model.Model, *dataset.Set) {
	r := rand.New(rand.NewPCG(4, 4))
	m := ref.RandomModel(r, 1, 20, 18, 5)
	set := byteSet(r, 11, 4, 5)
	set.First = 3
	return m, set
}

// byteSet makes n random images [h, w] of bytes, with labels below 5.
func byteSet(r *rand.Rand, n, h, w int) *dataset.Set {
	pixels, labels := make([]uint8, n*h*w), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	for i := range labels {
		labels[i] = int32(r.IntN(5))
	}
	return &dataset.Set{Images: tensor.New(tensor.WithShape(n, h, w), tensor.WithBacking(pixels)), Labels: labels}
}

// everything opens a backend, uses every method of it, and returns as text what they gave.
func everything(o Options, m *model.Model, set *dataset.Set) (found string, err error) {
	b, err := New(m, o)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	ctx := context.Background()
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.FGSM(), attack.BIM(4), attack.Noise(1)}, Eps: []float64{0, 0.1, 0.3}}
	res, err := s.Run(ctx, b, set)
	if err != nil {
		return "", err
	}
	s.Bounds = attack.Bounds{Lo: 0, Hi: 1}
	clipped, err := s.Run(ctx, b, set)
	if err != nil {
		return "", err
	}
	one, err := set.Slice(4, 1)
	if err != nil {
		return "", err
	}
	ex, err := pipeline.Craft(ctx, b, one, attack.BIM(3), 0.25, attack.Bounds{})
	if err != nil {
		return "", err
	}
	if err := b.Load(ctx, set.First, set.Images, set.Labels); err != nil {
		return "", err
	}
	general, err := generally(ctx, b, 0, set.N(), s.Eps)
	if err != nil {
		return "", err
	}
	if err := b.Load(ctx, 0, tensor.New(tensor.WithShape(2, 20), tensor.WithBacking(make([]float32, 40))), []int32{0, 1}); err != nil {
		return "", err
	}
	if err := b.Begin(ctx, 0, 2, []float64{0.1}); err != nil {
		return "", err
	}
	g, err := weighted(ctx, b)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%+v %+v %v %v %v %v", res.Curves, clipped.Curves, ex.Adversarial, ex.Perturbed.Data(), general, g.Data()), nil
}

// TestFailures makes every driver call fail in turn, with each kind of error that a driver has.
// Every run must end with an error that names the device, or else with the right result. No object
// may be left. Then it makes launches fail later, at the call that waits for them.
func TestFailures(t *testing.T) {
	simulator(t)
	m, set := small(t)
	clean := func(t *testing.T, what string) {
		t.Helper()
		cusim.Reset()
		if live := cusim.Live(); live != 0 {
			t.Fatalf("%s: %d objects are left", what, live)
		}
	}
	for _, devices := range [][]int{{0}, {0, 1}} {
		if infos := need(t); len(devices) > len(infos) {
			t.Logf("%d devices: not with %d", len(devices), len(infos))
			continue
		}
		o := Options{Devices: devices}
		start, startLaunches := cusim.Calls(), cusim.Launches("")
		want, err := everything(o, m, set)
		must(t, err)
		calls, launches := cusim.Calls()-start, cusim.Launches("")-startLaunches
		clean(t, "no failure")
		leaked := cusim.Leaked()
		stride := 1
		if testing.Short() {
			stride = 17
		}
		if len(devices) > 1 {
			stride *= 7
		}
		const outOfMemory, launchFailed, lost, invalid = 2, 719, 46, 1
		for i, code := range []int{outOfMemory, launchFailed, lost, invalid} {
			errs, tried := 0, 0
			for nth := 1 + i%stride; nth <= calls; nth += stride {
				cusim.Fail(nth, code)
				tried++
				got, err := everything(o, m, set)
				what := fmt.Sprintf("%v: call %d of %d, %s, fails with %d", devices, nth, calls, cusim.FailedCall(), code)
				switch {
				case cusim.FailedCall() == "" && len(devices) == 1:
					t.Errorf("%s: no call was made to fail", what)
				case err == nil && got != want:
					t.Errorf("%s: no error, but another result:\n%s\n%s", what, got, want)
				case err == nil && code != outOfMemory && cusim.FailedCall() != "cuStreamBeginCapture_v2" && cusim.FailedCall() != "cuGraphInstantiateWithFlags":
					t.Errorf("%s: no error", what) // after those two calls it goes on without a graph
				case err != nil && !strings.Contains(err.Error(), "gpu: cuda:"):
					t.Errorf("%s: %v does not name the device", what, err)
				}
				if err != nil {
					errs++
				}
				clean(t, what)
			}
			t.Logf("devices %v, code %d: %d of %d calls ended in an error, the others were made good", devices, code, errs, tried)
		}
		for nth := 1; nth <= launches; nth += stride {
			cusim.FailAsync(nth, launchFailed)
			_, err := everything(o, m, set)
			if what := fmt.Sprintf("%v: launch %d of %d", devices, nth, launches); err == nil {
				t.Errorf("%s fails when it runs: no error", what)
			} else {
				clean(t, what)
			}
		}
		if now := cusim.Leaked(); now != leaked {
			t.Errorf("%d objects leaked", now-leaked)
		}
	}
}

// TestErrorText checks that errors name the device, the kernel and its shape.
func TestErrorText(t *testing.T) {
	simulator(t)
	m, set := small(t)
	b := open(t, m, Options{})
	must(t, b.Load(t.Context(), 0, set.Images, set.Labels))
	must(t, b.Begin(t.Context(), 0, 11, []float64{0.1}))
	cusim.FailAsync(3, 719)
	err := b.Step(t.Context(), attack.FGSM().At(0, []float64{0.1}, attack.Bounds{}))
	if err == nil {
		_, err = b.Count(t.Context(), make([]int, 1), make([]int, 1), make([]bool, 11))
	}
	if err == nil || !strings.Contains(err.Error(), "gpu: cuda:0: ") || !strings.Contains(err.Error(), "[11 ") {
		t.Errorf("a launch that failed later: %v, want device, what ran, and its shape", err)
	}
	if err := b.Close(); err == nil {
		t.Error("closing a lost device: no error")
	}
	cusim.Reset()
	b = open(t, m, Options{MathMode: "fp32"})
	must(t, b.Load(t.Context(), 0, set.Images, set.Labels))
	must(t, b.Begin(t.Context(), 0, 11, []float64{0.1}))
	must(t, b.Predictions(t.Context(), make([]int32, 11))) // the kernels are found from here on
	cusim.Fail(1, 701)                                     // too many resources requested
	err = b.Predictions(t.Context(), make([]int32, 11))
	if err == nil || !strings.Contains(err.Error(), "gpu: cuda:0: launch affine_forward_fp32_32 [11 20 18]: ") {
		t.Errorf("a launch: %v, want device, kernel and shape", err)
	}
	cusim.Reset()
}

// TestCycles opens and closes a backend 1,000 times, with a batch in between. No object may be
// left.
func TestCycles(t *testing.T) {
	need(t)
	m, set := small(t)
	cycles := 1000
	if testing.Short() {
		cycles = 20
	}
	for range cycles {
		b, err := New(m, Options{})
		must(t, err)
		must(t, b.Load(t.Context(), 0, set.Images, set.Labels))
		must(t, b.Begin(t.Context(), 0, 3, []float64{0.1}))
		for k := range 4 { // enough steps for a graph
			must(t, b.Step(t.Context(), attack.BIM(4).At(k, []float64{0.1}, attack.Bounds{})))
		}
		must(t, b.Close())
	}
	if cusim.Loaded() {
		if live, leaked := cusim.Live(), cusim.Leaked(); live != 0 || leaked != 0 {
			t.Errorf("%d objects are left, %d leaked", live, leaked)
		}
		return
	}
	first := freeAfter(t, m)
	for range 20 {
		must(t, open(t, m, Options{}).Close())
	}
	if now := freeAfter(t, m); now < first-(64<<20) {
		t.Errorf("%d bytes of the device are free, %d were before 20 more cycles", now, first)
	}
}

func freeAfter(t *testing.T, m *model.Model) (free int64) {
	b := open(t, m, Options{})
	must(t, b.cards[0].do(func() (err error) { free, err = b.cards[0].freeMemory(); return err }))
	must(t, b.Close())
	return free
}

// TestMemory runs a sweep on a device that has room for some of it at a time. The result must be
// that of small batches. Then it makes the plan too large, as if other programs took memory, so
// that allocations that were planned fail.
func TestMemory(t *testing.T) {
	simulator(t)
	if !again(t, "CUSIM_MEMORY=3000000") {
		return
	}
	r := rand.New(rand.NewPCG(7, 7))
	m := ref.RandomModel(r, 1, 40, 50, 5)
	set := byteSet(r, 150, 5, 8)
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.BIM(3)}, Eps: []float64{0.01, 0.02, 0.03, 0.04, 0.05, 0.1, 0.2}, Bounds: attack.Bounds{Lo: -1, Hi: 2}}
	run := func(b *Backend, rows int) string {
		s.Rows = rows
		res, err := s.Run(t.Context(), b, set)
		must(t, err)
		return fmt.Sprint(res.Curves)
	}
	b := open(t, m, Options{})
	want := run(b, 50) // little memory
	if most := b.Info().Rows; most < 150 {
		t.Fatalf("%d rows fit: the test would say too little", most)
	}
	if got := run(open(t, m, Options{}), 0); got != want {
		t.Errorf("as many rows as fit: %s, want %s", got, want)
	}
	greedy := open(t, m, Options{})
	greedy.cards[0].budget.rowsMax = 1 << 20 // a plan that does not hold
	must(t, greedy.Load(t.Context(), 0, set.Images, set.Labels))
	greedy.cards[0].budget.rowsMax = 1 << 20
	err := greedy.Begin(t.Context(), 0, 150, manyEps(400))
	var short interface{ OutOfMemory() bool }
	if !errors.As(err, &short) || !short.OutOfMemory() {
		t.Errorf("60,000 rows: %v, want an error with OutOfMemory", err)
	}
	must(t, greedy.Begin(t.Context(), 0, 150, s.Eps)) // and it goes on with less

	// As many rows as fit leave no room for some buffer of a general step or a slot. Then all
	// memory of the batch must be given back.
	want, err = generally(t.Context(), b, 0, 20, s.Eps)
	must(t, err)
	eps, failed := manyEps(b.Info().Rows/150), 0
	for images := 150; ; images = images * 3 / 4 {
		must(t, b.Begin(t.Context(), 0, images, eps))
		free := func() (n int64) {
			must(t, b.cards[0].do(func() (err error) { n, err = b.cards[0].freeMemory(); return err }))
			return n
		}
		before := free()
		_, err := generally(t.Context(), b, 0, images, eps)
		if err == nil {
			break
		}
		if !errors.As(err, &short) || !short.OutOfMemory() {
			t.Fatalf("general steps of %d images: %v, want an error with OutOfMemory", images, err)
		}
		if now := free(); now <= before {
			t.Errorf("after general steps of %d images that did not fit %d bytes are free, %d were before", images, now, before)
		}
		if _, err := b.Outcomes(t.Context(), nil); err == nil {
			t.Error("there are rows after an error")
		}
		failed++
	}
	if failed == 0 {
		t.Error("all general steps fit: the test says too little")
	}
	got, err := generally(t.Context(), b, 0, 20, s.Eps)
	must(t, err)
	if got != want {
		t.Errorf("after batches that did not fit: %s, want %s", got, want)
	}
}

func manyEps(n int) []float64 {
	eps := make([]float64, n)
	for i := range eps {
		eps[i] = float64(i) / 1000
	}
	return eps
}

// TestHalving makes each allocation of a batch fail in the middle of a sweep. The microbatch is
// halved, and the result must be the same.
func TestHalving(t *testing.T) {
	simulator(t)
	m, set := small(t)
	s := pipeline.Sweep{Attacks: []attack.Attack{attack.BIM(2)}, Eps: []float64{0.01, 0.1, 0.3}}
	var want string
	for fail := range 60 {
		b := open(t, m, Options{})
		b.cards[0].budget.planned = 4 * minMicrobatch
		if fail > 0 {
			must(t, b.Load(t.Context(), 0, set.Images, set.Labels))
			cusim.Fail(fail, 2)
		}
		res, err := s.Run(t.Context(), b, set)
		if err != nil {
			if failed := cusim.FailedCall(); strings.HasPrefix(failed, "cuMemAlloc_") {
				t.Errorf("call %d, %s: %v", fail, failed, err)
			}
		} else if got := fmt.Sprint(res.Curves); want == "" {
			want = got
		} else if got != want {
			t.Errorf("call %d, %s: %s, want %s", fail, cusim.FailedCall(), got, want)
		}
		cusim.Reset()
		must(t, b.Close())
	}
}

// TestDevices splits a batch among all devices, evenly and unevenly. The bits must be those of one
// device.
func TestDevices(t *testing.T) {
	if len(need(t)) < 2 {
		if cusim.Loaded() && os.Getenv("ADVSWEEP_TEST_AGAIN") == "" {
			again(t, "CUSIM_DEVICES=3")
			return
		}
		t.Skip("needs two devices")
	}
	infos := need(t)
	r := rand.New(rand.NewPCG(5, 5))
	m := ref.RandomModel(r, 1, 40, 50, 5)
	x, labels := images(r, 20, m)
	eps := []float64{0.05, 0.1}
	all := make([]int, len(infos))
	for i := range all {
		all[i] = i
	}
	one, many := open(t, m, Options{}), open(t, m, Options{Devices: all})
	for _, b := range []*Backend{one, many} {
		must(t, b.Load(t.Context(), 0, x, labels))
	}
	for _, span := range [][2]int{{0, 20}, {3, 5}, {7, 8}, {9, 9}, {1, 20}} {
		for _, bounds := range []attack.Bounds{{}, {Lo: 0, Hi: 1}} {
			var found [2]string
			for i, b := range []*Backend{one, many} {
				must(t, b.Begin(t.Context(), span[0], span[1], eps))
				for k := range 4 {
					must(t, b.Step(t.Context(), attack.BIM(4).At(k, eps, bounds)))
				}
				n := span[1] - span[0]
				correct, zero, stuck, class := make([]int, 2), make([]int, 2), make([]bool, n), make([]int32, 2*n)
				bad, err := b.Count(t.Context(), correct, zero, stuck)
				must(t, err)
				must(t, b.Predictions(t.Context(), class))
				var rest []any
				if n > 0 {
					for _, get := range []func(ctx) (*tensor.Dense, error){b.Logits, b.Images, func(ctx ctx) (*tensor.Dense, error) { return weighted(ctx, b) }} {
						d, err := get(t.Context())
						must(t, err)
						rest = append(rest, d.Data())
					}
				}
				general, err := generally(t.Context(), b, span[0], span[1], eps)
				must(t, err)
				found[i] = fmt.Sprint(bad, correct, zero, stuck, class, rest, general)
			}
			if found[0] != found[1] {
				t.Errorf("images %v, bounds %s: %d devices differ from one", span, bounds, len(infos))
			}
		}
	}
	if _, err := New(m, Options{Devices: []int{len(infos)}}); err == nil {
		t.Error("a device that is not there: no error")
	}
}

// TestChoice checks which math mode is used, and what is refused.
func TestChoice(t *testing.T) {
	of := func(name string, capability int) Info {
		in := Info{Name: name, Capability: capability, Image: "sm_75"}
		in.MathModes, in.MathMode = mathModesOf(capability, capability >= 80)
		return in
	}
	turing, ampere, ada, hopper := of("T4", 75), of("A100", 80), of("RTX 4090", 89), of("H100", 90)
	volta := Info{Name: "V100", Capability: 70}
	for _, c := range []struct {
		infos     []Info
		mode      string
		want, bad string
	}{
		{infos: []Info{hopper}, want: "3xtf32"},
		{infos: []Info{turing}, want: "fp32"},
		{infos: []Info{ampere}, want: "3xtf32"},
		{infos: []Info{ada}, want: "fp32"},
		{infos: []Info{ada}, mode: "3xtf32", want: "3xtf32"},
		{infos: []Info{hopper, ampere}, want: "3xtf32"},
		{infos: []Info{hopper, turing}, want: "fp32"}, // one for all
		{infos: []Info{hopper}, mode: "tf32", want: "tf32"},
		{infos: []Info{turing}, mode: "tf32", bad: "needs 8.0"},
		{infos: []Info{hopper, turing}, mode: "3xtf32", bad: "cuda:1 T4"},
		{infos: []Info{volta}, bad: "7.0, want 7.5 (Turing) or later"},
		{infos: []Info{hopper}, mode: "fp16", bad: "fp32, 3xtf32, tf32"},
	} {
		o := Options{MathMode: c.mode}
		for i := range c.infos {
			o.Devices = append(o.Devices, i)
		}
		got, err := choose(o, c.infos)
		if got != c.want || (err != nil) != (c.bad != "") || err != nil && !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%+v: %q, %v, want %q, %q", c, got, err, c.want, c.bad)
		}
	}
}
