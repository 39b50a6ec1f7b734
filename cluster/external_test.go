package cluster

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"advsweep/cluster/protocol"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// TestOwnServer serves a study on a server of its own, with accounts and permissions as
// docs/nats.md has them.
func TestOwnServer(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	id, err := f.Plan.ID()
	if err != nil {
		t.Fatal(err)
	}
	n := names{id}
	o := &server.Options{}
	if err := o.ProcessConfigString(n.accounts()); err != nil {
		t.Fatal(err)
	}
	accounts := map[string]*server.Account{}
	for _, a := range o.Accounts {
		accounts[a.Name] = a
	}
	o.Users = []*server.User{
		{Username: "coordinator", Password: "one", Account: accounts[studyAccount]},
		{Username: "worker", Password: "two", Account: accounts[workersAccount], Permissions: n.permissions()},
	}
	o.Host, o.Port, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	o.JetStream, o.StoreDir, o.DisableJetStreamBanner = true, t.TempDir(), true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer func() {
		s.Shutdown()
		s.WaitForShutdown()
	}()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	coordinator, worker := filepath.Join(t.TempDir(), "coordinator"), filepath.Join(t.TempDir(), "worker")
	write(t, coordinator, "coordinator:one")
	write(t, worker, "worker:two")
	r := serve(t, f, ServeOptions{URL: s.ClientURL(), Credentials: coordinator})
	errs := r.workers(2, func(_ int, o *WorkOptions) { o.Credentials = worker })
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 2, r.log)
	same(t, f, want)
	if left := streams(t, reconnect(t, s.ClientURL(), coordinator)); len(left) > 0 {
		t.Errorf("%v is left on the server", left)
	}
}

func reconnect(t *testing.T, url, credentials string) jetstream.JetStream {
	t.Helper()
	cred, err := readCredential(credentials, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := dial(url, cred, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// TestLargeResults sends every result through the store of large results, in several chunks, with a
// worker's permissions. The coordinator takes all of them and removes them there.
func TestLargeResults(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	r := serve(t, f, ServeOptions{look: time.Hour})
	l := lie(t, r, f)
	bucket, err := l.js.ObjectStore(l.ctx, l.resultObjects().name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.Shards {
		name := resultPrefix + fmt.Sprint("x", i)
		meta := jetstream.ObjectMeta{Name: name, Opts: &jetstream.ObjectMetaOptions{ChunkSize: 100}}
		if _, err := bucket.Put(l.ctx, meta, bytes.NewReader(signed(t, f, f.Shards[i], want[i], "by-hand"))); err != nil {
			t.Fatal(err)
		}
		l.say(i, protocol.KindResult, nil, objectHeader, name, workerHeader, "by-hand")
	}
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	same(t, f, want)
}
