package model

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"sync"

	"advsweep/model/internal/formats"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// EnvMemory names the environment variable that holds the number of bytes of Ask.Memory where that
// is 0.
const EnvMemory = "ADVSWEEP_MODEL_MEMORY"

// A Memory counts the bytes that a network takes for one image beside its weights, as it is read:
// what all its layers give, which a gradient needs at once, and weights that no file holds. A few
// bytes of a file, such as the padding of a convolution, may ask for any number of them. Readers
// count them before they make anything of that size. The zero Memory has no bound.
type Memory struct {
	most  uint64
	from  string // what set most, for people
	taken uint64
}

// A MemoryError says that a network takes more memory than is allowed.
type MemoryError struct {
	Need uint64 // bytes, up to where reading ended
	Most uint64
	From string // what Most is: "a quarter of this machine's memory"
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("one image takes %d bytes up to here, want at most %d, %s: %s=BYTES allows more", e.Need, e.Most, e.From, EnvMemory)
}

// memory returns the bound that a asks for, that of EnvMemory, or a quarter of the memory of the
// machine or of its container: there are batches of images, and a gradient for each number.
func (a Ask) memory() (Memory, error) {
	if a.Memory > 0 {
		return Memory{most: a.Memory, from: "as was asked for"}, nil
	}
	if text := os.Getenv(EnvMemory); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			return Memory{}, fmt.Errorf("%s is %s, want a number of bytes, as in 4294967296", EnvMemory, formats.Quote(text))
		}
		return Memory{most: n, from: "as " + EnvMemory + " says"}, nil
	}
	return machineMemory(), nil
}

// machineMemory is a quarter of the machine's memory.
var machineMemory = sync.OnceValue(func() Memory {
	all := uint64(math.MaxUint64)
	for _, ask := range []func() (uint64, error){memlimit.FromCgroup, memlimit.FromSystem} {
		if n, err := ask(); err == nil && n > 0 { // an error: there is no such bound
			all = min(all, n)
		}
	}
	if all == math.MaxUint64 {
		return Memory{most: 4 << 30, from: "as the machine's memory is not known"}
	}
	return Memory{most: all / 4, from: "a quarter of this machine's memory"}
})

// Take counts n numbers of a width in bytes. The error is a *MemoryError if they are too many.
func (m *Memory) Take(n, width int) error {
	if m.most == 0 {
		return nil
	}
	// Shapes and widths are bounded far below an overflow, and what is taken by most.
	if m.taken += uint64(n) * uint64(width); m.taken > m.most {
		return &MemoryError{m.taken, m.most, m.from}
	}
	return nil
}

// fits returns an error that names the layer at which m takes more memory than is allowed.
func (m *Model) fits(memory Memory) error {
	shapes, err := m.Shapes()
	if err != nil {
		return err
	}
	width := 4
	if m.Dtype() == "float64" {
		width = 8
	}
	for i, s := range shapes {
		if err := memory.Take(formats.Volume(s), width); err != nil {
			return fmt.Errorf("layer %s: %w", m.layerName(i), err)
		}
	}
	return nil
}
