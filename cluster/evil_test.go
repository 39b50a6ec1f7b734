package cluster

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"advsweep/cluster/protocol"
	"advsweep/internal/plain"
	"advsweep/pipeline"
	"advsweep/study"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A liar has the worker's credential and does what it likes.
type liar struct {
	names
	*testing.T
	nc     *nats.Conn
	js     jetstream.JetStream
	f      *study.Folder
	ctx    context.Context
	denied chan error // what the server says that it does not allow
}

func lie(t *testing.T, r *running, f *study.Folder) *liar {
	t.Helper()
	cred, err := readCredential(testKey(t), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.Plan.ID()
	if err != nil {
		t.Fatal(err)
	}
	l := &liar{names: names{id}, T: t, f: f, ctx: t.Context(), denied: make(chan error, 1000)}
	if l.nc, err = dial(r.url, cred, "", nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		select {
		case l.denied <- err:
		default:
		}
	})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.nc.Close)
	if l.js, err = jetstream.New(l.nc); err != nil {
		t.Fatal(err)
	}
	return l
}

// say sends a message about shard i to the coordinator.
func (l *liar) say(i int, kind string, body []byte, headers ...string) {
	l.Helper()
	m := nats.NewMsg(l.result(fmt.Sprint(i)))
	m.Data = body
	m.Header.Set(kindHeader, kind)
	m.Header.Set(workerHeader, "evil<script>\x1b[31mred\u202e")
	for k := 0; k+1 < len(headers); k += 2 {
		m.Header.Set(headers[k], headers[k+1])
	}
	if _, err := l.js.PublishMsg(l.ctx, m); err != nil {
		l.Fatalf("%s of shard %d: %v", kind, i, err)
	}
}

