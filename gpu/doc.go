// Package gpu is the backend for NVIDIA GPUs: the kernels of package kernels, launched through
// gorgonia.org/cu. New and Backend are in builds with the tag cuda, on Linux; without it Devices
// says so.
//
// Each device has one goroutine, locked to its thread, that makes all driver calls, and one stream
// on which everything runs in order. Images go up once, as bytes where they are bytes; what comes
// down are counts, and the arrays that are asked for. Rows wait on the device in full; activations
// only for a chunk of them at a time. What steps that are not plain and slots keep of every row
// (momentum, older images) is allocated when it is first used, and all of a batch is given back if
// it does not fit. A row's results depend neither on the chunk nor on the other rows: same inputs
// give the same bits, whatever the batch, the chunk or the number of devices.
//
// An MLP (see internal/lower) has routes of its own: no step forms images of which the first layer
// is known along a ray. Any other model is a network, which takes images as they are, a chunk at a
// time, layer by layer, and keeps the output of each for the gradient. A convolution is a product
// of its windows, which are laid out as a matrix, a few images at a time; a ReLU behind a product
// is part of it. In math mode fp32 both have the CPU backend's bits; sigmoid, tanh and GELU are
// computed in float64 and rounded once, and differ from it where the last of float64's digits
// decides.
package gpu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnavailable is wrapped by the error of New and Devices where no device can be used: the error
// says why.
var ErrUnavailable = errors.New("gpu: no CUDA device")

// Options choose devices and arithmetic. The zero value is device 0 at FP32's accuracy.
type Options struct {
	Devices  []int  // by the driver's numbers; none is device 0
	MathMode string // one of MathModes, or "" for the best of FP32's accuracy
}

// MathModes lists the ways to multiply matrices:
//
//	fp32    FP32 on the plain cores, every GPU from sm_75 on: the CPU backend's bits
//	3xtf32  tensor cores from sm_80 on, FP32's accuracy from three TF32 products; the default where
//	        three of them are faster than one in FP32: A100, H100, B200 and their like
//	tf32    tensor cores from sm_80 on, plain TF32: factors of 11 significant bits
var MathModes = []string{"fp32", "3xtf32", "tf32"}

// EnvMathMode names the environment variable that forces one of MathModes where Options does not.
const EnvMathMode = "ADVSWEEP_CUDA_PRODUCT"

// An Info describes a device.
type Info struct {
	Index      int
	Name       string   // as the driver has it
	Capability int      // compute capability: 90 is 9.0
	Memory     int64    // bytes in all
	Driver     int      // the newest CUDA that the driver supports: 13000 is 13.0
	Image      string   // the kernel image for it, or "" if there is none: "sm_80"
	MathMode   string   // the default of MathModes
	MathModes  []string // those that it has
}

// ParseDevices reads a list such as "0,1", or "all" of n devices.
func ParseDevices(list string, n int) ([]int, error) {
	var out []int
	if list == "all" {
		for i := range n {
			out = append(out, i)
		}
		return out, nil
	}
	seen := map[int]bool{}
	for item := range strings.SplitSeq(list, ",") {
		i, err := strconv.Atoi(strings.TrimSpace(item))
		switch {
		case err != nil || i < 0:
			return nil, fmt.Errorf("gpu: device %q, want all or numbers as in 0,1", item)
		case i >= n:
			return nil, fmt.Errorf("gpu: device %d, but there are %d (0 to %d)", i, n, n-1)
		case seen[i]:
			return nil, fmt.Errorf("gpu: device %d stands twice in %q", i, list)
		}
		seen[i] = true
		out = append(out, i)
	}
	return out, nil
}
