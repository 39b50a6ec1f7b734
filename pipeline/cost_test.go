package pipeline_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/pipeline"

	"github.com/google/go-cmp/cmp"
)

// TestPlan wants every image under every attack at every eps in one chunk, whatever ChunkWork is,
// and no chunk above it.
func TestPlan(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	lists := []string{"fgsm", "bim,noise", "pgd:restarts=3,apgd-ce,worst", "apgd-dlr:restarts=20:steps=1000,uniform", "mifgsm,pgd:restarts=9"}
	for k := range 100 {
		s := pipeline.Sweep{Attacks: parse(t, lists[r.IntN(len(lists))], attack.Options{}), Exact: r.IntN(2) == 0, ChunkWork: 1 << r.IntN(20)}
		for e := range 1 + r.IntN(40) {
			s.Eps = append(s.Eps, float64(e))
		}
		if k%10 == 0 {
			s.ChunkWork = 0
		}
		n, E := 1+r.IntN(3000), len(s.Eps)
		if got, want := s.Chunks(n), len(s.Plan(n)); got != int64(want) {
			t.Fatalf("%+v: %d chunks of %d images are counted, want %d", s, got, n, want)
		}
		looked, walked, struck := make([]int, n), make([]int, n), make([]int, len(s.Attacks)*n*E)
		for _, c := range s.Plan(n) {
			if c.Lo < 0 || c.Lo >= c.Hi || c.Hi > n || c.Kind == pipeline.Strike && (c.From < 0 || c.From >= c.To || c.To > len(s.Eps)) {
				t.Fatalf("%+v: chunk %+v of %d images at %d eps", s, c, n, len(s.Eps))
			}
			for i := c.Lo; i < c.Hi; i++ {
				switch c.Kind {
				case pipeline.Look:
					looked[i]++
				case pipeline.Walk:
					walked[i]++
				}
				for e := c.From; e < c.To; e++ {
					struck[(c.Attack*n+i)*E+e]++
				}
			}
			if c.Kind != pipeline.Strike {
				continue
			}
			a := s.Attacks[c.Attack]
			passes := 1 + 2*a.Steps
			if a.Adaptive {
				passes += a.Steps
			}
			limit := s.ChunkWork
			if limit == 0 {
				limit = 1 << 16
			}
			// Above the limit only for the sake of eight rows, whole images of them.
			if rows := (c.Hi - c.Lo) * (c.To - c.From); rows*a.Runs()*passes > limit && (rows-(c.To-c.From))*a.Runs() >= 8 {
				t.Fatalf("%s: chunk %+v has %d rows of %d restarts, %d passes: more than %d", a.Name, c, rows, a.Runs(), passes, limit)
			}
		}
		for i := range n {
			// A walk says what a look says.
			if want := b2i(s.Exact && s.Attacks[0].Kind == "fgsm" && len(s.Eps) > 1); looked[i] != 1-want || walked[i] != want {
				t.Fatalf("%+v: image %d is looked at %d times and walked %d times, want %d and %d", s, i, looked[i], walked[i], 1-want, want)
			}
			for j, a := range s.Attacks {
				for e := range s.Eps {
					if got, want := struck[(j*n+i)*E+e], b2i(!a.Composite()); got != want {
						t.Fatalf("%+v: image %d at eps %d under %s is in %d chunks, want %d", s, i, e, a.Name, got, want)
					}
				}
			}
		}
	}
}

// TestChunksOfClaims counts the chunks of what a file may claim and no memory holds.
func TestChunksOfClaims(t *testing.T) {
	s := pipeline.Sweep{Attacks: parse(t, "fgsm,pgd:restarts=3", attack.Options{}), Exact: true, ChunkWork: 1}
	for e := range 100_000 {
		s.Eps = append(s.Eps, float64(e))
	}
	was := allocated()
	if got := s.Chunks(math.MaxInt32); got <= math.MaxInt32 {
		t.Errorf("%d chunks, want more than %d", got, math.MaxInt32)
	}
	if got := s.Least(math.MaxInt32, 10); got < 1e14 {
		t.Errorf("%v bytes at least, want more", got)
	}
	s.Attacks, s.ChunkWork, s.Eps = s.Attacks[:1], 0, s.Eps[:3]
	if got, want := s.Chunks(math.MaxInt32), int64(2_147_484); got != want {
		t.Errorf("%d chunks, want %d", got, want)
	}
	if got := s.Chunks(0); got != 0 {
		t.Errorf("%d chunks of no images", got)
	}
	if took := allocated() - was; took > 1<<20 {
		t.Errorf("counting took %d bytes", took)
	}
}

