package report

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"image"
	"image/png"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
	"advsweep/record"

	"golang.org/x/net/html"
	"gorgonia.org/tensor"
)

// swept is a made-up sweep of 40 images of 4 classes in which image i fails under attack k at
// eps[e] if i < share. Image 39 is wrong as it is, image 38 has a zero gradient, images 30 to 37
// are never fooled.
func swept(eps ...float64) *pipeline.Result {
	const n = 40
	r := &pipeline.Result{N: n, First: 100, Clean: n - 1, Classes: 4, Eps: eps, Images: make([]pipeline.Clean, n)}
	for i := range r.Images {
		y := int32(i % 4)
		r.Images[i] = pipeline.Clean{Label: y, Class: y, Least: (y + 2) % 4, Margin: 1 + float32(i)}
	}
	r.Images[n-1].Class = 0
	for k, a := range []attack.Attack{attack.FGSM(), attack.BIM(5), attack.Noise(7)} {
		c := pipeline.Curve{Attack: a, Correct: make([]int, len(eps)), ZeroGradient: make([]int, len(eps)), Outcomes: make([]pipeline.Outcome, n*len(eps))}
		for i := range n {
			for e, v := range eps {
				reach := int(v * []float64{100, 150, 20}[k])
				o := pipeline.Outcome{Class: r.Images[i].Class, Margin: float32(i-reach) + 0.5, Norms: attack.Norms{Linf: float32(v), L2: float32(28 * v), L0: 784}}
				if i < min(reach, 30) {
					o.Class = (o.Class + 1) % 4
				}
				if v == 0 {
					o.Margin = r.Images[i].Margin
					o.Norms = attack.Norms{}
				}
				o.Rounded = o.Class
				if i == 0 {
					o.Rounded = r.Images[i].Label
				}
				if i == 38 && k < 2 && v > 0 {
					o.Zero, o.Norms = true, attack.Norms{}
					c.ZeroGradient[e]++
				}
				if o.Class == r.Images[i].Label {
					c.Correct[e]++
				}
				c.Outcomes[i*len(eps)+e] = o
			}
		}
		if k < 2 {
			c.ZeroImages = []int{138}
		}
		r.Curves = append(r.Curves, c)
	}
	return r
}

// page is that of swept with names that nobody should take for HTML.
func page(r *pipeline.Result, name string) Page {
	m := &record.Manifest{
		Meta: record.Meta{Version: record.Version, Model: record.Model{Source: record.Source{Name: name, SHA256: strings.Repeat("a1", 32)}}, Data: record.Data{
			Images: record.Source{Name: name + " images", SHA256: strings.Repeat("b2", 32)}, Labels: record.Source{Name: name + " labels", SHA256: strings.Repeat("c3", 32)}, Offset: r.First, N: r.N, SHA256: strings.Repeat("d4", 32),
		}, Seed: 11, Backend: "cpu", Precision: "float32"},
		Arithmetic: "float32", Layers: "4-3-4", Shape: []int{2, 2}, Classes: r.Classes, ClassNames: []string{"cat", name, "dog", "bird"},
		Eps: r.Eps, Bounds: r.Bounds.String(),
	}
	for _, c := range r.Curves {
		m.Attacks = append(m.Attacks, c.Attack)
	}
	return Page{Manifest: m, Result: r, Confusion: -1}
}

// withPictures adds the ranking of p and made-up pictures of it.
func withPictures(t *testing.T, p Page, shape ...int) Page {
	t.Helper()
	k, ok := Rank(p.Result, 2)
	if !ok {
		t.Fatal("no ranking")
	}
	p.Ranking = &k
	for _, one := range append(slices.Clone(k.Least), k.Most...) {
		n := tensor.Shape(shape).TotalSize()
		x, z := make([]float64, n), make([]float64, n)
		for i := range x {
			x[i] = float64(i) / float64(n)
			z[i] = x[i] + 0.05*float64(1-2*(i%2))
		}
		class := p.Result.Curves[k.Curve].Class(one.Image, one.At)
		p.Examples = append(p.Examples, &pipeline.Example{
			Index: p.Result.First + one.Image, Label: int(p.Result.Images[one.Image].Label), Attack: p.Result.Curves[k.Curve].Attack, Eps: p.Result.Eps[one.At],
			Original:    pipeline.Prediction{Class: int(p.Result.Images[one.Image].Class), Logits: make([]float64, 4), Probabilities: []float64{0.125, 0.5, 0.25, 0.125}},
			Adversarial: pipeline.Prediction{Class: int(class), Logits: make([]float64, 4), Probabilities: []float64{0.0001, 0.99999, 0, 0}},
			Clean:       tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x)), Perturbed: tensor.New(tensor.WithShape(shape...), tensor.WithBacking(z)),
		})
	}
	return p
}

