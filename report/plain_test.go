package report

import (
	"fmt"
	"strings"
	"testing"
	"unicode"
)

// TestPlainPages gives a model, images, classes and notes names that reorder text or that a terminal
// obeys, and wants none of them in the pages and tables.
func TestPlainPages(t *testing.T) {
	const bad = "\x1b[31mred\u202e\u200b\u009b\n"
	p := page(swept(0, 0.1, 0.2), bad+strings.Repeat("long", 1000))
	p.Manifest.Layers, p.Manifest.Arithmetic, p.Manifest.Backend, p.Manifest.Model.Output = bad, bad, bad, bad
	p.Run = fmt.Appendf(nil, `{"version": %q, "backend": "\u001b", "device": "\u202e", "notes": ["\u009b\u202e"]}`, "1")
	id, err := p.Manifest.JSON()
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]func() ([]byte, error){
		"page":  p.HTML,
		"study": Study{Name: bad, Runs: []StudyRun{{Name: "a" + bad, Manifest: p.Manifest, Result: p.Result}, {Name: "b" + bad, Manifest: p.Manifest, Result: p.Result}}}.HTML,
	}
	for what, make := range texts {
		data, err := make()
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range string(data) {
			if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
				t.Errorf("%s: %U at byte %d: %q", what, r, i, data[max(0, i-60):i+10])
				break
			}
		}
		if !strings.Contains(string(data), "\ufffd[31mred\ufffd") {
			t.Errorf("%s: the name is not there at all", what)
		}
		if strings.Contains(string(data), strings.Repeat("long", 100)) {
			t.Errorf("%s: a name is shown whole", what)
		}
	}
	if after, err := p.Manifest.JSON(); err != nil || string(after) != string(id) {
		t.Errorf("the manifest itself was changed: %v", err)
	}
}
