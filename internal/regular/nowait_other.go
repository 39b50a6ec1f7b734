//go:build !unix

package regular

// noWait is nothing here: no file of a folder waits for another process when it is opened.
const noWait = 0
