package record

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestBuildOf(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef01234567"
	for _, c := range []struct {
		name     string
		settings []debug.BuildSetting
		want     string
	}{
		{"no checkout", []debug.BuildSetting{{Key: "GOOS", Value: "linux"}}, UnknownBuild},
		{"clean", []debug.BuildSetting{{Key: "vcs.revision", Value: id}, {Key: "vcs.modified", Value: "false"}}, "0123456789ab"},
		{"dirty", []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: id}}, "0123456789ab+dirty"},
		{"short", []debug.BuildSetting{{Key: "vcs.revision", Value: "01"}}, "01"},
		{"dirty, but of what", []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}}, UnknownBuild},
	} {
		if got := buildOf(c.settings); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// TestBuildGiven builds a program with the option that the Makefile gives, which names a variable
// of this package: were the variable renamed, the linker would take no notice.
func TestBuildGiven(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command here")
	}
	out, err := exec.Command("go", "list", "-m").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	main := filepath.Join(dir, "main.go")
	const source = "package main\n\nimport \"advsweep/record\"\n\nfunc main() { print(record.Build()) }\n"
	if err := os.WriteFile(main, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "abcabcabcabc+dirty"
	run := exec.Command("go", "run", "-ldflags", "-X "+strings.TrimSpace(string(out))+"/record.commit="+want, main)
	if got, err := run.CombinedOutput(); err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}
