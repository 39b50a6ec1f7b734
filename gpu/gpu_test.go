//go:build cuda && linux && cgo

package gpu

import (
	"errors"
	"os"
	"testing"

	"advsweep/internal/backendtest"
	"advsweep/internal/ref"
	"advsweep/model"
)

// need skips t if there is no device. It fails t instead if ADVSWEEP_GPU=require says that there
// must be one.
func need(t testing.TB) []Info {
	t.Helper()
	infos, err := Devices()
	switch {
	case err == nil:
		return infos
	case errors.Is(err, ErrUnavailable) && os.Getenv("ADVSWEEP_GPU") != "require":
		t.Skip(err)
	}
	t.Fatal(err)
	return nil
}

// open returns a backend of m, which is closed at the end of t.
func open(t testing.TB, m *model.Model, o Options) *Backend {
	t.Helper()
	b, err := New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil && !errors.Is(err, errClosed) {
			t.Error(err)
		}
	})
	return b
}

// mathModes are the math modes of the first device.
func mathModes(t testing.TB) []string { return need(t)[0].MathModes }

var roundings = map[string]ref.Rounding{"fp32": ref.Float32, "3xtf32": ref.TF32x3, "tf32": ref.TF32}

// TestBackend runs the suite with every math mode, and with microbatches of one tile.
func TestBackend(t *testing.T) {
	for _, mode := range mathModes(t) {
		for _, microbatch := range []int{0, minMicrobatch} {
			name := mode
			if microbatch > 0 {
				name += "/microbatch"
			}
			t.Run(name, func(t *testing.T) {
				backendtest.Run(t, roundings[mode], func(t *testing.T, m *model.Model) backendtest.Backend {
					b := open(t, m, Options{MathMode: mode})
					if microbatch > 0 {
						b.cards[0].budget.planned = microbatch
					}
					return b
				})
			})
		}
	}
}

// TestNetworks runs the suite of networks with every math mode, and with microbatches of five rows
// of which a convolution takes two at a time.
func TestNetworks(t *testing.T) {
	for _, mode := range mathModes(t) {
		for _, microbatch := range []int{0, 5} {
			name := mode
			if microbatch > 0 && mode != "fp32" {
				continue // microbatches are the same in all math modes
			}
			if microbatch > 0 {
				name += "/microbatch"
			}
			t.Run(name, func(t *testing.T) {
				backendtest.RunNetworks(t, roundings[mode], func(t *testing.T, m *model.Model) backendtest.Backend {
					b := open(t, m, Options{MathMode: mode})
					if microbatch > 0 {
						inPieces(b, microbatch)
					}
					return b
				})
			})
		}
	}
}

// inPieces makes the microbatches of a network so many rows. A convolution takes two of them at a
// time.
func inPieces(b *Backend, microbatch int) {
	for _, p := range b.cards {
		p.budget.planned = microbatch
		for _, n := range p.model.(*network).nodes {
			if c, ok := n.operation.(*conv); ok {
				for _, w := range []pass{c.there, c.back} {
					w.(interface{ take(images int) }).take(2)
				}
			}
		}
	}
}

// take makes p so many images at a time.
func (p *pieces) take(images int) { p.images = images }
