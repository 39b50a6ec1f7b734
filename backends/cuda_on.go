//go:build cuda && linux && cgo

package backends

import (
	"advsweep/gpu"
	"advsweep/model"
	"advsweep/pipeline"
)

var _ pipeline.Backend = (*gpu.Backend)(nil)

// builtWithCUDA tells whether openCUDA can ever work.
const builtWithCUDA = true

func openCUDA(m *model.Model, o gpu.Options) (pipeline.Backend, error) {
	b, err := gpu.New(m, o)
	if err != nil {
		return nil, err // b would not be nil: it holds a nil *gpu.Backend
	}
	return b, nil
}
