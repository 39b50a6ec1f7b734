// Package dashboard is the web page of a study that is being worked on: progress, workers, curves
// as they grow, failures.
package dashboard

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"advsweep/report"
	"advsweep/stat"
)

// A Snapshotter says how a study stands. The page calls Snapshot from one goroutine at a time,
// about once a second at most, however many people look. What it returns must not change
// afterwards.
type Snapshotter interface {
	Snapshot() (*Snapshot, error)
}

// A Snapshot is a study at one moment.
type Snapshot struct {
	Study   string
	Message string // what goes on beside the numbers, such as "merging"
	Now     time.Time
	Started time.Time // zero: not known
	// How many shards there are, and how many of them are done, in hand or given up. None counts as
	// two of these.
	Total, Done, Running, Failed int
	PerMinute                    float64       // shards done a minute lately, 0: not known
	Left                         time.Duration // until all is done, as it goes now; 0: not known
	Workers                      []Worker
	Failures                     []Failure
	Runs                         []Run // in the study's order
	// Finished says that nothing will change any more: the page stops asking.
	Finished bool
	Results  []Result
}

// A Worker is one that works on shards.
type Worker struct {
	Name, Device, Arithmetic string
	Shard                    string // in hand, empty: none
	Since                    time.Time
	Done, Failed             int
	Heard                    time.Time // when it last said that it lives
}

// A Failure is a shard that failed.
type Failure struct {
	Shard, Run, Worker, Message string
	Attempts                    int
	When                        time.Time
	Final                       bool // it is not tried again
}

// A Run is one run of the study.
type Run struct {
	Name           string
	Done, Total    int // shards
	Running        int // shards
	Failed         int // shards that are given up
	Images         int // that it will have attacked at every eps
	Correct, Clean int // of Clean images that the model has seen as they are, Correct are right
	Curves         []Curve
}

// A Curve is how many of N images, attacked so far, are right at each eps. All are [E], as a
// pipeline.Tally counts them.
type Curve struct {
	Label      string
	Eps        []float64
	Correct, N []int
}

// A Result is a file that the study has left. URL may be empty.
type Result struct{ Name, Path, URL string }

// Options of the page.
type Options struct {
	// Hosts are names by which the page may be asked for, without a port, beside localhost and
	// loopback addresses. Any other name is refused: a web site could point its own name at this
	// address and read the page through a visitor's browser.
	Hosts []string
}

//go:embed page.tmpl fragment.tmpl page.css page.js
var files embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"plural": plural}).ParseFS(files, "*.tmpl"))

// fresh is how long a page is shown before src is asked anew.
const fresh = 900 * time.Millisecond

