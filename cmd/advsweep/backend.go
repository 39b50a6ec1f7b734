package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"advsweep/backends"
	"advsweep/internal/words"

	"github.com/spf13/cobra"
)

// open opens the backend that the flags choose for in.model and keeps it in in. Where auto takes
// another backend than the first that it tries, it says so on standard error if that one is in this
// build.
func (f *backendFlags) open(c *cobra.Command, quiet bool, in *inputs) error {
	entries, err := f.candidates(c)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if err = f.openEntry(e, in); err == nil {
			return nil
		}
		if i == len(entries)-1 {
			return f.adviseCPU(c, e, err)
		}
		// A device that is there and does not work is worth a line even where no notes are wanted.
		if !errors.Is(err, backends.ErrUnavailable) || e.Built && !quiet {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: using %s: %s\n", entries[i+1].Title, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	return err
}

// candidates returns the backends that the flags allow, in the order in which they are tried: of
// auto the last of backends.All first. It returns an error if there is none.
func (f *backendFlags) candidates(c *cobra.Command) ([]backends.Entry, error) {
	tried := backends.All()
	slices.Reverse(tried)
	if f.name != "auto" {
		e, err := backends.Lookup(f.name)
		if err != nil {
			return nil, unknownBackend(f.name)
		}
		tried = []backends.Entry{e}
	}
	if !slices.Contains(backends.Precisions(), f.precision) {
		return nil, unknownPrecision(f.precision)
	}
	var fit []backends.Entry
	var why error
	for _, e := range tried {
		if err := f.fits(c, e); err != nil {
			why = cmp.Or(why, err)
			continue
		}
		fit = append(fit, e)
	}
	if len(fit) == 0 {
		return nil, why
	}
	return fit, nil
}

func unknownBackend(name string) error {
	return usagef("--backend %q, want %s", name, words.Or(append([]string{"auto"}, backends.Names()...)))
}

func unknownPrecision(name string) error {
	spare := backends.Always()
	want := words.Or(spare.Precisions)
	for _, e := range backends.All() {
		for _, p := range e.Precisions {
			if !spare.Has(p) {
				want += fmt.Sprintf(", or %s on %s", p, e.Title)
			}
		}
	}
	return usagef("--precision %q, want %s", name, want)
}

// fits returns an error if e cannot do what the flags ask for, with what to change.
func (f *backendFlags) fits(c *cobra.Command, e backends.Entry) error {
	device := c.Flags().Changed("device") // whoever names a device wants it
	exact := func(e backends.Entry) bool { return e.Exact }
	switch has := func(e backends.Entry) bool { return e.Has(f.precision) }; {
	case device && !e.Accelerator:
		accelerators := backends.Titles(func(e backends.Entry) bool { return e.Accelerator })
		return usagef("--device %s with --backend %s: devices are %s's; leave out one of the two", f.device, e.Name, accelerators)
	case insists(c) && !e.Exact:
		who := strings.TrimPrefix(backends.Titles(exact), "the ")
		switch to := firstBackend(exact); {
		case f.name != "auto":
			return usagef("--exact with --backend %s: only the %s backend follows rays; use --backend %s%s or leave --exact out", e.Name, who, to.Name, without(device, to))
		case device:
			return usagef("--exact with --device %s: only the %s backend follows rays; leave out one of the two", f.device, who)
		default:
			return usagef("--exact with --precision %s: only the %s backend follows rays, in %s; leave out one of the two", f.precision, who, words.And(to.Precisions))
		}
	case !has(e) && !e.Accelerator:
		return usagef("--precision %s with --backend %s: %s is on %s only, %s has %s", f.precision, e.Name, f.precision, backends.Titles(has), e.Title, words.And(e.Precisions))
	case !has(e):
		to := firstBackend(has)
		return usagef("--precision %s, but %s computes in %s; use --backend %s%s, which has %s", f.precision, e.Title, words.Or(e.Precisions), to.Name, without(device, to), f.precision)
	}
	return nil
}

// firstBackend returns the first backend of a kind; there is one.
func firstBackend(is func(backends.Entry) bool) backends.Entry {
	all := backends.All()
	return all[max(0, slices.IndexFunc(all, is))]
}

// openEntry opens e for in.model as the flags say.
func (f *backendFlags) openEntry(e backends.Entry, in *inputs) error {
	b, arithmetic, err := e.Open(in.model, backends.Spec{Precision: f.precision, Devices: f.device, Threads: f.threads})
	var list *backends.DeviceError
	var forced *backends.PrecisionError
	switch {
	case errors.As(err, &list):
		return asUsage("device", err)
	case errors.As(err, &forced):
		return fmt.Errorf("%w, or give --precision %s", err, forced.Got)
	case err != nil:
		return err
	}
	in.backend, in.chosen, in.arithmetic = b, e.Name, arithmetic
	return nil
}

// adviseCPU adds to err, of an accelerator that cannot be opened, which backend works everywhere.
func (f *backendFlags) adviseCPU(c *cobra.Command, e backends.Entry, err error) error {
	if !e.Accelerator || errors.As(err, new(usageError)) {
		return err
	}
	spare := backends.Always()
	instead := ""
	if !spare.Has(f.precision) {
		where := backends.Titles(func(e backends.Entry) bool { return e.Has(f.precision) })
		instead = fmt.Sprintf(", which has %s: %s is on %s only", words.And(spare.Precisions), f.precision, where)
	}
	return fmt.Errorf("%w; use --backend %s%s%s", err, spare.Name, without(c.Flags().Changed("device"), spare), instead)
}

// without is what advice to use a backend ends with where --device was given.
func without(device bool, to backends.Entry) string {
	if device && !to.Accelerator {
		return " without --device"
	}
	return ""
}

// listDevices returns the devices of every backend, and one with the reason for a backend that has
// none.
func listDevices() []backends.Device {
	var list []backends.Device
	used := 0 // the last backend whose first device works: --device is 0 unless given
	for _, e := range backends.All() {
		devices, err := e.Devices()
		if err != nil {
			devices = []backends.Device{{Backend: e.Name, Note: err.Error()}}
		}
		if len(devices) > 0 && devices[0].Available {
			used = len(list)
		}
		list = append(list, devices...)
	}
	list[used].Default = true
	return list
}

func newDevices() *cobra.Command {
	var format string
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
			return printDevices(c.OutOrStdout(), format, listDevices())
		},
	}
	addFormat(c, &format)
	return c
}

func printDevices(w io.Writer, format string, devices []backends.Device) error {
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
