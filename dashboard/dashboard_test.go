package dashboard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"advsweep/stat"

	"golang.org/x/net/html"
)

type source func() (*Snapshot, error)

func (f source) Snapshot() (*Snapshot, error) { return f() }

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// at is a made-up study of so many runs of 4 shards after done of them, whose names and messages
// hold name.
func at(runs, done int, name string) *Snapshot {
	s := &Snapshot{
		Study: name, Message: name, Now: noon, Started: noon.Add(-90 * time.Second), Total: 4 * runs, Done: done, PerMinute: 4.5, Left: 3*time.Hour + 5*time.Minute,
		Workers: []Worker{
			{name + " a", name, name, "0123456789ab", noon.Add(-12 * time.Second), 3, 0, noon.Add(-2 * time.Second)},
			{name + " b", "cuda:0", "3xtf32", "", time.Time{}, 1, 2, noon.Add(-2 * time.Minute)},
		},
		Failures: []Failure{
			{"feed", name, name, "memory: " + name, 3, noon.Add(-time.Minute), true},
			{"beef", name, name, "again: " + name, 1, noon.Add(-time.Hour), false},
		},
		Running: min(1, 4*runs-done), Failed: 0,
		Results: []Result{{name, "study/" + name, name}},
	}
	for i := range runs {
		here := min(4, max(0, done-4*i))
		r := Run{Name: fmt.Sprintf("run %d %s", i, name), Done: here, Total: 4, Images: 400, Correct: 97 * here, Clean: 100 * here}
		if i == done/4 {
			r.Running = s.Running
		}
		for k := range 3 {
			c := Curve{Label: fmt.Sprintf("attack %d %s", k, name), Eps: []float64{0, 0.1, 0.3}}
			for e := range c.Eps {
				n := 100 * here
				if k == 2 {
					n = max(0, n-100) // it comes later
				}
				c.N, c.Correct = append(c.N, n), append(c.Correct, n*(10-(k+2)*e)/10)
			}
			r.Curves = append(r.Curves, c)
		}
		s.Runs = append(s.Runs, r)
	}
	s.Finished = done == s.Total
	return s
}

