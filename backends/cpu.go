package backends

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"advsweep/cpu"
	"advsweep/model"
	"advsweep/pipeline"
)

var (
	_ pipeline.Backend = (*cpu.Backend[float32])(nil)
	_ pipeline.Backend = (*cpu.Backend[float64])(nil)
)

func cpuEntry() Entry {
	e := Entry{
		Name: "cpu", Title: "the CPU", Precisions: []string{"float32", "float64"}, Class: "cpu", Exact: true, Built: true, Auto: 1,
		Maths:   cpu.Maths(),
		Devices: func() ([]Device, error) { return []Device{cpuDevice()}, nil },
		Pick:    func(string) ([]Device, error) { return []Device{cpuDevice()}, nil },
	}
	e.Open = func(m *model.Model, s Spec) (pipeline.Backend, string, error) {
		if err := e.checkPrecision(s.Precision); err != nil {
			return nil, "", err
		}
		if err := e.CheckMath(s.Math); err != nil {
			return nil, "", err
		}
		for _, math := range e.Maths { // a plan names it, or the arithmetic
			if s.Math == "" && (s.MathMode == math || s.MathMode == cpuArithmetic(s.Precision, math)) {
				s.Math = math
			}
		}
		b, err := openCPU(m, s)
		if err != nil {
			return nil, "", err
		}
		return b, cpuArithmetic(s.Precision, s.Math), nil
	}
	return e
}

// cpuArithmetic is what decides of the last bits: "float32", "float32 fast", "float32 dense".
func cpuArithmetic(precision, math string) string {
	if math != "" && math != cpu.Maths()[0] {
		precision += " " + math
	}
	if os.Getenv(cpu.EnvDense) != "" { // it sums in another order
		precision += " dense"
	}
	return precision
}

func openCPU(m *model.Model, s Spec) (pipeline.Backend, error) {
	o := cpu.Options{Threads: s.Threads, Math: s.Math, Shared: s.Shared}
	if s.Precision == "float64" {
		b, err := cpu.New[float64](m, o)
		if err != nil {
			return nil, err // b would not be nil: it holds a nil *cpu.Backend
		}
		return b, nil
	}
	b, err := cpu.New[float32](m, o)
	if err != nil {
		return nil, err
	}
	return b, nil
}

func cpuDevice() Device {
	kernels := cpu.Kernels()
	note := fmt.Sprintf("%d processors; kernels: %s", runtime.GOMAXPROCS(0), strings.Join(kernels, ", "))
	if kernels[0] == "go" {
		note += " (plain Go: slow; amd64 with AVX2 and arm64 have faster ones)"
	}
	name := runtime.GOARCH + " " + kernels[0]
	return Device{Backend: "cpu", Available: true, Device: name, Note: note, Worker: "cpu (" + name + ")"}
}
