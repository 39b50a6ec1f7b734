package main

import (
	"runtime"

	"advsweep/backends"
	"advsweep/record"
)

// release is the version of the program, which result files carry.
const release = record.Version

// version is release with the build and what built it, for --version.
func version() string {
	v := release + " (" + record.Build() + ") " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
	for _, e := range backends.All() {
		if e.Built && e.Accelerator {
			v += " " + e.Name
		}
	}
	return v
}
