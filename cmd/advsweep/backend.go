package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"advsweep/cpu"
	"advsweep/gpu"
	"advsweep/model"
	"advsweep/pipeline"

	"github.com/spf13/cobra"
)

var (
	_ pipeline.Backend = (*cpu.Backend[float32])(nil)
	_ pipeline.Backend = (*cpu.Backend[float64])(nil)
	// *gpu.Backend: cuda.go
)

// openBackend opens the backend that the flags choose and returns its name. Where auto takes the CPU although
// this program could do CUDA, it says so on standard error.
func (f *flags) openBackend(c *cobra.Command, m *model.Model) (b pipeline.Backend, chosen string, err error) {
	device := c.Flags().Changed("device") // whoever names a device wants it
	exact := f.insists(c)
	switch {
	case !slices.Contains([]string{"auto", "cpu", "cuda"}, f.backend):
		return nil, "", usagef("--backend %q, want auto, cpu or cuda", f.backend)
	case !slices.Contains([]string{"float32", "float64", "tf32"}, f.precision):
		return nil, "", usagef("--precision %q, want float32 or float64, or tf32 on CUDA", f.precision)

	case f.backend == "cpu" && device:
		return nil, "", usagef("--device %s with --backend cpu: devices are CUDA's; leave out one of the two", f.device)
	case f.backend == "cpu" && f.precision == "tf32":
		return nil, "", usagef("--precision tf32 with --backend cpu: tf32 is on CUDA only, the CPU has float32 and float64")
	case exact && f.backend == "cuda":
		return nil, "", usagef("--exact with --backend cuda: only the CPU backend follows rays; use --backend cpu%s or leave --exact out", without(device))
	case exact && device:
		return nil, "", usagef("--exact with --device %s: only the CPU backend follows rays; leave out one of the two", f.device)
	case exact && f.precision == "tf32":
		return nil, "", usagef("--exact with --precision tf32: only the CPU backend follows rays, in float32 and float64; leave out one of the two")
	case f.backend == "cpu", f.backend == "auto" && (f.precision == "float64" || exact) && !device:
		b, err = f.openCPU(m)
		return b, "cpu", err

	case f.precision == "float64": // and CUDA
		return nil, "", usagef("--precision float64, but CUDA computes in float32 or tf32; use --backend cpu%s, which has float64", without(device))
	case f.backend == "cuda", device, f.precision == "tf32":
		b, err = f.openCUDA(m)
		var usage usageError
		if err != nil && !errors.As(err, &usage) {
			instead := ""
			if f.precision == "tf32" {
				instead = ", which has float32 and float64: tf32 is on CUDA only"
			}
			err = fmt.Errorf("%w; use --backend cpu%s%s", err, without(device), instead)
		}
		return b, "cuda", err
	}

	// auto
	if b, err = f.openCUDA(m); err == nil {
		return b, "cuda", nil
	}
	// A device that is there and does not work is worth a line even where no notes are wanted.
	if !errors.Is(err, gpu.ErrUnavailable) || builtWithCUDA && !f.quiet {
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: using the CPU: %s\n", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	b, err = f.openCPU(m)
	return b, "cpu", err
}

// without is what advice to use the CPU ends with.
func without(device bool) string {
	if device {
		return " without --device"
	}
	return ""
}

// openCPU opens the CPU backend at float32 or float64.
func (f *flags) openCPU(m *model.Model) (pipeline.Backend, error) {
	o := cpu.Options{Threads: f.threads}
	if f.precision == "float64" {
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

// openCUDA opens the devices of --device at float32 or tf32.
func (f *flags) openCUDA(m *model.Model) (pipeline.Backend, error) {
	infos, err := gpu.Devices()
	if err != nil {
		return nil, err
	}
	var o gpu.Options
	if o.Devices, err = gpu.ParseDevices(f.device, len(infos)); err != nil {
		var here []string
		for _, in := range infos {
			here = append(here, fmt.Sprintf("%d (%s)", in.Index, in.Name))
		}
		return nil, asUsage("device", fmt.Errorf("%w; here: %s", err, strings.Join(here, ", ")))
	}
	if f.precision == "tf32" {
		o.Product = "tf32"
	}
	b, err := openCUDA(m, o)
	if err != nil {
		return nil, err
	}
	if got := b.Info().Precision; got != f.precision { // no one gets fewer digits than the command line says
		err := fmt.Errorf("%s=%s in the environment, but --precision is %s: unset the one or give --precision %s", gpu.EnvProduct, os.Getenv(gpu.EnvProduct), f.precision, got)
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// A device is one line of advsweep devices.
type device struct {
	Backend   string `json:"backend"`
	Available bool   `json:"available"`
	Default   bool   `json:"default"` // what --backend auto uses
	Device    string `json:"device"`  // as in the result files
	Note      string `json:"note"`

	// Of a CUDA device only.
	Index      *int     `json:"index,omitempty"` // for --device
	Name       string   `json:"name,omitempty"`
	Capability string   `json:"compute_capability,omitempty"` // "9.0"
	Memory     int64    `json:"memory_bytes,omitempty"`       // in all
	Driver     string   `json:"driver_cuda,omitempty"`        // the newest CUDA that the driver supports: "13.0"
	Image      string   `json:"image,omitempty"`              // the kernels for it: "sm_80"
	Product    string   `json:"product,omitempty"`            // the default of Products
	Products   []string `json:"products,omitempty"`           // see gpu.Products
}

// listDevices returns a line for the CPU, and one for each CUDA device or one with the reason why there is none.
func listDevices() []device {
	cpuNote := fmt.Sprintf("%d processors; kernels: %s", runtime.GOMAXPROCS(0), strings.Join(cpu.Kernels(), ", "))
	if cpu.Kernels()[0] == "go" {
		cpuNote += " (plain Go: slow; amd64 with AVX2 and arm64 have faster ones)"
	}
	list := []device{{Backend: "cpu", Available: true, Device: runtime.GOARCH + " " + cpu.Kernels()[0], Note: cpuNote}}
	infos, err := gpu.Devices()
	if err != nil {
		list = append(list, device{Backend: "cuda", Note: err.Error()})
	}
	for _, in := range infos {
		list = append(list, describeDevice(in))
	}
	used := 0
	if list[1].Available { // --device is 0 unless given
		used = 1
	}
	list[used].Default = true
	return list
}

func describeDevice(in gpu.Info) device {
	d := device{
		Backend: "cuda", Available: in.Image != "", Index: &in.Index, Name: in.Name,
		Capability: fmt.Sprintf("%d.%d", in.Capability/10, in.Capability%10), Memory: in.Memory,
		Driver: fmt.Sprintf("%d.%d", in.Driver/1000, in.Driver%1000/10), Image: in.Image, Product: in.Product,
	}
	d.Device = fmt.Sprintf("cuda:%d %s", in.Index, in.Name)
	d.Note = fmt.Sprintf("compute capability %s, %.1f GiB, driver for CUDA %s; ", d.Capability, float64(in.Memory)/(1<<30), d.Driver)
	if !d.Available {
		d.Note += "no kernels for it, which need 7.5 (Turing) or later"
		return d
	}
	d.Device += fmt.Sprintf(", %s %s", in.Image, in.Product)
	d.Products = in.Products
	d.Note += "products: " + strings.Join(d.Products, ", ")
	return d
}

func newDevices() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "devices",
		Short: "List backends and devices, and why one is missing",
		Long: `List the CPU and every CUDA device, or why there is none, and which one --backend auto uses.

A CUDA device has ways to multiply matrices, its products. Of its line's device, the last word is the one
that --precision float32 takes:

  fp32    the plain cores, the CPU's results to the bit
  3xtf32  tensor cores (compute capability 8.0 or later), as accurate as float32
  tf32    tensor cores at 11 significant bits: only with --precision tf32

ADVSWEEP_CUDA_PRODUCT=fp32 in the environment makes fp32 the one for float32.`,
		Example: "  advsweep devices\n  advsweep devices --format json\n  advsweep sweep --backend cuda --device 0,1",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return printDevices(c.OutOrStdout(), f.format, listDevices())
		},
	}
	f.addFormat(c)
	return c
}

func printDevices(w io.Writer, format string, devices []device) error {
	switch format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(devices)
	case "csv":
		cw := csv.NewWriter(w)
		_ = cw.Write([]string{"backend", "available", "default", "device", "note",
			"index", "name", "compute_capability", "memory_bytes", "driver_cuda", "image", "product", "products"})
		for _, d := range devices {
			var index, memory string
			if d.Index != nil {
				index, memory = strconv.Itoa(*d.Index), strconv.FormatInt(d.Memory, 10)
			}
			_ = cw.Write([]string{d.Backend, strconv.FormatBool(d.Available), strconv.FormatBool(d.Default), d.Device, d.Note,
				index, d.Name, d.Capability, memory, d.Driver, d.Image, d.Product, strings.Join(d.Products, " ")})
		}
		cw.Flush()
		return cw.Error()
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "backend\tavailable\tdevice\tnote")
	for _, d := range devices {
		yes := "no"
		if d.Available {
			yes = "yes"
		}
		if d.Default {
			yes += ", used by --backend auto"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", d.Backend, yes, d.Device, d.Note)
	}
	return tw.Flush()
}

// cpuProduct is what decides of the last bits of the CPU's results, for a manifest.
func cpuProduct(b pipeline.Backend) string {
	if os.Getenv(cpu.EnvDense) != "" {
		return b.Info().Precision + " dense"
	}
	return b.Info().Precision
}

// cudaProduct is the same of a CUDA backend: its math mode.
func cudaProduct(b pipeline.Backend) string {
	return b.Info().MathMode
}
