//go:build !unix

package staged

var syncErrors []struct {
	err     error
	failure bool
}
