//go:build !cuda || !linux || !cgo

package backends

import (
	"advsweep/gpu"
	"advsweep/model"
	"advsweep/pipeline"
)

// builtWithCUDA tells whether openCUDA can ever work.
const builtWithCUDA = false

func openCUDA(*model.Model, gpu.Options) (pipeline.Backend, error) {
	_, err := gpu.Devices()
	return nil, err
}
