package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"advsweep/model"
	"advsweep/study"
)

// bad is a name that writes to a terminal, and turns round what comes behind it.
const bad = "\x1b[31mred\u202e\u200b"

// isPlain fails the test if s holds what no terminal should get.
func isPlain(t *testing.T, what, s string) {
	t.Helper()
	for i, r := range s {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r)) {
			t.Errorf("%s: %U at byte %d of %q", what, r, i, s[max(0, i-40):min(len(s), i+40)])
			return
		}
	}
	if len(s) > 100_000 && !strings.HasPrefix(s, "<!") {
		t.Errorf("%s: %d bytes", what, len(s))
	}
}

// TestForeignNames gives a model and a folder names that a terminal would obey, and has each verb
// that shows them show them.
func TestForeignNames(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, bad+".safetensors")
	m, err := model.Default()
	if err != nil {
		t.Fatal(err)
	}
	data, err := m.Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Skip("no such names here:", err)
	}
	out := filepath.Join(dir, "out"+bad)
	args := []string{"--model", path, "--backend", "cpu", "--n", "20"}
	for _, c := range []struct {
		args []string
		code int
	}{
		{append([]string{"sweep", "--eps", "0,0.1", "--out", out}, args...), exitDone},
		{append([]string{"sweep", "--eps", "0,0.1", "--out", out, "--shard", "1/2", "--seed", "2"}, args...), exitDone},
		{append([]string{"sweep", "--eps", "0,0.1", "--out", out}, args...), exitDone},
		{[]string{"resume", out}, exitDone},
		{[]string{"merge", out, "--out", filepath.Join(dir, "merged"+bad)}, exitDone},
		{[]string{"report", out, "--model", path}, exitDone},
		{[]string{"compare", out, filepath.Join(dir, "merged"+bad), "--out", filepath.Join(dir, "compared")}, exitDone},
		{append([]string{"check", "--min-accuracy", "0.1@0.05"}, args...), exitDone},
		{append([]string{"attack", "--class", "7", "--out", filepath.Join(dir, "attack"), "--n"}, args...), exitUsage},
		{[]string{"sweep", "--model", path + ".none"}, exitError},
		{[]string{"sweep", "--model", out}, exitError},
		{[]string{"sweep", "--attack", bad}, exitUsage},
		{[]string{bad}, exitUsage},
		{[]string{"report", dir}, exitError},
		{[]string{"plan", path}, exitError},
	} {
		code, stdout, stderr := advsweep(t, c.args...)
		if code != c.code {
			t.Errorf("%q: exit code %d, want %d: %s", c.args, code, c.code, stderr)
		}
		isPlain(t, c.args[0]+" on standard output", stdout)
		isPlain(t, c.args[0]+" on standard error", stderr)
	}
	isPlain(t, "the page", string(read(t, out, "report.html")))
	if note := string(read(t, out, "manifest.json")); !strings.Contains(note, `\u001b[31mred`) {
		t.Error("the manifest does not hold the name as it is")
	}
}

// TestForeignStatus shows a study in whose folder someone else wrote.
func TestForeignStatus(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "study")
	do(t, "plan", smallStudy(t, 1), "--out", dir, "-q")
	folder, err := study.Open(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	s := folder.Shards[0]
	for name, v := range map[string]any{
		"workers/w.json": study.WorkerState{Name: "w", Device: bad, Shard: 0, Updated: time.Now(), Since: time.Now()},
		"failed/" + s.ID + ".json": study.Failure{Shard: 0, Run: bad + "\nrun", ID: s.ID, Worker: bad, Attempts: 1,
			Message: "first\x9b line\n" + bad + strings.Repeat("x", 1<<19)},
	} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	stdout := do(t, "status", dir)
	isPlain(t, "status", stdout)
	if len(stdout) > 5000 || !strings.Contains(stdout, "[31mred") || !strings.Contains(stdout, "…") {
		t.Errorf("status: %d bytes: %.3000s", len(stdout), stdout)
	}
	code, stdout, stderr := advsweep(t, "merge", dir)
	if code != exitError || len(stderr) > 40_000 {
		t.Errorf("merge: exit code %d, %d bytes", code, len(stderr))
	}
	isPlain(t, "merge", stdout+stderr)
}

// TestScreen writes messages to what a terminal stands behind.
func TestScreen(t *testing.T) {
	var b strings.Builder
	long := strings.Repeat("a line that the program means\n", 100)
	for _, s := range []string{"one\n\ttwo\n", bad + "\n", long} {
		if n, err := (screen{&b}).Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("%d, %v, want %d", n, err, len(s))
		}
	}
	if want := "one\n\ttwo\n\ufffd[31mred\ufffd\ufffd\n" + long; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
	if f, ok := fileOf(screen{os.Stderr}); !ok || f != os.Stderr {
		t.Error("the file behind a screen is not found, so no bar would be shown")
	}
	if _, ok := fileOf(&b); ok {
		t.Error("what is no file is taken for one")
	}
}
