package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"advsweep/study"
)

// contradict adds a result of shard i by a worker called liar, which is sound and not what the
// study in dir has.
func contradict(t *testing.T, dir string, i int) {
	t.Helper()
	f, err := study.Open(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Shards[i]
	r, err := f.Get(s)
	if err != nil {
		t.Fatal(err)
	}
	r.By, r.Confirmed = study.Author{Worker: "liar"}, nil
	last := r.Chunks[len(r.Chunks)-1]
	for bit := range 8 * len(last) {
		lie := *r
		lie.Chunks = slices.Clone(r.Chunks)
		payload := bytes.Clone(last)
		payload[bit/8] ^= 1 << (bit % 8)
		lie.Chunks[len(r.Chunks)-1] = payload
		if f.Check(s, &lie) != nil {
			continue
		}
		data, err := lie.Encode(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Put(s, data); !errors.As(err, new(*study.DisputeError)) {
			t.Fatalf("a contradiction: %v", err)
		}
		return
	}
	t.Fatal("no bit can be another")
}

// TestSettle: while machines disagree about a shard, no verb uses a result of it, and each says
// what to do; work has it done a third time; settle decides.
func TestSettle(t *testing.T) {
	file := smallStudy(t, 1)
	dir := filepath.Join(t.TempDir(), "study")
	do(t, "plan", file, "--out", dir, "--quiet")
	do(t, "work", dir, "--quiet")
	if out := do(t, "settle", dir); !strings.Contains(out, "nothing is disputed") {
		t.Errorf("settle: %s", out)
	}
	f, err := study.Open(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(dir, "runs", f.Plan.Runs[0].Name)
	want := read(t, run, "chunks.log")
	contradict(t, dir, 0)
	for _, args := range [][]string{{"merge", dir}, {"report", dir}, {"report", run}, {"compare", filepath.Join(dir, "runs", f.Plan.Runs[1].Name), run}} {
		code, stdout, stderr := advsweep(t, args...)
		if code != exitError || !strings.Contains(stderr, "liar") || !strings.Contains(stderr, "advsweep settle") || stdout != "" {
			t.Errorf("%v: exit %d, %s%s", args, code, stdout, stderr)
		}
	}
	for _, verb := range []string{"status", "settle"} {
		if out := do(t, verb, dir); !strings.Contains(out, "disputed") || !strings.Contains(out, "liar") {
			t.Errorf("%s: %s", verb, out)
		}
	}
	var status struct {
		Done     int             `json:"done"`
		Disputes []study.Dispute `json:"disputes"`
	}
	if err := json.Unmarshal([]byte(do(t, "status", dir, "--format", "json")), &status); err != nil || status.Done != len(f.Shards)-1 || len(status.Disputes) != 1 || len(status.Disputes[0].Claims) != 2 {
		t.Errorf("status %+v, %v", status, err)
	}
	// A worker that repeats itself proves nothing: this process is the one that did the shard.
	if code, _, stderr := advsweep(t, "work", dir); code != exitError || !strings.Contains(stderr, "liar") {
		t.Errorf("work by the same worker: exit %d, %s", code, stderr)
	}
	// The third time, by another worker, decides.
	code, stdout, stderr := advsweep(t, "run-shard", dir, "--tasks", "1", "--index", "0")
	if code != exitDone || !strings.Contains(stderr, "liar") {
		t.Errorf("run-shard: exit %d, %s%s", code, stdout, stderr)
	}
	do(t, "merge", dir, "--quiet")
	if got := read(t, run, "chunks.log"); !bytes.Equal(got, want) {
		t.Error("the merged log is not that of one machine")
	}
	if out := do(t, "status", dir); !strings.Contains(out, "excluded") || !strings.Contains(out, "liar") {
		t.Errorf("status: %s", out)
	}
	do(t, "report", dir, "--quiet")

	// By hand.
	do(t, "settle", dir, "--trust", "liar")
	contradict(t, dir, 1)
	f, err = study.Open(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	disputes, err := f.Disputes()
	if err != nil || len(disputes) != 1 {
		t.Fatal(disputes, err)
	}
	for _, c := range disputes[0].Claims {
		if c.Worker != "liar" {
			if out := do(t, "settle", dir, "--shard", "1", "--take", c.Hash[:10]); !strings.Contains(out, "believed") || !strings.Contains(out, "--drop liar") {
				t.Errorf("settle: %s", out)
			}
		}
	}
	if out := do(t, "settle", dir, "--drop", "liar"); !strings.Contains(out, "0 shards") {
		t.Errorf("settle: %s", out)
	}
	do(t, "merge", dir, "--quiet")
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, "go together", []string{"--shard", "1"}},
		{exitUsage, "one at a time", []string{"--drop", "a", "--trust", "b"}},
		{exitUsage, "no worker of this study", []string{"--drop", "nobody"}},
		{exitError, "no worker", []string{"--trust", "nobody"}},
		{exitError, "nothing is disputed", []string{"--shard", "0", "--take", "ab"}},
		{exitError, "want 0 to", []string{"--shard", "99999", "--take", "ab"}},
	} {
		code, _, stderr := advsweep(t, append([]string{"settle", dir}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("settle %v: exit %d, %s", c.args, code, stderr)
		}
	}
}

// TestDamagedResult: a result whose file is damaged is not counted, and done again by the verbs
// that do shards.
func TestDamagedResult(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "study")
	do(t, "plan", smallStudy(t, 1), "--out", dir, "--quiet")
	do(t, "work", dir, "--quiet")
	f, err := study.Open(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Shards[1]
	path := filepath.Join(dir, "shards", s.ID[:2], s.ID)
	good := read(t, path)
	for i, verb := range [][]string{{"work", dir, "--quiet"}, {"run-shard", dir, "--tasks", "1", "--index", "0", "--quiet"}} {
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		if i == 1 {
			bad = bad[:len(bad)/3]
		}
		if err := os.WriteFile(path, bad, 0o666); err != nil {
			t.Fatal(err)
		}
		if out := do(t, "status", dir); !strings.Contains(out, "1 shards have files that are no results") || strings.Contains(out, "nothing\n") {
			t.Errorf("status: %s", out)
		}
		if code, _, stderr := advsweep(t, "merge", dir); code != exitError || !strings.Contains(stderr, "damaged") || !strings.Contains(stderr, s.ID) || !strings.Contains(stderr, "advsweep work") {
			t.Errorf("merge: exit %d, %s", code, stderr)
		}
		do(t, verb...)
		if err := f.Missing(); err != nil {
			t.Errorf("after %v: %v", verb, err)
		}
	}
	do(t, "merge", dir, "--quiet")
}

// TestPageAfterDispute: the page tells of a dispute, and counts anew once it is settled.
func TestPageAfterDispute(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "study")
	do(t, "plan", smallStudy(t, 1), "--out", dir, "--quiet")
	do(t, "work", dir, "--quiet")
	f, err := study.Open(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	curves := func(p *page) string {
		t.Helper()
		s, err := p.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(s.Runs)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	p, err := newPage(f)
	if err != nil {
		t.Fatal(err)
	}
	p.load(t.Context())
	want := curves(p)
	i := slices.IndexFunc(f.Shards, func(s study.Shard) bool { return s.To == 1 }) // the clean images
	truth, err := f.Get(f.Shards[i])
	if err != nil {
		t.Fatal(err)
	}
	contradict(t, dir, i)
	s, err := p.Snapshot()
	if err != nil || len(s.Failures) != 1 || !strings.Contains(s.Failures[0].Worker, "liar") || s.Failures[0].Final {
		t.Errorf("%+v, %v", s.Failures, err)
	}
	// A page that had counted the wrong result.
	d, err := f.Disputes()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range d[0].Claims {
		if c.Worker == "liar" {
			if _, err := f.Decide(i, c.Hash); err != nil {
				t.Fatal(err)
			}
		}
	}
	if p, err = newPage(f); err != nil {
		t.Fatal(err)
	}
	p.load(t.Context())
	if curves(p) == want {
		t.Fatal("the wrong result changes nothing on the page: the test shows nothing")
	}
	if _, err := f.Exclude("liar", "test"); err != nil {
		t.Fatal(err)
	}
	truth.By.Worker = "third"
	data, err := truth.Encode(f.Shards[i].ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Put(f.Shards[i], data); err != nil {
		t.Fatal(err)
	}
	p.arrived(f.Shards[i], truth)
	if got := curves(p); got != want {
		t.Errorf("after the dispute\n%s, want\n%s", got, want)
	}
}
