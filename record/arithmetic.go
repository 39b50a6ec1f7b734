package record

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// An Arithmetic says what computed a result as far as its bits go. Results of equal ones are alike
// to the bit.
type Arithmetic struct {
	Backend   string `json:"backend"`   // its name in package backends
	Precision string `json:"precision"` // "float32", "float64", "tf32"
	// MathMode is what else decides of the last bits: "3xtf32", or the precision where a backend
	// has no modes, "float32", "float32 dense"
	MathMode    string `json:"product"`
	Fingerprint string `json:"fingerprint"` // see pipeline.Fingerprint; empty in a plan
}

func (a Arithmetic) String() string {
	return fmt.Sprintf("%s %s (fingerprint %s)", a.Backend, a.MathMode, a.Fingerprint)
}

// Planned is what m says that it is computed with. It has no fingerprint: any device that computes
// so may do it. The manifest holds it in three fields of their own, as its bytes are hashed.
func (m *Manifest) Planned() Arithmetic {
	return Arithmetic{Backend: m.Backend, Precision: m.Precision, MathMode: m.Arithmetic}
}

// Planned reports whether a is what m says, with whatever fingerprint.
func (a Arithmetic) Planned(m *Manifest) bool {
	a.Fingerprint = ""
	return a == m.Planned()
}

// A Part is consecutive chunks of a run, From to To-1, by who computed them.
type Part struct {
	Arithmetic
	From, To int
}

// partJSON is a Part in a manifest. There the math mode is called arithmetic, as in the
// manifest itself.
type partJSON struct {
	Backend   string `json:"backend"`
	Precision string `json:"precision"`
	MathMode  string `json:"arithmetic"`
	// Fingerprint is of the bits that it computes; see pipeline.Fingerprint.
	Fingerprint string `json:"fingerprint"`
	From        int    `json:"from"`
	To          int    `json:"to"`
}

// MarshalJSON writes p as a manifest holds it.
func (p Part) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // as Indented
	err := enc.Encode(partJSON{p.Backend, p.Precision, p.MathMode, p.Fingerprint, p.From, p.To})
	return b.Bytes(), err
}

// UnmarshalJSON reads what MarshalJSON wrote. A field that it does not know is an error, as in
// ParseManifest.
func (p *Part) UnmarshalJSON(data []byte) error {
	var v partJSON
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return err
	}
	*p = Part{Arithmetic{v.Backend, v.Precision, v.MathMode, v.Fingerprint}, v.From, v.To}
	return nil
}

func (p Part) String() string {
	return fmt.Sprintf("%s %s with fingerprint %s", p.Backend, p.MathMode, p.Fingerprint)
}
