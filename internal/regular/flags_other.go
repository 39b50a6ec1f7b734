//go:build !unix

package regular

// No file of a folder waits for another process when it is opened here.
const (
	noWait   = 0
	noFollow = 0
)
