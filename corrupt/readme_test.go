package corrupt

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestReadmeCorruptions wants README to have the table that is made of Corruptions.
func TestReadmeCorruptions(t *testing.T) {
	var b strings.Builder
	b.WriteString("| corruption | what it does | severities 1 to 5 | source |\n|---|---|---|---|\n")
	for _, c := range Corruptions {
		fmt.Fprintf(&b, "| `%s` | %s | %s %s | %s |\n", c.Name, c.About, c.Meaning, strings.Trim(strings.ReplaceAll(fmt.Sprint(c.Constants), " ", ", "), "[]"), c.Source)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "\n"+b.String()+"\n") {
		t.Errorf("README.md has not this table:\n\n%s", b.String())
	}
}