func render(t *testing.T, p Page) ([]byte, *html.Node) {
	t.Helper()
	data, err := p.HTML()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := html.Parse(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return data, doc
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// find returns the elements of a kind, "" for all.
func find(doc *html.Node, kind string) (all []*html.Node) {
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && (kind == "" || n.Data == kind) {
			all = append(all, n)
		}
	}
	return all
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode && d.Parent.Data != "script" && d.Parent.Data != "style" {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestHTMLHasEveryValue(t *testing.T) {
	r := swept(0, 0.05, 0.1, 0.2, 0.3)
	p := withPictures(t, page(r, "net"), 2, 2)
	p.Run = []byte(`{"version":"` + record.Version + `","backend":"cpu","device":"amd64 avx2","threads":3,"seconds":{"load":1,"compute":2.5,"write":3}}`)
	data, doc := render(t, p)
	again, _ := render(t, p)
	if !bytes.Equal(data, again) {
		t.Error("two pages of the same run differ")
	}
	// The first chart has the values of every curve, with its label, for the script, and as titles
	// without it.
	charts := find(doc, "svg")
	charts = slices.DeleteFunc(charts, func(n *html.Node) bool { return attr(n, "class") != "chart" })
	if len(charts) != 3+4 { // and one for each class
		t.Fatalf("%d charts, want 7", len(charts))
	}
	tips, titles := map[string][]string{}, ""
	for n := range charts[0].Descendants() {
		if n.Data == "g" && attr(n, "data-label") != "" {
			tips[attr(n, "data-label")] = strings.Split(attr(n, "data-tips"), "|")
		}
		if n.Data == "title" {
			titles += textOf(n) + "\n"
		}
	}
	if got, want := attr(charts[0], "data-heads"), "eps 0|eps 0.05|eps 0.1|eps 0.2|eps 0.3"; got != want {
		t.Errorf("heads %q, want %q", got, want)
	}
	if xs := strings.Fields(attr(charts[0], "data-xs")); len(xs) != len(r.Eps) {
		t.Errorf("%d places, want %d", len(xs), len(r.Eps))
	}
	rows := map[string]string{}
	for _, tr := range find(doc, "tr") {
		var cells []string
		for _, c := range find(tr, "") {
			cells = append(cells, textOf(c))
		}
		if len(cells) == 14 {
			rows[cells[0]+" "+cells[1]] = strings.Join(cells[2:], ";")
		}
	}
	all := Rows(r)
	if len(rows) != len(all)+1 {
		t.Errorf("%d rows of numbers, want %d and a head", len(rows), len(all))
	}
	for i, c := range r.Curves {
		for e, eps := range r.Eps {
			w := all[i*len(r.Eps)+e]
			o, right := w.Outcomes, w.Right
			value := strconv.Itoa(right.Count) + " of 40, " + percent(right.Ratio) + " % (" + percent(right.Low) + "–" + percent(right.High) + ")"
			if got := tips[c.Attack.Label()]; len(got) != len(r.Eps) || !strings.HasPrefix(got[e], value) {
				t.Errorf("%s at eps %v: hover %q, want %q", c.Attack.Name, eps, got, value)
			}
			if want := c.Attack.Label() + ", eps " + float(eps) + ": " + value; !strings.Contains(titles, want) {
				t.Errorf("no title %q in\n%s", want, titles)
			}
			want := strings.Join([]string{strconv.Itoa(right.Count), percent(right.Ratio) + " %", percent(right.Low) + "–" + percent(right.High), strconv.Itoa(o.Within), strconv.Itoa(*o.Rounded),
				strconv.Itoa(o.Fooled), percent(o.Success.Ratio) + " %", percent(o.Success.Low) + "–" + percent(o.Success.High), short(o.MeanNorm[0]), short(o.MeanNorm[1]), short(o.MeanNorm[2]), strconv.Itoa(w.ZeroGradient)}, ";")
			if got := rows[c.Attack.Name+" "+float(eps)]; got != want {
				t.Errorf("%s at eps %v: row %q, want %q", c.Attack.Name, eps, got, want)
			}
		}
	}
	text := textOf(doc)
	manifest, err := p.Manifest.JSON()
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(manifest)
	for _, want := range []string{
		"chance, 1/4", "random ±eps", "n = 10", "Least robust", "Most robust", "Image 100, label 0 cat", "Never fooled up to eps 0.3", hex.EncodeToString(id[:]),
		p.Manifest.Model.SHA256, p.Manifest.Data.SHA256, p.Manifest.Data.Images.SHA256, p.Manifest.Data.Labels.SHA256, "amd64 avx2", "compute 2.5", "step size eps/k", "seed 7", "1: 138",
		"Never fooled up to eps 0.3: 9.", "Wrong as they are, and left out: 1.", "0, 0.05, 0.1, 0.2, 0.3", ".125 → <.001", ".500 → >.999",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the text:\n%s", want, text)
		}
	}
	if n := len(find(doc, "img")); n != 3*4 {
		t.Errorf("%d pictures, want 3 of each of 4 images", n)
	}
	// The confusion where BIM leaves nearest to half: all labels, with their counts.
	cells := 0
	for _, td := range find(doc, "td") {
		if strings.HasPrefix(attr(td, "title"), "label ") {
			cells++
		}
	}
	if cells != 2*4*4 {
		t.Errorf("%d cells of confusion, want 32", cells)
	}
}

// TestHTMLIsAlone: nothing is loaded, and only the page's own script may run.
func TestHTMLIsAlone(t *testing.T) {
	p := withPictures(t, page(swept(0, 0.1, 0.2), "net"), 3, 2, 2)
	data, doc := render(t, p)
	if bytes.Contains(data, []byte("http")) && !bytes.Contains(data, []byte("http-equiv")) || bytes.Count(data, []byte("http")) != 1 || bytes.Contains(data, []byte("@import")) || bytes.Contains(data, []byte("url(")) {
		t.Error("a web address or an import in the page")
	}
	scripts := find(doc, "script")
	if len(scripts) != 1 {
		t.Fatalf("%d scripts, want 1", len(scripts))
	}
	sum := sha256.Sum256([]byte(scripts[0].FirstChild.Data))
	policy := ""
	for _, n := range find(doc, "") {
		for _, a := range n.Attr {
			switch key := strings.ToLower(a.Key); {
			case key == "src" || key == "href" || key == "srcset" || key == "action" || key == "data":
				if !strings.HasPrefix(a.Val, "data:image/png;base64,") || n.Data != "img" {
					t.Errorf("<%s %s=%.40q>", n.Data, a.Key, a.Val)
				}
			case strings.HasPrefix(key, "on"):
				t.Errorf("<%s %s=%.40q>", n.Data, a.Key, a.Val)
			case key == "content" && attr(n, "http-equiv") != "":
				policy = a.Val
			}
		}
	}
	if want := "script-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) || !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("policy %q, want %q", policy, want)
	}
	for _, img := range find(doc, "img") {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(attr(img, "src"), "data:image/png;base64,"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := png.Decode(bytes.NewReader(raw))
		if err != nil || m.Bounds() != image.Rect(0, 0, 2, 2) {
			t.Errorf("%s: %v, %v", attr(img, "alt"), m.Bounds(), err)
		}
	}
}

// TestHTMLEscapes puts names that are HTML wherever a file's name or a class's goes.
func TestHTMLEscapes(t *testing.T) {
	_, plain := render(t, withPictures(t, page(swept(0, 0.1, 0.2), "net"), 2, 2))
	want := len(find(plain, ""))
	for _, name := range []string{
		`</script><script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onload='alert(1)`, `</title></style></svg><b>`, `<!--`, `javascript:alert(1)`, "a|b", `{{.}}`,
	} {
		r := swept(0, 0.1, 0.2)
		for i := range r.Curves {
			r.Curves[i].Attack.Name = name + strconv.Itoa(i)
		}
		p := withPictures(t, page(r, name), 2, 2)
		p.Manifest.Layers, p.Manifest.Version, p.NoExamples = name, name, name
		p.Run = []byte(`{"device": ` + strconv.Quote(name) + `}`)
		_, doc := render(t, p)
		// Of run.json there are four lines of three elements instead of one, and there is a note.
		if got := len(find(doc, "")) - want; got != 3*3+1 {
			t.Errorf("%s: %d elements more than with a plain name, want 10", name, got)
		}
		for _, n := range find(doc, "") {
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") {
					t.Errorf("%s: <%s %s>", name, n.Data, a.Key)
				}
			}
		}
		if text := textOf(doc); strings.Count(text, strings.Join(strings.Fields(name), " ")) < 8 {
			t.Errorf("%s: not there as text", name)
		}
	}
}