// allocated is how many bytes were ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestPlanStays pins the chunks of small models, which manifests of earlier versions do not tell
// of.
func TestPlanStays(t *testing.T) {
	s := pipeline.Sweep{Attacks: parse(t, "fgsm,pgd:restarts=5,apgd-ce:steps=1000:restarts=7", attack.Options{}), Eps: []float64{0, 1, 2, 3}, Exact: true}
	n := map[string]int{}
	for _, c := range s.Plan(10_000) {
		n[fmt.Sprint(c.Kind, c.Attack, " ", min(c.Hi-c.Lo, 9_999), "x", c.To-c.From)]++
	}
	// 65536 rows times passes: of PGD 65536/(5·81·4) = 40 images; of APGD 65536/(7·3001) = 3 eps of
	// one image.
	want := map[string]int{"1 0 1000x4": 10, "2 1 40x4": 250, "2 2 1x3": 10_000, "2 2 1x1": 10_000}
	if d := cmp.Diff(want, n); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	s.Attacks, n = parse(t, "fgsm,worst", attack.Options{}), map[string]int{}
	for _, c := range s.Plan(10_000) {
		n[fmt.Sprint(c.Kind, c.Attack, " ", c.Hi-c.Lo, "x", c.To-c.From)]++
	}
	want = map[string]int{"0 0 1000x0": 10, "1 0 1000x0": 10, "2 0 1000x4": 10}
	if d := cmp.Diff(want, n); d != "" {
		t.Errorf("with the worst of all (-want +got):\n%s", d)
	}
	// A smaller ChunkWork, as large models have it: 2000/20 images that are read, 2000/10 that are
	// walked alone.
	for list, images := range map[string]int{"fgsm": 100, "fgsm,worst": 200} {
		s.Attacks, s.ChunkWork = parse(t, list, attack.Options{}), 2000
		for _, c := range s.Plan(10_000) {
			if c.Kind == pipeline.Walk && c.Hi-c.Lo != images {
				t.Errorf("%s: a walk of %d images, want %d", list, c.Hi-c.Lo, images)
			}
		}
	}
}

// TestChunkWork runs one sweep in chunks of several sizes.
func TestChunkWork(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	m := ref.RandomModel(r, 1, 30, 21, 17, 5)
	set := randomSet(r, 61, 5, 6, 5)
	s := pipeline.Sweep{Attacks: parse(t, "fgsm,pgd:restarts=2:steps=3,apgd-ce:steps=4,worst", attack.Options{Seed: 5}), Eps: []float64{0, 0.05, 0.2}, Rounded: true, Exact: true}
	var want *pipeline.Result
	chunks := map[int]bool{}
	for _, work := range []int{0, 1, 50, 700} {
		s.ChunkWork = work
		chunks[len(s.Plan(set.N()))] = true
		got, err := s.Run(t.Context(), open[float32](t, m), set)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("in chunks of %d (-default +these):\n%s", work, d)
		}
	}
	if len(chunks) < 4 {
		t.Errorf("%d different plans, want 4", len(chunks))
	}
	s.ChunkWork = -1
	if _, err := s.Run(t.Context(), open[float32](t, m), set); err == nil {
		t.Error("chunks of -1: no error")
	}

	for _, c := range []struct {
		macs int64
		want int
	}{{0, 0}, {1_861_632, 0}, {1 << 22, 0}, {1<<22 + 1, 65535}, {1_814_073_344, 151}, {1 << 62, 1}} {
		if got := pipeline.ChunkWork(c.macs); got != c.want {
			t.Errorf("ChunkWork(%d) = %d, want %d", c.macs, got, c.want)
		}
	}
	for _, name := range model.EmbeddedNames {
		m, err := model.Embedded(name)
		if err != nil {
			t.Fatal(err)
		}
		macs, err := m.MACs()
		if got := pipeline.ChunkWork(macs); got != 0 || err != nil {
			t.Errorf("embedded %s: ChunkWork is %d: its manifests would change (%v)", name, got, err)
		}
	}
}

