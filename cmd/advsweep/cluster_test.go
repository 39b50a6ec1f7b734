package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"advsweep/internal/counts"
	"advsweep/internal/testsize"
	"advsweep/study"
)

// freePort is an address of this machine that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestCluster serves a study to three workers, processes all, and kills one of the four, as kill -9
// does, at random moments, the server as well as a worker; what was killed is started again. The
// merged files are those of sweeps on their own, and every shard counts once. It takes over a
// minute, so only the long form runs it.
func TestCluster(t *testing.T) {
	if !testsize.Long() {
		t.Skip("starts some 30 processes for more than a minute: ADVSWEEP_LONG is not set")
	}
	const seeds = 8
	file := smallStudy(t, seeds)
	want := solo(t, file, seeds)
	dir := planned(t, file)
	address, cache := freePort(t), t.TempDir()
	key := filepath.Join(t.TempDir(), "worker.nk")
	command := func(i int) *exec.Cmd {
		if i == 0 {
			return process(t, "serve", dir, "--listen", address, "--http", "none", "--credentials", key, "--ack-wait", "2s", "--attempts", "50", "--quiet")
		}
		return process(t, "work", "nats://"+address, "--credentials", key, "--cache", cache, "--threads", "1", "--quiet", "--name", fmt.Sprint("w", i))
	}
	type ended struct {
		i   int
		err error
	}
	ends := make(chan ended)
	running, stderr := make([]*exec.Cmd, 4), make([]*bytes.Buffer, 4)
	start := func(i int) {
		running[i], stderr[i] = command(i), new(bytes.Buffer)
		c := running[i]
		c.Stderr = stderr[i]
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { ends <- ended{i, c.Wait()} }()
	}
	start(0)
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) { // the key
		if _, err := os.Stat(key); err == nil {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("serve makes no key: %s", stderr[0])
		}
	}
	for i := 1; i < 4; i++ {
		start(i)
	}
	r := rand.New(rand.NewPCG(8, 9))
	deadline := time.After(4 * time.Minute)
	killed := make([]int, 4)
	counted := counts.Start(t, "cluster-kills")
	live := 4
	for served := false; live > 0; {
		kill := time.After(time.Duration(200+r.IntN(800)) * time.Millisecond)
		select {
		case e := <-ends:
			live--
			running[e.i] = nil
			if e.err == nil {
				served = served || e.i == 0
				continue
			}
			var exit *exec.ExitError
			if !errors.As(e.err, &exit) || exit.ExitCode() != -1 {
				t.Fatalf("process %d: %v\n%s", e.i, e.err, stderr[e.i])
			}
			if !served {
				live++
				start(e.i)
			}
		case <-kill:
			i := r.IntN(4)
			if total := killed[0] + killed[1] + killed[2] + killed[3]; served || total >= 20 || running[i] == nil {
				continue
			}
			if err := running[i].Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			killed[i]++
			counted.Add(1)
		case <-deadline:
			for _, c := range running {
				if c != nil {
					_ = c.Process.Kill()
				}
			}
			t.Fatalf("not done after four minutes; killed %v; serve said: %s", killed, stderr[0])
		}
	}
	t.Logf("killed the server %d times, the workers %v", killed[0], killed[1:])
	if workers := killed[1] + killed[2] + killed[3]; killed[0] < 2 || workers < 4 {
		t.Errorf("killed the server %d times and workers %d times, want 2 and 4 at least: the study is too small for this machine", killed[0], workers)
	}
	sameStudy(t, dir, want)
	folder, err := study.Open(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	results, err := filepath.Glob(filepath.Join(dir, "shards", "*", "[0-9a-f]*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(folder.Shards) {
		t.Errorf("%d results of %d shards", len(results), len(folder.Shards))
	}
}

// TestCredential comes to a server with the wrong credential, and with none.
func TestCredential(t *testing.T) {
	dir := planned(t, smallStudy(t, 2))
	address := freePort(t)
	key := filepath.Join(t.TempDir(), "worker.nk")
	c := process(t, "serve", dir, "--listen", address, "--http", "none", "--credentials", key, "--quiet")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	}()
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			break
		}
		if time.Now().After(until) {
			t.Fatal("the server does not come")
		}
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	if err := os.WriteFile(wrong, []byte("someone:guess\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"work", "nats://" + address, "--credentials", wrong},
		{"work", "nats://" + address},
		{"work", "nats://someone:guess@" + address},
	} {
		if stderr := fails(t, exitError, args...); !strings.Contains(stderr, "credential") || strings.Contains(stderr, "guess") {
			t.Errorf("advsweep %s: %s", strings.Join(args[:1], " "), stderr)
		}
	}
	if stderr := fails(t, exitUsage, "serve", planned(t, smallStudy(t, 2)), "--http", "0.0.0.0:0"); !strings.Contains(stderr, "loopback") {
		t.Errorf("a page for all: %s", stderr)
	}
}
