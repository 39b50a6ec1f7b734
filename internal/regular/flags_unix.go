//go:build unix

package regular

import "syscall"

const (
	// noWait lets a pipe that nobody writes to be opened at once. It changes nothing for a regular
	// file.
	noWait   = syscall.O_NONBLOCK
	noFollow = syscall.O_NOFOLLOW
)
