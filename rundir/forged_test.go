package rundir_test

import (
	"context"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"advsweep/internal/chunklog"
	"advsweep/internal/testsize"
	"advsweep/report"
	"advsweep/rundir"
)

// TestForged changes values of a run's manifest, and makes a log that fits it, as somebody can who
// means harm. What reads the run and shows it must return, with an error or a result, and take
// memory within bounds.
func TestForged(t *testing.T) {
	r := prepare()
	defer r.backend.Close()
	dir := t.TempDir()
	if _, _, err := rundir.Run(context.Background(), dir, &r.manifest, r.sweep, r.backend, r.set, rundir.Options{}); err != nil {
		t.Fatal(err)
	}
	log, err := chunklog.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	values := []any{0, -1, 1, 2, 3, 10, 1 << 16, 1<<31 - 1, int64(1 << 31), int64(1 << 40), int64(-1 << 62), 1e308, 1e-320, 0.1, "", "none", "0,1", "\x1b[31m", nil, true, []any{}, map[string]any{}, []any{0.0, 1e-300, 1e300}}
	rnd := rand.New(rand.NewPCG(5, 6))
	read := 0
	for range testsize.Of(30, 100, 400) {
		var m map[string]any
		if err := json.Unmarshal(log.Manifest(), &m); err != nil {
			t.Fatal(err)
		}
		changed := ""
		for range 1 + rnd.IntN(2) {
			changed += change(rnd, m, values)
		}
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		forged := t.TempDir()
		to, err := chunklog.Open(forged, data, log.Chunks())
		if err != nil {
			t.Fatal(err)
		}
		for i := range log.Chunks() {
			payload, err := log.Get(i)
			if err != nil {
				t.Fatal(err)
			}
			if err := to.Append(i, payload); err != nil {
				t.Fatal(err)
			}
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		was := allocated()
		if got, res, err := rundir.Read(forged); err == nil {
			read++
			if _, err := report.Files(got, res); err != nil {
				t.Logf("%s: files: %v", changed, err)
			}
			if _, err := (report.Page{Manifest: got, Result: res, Confusion: -1}).HTML(); err != nil {
				t.Logf("%s: page: %v", changed, err)
			}
		}
		if took := allocated() - was; took > 400<<20 {
			t.Errorf("%s takes %d MiB", changed, took>>20)
		}
	}
	if read == 0 {
		t.Error("none was read: the test says too little")
	}
	t.Logf("%d were read", read)
}

// change sets one value somewhere in v, and says which.
func change(r *rand.Rand, v any, values []any) string {
	new := values[r.IntN(len(values))]
	switch v := v.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		if len(keys) == 0 {
			return ""
		}
		k := keys[r.IntN(len(keys))]
		if in := change(r, v[k], values); in != "" {
			return k + "." + in
		}
		v[k] = new
		return k + " "
	case []any:
		if len(v) == 0 {
			return ""
		}
		k := r.IntN(len(v))
		if in := change(r, v[k], values); in != "" {
			return in
		}
		v[k] = new
		return "element "
	}
	return ""
}
