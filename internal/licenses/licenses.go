// Package licenses holds what others have made that a build of advsweep contains, and under which
// licences it may be given away: the modules that are linked on any platform, with CUDA or without,
// Go itself, and the data inside. Licences want their texts to travel with the program, so
// the texts are embedded.
//
// table.json, texts and THIRD_PARTY_LICENSES at the top of the project are made by 'make licenses'.
package licenses

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

//go:generate go run -modfile=../../tools/go.mod gen.go

// A Part is something that others made.
type Part struct {
	Name    string `json:"name"`              // a module's path, or words
	Version string `json:"version,omitempty"` // of a module; other parts have none
	// About says of a part that is no module what it is and who made it.
	About    string `json:"about,omitempty"`
	Licenses string `json:"licenses"` // an expression of SPDX: "BSD-3-Clause AND OFL-1.1"
	Files    []File `json:"files"`    // the texts that its makers want along; none if About has all
}

// A File is a text that came with a part.
type File struct {
	Name string `json:"name"` // in the part: "LICENSE"
	Text string `json:"text"` // its name in Table.Texts: equal texts are kept once
}

// A Table is all parts, and their texts by name.
type Table struct {
	Parts []Part
	Texts map[string]string
}

//go:embed table.json
var parts []byte

//go:embed texts
var texts embed.FS

// Read returns the table of this build's source.
func Read() (*Table, error) {
	t := &Table{Texts: map[string]string{}}
	d := json.NewDecoder(bytes.NewReader(parts))
	d.DisallowUnknownFields()
	if err := d.Decode(&t.Parts); err != nil {
		return nil, fmt.Errorf("licenses: table.json: %w", err)
	}
	for _, p := range t.Parts {
		for _, f := range p.Files {
			data, err := texts.ReadFile("texts/" + f.Text)
			if err != nil {
				return nil, fmt.Errorf("licenses: %s: %s: %w", p.Name, f.Name, err)
			}
			t.Texts[f.Text] = string(data)
		}
	}
	return t, nil
}

// List writes the parts, a line each: name, version and licences.
func (t *Table) List(w io.Writer) error {
	name, version := 0, 0
	for _, p := range t.Parts {
		name, version = max(name, len(p.Name)), max(version, len(p.Version))
	}
	for _, p := range t.Parts {
		if _, err := fmt.Fprintf(w, "%-*s  %-*s  %s\n", name, p.Name, version, p.Version, p.Licenses); err != nil {
			return err
		}
	}
	return nil
}

// Full writes the parts, what is to be said of them, and every text once, behind the parts that it
// came with.
func (t *Table) Full(w io.Writer) error {
	var b strings.Builder
	b.WriteString("advsweep contains the work of others, under these licences. No build has all of it: some\n" +
		"modules are only in builds with CUDA, or on one system.\n\n")
	if err := t.List(&b); err != nil {
		return err
	}
	var order []string
	with := map[string][]string{}
	for _, p := range t.Parts {
		if p.About != "" {
			fmt.Fprintf(&b, "\n%s: %s\n", p.Name, p.About)
		}
		for _, f := range p.Files {
			if with[f.Text] == nil {
				order = append(order, f.Text)
			}
			with[f.Text] = append(with[f.Text], fmt.Sprintf("%s: %s", strings.TrimSpace(p.Name+" "+p.Version), f.Name))
		}
	}
	for _, text := range order {
		b.WriteString("\n" + strings.Repeat("=", 80) + "\n" + strings.Join(with[text], "\n") + "\n" + strings.Repeat("-", 80) + "\n\n")
		b.WriteString(strings.TrimRight(t.Texts[text], "\n") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Sort puts parts in the order of a table: modules by path, then what is none.
func Sort(all []Part) {
	rank := func(p Part) int {
		if p.Version == "" {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(all, func(a, b Part) int { return cmp.Or(rank(a)-rank(b), strings.Compare(a.Name, b.Name)) })
}
