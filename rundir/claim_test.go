package rundir_test

import (
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"advsweep/internal/chunklog"
	"advsweep/rundir"
)

// TestClaims reads runs whose manifests claim more images than their logs have room for. What is
// claimed must take no memory.
func TestClaims(t *testing.T) {
	r := prepare()
	defer r.backend.Close()
	for _, c := range []struct {
		name   string
		images int
		chunks int // of no bytes in the log
		want   string
	}{
		{"nothing is there", math.MaxInt32, 0, "0 of 4294968 chunks"},
		{"a chunk is there", math.MaxInt32, 1, "1 of 4294968 chunks"},
		{"empty chunks", 50_000, 100, "chunks of 0 bytes in all, want at least"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := r.manifest
			m.Data.N = c.images
			data, err := m.JSON()
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			log, err := chunklog.Open(dir, data, int(r.sweep.Chunks(c.images)))
			if err != nil {
				t.Fatal(err)
			}
			for i := range c.chunks {
				if err := log.Append(i, nil); err != nil {
					t.Fatal(err)
				}
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			for what, f := range map[string]func() error{
				"Read":    func() error { _, _, err := rundir.Read(dir); return err },
				"Merge":   func() error { _, _, err := rundir.Merge(t.TempDir(), dir); return err },
				"Compare": func() error { _, err := rundir.Compare(dir, dir); return err },
			} {
				was := allocated()
				err := f()
				if took := allocated() - was; took > 32<<20 {
					t.Errorf("%s takes %d bytes", what, took)
				}
				if what == "Merge" && c.chunks < 100 { // which says which chunks are missing
					if err == nil || !strings.Contains(err.Error(), "in none of") {
						t.Errorf("Merge: %v", err)
					}
					continue
				}
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s: %v, want %q", what, err, c.want)
				}
				if unfinished := errors.As(err, new(*rundir.UnfinishedError)); unfinished != (c.chunks < 100) {
					t.Errorf("%s: %T", what, err)
				}
			}
		})
	}
}

// allocated is how many bytes were ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}
