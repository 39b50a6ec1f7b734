package licenses

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func table(t *testing.T) *Table {
	t.Helper()
	found, err := Read()
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// goTool runs the go command, which asks no network for modules that a build has used.
func goTool(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command to list modules with")
	}
	c := exec.Command("go", args...)
	c.Env = append(append(os.Environ(), "GOPROXY=off"), env...)
	out, err := c.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go %s: %v: %s", strings.Join(args, " "), err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

// missing returns the modules of linked, "path version" each, that the table does not have.
func missing(t *Table, linked map[string]bool) (lacks []string) {
	for _, p := range t.Parts {
		delete(linked, p.Name+" "+p.Version)
	}
	for m := range linked {
		lacks = append(lacks, m)
	}
	return lacks
}

// TestLinked wants every module that the program links here, with CUDA and without, in the table,
// in that version.
func TestLinked(t *testing.T) {
	for _, b := range []struct{ name, tags, cgo string }{{"plain", "", "0"}, {"cuda", "cuda", "1"}} {
		out := goTool(t, []string{"CGO_ENABLED=" + b.cgo}, "list", "-deps", "-tags", b.tags,
			"-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "../../cmd/advsweep")
		linked := map[string]bool{}
		for line := range strings.Lines(string(out)) {
			if m := strings.TrimSpace(line); m != "" {
				linked[m] = true
			}
		}
		if len(linked) < 20 {
			t.Fatalf("%s: go list names %d modules, want more than 20", b.name, len(linked))
		}
		if lacks := missing(table(t), linked); len(lacks) > 0 {
			t.Errorf("%s: %q are linked and not in the table: run 'make licenses'", b.name, lacks)
		}
	}
	if got := missing(table(t), map[string]bool{"example.com/m v1.0.0": true}); len(got) != 1 {
		t.Errorf("a module that is not in the table: got %q, want it named", got)
	}
}

// TestRequired wants of every module in the table the version that go.mod has, also of those that
// only builds for other systems link.
func TestRequired(t *testing.T) {
	var mod struct {
		Require []struct{ Path, Version string }
	}
	if err := json.Unmarshal(goTool(t, nil, "mod", "edit", "-json", "../../go.mod"), &mod); err != nil {
		t.Fatal(err)
	}
	required := map[string]string{}
	for _, r := range mod.Require {
		required[r.Path] = r.Version
	}
	modules := 0
	for _, p := range table(t).Parts {
		if p.Version == "" {
			continue
		}
		modules++
		if required[p.Name] != p.Version {
			t.Errorf("%s: %s in the table, %q in go.mod: run 'make licenses'", p.Name, p.Version, required[p.Name])
		}
	}
	if modules < 40 {
		t.Errorf("%d modules in the table, want 40 at least", modules)
	}
}

// TestTexts wants every text under the hash that names it, none that no part has, a licence and a
// text of every module, and THIRD_PARTY_LICENSES to be what the table gives.
func TestTexts(t *testing.T) {
	found := table(t)
	for _, p := range found.Parts {
		switch {
		case p.Licenses == "":
			t.Errorf("%s: no licence", p.Name)
		case p.Version != "" && len(p.Files) == 0:
			t.Errorf("%s: no text", p.Name)
		case p.Version == "" && p.About == "":
			t.Errorf("%s: no module, and nothing that says what it is", p.Name)
		}
	}
	for name, text := range found.Texts {
		sum := sha256.Sum256([]byte(text))
		if want := hex.EncodeToString(sum[:6]) + ".txt"; name != want {
			t.Errorf("texts/%s: its hash gives the name %s", name, want)
		}
	}
	stored, err := fs.ReadDir(texts, "texts")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range stored {
		if _, ok := found.Texts[f.Name()]; !ok {
			t.Errorf("texts/%s: of no part", f.Name())
		}
	}
	var full bytes.Buffer
	if err := found.Full(&full); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("../../THIRD_PARTY_LICENSES")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(full.Bytes(), want) {
		t.Error("THIRD_PARTY_LICENSES is not what the table gives: run 'make licenses'")
	}
}

// failing is a writer that is full.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, fmt.Errorf("full") }

func TestWriteErrors(t *testing.T) {
	if err := table(t).List(failing{}); err == nil {
		t.Error("List into a full writer: no error")
	}
	if err := table(t).Full(failing{}); err == nil {
		t.Error("Full into a full writer: no error")
	}
}