func TestHTMLWithoutPictures(t *testing.T) {
	r := swept(0, 0.1)
	p := page(r, "net")
	k, _ := Rank(r, 2)
	p.Ranking, p.NoExamples = &k, "the model of the run was not given"
	_, doc := render(t, p)
	if text := textOf(doc); !strings.Contains(text, p.NoExamples) || strings.Contains(text, "Least robust") || !strings.Contains(text, "run.json not there") {
		t.Errorf("text: %s", text)
	}
	if n := len(find(doc, "img")); n != 0 {
		t.Errorf("%d pictures", n)
	}
	p.Examples = make([]*pipeline.Example, 1)
	if _, err := p.HTML(); err == nil {
		t.Error("1 example of 4: no error")
	}
}

// TestHTMLOfAllSizes: one eps, many eps, many classes, eps 0 alone, no attack.
func TestHTMLOfAllSizes(t *testing.T) {
	for _, c := range []struct {
		name  string
		eps   []float64
		edit  func(*Page)
		wants []string
	}{
		{"one eps", []float64{0.1}, nil, []string{"eps 0.1."}},
		{"eps 0", []float64{0}, nil, []string{"eps 0."}},
		{"many eps", grid(1000, 0.3), nil, []string{"Of 1000 eps 201 are shown", "603 rows"}},
		{"many classes", grid(4, 0.3), func(p *Page) { p.Result.Classes, p.Manifest.ClassNames = 300, nil }, []string{"The largest of", "classes.csv has all"}},
		{"noise alone", grid(4, 0.3), func(p *Page) { p.Result.Curves = p.Result.Curves[2:] }, []string{"No attack looks at the model", "There is no order of images"}},
		{"confusion", grid(4, 0.3), func(p *Page) { p.Confusion = 3 }, []string{"BIM, k = 5, eps 0.3"}},
		{"l2", grid(4, 0.3), func(p *Page) {
			for i := range p.Result.Curves {
				p.Result.Curves[i].Attack.Norm = attack.L2
			}
		}, []string{"eps, L2 norm of the perturbation", "FGM, L2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := page(swept(c.eps...), "net")
			if c.edit != nil {
				c.edit(&p)
			}
			data, doc := render(t, p)
			text := textOf(doc)
			for _, want := range c.wants {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in %s", want, text)
				}
			}
			if bytes.Contains(data, []byte("NaN")) || bytes.Contains(data, []byte("Inf")) {
				t.Error("a number that is none")
			}
		})
	}
	p := page(swept(0, 0.1), "net")
	p.Confusion = 2
	if _, err := p.HTML(); err == nil {
		t.Error("confusion at an eps that is not there: no error")
	}
	p = page(result(0, 0.1), "net")
	if _, err := p.HTML(); err == nil || !strings.Contains(err.Error(), "nothing is known of single images") {
		t.Errorf("without outcomes: %v", err)
	}
}