func get(t testing.TB, h http.Handler, method, path, host string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(method, path, nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// show is the page of s.
func show(t testing.TB, s *Snapshot, path string) *html.Node {
	t.Helper()
	res := get(t, Handler(source(func() (*Snapshot, error) { return s, nil }), Options{}), "GET", path, "localhost:80")
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%s: %s, %s: %s", path, res.Status, res.Header.Get("Content-Type"), body)
	}
	for _, bad := range []string{"NaN", "Inf", "%!"} {
		if strings.Contains(string(body), bad) {
			t.Errorf("%s in %s", bad, body)
		}
	}
	doc, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func find(doc *html.Node, kind string) (all []*html.Node) {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (kind == "" || n.Data == kind) {
			all = append(all, n)
		}
	}
	return all
}

func part(t testing.TB, doc *html.Node, id string) *html.Node {
	t.Helper()
	for _, n := range find(doc, "") {
		if attr(n, "id") == id {
			return n
		}
	}
	t.Fatalf("no part %s", id)
	return nil
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// TestNumbers holds what the page says against the snapshot.
func TestNumbers(t *testing.T) {
	s := at(5, 10, "x")
	s.Failed, s.Running = 2, 3
	for _, path := range []string{"/", "/fragment"} {
		doc := show(t, s, path)
		for id, want := range map[string]string{
			"progress": "Done 50.0 % 10 of 20 shards In work 3 5 waiting Failed 2 given up Left 3 h 5 min 4.5 shards a minute; for 1 min 30 s so far x",
			"workers":  "Workers worker device arithmetic shard in hand for done failed last heard x a x x 0123456789ab 12 s 3 0 2 s ago x b cuda:0 3xtf32 – 1 2 2 min 0 s ago",
			"failures": "Failures 1 shard given up shard run worker attempts when message feed x x 3 1 min 0 s ago memory: x",
			"again":    "1 shard failed and tried again shard run worker attempts when message beef x x 1 1 h 0 min ago again: x",
			"results":  "Results x study/x",
			"fresh":    "2 runs not begun run 3 x 4 run 4 x 4",
		} {
			if got := text(part(t, doc, id)); got != want {
				t.Errorf("%s: %q, want %q", id, got, want)
			}
		}
		var silent []string
		for _, tr := range find(part(t, doc, "workers"), "tr") {
			if attr(tr, "class") == "silent" {
				silent = append(silent, text(tr))
			}
		}
		if len(silent) != 1 || !strings.HasPrefix(silent[0], "x b") {
			t.Errorf("silent: %q, want x b", silent)
		}
		// 10, 2 and 3 of 20 on a bar of 1000.
		var bar []string
		for _, r := range find(part(t, doc, "progress"), "rect") {
			bar = append(bar, attr(r, "class")+" "+attr(r, "x")+" "+attr(r, "width"))
		}
		if want := []string{"all  1000", "done 0 500", "failed 500 100", "running 600 150"}; !slices.Equal(bar, want) {
			t.Errorf("bar %q, want %q", bar, want)
		}
		if got := text(part(t, doc, "ended")); !strings.HasPrefix(got, "2 runs ended") || !strings.Contains(got, "run 1 x 4/4 300–400 of 400 images 97.0 % attack 0 x 60.0 % attack 1 x 40.0 % attack 2 x 20.0 %") {
			t.Errorf("ended: %q", got)
		}
		curves := part(t, doc, "curves")
		if got := text(curves); !strings.Contains(got, "run 2 x") || strings.Contains(got, "run 1 x") || !strings.Contains(got, "100–200 of 400 images; 97.0 % right as they are; shards 2/4") {
			t.Errorf("curves: %q", got)
		}
		// The line of the second attack: 200 of 200, 140 and 80, at 0, 1/3 and all of the width;
		// its band is Wilson's.
		var lines, bands []string
		for _, p := range find(curves, "path") {
			if p.Parent.Data == "g" && attr(p.Parent, "class") == "s1" && attr(p.Parent.Parent, "class") == "curve" {
				if attr(p, "class") == "line" {
					lines = append(lines, attr(p, "d"))
				} else {
					bands = append(bands, attr(p, "d"))
				}
			}
		}
		if want := []string{"M0 0L66.7 30L200 60"}; !slices.Equal(lines, want) {
			t.Errorf("lines %q, want %q", lines, want)
		}
		var ends [2]string
		for i, k := range []int{200, 80} {
			low, high := stat.Wilson(k, 200)
			if i == 0 {
				ends[0] = fmt.Sprintf("M0 %sL", length(100-100*high))
			} else {
				ends[1] = fmt.Sprintf("L200 %sL200 %sL", length(100-100*high), length(100-100*low))
			}
		}
		if len(bands) != 1 || !strings.HasPrefix(bands[0], ends[0]) || !strings.Contains(bands[0], ends[1]) {
			t.Errorf("bands %q, want %q", bands, ends)
		}
	}
}

// TestSizes: nothing yet, all done, hundreds of runs, and snapshots that contradict themselves.
func TestSizes(t *testing.T) {
	doc := show(t, &Snapshot{}, "/")
	if got := text(part(t, doc, "main")); !strings.Contains(got, "0.0 % 0 of 0 shards") || !strings.Contains(got, "None has been heard of.") || !strings.Contains(got, "No run is in work.") {
		t.Errorf("empty: %s", got)
	}
	doc = show(t, at(2, 8, "x"), "/")
	if got := text(part(t, doc, "progress")); !strings.Contains(got, "100.0 %") || !strings.Contains(got, "Took 1 min 30 s") || attr(part(t, doc, "progress"), "data-finished") != "true" {
		t.Errorf("finished: %s", got)
	}
	for _, n := range find(doc, "tr") {
		if attr(n, "class") == "silent" {
			t.Error("a worker of a finished study is missed")
		}
	}
	if len(find(doc, "noscript")) != 0 || len(find(show(t, at(2, 7, "x"), "/"), "noscript")) != 1 {
		t.Error("without a script the page must renew itself until the study is finished")
	}
	// never 100.0 before the end
	if got := text(part(t, show(t, at(1000, 3999, "x"), "/"), "progress")); !strings.Contains(got, "99.9 %") {
		t.Errorf("nearly done: %s", got)
	}
	many := at(300, 4*100, "x")
	for i := 100; i < 160; i++ {
		many.Runs[i].Running = 1
	}
	doc = show(t, many, "/")
	if n := len(find(part(t, doc, "curves"), "figure")); n != maxCharts {
		t.Errorf("%d charts, want %d", n, maxCharts)
	}
	for id, want := range map[string]string{"rest": "36 more in work", "ended": "100 runs ended", "fresh": "140 runs not begun"} {
		if got := text(part(t, doc, id)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %.60q, want %q", id, got, want)
		}
	}
	for _, d := range find(doc, "details") {
		if attr(d, "id") != "dead-list" && slices.ContainsFunc(d.Attr, func(a html.Attribute) bool { return a.Key == "open" }) {
			t.Errorf("%s is open", attr(d, "id"))
		}
	}
	odd := at(3, 5, "x")
	odd.Done, odd.Failed, odd.Running = 90, 4, -2
	odd.Runs[1].Curves[0] = Curve{"odd", []float64{0.1, 0.2}, []int{5}, []int{3, 4, 5}}
	odd.Runs[1].Curves[1] = Curve{Label: "none"}
	odd.Runs[1].Curves[2] = Curve{"one", []float64{0.1}, []int{5}, []int{9}}
	odd.Runs[1].Done, odd.Runs[1].Running = 2, 1
	for _, p := range find(part(t, show(t, odd, "/"), "curves"), "path") {
		// 5 of 9 at the least eps
		if attr(p, "class") == "line" && attr(p.Parent.Parent, "class") == "curve" && attr(p, "d") != "" && attr(p, "d") != "M0 44.4h.01" {
			t.Errorf("a curve of no images, or of more right ones than images: %q", attr(p, "d"))
		}
	}
	failed := at(2, 3, "x")
	failed.Runs[0].Failed = 1
	if got := text(part(t, show(t, failed, "/"), "ended")); !strings.Contains(got, "run 0 x 3/4 1 failed") {
		t.Errorf("a run whose last shard is given up: %q", got)
	}
	// Of more eps than the eye can tell the first, the last and some between.
	fine := at(1, 2, "x")
	c := Curve{Label: "fine"}
	for e := range 1001 {
		c.Eps, c.N, c.Correct = append(c.Eps, float64(e)/1000), append(c.N, 1000), append(c.Correct, 1000-e)
	}
	fine.Runs[0].Curves = []Curve{c}
	for _, p := range find(part(t, show(t, fine, "/"), "curves"), "path") {
		if d := attr(p, "d"); attr(p, "class") == "line" && attr(p.Parent.Parent, "class") == "curve" && (!strings.HasPrefix(d, "M0 0L") || !strings.HasSuffix(d, "L200 100") || strings.Count(d, "L") != 199) {
			t.Errorf("1001 eps: %q", d)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59*time.Second + 600*time.Millisecond: "1 min 0 s", time.Hour - time.Second: "59 min 59 s", 25*time.Hour + 5*time.Minute: "1 d 1 h", 400 * time.Millisecond: "0 s",
		math.MaxInt64: "106751 d 23 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// TestHosts: under a name that is not this machine's there is no page, whatever the path.
func TestHosts(t *testing.T) {
	h := Handler(source(func() (*Snapshot, error) { return at(1, 1, "secret"), nil }), Options{Hosts: []string{"box.lan", "10.1.2.3", ""}})
	for host, want := range map[string]bool{
		"localhost": true, "localhost:8080": true, "LOCALHOST.:1": true, "127.0.0.1:8080": true, "127.9.9.9": true, "[::1]:80": true, "[::1]": true, "[::ffff:127.0.0.1]:80": true,
		"box.lan": true, "Box.LAN:99": true, "10.1.2.3:8080": true,
		"": false, "evil.example": false, "localhost.evil.example:80": false, "127.0.0.1.evil.example": false, "10.1.2.4": false, "0.0.0.0:80": false, "[::]:80": false, "evil.example:127": false,
		"localhost:80:80": false, "box.lan.": true, "xbox.lan": false, "2130706433": false, "@localhost": false,
	} {
		for _, path := range []string{"/", "/fragment", "/page.js", "/page.css"} {
			res := get(t, h, "GET", path, host)
			body, _ := io.ReadAll(res.Body)
			if ok := res.StatusCode == http.StatusOK; ok != want || !ok && (res.StatusCode != http.StatusMisdirectedRequest || strings.Contains(string(body), "secret")) {
				t.Errorf("host %q, %s: %s", host, path, res.Status)
			}
		}
	}
	if res := get(t, Handler(source(func() (*Snapshot, error) { return at(1, 1, "x"), nil }), Options{}), "GET", "/", "box.lan"); res.StatusCode == http.StatusOK {
		t.Error("a name that was not allowed")
	}
}

// TestHeaders: every answer forbids to load anything from elsewhere, to frame it and to keep it;
// other methods are refused.
func TestHeaders(t *testing.T) {
	h := Handler(source(func() (*Snapshot, error) { return at(1, 1, "x"), nil }), Options{})
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/", 200}, {"HEAD", "/", 200}, {"GET", "/fragment", 200}, {"GET", "/page.js", 200}, {"GET", "/page.css", 200}, {"GET", "/other", 404}, {"GET", "/page.tmpl", 404},
		{"POST", "/", 405}, {"PUT", "/fragment", 405}, {"DELETE", "/page.js", 405}, {"OPTIONS", "/", 405},
	} {
		res := get(t, h, c.method, c.path, "localhost")
		if res.StatusCode != c.status {
			t.Errorf("%s %s: %s, want %d", c.method, c.path, res.Status, c.status)
		}
		csp := res.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} {
			if !strings.Contains(csp, want) || strings.Contains(csp, "unsafe") {
				t.Errorf("%s %s: policy %q, want %q", c.method, c.path, csp, want)
			}
		}
		for key, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer", "Access-Control-Allow-Origin": ""} {
			if got := res.Header.Get(key); got != want {
				t.Errorf("%s %s: %s %q, want %q", c.method, c.path, key, got, want)
			}
		}
	}
	// The page keeps to its own policy: nothing inline, nothing from elsewhere.
	for _, n := range find(show(t, at(3, 5, "x"), "/"), "") {
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") || (a.Key == "src" || a.Key == "href") && (strings.Contains(a.Val, "//") || strings.HasPrefix(a.Val, "/")) {
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			}
		}
		if n.Data == "style" || n.Data == "script" && (n.FirstChild != nil || attr(n, "src") != "page.js") {
			t.Errorf("<%s> inline", n.Data)
		}
	}
}

