package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	const lines = `{"kind":"log-cuts","by":"TestCut/one","tried":3,"failed":0}
{"kind":"log-cuts","by":"TestCut/two","tried":4,"failed":1}
`
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	const page = "before\n" + begin + "\nold\n" + end + "\nafter\n"
	var out bytes.Buffer
	if err := run([]string{path, "abc"}, strings.NewReader(page), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n" + begin + "\n| tried", "| 7 | 1 |", "| TestCut |", "not tried here", "commit abc", end + "\nafter\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "\nold\n") {
		t.Error("the old table is still there")
	}
	var again bytes.Buffer
	if err := run([]string{path, "abc"}, &out, &again); err != nil || strings.Count(again.String(), begin) != 1 {
		t.Errorf("made again: %v, %q", err, again.String())
	}
	if err := run([]string{path, "abc"}, strings.NewReader("no marks"), &out); err == nil {
		t.Error("a page without marks: no error")
	}
	if err := os.WriteFile(path, []byte(`{"kind":"tea","tried":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{path, "abc"}, strings.NewReader(page), &out); err == nil || !strings.Contains(err.Error(), `"tea"`) {
		t.Errorf("an unknown kind: %v", err)
	}
}
