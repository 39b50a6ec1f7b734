package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"advsweep/cpu"
	"advsweep/gpu"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/study"
)

// studyDevices returns what this machine has for plan, each for a worker of its own: the CPU, all of whose threads work on one shard, or
// every CUDA device of --device (empty: all). Without --backend it is what the plan is for.
func (f *flags) studyDevices(plan *study.Plan) ([]study.Device, error) {
	planned := plan.Runs[0].Manifest.Backend // that of all
	backend := planned
	switch f.backend {
	case "", "auto":
	case "cpu", "cuda":
		backend = f.backend
	default:
		return nil, usagef("--backend %q, want auto, cpu or cuda", f.backend)
	}
	if err := f.checkThreads(); err != nil {
		return nil, err
	}
	if backend == "cpu" {
		return []study.Device{f.cpuDevice()}, nil
	}
	infos, err := gpu.Devices()
	switch {
	case err != nil && planned != "cuda":
		return nil, fmt.Errorf("--backend cuda: %w; study %s is planned for %s, which is what it runs on without --backend", err, plan.Name, planned)
	case err != nil:
		return nil, fmt.Errorf("study %s is planned for cuda: %w; --backend cpu --allow-mixed computes it on the CPU all the same", plan.Name, err)
	}
	list := f.device
	if list == "" {
		list = "all"
	}
	chosen, err := gpu.ParseDevices(list, len(infos))
	if err != nil {
		return nil, asUsage("device", err)
	}
	var all []study.Device
	for _, i := range chosen {
		all = append(all, cudaDevice(infos[i]))
	}
	return all, nil
}

// cpuDevice is the CPU with --threads. Its product is the precision, and "dense" where the environment asks for that: see
// report.Manifest.
func (f *flags) cpuDevice() study.Device {
	return study.Device{
		Name:    fmt.Sprintf("cpu (%s %s)", runtime.GOARCH, cpu.Kernels()[0]),
		Backend: "cpu",
		Open: func(m *model.Model, precision, _ string) (pipeline.Backend, string, error) {
			if precision != "float32" && precision != "float64" {
				return nil, "", fmt.Errorf("precision %s is on CUDA only: the CPU has float32 and float64", precision)
			}
			at := flags{threads: f.threads, precision: precision}
			b, err := at.openCPU(m)
			if err != nil {
				return nil, "", err
			}
			return b, cpuProduct(b), nil
		},
	}
}

// cudaDevice is one CUDA device. It computes with the product that is asked for if it has it, else with its own default.
func cudaDevice(in gpu.Info) study.Device {
	return study.Device{
		Name:    fmt.Sprintf("cuda:%d %s", in.Index, in.Name),
		Backend: "cuda",
		Open: func(m *model.Model, precision, product string) (pipeline.Backend, string, error) {
			o := gpu.Options{Devices: []int{in.Index}}
			switch {
			case precision == "float64":
				return nil, "", errors.New("precision float64 is on the CPU only: CUDA has float32 and tf32")
			case precision == "tf32" || slices.Contains(in.Products, product):
				o.Product = product
			}
			b, err := openCUDA(m, o)
			if err != nil {
				return nil, "", err
			}
			if got := b.Info().Precision; got != precision { // no one gets fewer digits than were planned
				return nil, "", errors.Join(fmt.Errorf("%s=%s in the environment, but the precision is %s: unset it", gpu.EnvProduct, os.Getenv(gpu.EnvProduct), precision), b.Close())
			}
			return b, cudaProduct(b), nil
		},
	}
}
