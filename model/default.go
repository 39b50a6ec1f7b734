package model

import (
	"embed"
	"fmt"
	"strings"

	"advsweep/model/internal/formats"
)

// mnist/README.md says what they are and how they were made.
//
//go:embed mnist/*.safetensors
var mnist embed.FS

// EmbeddedNames lists the models that Embedded knows.
var EmbeddedNames = []string{"mlp", "cnn"}

// Embedded returns one of the models within this package, all trained on MNIST, whose weights are
// float16 numbers: "mlp", a 784-1024-1024-10 perceptron, or "cnn", a 1x28x28-16x28x28-32x14x14-10
// convolutional network.
func Embedded(name string) (*Model, error) {
	data, err := mnist.ReadFile("mnist/" + name + ".safetensors")
	if err != nil {
		return nil, fmt.Errorf("model: no embedded model %s, want one of %s", formats.Quote(name), strings.Join(EmbeddedNames, ", "))
	}
	m, err := Decode(name+".safetensors", data)
	if err != nil {
		return nil, err
	}
	m.Assumed, m.Notes = "", nil // they were made here
	m.Source.Name = "embedded " + name
	if name == EmbeddedNames[0] {
		m.Source.Name = "embedded"
	}
	return m, nil
}

// Default returns Embedded("mlp").
func Default() (*Model, error) { return Embedded(EmbeddedNames[0]) }
