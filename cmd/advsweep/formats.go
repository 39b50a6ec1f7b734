package main

import (
	"fmt"
	"strings"

	"advsweep/dataset"
	"advsweep/internal/words"

	// Formats of models that package model does not read by itself.
	_ "advsweep/model/onnx"

	"github.com/spf13/cobra"
)

// The kinds of formats that package dataset has.
const (
	folders = iota
	files
	pairs
	pictures
)

// formatKinds are their titles.
var formatKinds = [...]string{
	folders:  "Folders (--data)",
	files:    "Files that hold images and labels (--data)",
	pairs:    "Arrays, one a file (--images, --labels)",
	pictures: "Pictures in folders",
}

func formatsOf(kind int) []dataset.Format {
	var all [len(formatKinds)][]dataset.Format
	all[folders], all[files], all[pairs], all[pictures] = dataset.Formats()
	return all[kind]
}

// formatNames lists the names of a kind: "NPZ, .tar.gz or CSV of pixels".
func formatNames(kind int) string {
	var names []string
	for _, f := range formatsOf(kind) {
		names = append(names, f.Name)
	}
	return words.Or(names)
}

func newFormats() *cobra.Command {
	return &cobra.Command{
		Use:   "formats",
		Short: "List what images are read from",
		Long:  "List the files and folders that images and labels are read from.",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(c.OutOrStdout(), formatsText())
			return err
		},
	}
}

// formatsText is the list for a terminal.
func formatsText() string {
	var b strings.Builder
	for kind, title := range formatKinds {
		if kind > 0 {
			b.WriteString("\n")
		}
		b.WriteString(title + "\n")
		for _, f := range formatsOf(kind) {
			fmt.Fprintf(&b, "  %s: %s\n", f.Name, f.Files)
			b.WriteString(wrapped(f.Holds, 92, "      "))
		}
	}
	return b.String()
}

// wrapped breaks text into lines of up to width letters behind indent.
func wrapped(text string, width int, indent string) string {
	var b strings.Builder
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > width {
			b.WriteString(indent + line + "\n")
			line = ""
		}
		line = strings.TrimSpace(line + " " + word)
	}
	b.WriteString(indent + line + "\n")
	return b.String()
}

// formatsTable is the list for README.
func formatsTable() string {
	var b strings.Builder
	for kind, title := range formatKinds {
		if kind > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "| %s | called | what is read |\n|---|---|---|\n", title)
		for _, f := range formatsOf(kind) {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", f.Name, f.Files, f.Holds)
		}
	}
	return b.String()
}