// TestHTMLExact draws an exact curve as its steps.
func TestHTMLExact(t *testing.T) {
	r := swept(0, 0.1, 0.2)
	c := &r.Curves[0]
	c.Exact = &pipeline.Exact{Max: 0.2, Walks: make([]attack.Walk, r.N)}
	for i := range c.Exact.Walks {
		w := &c.Exact.Walks[i]
		w.Class = int(r.Images[i].Class)
		if i < 39 {
			w.Correct = []attack.Interval{{Lo: 0, Hi: min(0.2, 0.0125*float64(i+1))}}
		}
	}
	_, doc := render(t, page(r, "net"))
	for n := range doc.Descendants() {
		if n.Data == "g" && attr(n, "data-label") == "FGSM" {
			for _, path := range find(n, "path") {
				if attr(path, "class") == "line" {
					// 39 right at 0; 15 fail before 0.2; each is a step of two points, and the
					// first and the last one.
					if d := attr(path, "d"); strings.Count(d, "L") != 15*2+1 {
						t.Errorf("line %s: %d points, want 32", d, strings.Count(d, "L")+1)
					}
				}
			}
			break
		}
	}
	if text := textOf(doc); !strings.Contains(text, "FGSM is exact") || !strings.Contains(text, "every eps up to 0.2; of 0 ends 0 disagree") {
		t.Errorf("text: %s", text)
	}
}

