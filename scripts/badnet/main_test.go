package main

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// through starts an echo behind l and returns a connection to it.
func through(t *testing.T, l *link) net.Conn {
	t.Helper()
	echo, in := listen(t), listen(t)
	go func() {
		for {
			c, err := echo.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	go l.serve(in, echo.Addr().String())
	c, err := net.Dial("tcp", in.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestCarry wants every byte back in order, no sooner than twice the delay, and packets lost.
func TestCarry(t *testing.T) {
	l := &link{delay: 30 * time.Millisecond, loss: 0.2}
	c := through(t, l)
	sent := make([]byte, 100_000)
	_, _ = rand.Read(sent)
	start := time.Now()
	go func() { _, _ = c.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes came back")
	}
	if took := time.Since(start); took < 2*l.delay {
		t.Errorf("it took %v, want 60ms at least", took)
	}
	if l.lost.Load() == 0 || l.lost.Load() >= l.passed.Load() {
		t.Errorf("%s, want some lost and not all", l.counts())
	}
}

// TestHold wants nothing to pass while the file is there, and all of it afterwards.
func TestHold(t *testing.T) {
	l := &link{hold: filepath.Join(t.TempDir(), "hold")}
	c := through(t, l)
	b := make([]byte, 5)
	pass := func() error {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		_, err := io.ReadFull(c, b)
		return err
	}
	if _, err := c.Write([]byte("first")); err != nil || pass() != nil {
		t.Fatalf("nothing passes: %v", err)
	}
	if err := os.WriteFile(l.hold, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("later")); err != nil {
		t.Fatal(err)
	}
	if pass() == nil {
		t.Error("bytes passed while the file was there")
	}
	if err := os.Remove(l.hold); err != nil {
		t.Fatal(err)
	}
	if err := pass(); err != nil || string(b) != "later" {
		t.Errorf("got %q, %v, want what was held", b, err)
	}
}

// TestCut wants a connection to break.
func TestCut(t *testing.T) {
	l := &link{cut: 50 * time.Millisecond}
	c := through(t, l)
	if _, err := io.Copy(io.Discard, c); err == nil {
		t.Error("the connection ended as if it had been closed, want a reset")
	}
	if l.broken.Load() != 1 {
		t.Errorf("%s, want one broken", l.counts())
	}
}
