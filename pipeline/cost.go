package pipeline

import (
	"fmt"
	"strings"

	"advsweep/attack"
)

// walkPasses is how many passes up or down the network the walk of one image takes, about: measured on the embedded MLP.
const walkPasses = 6

// Cost returns about how many multiply-adds chunk c takes, on a model that takes macs of them for a forward pass of an image, see
// model.Model.MACs. A gradient is two passes, one forward and one backward. What a backend leaves out, as the CPU does zeros, is
// counted, and the few operations for each pixel are not. What all eps share is counted once: the first gradient of a plain attack.
func (s Sweep) Cost(c Chunk, macs int64) float64 {
	images := float64(c.Hi - c.Lo)
	switch c.Kind {
	case Look:
		return images * float64(macs)
	case Walk:
		return images * walkPasses * float64(macs)
	}
	a := s.Attacks[c.Attack]
	rows, K := images*float64(c.To-c.From)*float64(a.Runs()), float64(a.Steps)
	passes := rows // what the model says of the rows in the end
	if s.Rounded {
		passes += rows
	}
	switch {
	case a.Direction != attack.Gradient:
	case a.Plain():
		passes += 2*images + 2*(K-1)*rows
	case a.Adaptive: // the loss at the start and after each step
		passes += 2*K*rows + (K+1)*rows
	default:
		passes += 2 * K * rows
	}
	if a.Target != attack.Untargeted { // what the model says of clean images
		passes += images
	}
	return passes * float64(macs)
}

// A Class is a kind of device, with how fast it is on sweeps: for estimates of how long work takes, within a factor of a few. Nothing
// that is computed depends on it.
type Class struct {
	Name string
	// Stack and Network are in multiply-adds of Cost per second, on stacks of Linear and ReLU and on other networks.
	Stack, Network float64
	Overhead       float64 // seconds for each chunk: its start, and what is written of it
	Source         string  // where the figures come from
}

// Classes lists the classes of devices that ClassOf knows.
func Classes() []Class {
	return []Class{
		{"cpu", 8 * 60e9, 8 * 10e9, 5e-3, "8 cores, each as fast as one of an AMD EPYC 9004 with AVX-512 was measured to be"},
		{"t4", 0.5 * 8.1e12 / 2, 0.25 * 8.1e12 / 2, 5e-3, "an estimate, not measured"},
	}
}

// ClassOf returns the class of that name.
func ClassOf(name string) (Class, error) {
	var names []string
	for _, c := range Classes() {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return Class{}, fmt.Errorf("pipeline: unknown class of device %q, want one of %s", name, strings.Join(names, ", "))
}

// Seconds returns about how long a chunk of Cost macs takes. network says that the model is no stack of Linear and ReLU.
func (c Class) Seconds(macs float64, network bool) float64 {
	rate := c.Stack
	if network {
		rate = c.Network
	}
	return c.Overhead + macs/rate
}
