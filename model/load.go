package model

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"advsweep/internal/filekind"
	"advsweep/internal/regular"
	"advsweep/internal/survive"
)

// Load returns the model in the regular file at path, whatever its format: see Decode. Directories,
// pipes and devices are errors, since what they hold has no end that is known.
//
// If there is a file with the same name but for an ending .json, and it has a key "layers", it is
// the layer list of a safetensors or NPZ file that holds none itself. The data of an ONNX file may
// lie in other files of its folder. Source.SHA256 covers all of them.
func Load(path string) (*Model, error) { return LoadLayers(path, "") }

// LoadLayers is Load with the path of a layer list, for safetensors and NPZ files.
func LoadLayers(path, layers string) (*Model, error) { return LoadAsking(path, layers, Ask{}) }

// LoadAsking is LoadLayers with what the file may leave open.
func LoadAsking(path, layers string, ask Ask) (*Model, error) {
	m, err := load(path, layers, ask)
	if err == nil {
		m.Source.Output = ask.Output
	}
	if err != nil {
		return nil, fmt.Errorf("model: %s: %w", path, regular.Cause(err))
	}
	return m, nil
}

func load(path, layers string, ask Ask) (*Model, error) {
	m, err := read(path, layers, ask)
	if dir, ok := besideOf(path); ok {
		return dir.tell(m, err)
	}
	return m, err
}

// read reads the files of a model.
func read(path, layers string, ask Ask) (*Model, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, ofFolder(path)
	}
	f, size, err := regular.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := decoder{name: filepath.Base(path), r: f, size: size, sum: newSum(sha256.New()), open: inFolder(filepath.Dir(path)), ask: ask}
	if layers != "" {
		if d.list, err = readSmall(layers); err != nil {
			return nil, fmt.Errorf("layer list %s: %w", layers, regular.Cause(err))
		}
		d.listName, d.insist = layers, true
		return d.decode()
	}
	beside := strings.TrimSuffix(path, filepath.Ext(path)) + ".json"
	switch d.list, err = readSmall(beside); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("layer list %s: %w", beside, regular.Cause(err))
	case !isLayerList(d.list): // such as what a training said of itself
		d.list = nil
	}
	d.listName = filepath.Base(beside)
	return d.decode()
}

// maxListSize bounds a layer list, in bytes: a hundred thousand layers.
const maxListSize = 16 << 20

func readSmall(path string) ([]byte, error) { return regular.Read(path, maxListSize) }

// Decode returns the model in data, the bytes of a safetensors, NPZ or ONNX file, told by how they
// begin and by the ending of name (.onnx, .npz), which also is for messages and the model's Source.
// Numbers of 16 bits become Float32, all others stay as they are, and one of 64 bits makes the
// whole model Float64. Numbers that are not finite, and files that break their format in any way,
// are errors that begin with "model: " and name. The memory that is taken is bounded by the size of
// data, which the result does not share.
//
// An ONNX file is read only by a program that imports advsweep/model/onnx, where it says what is
// read; so a program that reads none links no protobuf.
//
// # Names alone
//
// Tensors NAME.weight [out, in] and, unless a layer has no bias, NAME.bias [out] are an MLP of
// Linear layers with a ReLU between each two, as PyTorch saves it. A missing bias becomes zeros.
// Layers whose names differ in numbers alone follow each other by those (net.2 before net.10), and
// such groups as their shapes chain, the outputs of one being the inputs of the next. If there is
// no such order, or more than one, the error lists the layers.
//
// # A layer list
//
// Other networks come with a JSON text that lists their layers, in the metadata of a safetensors
// file under the key "advsweep.layers", as Encode writes it, or in a file of its own, which see
// Load. README.md describes it.
//
// Formats: huggingface.co/docs/safetensors, "Format"; numpy.org, "numpy.lib.format".
func Decode(name string, data []byte) (*Model, error) {
	d := decoder{name: name, r: bytes.NewReader(data), size: int64(len(data)), sum: newSum(sha256.New())}
	m, err := d.decode()
	if err != nil {
		return nil, fmt.Errorf("model: %s: %w", name, err)
	}
	return m, nil
}

