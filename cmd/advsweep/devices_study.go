package main

import (
	"fmt"
	"runtime"

	"advsweep/backends"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/study"
)

// devices returns what this machine has for plan, each for a worker of its own: the CPU, all of
// whose threads work on one shard, or every device of --device (empty: all). Without --backend it
// is what the plan is for. server says that a server hands the shards out: then it is the server
// that allows other arithmetic, not this command.
func (f *workFlags) devices(plan *study.Plan, server bool) ([]study.Device, error) {
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
	if err := checkThreads(f.threads); err != nil {
		return nil, err
	}
	if _, err := e.Devices(); err != nil {
		if name != planned {
			return nil, fmt.Errorf("--backend %s: %w; study %s is planned for %s, which is what it runs on without --backend", name, err, plan.Name, planned)
		}
		spare := backends.Always()
		how := fmt.Sprintf("--backend %s --allow-mixed computes it on %s all the same", spare.Name, spare.Title)
		if server {
			how = fmt.Sprintf("--backend %s computes it on %s if 'advsweep serve --allow-mixed' hands it out", spare.Name, spare.Title)
		}
		return nil, fmt.Errorf("study %s is planned for %s: %w; %s", plan.Name, planned, err, how)
	}
	list := f.device
	if list == "" {
		list = "all"
	}
	chosen, err := e.Pick(list)
	if err != nil {
		return nil, asUsage("device", err)
	}
	threads := f.threads
	if len(chosen) > 1 { // they work side by side and share the processors
		if threads == 0 {
			threads = runtime.GOMAXPROCS(0)
		}
		threads = max(1, threads/len(chosen))
	}
	var all []study.Device
	for _, d := range chosen {
		all = append(all, studyDevice(e, d, threads))
	}
	return all, nil
}

// studyDevice is one device of e as a worker of a study has it. It computes with the math mode that
// is asked for if it has it, else with its own default. threads are those of the CPU; 0 is one for
// each processor.
func studyDevice(e backends.Entry, d backends.Device, threads int) study.Device {
	return study.Device{
		Name:    d.Worker,
		Backend: e.Name,
		Open: func(m *model.Model, precision, mathMode string) (pipeline.Backend, string, error) {
			return e.Open(m, backends.Spec{Precision: precision, MathMode: mathMode, Devices: d.List, Threads: threads, Shared: true})
		},
	}
}

// planDevice is the backend that works everywhere, on which a plan checks that models fit.
func planDevice() (study.Device, error) {
	e := backends.Always()
	devices, err := e.Devices()
	if err != nil {
		return study.Device{}, err
	}
	return studyDevice(e, devices[0], 0), nil
}
