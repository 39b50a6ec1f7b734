// Package record says what fixes a run and who computed it: the manifest, what a result file says
// of its run, and the arithmetic behind its bits. It shows nothing and links no plots, so a worker
// can import it. The names and the order of its JSON fields are hashed into ids, so they stay as
// they are.
package record

import (
	"bytes"
	"encoding/json"
	"fmt"

	"advsweep/backend"
)

// Version is that of advsweep. Result files carry it. It changes whenever the form of a record or
// the cut of a plan does: a program reads runs and studies of its own version only.
const Version = "0.2.0"

// Meta is what a result file says of its run beyond the result itself, so that
// the run can be repeated. The caller fills all of it.
type Meta struct {
	Version   string `json:"version"` // of advsweep
	Model     Model  `json:"model"`
	Data      Data   `json:"data"`
	Seed      uint64 `json:"seed"`
	Backend   string `json:"backend"`          // its name in package backends
	Device    string `json:"device,omitempty"` // which one of the backend's
	Precision string `json:"precision"`        // "float32", "float64", "tf32"
	Math      string `json:"math,omitempty"`   // of the backend, where it is not the default: "fast"
}

// Computed says how m was computed, for people: "float32", "float32 in fast math".
func (m *Meta) Computed() string {
	if m.Math == "" {
		return m.Precision
	}
	return m.Precision + " in " + m.Math + " math"
}

// A Source is something read, by its name and the hash of its bytes in hex.
type Source struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
}

// A Model is the model that was read, and what was asked of its reading: model.Source has both.
type Model struct {
	Source
	Pixels     string `json:"pixels,omitempty"`     // that it takes, as "0,255"; "" as they are
	Activation string `json:"activation,omitempty"` // that it was given; "" as the file has it
	Output     string `json:"output,omitempty"`     // that was named; "" the only one
}

// Data says which images were used: N of them from index Offset on.
type Data struct {
	Images Source `json:"images"`
	Labels Source `json:"labels"`
	Offset int    `json:"offset"`
	N      int    `json:"n"`
	SHA256 string `json:"sha256"` // of those images and labels alone
}

// Seconds is the wall time of what a run does.
type Seconds struct {
	Load    float64 `json:"load"`
	Compute float64 `json:"compute"` // the sweep or the attack alone, with what goes into the log
	Write   float64 `json:"write"`   // drawing and encoding
}

// RunJSON says of a run what may differ between two that give the same results: which build ran,
// where, how long it took, and what it spent by parts. All of that is of one process: a run that was stopped
// and went on says what the last one did.
//
// spent is nil where the backend does not count. Multiply-adds and parts are left out then. notes
// are those of the model: what its reading left out or took for granted.
func RunJSON(m Meta, threads int, s Seconds, spent *backend.Spent, notes ...string) ([]byte, error) {
	run := struct {
		Version      string         `json:"version"`
		Build        string         `json:"build"` // of this program: see Build
		Backend      string         `json:"backend"`
		Device       string         `json:"device"`
		Math         string         `json:"math,omitempty"` // as in Meta
		Threads      int            `json:"threads"`
		Seconds      Seconds        `json:"seconds"`
		MultiplyAdds *uint64        `json:"multiply_adds,omitempty"` // of all parts
		Parts        *backend.Spent `json:"parts,omitempty"`
		Notes        []string       `json:"notes,omitempty"`
	}{m.Version, Build(), m.Backend, m.Device, m.Math, threads, s, nil, spent, notes}
	if spent != nil {
		all := spent.MultiplyAdds()
		run.MultiplyAdds = &all
	}
	return Indented("record: run", run)
}

// Indented is v as JSON, two spaces a level, with a line feed at the end. Every file that holds a
// record has this form, and manifests are compared by their bytes. what says in an error
// whose it is and what: "report: curve".
func Indented(what string, v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // file names stay as they are
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%s as JSON: %w", what, err)
	}
	return b.Bytes(), nil
}