// leaves says which package reads files of an ending that this package does not read.
var leaves = map[string]string{".onnx": "advsweep/model/onnx"}

// A decoder is a file of a model and what goes with it.
type decoder struct {
	name string
	r    interface {
		io.Reader
		io.ReaderAt
	}
	size int64
	sum  *sum
	// open opens a file in the folder of the model and returns its size. nil: there are no others.
	open     func(location string) (*os.File, int64, error)
	list     []byte // a layer list from outside; nil: none
	listName string
	insist   bool // the list was named by the user
	ask      Ask
	inside   bool // the list is from the file itself
}

// decode returns the model in the file, or an error. Every reader runs within it: a panic of one is
// an error that tells of a bug.
func (d *decoder) decode() (m *Model, err error) {
	err = survive.Do(func() (err error) {
		defer d.sum.Close()
		m, err = d.decodeAny()
		return err
	})
	return m, err
}

func (d *decoder) decodeAny() (*Model, error) {
	start := make([]byte, 9)
	n, err := d.r.ReadAt(start, 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	start = start[:n]
	memory, err := d.ask.memory()
	if err != nil {
		return nil, err
	}
	var m *Model
	ext := filepath.Ext(d.name)
	switch f := formatOf(d.name, start); {
	case f != nil:
		if d.insist {
			return nil, fmt.Errorf("layer list %s: a file of format %s needs none", d.listName, f.name)
		}
		d.list = nil
		if m, err = f.decode(File{Reader: d.r, Size: d.size, Sum: d.sum, Open: d.open, Ask: d.ask, Memory: memory}); err == nil {
			err = m.validate()
		}
	case leaves[ext] != "":
		return nil, fmt.Errorf("no reader of %s files is in this program: import _ %q", ext, leaves[ext])
	case ext == ".npz" || bytes.HasPrefix(start, []byte("PK\x03\x04")):
		m, err = d.npz()
	default:
		m, err = d.safetensors()
	}
	if !d.inside {
		d.sum.Write(d.list)
	}
	if err != nil {
		return nil, d.explain(start, err, formatOf(d.name, start) != nil)
	}
	if err := m.fits(memory); err != nil {
		return nil, err
	}
	if mlp := m.asMLP(); mlp != nil && mlp.validate() == nil {
		m = mlp
	}
	m.Source = Source{Name: d.name, SHA256: hex.EncodeToString(d.sum.Sum(nil))}
	return m, nil
}

// explain returns err, of a file that begins with start, or what the file is where it is of a kind
// that is not read. registered: the reader of a registered format said err, and may read text.
func (d *decoder) explain(start []byte, err error, registered bool) error {
	if beginsSafetensors(start, d.size) || errors.As(err, new(*kindError)) {
		return err
	}
	k, ok := filekind.Of(d.r, d.size)
	switch {
	case !ok || k.Model == "":
		return err
	case registered && k.IsText():
		return fmt.Errorf("%w; it is %s", err, k.Name)
	}
	return notModel(k)
}

// notModel is the error for a file of a kind that is not read.
func notModel(k filekind.Kind) error { return &kindError{k} }

// A kindError says that a file is of a kind that is not read.
type kindError struct{ kind filekind.Kind }

func (e *kindError) Error() string {
	return fmt.Sprintf("%s, want ONNX, safetensors or NPZ: %s", e.kind.Name, e.kind.Model)
}

// beginsSafetensors reports whether a file of size bytes that begins so is safetensors, whatever
// else its first bytes look like: the length of a header, and the header.
func beginsSafetensors(start []byte, size int64) bool {
	return len(start) > 8 && start[8] == '{' && binary.LittleEndian.Uint64(start) <= min(maxHeader, uint64(size-8))
}

// inFolder returns what opens regular files in dir. Links may not lead out of it.
func inFolder(dir string) func(location string) (*os.File, int64, error) {
	return func(location string) (*os.File, int64, error) {
		root, err := regular.OpenRoot(dir)
		if err != nil {
			return nil, 0, err
		}
		defer root.Close()
		return regular.OpenIn(root, location)
	}
}
