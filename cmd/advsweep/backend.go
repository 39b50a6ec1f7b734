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
			in.rivals = rivals(entries, e)
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

// rivals names the backends of entries but e: those that the same command may take elsewhere.
func rivals(entries []backends.Entry, e backends.Entry) (names []string) {
	for _, other := range entries {
		if other.Name != e.Name {
			names = append(names, other.Name)
		}
	}
	return names
}

// candidates returns the backends that the flags allow, in the order in which they are tried: of
// auto that of backends.Auto. It returns an error if there is none.
func (f *backendFlags) candidates(c *cobra.Command) ([]backends.Entry, error) {
	tried := backends.Auto()
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
	if !slices.Contains(backends.Maths(), f.math) {
		return nil, unknownMath(f.math)
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

func unknownMath(name string) error {
	return usagef("--math %q, want %s", name, words.Or(backends.Maths()))
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
		only := "only the " + onlyBackends(backends.All(), exact, " follows", " follow") + " rays"
		switch to := firstBackend(exact); {
		case f.name != "auto":
			return usagef("--exact with --backend %s: %s; use --backend %s%s or leave --exact out", e.Name, only, to.Name, without(device, to))
		case device:
			return usagef("--exact with --device %s: %s; leave out one of the two", f.device, only)
		default:
			return usagef("--exact with --precision %s: %s, in %s; leave out one of the two", f.precision, only, words.And(to.Precisions))
		}
	case !e.HasMath(f.math):
		to := firstBackend(func(e backends.Entry) bool { return e.HasMath(f.math) })
		return usagef("--math %s with --backend %s: %s is on %s only; use --backend %s%s or leave --math out", f.math, e.Name, f.math,
			backends.Titles(func(e backends.Entry) bool { return e.HasMath(f.math) }), to.Name, without(device, to))
	case !has(e) && !e.Accelerator:
		return usagef("--precision %s with --backend %s: %s is on %s only, %s has %s", f.precision, e.Name, f.precision, backends.Titles(has), e.Title, words.And(e.Precisions))
	case !has(e):
		to := firstBackend(has)
		return usagef("--precision %s, but %s computes in %s; use --backend %s%s, which has %s", f.precision, e.Title, words.Or(e.Precisions), to.Name, without(device, to), f.precision)
	}
	return nil
}

// onlyBackends names the backends of a kind, with a verb of the right number: "CPU backend
// follows".
func onlyBackends(all []backends.Entry, is func(backends.Entry) bool, one, more string) string {
	var who []string
	for _, e := range all {
		if is(e) {
			who = append(who, strings.TrimPrefix(e.Title, "the "))
		}
	}
	if len(who) == 1 {
		return who[0] + " backend" + one
	}
	return words.And(who) + " backends" + more
}

// firstBackend returns a backend of a kind, of which there is one. Those that auto takes go before
// others, and that which works on every machine before all.
func firstBackend(is func(backends.Entry) bool) backends.Entry {
	all := backends.Auto()
	slices.Reverse(all)
	all = append(all, backends.All()...)
	return all[max(0, slices.IndexFunc(all, is))]
}

// openEntry opens e for in.model as the flags say.
func (f *backendFlags) openEntry(e backends.Entry, in *inputs) error {
	b, arithmetic, err := e.Open(in.model, backends.Spec{Precision: f.precision, Math: f.math, Devices: f.device, Threads: f.threads, Shared: true})
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
	in.backend, in.chosen, in.rivals, in.arithmetic, in.math = b, e.Name, nil, arithmetic, ""
	if f.math != backends.DefaultMath() {
		in.math = f.math
	}
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
	for _, e := range backends.All() {
		devices, err := e.Devices()
		if err != nil {
			devices = []backends.Device{{Backend: e.Name, Note: err.Error()}}
		}
		list = append(list, devices...)
	}
	for _, e := range backends.Auto() {
		first := slices.IndexFunc(list, func(d backends.Device) bool { return d.Backend == e.Name })
		if first >= 0 && list[first].Available { // --device is 0 unless given
			list[first].Default = true
			break
		}
	}
	return list
}

func newDevices() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:     "devices",
		Short:   "List backends and devices, and why one is missing",
		Long:    devicesHelp(),
		Example: "  advsweep devices\n  advsweep devices --format json\n  advsweep sweep --backend cuda --device 0,1",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return printDevices(c.OutOrStdout(), format, listDevices())
		},
	}
	addFormat(c, &format)
	return c
}

// devicesHelp says which devices are listed, and what each backend says of its own.
func devicesHelp() string {
	var which, of []string
	for _, e := range backends.All() {
		name := e.Title
		if e.Accelerator {
			name = "every " + name + " device"
		}
		which = append(which, name)
		if e.Help != "" {
			of = append(of, "\n\n"+e.Help)
		}
	}
	return "List " + words.And(which) + ", or why there is none, and which one --backend auto uses." + strings.Join(of, "")
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
				index, d.Name, d.Capability, memory, d.Driver, d.Image, d.MathMode, strings.Join(d.MathModes, " ")})
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
