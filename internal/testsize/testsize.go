// Package testsize says how much a test does: tests of three sizes are one test with three numbers.
//
// "go test -short" is what CI runs under the race detector and emulators. "go test" is what
// everybody runs, and ends in four minutes on two cores. With ADVSWEEP_LONG set it is the size of
// "make test-long" and of CI. Only tests import this package, and "make test-long"
// runs all packages whose tests do.
package testsize

import (
	"os"
	"testing"
)

// Long reports whether tests are to be as long as CI runs them: whether ADVSWEEP_LONG is set.
func Long() bool { return os.Getenv("ADVSWEEP_LONG") != "" }

// Of returns one of the three by the size asked for. ADVSWEEP_LONG goes before -short.
func Of[T any](short, usual, long T) T {
	switch {
	case Long():
		return long
	case testing.Short():
		return short
	}
	return usual
}
