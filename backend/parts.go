package backend

import (
	"encoding/json"
	"fmt"
)

// A Part is a kind of work in a run. Time and arithmetic are told apart by it.
type Part int

// The parts of a run, in the order in which a run first comes to them.
const (
	// CleanPass takes in the clean images and computes what the model says of them.
	CleanPass Part = iota
	// Gradient is the gradients at clean images. All eps of an image share the first one.
	Gradient
	// Walk follows rays for the exact curve. The logits and the gradients at the clean images that
	// it starts from are CleanPass and Gradient. Where a walk is read, what the model is asked
	// besides is Looks, and of rounded pixels Roundings.
	Walk
	// Steps makes rows and moves them. It has the gradients at rows that have moved.
	Steps
	// Looks is what the model says of rows that have moved, with their norms.
	Looks
	// Roundings rounds pixels to 8 bits and computes what the model says then.
	Roundings
	// Writing puts chunks into the log, and draws and encodes files.
	Writing
)

// partNames are the names of all parts. Files have them, so they stay as they are.
var partNames = [...]string{
	CleanPass: "clean_pass", Gradient: "gradient", Walk: "walk", Steps: "steps", Looks: "looks", Roundings: "rounding", Writing: "writing",
}

func (p Part) String() string {
	if p < 0 || int(p) >= len(partNames) {
		return fmt.Sprintf("Part(%d)", int(p))
	}
	return partNames[p]
}

// A Cost is what work took.
type Cost struct {
	// Seconds are wall-clock time. Of parts that run side by side each has its share.
	Seconds float64
	// MultiplyAdds are those of the matrix products that were done. Terms that were left out do not
	// count, nor do the zeros of a row that took part because they are none in another image's row.
	// What is no product does not count: rounding, norms, functions of an element.
	MultiplyAdds uint64
}

// A Spent is what each Part took. A backend that counts says what it spent since it was opened; see
// pipeline.Meter. As JSON it is a list with an object for each part: part, seconds, multiply_adds.
type Spent [len(partNames)]Cost

// Add adds to part p.
func (s *Spent) Add(p Part, seconds float64, multiplyAdds uint64) {
	s[p].Seconds += seconds
	s[p].MultiplyAdds += multiplyAdds
}

// MultiplyAdds returns those of all parts.
func (s *Spent) MultiplyAdds() (n uint64) {
	for _, c := range s {
		n += c.MultiplyAdds
	}
	return n
}

// partJSON is a part of a Spent in a file.
type partJSON struct {
	Part         string  `json:"part"`
	Seconds      float64 `json:"seconds"`
	MultiplyAdds uint64  `json:"multiply_adds"`
}

// MarshalJSON writes every part, also those that took nothing.
func (s Spent) MarshalJSON() ([]byte, error) {
	var list []partJSON
	for p, c := range s {
		list = append(list, partJSON{Part(p).String(), c.Seconds, c.MultiplyAdds})
	}
	return json.Marshal(list)
}

// UnmarshalJSON reads what MarshalJSON wrote. A part that is not there took nothing. A part that it
// does not know is an error that names it.
func (s *Spent) UnmarshalJSON(data []byte) error {
	var list []partJSON
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("backend: parts: %w", err)
	}
	*s = Spent{}
	for _, one := range list {
		p, err := parsePart(one.Part)
		if err != nil {
			return err
		}
		s.Add(p, one.Seconds, one.MultiplyAdds)
	}
	return nil
}

// parsePart returns the part with a name, or an error that names it.
func parsePart(name string) (Part, error) {
	for p, n := range partNames {
		if n == name {
			return Part(p), nil
		}
	}
	return 0, fmt.Errorf("backend: %q is no part of a run, want one of %q", name, partNames)
}
