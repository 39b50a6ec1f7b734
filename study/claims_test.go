package study_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"advsweep/record"
	"advsweep/study"
)

// few is a study of a few shards, each of several chunks.
const few = `
attack = "pgd:steps=20,noise"
eps = "0:0.2:0.1"
seeds = [1, 2]
[[model]]
file = "a.safetensors"
[[data]]
n = 200
[shards]
seconds = 0.001
`

// worked returns a study of few that is done, and what its shards have found.
func worked(t *testing.T) (*study.Folder, []*study.Result) {
	t.Helper()
	f := create(t, few)
	run(t, study.Job{Folder: f, Shards: f.Shards, Name: "first", Devices: []study.Device{onCPU("")}})
	var all []*study.Result
	for _, s := range f.Shards {
		r, err := f.Get(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return f, all
}

// by is r as another worker sends it.
func by(t *testing.T, s study.Shard, r *study.Result, worker string) []byte {
	t.Helper()
	data, err := (&study.Result{Arithmetic: r.Arithmetic, Chunks: r.Chunks, By: study.Author{Worker: worker}}).Encode(s.ID)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// wrong returns a result of s that is sound and not r: one bit is another, the n-th that can be.
func wrong(t *testing.T, f *study.Folder, s study.Shard, r *study.Result, n int) *study.Result {
	t.Helper()
	for k, payload := range r.Chunks {
		for i := range 8 * len(payload) {
			chunks := slices.Clone(r.Chunks)
			chunks[k] = bytes.Clone(payload)
			chunks[k][i/8] ^= 1 << (i % 8)
			lie := &study.Result{Arithmetic: r.Arithmetic, Chunks: chunks}
			if f.Check(s, lie) != nil {
				continue
			}
			if n--; n < 0 {
				return lie
			}
		}
	}
	t.Fatal("no bit of the result can be another")
	return nil
}

// put is f.Put without what it settles.
func put(f *study.Folder, s study.Shard, data []byte) error {
	_, err := f.Put(s, data)
	return err
}

func TestResults(t *testing.T) {
	f, all := worked(t)
	s, r := f.Shards[1], all[1]
	if r.By != study.AuthorOf("first") {
		t.Errorf("by %+v, want this machine's worker", r.By)
	}
	data := by(t, s, r, "w")
	for i := range data { // a flipped bit anywhere
		bad := slices.Clone(data)
		bad[i] ^= 0x10
		if _, err := study.DecodeResult(s, bad); err == nil {
			t.Fatalf("byte %d changed: no error", i)
		}
		if _, err := study.DecodeResult(s, data[:i]); err == nil {
			t.Fatalf("cut to %d bytes: no error", i)
		}
	}
	nonsense := *r
	nonsense.Chunks = slices.Repeat([][]byte{[]byte("nonsense")}, len(r.Chunks))
	many := *r
	many.Chunks = append(slices.Clone(r.Chunks), r.Chunks[0])
	raw := func(r *study.Result, id string) []byte {
		data, err := r.Encode(id)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	escape := *r
	escape.By.Worker = "\x1b[31mred"
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"another shard's", "id", raw(r, f.Shards[0].ID)},
		{"nonsense in a right frame", "chunk", raw(&nonsense, s.ID)},
		{"a chunk too many", "chunks, want", raw(&many, s.ID)},
		{"cut", "SHA-256", data[:len(data)-1]},
		{"nothing", "0 bytes", nil},
		{"a name that is none", "called", raw(&escape, s.ID)},
		{"another format", "format 3", append([]byte("advshard\x03\x00\x00\x00"), data[12:]...)},
	} {
		err := put(f, s, c.data)
		if !errors.As(err, new(*study.DamagedError)) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "run "+f.Plan.Runs[s.Run].Name) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if got, err := f.Get(s); err != nil || !got.Same(r) {
		t.Errorf("after damaged ones: %v, %v", got, err)
	}
	other := *r
	other.Arithmetic.MathMode = "other"
	if err := put(f, s, raw(wrongOf(t, f, s, &other), s.ID)); !errors.As(err, new(*study.DifferentError)) {
		t.Errorf("a different result of another arithmetic: %v", err)
	}
	// What another worker found too is confirmed, once.
	for range 2 {
		for _, w := range []string{"first", "w", ""} {
			if err := put(f, s, by(t, s, r, w)); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, err := f.Get(s)
	if err != nil || len(got.Confirmed) != 1 || got.Confirmed[0].Worker != "w" || got.By != r.By {
		t.Errorf("confirmed: %+v, %v", got, err)
	}
	if st, err := f.Status(time.Now()); err != nil || st.Trust.Twice != 1 {
		t.Errorf("%+v, %v, want one shard done twice", st, err)
	}
	// A damaged file is no result: it is told, the shard is to be done, and a new one takes its
	// place.
	path := filepath.Join(f.Dir, "shards", s.ID[:2], s.ID)
	if err := os.WriteFile(path, data[:len(data)-1], 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Get(s); !errors.As(err, new(*study.DamagedError)) || !strings.Contains(err.Error(), s.ID) {
		t.Errorf("a damaged result: %v", err)
	}
	st, err := f.Status(time.Now())
	if err != nil || st.Done != len(f.Shards)-1 || !slices.Equal(st.Trust.Damaged, []int{s.Index}) {
		t.Errorf("a damaged result: %+v, %v", st, err)
	}
	if err := f.Missing(); err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged result: missing %v", err)
	}
	run(t, study.Job{Folder: f, Shards: f.Shards, Name: "again", Devices: []study.Device{onCPU("")}})
	if got, err := f.Get(s); err != nil || !got.Same(r) || got.By.Worker != "again" {
		t.Errorf("done again: %+v, %v", got, err)
	}
	if err := f.Heartbeat(study.WorkerState{Name: "../x"}); err == nil {
		t.Error("a worker whose name is a path")
	}
}

func wrongOf(t *testing.T, f *study.Folder, s study.Shard, r *study.Result) *study.Result {
	return wrong(t, f, s, r, 0)
}

// TestOldResult: results of format 1, which had no author, are still read.
func TestOldResult(t *testing.T) {
	s := study.Shard{ID: strings.Repeat("ab", 32), To: 1}
	data, err := os.ReadFile("testdata/result1")
	if err != nil {
		t.Fatal(err)
	}
	r, err := study.DecodeResult(s, data)
	if err != nil || string(r.Chunks[0]) != "old" || r.Arithmetic.Fingerprint != "12ab" || r.By != (study.Author{}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestDispute: a shard that came out different is not done any more, whoever asks, until two
// workers agree.
func TestDispute(t *testing.T) {
	f, all := worked(t)
	if err := f.Merge(context.Background(), false, func(study.Merged) error { return nil }); err != nil {
		t.Fatal(err)
	}
	s := f.Shards[1]
	lie := wrongOf(t, f, s, all[1])
	err := put(f, s, by(t, s, lie, "second"))
	var dispute *study.DisputeError
	if !errors.As(err, &dispute) || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), "second") {
		t.Fatalf("a different result: %v", err)
	}
	refused := func(when string) {
		t.Helper()
		again, err := study.Open(f.Dir, version)
		if err != nil {
			t.Fatal(err)
		}
		if unlock, err := again.Lock(); err != nil {
			t.Fatal(err)
		} else {
			unlock()
		}
		st, err := again.Status(time.Now())
		if err != nil || st.Done != len(f.Shards)-1 || len(st.Trust.Disputes) != 1 || len(st.Trust.Disputes[0].Claims) < 2 {
			t.Errorf("%s: status %+v, %v", when, st, err)
		}
		if _, err := again.Get(s); !errors.As(err, new(*study.DisputeError)) {
			t.Errorf("%s: get: %v", when, err)
		}
		if err := again.Missing(); err == nil || !strings.Contains(err.Error(), "disagree") || !strings.Contains(err.Error(), "second") {
			t.Errorf("%s: missing: %v", when, err)
		}
		if err := again.Merge(context.Background(), false, func(study.Merged) error { return nil }); err == nil {
			t.Errorf("%s: merged", when)
		}
		// What was merged before is not to be reported either.
		if _, _, err := again.ReadRun(s.Run); !errors.As(err, new(*study.DisputeError)) {
			t.Errorf("%s: read run: %v", when, err)
		}
	}
	refused("two claims")
	for range 2 { // who repeats itself proves nothing
		if err := put(f, s, by(t, s, lie, "second")); !errors.As(err, &dispute) {
			t.Fatal(err)
		}
	}
	refused("the second says it again")
	if err := put(f, s, by(t, s, wrong(t, f, s, all[1], 1), "third")); !errors.As(err, &dispute) || len(dispute.Claims) != 3 {
		t.Fatal(err)
	}
	refused("three claims")
	settled, err := f.Put(s, by(t, s, all[1], "fourth"))
	if err != nil || settled.Winner.Worker != "first" && settled.Winner.Worker != "fourth" || len(settled.Wrong) != 2 {
		t.Fatalf("settled %+v, %v", settled, err)
	}
	if got, err := f.Get(s); err != nil || !got.Same(all[1]) || len(got.Confirmed) != 1 {
		t.Errorf("settled: %+v, %v", got, err)
	}
	if err := f.Missing(); err != nil {
		t.Error(err)
	}
	// What was not believed is kept.
	kept, err := filepath.Glob(filepath.Join(f.Dir, "settled", s.ID, "*"))
	if err != nil || len(kept) != 2 {
		t.Errorf("kept %v, %v", kept, err)
	}
	// Who comes too late with a wrong one is told at once, and changes nothing.
	settled, err = f.Put(s, by(t, s, lie, "fifth"))
	if err != nil || len(settled.Wrong) != 1 || settled.Wrong[0].Worker != "fifth" {
		t.Errorf("a wrong one of two that agree: %+v, %v", settled, err)
	}
	if got, err := f.Get(s); err != nil || !got.Same(all[1]) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestExclude: what a wrong worker has found alone is done again, and what was merged of it is
// merged again.
func TestExclude(t *testing.T) {
	f, all := worked(t)
	var want [][]byte
	merge := func() (files [][]byte) {
		t.Helper()
		if err := f.Merge(context.Background(), false, func(m study.Merged) error {
			data, err := os.ReadFile(filepath.Join(m.Dir, "chunks.log"))
			files = append(files, data)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return files
	}
	want = merge()
	// The same study on another disk, where "bad" did the first shards, the first of them wrong.
	g := create(t, few)
	lie := wrongOf(t, g, g.Shards[0], all[0])
	for i, s := range g.Shards {
		r, who := all[i], "good"
		if i < 3 {
			who = "bad"
		}
		if i == 0 {
			r = lie
		}
		if err := put(g, s, by(t, s, r, who)); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(g, g.Shards[2], by(t, g.Shards[2], all[2], "good")); err != nil { // confirmed
		t.Fatal(err)
	}
	f = g
	if got := merge(); bytes.Equal(got[0], want[0]) {
		t.Fatal("the wrong result changes nothing: the test shows nothing")
	}
	for i, w := range []string{"good", "other"} {
		settled, err := g.Put(g.Shards[0], by(t, g.Shards[0], all[0], w))
		if (i == 0) != errors.As(err, new(*study.DisputeError)) {
			t.Fatal(err)
		}
		opened, err := g.ExcludeWrong(settled)
		if err != nil || i == 1 && !slices.Equal(opened, []int{1}) {
			t.Errorf("opened %v, %v, want shard 1 alone: nobody else did it", opened, err)
		}
	}
	if err := put(g, g.Shards[1], by(t, g.Shards[1], all[1], "bad")); !errors.As(err, new(*study.ExcludedError)) || !strings.Contains(err.Error(), "bad") {
		t.Errorf("a result of an excluded worker: %v", err)
	}
	if _, _, err := g.ReadRun(g.Shards[1].Run); err == nil || !strings.Contains(err.Error(), "believed") {
		t.Errorf("a run of which a result is set aside: %v", err)
	}
	st, err := g.Status(time.Now())
	if err != nil || st.Done != len(g.Shards)-1 || len(st.Trust.Excluded) != 1 || !strings.Contains(st.Trust.Excluded["bad"], "contradicted") {
		t.Errorf("status %+v, %v", st, err)
	}
	run(t, study.Job{Folder: g, Shards: g.Shards, Name: "again", Devices: []study.Device{onCPU("")}})
	if _, _, err := g.ReadRun(g.Shards[0].Run); err == nil || !strings.Contains(err.Error(), "anew") {
		t.Errorf("a run that was merged with a wrong result: %v", err)
	}
	if got := merge(); !slices.EqualFunc(got, want, bytes.Equal) {
		t.Error("done again: the merged logs are not those of one machine")
	}
	if _, _, err := g.ReadRun(g.Shards[0].Run); errors.As(err, new(*study.DisputeError)) || err != nil && strings.Contains(err.Error(), "anew") {
		t.Errorf("a run that was merged anew: %v", err)
	}
	if err := g.Trust("bad"); err != nil {
		t.Error(err)
	}
	if err := g.Trust("bad"); err == nil {
		t.Error("trust twice: no error")
	}
	if err := put(g, g.Shards[1], by(t, g.Shards[1], all[1], "bad")); err != nil {
		t.Errorf("a result of a worker that is trusted again: %v", err)
	}
}

// TestDecide: the user may end a dispute.
func TestDecide(t *testing.T) {
	f, all := worked(t)
	s := f.Shards[0]
	var dispute *study.DisputeError
	if err := put(f, s, by(t, s, wrongOf(t, f, s, all[0]), "second")); !errors.As(err, &dispute) {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "zz"} {
		if _, err := f.Decide(0, bad); err == nil || !strings.Contains(err.Error(), "second") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for i, want := range map[int]string{1: "nothing is disputed", -1: "want 0 to", len(f.Shards): "want 0 to"} {
		if _, err := f.Decide(i, "a"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("shard %d: %v", i, err)
		}
	}
	for _, c := range dispute.Claims {
		if c.Worker == "first" {
			if _, err := f.Decide(0, c.Hash[:8]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, err := f.Get(s); err != nil || !got.Same(all[0]) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestLocalDispute: work on a folder that holds a dispute has the shard done a third time.
func TestLocalDispute(t *testing.T) {
	f, all := worked(t)
	s := f.Shards[2]
	if err := put(f, s, by(t, s, wrongOf(t, f, s, all[2]), "second")); !errors.As(err, new(*study.DisputeError)) {
		t.Fatal(err)
	}
	var told []string
	run(t, study.Job{Folder: f, Shards: f.Shards, Name: "third", Devices: []study.Device{onCPU("")},
		Log: func(format string, args ...any) { told = append(told, fmt.Sprintf(format, args...)) }})
	if got, err := f.Get(s); err != nil || !got.Same(all[2]) {
		t.Errorf("%+v, %v", got, err)
	}
	if text := strings.Join(told, "\n"); !strings.Contains(text, "second") {
		t.Errorf("told %q, want the worker that was wrong", text)
	}
	if who, err := f.Excluded(); err != nil || who["second"] == "" {
		t.Errorf("excluded %v, %v", who, err)
	}
}

// TestTake: a copy of a study whose result differs brings both, and what is disputed there comes
// too.
func TestTake(t *testing.T) {
	f, all := worked(t)
	g, h := create(t, few), create(t, few)
	lie := wrongOf(t, f, f.Shards[1], all[1])
	if err := put(g, g.Shards[1], by(t, g.Shards[1], lie, "second")); err != nil {
		t.Fatal(err)
	}
	if err := put(h, h.Shards[1], by(t, h.Shards[1], all[1], "third")); err != nil {
		t.Fatal(err)
	}
	if err := f.Take(g, false); !errors.As(err, new(*study.DisputeError)) {
		t.Fatalf("a copy with another result: %v", err)
	}
	if err := h.Take(f, false); err != nil { // third and first agree
		t.Fatal(err)
	}
	if got, err := h.Get(h.Shards[1]); err != nil || !got.Same(all[1]) {
		t.Errorf("%+v, %v", got, err)
	}
	if who, err := h.Excluded(); err != nil || who["second"] == "" {
		t.Errorf("excluded %v, %v", who, err)
	}
	if err := h.Missing(); err != nil {
		t.Error(err)
	}
}

// A dyingDisk is a disk in memory that dies before change number at, from 0: from then on all fails.
type dyingDisk struct {
	mu    sync.Mutex
	files map[string][]byte
	at    int
}

var errDied = errors.New("died")

func (d *dyingDisk) change() error {
	if d.at == 0 {
		return errDied
	}
	d.at--
	return nil
}

func (d *dyingDisk) Read(name string, _ int64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, ok := d.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(data), nil
}

func (d *dyingDisk) Write(name string, data []byte, _ bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.change(); err != nil {
		return err
	}
	d.files[name] = bytes.Clone(data)
	return nil
}

func (d *dyingDisk) Create(name string, data []byte) error {
	d.mu.Lock()
	_, there := d.files[name]
	d.mu.Unlock()
	if there {
		return fs.ErrExist
	}
	return d.Write(name, data, true)
}

func (d *dyingDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.files[name]; !ok {
		return nil
	}
	if err := d.change(); err != nil {
		return err
	}
	delete(d.files, name)
	return nil
}

func (d *dyingDisk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := map[string]bool{}
	for name := range d.files {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			first, _, _ := strings.Cut(rest, "/")
			names[first] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// TestDisputeKilled: whoever is killed at any moment of a dispute, no wrong result is believed, and
// in the end the same is.
func TestDisputeKilled(t *testing.T) {
	f, all := worked(t)
	s := f.Shards[1]
	lie := wrongOf(t, f, s, all[1])
	kills := 0
	for at := 0; ; at++ {
		d := &dyingDisk{files: map[string][]byte{}, at: -1}
		g, err := study.On(d, "memory", f.Plan)
		if err != nil {
			t.Fatal(err)
		}
		if err := put(g, s, by(t, s, lie, "second")); err != nil {
			t.Fatal(err)
		}
		d.at = at
		died := false
		for _, claim := range []struct {
			r   *study.Result
			who string
		}{{all[1], "first"}, {all[1], "third"}} {
			for tries := 0; ; tries++ {
				settled, err := g.Put(s, by(t, s, claim.r, claim.who))
				if err == nil || errors.As(err, new(*study.DisputeError)) {
					if settled.Any() && (len(settled.Wrong) != 1 || settled.Wrong[0].Worker != "second") {
						t.Errorf("died at %d: settled %+v", at, settled)
					}
					break
				}
				if !errors.Is(err, errDied) || tries > 0 {
					t.Fatalf("died at %d: %v", at, err)
				}
				// It is alive again, with what is on the disk, and the result comes again.
				kills++
				died, d.at = true, -1
				if r, err := g.Get(s); err == nil && r.Same(lie) && claim.who == "third" {
					t.Errorf("died at %d: the wrong result is believed after it was contradicted", at)
				}
			}
			if claim.who == "first" {
				if _, err := g.Get(s); err == nil {
					t.Errorf("died at %d: believed after a contradiction", at)
				}
			}
		}
		if r, err := g.Get(s); err != nil || !r.Same(all[1]) {
			t.Errorf("died at %d: %+v, %v", at, r, err)
		}
		if done, err := g.Done(); err != nil || !done[1] {
			t.Errorf("died at %d: done %v, %v", at, done, err)
		}
		if !died {
			break
		}
	}
	if kills < 6 {
		t.Errorf("killed %d times only", kills)
	}
}

// TestPrints: how many results there are of each fingerprint, and by whom.
func TestPrints(t *testing.T) {
	f, all := worked(t)
	s := f.Shards[1]
	g := create(t, few)
	for i, s := range g.Shards {
		r := *all[i]
		if i == 1 {
			r.Arithmetic.Fingerprint = "strange"
		}
		if err := put(g, s, by(t, s, &r, fmt.Sprint("w", i%2))); err != nil {
			t.Fatal(err)
		}
	}
	st, err := g.Status(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := st.Trust.Prints
	if len(p) != 2 || p[0].Shards != len(g.Shards)-1 || p[0].First != 0 || p[1].Shards != 1 || p[1].First != 1 || p[1].Arithmetic.Fingerprint != "strange" || !slices.Equal(p[1].Workers, []string{"w1"}) {
		t.Errorf("%+v", p)
	}
	opened, err := g.SetAside(func(_ study.Shard, r *study.Result) bool { return r.Arithmetic.Fingerprint == "strange" })
	if err != nil || !slices.Equal(opened, []int{1}) || g.Has(s) {
		t.Errorf("set aside %v, %v", opened, err)
	}
}

// TestForeignFolder: what is no file or folder of a study, or leads out of it, is an error at once.
func TestForeignFolder(t *testing.T) {
	f, _ := worked(t)
	s := f.Shards[0]
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte(`{"version":"test"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	result := filepath.Join("shards", s.ID[:2], s.ID)
	for _, name := range []string{"plan.json", "shards", "failed", "workers", "disputed", "excluded", "aside", "runs", ".lock", "inputs", "nats", "shards.csv"} {
		path := filepath.Join(f.Dir, name)
		kept := path + ".kept"
		_ = os.Rename(path, kept) // may not be there
		if err := os.Symlink(outside, path); err != nil {
			t.Skip("no links here:", err)
		}
		if _, err := study.Open(f.Dir, version); err == nil || !strings.Contains(err.Error(), "link") || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is a link: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		_ = os.Rename(kept, path)
	}
	g, err := study.Open(f.Dir, version)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.Dir, result)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, path); err != nil {
		t.Fatal(err)
	}
	if g.Has(s) {
		t.Error("a link out of the folder is a result")
	}
	st, err := g.Status(time.Now())
	if err != nil || st.Done != len(g.Shards)-1 {
		t.Errorf("%+v, %v", st, err)
	}
	run(t, study.Job{Folder: g, Shards: g.Shards, Name: "again", Devices: []study.Device{onCPU("")}})
	if data, err := os.ReadFile(secret); err != nil || string(data) != `{"version":"test"}` {
		t.Errorf("the file outside: %q, %v", data, err)
	}
	if err := g.Missing(); err != nil {
		t.Error(err)
	}
}

// TestBoundedText: what a worker says of itself and of a failure is bounded and fit for a terminal.
func TestBoundedText(t *testing.T) {
	f := create(t, few)
	if err := f.Fail(f.Shards[0], "\x1b[32mw", 1, "\x1b]0;owned\x07"+strings.Repeat("x", 8<<20)); err != nil {
		t.Fatal(err)
	}
	all, err := f.Failures()
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	if text := all[0].Worker + all[0].Message; len(text) > 5000 || strings.ContainsAny(text, "\x1b\x07") {
		t.Errorf("%d bytes: %.80q", len(text), text)
	}
	if err := f.Heartbeat(study.WorkerState{Name: "w", Device: "\x1b[31mred", Busy: 1e308, Expected: 1e-308, Arithmetic: record.Arithmetic{Fingerprint: "\u202e"}}); err != nil {
		t.Fatal(err)
	}
	st, err := f.Status(time.Now())
	if err != nil || len(st.Workers) != 1 || strings.ContainsAny(st.Workers[0].Device+st.Workers[0].Arithmetic.Fingerprint, "\x1b\u202e") {
		t.Errorf("%+v, %v", st, err)
	}
}