// TestLiarRefused has a client with the worker's credential try everything that is not a worker's
// to do. The server refuses each, and nothing of the study has changed.
func TestLiarRefused(t *testing.T) {
	f := newStudy(t, 1)
	want := inProcess(t, f)
	r := serve(t, f, ServeOptions{look: time.Hour}) // probes write too
	l := lie(t, r, f)
	admin := r.conn.Load().js
	before := streams(t, admin)
	shards, kv, objects, large := l.shardsStream(), "KV_"+l.bucket(), l.names.objects(), l.resultObjects()
	publish := func(subject, body string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := l.js.Publish(ctx, subject, []byte(body))
			return err
		}
	}
	request := func(subject, body string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := l.nc.RequestWithContext(ctx, subject, []byte(body))
			return err
		}
	}
	subscribe := func(subject string) func(context.Context) error {
		return func(ctx context.Context) error {
			_, err := l.nc.SubscribeSync(subject)
			return err
		}
	}
	for _, c := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"write the state", publish("$KV."+l.bucket()+"."+stateName, `{"done":true}`)},
		{"tell workers that all is done", func(context.Context) error { return l.nc.Publish(l.state(), []byte(`{"done":true}`)) }},
		{"answer other workers", func(context.Context) error { return l.nc.Publish("_INBOX.x", []byte("x")) }},
		{"write a chunk of the plan", publish("$O."+objects.name+".C.x", "x")},
		{"write the plan's head", publish("$O."+objects.name+".M.cGxhbg==", "{}")},
		{"queue a shard", publish(l.shard("0"), "x")},
		{"queue a probe", publish(l.shardProbe(), "x")},
		{"make a stream in memory", request("$JS.API.STREAM.CREATE.evil", `{"name":"evil","subjects":["evil"],"storage":"memory"}`)},
		{"make a stream on disk", request("$JS.API.STREAM.CREATE.evil", `{"name":"evil","subjects":["evil"],"storage":"file"}`)},
		{"change a stream", request("$JS.API.STREAM.UPDATE."+shards, `{"name":"`+shards+`","max_msgs":1}`)},
		{"delete the shards", request("$JS.API.STREAM.DELETE."+shards, "")},
		{"delete the state", request("$JS.API.STREAM.DELETE."+kv, "")},
		{"delete the plan", request("$JS.API.STREAM.DELETE."+objects.stream(), "")},
		{"purge the shards", request("$JS.API.STREAM.PURGE."+shards, "")},
		{"purge the results", request("$JS.API.STREAM.PURGE."+l.resultsStream(), "")},
		{"purge the plan", request("$JS.API.STREAM.PURGE."+objects.stream(), "")},
		{"delete a message", request("$JS.API.STREAM.MSG.DELETE."+shards, `{"seq":1}`)},
		{"read others' results", request("$JS.API.STREAM.MSG.GET."+l.resultsStream(), `{"seq":1}`)},
		{"make a consumer of shards", request("$JS.API.CONSUMER.CREATE."+shards, `{"stream_name":"`+shards+`","config":{"durable_name":"evil"}}`)},
		{"make a consumer of results", request("$JS.API.CONSUMER.DURABLE.CREATE."+l.resultsStream()+".evil", `{"stream_name":"x","config":{"durable_name":"evil"}}`)},
		{"take results", request("$JS.API.CONSUMER.MSG.NEXT."+l.resultsStream()+"."+coordinatorName, "")},
		{"delete the workers' consumer", request("$JS.API.CONSUMER.DELETE."+shards+"."+workersName, "")},
		{"pause it", request("$JS.API.CONSUMER.PAUSE."+shards+"."+workersName, `{"pause_until":"2999-01-01T00:00:00Z"}`)},
		{"acknowledge results", publish("$JS.ACK."+l.resultsStream()+"."+coordinatorName+".1.1.1.1.0", "+ACK")},
		{"snapshot a stream", request("$JS.API.STREAM.SNAPSHOT."+shards, `{"deliver_subject":"_INBOX.x"}`)},
		{"speak to the system", request("$SYS.REQ.SERVER.PING", "")},
		{"listen to all", subscribe(">")},
		{"listen to results", subscribe(l.result("*"))},
		{"listen to the store", subscribe("$O.>")},
		{"an answer in the place of the state", func(context.Context) error {
			return l.nc.PublishRequest("$JS.API.DIRECT.GET."+objects.stream()+".$O."+objects.name+".M.cGxhbg==", "$KV."+l.bucket()+"."+stateName, nil)
		}},
		{"an answer that deletes", func(context.Context) error {
			return l.nc.PublishRequest("$JS.API.DIRECT.GET."+kv+".none", "$JS.API.STREAM.DELETE."+shards, nil)
		}},
		{"a shard in the place of a chunk", func(context.Context) error {
			return l.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+shards+"."+workersName, "$O."+objects.name+".C.x", nil)
		}},
		{"a message that is too large", publish(l.result("0"), strings.Repeat("x", maxPayload+1))},
		{"a large result in another store", publish("$O."+large.name+"x.C.x", "x")},
	} {
		t.Run(c.name, func(t *testing.T) {
			for len(l.denied) > 0 {
				<-l.denied
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			err := c.do(ctx)
			_ = l.nc.FlushTimeout(5 * time.Second)
			switch {
			case err != nil:
			case strings.HasPrefix(c.name, "an answer"), strings.HasPrefix(c.name, "a shard"): // nothing is said of these
			default:
				select {
				case <-l.denied: // said beside the call, a little later
				case <-time.After(2 * time.Second):
					t.Error("it is allowed")
				}
			}
			if after := streams(t, admin); !slices.Equal(after, before) {
				t.Errorf("the server has\n%s\nand had\n%s", strings.Join(after, "\n"), strings.Join(before, "\n"))
				before = after
			}
		})
	}
	errs := r.workers(2, nil)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 2, r.log)
	same(t, f, want)
}

