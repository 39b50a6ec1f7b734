// Package gpu is the backend for NVIDIA GPUs. It launches the kernels of package kernels through
// gorgonia.org/cu. New and Backend are only in builds with the tag cuda, on Linux. In other builds
// Devices returns an error that says so.
//
// A Backend has a card for each device: some images of the batch, and all that the device needs for
// them. A device has one goroutine, locked to its thread, that makes all driver calls. It has one
// stream, on which everything runs in order. Images go up once, as bytes if they are bytes. Only
// counts, and arrays that a caller asks for, come down.
//
// All rows of a batch are on the device at the same time. They pass through the layers a microbatch
// at a time, so that what lies between the layers needs memory for one microbatch only. Slots, and
// steps that are not plain, keep more of every row, as momentum and older images. That memory is
// taken when it is first needed. If it does not fit, all memory of the batch is given back. Equal
// inputs give equal bits: a row's results depend neither on the microbatch, nor on the other rows,
// nor on the number of devices.
//
// An MLP (see internal/lower) is faster in one case: along a ray the output of its first layer is
// known, and no images are formed. Any other model is a network. A convolution is a product of a
// matrix that im2col makes, a few images at a time. In math mode fp32 one of 3×3 goes by tiles where
// the lowering says so, as on the CPU. One with groups has kernels of its own. A ReLU behind a
// product is part of the product.
//
// In math mode fp32 the results have the bits of the CPU backend, with one exception. Sigmoid, tanh
// and GELU are computed in float64 and rounded once. They differ from the CPU where the last digits
// of float64 decide how to round.
package gpu

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnavailable is what an error of New and Devices wraps if no device can be used. That error
// says why.
var ErrUnavailable = errors.New("gpu: no CUDA device")

// Options choose the devices and the math mode. The zero value is device 0 at FP32's accuracy.
type Options struct {
	Devices  []int  // numbers of the driver; none is device 0
	MathMode string // one of MathModes; "" is the fastest one of FP32's accuracy
	Threads  int    // of the host, for Info.Threads; 0 is one for each processor
}

// MathModes lists the math modes, which say how a device multiplies matrices of float32:
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
