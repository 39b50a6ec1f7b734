package model

import (
	"os"
	"strings"
	"testing"
)

// README.md names every type of layer, and its example of a layer list can be
// read.
func TestREADME(t *testing.T) {
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	words := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" ,;|`.:\n", r) })
	has := make(map[string]bool)
	for _, w := range words {
		has[w] = true
	}
	for name, row := range kinds {
		for _, w := range append(row.fields, name) {
			if !has[w] {
				t.Errorf("%s is not in README.md", w)
			}
		}
	}
	_, list, _ := strings.Cut(text, "```json\n")
	list, _, _ = strings.Cut(list, "```")
	input, layers, err := parseList([]byte(list))
	if err != nil || len(input) != 3 || len(layers) != 9 {
		t.Errorf("the example is %d layers of %v, %v", len(layers), input, err)
	}
}
