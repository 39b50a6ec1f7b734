package cluster

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"advsweep/internal/counts"
	"advsweep/internal/testsize"
	"advsweep/record"
	"advsweep/study"
)

// TestLoad sends many shards that take no time through the server, to 8 workers in this process,
// or as many as ADVSWEEP_LOAD_WORKERS says, and tells what each costs. It runs where ADVSWEEP_LOAD
// says how many, as 'make bench-shards' does: its numbers are times, which a test must not judge.
func TestLoad(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("ADVSWEEP_LOAD"))
	if err != nil || n < 1 {
		t.Skip("ADVSWEEP_LOAD is not the number of shards")
	}
	workers := 8
	if w, err := strconv.Atoi(os.Getenv("ADVSWEEP_LOAD_WORKERS")); err == nil && w > 0 {
		workers = w
	}
	counts.Start(t, "load-shards").Add(n)
	counts.Start(t, "load-workers").Add(workers)
	const perRun = 5 // chunks of newStudy
	f := newStudy(t, (n+perRun-1)/perRun)
	total := len(f.Shards)
	if total < n {
		t.Fatalf("%d shards, want %d", total, n)
	}
	truth := inProcess(t, newStudy(t, 1)) // some 2.5 kB a shard; those of all runs are of one form
	arithmetic := record.Arithmetic{Backend: "cpu", Precision: "float32", MathMode: "float32", Fingerprint: "load"}
	var mu sync.Mutex
	began := map[int]time.Time{}
	var latencies []float64 // ms from a worker's having a shard to its result's being on the disk
	arrived := 0
	start := time.Now()
	report := func() {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		fmt.Printf("%6d shards: %6.1f s, %.2f ms a shard, resident %s, heap in use %.0f MB, server's store %.1f MB\n", arrived, time.Since(start).Seconds(),
			time.Since(start).Seconds()*1e3/float64(arrived), resident(), float64(m.HeapAlloc)/1e6, float64(size(filepath.Join(f.Dir, study.StoreName)))/1e6)
	}
	r := serve(t, f, ServeOptions{AckWait: 30 * time.Second, Arrived: func(s study.Shard, _ *study.Result) {
		mu.Lock()
		defer mu.Unlock()
		if arrived++; arrived%(total/10) == 0 {
			report()
		}
		latencies = append(latencies, float64(time.Since(began[s.Index]).Microseconds())/1e3)
	}})
	fmt.Printf("%d shards queued and ready after %.1f s, server's store %.1f MB\n", total, time.Since(start).Seconds(), float64(size(filepath.Join(f.Dir, study.StoreName)))/1e6)
	start = time.Now()
	do := with(func(_ context.Context, s study.Shard) (*study.Result, error) {
		mu.Lock()
		began[s.Index] = time.Now()
		mu.Unlock()
		return soundResult(t, f, truth, s, arithmetic), nil
	})
	errs := r.workers(workers, func(i int, o *WorkOptions) {
		do(i, o)
		prepare(o, arithmetic)
	})
	select { // longer than end waits
	case err := <-r.err:
		if err != nil {
			t.Fatalf("%v\n%s", err, r.log)
		}
	case <-time.After(20 * time.Minute):
		t.Fatalf("not done\n%s", r.log)
	}
	wait(t, errs, workers, r.log)
	if err := f.Missing(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(latencies)
	fmt.Printf("from a worker's having a shard to its result on the disk: median %.2f ms, 99 %% within %.2f ms; %d results of %d shards, each once; %s %s/%s\n",
		latencies[len(latencies)/2], latencies[len(latencies)*99/100], len(latencies), total, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if len(latencies) != total {
		t.Errorf("%d results arrived, want %d", len(latencies), total)
	}
}

// resident is the memory of this process, server and workers together.
func resident() string {
	data, err := os.ReadFile("/proc/self/status")
	if err == nil {
		for line := range strings.Lines(string(data)) {
			if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				return strings.TrimSpace(v)
			}
		}
	}
	return "not known"
}

func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			if info, err := d.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil
	})
	return n
}

// TestManyWorkers has 200 workers at once, in this process, on a study of tiny shards: the server's
// limits refuse none, and each ends without an error.
func TestManyWorkers(t *testing.T) {
	if !testsize.Long() {
		t.Skip("takes a minute: ADVSWEEP_LONG is not set")
	}
	const workers = 200
	truth := inProcess(t, newStudy(t, 1))
	f := newStudy(t, 100) // 500 shards
	arithmetic := record.Arithmetic{Backend: "cpu", Precision: "float32", MathMode: "float32", Fingerprint: "load"}
	start := time.Now()
	var first time.Time
	r := serve(t, f, ServeOptions{AckWait: 5 * time.Second, Arrived: func(study.Shard, *study.Result) {
		if first.IsZero() { // one call at a time
			first = time.Now()
		}
	}})
	t.Logf("%d shards queued after %v", len(f.Shards), time.Since(start))
	do := with(func(_ context.Context, s study.Shard) (*study.Result, error) {
		return soundResult(t, f, truth, s, arithmetic), nil
	})
	cache := t.TempDir()
	start = time.Now()
	errs := r.workers(workers, func(i int, o *WorkOptions) {
		do(i, o)
		prepare(o, arithmetic)
		// All of them read the plan at once, on one machine.
		o.Cache, o.FirstPatience = cache, time.Minute
	})
	select {
	case err := <-r.err:
		if err != nil {
			t.Fatalf("%v\n%s", err, r.log)
		}
	case <-time.After(5 * time.Minute):
		t.Fatalf("not done\n%s", r.log)
	}
	t.Logf("%d workers: the first result after %v, all %d after %v more, resident %s", workers, first.Sub(start), len(f.Shards), time.Since(first), resident())
	wait(t, errs, workers, r.log)
	if err := f.Missing(); err != nil {
		t.Fatal(err)
	}
	// as the server says it
	if text := r.log.String(); strings.Contains(text, "maximum") || strings.Contains(text, "iolation") {

		t.Errorf("the server refused something:\n%s", text)
	}
}
