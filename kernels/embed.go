// Package kernels holds the CUDA kernels, one operation a file, and the form that programs embed:
// PTX, which the driver compiles for its GPU when it is loaded, and keeps in its cache. See
// README.md beside this file.
package kernels

import (
	_ "embed"
	"fmt"
)

var (
	//go:embed sm75.ptx
	sm75 string
	//go:embed sm80.ptx
	sm80 string
)

// Image returns the kernels for a compute capability (90 is 9.0): PTX, its name, and whether it has
// those for tensor cores. It returns an error for GPUs before Turing.
func Image(capability int) (ptx, name string, tensorCores bool, err error) {
	switch {
	case capability >= 80:
		return sm80, "sm_80", true, nil
	case capability >= 75:
		return sm75, "sm_75", false, nil
	}
	return "", "", false, fmt.Errorf("kernels: compute capability %d.%d, want 7.5 (Turing) or later", capability/10, capability%10)
}
