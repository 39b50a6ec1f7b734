//go:build cuda && linux && cgo

package gpu

// #include <cuda.h>
import "C"

import "unsafe"

// A graph is a sequence of launches that one call starts.
type graph struct{ exec C.CUgraphExec }

// capture records as a graph what f launches, and runs nothing. It returns nil if the driver can't
// record: drivers before CUDA 11.4 lack a call. The caller then runs f as it is.
func (d *device) capture(f func() error) (*graph, error) {
	stream := *(*C.CUstream)(unsafe.Pointer(&d.stream)) // the one field of d.stream
	if C.cuStreamBeginCapture(stream, C.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) != C.CUDA_SUCCESS {
		return nil, nil
	}
	failed := f()
	var g C.CUgraph
	if err := result(C.cuStreamEndCapture(stream, &g)); err != nil && failed == nil {
		failed = d.errorf(err, "record launches")
	}
	out := new(graph)
	if failed == nil && C.cuGraphInstantiateWithFlags(&out.exec, g, 0) != C.CUDA_SUCCESS {
		out = nil
	}
	if g != nil {
		if err := result(C.cuGraphDestroy(g)); err != nil && failed == nil {
			failed = d.errorf(err, "free a graph")
		}
	}
	if failed != nil {
		if out != nil && out.exec != nil {
			_ = d.dropGraph(&out) // if it fails too, the reason is the same
		}
		return nil, failed
	}
	return out, nil
}

// replay starts the launches of g on the stream.
func (d *device) replay(g *graph) error {
	stream := *(*C.CUstream)(unsafe.Pointer(&d.stream))
	if err := result(C.cuGraphLaunch(g.exec, stream)); err != nil {
		return d.errorf(err, "launch a graph")
	}
	return nil
}

// dropGraph frees *g, which may be nil, and makes it nil.
func (d *device) dropGraph(g **graph) error {
	if *g == nil {
		return nil
	}
	exec := (*g).exec
	*g = nil
	if err := result(C.cuGraphExecDestroy(exec)); err != nil {
		return d.errorf(err, "free a graph")
	}
	return nil
}
