//go:build unix

package regular

import "syscall"

// noWait lets a pipe that nobody writes to be opened at once. It changes nothing for a regular file.
const noWait = syscall.O_NONBLOCK
