//go:build !cuda || !linux || !cgo

package gpu

import "fmt"

// Devices returns an error that wraps ErrUnavailable: the backend is not in this build.
func Devices() ([]Info, error) {
	return nil, fmt.Errorf("%w: this program was built without CUDA; 'make cuda' builds it with", ErrUnavailable)
}