// Handler serves the page at /, relative to which are all its links. It answers GET and HEAD; it
// loads nothing from elsewhere.
func Handler(src Snapshotter, o Options) http.Handler {
	p := &page{src: src, hosts: o.Hosts}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { p.serve(w, "page.tmpl") })
	mux.HandleFunc("GET /fragment", func(w http.ResponseWriter, r *http.Request) { p.serve(w, "fragment.tmpl") })
	file := func(kind string, data []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			_, _ = w.Write(data) // who has gone needs no answer
		}
	}
	style, _ := files.ReadFile("page.css") // embedded: it is there
	script, _ := files.ReadFile("page.js")
	mux.HandleFunc("GET /page.css", file("text/css", append([]byte(report.Style()), style...)))
	mux.HandleFunc("GET /page.js", file("text/javascript", script))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		if !p.allowed(r.Host) {
			http.Error(w, "dashboard: this page is not served under that name: use localhost, or allow the name", http.StatusMisdirectedRequest)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// A page is the page of one study. Handler sets src and hosts. view changes the rest, under mu.
type page struct {
	src   Snapshotter
	hosts []string

	mu    sync.Mutex
	asked time.Time // monotonic, unlike Snapshot.Now
	last  *view     // what src said then; nil: nothing yet
	err   error     // of asking it
}

// allowed reports whether a Host header names this machine.
func (p *page) allowed(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if addr, err := netip.ParseAddr(name); err == nil && addr.IsLoopback() {
		return true
	}
	same := func(other string) bool { return strings.EqualFold(strings.TrimSuffix(name, "."), other) }
	return same("localhost") || name != "" && slices.ContainsFunc(p.hosts, same)
}

// serve answers with the template of that name.
func (p *page) serve(w http.ResponseWriter, name string) {
	v, err := p.view()
	if err != nil {
		w.Header().Set("Refresh", "5") // this text has no script that would ask again
		http.Error(w, "dashboard: "+err.Error(), http.StatusInternalServerError)
		return
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, v); err != nil {
		http.Error(w, "dashboard: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // who has gone needs no answer
}

// view returns the page as it is now, or as it was less than fresh ago.
func (p *page) view() (*view, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked.IsZero() || time.Since(p.asked) > fresh {
		var s *Snapshot
		if s, p.err = p.src.Snapshot(); p.err == nil {
			p.last = newView(s)
		}
		p.asked = time.Now()
	}
	return p.last, p.err
}

// The page as its templates take it.
type (
	workerView struct {
		Worker
		Since, Heard string
		Silent       bool
	}
	failureView struct {
		Failure
		When string
	}
	lineView struct{ Class, D, Band string }
	runView  struct {
		Name, Shards, Images, Clean string
		Failed                      int
		Lines                       []lineView
		Low, High                   string // the ends of the x axis
		Cells                       []string
	}
	legendView struct{ Class, Label string }
	segment    struct {
		Class    string
		X, Width string
	}
	view struct {
		*Snapshot
		Bar                        []segment
		Percent, Rate, ETA, Since  string
		Waiting                    int
		Workers                    []workerView
		Dead, Again                []failureView
		Legend                     []legendView
		Charts, Rest, Ended, Fresh []runView
	}
)

const (
	// Runs in work that have a chart of their own.
	maxCharts = 24
	// Failures that are shown of each kind.
	maxFailures = 200
	// A worker that has not been heard of for so long is marked.
	silent = 30 * time.Second
)

// newView returns what the templates show of s.
func newView(s *Snapshot) *view {
	v := &view{Snapshot: s, Waiting: max(0, s.Total-s.Done-s.Running-s.Failed)}
	share := func(n int) float64 {
		if s.Total <= 0 {
			return 0
		}
		return min(1, max(0, float64(n)/float64(s.Total)))
	}
	at := 0.0
	for _, bar := range []struct {
		class string
		n     int
	}{{"done", s.Done}, {"failed", s.Failed}, {"running", s.Running}} {
		width := min(1000*share(bar.n), 1000-at)
		if bar.n > 0 {
			v.Bar = append(v.Bar, segment{bar.class, length(at), length(max(width, 2))})
		}
		at += width
	}
	v.Percent = strconv.FormatFloat(math.Floor(1000*share(s.Done))/10, 'f', 1, 64) // 100.0 is all
	if s.PerMinute > 0 {
		v.Rate = strconv.FormatFloat(s.PerMinute, 'g', 3, 64)
		if s.PerMinute >= 1000 {
			v.Rate = strconv.FormatFloat(s.PerMinute, 'f', 0, 64)
		}
	}
	if s.Left > 0 && !s.Finished {
		v.ETA = span(s.Left)
	}
	if !s.Started.IsZero() {
		v.Since = span(s.Now.Sub(s.Started))
	}
	for _, w := range s.Workers {
		one := workerView{Worker: w, Silent: !s.Finished && s.Now.Sub(w.Heard) > silent, Heard: ago(s.Now, w.Heard)}
		if w.Shard != "" && !w.Since.IsZero() {
			one.Since = span(s.Now.Sub(w.Since))
		}
		v.Workers = append(v.Workers, one)
	}
	for _, f := range s.Failures {
		one := failureView{f, ago(s.Now, f.When)}
		if f.Final {
			v.Dead = append(v.Dead, one)
		} else {
			v.Again = append(v.Again, one)
		}
	}
	classes := map[string]string{}
	for _, r := range s.Runs {
		for _, c := range r.Curves {
			if _, ok := classes[c.Label]; !ok {
				k := len(classes)
				class := fmt.Sprintf("s%d", k%6)
				if k >= 6 {
					class += fmt.Sprintf(" d%d", min(k/6, 2))
				}
				classes[c.Label] = class
				v.Legend = append(v.Legend, legendView{class, c.Label})
			}
		}
	}
	for _, r := range s.Runs {
		switch {
		case r.Done+r.Failed >= r.Total && r.Total > 0:
			v.Ended = append(v.Ended, newRun(r, classes, 30))
		case r.Done == 0 && r.Running == 0 && r.Failed == 0:
			v.Fresh = append(v.Fresh, runView{Name: r.Name, Shards: strconv.Itoa(r.Total)})
		case len(v.Charts) < maxCharts:
			v.Charts = append(v.Charts, newRun(r, classes, 200))
		default:
			v.Rest = append(v.Rest, newRun(r, classes, 30))
		}
	}
	return v
}

// First are at most maxFailures of those in f.
func (v *view) First(f []failureView) []failureView { return f[:min(len(f), maxFailures)] }

// newRun draws the curves of r in a box of 200 by 100, of at most so many points.
func newRun(r Run, classes map[string]string, most int) runView {
	v := runView{Name: r.Name, Shards: fmt.Sprintf("%d/%d", r.Done, r.Total), Failed: r.Failed}
	least, greatest := math.MaxInt, 0
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, c := range r.Curves {
		for e, eps := range c.Eps {
			if e < len(c.N) {
				least, greatest = min(least, c.N[e]), max(greatest, c.N[e])
			}
			lo, hi = min(lo, eps), max(hi, eps)
		}
	}
	switch {
	case greatest == 0:
		v.Images = "no image yet"
	case least == greatest && greatest == r.Images:
		v.Images = plural(r.Images, "image", "images")
	case least == greatest:
		v.Images = fmt.Sprintf("%d of %d images", greatest, r.Images)
	default:
		v.Images = fmt.Sprintf("%d–%d of %d images", least, greatest, r.Images)
	}
	if r.Clean > 0 {
		v.Clean = percent(r.Correct, r.Clean)
	}
	if lo <= hi {
		v.Low, v.High = strconv.FormatFloat(lo, 'g', 4, 64), strconv.FormatFloat(hi, 'g', 4, 64)
	}
	for _, c := range r.Curves {
		line := lineView{Class: classes[c.Label]}
		var top, bottom []string
		E := min(len(c.Eps), len(c.N), len(c.Correct))
		last := -1
		for k := range min(E, most) {
			e := k
			if E > most {
				e = k * (E - 1) / (most - 1)
			}
			if c.N[e] <= 0 || c.Correct[e] < 0 || c.Correct[e] > c.N[e] {
				continue
			}
			x := 100.0
			if hi > lo {
				x = 200 * (c.Eps[e] - lo) / (hi - lo)
			}
			share := float64(c.Correct[e]) / float64(c.N[e])
			low, high := stat.Wilson(c.Correct[e], c.N[e])
			line.D += verb(line.D) + length(x) + " " + length(100-100*share)
			top = append(top, length(x)+" "+length(100-100*high))
			bottom = append(bottom, length(x)+" "+length(100-100*low))
			last = e
		}
		if len(top) == 1 {
			line.D += "h.01" // a dot, of a round cap
		}
		if len(top) > 1 && most > 30 {
			slices.Reverse(bottom)
			line.Band = "M" + strings.Join(top, "L") + "L" + strings.Join(bottom, "L") + "Z"
		}
		text := c.Label + " –"
		if last >= 0 {
			text = c.Label + " " + percent(c.Correct[last], c.N[last])
		}
		v.Cells = append(v.Cells, text)
		v.Lines = append(v.Lines, line)
	}
	return v
}

// verb returns the letter that goes before the next point of an SVG path d: M for the first, else
// L.
func verb(d string) string {
	if d == "" {
		return "M"
	}
	return "L"
}

// length returns v as an SVG length, to a tenth: the eye sees no more.
func length(v float64) string { return strconv.FormatFloat(math.Round(10*v)/10, 'f', -1, 64) }

func percent(k, n int) string {
	return strconv.FormatFloat(100*float64(k)/float64(n), 'f', 1, 64) + " %"
}

// plural returns n with one or many after it, as n wants it.
func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// span returns d for a person, in its two largest units: "3 d 4 h", "2 min 5 s".
func span(d time.Duration) string {
	s := int64(max(0, d).Round(time.Second) / time.Second)
	switch {
	case s >= 86400:
		return fmt.Sprintf("%d d %d h", s/86400, s%86400/3600)
	case s >= 3600:
		return fmt.Sprintf("%d h %d min", s/3600, s%3600/60)
	case s >= 60:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	return fmt.Sprintf("%d s", s)
}

func ago(now, then time.Time) string {
	if then.IsZero() {
		return "never"
	}
	return span(now.Sub(then)) + " ago"
}
