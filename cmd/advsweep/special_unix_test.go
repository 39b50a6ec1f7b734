//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSpecialFiles puts pipes, devices, folders and links that lead out in the place of each file of
// a run's folder. A verb that needs the file says so at once; no verb waits, and none touches what
// lies outside.
func TestSpecialFiles(t *testing.T) {
	args := []string{"sweep", "--backend", "cpu", "--n", "20", "--eps", "0,0.1", "--attack", "fgsm,noise", "--quiet", "--out"}
	run, other, outside := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "outside")
	do(t, append(args, run)...)
	do(t, append(args, other)...)
	do(t, "report", run, "--quiet")
	const secret = "{\"a\": 1}\n"

	verbs := map[string]func(dir string) []string{
		"sweep":  func(dir string) []string { return append(args, dir) },
		"resume": func(dir string) []string { return []string{"resume", dir} },
		"merge":  func(dir string) []string { return []string{"merge", dir, "--out", filepath.Join(t.TempDir(), "new")} },
		"into":   func(dir string) []string { return []string{"merge", other, "--out", dir} },
		"report": func(dir string) []string { return []string{"report", dir} },
		"compare": func(dir string) []string {
			return []string{"compare", dir, other, "--out", filepath.Join(t.TempDir(), "new")}
		},
		"check": func(dir string) []string {
			return []string{"check", "--backend", "cpu", "--n", "20", "--model", filepath.Join(dir, "manifest.json")}
		},
	}
	// The verbs that need a file, so that they fail.
	needed := map[string]string{
		"manifest.json":  "sweep resume merge into report compare check",
		"chunks.log":     "sweep resume merge into report compare",
		".chunks.lock":   "sweep resume into",
		".advsweep.json": "sweep resume into report",
		"command.json":   "resume",
		"run.json":       "report sweep resume",
		"curve.csv":      "sweep resume into",
		"report.html":    "report",
	}
	kinds := map[string]func(path string) error{
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o666) },
		"device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o777) },
		"link":   func(path string) error { return os.Symlink(outside, path) },
	}
	for name, failing := range needed {
		for kind, put := range kinds {
			if testing.Short() && kind != "pipe" && kind != "link" {
				continue
			}
			for verb, line := range verbs {
				if verb == "check" && name != "manifest.json" {
					continue
				}
				t.Run(name+" "+kind+" "+verb, func(t *testing.T) {
					dir := filepath.Join(t.TempDir(), "run")
					if err := os.CopyFS(dir, os.DirFS(run)); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(outside, []byte(secret), 0o666); err != nil {
						t.Fatal(err)
					}
					path := filepath.Join(dir, name)
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
					if err := put(path); err != nil {
						t.Skip(err)
					}
					type result struct {
						code   int
						stderr string
					}
					done := make(chan result, 1)
					go func() {
						code, _, stderr := advsweep(t, line(dir)...)
						done <- result{code, stderr}
					}()
					select {
					case r := <-done:
						if fails := strings.Contains(" "+failing+" ", " "+verb+" "); fails && r.code != exitError || r.code != exitDone && !strings.Contains(r.stderr, name) {
							t.Errorf("exit code %d, fails: %v: %s", r.code, fails, r.stderr)
						}
					case <-time.After(30 * time.Second):
						t.Fatal("it waits")
					}
					if data, err := os.ReadFile(outside); string(data) != secret || err != nil {
						t.Errorf("what lies outside of the folder is now %q, %v", data, err)
					}
				})
			}
		}
	}
	for verb, line := range verbs { // the folder itself
		pipe := filepath.Join(t.TempDir(), "pipe")
		if err := syscall.Mkfifo(pipe, 0o666); err != nil {
			t.Skip(err)
		}
		done := make(chan int, 1)
		go func() {
			code, _, _ := advsweep(t, line(pipe)...)
			done <- code
		}()
		select {
		case code := <-done:
			if code == exitDone {
				t.Errorf("%s of a pipe is done", verb)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s of a pipe waits", verb)
		}
	}
}
