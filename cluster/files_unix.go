//go:build unix

package cluster

import "syscall"

// openFiles is how many files and connections this process may have open. Go has raised it to what
// the system allows.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(uint64(l.Cur), 1<<20))
}
