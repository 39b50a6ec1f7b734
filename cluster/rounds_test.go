package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"advsweep/internal/testsize"
	"advsweep/pipeline"
	"advsweep/study"

	"github.com/nats-io/nats.go"
)

// TestFaults breaks the store of a server in the middle of a study, in one way after the other. The
// server starts again with a new one, workers find it there, and the results are what they are.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(ctx context.Context, n names, c *connection) error
	}{
		{"given up, as on a full disk", func(_ context.Context, _ names, c *connection) error { return c.server.DisableJetStream() }},
		{"no consumer of shards", func(ctx context.Context, n names, c *connection) error {
			return c.js.DeleteConsumer(ctx, n.shardsStream(), workersName)
		}},
		{"no consumer of results", func(ctx context.Context, n names, c *connection) error {
			return c.js.DeleteConsumer(ctx, n.resultsStream(), coordinatorName)
		}},
		{"no shards", func(ctx context.Context, n names, c *connection) error {
			return c.js.DeleteStream(ctx, n.shardsStream())
		}},
		{"no results", func(ctx context.Context, n names, c *connection) error {
			return c.js.DeleteStream(ctx, n.resultsStream())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newStudy(t, 1)
			want := inProcess(t, f)
			id, err := f.Plan.ID()
			if err != nil {
				t.Fatal(err)
			}
			r := serve(t, f, ServeOptions{look: 300 * time.Millisecond})
			broken := make(chan struct{})
			var once sync.Once
			errs := r.workers(2, with(func(ctx context.Context, s study.Shard) (*study.Result, error) {
				once.Do(func() {
					// A machine that is busy may look broken, and then the round is another one.
					conn := r.conn.Load()
					for tries := 0; conn.nc.IsClosed() && tries < 100; tries++ {
						time.Sleep(100 * time.Millisecond)
						conn = r.conn.Load()
					}
					err := c.fault(ctx, names{id}, conn)
					// The round may end before it hears the answer. A second fault would break the next one.
					if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
						t.Error(err)
					}
					close(broken)
				})
				<-broken
				return nil, nil
			}))
			if err := r.end(); err != nil {
				t.Fatalf("%v\n%s", err, r.log)
			}
			wait(t, errs, 2, r.log)
			same(t, f, want)
			if !strings.Contains(r.log.String(), "a new store") {
				t.Errorf("serve does not say that the store was made anew:\n%s", r.log)
			}
		})
	}
}

// TestDamagedByte ends a server in the middle of a study, alters one byte of a file of its store
// or cuts the file, and serves the study again: it is done, whatever was damaged.
func TestDamagedByte(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	r := serve(t, f, ServeOptions{})
	errs := r.workers(1, with(func(ctx context.Context, s study.Shard) (*study.Result, error) {
		if s.Index == 2 { // some are done, one is in hand, others wait
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, nil
	}))
	for len(doneOf(t, f)) == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(300 * time.Millisecond) // until the server has written what it has
	r.kill()
	_, _ = r.end(), <-errs
	store := filepath.Join(f.Dir, study.StoreName)
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.CopyFS(kept, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}
	results := filepath.Join(t.TempDir(), "results")
	if err := os.CopyFS(results, os.DirFS(filepath.Join(f.Dir, "shards"))); err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, pattern := range []string{"obs/*/*.dat", "obs/*/meta.*", "msgs/*.blk", "msgs/index.db", "meta.*"} {
		found, err := filepath.Glob(filepath.Join(kept, "jetstream", studyAccount, "streams", "*", filepath.FromSlash(pattern)))
		if err != nil || len(found) == 0 {
			t.Fatalf("no files %s: %v", pattern, err)
		}
		files = append(files, found...)
	}
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		flips, cuts := 1, []int64{info.Size() / 2}
		if strings.HasSuffix(path, "o.dat") {
			flips = testsize.Of(1, 2, 4)
		}
		if !testsize.Long() && !strings.HasSuffix(path, filepath.Join(workersName, "o.dat")) {
			continue
		}
		flips = min(flips, int(info.Size()))
		for k := range flips + len(cuts) {
			name, err := filepath.Rel(kept, path)
			if err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			what := ""
			if k < flips {
				at := (2*k + 1) * len(data) / (2 * flips)
				data[at] ^= 0xff
				what = fmt.Sprintf("%s, byte %d of %d", name, at, len(data))
			} else {
				n := min(len(data), int(cuts[k-flips]))
				what = fmt.Sprintf("%s, %d bytes of %d", name, n, len(data))
				data = data[:n]
			}
			// Else serve waits for a worker that it heard of before.
			if err := os.RemoveAll(filepath.Join(f.Dir, "workers")); err != nil {
				t.Fatal(err)
			}
			for dir, from := range map[string]string{store: kept, filepath.Join(f.Dir, "shards"): results} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
				if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(store, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			r := serve(t, f, ServeOptions{look: 100 * time.Millisecond})
			errs := r.workers(1, func(_ int, o *WorkOptions) { o.FirstPatience = time.Minute })
			if err := r.end(); err != nil {
				t.Fatalf("%s: %v\n%s", what, err, r.log)
			}
			wait(t, errs, 1, r.log)
			same(t, f, want)
			t.Logf("%s: %v: %s", what, time.Since(begin).Round(10*time.Millisecond), r.log)
		}
	}
}

func doneOf(t *testing.T, f *study.Folder) (done []int) {
	t.Helper()
	all, err := f.Done()
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range all {
		if d {
			done = append(done, i)
		}
	}
	return done
}

// TestNoRoom: a disk that has no room is waited for, and a wait can be stopped.
func TestNoRoom(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone") // nothing can be written there
	log := &lines{t: t}
	stop := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- clear(t.Context(), stop, dir, log.log) }()
	for !strings.Contains(log.String(), "waiting for room on the disk of "+dir) {
		time.Sleep(10 * time.Millisecond)
	}
	close(stop)
	if err := <-ended; !errors.Is(err, pipeline.ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
	dir = t.TempDir()
	if err := clear(t.Context(), nil, dir, log.log); err != nil {
		t.Errorf("with room: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind (%v)", left, err)
	}
}
