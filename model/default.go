package model

import _ "embed"

// mnist/README.md says what it is and how it was made.
//
//go:embed mnist/mlp.safetensors
var mnistMLP []byte

// Default returns the embedded model: a 784-1024-1024-10 perceptron trained on MNIST, whose
// weights are float16 numbers.
func Default() (*Model, error) {
	m, err := Decode("mlp.safetensors", mnistMLP)
	if err != nil {
		return nil, err
	}
	m.Source.Name = "embedded"
	return m, nil
}
