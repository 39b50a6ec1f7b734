package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"advsweep/cluster"
	"advsweep/dashboard"
	"advsweep/internal/words"
	"advsweep/pipeline"
	"advsweep/study"

	"golang.org/x/net/netutil"
)

// A page is the web page of a study that is served: a dashboard.Snapshotter of what the coordinator
// tells.
type page struct {
	folder  *study.Folder
	started time.Time

	mu       sync.Mutex
	latest   cluster.Snapshot
	tallies  []*pipeline.Tally
	labels   [][]int32 // of each run's images; runs share them
	done     []int     // shards of each run
	counted  []bool
	rates    []rate
	message  string
	finished bool
}

// A rate is how many shards were done at a time.
type rate struct {
	at   time.Time
	done int
}

func newPage(folder *study.Folder) (*page, error) {
	p := &page{folder: folder, started: time.Now(), counted: make([]bool, len(folder.Shards)), done: make([]int, len(folder.Plan.Runs))}
	labels := map[string][]int32{} // runs share their images
	for i, run := range folder.Plan.Runs {
		key := run.Images
		if labels[key] == nil {
			var err error
			if labels[key], err = folder.Labels(i); err != nil {
				return nil, err
			}
		}
		t, err := run.Manifest.Sweep().Tally(labels[key], run.Manifest.Classes)
		if err != nil {
			return nil, err
		}
		p.tallies, p.labels = append(p.tallies, t), append(p.labels, labels[key])
	}
	return p, nil
}

// load counts what was done before.
func (p *page) load(ctx context.Context) {
	done, err := p.folder.Done()
	if err != nil {
		return // it is for onlookers
	}
	for i, d := range done {
		if ctx.Err() != nil {
			return
		}
		if d {
			if r, err := p.folder.Get(p.folder.Shards[i]); err == nil {
				p.mu.Lock()
				if !p.counted[i] { // it may have arrived since
					p.count(p.folder.Shards[i], r)
				}
				p.mu.Unlock()
			}
		}
	}
}

// arrived counts the result of s. If one was counted before, that is not believed any more: then
// the run is counted anew.
func (p *page) arrived(s study.Shard, r *study.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.counted[s.Index] {
		p.count(s, r)
		return
	}
	m := p.folder.Plan.Runs[s.Run].Manifest
	t, err := m.Sweep().Tally(p.labels[s.Run], m.Classes)
	if err != nil {
		p.message = err.Error()
		return
	}
	p.tallies[s.Run], p.done[s.Run] = t, 0
	for _, one := range p.folder.Shards {
		if one.Run != s.Run {
			continue
		}
		p.counted[one.Index] = false
		if r, err := p.folder.Get(one); err == nil {
			p.count(one, r)
		}
	}
}

// count counts r, the result of s, which was not counted. The caller holds mu.
func (p *page) count(s study.Shard, r *study.Result) {
	p.counted[s.Index] = true
	p.done[s.Run]++
	for k, payload := range r.Chunks {
		if err := p.tallies[s.Run].Add(s.From+k, payload); err != nil {
			p.message = fmt.Sprintf("shard %d: %v", s.Index, err)
		}
	}
}

// progress takes what the coordinator says.
func (p *page) progress(s cluster.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = s
	now := time.Now()
	if n := len(p.rates); n == 0 || now.Sub(p.rates[n-1].at) > 2*time.Second {
		p.rates = append(p.rates, rate{now, s.Done})
		for len(p.rates) > 2 && now.Sub(p.rates[0].at) > 5*time.Minute {
			p.rates = p.rates[1:]
		}
	}
}

// say shows a message, and whether all is over.
func (p *page) say(message string, finished bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.message, p.finished = message, finished
}