func TestRank(t *testing.T) {
	r := swept(0, 0.1, 0.2)
	k, ok := Rank(r, 3)
	// BIM reaches 15 images at 0.1 and 30 at 0.2. Margins grow with the image.
	want := Ranking{Curve: 1, Wrong: 1, Never: 9,
		Least: []Ranked{{0, 0.1, 1}, {1, 0.1, 1}, {2, 0.1, 1}},
		Most:  []Ranked{{38, math.Inf(1), 2}, {37, math.Inf(1), 2}, {36, math.Inf(1), 2}}}
	if !ok || k.Curve != want.Curve || k.Wrong != want.Wrong || k.Never != want.Never || !slices.Equal(k.Least, want.Least) || !slices.Equal(k.Most, want.Most) {
		t.Errorf("got %+v, want %+v", k, want)
	}
	if k, _ := Rank(r, 100); len(k.Least)+len(k.Most) != 39 {
		t.Errorf("%d and %d images of 39", len(k.Least), len(k.Most))
	}
	// 1 at 0, 15 at 0.1, 15 at 0.2, 9 never: the 20th
	if got := medianCritical(r, &r.Curves[1]); got != 0.2 {
		t.Errorf("median critical eps %v, want 0.2", got)
	}
	if got, want := meanAccuracy(r, &r.Curves[1]), (39./2+24+9./2)/2/40; math.Abs(got-want) > 1e-12 || math.IsNaN(got) {
		t.Errorf("mean accuracy %v, want %v", got, want)
	}
	if _, ok := Rank(r.Select(2), 3); ok {
		t.Error("noise alone has an order")
	}
	// An exact curve decides by its own eps.
	c := &r.Curves[1]
	c.Exact = &pipeline.Exact{Max: 0.2, Walks: make([]attack.Walk, r.N)}
	for i := range c.Exact.Walks {
		c.Exact.Walks[i].Correct = []attack.Interval{{Lo: 0, Hi: 0.2}}
	}
	c.Exact.Walks[7].Correct[0].Hi = 0.13
	if k, _ := Rank(r, 1); k.Least[0] != (Ranked{7, 0.13, 2}) || k.Never != 38 {
		t.Errorf("exact: %+v", k)
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*pipeline.Result)
		want string // "" for none
	}{
		{"none", func(r *pipeline.Result) { unzero(r) }, ""},
		{"zero gradient", func(*pipeline.Result) {}, "FGSM: 1 image is right where the gradient is zero in every pixel"},
		{"rises", func(r *pipeline.Result) { unzero(r); setRight(r, 0, 3, 35) }, "accuracy rises from 19 of 40 at eps 0.2 to 35 at eps 0.3"},
		{"a little", func(r *pipeline.Result) { unzero(r); setRight(r, 0, 3, r.Curves[0].Correct[2]+2) }, ""},
		{"weaker than noise", func(r *pipeline.Result) { unzero(r); setRight(r, 1, 2, 39); setRight(r, 2, 2, 12) }, "BIM, k = 5 is weaker than random ±eps at eps 0.2"},
		{"iterated is weaker", func(r *pipeline.Result) { unzero(r); setRight(r, 0, 1, 10); setRight(r, 1, 1, 39) }, "BIM, k = 5 is weaker than one step of FGSM"},
		{"eps 0", func(r *pipeline.Result) { unzero(r); setRight(r, 1, 0, 38) }, "38 images are right instead of 39"},
		{"eps 0 moves", func(r *pipeline.Result) { unzero(r); r.Curves[1].Outcomes[5*4].L0 = 1 }, "BIM, k = 5: at eps 0, where nothing may move, 1 image is moved or judged otherwise."},
		{"no better than chance", func(r *pipeline.Result) {
			unzero(r)
			for i := range r.Images {
				r.Images[i].Class = 1
			}
		}, "no better than chance"},
		{"above chance", func(r *pipeline.Result) {
			unzero(r)
			for i := range r.Curves {
				setRight(r, i, 3, max(30, r.Curves[i].Correct[3]))
			}
			setRight(r, 0, 2, 31)
			setRight(r, 1, 2, 31)
		}, "leaves 30 of 40 images right, above chance"},
		{"short steps", func(r *pipeline.Result) { unzero(r); r.Curves[1].Attack.Size = 0.01 }, "5 steps of 0.01 do not reach eps 0.3"},
		{"no control", func(r *pipeline.Result) { unzero(r); r.Curves = r.Curves[:2] }, "no noise to compare with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := swept(0, 0.1, 0.2, 0.3)
			c.edit(r)
			got := Warnings(r)
			if c.want == "" && got != nil || c.want != "" && !strings.Contains(strings.Join(got, "\n"), c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// setRight makes the last k images right under a curve at eps[e], and the others wrong.
func setRight(r *pipeline.Result, curve, e, k int) {
	c := &r.Curves[curve]
	for i, im := range r.Images {
		o := &c.Outcomes[i*len(r.Eps)+e]
		if o.Class = im.Label; i < r.N-k {
			o.Class = (im.Label + 1) % int32(r.Classes)
		}
	}
	c.Correct[e] = k
}

// unzero gives all images a gradient.
func unzero(r *pipeline.Result) {
	for i := range r.Curves {
		for k := range r.Curves[i].Outcomes {
			r.Curves[i].Outcomes[k].Zero = false
		}
	}
}

func TestMontage(t *testing.T) {
	for _, c := range []struct {
		name  string
		shape tensor.Shape
		names []string
	}{
		{"grey", tensor.Shape{130, 5, 4}, nil},
		{"rgb", tensor.Shape{7, 3, 5, 4}, []string{"a name that is far too long for its place", "b"}},
		{"large", tensor.Shape{2, 300, 400}, nil},
		{"one", tensor.Shape{1, 1, 9}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := c.shape[0]
			x, labels, out := make([]float32, c.shape.TotalSize()), make([]int32, n), make([]pipeline.Outcome, n)
			out[0].Class = 1
			for i := range x {
				x[i] = 0.5
			}
			crafted := &pipeline.Crafted{Attack: attack.FGSM(), Eps: 0.1, Images: tensor.New(tensor.WithShape(c.shape...), tensor.WithBacking(x)), Outcomes: out}
			data, err := Montage(crafted, labels, 3, c.names)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Montage(crafted, labels, 3, c.names)
			if err != nil || !bytes.Equal(data, again) {
				t.Errorf("two montages differ (%v)", err)
			}
			m, err := png.Decode(bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			// The middle of the first image is grey, and its caption, of a wrong one, red.
			red, grey := 0, 0
			for y := range m.Bounds().Dy() {
				for x := range m.Bounds().Dx() {
					switch r, g, b, _ := m.At(x, y).RGBA(); {
					case r>>8 == 178 && g>>8 == 24 && b>>8 == 43:
						red++
					case r>>8 == 128 && r == g && g == b:
						grey++
					}
				}
			}
			if red == 0 || grey < min(n, 100)*9 {
				t.Errorf("%d red and %d grey pixels", red, grey)
			}
			if w := m.Bounds().Dx(); w > 1600 {
				t.Errorf("%d pixels wide", w)
			}
		})
	}
	if _, err := Montage(&pipeline.Crafted{Images: tensor.New(tensor.WithShape(1, 2, 2), tensor.WithBacking(make([]float32, 4)))}, []int32{0, 1}, 0, nil); err == nil {
		t.Error("two labels of one image: no error")
	}
}