// TestCost compares with counts by hand, of 10 images at 3 eps on a model of 1 multiply-add.
func TestCost(t *testing.T) {
	for _, c := range []struct {
		attack  string
		rounded bool
		want    float64
	}{
		{"fgsm", false, 2*10 + 30}, // one gradient of each image, then the logits of each row
		// the first gradient once, three of each row, and two looks
		{"bim:steps=4", true, 20 + 30*8},
		{"pgd:steps=4:restarts=2", false, 60 * 9},
		{"pgd:steps=4:target=1", false, 10 + 30*9},
		{"apgd-ce:steps=4", false, 30 * (8 + 1 + 1)},
		{"noise", false, 30},
		{"uniform", true, 60},
	} {
		s := pipeline.Sweep{Attacks: parse(t, c.attack, attack.Options{Decay: -1}), Eps: []float64{0, 1, 2}, Rounded: c.rounded}
		if got := s.Cost(pipeline.Chunk{Kind: pipeline.Strike, Lo: 5, Hi: 15, From: 0, To: 3}, 1); got != c.want {
			t.Errorf("%s: %v, want %v", c.attack, got, c.want)
		}
		if got := s.Cost(pipeline.Chunk{Kind: pipeline.Look, Lo: 0, Hi: 7}, 1000); got != 7000 {
			t.Errorf("look: %v, want 7000", got)
		}
	}
	// A walk costs more than a look, and more if it is read.
	chunk := pipeline.Chunk{Kind: pipeline.Walk, Lo: 0, Hi: 7}
	s := pipeline.Sweep{Attacks: parse(t, "fgsm,worst", attack.Options{}), Eps: []float64{0, 1, 2}, Exact: true}
	walk := s.Cost(chunk, 1000)
	s.Attacks = s.Attacks[:1]
	if read := s.Cost(chunk, 1000); !(walk > 7000 && read > walk) {
		t.Errorf("walk: %v, and read: %v; want each more than the one before and than a look of 7000", walk, read)
	}
}

func TestDeviceClassOf(t *testing.T) {
	mlp, err := model.Embedded("mlp")
	if err != nil {
		t.Fatal(err)
	}
	cnn, err := model.Embedded("cnn")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range pipeline.DeviceClasses() {
		got, err := pipeline.DeviceClassOf(c.Name)
		if err != nil || got != c || !(c.MLP >= c.Network && c.Network > 0 && c.Overhead > 0) || c.Source == "" {
			t.Errorf("%+v: got %+v, %v", c, got, err)
		}
		if x, y := c.Seconds(1e12, c.Rate(mlp)), c.Seconds(1e12, c.Rate(cnn)); !(x < y && c.Seconds(0, c.Rate(cnn)) == c.Overhead) {
			t.Errorf("%s: %v s on an MLP and %v s on a network, of nothing %v", c.Name, x, y, c.Seconds(0, c.Rate(cnn)))
		}
	}
	one, err := pipeline.DeviceClassOf("cpu:1")
	if err != nil {
		t.Fatal(err)
	}
	if all, _ := pipeline.DeviceClassOf("cpu"); all.MLP != 8*one.MLP {
		t.Errorf("cpu has %v, want that of 8 cores of %v", all.MLP, one.MLP)
	}
	for _, name := range []string{"", "CPU", "cpu:", "cpu:0", "cpu:1025", "cpu:x", "gpu"} {
		if _, err := pipeline.DeviceClassOf(name); err == nil || !strings.Contains(err.Error(), "t4, a100, h100") {
			t.Errorf("%q: %v, want an error that lists the classes", name, err)
		}
	}
}

// BenchmarkCost measures one core against what Cost and DeviceClass say of it: ratio is the time
// measured over that predicted. It should lie between 1/3 and 3.
func BenchmarkCost(b *testing.B) {
	_, all := embedded(b)
	set, err := all.Slice(0, 100)
	if err != nil {
		b.Fatal(err)
	}
	class, err := pipeline.DeviceClassOf("cpu:1")
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range model.EmbeddedNames {
		m, err := model.Embedded(name)
		if err != nil {
			b.Fatal(err)
		}
		back, err := cpu.New[float32](m, cpu.Options{Threads: 1})
		if err != nil {
			b.Fatal(err)
		}
		for _, list := range append(brief(10), "pgd:steps=10:norm=l2") {
			for _, exact := range []bool{true, false} {
				if exact && (list != "fgsm" || !m.IsMLP()) {
					continue
				}
				s := pipeline.Sweep{Attacks: parse(b, list, attack.Options{Decay: -1}), Eps: []float64{0, 0.1, 0.2, 0.3}, Bounds: attack.Bounds{Lo: 0, Hi: 1}, Exact: exact}
				want := 0.0
				macs, err := m.MACs()
				if err != nil {
					b.Fatal(err)
				}
				for _, c := range s.Plan(set.N()) {
					want += class.Seconds(s.Cost(c, macs), class.Rate(m))
				}
				b.Run(fmt.Sprintf("model=%s/attack=%s/exact=%v", name, list, exact), func(b *testing.B) {
					for b.Loop() {
						if _, err := s.Run(b.Context(), back, set); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/want, "ratio")
				})
			}
		}
		back.Close()
	}
}
