package record

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"advsweep/attack"
	"advsweep/internal/plain"
	"advsweep/pipeline"
)

// A Manifest fixes a sweep: runs with equal manifests give equal bytes, wherever they run and
// however often they are interrupted.
type Manifest struct {
	Meta // Device is empty
	// Arithmetic is what else decides of the last bits: "float32", "float32 dense", "3xtf32".
	Arithmetic string          `json:"arithmetic"`
	Layers     string          `json:"layers"` // of the model, by its widths
	Shape      []int           `json:"shape"`  // of an image
	Classes    int             `json:"classes"`
	ClassNames []string        `json:"class_names,omitempty"`
	Attacks    []attack.Attack `json:"attacks"`
	Eps        []float64       `json:"eps"`
	Bounds     string          `json:"bounds"`
	Exact      bool            `json:"exact"`
	Rounded    bool            `json:"rounded"`
	// Certify is the method of certificates; "": there are none.
	Certify string `json:"certify,omitempty"`
	// Mixed says who computed it, if not all of it was computed as Backend and Arithmetic say.
	Mixed []Part `json:"mixed,omitempty"`
	Work  int    `json:"work,omitempty"` // of a chunk: pipeline.Sweep.ChunkWork
}

// JSON is m in the one form that is hashed and compared.
func (m Manifest) JSON() ([]byte, error) {
	m.Device = ""
	return Indented("record: manifest", m)
}

// VersionOf returns the version of advsweep that wrote a manifest, whichever that was. It is empty
// if data says none.
func VersionOf(data []byte) string {
	var head struct {
		Version string `json:"version"`
	}
	_ = json.Unmarshal(data, &head)
	return head.Version
}

// ParseManifest reads what JSON wrote. It returns an error for fields that it does not know, which
// another version may have.
func ParseManifest(data []byte) (*Manifest, error) {
	m := new(Manifest)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fmt.Errorf("record: manifest: %w", err)
	}
	s := m.Sweep()
	if err := attack.ValidateEps(m.Eps); err != nil {
		return nil, fmt.Errorf("record: manifest: %w", err)
	}
	if _, err := attack.ParseBounds(m.Bounds); err != nil {
		return nil, fmt.Errorf("record: manifest: %w", err)
	}
	if err := s.Small(m.Classes); err != nil {
		return nil, fmt.Errorf("record: manifest: %w", err)
	}
	if shown := plain.Line(m.Certify, plain.Name); shown != m.Certify { // it stands in tables and files
		return nil, fmt.Errorf("record: manifest: certificates by %q, want a name of at most %d plain characters", shown, plain.Name)
	}
	for _, a := range s.Attacks {
		if shown := plain.Line(a.Name, plain.Name); shown != a.Name { // it stands in tables and files
			return nil, fmt.Errorf("record: manifest: an attack is called %q, want a name of at most %d plain characters", shown, plain.Name)
		}
		if err := a.Validate(); err != nil {
			return nil, fmt.Errorf("record: manifest: %w", err)
		}
	}
	if len(s.Attacks) == 0 || m.Data.N < 1 || m.Data.N > math.MaxInt32 || m.Data.Offset < 0 || m.Classes < 2 || m.Work < 0 {
		return nil, fmt.Errorf("record: manifest: %d attacks on %d images from %d of %d classes in chunks of %d", len(s.Attacks), m.Data.N, m.Data.Offset, m.Classes, m.Work)
	}
	return m, nil
}

// Sweep is the sweep that m fixes.
func (m *Manifest) Sweep() pipeline.Sweep {
	bounds, _ := attack.ParseBounds(m.Bounds) // checked when it was made
	return pipeline.Sweep{Attacks: m.Attacks, Eps: m.Eps, Bounds: bounds, Exact: m.Exact, Rounded: m.Rounded, Certify: m.Certify, ChunkWork: m.Work}
}

// Assemble makes the result of all chunks in log.
func (m *Manifest) Assemble(log pipeline.Log) (*pipeline.Result, error) {
	return m.Sweep().Assemble(m.Data.N, m.Data.Offset, m.Classes, log)
}

// Mixture says of a mixed run who computed how much of it, and is empty for others.
func (m *Manifest) Mixture() string {
	if len(m.Mixed) == 0 {
		return ""
	}
	chunks := map[string]int{}
	for _, p := range m.Mixed {
		chunks[p.String()] += p.To - p.From
	}
	var each []string
	for _, who := range slices.Sorted(maps.Keys(chunks)) {
		each = append(each, fmt.Sprintf("%d chunks by %s", chunks[who], who))
	}
	return fmt.Sprintf("planned for %s %s, and computed by several or others, whose bits may differ: %s.", m.Backend, m.Arithmetic, strings.Join(each, ", "))
}
