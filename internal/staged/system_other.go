//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package staged

import (
	"errors"
	"os"
)

const (
	renamesOpen = false
	syncsDirs   = false
)

// tryLock is an error: a lock here would stand in the way of a rename.
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }

func cannotSync(error) bool { return true }
