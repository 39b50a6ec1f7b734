//go:build unix

package main

import (
	"bytes"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestIdleConnections lets serve have few open files, and opens hundreds of connections to its page
// and to its server that say nothing. The study is done all the same.
func TestIdleConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("takes ten seconds")
	}
	dir := planned(t, smallStudy(t, 1))
	page, address := freePort(t), freePort(t)
	plain := process(t, "serve", dir, "--listen", address, "--http", page)
	serve := exec.Command("sh", append([]string{"-c", `ulimit -n 400 && exec "$0" "$@"`}, plain.Args...)...)
	serve.Env = plain.Env
	var stderr bytes.Buffer
	serve.Stderr = &stderr
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve.Wait() }()
	defer func() { _ = serve.Process.Kill() }()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for _, to := range []string{page, address} {
		for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if c, err := net.Dial("tcp", to); err == nil {
				open = append(open, c)
				break
			}
			if time.Now().After(until) {
				t.Fatalf("nothing listens on %s", to)
			}
		}
		for range 300 { // the kernel holds those that are not accepted, up to a number
			c, err := net.DialTimeout("tcp", to, 100*time.Millisecond)
			if err != nil {
				break
			}
			open = append(open, c)
		}
	}
	if len(open) < 200 {
		t.Fatalf("%d connections, want hundreds", len(open))
	}
	work := process(t, "work", "nats://"+address, "--credentials", filepath.Join(dir, "worker.nk"), "--threads", "1", "--quiet", "--cache", t.TempDir())
	if out, err := work.CombinedOutput(); err != nil {
		t.Errorf("work: %v\n%s", err, out)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(time.Minute):
		_ = serve.Process.Kill()
		t.Error("serve does not end")
		<-ended
	}
	if strings.Contains(stderr.String(), "too many open files") || !regexp.MustCompile(`workers: advsweep work nats://\S+ --credentials \S+worker\.nk`).Match(stderr.Bytes()) {
		t.Errorf("serve says: %s", stderr.String())
	}
}
