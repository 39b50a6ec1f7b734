package backends

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"advsweep/gpu"
	"advsweep/model"
	"advsweep/pipeline"
)

const cudaHelp = `A CUDA device multiplies matrices in one of several math modes. Of its line's device, the last word is the
one that precision float32 takes:

  fp32    the plain cores, the CPU's results to the bit
  3xtf32  tensor cores (compute capability 8.0 or later), as accurate as float32
  tf32    tensor cores at 11 significant bits: only with precision tf32

ADVSWEEP_CUDA_PRODUCT=fp32 in the environment makes fp32 the one for float32.`

// cudaEntry is in every build. In one without CUDA its Devices, Pick and Open say how to get it.
func cudaEntry() Entry {
	e := Entry{
		Name: "cuda", Title: "CUDA", Precisions: []string{"float32", "tf32"}, MathModes: []string{"3xtf32", "fp32"},
		Planned: func(precision, mathMode string) string {
			switch {
			case precision != "float32":
				return precision
			case mathMode != "":
				return mathMode
			}
			return "3xtf32"
		},
		Class: "a100", Accelerator: true, Built: builtWithCUDA, Auto: 2,
		Help:    cudaHelp,
		Devices: func() ([]Device, error) { return pickCUDA("all") },
		Pick:    pickCUDA,
	}
	e.Open = func(m *model.Model, s Spec) (pipeline.Backend, string, error) {
		if err := e.checkPrecision(s.Precision); err != nil {
			return nil, "", err
		}
		if err := e.CheckMath(s.Math); err != nil {
			return nil, "", err
		}
		infos, err := gpu.Devices()
		if err != nil {
			return nil, "", err
		}
		o := gpu.Options{Threads: s.Threads}
		if o.Devices, err = parseCUDA(s.Devices, infos); err != nil {
			return nil, "", err
		}
		switch {
		case s.Precision == "tf32":
			o.MathMode = "tf32"
		case slices.Contains(infos[o.Devices[0]].MathModes, s.MathMode):
			o.MathMode = s.MathMode
		}
		b, err := openCUDA(m, o)
		if err != nil {
			return nil, "", err
		}
		if got := b.Info().Precision; got != s.Precision {
			err := &PrecisionError{From: gpu.EnvMathMode + "=" + os.Getenv(gpu.EnvMathMode), Got: got, Want: s.Precision}
			return nil, "", errors.Join(err, b.Close())
		}
		return b, b.Info().MathMode, nil
	}
	return e
}

func pickCUDA(list string) ([]Device, error) {
	infos, err := gpu.Devices()
	if err != nil {
		return nil, err
	}
	chosen, err := parseCUDA(list, infos)
	if err != nil {
		return nil, err
	}
	var all []Device
	for _, i := range chosen {
		all = append(all, describeCUDA(infos[i]))
	}
	return all, nil
}

func parseCUDA(list string, infos []gpu.Info) ([]int, error) {
	chosen, err := gpu.ParseDevices(list, len(infos))
	if err != nil {
		var here []string
		for _, in := range infos {
			here = append(here, fmt.Sprintf("%d (%s)", in.Index, in.Name))
		}
		return nil, &DeviceError{fmt.Errorf("%w; here: %s", err, strings.Join(here, ", "))}
	}
	return chosen, nil
}

func describeCUDA(in gpu.Info) Device {
	d := Device{
		Backend: "cuda", Available: in.Image != "", Index: &in.Index, Name: in.Name,
		Capability: fmt.Sprintf("%d.%d", in.Capability/10, in.Capability%10), Memory: in.Memory,
		Driver: fmt.Sprintf("%d.%d", in.Driver/1000, in.Driver%1000/10), Image: in.Image, MathMode: in.MathMode,
		Worker: fmt.Sprintf("cuda:%d %s", in.Index, in.Name), List: strconv.Itoa(in.Index),
	}
	d.Device = d.Worker
	d.Note = fmt.Sprintf("compute capability %s, %.1f GiB, driver for CUDA %s; ", d.Capability, float64(in.Memory)/(1<<30), d.Driver)
	if !d.Available {
		d.Note += "no kernels for it, which need 7.5 (Turing) or later"
		return d
	}
	d.Device += fmt.Sprintf(", %s %s", in.Image, in.MathMode)
	d.MathModes = in.MathModes
	d.Note += "math modes: " + strings.Join(d.MathModes, ", ")
	return d
}
