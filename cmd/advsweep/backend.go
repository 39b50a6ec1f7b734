package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"

	"advsweep/cpu"
	"advsweep/model"
	"advsweep/pipeline"

	"github.com/spf13/cobra"
)

var (
	_ pipeline.Backend = (*cpu.Backend[float32])(nil)
	_ pipeline.Backend = (*cpu.Backend[float64])(nil)
)

var errNoCUDA = errors.New("this binary has no CUDA backend; use --backend cpu")

// openBackend opens the backend that the flags choose and returns its name.
func (f *flags) openBackend(m *model.Model) (pipeline.Backend, string, error) {
	switch f.backend {
	case "auto", "cpu":
	case "cuda":
		return nil, "", errNoCUDA
	default:
		return nil, "", usagef("--backend %q, want auto, cpu or cuda", f.backend)
	}
	var b pipeline.Backend
	var err error
	switch o := (cpu.Options{Threads: f.threads}); f.precision {
	case "float32":
		b, err = cpu.New[float32](m, o)
	case "float64":
		b, err = cpu.New[float64](m, o)
	default:
		return nil, "", usagef("--precision %q, want float32 or float64", f.precision)
	}
	if err != nil {
		return nil, "", err // b would not be nil: it holds a nil *cpu.Backend
	}
	return b, "cpu", nil
}

// A device is one line of advsweep devices.
type device struct {
	Backend   string `json:"backend"`
	Available bool   `json:"available"`
	Default   bool   `json:"default"` // what --backend auto uses
	Device    string `json:"device"`
	Note      string `json:"note"`
}

func listDevices() []device {
	cpuNote := fmt.Sprintf("%d processors; kernels: %s", runtime.GOMAXPROCS(0), strings.Join(cpu.Kernels(), ", "))
	if cpu.Kernels()[0] == "go" {
		cpuNote += " (plain Go: slow; amd64 with AVX2 and arm64 have faster ones)"
	}
	return []device{
		{"cpu", true, true, runtime.GOARCH + " " + cpu.Kernels()[0], cpuNote},
		{"cuda", false, false, "", errNoCUDA.Error()},
	}
}

func newDevices() *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:     "devices",
		Short:   "List backends and devices, and why one is missing",
		Example: "  advsweep devices\n  advsweep devices --format json",
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
		_ = cw.Write([]string{"backend", "available", "default", "device", "note"})
		for _, d := range devices {
			_ = cw.Write([]string{d.Backend, strconv.FormatBool(d.Available), strconv.FormatBool(d.Default), d.Device, d.Note})
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
