package main

import (
	"io"
	"os"

	"advsweep/internal/plain"
)

// A screen is where messages go. It makes each of them plain: names and messages of others are in
// them. One that writes to a terminal what a terminal obeys, such as a progress bar, asks for its
// file.
type screen struct{ w io.Writer }

// Write writes one message of any number of lines.
func (s screen) Write(message []byte) (int, error) {
	if _, err := io.WriteString(s.w, plain.Text(string(message), plain.Error)); err != nil {
		return 0, err
	}
	return len(message), nil
}

// fileOf returns the file that w writes to, if it is one.
func fileOf(w io.Writer) (*os.File, bool) {
	if s, ok := w.(screen); ok {
		w = s.w
	}
	f, ok := w.(*os.File)
	return f, ok
}

// cell is text of others in a line or a table.
func cell(s string) string { return plain.Line(s, plain.Name) }
