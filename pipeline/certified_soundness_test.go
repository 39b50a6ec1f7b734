package pipeline_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"advsweep/attack"
	"advsweep/certify"
	"advsweep/cpu"
	"advsweep/model"
	"advsweep/pipeline"
)

// leastCertified are how many of the 15 instances of each network and eps of mnistfc plain CROWN is
// to prove: what a sketch in numpy proves, which does not round outward.
var leastCertified = map[string]int{
	"mnist-net_256x2.onnx 0.03": 7, "mnist-net_256x2.onnx 0.05": 3,
	"mnist-net_256x4.onnx 0.03": 6, "mnist-net_256x4.onnx 0.05": 1,
	"mnist-net_256x6.onnx 0.03": 6, "mnist-net_256x6.onnx 0.05": 2,
}

// TestCertifiedSoundness proves boxes of the verification competition: of what is known to be
// misread nothing may be proven. It takes what TestSoundness takes. ADVSWEEP_VNN_METHODS lists
// methods instead of ibp and crown, ADVSWEEP_VNN_BENCHMARKS benchmarks instead of all.
func TestCertifiedSoundness(t *testing.T) {
	folder := os.Getenv("ADVSWEEP_VNN")
	if folder == "" {
		t.Skip("ADVSWEEP_VNN names no folder of instances")
	}
	methods := []string{"ibp", "crown"}
	if list := os.Getenv("ADVSWEEP_VNN_METHODS"); list != "" {
		methods = strings.Split(list, ",")
	}
	only := os.Getenv("ADVSWEEP_VNN_BENCHMARKS")
	for _, of := range vnnBenchmarks {
		if only != "" && !slices.Contains(strings.Split(only, ","), of.name) {
			continue
		}
		all := vnnArrays(t, filepath.Join(folder, of.name+".npz"))
		for _, name := range methods {
			t.Run(of.name+"/"+name, func(t *testing.T) {
				method, err := certify.ParseMethod(name)
				if err != nil {
					t.Fatal(err)
				}
				type count struct {
					asked, proven map[string]int
					took          time.Duration
				}
				counts, keys := map[string]*count{}, []string{}
				nets := map[string]*certify.Certifier{}
				for i := range all {
					v := &all[i]
					if v.label < 0 {
						continue
					}
					if nets[v.net] == nil {
						m, err := model.Load(filepath.Join(folder, "nets", v.net))
						if err != nil {
							t.Fatal(err)
						}
						if nets[v.net], err = certify.New(m, method); err != nil {
							t.Fatal(err)
						}
					}
					key := v.net
					if of.name == "mnistfc" {
						if key += " 0.03"; v.width() > 0.08 {
							key = v.net + " 0.05"
						}
					}
					c := counts[key]
					if c == nil {
						c = &count{asked: map[string]int{}, proven: map[string]int{}}
						counts[key], keys = c, append(keys, key)
					}
					start := time.Now()
					margin, err := nets[v.net].Margin(t.Context(), v.lo, v.hi, int(v.label))
					if err != nil {
						t.Fatal(err)
					}
					c.took += time.Since(start)
					c.asked[v.verdict]++
					if margin > 0 {
						c.proven[v.verdict]++
						if v.verdict == "sat" {
							t.Errorf("%s, instance %d: a margin of %v is proven, and a point of the box is misread", v.net, i, margin)
						}
					}
				}
				slices.Sort(keys)
				for _, key := range keys {
					c, proven, asked := counts[key], 0, 0
					for verdict, n := range c.asked {
						asked, proven = asked+n, proven+c.proven[verdict]
					}
					safe := c.asked["unsat"] + c.asked["unknown"]
					t.Logf("| %s | %s | %s | %d of %d | unsat %d of %d, unknown %d of %d, sat %d of %d | %.1f ms |", of.name, key, name, proven, safe,
						c.proven["unsat"], c.asked["unsat"], c.proven["unknown"], c.asked["unknown"], c.proven["sat"], c.asked["sat"],
						float64(c.took.Microseconds())/1000/float64(asked))
					if least := leastCertified[key]; method != certify.IBP && proven < least {
						t.Errorf("%s: %s proves %d of %d, want at least %d", key, name, proven, safe, least)
					}
				}
			})
		}
	}
}

// width is the largest width of the box.
func (v *vnnInstance) width() (width float64) {
	for i, lo := range v.lo {
		width = max(width, v.hi[i]-lo)
	}
	return width
}

// BenchmarkCertify says what plain CROWN costs an image, in forward passes of the dense backend in
// float32 on one thread, which take 200 images at once. ADVSWEEP_VNN is as of
// TestCertifiedSoundness.
func BenchmarkCertify(b *testing.B) {
	folder := os.Getenv("ADVSWEEP_VNN")
	if folder == "" {
		b.Skip("ADVSWEEP_VNN names no folder of instances")
	}
	_, whole := embedded(b)
	const images = 200
	set, err := whole.Slice(0, images)
	if err != nil {
		b.Fatal(err)
	}
	for _, net := range []string{"mnist-net_256x2.onnx", "mnist-net_256x4.onnx"} {
		m, err := model.Load(filepath.Join(folder, "nets", net))
		if err != nil {
			b.Fatal(err)
		}
		backend, err := cpu.New[float32](m, cpu.Options{Threads: 1, Dense: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := backend.Load(b.Context(), 0, set.Images, set.Labels); err != nil {
			b.Fatal(err)
		}
		pass := func() time.Duration {
			start := time.Now()
			if err := backend.Begin(b.Context(), 0, images, []float64{0}); err != nil {
				b.Fatal(err)
			}
			if _, err := backend.Logits(b.Context()); err != nil {
				b.Fatal(err)
			}
			return time.Since(start) / images
		}
		pass()
		prover, err := certify.New(m, certify.CROWN)
		if err != nil {
			b.Fatal(err)
		}
		for _, eps := range []float64{0.01, 0.02, 0.03, 0.05} {
			b.Run(fmt.Sprintf("%s/eps=%v", net, eps), func(b *testing.B) {
				var dense, proof time.Duration
				certified := 0
				for b.Loop() {
					certified = 0
					for range 10 {
						dense += pass()
					}
					start := time.Now()
					proven, err := pipeline.Proven(b.Context(), prover, set, eps, attack.Bounds{Lo: 0, Hi: 1}, 1)
					if err != nil {
						b.Fatal(err)
					}
					proof += time.Since(start) / images
					for _, ok := range proven {
						if ok {
							certified++
						}
					}
				}
				b.ReportMetric(float64(10*proof)/float64(dense), "passes/image")
				b.ReportMetric(float64(proof.Microseconds())/float64(b.N), "µs/image")
				b.ReportMetric(float64(certified), "certified")
			})
		}
		backend.Close()
	}
}
