package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/cpu"
	"advsweep/internal/counts"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
)

const version = "test"

// device is the CPU on one thread.
func device() study.Device {
	return study.Device{Name: "cpu", Backend: "cpu", Open: func(m *model.Model, precision, _ string) (pipeline.Backend, string, error) {
		b, err := cpu.New[float32](m, cpu.Options{Threads: 1})
		if err != nil {
			return nil, "", err
		}
		return b, "float32", nil
	}}
}

func devices(*study.Plan) ([]study.Device, error) { return []study.Device{device()}, nil }

// newStudy makes a study of n runs, one shard for each of their chunks, on a small model.
func newStudy(t testing.TB, runs int) *study.Folder {
	t.Helper()
	dir := t.TempDir()
	data, err := ref.RandomModel(rand.New(rand.NewPCG(1, 2)), 1, 784, 3, 10).Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "small.safetensors"), data, 0o666); err != nil {
		t.Fatal(err)
	}
	var seeds []string
	for i := range runs {
		seeds = append(seeds, fmt.Sprint(i+1))
	}
	text := `attack = "fgsm,bim,noise,uniform,pgd:steps=40:restarts=5"
eps = "0:0.3:0.1"
bounds = "0,1"
seeds = [` + strings.Join(seeds, ", ") + `]
[[model]]
file = "small.safetensors"
[[data]]
n = 30
[shards]
seconds = 0.001
`
	path := filepath.Join(dir, "study.toml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	made, err := study.Make(path, version, device())
	if err != nil {
		t.Fatal(err)
	}
	f, err := study.Create(filepath.Join(dir, "study"), made.Plan, made.Inputs, made.Text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// again is the study of f in a folder of its own, without results.
func again(t testing.TB, f *study.Folder) *study.Folder {
	t.Helper()
	inputs := map[string][]byte{}
	for _, hash := range f.Inputs() {
		data, err := f.Input(hash)
		if err != nil {
			t.Fatal(err)
		}
		inputs[hash] = data
	}
	g, err := study.Create(filepath.Join(t.TempDir(), "study"), f.Plan, inputs, nil)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// inProcess does f on this machine, and returns the results.
func inProcess(t testing.TB, f *study.Folder) [][]byte {
	t.Helper()
	g := again(t, f)
	if err := (study.Job{Folder: g, Shards: g.Shards, Name: "one", Devices: []study.Device{device()}}).Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return results(t, g)
}

// results are those of all shards, as they are in the folder.
func results(t testing.TB, f *study.Folder) [][]byte {
	t.Helper()
	all := make([][]byte, len(f.Shards))
	for i, s := range f.Shards {
		r, err := f.Get(s)
		if err != nil {
			t.Fatal(err)
		}
		r.By, r.Confirmed = study.Author{}, nil // what was found counts, not by whom
		if all[i], err = r.Encode(s.ID); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// signed is the encoded result of s as a worker of that name sends it.
func signed(t testing.TB, f *study.Folder, s study.Shard, encoded []byte, worker string) []byte {
	t.Helper()
	r, err := study.DecodeResult(s, encoded)
	if err != nil {
		t.Fatal(err)
	}
	r.By = study.AuthorOf(worker)
	data, err := r.Encode(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// soundResult is a result of s that its shard can have found, by a: that of the first run for the
// same chunks, from truth, the results of all shards as inProcess returns them.
func soundResult(t testing.TB, f *study.Folder, truth [][]byte, s study.Shard, a record.Arithmetic) *study.Result {
	for i, first := range f.Shards {
		if first.Run == 0 && first.From == s.From && first.To == s.To {
			r, err := study.DecodeResult(first, truth[i])
			if err != nil {
				t.Fatal(err)
			}
			return &study.Result{Arithmetic: a, Chunks: r.Chunks}
		}
	}
	t.Fatalf("no shard of the first run is like shard %d", s.Index)
	return nil
}

func same(t *testing.T, f *study.Folder, want [][]byte) {
	t.Helper()
	for i, got := range results(t, f) {
		if !bytes.Equal(got, want[i]) {
			t.Errorf("shard %d: its result differs from that of the in-process run", i)
		}
	}
	if _, err := os.Stat(filepath.Join(f.Dir, study.StoreName)); err == nil {
		t.Errorf("the server's store is left behind")
	}
}

// A lines keeps what is logged.
type lines struct {
	t  testing.TB
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.b, format+"\n", args...)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testKey is a credential for all tests, so that a worker need not be told where the study is.
func testKey(t testing.TB) string {
	t.Helper()
	path, err := keyOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var keyOnce = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "advsweep-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "worker.nk")
	return path, createCredential(path)
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := keyOnce(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// A running is a coordinator that runs, and its workers.
type running struct {
	t    *testing.T
	url  string // empty if nothing was left to do
	conn atomic.Pointer[connection]
	log  *lines
	ctx  context.Context
	kill context.CancelFunc
	stop chan struct{}
	err  chan error
}

// serve starts a coordinator on a port that is free, unless o says which.
func serve(t *testing.T, f *study.Folder, o ServeOptions) *running {
	t.Helper()
	r := &running{t: t, log: &lines{t: t}, stop: make(chan struct{}), err: make(chan error, 1)}
	r.ctx, r.kill = context.WithCancel(t.Context())
	if o.Listen == "" && o.URL == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.AckWait == 0 {
		o.AckWait = time.Second
	}
	o.Log = r.log.log
	if o.Credentials == "" && o.URL == "" {
		o.Credentials = testKey(t)
	}
	ready := make(chan string, 1)
	// Each round of a server says that it is ready, and only the first is waited for.
	o.Ready = func(url, _ string) {
		select {
		case ready <- url:
		default:
		}
	}
	o.opened = func(c *connection) { r.conn.Store(c) }
	go func() { r.err <- Serve(r.ctx, r.stop, f, o) }()
	t.Cleanup(func() { r.kill() })
	select {
	case r.url = <-ready:
	case err := <-r.err:
		if err != nil {
			t.Fatalf("serve: %v\n%s", err, r.log)
		}
		r.err <- nil // nothing was left to do but what waited on the server
	case <-time.After(time.Minute):
		t.Fatalf("serve: not ready\n%s", r.log)
	}
	return r
}

// end waits for the coordinator.
func (r *running) end() error {
	r.t.Helper()
	select {
	case err := <-r.err:
		return err
	case <-time.After(time.Minute):
		r.t.Fatalf("serve does not end\n%s", r.log)
		return nil
	}
}

// workOptions are those of a worker with a cache of its own.
func workOptions(t testing.TB, l *lines) WorkOptions {
	return WorkOptions{Version: version, Credentials: testKey(t), Cache: t.TempDir(), Devices: devices, Log: l.log, FirstPatience: 5 * time.Second, pace: time.Millisecond}
}

// workers starts n workers, with what change makes of their options, and returns how they end.
func (r *running) workers(n int, change func(i int, o *WorkOptions)) <-chan error {
	errs := make(chan error, n)
	for i := range n {
		o := workOptions(r.t, r.log)
		o.Name = fmt.Sprintf("worker%d", i)
		if change != nil {
			change(i, &o)
		}
		go func() { errs <- Work(r.ctx, nil, r.url, o) }()
	}
	return errs
}

func wait(t *testing.T, errs <-chan error, n int, l fmt.Stringer) {
	t.Helper()
	for range n {
		select {
		case err := <-errs:
			if err != nil {
				t.Errorf("worker: %v", err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("a worker does not end\n%s", l)
		}
	}
}

func TestServe(t *testing.T) {
	f := newStudy(t, 3)
	want := inProcess(t, f)
	arrived := map[int]int{}
	var last Snapshot
	r := serve(t, f, ServeOptions{
		Arrived:  func(s study.Shard, r *study.Result) { arrived[s.Index]++ },
		Progress: func(s Snapshot) { last = s },
	})
	errs := r.workers(3, nil)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 3, r.log)
	same(t, f, want)
	for i := range f.Shards {
		if arrived[i] != 1 {
			t.Errorf("shard %d arrived %d times, want once", i, arrived[i])
		}
	}
	if n := len(f.Shards); last.Done != n || last.Total != n || last.Left != 0 {
		t.Errorf("%+v, want all of %d shards done", last, n)
	}
	states, err := f.Workers()
	if err != nil || len(states) != 3 {
		t.Errorf("%d workers in the folder (%v), want 3", len(states), err)
	}
	t.Logf("%d shards\n%s", len(f.Shards), r.log)
}

// TestStop stops a coordinator and a worker again and again, some 50 times in the long form: each
// time the study goes on where it was.
func TestStop(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server many times")
	}
	f := newStudy(t, testsize.Of(0, 2, 4))
	// Each round lasts so many times as long as the one before, so that a machine that takes
	// seconds to start a server needs few rounds more.
	longer := testsize.Of(0, 2, 1.07)
	lasts := 20 * float64(time.Millisecond)
	want := inProcess(t, f)
	round := 0
	counted := counts.Start(t, "cluster-stops")
	for ; f.Missing() != nil; round++ {
		counted.Add(1)
		r := serve(t, f, ServeOptions{})
		if r.url == "" { // that did it
			continue
		}
		o := workOptions(t, r.log)
		o.Patience = 500 * time.Millisecond
		stop := make(chan struct{})
		worker := make(chan error, 1)
		go func() { worker <- Work(t.Context(), stop, r.url, o) }()
		time.Sleep(time.Duration(lasts))
		lasts *= longer
		if round%2 == 0 {
			close(r.stop)
			err := r.end()
			if !errors.Is(err, pipeline.ErrStopped) && err != nil {
				t.Fatalf("serve: %v\n%s", err, r.log)
			}
			if err2 := <-worker; err != nil && (err2 == nil || !strings.Contains(err2.Error(), "advsweep serve")) {
				t.Fatalf("worker: %v, want what to do\n%s", err2, r.log)
			}
			continue
		}
		close(stop)
		// If the study is not missing anything the server was gone before the worker came.
		if err := <-worker; err != nil && !errors.Is(err, pipeline.ErrStopped) && f.Missing() != nil {
			t.Fatalf("worker: %v", err)
		}
		close(r.stop)
		if err := r.end(); err != nil && !errors.Is(err, pipeline.ErrStopped) {
			t.Fatalf("serve: %v\n%s", err, r.log)
		}
	}
	t.Logf("%d rounds", round)
	if least := testsize.Of(0, 4, 10); round < least {
		t.Errorf("%d rounds, want at least %d: the study is too small for this machine", round, least)
	}
	// This finds all done, and cleans up.
	if err := Serve(t.Context(), nil, f, ServeOptions{Listen: "127.0.0.1:0"}); err != nil {
		t.Fatal(err)
	}
	same(t, f, want)
}

// A fake does shards as its functions say.
type fake struct {
	doer
	do func(ctx context.Context, s study.Shard) (*study.Result, error)
}

func (f *fake) Do(ctx context.Context, stop <-chan struct{}, s study.Shard, progress func(done, total int)) (*study.Result, error) {
	if r, err := f.do(ctx, s); r != nil || err != nil {
		return r, err
	}
	return f.doer.Do(ctx, stop, s, progress)
}

// with makes workers that call do first, and only if it returns nothing do the shard.
func with(do func(ctx context.Context, s study.Shard) (*study.Result, error)) func(int, *WorkOptions) {
	return func(_ int, o *WorkOptions) {
		o.open = func(p *study.Plan, in study.Inputs, d study.Device, mixed bool) doer {
			return &fake{study.NewWorker(p, in, d, mixed), do}
		}
	}
}

// prepared is a doer that is ready at once, and of arithmetic a.
type prepared struct {
	doer
	a record.Arithmetic
}

func (p *prepared) Prepare(int) (record.Arithmetic, error) { return p.a, nil }

// prepare makes the doers of o prepared.
func prepare(o *WorkOptions, a record.Arithmetic) {
	open := o.open
	o.open = func(p *study.Plan, in study.Inputs, d study.Device, mixed bool) doer {
		return &prepared{open(p, in, d, mixed), a}
	}
}

// TestFailures: a shard that fails now and then is done all the same, one that always fails is
// given up and told, and panics are failures.
func TestFailures(t *testing.T) {
	f := newStudy(t, 3)
	want := inProcess(t, f)
	var tries [3]atomic.Int32
	r := serve(t, f, ServeOptions{Attempts: 3})
	errs := r.workers(3, with(func(ctx context.Context, s study.Shard) (*study.Result, error) {
		switch {
		case s.Index == 0 && tries[0].Add(1) < 3:
			return nil, errors.New("no luck")
		case s.Index == 1:
			tries[1].Add(1)
			return nil, errors.New("never")
		case s.Index == 2:
			tries[2].Add(1)
			panic("oh")
		}
		return nil, nil
	}))
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 3, r.log)
	failures, err := f.Failures()
	if err != nil || len(failures) != 2 {
		t.Fatalf("failures %v (%v), want of shards 1 and 2\n%s", failures, err, r.log)
	}
	for i, want := range []string{"never", "oh"} {
		if one := failures[i]; one.Shard != i+1 || one.Attempts != 3 || !strings.Contains(one.Message, want) || one.Worker == "" {
			t.Errorf("%+v, want shard %d, 3 attempts, %q", one, i+1, want)
		}
	}
	for i := range tries {
		if n := tries[i].Load(); n != 3 {
			t.Errorf("shard %d was tried %d times, want 3", i, n)
		}
	}
	// Served again, what failed is tried again.
	r = serve(t, f, ServeOptions{})
	errs = r.workers(1, nil)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 1, r.log)
	same(t, f, want)
}

// TestPoison: a shard whose workers vanish without a word is given up too.
func TestPoison(t *testing.T) {
	f := newStudy(t, 1)
	r := serve(t, f, ServeOptions{Attempts: 2, AckWait: 200 * time.Millisecond})
	var gone atomic.Int32
	for done := false; !done; {
		ctx, kill := context.WithCancel(t.Context())
		o := workOptions(t, r.log)
		with(func(_ context.Context, s study.Shard) (*study.Result, error) {
			if s.Index == 1 {
				gone.Add(1)
				kill() // as a kill -9: it says nothing any more
				return nil, context.Canceled
			}
			return nil, nil
		})(0, &o)
		_ = Work(ctx, nil, r.url, o)
		select {
		case err := <-r.err:
			if err != nil {
				t.Fatalf("%v\n%s", err, r.log)
			}
			done = true
		default:
		}
		kill()
	}
	failures, err := f.Failures()
	if err != nil || len(failures) != 1 || failures[0].Shard != 1 || failures[0].Attempts != 2 || !strings.Contains(failures[0].Message, "died") {
		t.Errorf("failures %+v (%v), want shard 1 whose workers died", failures, err)
	}
	if gone.Load() != 2 {
		t.Errorf("%d workers died of it, want 2", gone.Load())
	}
}

// TestSlow: a worker that is slow but alive keeps its shard; one that hangs without a sign of life
// loses it, and its result changes nothing.
func TestSlow(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	var tries atomic.Int32
	r := serve(t, f, ServeOptions{AckWait: 2 * time.Second, Attempts: 1}) // a loaded machine stalls for a second
	errs := r.workers(2, with(func(ctx context.Context, s study.Shard) (*study.Result, error) {
		if s.Index == 0 {
			tries.Add(1)
			pause(ctx, 5*time.Second)
		}
		return nil, nil
	}))
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	wait(t, errs, 2, r.log)
	if tries.Load() != 1 {
		t.Errorf("a slow shard was begun %d times, want once: its worker gives signs of life", tries.Load())
	}
	same(t, f, want)
}

// TestTwice publishes every shard and every result twice, by hand.
func TestTwice(t *testing.T) {
	f := newStudy(t, 2)
	want := inProcess(t, f)
	counts := map[int]int{}
	r := serve(t, f, ServeOptions{Arrived: func(s study.Shard, _ *study.Result) { counts[s.Index]++ }})
	id, err := f.Plan.ID()
	if err != nil {
		t.Fatal(err)
	}
	n := names{id}
	js := r.conn.Load().js
	for _, s := range f.Shards {
		if _, err := js.Publish(t.Context(), n.shardOf(s), []byte(s.ID)); !there(err) {
			t.Fatalf("shard %d is queued twice: %v", s.Index, err)
		}
	}
	for i, s := range f.Shards[1:] {
		for range 2 {
			m := nats.NewMsg(n.result(fmt.Sprint(s.Index)))
			m.Data = signed(t, f, s, want[i+1], "by-hand")
			m.Header.Set(kindHeader, protocol.KindResult)
			m.Header.Set(workerHeader, "by-hand")
			if _, err := js.PublishMsg(t.Context(), m); err != nil {
				t.Fatal(err)
			}
		}
	}
	errs := r.workers(2, nil) // which do all of them once more
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	wait(t, errs, 2, r.log)
	same(t, f, want)
	for i := range f.Shards {
		if counts[i] != 1 {
			t.Errorf("shard %d counted %d times, want once", i, counts[i])
		}
	}
}
