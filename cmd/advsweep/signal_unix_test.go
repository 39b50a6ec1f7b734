//go:build unix

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHangUp ends a sweep as a terminal does that goes away: the chunk in hand is finished, however
// often the signal comes. With nohup the sweep goes on.
func TestHangUp(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	args := manyChunks(t)
	for _, c := range []struct {
		name    string
		signals []syscall.Signal
		nohup   bool
	}{
		{"once", []syscall.Signal{syscall.SIGHUP}, false},
		{"thrice", []syscall.Signal{syscall.SIGHUP, syscall.SIGHUP, syscall.SIGHUP}, false},
		{"terminated", []syscall.Signal{syscall.SIGTERM}, false},
		{"nohup", []syscall.Signal{syscall.SIGHUP}, true},
	} {
		// signalled starts a sweep, tells it once it has begun, and returns how it ends.
		signalled := func(t *testing.T, stderr *bytes.Buffer) error {
			dir := t.TempDir()
			p := process(t, append(slices.Clone(args), "--out", dir)...)
			if c.nohup {
				shell, err := exec.LookPath("sh")
				if err != nil {
					t.Skip(err)
				}
				p.Path, p.Args = shell, append([]string{"sh", "-c", `trap "" HUP; exec "$0" "$@"`}, p.Args...)
			}
			p.Stderr = stderr
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			for {
				if info, err := os.Stat(filepath.Join(dir, "chunks.log")); err == nil && info.Size() > 1_000 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			for _, s := range c.signals {
				if err := p.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
				time.Sleep(time.Millisecond)
			}
			return p.Wait()
		}
		t.Run(c.name, func(t *testing.T) {
			if !c.nohup && slices.Contains(c.signals, syscall.SIGHUP) && signal.Ignored(syscall.SIGHUP) {
				t.Skip("nohup started the tests, and what they start goes on too")
			}
			var stderr bytes.Buffer
			err := signalled(t, &stderr)
			// A busy machine may let a sweep end before this process is awake to tell it.
			for tries := 1; err == nil && !c.nohup && tries < 10; tries++ {
				stderr.Reset()
				err = signalled(t, &stderr)
			}
			if c.nohup {
				if err != nil {
					t.Errorf("%v, want it to go on: %s", err, stderr.String())
				}
				return
			}
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.ExitCode() != exitError || !strings.Contains(stderr.String(), "the same command goes on") {
				t.Errorf("%v, %q, want exit code %d and how it goes on", err, stderr.String(), exitError)
			}
		})
	}
}
