package model

import (
	"fmt"
	"hash"
	"io"
	"os"
)

// A File is what a format's decode reads a model from.
type File struct {
	io.Reader       // from the first byte on
	Size      int64 // in bytes
	// for Source.SHA256: decode writes to it all that it reads, of other files too
	Sum hash.Hash
	// Open opens a file in the folder of the model and returns its size. nil: there are no other
	// files.
	Open   func(location string) (*os.File, int64, error)
	Ask    Ask
	Memory Memory // for what decode makes, see Memory
}

// An Ask is what a file may leave open.
type Ask struct {
	Output string // the output of the network that holds the logits; "": the only one
	Image  []int  // [C, H, W], for a network that takes images of any H and W; nil: not known
	// AsIs asks for the numbers of the file: none is put in another order or scaled on the way in,
	// and nothing is left out behind the logits, as a Softmax at the end is otherwise.
	AsIs bool
	// Memory is how many bytes one image may take in the network, see type Memory. 0: as EnvMemory
	// says, or a quarter of the machine's.
	Memory uint64
}

// A FreeSizeError says that a network takes images of any height and width, and that no Ask said
// which.
type FreeSizeError struct{ Channels int }

func (e *FreeSizeError) Error() string {
	return fmt.Sprintf("it takes images of %d channels and of any height and width: which ones, the images must tell", e.Channels)
}

// A format is a kind of file that holds a whole model, layers and weights.
type format struct {
	name   string
	sniff  func(name string, start []byte) bool
	decode func(File) (*Model, error)
}

// registered are the formats of RegisterFormat, in order of their calls.
var registered []format

// RegisterFormat makes Load and Decode read a format of files that hold layers and weights, such as
// "ONNX". sniff tells by a file's name and by its first 9 bytes, or fewer of a shorter file,
// whether it is of the format. The first format that says yes decodes it. Call it from an init
// function.
func RegisterFormat(name string, sniff func(name string, start []byte) bool, decode func(File) (*Model, error)) {
	registered = append(registered, format{name, sniff, decode})
}

// formatOf returns the registered format of a file, or nil.
func formatOf(name string, start []byte) *format {
	for i := range registered {
		if registered[i].sniff(name, start) {
			return &registered[i]
		}
	}
	return nil
}
