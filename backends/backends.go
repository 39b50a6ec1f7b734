// Package backends lists what computes, by name: an Entry holds all that a program has to know of a
// backend. A backend is added by a file with its entry, and by its line in All.
package backends

import (
	"cmp"
	"fmt"
	"slices"

	"advsweep/gpu"
	"advsweep/internal/words"
	"advsweep/model"
	"advsweep/pipeline"
)

// ErrUnavailable is wrapped by an error of Devices, Pick and Open where no device can be used: the
// error says why.
var ErrUnavailable = gpu.ErrUnavailable

// An Entry is a backend.
type Entry struct {
	Name       string   // in records and for users: "cuda"
	Title      string   // in a sentence: "CUDA", "the CPU"
	Precisions []string // the default first
	// MathModes are those that a study may choose at the default precision, none if there is no
	// choice.
	MathModes []string
	// Maths are the values of Spec.Math, the default first. Who has none computes as the default
	// says.
	Maths []string
	// Planned returns the arithmetic that a study is planned for, mathMode being the study's choice
	// or "". Where it is nil, the arithmetic is what Open says.
	Planned func(precision, mathMode string) string
	Class   string // of pipeline.DeviceClasses, that a study is cut for unless it names one
	Exact   bool   // follows rays, for the exact curve: see pipeline.AsExacter
	// has devices of its own, chosen by number, each for a worker; a scheduler must be asked for
	// one
	Accelerator bool
	Built       bool // is in this build
	// Auto is the rank among the backends that are taken where none is named: the highest that works
	// is. At 0 the backend is taken only by its name. No two have the same rank.
	Auto int
	// Help is what the help of 'advsweep devices' says of the backend's devices, or "".
	Help string

	// Devices lists the devices, one where they have no numbers.
	Devices func() ([]Device, error)
	// Pick returns the devices of a list as in "0,1", or of "all". It returns a *DeviceError where
	// the list is wrong.
	Pick func(list string) ([]Device, error)
	// Open opens the backend for m. It returns also the arithmetic, which decides of the last bits
	// of results: see record.Manifest. It returns a *DeviceError for a wrong list of devices, and a
	// *PrecisionError if the environment forces another precision.
	Open func(m *model.Model, s Spec) (b pipeline.Backend, arithmetic string, err error)
}

// A Spec says how to open a backend.
type Spec struct {
	Precision string
	MathMode  string // of MathModes, taken where the device has it; "": the device's own
	Math      string // one of Maths; "" is the default
	Devices   string // as Pick takes it; of an accelerator only
	Threads   int    // of the CPU; 0 is one for each processor
	// Shared says that the weights of the model stay as they are while the backend is used, which
	// may then read them where they lie and keep no copy.
	Shared bool
}

// A Device is a device of a backend. Its JSON is what 'advsweep devices' prints.
type Device struct {
	Backend   string `json:"backend"`
	Available bool   `json:"available"`
	Default   bool   `json:"default"` // what is used where no backend is named
	Device    string `json:"device"`  // as in the result files
	Note      string `json:"note"`
	Worker    string `json:"-"` // its name as a worker of a study: "cuda:0 NVIDIA H100"
	List      string `json:"-"` // it alone, for Spec.Devices

	// Of an accelerator's device only.
	Index      *int   `json:"index,omitempty"`
	Name       string `json:"name,omitempty"`
	Capability string `json:"compute_capability,omitempty"` // "9.0"
	Memory     int64  `json:"memory_bytes,omitempty"`       // in all
	// the newest CUDA that the driver supports: "13.0"
	Driver string `json:"driver_cuda,omitempty"`
	Image  string `json:"image,omitempty"` // the kernels for it: "sm_80"
	// The math mode of float32, and all: see gpu.MathModes. Their JSON has older names.
	MathMode  string   `json:"product,omitempty"`
	MathModes []string `json:"products,omitempty"`
}

// A DeviceError says that a list of devices is wrong.
type DeviceError struct{ Err error }

func (e *DeviceError) Error() string { return e.Err.Error() }
func (e *DeviceError) Unwrap() error { return e.Err }

// A PrecisionError says that the environment forces another precision than is wanted: no one gets
// fewer digits than he asks for.
type PrecisionError struct {
	From      string // the setting: "NAME=value"
	Got, Want string
}

func (e *PrecisionError) Error() string {
	return fmt.Sprintf("%s in the environment forces precision %s, but the precision is %s: unset it", e.From, e.Got, e.Want)
}

// All lists the backends, in the order in which they are shown.
func All() []Entry { return []Entry{cpuEntry(), cudaEntry()} }

// Auto lists the backends that are taken where none is named, in the order in which they are tried.
// The last works on every machine.
func Auto() []Entry { return ranked(All()) }

func ranked(all []Entry) []Entry {
	list := slices.DeleteFunc(slices.Clone(all), func(e Entry) bool { return e.Auto == 0 })
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(b.Auto, a.Auto) })
	return list
}

// Always returns the backend that works on every machine.
func Always() Entry {
	list := Auto()
	return list[len(list)-1]
}

// Names lists the names of All.
func Names() []string { return names(All(), func(e Entry) string { return e.Name }) }

// Lookup returns the backend of that name. Its error lists the names that there are.
func Lookup(name string) (Entry, error) {
	for _, e := range All() {
		if e.Name == name {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("backend %q, want %s", name, words.Or(Names()))
}

// Precisions lists the precisions of all backends, each once.
func Precisions() (list []string) {
	for _, e := range All() {
		for _, p := range e.Precisions {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}

// Maths lists the values of Spec.Math of all backends, each once, the default first.
func Maths() (list []string) {
	for _, e := range All() {
		for _, m := range e.Maths {
			if !slices.Contains(list, m) {
				list = append(list, m)
			}
		}
	}
	return list
}

// DefaultMath is the value of Spec.Math that every backend has.
func DefaultMath() string { return Maths()[0] }

// Titles says which backends are of a kind: "CUDA", "the CPU and CUDA".
func Titles(is func(Entry) bool) string {
	var some []Entry
	for _, e := range All() {
		if is(e) {
			some = append(some, e)
		}
	}
	return words.And(names(some, func(e Entry) string { return e.Title }))
}

// Has reports whether the backend computes in precision.
func (e Entry) Has(precision string) bool { return slices.Contains(e.Precisions, precision) }

// HasMath reports whether the backend computes as math says. "" is the default.
func (e Entry) HasMath(math string) bool {
	return math == "" || math == DefaultMath() || slices.Contains(e.Maths, math)
}

// CheckMath returns an error that says which backends have math if e does not.
func (e Entry) CheckMath(math string) error {
	if e.HasMath(math) {
		return nil
	}
	if !slices.Contains(Maths(), math) {
		return fmt.Errorf("math %q, want %s", math, words.Or(Maths()))
	}
	return fmt.Errorf("math %s with backend %s: only %s has it", math, e.Name, Titles(func(e Entry) bool { return e.HasMath(math) }))
}

// checkPrecision returns an error that says which backends have precision if e does not.
func (e Entry) checkPrecision(precision string) error {
	if e.Has(precision) {
		return nil
	}
	where := Titles(func(e Entry) bool { return e.Has(precision) })
	if where == "" {
		return fmt.Errorf("precision %q, want %s", precision, words.Or(Precisions()))
	}
	return fmt.Errorf("precision %s is on %s only: %s has %s", precision, where, e.Title, words.And(e.Precisions))
}

func names(entries []Entry, of func(Entry) string) (list []string) {
	for _, e := range entries {
		list = append(list, of(e))
	}
	return list
}
