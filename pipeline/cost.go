package pipeline

import (
	"fmt"
	"strconv"
	"strings"

	"advsweep/attack"
	"advsweep/model"
)

// How many passes up or down the network the walk of one image takes, about. walkPasses is of a
// walk alone: 10 in float32 and 25 in float64, as measured on the embedded MLP up to eps 0.3.
// readPasses is of one that is read too. That takes twice the time of a walk alone, and 10.1e9
// multiply-adds where that does 6.0e9: of 1,000 images at 21 eps up to 0.5, with rounded pixels, on
// the embedded MLP. Both take longer than so many multiply-adds of dense products, as theirs leave
// out zeros.
const walkPasses, readPasses = 10, 20

// walkCost returns how many passes the walk of one image under a takes.
func (s Sweep) walkCost(a attack.Attack) int {
	if s.reads(a) {
		return readPasses
	}
	return walkPasses
}

// Cost returns about how many multiply-adds chunk c takes. macs is how many the model takes for a
// forward pass of one image, see model.Model.MACs. A gradient is two passes, one forward and one
// backward. Cost counts also what a backend leaves out, as the CPU does zeros. It does not count
// the few operations for each pixel. What all eps share it counts once: the first gradient of a
// plain attack.
func (s Sweep) Cost(c Chunk, macs int64) float64 {
	images := float64(c.Hi - c.Lo)
	switch c.Kind {
	case Look:
		return images * float64(macs)
	case Walk:
		return images * float64(s.walkCost(s.Attacks[c.Attack])) * float64(macs)
	}
	a := s.Attacks[c.Attack]
	rows := images * float64(c.To-c.From) * float64(runs(a))
	each := 1.0 // of a row: what the model says of it in the end
	if s.Rounded {
		each++
	}
	passes := cost(a)
	each += passes.Row
	once := passes.Image               // of an image
	if a.Target != attack.Untargeted { // what the model says of clean images
		once++
	}
	return (float64(once*images) + float64(each*rows)) * float64(macs)
}

// cost returns how many passes a takes. It panics for an attack of an unknown kind: Validate must
// have refused that before.
func cost(a attack.Attack) attack.Cost {
	c, err := a.Cost()
	if err != nil {
		panic("pipeline: a sweep that was not validated: " + err.Error())
	}
	return c
}

// A DeviceClass is a kind of device, with how fast it is at sweeps. It serves estimates of how long
// work takes, within a factor of three. Nothing that is found depends on it.
type DeviceClass struct {
	Name string
	// MLP and Network are multiply-adds of Cost per second in float32, on MLPs and on other
	// networks. float64 is half as fast.
	MLP, Network float64
	Overhead     float64 // seconds for each chunk, whatever is in it
	Source       string  // where the figures come from
}

// What one core does, see BenchmarkCost: 58 to 110 GMAC/s on the embedded MLP, on which attacks
// with plain steps are fastest, and 20 to 32 on the embedded CNN.
const (
	coreMLP, coreNetwork = 70e9, 23e9
	coreSource           = "%d cores, each as fast as one of an AMD EPYC 9004 with AVX-512, measured on the embedded models"
)

// DeviceClasses lists the classes that DeviceClassOf knows by name. No GPU has run a sweep yet:
// theirs are half the speed that kernels/README.md expects on paper. On an MLP that is the
// arithmetic's (T4: 8.1 TFLOP/s in FP32; A100: 156/3, H100: 100 in 3xTF32). On a convolution of 64
// channels it is the sum of the times of the arithmetic and of memory (0.32, 2 and 3 TB/s).
func DeviceClasses() []DeviceClass {
	paper := func(name string, mlp, network float64) DeviceClass {
		return DeviceClass{name, mlp / 2, network / 2, 0.01, "an estimate on paper: no GPU has run a sweep yet"}
	}
	return []DeviceClass{cores("cpu", 8), paper("t4", 4e12, 1.6e12), paper("a100", 26e12, 10e12), paper("h100", 50e12, 17e12)}
}

func cores(name string, n int) DeviceClass {
	return DeviceClass{name, float64(n) * coreMLP, float64(n) * coreNetwork, 0.005, fmt.Sprintf(coreSource, n)}
}

// DeviceClassOf returns the class of that name: one of DeviceClasses, or "cpu:N", a CPU of N cores,
// N up to 1024.
func DeviceClassOf(name string) (DeviceClass, error) {
	if n, ok := strings.CutPrefix(name, "cpu:"); ok {
		if n, err := strconv.Atoi(n); err == nil && n >= 1 && n <= 1024 {
			return cores(name, n), nil
		}
	}
	var names []string
	for _, c := range DeviceClasses() {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return DeviceClass{}, fmt.Errorf("pipeline: unknown class of device %q, want one of %s, or cpu:N for a CPU of N cores, up to 1024", name, strings.Join(names, ", "))
}

// Rate returns how many multiply-adds of m a second the class does. Model.MACs counts those of a
// Linear and of a convolution alike, and a device does the latter at about a third of the speed. So
// it takes both to tell how long a model takes. The shards of a study are cut by this and their ids
// name the cuts: with other rates a plan made again is another plan.
func (c DeviceClass) Rate(m *model.Model) float64 {
	if m.IsMLP() {
		return c.MLP
	}
	return c.Network
}

// Seconds returns about how long a chunk of Cost macs takes in float32, at a Rate.
func (c DeviceClass) Seconds(macs, rate float64) float64 { return c.Overhead + macs/rate }
