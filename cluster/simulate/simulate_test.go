package simulate

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"advsweep/cpu"
	"advsweep/internal/counts"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/study"
)

// theTruth is a study of three runs on a small model, and what it comes out as on the CPU.
var theTruth = sync.OnceValues(func() (*Truth, error) {
	dir, err := os.MkdirTemp("", "advsweep-simulate-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	data, err := ref.RandomModel(rand.New(rand.NewPCG(1, 2)), 1, 784, 3, 10).Encode("float32")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "small.safetensors"), data, 0o666); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "study.toml")
	text := `attack = "fgsm,bim:steps=2,noise,uniform"
eps = "0:0.2:0.1"
bounds = "0,1"
seeds = [1, 2, 3]
[[model]]
file = "small.safetensors"
[[data]]
n = 5
[shards]
seconds = 0.001
`
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		return nil, err
	}
	device := study.Device{Name: "cpu", Backend: "cpu", Open: func(m *model.Model, precision, _ string) (pipeline.Backend, string, error) {
		b, err := cpu.New[float32](m, cpu.Options{Threads: 1})
		if err != nil {
			return nil, "", err
		}
		return b, precision, nil
	}}
	made, err := study.Make(path, "test", device)
	if err != nil {
		return nil, err
	}
	return NewTruth(made.Plan, inputs(made.Inputs), device)
})

// inputs are inputs in memory.
type inputs map[string][]byte

func (in inputs) Input(hash string) ([]byte, error) {
	if data, ok := in[hash]; ok {
		return data, nil
	}
	return nil, fmt.Errorf("no input %s", hash)
}

func truth(t *testing.T) *Truth {
	t.Helper()
	tr, err := theTruth()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// replay says how a seed is run again.
func replay(r *Report) string {
	return fmt.Sprintf("seed %d: %s\n%s\nmake simulate SEED=%d SEEDS=1\n%s", r.Seed, r.Config, r, r.Seed, strings.Join(r.Tail, "\n"))
}

// number is what the environment says, or else what is given.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s is %q, want a number", name, text)
	}
	return n
}

// TestSeeds runs studies from seeds. SEED and SEEDS say the first and how many, as of 'make
// simulate'.
func TestSeeds(t *testing.T) {
	tr := truth(t)
	first, n := number(t, "SEED", 1), number(t, "SEEDS", testsize.Of[uint64](100, 1000, 1000))
	var next, failures atomic.Uint64
	var mu sync.Mutex
	total, steps, virtual := map[string]int{}, 0, time.Duration(0)
	counted := counts.Start(t, "simulated")
	var wg sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1); i <= n && failures.Load() < 5; i = next.Add(1) {
				r, err := Run(tr, first+i-1, None)
				counted.Add(1)
				if err != nil {
					failures.Add(1)
					t.Errorf("%v\n%s", err, replay(r))
				}
				mu.Lock()
				for k, v := range r.Counts {
					total[k] += v
				}
				steps += r.Steps
				virtual += r.Time
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds from %d in %v, %d steps, %v in the model: %s", n, first, time.Since(start).Round(time.Millisecond), steps, virtual.Round(time.Second), &Report{Counts: total})
	if n < 100 {
		return
	}
	for _, what := range []string{"kills", "kills of the coordinator", "power cuts", "partitions", "lost", "answers lost", "acks lost", "disk full", "damaged files", "failed", "lies", "disputes", "settled", "excluded", "set aside"} {
		if total[what] == 0 {
			t.Errorf("%q never happened: the model does not do what it says", what)
		}
	}
}

// TestSame wants a seed to give the same run each time.
func TestSame(t *testing.T) {
	tr := truth(t)
	for seed := range uint64(testsize.Of(10, 50, 200)) {
		one, err := Run(tr, seed, None)
		two, err2 := Run(tr, seed, None)
		if one.Trace != two.Trace || one.Steps != two.Steps || (err == nil) != (err2 == nil) {
			t.Errorf("seed %d: %d steps with trace %x, and then %d steps with trace %x", seed, one.Steps, one.Trace, two.Steps, two.Trace)
		}
	}
}

// TestMistakes wants every mistake to be found within some hundred seeds.
func TestMistakes(t *testing.T) {
	tr := truth(t)
	for _, m := range Mistakes {
		t.Run(string(m), func(t *testing.T) {
			for seed := uint64(1); seed <= 500; seed++ {
				if r, err := Run(tr, seed, m); err != nil {
					t.Logf("seed %d: %v, after %d steps", seed, err, r.Steps)
					return
				}
			}
			t.Errorf("not found in 500 seeds")
		})
	}
}

// TestLies wants every way to lie to be drawn.
func TestLies(t *testing.T) {
	for name := range lieTable {
		found := false
		for _, n := range lieNames {
			found = found || n == name
		}
		if !found {
			t.Errorf("nobody lies as %q", name)
		}
	}
	for _, n := range lieNames {
		if lieTable[n] == nil {
			t.Errorf("there is no lie %q", n)
		}
	}
}
