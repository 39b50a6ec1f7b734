// Package counts says how much tests and scripts tried, for the table of docs/reliability.md.
//
// Where ADVSWEEP_COUNTS names a file, each test that counts adds a line of JSON to it, a Line.
// Scripts of 'make reliability' add such lines by themselves. Tests may be asked for other numbers
// than their own by ADVSWEEP_WANT: "run-kills=100,log-kills=500". Only tests and
// scripts/reliability import this package.
package counts

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// A Kind is something that is tried many times.
type Kind struct {
	Name string // in lines and in ADVSWEEP_WANT
	What string // for the table
	Want string // what must come of it
}

// Kinds are the rows of the table, in its order.
var Kinds = []Kind{
	{"run-kills", "a sweep killed with SIGKILL at a random moment", "it goes on to the bytes of a run that nothing stopped"},
	{"array-kills", "a task of a job array killed with SIGKILL", "the merged study is that of one process"},
	{"cluster-kills", "a server or a worker of a study killed with SIGKILL", "the merged study is that of one process, every shard counts once"},
	{"cluster-stops", "a server or a worker stopped", "the study goes on where it was"},
	{"log-kills", "a writer of the log killed with SIGKILL", "what it said was stored is there"},
	{"log-cuts", "the log cut after every byte", "whole chunks stay, the rest is done again to the same bytes"},
	{"log-flips", "a byte of the log changed, each in three ways", "refused by name, or the last chunk is done again"},
	{"log-faults", "a write or sync of the log that fails, a full disk", "an error, and the log goes on once there is room"},
	{"call-faults", "a system call of a sweep that fails (ENOSPC, EIO)", "an error or the right files, and the same command goes on to the same bytes"},
	{"plans", "a study's plan with values changed", "an exit code and a message, no crash"},
	{"results", "a shard's result with bytes changed or cut", "refused, or the bytes of the right study"},
	{"onnx", "an ONNX file with bytes changed", "an error, or a model"},
	{"simulated", "a simulated cluster with faults, by a seed", "every shard counts once"},
	{"load-shards", "shards that take no time, by a server to workers", "each result arrives once"},
	{"load-workers", "workers of one server at a time", "each result arrives once"},
	{"hosts", "three hosts with delay, loss, a partition, a kill, and arm64", "the merged study is that of one process"},
}

// Known reports whether Kinds has name.
func Known(name string) bool {
	for _, k := range Kinds {
		if k.Name == name {
			return true
		}
	}
	return false
}

// A Line is what one test or script tried.
type Line struct {
	Kind   string `json:"kind"`
	By     string `json:"by"` // the test's name or the script's
	Tried  int64  `json:"tried"`
	Failed int64  `json:"failed"` // of these; a test that fails stops counting, so it says 1
}

// A Counter counts what a test tries.
type Counter struct{ n atomic.Int64 }

// Add counts n more.
func (c *Counter) Add(n int) { c.n.Add(int64(n)) }

// Start returns a counter whose line is written when t ends, also where it fails.
func Start(t testing.TB, kind string) *Counter {
	t.Helper()
	if !Known(kind) {
		t.Fatalf("counts: kind %q is not in counts.Kinds", kind)
	}
	c := &Counter{}
	t.Cleanup(func() {
		path := os.Getenv("ADVSWEEP_COUNTS")
		if path == "" || t.Skipped() {
			return
		}
		l := Line{Kind: kind, By: t.Name(), Tried: c.n.Load()}
		if t.Failed() {
			l.Failed = 1
		}
		if err := add(path, l); err != nil {
			t.Errorf("counts: %v", err)
		}
	})
	return c
}

// add appends a line to the file at path, which others may append to as well.
func add(path string, l Line) error {
	data, err := json.Marshal(l)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if failed := f.Close(); err == nil {
		err = failed
	}
	return err
}

// Wanted is how many of a kind are asked for by ADVSWEEP_WANT, or otherwise if it says nothing of
// that kind. What it says must be numbers.
func Wanted(t testing.TB, kind string, otherwise int) int {
	t.Helper()
	if !Known(kind) {
		t.Fatalf("counts: kind %q is not in counts.Kinds", kind)
	}
	for one := range strings.SplitSeq(os.Getenv("ADVSWEEP_WANT"), ",") {
		name, value, _ := strings.Cut(one, "=")
		if name != kind {
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			t.Fatalf("counts: ADVSWEEP_WANT says %q, want %s=NUMBER", one, kind)
		}
		return n
	}
	return otherwise
}