// Snapshot is for dashboard.
func (p *page) Snapshot() (*dashboard.Snapshot, error) {
	failures, err := p.folder.Failures()
	if err != nil {
		return nil, err
	}
	disputes, err := p.folder.Disputes()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	s := &dashboard.Snapshot{
		Study: p.folder.Plan.Name, Message: p.message, Now: now, Started: p.started, Finished: p.finished,
		Total: p.latest.Total, Done: p.latest.Done, Running: p.latest.Running, Failed: p.latest.Failed,
	}
	if s.Total == 0 { // nothing was told yet
		s.Total = len(p.folder.Shards)
	}
	if n := len(p.rates); n > 1 {
		first, last := p.rates[0], p.rates[n-1]
		s.PerMinute = float64(last.done-first.done) / last.at.Sub(first.at).Minutes()
	}
	running, failed := make([]int, len(p.done)), make([]int, len(p.done))
	var busy, expected float64
	for _, w := range p.latest.Workers {
		busy, expected = busy+w.Busy, expected+w.Expected
		one := dashboard.Worker{Name: w.Name, Device: w.Device, Arithmetic: w.Arithmetic.MathMode, Done: w.Done, Failed: w.Failed, Heard: w.Updated}
		if w.Shard >= 0 && w.Shard < len(p.folder.Shards) {
			run := p.folder.Shards[w.Shard].Run
			one.Shard, one.Since = fmt.Sprintf("%d, %s", w.Shard, p.folder.Plan.Runs[run].Name), w.Since
			if w.Alive(now) {
				running[run]++
			}
		}
		s.Workers = append(s.Workers, one)
	}
	if s.Running > 0 && expected > 0 {
		s.Left = time.Duration(p.latest.Left * busy / expected / float64(s.Running) * float64(time.Second))
	}
	for _, f := range failures {
		failed[p.folder.Shards[f.Shard].Run]++
		s.Failures = append(s.Failures, dashboard.Failure{Shard: fmt.Sprint(f.Shard), Run: f.Run, Worker: f.Worker, Message: f.Message, Attempts: f.Attempts, When: f.Time, Final: true})
	}
	for _, d := range disputes {
		var who []string
		for _, c := range d.Claims {
			who = append(who, c.Worker)
		}
		s.Failures = append(s.Failures, dashboard.Failure{Shard: fmt.Sprint(d.Shard), Run: d.Run, Worker: words.And(who), Attempts: len(who), When: now,
			Message: "these workers disagree, so one computes wrong: the shard is done again until two agree, and curves here may hold the wrong result until then"})
	}
	for i, run := range p.folder.Plan.Runs {
		r := dashboard.Run{Name: run.Name, Done: p.done[i], Total: len(run.Ends), Running: running[i], Failed: failed[i], Images: run.Manifest.Data.N}
		r.Correct, r.Clean = p.tallies[i].Clean()
		for _, c := range p.tallies[i].Curves() {
			r.Curves = append(r.Curves, dashboard.Curve{Label: c.Attack.Label(), Eps: run.Manifest.Eps, Correct: c.Correct, N: c.N})
		}
		s.Runs = append(s.Runs, r)
	}
	if p.finished {
		s.Results = append(s.Results, dashboard.Result{Name: "runs", Path: filepath.Join(p.folder.Dir, "runs")})
	}
	return s, nil
}

// pageConnections is how many connections to the page there are at a time. Others wait.
const pageConnections = 32

// open serves p on address, which only this machine can reach, until close. url is where.
func (p *page) open(address string) (url string, close func(), err error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, usagef("--http %q, want HOST:PORT as in 127.0.0.1:8222, or none", address)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", nil, usagef("--http %s: the page has no password, so only this machine may see it: want a loopback address as in 127.0.0.1:8222; from elsewhere 'ssh -L 8222:127.0.0.1:8222' reaches it", address)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return "", nil, fmt.Errorf("--http %s: %w; choose another address, or --http none", address, err)
	}
	// Who connects and says nothing, or reads nothing, is not waited for: each connection takes a file
	// of those that the server's store needs.
	s := &http.Server{
		Handler: dashboard.Handler(p, dashboard.Options{}), MaxHeaderBytes: 1 << 16,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 30 * time.Second,
	}
	go func() {
		if err := s.Serve(netutil.LimitListener(l, pageConnections)); err != nil && !errors.Is(err, http.ErrServerClosed) {
			p.say(err.Error(), false)
		}
	}()
	return "http://" + l.Addr().String() + "/", func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	}, nil
}
