package model

// An Elementwise is a layer that applies one function of one number to each number that it takes.
//
// Backends and the float64 truth each have a table of such functions, by name: a value and a derivative.
type Elementwise interface {
	Layer
	// Function returns the name of the function in those tables, and its parameter: 0 where it has none.
	Function() (name string, parameter float64)
}

// Function returns "relu".
func (ReLU) Function() (string, float64) { return "relu", 0 }

// Function returns "leaky_relu" and the slope.
func (l LeakyReLU) Function() (string, float64) { return "leaky_relu", l.Slope }

// Function returns "sigmoid".
func (Sigmoid) Function() (string, float64) { return "sigmoid", 0 }

// Function returns "tanh".
func (Tanh) Function() (string, float64) { return "tanh", 0 }

// Function returns "gelu", or "gelu_tanh" for the approximation by a tanh.
func (l GELU) Function() (string, float64) {
	if l.Tanh {
		return "gelu_tanh", 0
	}
	return "gelu", 0
}
