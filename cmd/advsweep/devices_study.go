package main

import (
	"fmt"

	"advsweep/backends"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/study"
)

// studyDevices returns what this machine has for plan, each for a worker of its own: the CPU, all
// of whose threads work on one shard, or every device of --device (empty: all). Without --backend
// it is what the plan is for.
func (f *flags) studyDevices(plan *study.Plan) ([]study.Device, error) {
	planned := plan.Runs[0].Manifest.Backend // that of all
	name := planned
	if f.backend != "" && f.backend != "auto" {
		name = f.backend
	}
	e, err := backends.Lookup(name)
	switch {
	case err != nil && name == planned:
		return nil, fmt.Errorf("study %s is planned for a backend that is not here: %w", plan.Name, err)
	case err != nil:
		return nil, unknownBackend(name)
	}
	if err := f.checkThreads(); err != nil {
		return nil, err
	}
	if _, err := e.Devices(); err != nil {
		if name != planned {
			return nil, fmt.Errorf("--backend %s: %w; study %s is planned for %s, which is what it runs on without --backend", name, err, plan.Name, planned)
		}
		spare := backends.Always()
		return nil, fmt.Errorf("study %s is planned for %s: %w; --backend %s --allow-mixed computes it on %s all the same", plan.Name, planned, err, spare.Name, spare.Title)
	}
	list := f.device
	if list == "" {
		list = "all"
	}
	chosen, err := e.Pick(list)
	if err != nil {
		return nil, asUsage("device", err)
	}
	var all []study.Device
	for _, d := range chosen {
		all = append(all, f.studyDevice(e, d))
	}
	return all, nil
}

// studyDevice is one device of e as a worker of a study has it. It computes with the product that
// is asked for if it has it, else with its own default.
func (f *flags) studyDevice(e backends.Entry, d backends.Device) study.Device {
	return study.Device{
		Name:    d.Worker,
		Backend: e.Name,
		Open: func(m *model.Model, precision, product string) (pipeline.Backend, string, error) {
			return e.Open(m, backends.Spec{Precision: precision, Product: product, Devices: d.List, Threads: f.threads})
		},
	}
}

// planDevice is the backend that works everywhere, on which a plan checks that models fit.
func (f *flags) planDevice() (study.Device, error) {
	e := backends.Always()
	devices, err := e.Devices()
	if err != nil {
		return study.Device{}, err
	}
	return f.studyDevice(e, devices[0]), nil
}