// streams says what is in each stream.
func streams(t *testing.T, js jetstream.JetStream) (all []string) {
	t.Helper()
	list := js.ListStreams(t.Context())
	for i := range list.Info() {
		if strings.HasPrefix(i.Config.Name, "KV_") || strings.HasPrefix(i.Config.Name, "OBJ_") && !strings.HasSuffix(i.Config.Name, "-results") || strings.HasSuffix(i.Config.Name, shardsSuffix) {
			all = append(all, fmt.Sprintf("%s: %d messages, %d consumers, subjects %v", i.Config.Name, i.State.Msgs, i.State.Consumers, i.Config.Subjects))
			continue
		}
		all = append(all, i.Config.Name)
	}
	if err := list.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// TestLiarHarmless has a client do with its permissions what no worker does. The study is done all
// the same, and its results are what they are.
func TestLiarHarmless(t *testing.T) {
	large := "result-" + strings.Repeat("a", 22)
	for _, c := range []struct {
		name string
		do   func(l *liar)
	}{
		{"shards acknowledged and not done", func(l *liar) {
			consumer, err := l.js.Consumer(l.ctx, l.shardsStream(), workersName)
			if err != nil {
				l.Fatal(err)
			}
			batch, err := consumer.Fetch(2, jetstream.FetchMaxWait(time.Second))
			if err != nil {
				l.Fatal(err)
			}
			n := 0
			for m := range batch.Messages() {
				n++
				if err := m.DoubleAck(l.ctx); err != nil {
					l.Error(err)
				}
			}
			if n != 2 {
				l.Errorf("%d shards, want 2", n)
			}
		}},
		{"the plan named as a result", func(l *liar) {
			l.say(0, protocol.KindResult, nil, objectHeader, planName)
			for _, hash := range l.f.Inputs() {
				l.say(1, protocol.KindResult, nil, objectHeader, hash)
			}
		}},
		{"a result that is not there", func(l *liar) { l.say(0, protocol.KindResult, nil, objectHeader, large) }},
		{"a large result of nonsense", func(l *liar) {
			bucket, err := l.js.ObjectStore(l.ctx, l.resultObjects().name)
			if err != nil {
				l.Fatal(err)
			}
			if _, err := bucket.PutBytes(l.ctx, large, make([]byte, 3<<20)); err != nil {
				l.Fatal(err)
			}
			l.say(0, protocol.KindResult, nil, objectHeader, large)
		}},
		{"a large result that links to the plan", func(l *liar) {
			data, err := json.Marshal(jetstream.ObjectInfo{ObjectMeta: jetstream.ObjectMeta{
				Name: large, Opts: &jetstream.ObjectMetaOptions{Link: &jetstream.ObjectLink{Bucket: l.bucket(), Name: planName}},
			}, Bucket: l.resultObjects().name, NUID: "x"})
			if err != nil {
				l.Fatal(err)
			}
			l.head(large, data)
			l.say(0, protocol.KindResult, nil, objectHeader, large)
		}},
		{"a large result that claims terabytes", func(l *liar) {
			l.head(large, []byte(`{"name":"`+large+`","nuid":"x","size":1099511627776,"chunks":1,"digest":"SHA-256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="}`))
			l.say(0, protocol.KindResult, nil, objectHeader, large)
		}},
		{"results of nonsense", func(l *liar) {
			l.say(0, protocol.KindResult, []byte("damaged"))
			r := study.Result{Arithmetic: l.f.Plan.Runs[0].Manifest.Planned()}
			s := l.f.Shards[1]
			for range s.To - s.From {
				r.Chunks = append(r.Chunks, []byte("nonsense"))
			}
			data, err := r.Encode(s.ID)
			if err != nil {
				l.Fatal(err)
			}
			l.say(1, protocol.KindResult, data)
		}},
		{"shards given back that it does not have", func(l *liar) {
			for i := range l.f.Shards {
				for _, sequence := range []string{"0", "1", "-1", "99999999999999999999999", "x"} {
					l.say(i, protocol.KindBack, nil, sequenceHeader, sequence)
				}
			}
		}},
		{"messages of no shard and no kind", func(l *liar) {
			for _, subject := range []string{"99999999", "-1", "abc", "+1", "99999999999999999999999", probeName} {
				if _, err := l.js.Publish(l.ctx, l.result(subject), []byte("x")); err != nil {
					l.Error(err)
				}
			}
			l.say(0, "\x1b[31m", nil)
		}},
		{"headers for the server", func(l *liar) {
			for name, value := range map[string]string{"Nats-Rollup": "all", "Nats-TTL": "1s", "Nats-Expected-Stream": "x"} {
				m := nats.NewMsg(l.result("0"))
				m.Header.Set(name, value)
				_, _ = l.js.PublishMsg(l.ctx, m) // refused or not
			}
		}},
		{"heartbeats", func(l *liar) {
			for i := range 2000 {
				w := study.WorkerState{Name: fmt.Sprintf("w%d", i), Device: strings.Repeat("x", i), Shard: -1000 + i, Busy: 1e308, Expected: -1, Done: -5}
				data, err := json.Marshal(w)
				if err != nil {
					l.Fatal(err)
				}
				if err := l.nc.Publish(l.heartbeat(), data); err != nil {
					l.Error(err)
				}
			}
			for _, text := range []string{"", "{", `{"name":"../../x"}`, `{"name":"<script>"}`, `{"name":"ok","shard":99999999}`, strings.Repeat("x", 1<<20)} {
				if err := l.nc.Publish(l.heartbeat(), []byte(text)); err != nil {
					l.Error(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of the time goes by until the coordinator looks after what is lost
			f := newStudy(t, 1)
			want := inProcess(t, f)
			r := serve(t, f, ServeOptions{})
			l := lie(t, r, f)
			c.do(l)
			if err := l.nc.FlushTimeout(5 * time.Second); err != nil {
				t.Error(err)
			}
			errs := r.workers(1, nil)
			if err := r.end(); err != nil {
				t.Fatalf("%v\n%s", err, r.log)
			}
			wait(t, errs, 1, r.log)
			same(t, f, want)
			if failures, err := f.Failures(); err != nil || len(failures) > 0 {
				t.Errorf("failures %v, %v", failures, err)
			}
			if text := r.log.String(); strings.ContainsAny(text, "\x1b\u202e") {
				t.Errorf("what was sent is shown as it came: %q", text)
			}
		})
	}
}

// head writes the head of an object of that name to the store of large results.
func (l *liar) head(name string, data []byte) {
	l.Helper()
	bucket, err := l.js.ObjectStore(l.ctx, l.resultObjects().name)
	if err != nil {
		l.Fatal(err)
	}
	if _, err := bucket.PutBytes(l.ctx, name, []byte("x")); err != nil { // makes the subject
		l.Fatal(err)
	}
	stream, err := l.js.Stream(l.ctx, l.resultObjects().stream())
	if err != nil {
		l.Fatal(err)
	}
	subject := "$O." + l.resultObjects().name + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
	if _, err := stream.GetLastMsgForSubject(l.ctx, subject); err != nil {
		l.Fatal(err)
	}
	m := nats.NewMsg(subject)
	m.Header.Set("Nats-Rollup", "sub")
	m.Data = data
	if _, err := l.js.PublishMsg(l.ctx, m); err != nil {
		l.Fatal(err)
	}
}

// TestFailureIsCut: what a worker says of a failure is one line of bounded length.
func TestFailureIsCut(t *testing.T) {
	f := newStudy(t, 1)
	r := serve(t, f, ServeOptions{})
	l := lie(t, r, f)
	l.say(0, protocol.KindFailed, append(bytes.Repeat([]byte("<img src=x onerror=alert(1)>\n"), 8_000_000/29), "\x1b]0;owned\x07"...), attemptsHeader, "999999999999999999999")
	errs := r.workers(1, nil)
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 1, r.log)
	// The shard was in the queue still: a worker has done it since, or it is one that failed.
	if text := r.log.String(); len(text) > 10_000 || strings.ContainsRune(text, '\x1b') {
		t.Errorf("%d bytes are said", len(text))
	}
	failures, err := f.Failures()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range failures {
		if len([]rune(one.Message)) > plain.Message || strings.Contains(one.Worker, "\x1b") {
			t.Errorf("message of %d bytes, worker %q", len(one.Message), one.Worker)
		}
	}
}

// TestTooManyNames: heartbeats of ever new names are forgotten, and those of workers that live are
// not.
func TestTooManyNames(t *testing.T) {
	table, now := newWorkerTable(), time.Now()
	beat := func(name string) {
		data, err := json.Marshal(study.WorkerState{Name: name, Shard: 1})
		if err != nil {
			t.Fatal(err)
		}
		table.receive(data, 10, now)
	}
	for i := range 3 * maxWorkers {
		beat(fmt.Sprint("evil", i))
		if i%(maxHeard-1) == 0 {
			now = now.Add(time.Second)
		}
	}
	if all, _ := table.list(now); len(all) > maxWorkers {
		t.Errorf("%d workers are remembered, want at most %d", len(all), maxWorkers)
	}
	for _, h := range table.byName {
		h.unsaved = false
	}
	now = now.Add(time.Hour)
	beat("good")
	if all, _ := table.list(now); len(all) != 1 || all[0].Name != "good" {
		t.Errorf("%d workers are remembered, want the one that lives", len(all))
	}
	for _, data := range []string{"x", "null", `{"name":"../x"}`, `{"name":"a","shard":10}`, `{"name":"` + strings.Repeat("n", 101) + `"}`, `{"name":"b","device":"` + strings.Repeat("d", maxHeartbeat) + `"}`} {
		table.receive([]byte(data), 10, now)
	}
	if all, _ := table.list(now); len(all) != 1 {
		t.Errorf("%v, want the one that lives", all)
	}
}

// TestServerLog: who is refused by the server again and again does not fill the log, nor the
// terminal with what is none of its letters.
func TestServerLog(t *testing.T) {
	log := &lines{t: t}
	s := &serverLog{say: log.log}
	for i := range 10_000 {
		s.Errorf("127.0.0.1:1 - cid:%d - Publish Violation - User \"w\", Subject \"%d\x1b[31m%s\"", i, i, strings.Repeat("x", 10_000))
	}
	if text := log.String(); strings.Count(text, "\n") != maxTold || len(text) > maxTold*(plain.Message+100) || strings.Contains(text, "\x1b") {
		t.Errorf("%d lines of %d bytes, want %d short ones", strings.Count(text, "\n"), len(text), maxTold)
	}
}

// TestAwaitKey: a worker waits for the file that serve is about to make, and says so once.
func TestAwaitKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "worker.nk")
	log := &lines{t: t}
	o := WorkOptions{Credentials: path, FirstPatience: 20 * time.Second, Log: log.log}
	got := make(chan error, 1)
	go func() {
		c, err := awaitCredential(t.Context(), nil, &o)
		if err == nil && c.kind != nkeyCredential {
			err = fmt.Errorf("kind %d", c.kind)
		}
		got <- err
	}()
	for !strings.Contains(log.String(), "waiting up to") {
		time.Sleep(time.Millisecond)
	}
	write(t, path, "") // as it is between its making and its writing
	time.Sleep(200 * time.Millisecond)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := createCredential(path); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%v; it says %q", err, log)
	}
	o.Credentials, o.FirstPatience = filepath.Join(t.TempDir(), "none"), 10*time.Millisecond
	if _, err := awaitCredential(t.Context(), nil, &o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that never comes: %v", err)
	}
	stop := make(chan struct{})
	close(stop)
	o.FirstPatience = time.Hour
	if _, err := awaitCredential(t.Context(), stop, &o); !errors.Is(err, pipeline.ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
}

// TestKey: serve makes a credential where none is named, in the study's folder, and keeps it.
func TestKey(t *testing.T) {
	f := newStudy(t, 1)
	ready := make(chan string, 2)
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- Serve(ctx, nil, f, ServeOptions{Listen: "127.0.0.1:0", Ready: func(_, credentials string) { ready <- credentials }})
		}()
		select {
		case path := <-ready:
			c, err := readCredential(path, t.Errorf)
			if err != nil || c.kind != nkeyCredential {
				t.Errorf("%s: kind %d, %v", path, c.kind, err)
			}
		case err := <-ended:
			t.Fatal(err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}