// TestEscapes puts names and messages that are HTML wherever one goes.
func TestEscapes(t *testing.T) {
	for _, path := range []string{"/", "/fragment"} {
		want := len(find(show(t, at(4, 6, "plain"), path), ""))
		for _, name := range []string{`</script><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onload='alert(1)`, `</section></svg><b>`, `<!--`, `javascript:alert(1)`, "data:text/html,<script>alert(1)</script>", `{{.}}`, "</noscript><b>"} {
			doc := show(t, at(4, 6, name), path)
			if got := len(find(doc, "")); got != want {
				t.Errorf("%s: %d elements, want %d", name, got, want)
			}
			for _, n := range find(doc, "") {
				for _, a := range n.Attr {
					if strings.HasPrefix(a.Key, "on") || a.Key == "href" && n.Data == "a" && strings.Contains(strings.ToLower(a.Val), "script:") {
						t.Errorf("%s: <%s %s=%q>", name, n.Data, a.Key, a.Val)
					}
				}
			}
			if got := strings.Count(text(doc), strings.Join(strings.Fields(name), " ")); got < 20 {
				t.Errorf("%s: %d times there as text", name, got)
			}
		}
	}
}

// TestFresh: however many look at once, the source is asked once; one that fails is told of, and
// asked again.
func TestFresh(t *testing.T) {
	var asked atomic.Int32
	h := Handler(source(func() (*Snapshot, error) { asked.Add(1); return at(1, 1, "x"), nil }), Options{})
	var group sync.WaitGroup
	begun := time.Now()
	for range 50 {
		group.Go(func() { get(t, h, "GET", "/fragment", "localhost") })
	}
	group.Wait()
	if n := asked.Load(); n != 1 && time.Since(begun) < fresh {
		t.Errorf("asked %d times, want once", n)
	}

	fails := true
	p := &page{src: source(func() (*Snapshot, error) {
		if fails {
			return nil, errors.New("plan.json: <b>gone</b>")
		}
		return at(1, 1, "x"), nil
	})}
	w := httptest.NewRecorder()
	p.serve(w, "page.tmpl")
	if res := w.Result(); res.StatusCode != http.StatusInternalServerError || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain") || !strings.Contains(w.Body.String(), "gone") || res.Header.Get("Refresh") == "" {
		t.Errorf("%s, %v: %s", res.Status, res.Header, w.Body)
	}
	fails, p.asked = false, time.Now().Add(-2*fresh)
	w = httptest.NewRecorder()
	p.serve(w, "page.tmpl")
	if w.Code != http.StatusOK {
		t.Errorf("after the error: %d", w.Code)
	}
}

