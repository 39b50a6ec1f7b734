package main

import (
	"runtime"
	"runtime/debug"

	"advsweep/backends"
	"advsweep/record"
)

// release is the version of the program, which result files carry.
const release = record.Version

// version is release with what built it, for --version.
func version() string {
	v := release
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v += " (" + s.Value[:min(12, len(s.Value))] + ")"
			}
		}
	}
	v += " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	for _, e := range backends.All() {
		if e.Built && e.Accelerator {
			v += " " + e.Name
		}
	}
	return v
}
