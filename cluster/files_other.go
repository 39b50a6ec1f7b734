//go:build !unix

package cluster

// openFiles is how many files and connections this process may have open: the system sets no limit
// of its own.
func openFiles() int { return 1 << 16 }