// browse is what the page at a URL has become after 7 s of its clock, and what the browser
// complained of.
func browse(t *testing.T, url string) (doc *html.Node, log string) {
	t.Helper()
	chromium := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			chromium = path
			break
		}
	}
	if chromium == "" {
		t.Skip("no chromium, chromium-browser or google-chrome in PATH")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--enable-logging=stderr", "--user-data-dir="+t.TempDir(), "--virtual-time-budget=7000", "--dump-dom", url)
	c.Env = append(os.Environ(), "HOME="+t.TempDir())
	var errs strings.Builder
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	if doc, err = html.Parse(strings.NewReader(string(out))); err != nil {
		t.Fatal(err)
	}
	return doc, errs.String()
}

// TestChromium opens the page of a study that goes on: without being loaded again it comes to show
// the end, keeps open what was opened, and breaks no rule of its policy.
func TestChromium(t *testing.T) {
	var pages, fragments atomic.Int32
	h := Handler(source(func() (*Snapshot, error) { return at(6, min(24, 14+5*int(fragments.Load())), "x"), nil }), Options{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			pages.Add(1)
			w2 := httptest.NewRecorder()
			h.ServeHTTP(w2, r)
			for key, values := range w2.Header() {
				w.Header()[key] = values
			}
			// as a reader does
			opened := strings.Replace(w2.Body.String(), `<details id="again-list">`, `<details id="again-list" open>`, 1)
			_, _ = io.WriteString(w, opened)
			return
		case "/fragment":
			fragments.Add(1)
			time.Sleep(fresh + 100*time.Millisecond) // of the page's own clock this takes nothing
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	doc, log := browse(t, server.URL+"/")
	if got := text(part(t, doc, "progress")); !strings.Contains(got, "24 of 24 shards") || attr(part(t, doc, "progress"), "data-finished") != "true" {
		t.Errorf("progress: %q after %d fragments", got, fragments.Load())
	}
	if got := text(part(t, doc, "ended")); !strings.HasPrefix(got, "6 runs ended") {
		t.Errorf("ended: %.60q", got)
	}
	for id, want := range map[string]bool{"again-list": true, "ended-list": false} {
		if open := slices.ContainsFunc(part(t, doc, id).Attr, func(a html.Attribute) bool { return a.Key == "open" }); open != want {
			t.Errorf("%s is open: %v, want %v", id, open, want)
		}
	}
	// 14, 19, 24: then it is finished and asks no more
	if pages.Load() != 1 || fragments.Load() != 2 {
		t.Errorf("%d pages and %d fragments, want 1 and 2", pages.Load(), fragments.Load())
	}
	if strings.Contains(log, "Content Security Policy") || strings.Contains(log, "Uncaught") {
		t.Errorf("the browser complains: %s", log)
	}
}

// TestChromiumLost: a page whose server has nothing to say any more keeps what it has and says so.
func TestChromiumLost(t *testing.T) {
	asked := 0
	h := Handler(source(func() (*Snapshot, error) {
		if asked++; asked > 1 {
			return nil, errors.New("the <b>folder</b> is gone")
		}
		return at(6, 14, "x"), nil
	}), Options{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fragment" {
			time.Sleep(fresh + 100*time.Millisecond)
		}
		h.ServeHTTP(w, r)
	}))
	defer server.Close()
	doc, _ := browse(t, server.URL+"/")
	lost := part(t, doc, "lost")
	if got := text(lost); !strings.HasPrefix(got, "Nothing new for ") || !strings.HasSuffix(got, "dashboard: the <b>folder</b> is gone") || slices.ContainsFunc(lost.Attr, func(a html.Attribute) bool { return a.Key == "hidden" }) {
		t.Errorf("lost: %q, %v", got, lost.Attr)
	}
	if got := text(part(t, doc, "progress")); !strings.Contains(got, "14 of 24 shards") {
		t.Errorf("progress: %q", got)
	}
}
