// Package backend has the words in which what computes a sweep describes itself and what it found.
// It imports no backend and no user of one, so that both share it without knowing each other.
package backend

// Info describes a backend that holds a model. Who asks reads fields: no text is parsed.
type Info struct {
	// Name is what the command line and the results call the backend: "cpu", "cuda".
	Name string
	// Device names the hardware and the kernels, for people: "amd64 avx2".
	Device string
	// Precision is what the model is computed in: "float32", "float64" or "tf32".
	Precision string
	// MathMode is how matrices are multiplied where Precision leaves a choice. On CUDA it is
	// "fp32", "3xtf32" or "tf32". On the CPU it is "", or "fast" in its fast math.
	MathMode string
	// Inputs is the length I of an image and Classes the number O of logits.
	Inputs, Classes int
	// Rows is the most rows for one Begin. It may change with a Load.
	Rows int
	// Threads is how many threads of the host its user may have while the backend waits; 0 is one.
	Threads int
}
