package cluster

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ends fails unless the worker ends without an error in much less than its patience.
func ends(t *testing.T, worker <-chan error, r *running) {
	t.Helper()
	select {
	case err := <-worker:
		if err != nil {
			t.Errorf("worker: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Errorf("the worker does not end\n%s", r.log)
	}
}

// TestKilledAtTheEnd kills a coordinator when all shards are done, before the worker hears of it.
// The next one finds nothing to do. It must not leave before the worker is back and has heard.
func TestKilledAtTheEnd(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	r := serve(t, f, ServeOptions{})
	o := workOptions(t, r.log)
	begun, done := make(chan struct{}, 100), make(chan struct{})
	with(func(ctx context.Context, _ study.Shard) (*study.Result, error) {
		begun <- struct{}{}
		select {
		case <-done:
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	})(0, &o)
	worker := make(chan error, 1)
	go func() { worker <- Work(t.Context(), nil, r.url, o) }()
	<-begun
	for { // the coordinator has heard of the worker, and another one will know
		if all, err := f.Workers(); err != nil || len(all) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.kill()
	_ = r.end()
	if err := (study.Job{Folder: f, Shards: f.Shards, Name: "one", Devices: []study.Device{device()}}).Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	again := serve(t, f, ServeOptions{Listen: strings.TrimPrefix(r.url, "nats://")})
	if err := again.end(); err != nil {
		t.Fatalf("%v\n%s", err, again.log)
	}
	ends(t, worker, r)
	close(done)
	same(t, f, want)
}

// TestDoneMeanwhile ends a study while a worker opens its devices: it has heard of it before it
// asks for a shard.
func TestDoneMeanwhile(t *testing.T) {
	f := newStudy(t, 1)
	r := serve(t, f, ServeOptions{})
	o := workOptions(t, r.log)
	opening, opened := make(chan struct{}), make(chan struct{})
	o.Devices = func(p *study.Plan) ([]study.Device, error) {
		close(opening)
		<-opened
		return devices(p)
	}
	worker := make(chan error, 1)
	go func() { worker <- Work(t.Context(), nil, r.url, o) }()
	<-opening
	errs := r.workers(1, nil)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 1, r.log)
	close(opened)
	ends(t, worker, r)
}

// TestStuckResult sends a result of a shard that is done already, and that never comes: the object
// store has lost it. The coordinator ends all the same when the last shard is done.
func TestStuckResult(t *testing.T) {
	f := newStudy(t, 1)
	last := len(f.Shards) - 1
	if last%receivers == 0 {
		t.Fatalf("shards 0 and %d have one receiver: the test wants two", last)
	}
	r := serve(t, f, ServeOptions{})
	begun, held := make(chan struct{}, 100), make(chan struct{})
	errs := r.workers(1, with(func(ctx context.Context, s study.Shard) (*study.Result, error) {
		if s.Index == last {
			begun <- struct{}{}
			select {
			case <-held:
			case <-ctx.Done():
			}
		}
		return nil, nil
	}))
	<-begun
	id, err := f.Plan.ID()
	if err != nil {
		t.Fatal(err)
	}
	n, js := names{id}, r.conn.Load().js
	bucket, err := js.ObjectStore(t.Context(), n.resultObjects().name)
	if err != nil {
		t.Fatal(err)
	}
	info, err := bucket.PutBytes(t.Context(), "result-stuck", []byte("a result"))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), n.resultObjects().stream())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("$O."+n.resultObjects().name+".C."+info.NUID)); err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg(n.result("0"))
	m.Header.Set(kindHeader, protocol.KindResult)
	m.Header.Set(objectHeader, "result-stuck")
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for { // until the coordinator has it in hand
		c, err := js.Consumer(t.Context(), n.resultsStream(), coordinatorName)
		if err != nil {
			t.Fatal(err)
		}
		if i := c.CachedInfo(); i.NumAckPending > 0 && i.NumPending == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	close(held)
	select {
	case err := <-r.err:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("serve does not end\n%s", r.log)
	}
	wait(t, errs, 1, r.log)
}

// TestDamagedStore cuts what the server has stored of a consumer, as a power cut can. Serve says so
// and makes the store anew.
func TestDamagedStore(t *testing.T) {
	f := newStudy(t, 1)
	r := serve(t, f, ServeOptions{})
	begun := make(chan struct{}, 100)
	errs := r.workers(1, with(func(ctx context.Context, _ study.Shard) (*study.Result, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	<-begun
	r.kill()
	_, _ = r.end(), <-errs
	store := filepath.Join(f.Dir, study.StoreName)
	path := filepath.Join(store, "jetstream", studyAccount, "streams", prefix+"*"+shardsSuffix, "obs", workersName, "o.dat")
	files, err := filepath.Glob(path)
	if err != nil || len(files) != 1 {
		t.Fatalf("%d files %s (%v), want 1", len(files), path, err)
	}
	if err := os.Truncate(files[0], 5); err != nil {
		t.Fatal(err)
	}
	r = serve(t, f, ServeOptions{})
	errs = r.workers(1, nil)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 1, r.log)
	if !strings.Contains(r.log.String(), "a new store") {
		t.Errorf("serve does not say that the store was made anew:\n%s", r.log)
	}
}

func TestGetTime(t *testing.T) {
	for _, c := range []struct {
		bytes uint64
		want  time.Duration
	}{{0, 30 * time.Second}, {1 << 20, 38 * time.Second}, {1 << 40, objectTime}, {1<<64 - 1, objectTime}} {
		if got := getTime(c.bytes); got != c.want {
			t.Errorf("%d bytes may take %v, want %v", c.bytes, got, c.want)
		}
	}
}
