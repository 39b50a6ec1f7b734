package corrupt_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"advsweep/corrupt"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/stat"

	"gorgonia.org/tensor"
)

// opened returns the embedded model on the CPU in float64, and the first n of its images.
func opened(t *testing.T, n, threads int) (*model.Model, pipeline.Backend, *dataset.Set) {
	t.Helper()
	m, err := model.Default()
	if err != nil {
		t.Fatal(err)
	}
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.Slice(100, n); err != nil {
		t.Fatal(err)
	}
	b, err := cpu.New[float64](m, cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return m, b, set
}

func some(t *testing.T, names ...string) (list []corrupt.Corruption) {
	t.Helper()
	for _, name := range names {
		c, err := corrupt.ByName(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// TestRunAgainstReference counts image by image with the float64 judge what Run counts in batches.
func TestRunAgainstReference(t *testing.T) {
	n := testsize.Of(4, 6, 12)
	m, b, set := opened(t, n, 1)
	e := corrupt.Evaluation{Corruptions: some(t, "gaussian_noise", "contrast"), Grid: corrupt.Grid{Rotations: 3, Degrees: 25, Shifts: 3, Pixels: 1}, Seed: 7}
	res, err := e.Run(t.Context(), b, set)
	if err != nil {
		t.Fatal(err)
	}
	pixels := set.Images.Data().([]uint8)
	right := func(i int, change func(corrupt.Image) corrupt.Image) bool {
		im := corrupt.Image{C: 1, H: 28, W: 28, Pixels: make([]float64, 784)}
		for k := range im.Pixels {
			im.Pixels[k] = float64(pixels[i*784+k]) / 255
		}
		z, _ := ref.Forward(m, change(im).Pixels)
		return ref.Argmax(z) == int(set.Labels[i])
	}
	clean, mean := 0, 0
	var rows []int
	for i := range n {
		if right(i, func(im corrupt.Image) corrupt.Image { return im }) {
			clean++
		}
	}
	for _, c := range e.Corruptions {
		for severity := 1; severity <= 5; severity++ {
			sum := 0
			for i := range n {
				if right(i, func(im corrupt.Image) corrupt.Image {
					out, err := c.Apply(im, severity, 7, 100+i)
					if err != nil {
						t.Fatal(err)
					}
					return out
				}) {
					sum++
				}
			}
			rows, mean = append(rows, sum), mean+sum
		}
	}
	worst := n
	each := make([]int, 27)
	for i := range n {
		all := true
		for k, transformation := range e.Grid.Transformations() {
			if right(i, transformation.Apply) {
				each[k]++
			} else {
				all = false
			}
		}
		if !all {
			worst--
		}
	}
	if res.Clean != (corrupt.Count{Right: clean, N: n}) || res.Spatial.Worst != (corrupt.Count{Right: worst, N: n}) {
		t.Errorf("clean %v, worst %v; want %d and %d of %d", res.Clean, res.Spatial.Worst, clean, worst, n)
	}
	if got := res.Mean(); got != (corrupt.Mean{Right: mean, N: n, Times: 10}) || got.Accuracy() != float64(mean)/float64(10*n) {
		t.Errorf("mean %+v, want %d of %d", got, mean, 10*n)
	}
	for i, row := range res.Scores {
		if row.Right != rows[i] || row.Severity != i%5+1 || row.Corruption != e.Corruptions[i/5].Name {
			t.Errorf("row %d: %+v, want %d right", i, row, rows[i])
		}
	}
	for k, c := range res.Spatial.Each {
		if c != (corrupt.Count{Right: each[k], N: n}) {
			t.Errorf("transformation %d: %v, want %d of %d", k, c, each[k], n)
		}
	}
	if res.Spatial.Each[13] != res.Clean { // the middle of 27 moves nothing
		t.Errorf("the identity has %v, clean images %v", res.Spatial.Each[13], res.Clean)
	}
	if least := slices.Min(each); res.Spatial.Each[res.Spatial.Most()].Right != least || slices.Index(each, least) != res.Spatial.Most() {
		t.Errorf("most fooled by transformation %d, want the first of %v with %d", res.Spatial.Most(), each, least)
	}
	if clean == worst || worst == 0 || least(rows) == n {
		t.Errorf("clean %d, worst %d, rows %v: nothing is tested", clean, worst, rows)
	}
}

func least(v []int) int { return slices.Min(v) }

// TestRunIsOneResult: batches, threads and what else is asked for change nothing; another seed
// does.
func TestRunIsOneResult(t *testing.T) {
	_, b, set := opened(t, 40, 1)
	e := corrupt.Evaluation{Corruptions: some(t, "gaussian_noise", "shot_noise", "impulse_noise"), Grid: corrupt.Grid{Rotations: 3, Degrees: 30, Shifts: 1}, Seed: 2}
	run := func(e corrupt.Evaluation, b pipeline.Backend, set *dataset.Set) *corrupt.Result {
		t.Helper()
		res, err := e.Run(t.Context(), b, set)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	want := run(e, b, set)
	total := 0
	e.Rows, e.Progress = 7, func(done, all int) {
		if total = all; done > all {
			t.Errorf("%d of %d are done", done, all)
		}
	}
	if got := run(e, b, set); !reflect.DeepEqual(got, want) {
		t.Errorf("batches of 7: %+v, want %+v", got, want)
	}
	if total != 40*(1+15+3) {
		t.Errorf("%d looks, want %d", total, 40*(1+15+3))
	}
	e.Rows, e.Progress = 0, nil
	_, two, _ := opened(t, 40, 2)
	if got := run(e, two, set); !reflect.DeepEqual(got, want) {
		t.Errorf("two threads: %+v, want %+v", got, want)
	}
	// Parts of the images add up: a draw does not know what came before.
	var parts [2]*corrupt.Result
	for i, cut := range [][2]int{{0, 13}, {13, 27}} {
		half, err := set.Slice(cut[0], cut[1])
		if err != nil {
			t.Fatal(err)
		}
		parts[i] = run(e, b, half)
	}
	for i, row := range want.Scores {
		if got := parts[0].Scores[i].Right + parts[1].Scores[i].Right; got != row.Right {
			t.Errorf("%s %d: %d in two parts, %d in one", row.Corruption, row.Severity, got, row.Right)
		}
	}
	alone := e
	alone.Corruptions, alone.Grid = e.Corruptions[1:2], corrupt.Grid{}
	if got := run(alone, b, set); !reflect.DeepEqual(got.Scores, want.Of("shot_noise")) || got.Spatial != nil {
		t.Errorf("shot_noise alone: %+v, want %+v", got.Scores, want.Of("shot_noise"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Run(ctx, b, set); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

// TestRunRefuses names what cannot be asked.
func TestRunRefuses(t *testing.T) {
	_, b, set := opened(t, 3, 1)
	bright := *set
	bright.Images = tensor.New(tensor.WithShape(3, 28, 28), tensor.WithBacking(slices.Repeat([]float32{1.5}, 3*784)))
	bright.Source.Images.Name = "bright.npy"
	odd := *set
	odd.Images = tensor.New(tensor.WithShape(3, 2, 14, 28), tensor.WithBacking(make([]uint8, 3*784)))
	notNumbers := *set
	notNumbers.Images = tensor.New(tensor.WithShape(3, 28, 28), tensor.WithBacking(slices.Repeat([]float32{float32(math.NaN())}, 3*784)))
	for _, c := range []struct {
		what string
		e    corrupt.Evaluation
		set  *dataset.Set
		want string
	}{
		{"no images", corrupt.Evaluation{}, nil, "no images"},
		{"other units", corrupt.Evaluation{}, &bright, "bright.npy reach from 1.5 to 1.5, want [0, 1]"},
		{"NaN", corrupt.Evaluation{}, &notNumbers, "want [0, 1]"},
		{"two channels", corrupt.Evaluation{Corruptions: some(t, "brightness")}, &odd, "2 channels, want 1 or 3"},
		{"a grid", corrupt.Evaluation{Grid: corrupt.Grid{Rotations: 2, Shifts: 1}}, set, "2 rotations, want an odd number"},
	} {
		if _, err := c.e.Run(t.Context(), b, c.set); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.what, err, c.want)
		}
	}
}

// TestMeanInterval: the interval of a mean is that of as many images, not of as many looks.
func TestMeanInterval(t *testing.T) {
	lo, hi := corrupt.Mean{Right: 3*80 + 1, N: 100, Times: 3}.Interval()
	wantLo, _ := stat.Wilson(80, 100)
	if _, wantHi := stat.Wilson(81, 100); lo != wantLo || hi != wantHi {
		t.Errorf("[%v, %v], want [%v, %v]", lo, hi, wantLo, wantHi)
	}
	if lo, hi := (corrupt.Mean{}).Interval(); lo != 0 || hi != 1 {
		t.Errorf("of nothing [%v, %v], want [0, 1]", lo, hi)
	}
}

// write makes an NPY file of shape.
func write(t *testing.T, path string, shape []int, data any) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := dataset.WriteNPZ(&archive, dataset.Array{Name: "a", Shape: shape, Data: data}); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	if err != nil {
		t.Fatal(err)
	}
	array, err := fs.ReadFile(z, "a.npy")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, array, 0o666); err != nil {
		t.Fatal(err)
	}
}

// published makes a folder as CIFAR-10-C with N = 10 images of 8×8×3, and a model for them.
func published(t *testing.T, names ...string) (dir string, m *model.Model, images map[string][]uint8, labels []uint8) {
	t.Helper()
	dir = t.TempDir()
	r := rand.New(rand.NewPCG(8, 8))
	m = ref.RandomModel(r, 1, 192, 20, 4)
	m.Input = []int{3, 8, 8}
	labels = make([]uint8, 50)
	for i := range 10 {
		for s := range 5 {
			labels[s*10+i] = uint8(i % 4)
		}
	}
	images = map[string][]uint8{}
	for _, name := range names {
		data := make([]uint8, 50*192)
		for i := range data {
			data[i] = uint8(r.IntN(256))
		}
		images[name] = data
		write(t, filepath.Join(dir, name+".npy"), []int{50, 8, 8, 3}, data)
	}
	write(t, filepath.Join(dir, "labels.npy"), []int{50}, labels)
	return dir, m, images, labels
}

// TestPublishedCIFAR: a folder as CIFAR-10-C gives the counts of the float64 judge, severity by
// severity; what is not among the fifteen is left out of the mean.
func TestPublishedCIFAR(t *testing.T) {
	dir, m, images, labels := published(t, "fog", "frost", "saturate")
	b, err := cpu.New[float64](m, cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	p, err := corrupt.OpenPublished(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Names(), []string{"fog", "frost", "saturate"}; !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	count := func(name string, severity, offset, n int) corrupt.Count {
		c := corrupt.Count{N: n}
		x := make([]float64, 192)
		for i := (severity-1)*10 + offset; i < (severity-1)*10+offset+n; i++ {
			for k := range x { // the file has channels last, the model first
				x[k] = float64(images[name][i*192+k%64*3+k/64]) / 255
			}
			if z, _ := ref.Forward(m, x); ref.Argmax(z) == int(labels[i]) {
				c.Right++
			}
		}
		return c
	}
	for _, how := range []corrupt.Selection{{Shape: m.ImageShape()}, {Shape: m.ImageShape(), Offset: 3, N: 5}, {Shape: m.ImageShape(), Offset: 8}} {
		n := how.N
		if n == 0 {
			n = 10 - how.Offset
		}
		var last, total int
		e := corrupt.Evaluation{Progress: func(done, all int) {
			if done < last || done > all {
				t.Errorf("progress %d after %d of %d", done, last, all)
			}
			last, total = done, all
		}}
		res, err := e.Published(t.Context(), b, nil, p, how)
		if err != nil {
			t.Fatal(err)
		}
		if last != total {
			t.Errorf("the last progress is %d of %d", last, total)
		}
		sum := 0
		for i, row := range res.Scores {
			name, severity := p.Names()[i/5], i%5+1
			want := corrupt.Score{Corruption: name, Severity: severity, Extra: name == "saturate", Count: count(name, severity, how.Offset, n)}
			if row != want {
				t.Errorf("%+v, want %+v", row, want)
			}
			if !want.Extra {
				sum += want.Right
			}
		}
		if got := res.Mean(); len(res.Scores) != 15 || got != (corrupt.Mean{Right: sum, N: n, Times: 10}) || res.Clean.N != 0 {
			t.Errorf("%d rows, mean %+v, clean %v; want 15, %d of 10 looks, none", len(res.Scores), got, res.Clean, sum)
		}
	}
	// Clean images stand beside them.
	set, err := dataset.Read(filepath.Join(dir, "fog.npy"), filepath.Join(dir, "labels.npy"))
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.Slice(0, 10); err != nil {
		t.Fatal(err)
	}
	fog, err := p.Select([]string{"fog"})
	if err != nil {
		t.Fatal(err)
	}
	res, err := corrupt.Evaluation{}.Published(t.Context(), b, set, fog, corrupt.Selection{Shape: m.ImageShape()})
	if err != nil {
		t.Fatal(err)
	}
	if res.Clean != count("fog", 1, 0, 10) || len(res.Scores) != 5 {
		t.Errorf("clean %v and %d rows, want %v and 5", res.Clean, len(res.Scores), count("fog", 1, 0, 10))
	}
}

// TestPublishedMNIST: folders as MNIST-C's have no severities, and identity is the clean images.
func TestPublishedMNIST(t *testing.T) {
	m, b, set := opened(t, 6, 1)
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(2, 2))
	want := map[string]int{}
	for _, name := range []string{"canny_edges", "identity", "zigzag"} {
		data := slices.Clone(set.Images.Data().([]uint8))
		labels := make([]uint8, 6)
		x := make([]float64, 784)
		for i := range labels {
			labels[i] = uint8(set.Labels[i])
			for k := range x {
				if name != "identity" && r.IntN(3) == 0 {
					data[i*784+k] = uint8(r.IntN(256))
				}
				x[k] = float64(data[i*784+k]) / 255
			}
			if z, _ := ref.Forward(m, x); ref.Argmax(z) == int(labels[i]) {
				want[name]++
			}
		}
		write(t, filepath.Join(dir, name, "test_images.npy"), []int{6, 28, 28, 1}, data)
		write(t, filepath.Join(dir, name, "test_labels.npy"), []int{6}, labels)
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	p, err := corrupt.OpenPublished(dir)
	if err != nil {
		t.Fatal(err)
	}
	res, err := corrupt.Evaluation{}.Published(t.Context(), b, nil, p, corrupt.Selection{Shape: m.ImageShape()})
	if err != nil {
		t.Fatal(err)
	}
	rows := []corrupt.Score{
		{Corruption: "canny_edges", Count: corrupt.Count{Right: want["canny_edges"], N: 6}},
		{Corruption: "zigzag", Count: corrupt.Count{Right: want["zigzag"], N: 6}},
	}
	if res.Clean != (corrupt.Count{Right: want["identity"], N: 6}) || !slices.Equal(res.Scores, rows) || res.Mean().Times != 2 {
		t.Errorf("clean %v, rows %+v; want %d and %+v", res.Clean, res.Scores, want["identity"], rows)
	}
	// Beside clean images of the user's own, identity is a corruption that does not count.
	if res, err = (corrupt.Evaluation{}).Published(t.Context(), b, set, p, corrupt.Selection{Shape: m.ImageShape()}); err != nil {
		t.Fatal(err)
	}
	if len(res.Scores) != 3 || res.Scores[1] != (corrupt.Score{Corruption: "identity", Extra: true, Count: res.Clean}) || res.Mean().Times != 2 {
		t.Errorf("clean %v, scores %+v, mean over %d; want identity as an extra one of three", res.Clean, res.Scores, res.Mean().Times)
	}
}

// TestPublishedRefuses names the folder or file that is wrong, and what is.
func TestPublishedRefuses(t *testing.T) {
	look := func(make func(dir string)) error {
		dir, m, _, _ := published(t, "fog", "snow")
		make(dir)
		p, err := corrupt.OpenPublished(dir)
		if err != nil {
			return err
		}
		b, err := cpu.New[float32](m, cpu.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		_, err = corrupt.Evaluation{}.Published(t.Context(), b, nil, p, corrupt.Selection{Shape: m.ImageShape()})
		return err
	}
	remove := func(path string) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	if err := look(func(string) {}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		make func(dir string)
		want []string
	}{
		{"no folder", func(dir string) { remove(dir) }, []string{"no such file"}},
		{"an empty folder", func(dir string) {
			for _, name := range []string{"fog.npy", "snow.npy", "labels.npy"} {
				remove(filepath.Join(dir, name))
			}
		}, []string{"no corruptions", "labels.npy", "test_images.npy"}},
		{"no labels", func(dir string) { remove(filepath.Join(dir, "labels.npy")) }, []string{"fog.npy and no labels.npy"}},
		{"both forms", func(dir string) {
			write(t, filepath.Join(dir, "zigzag", "test_images.npy"), []int{1, 8, 8, 3}, make([]uint8, 192))
		}, []string{"both fog.npy and", "zigzag"}},
		{"labels of one severity", func(dir string) {
			write(t, filepath.Join(dir, "labels.npy"), []int{10}, make([]uint8, 10))
		}, []string{"labels.npy", "10 labels, want 50"}},
		{"a length that is not five times another", func(dir string) {
			write(t, filepath.Join(dir, "labels.npy"), []int{49}, make([]uint8, 49))
			write(t, filepath.Join(dir, "fog.npy"), []int{49, 8, 8, 3}, make([]uint8, 49*192))
		}, []string{"fog.npy", "49 images", "5 severities"}},
		{"another size", func(dir string) {
			write(t, filepath.Join(dir, "snow.npy"), []int{50, 7, 8, 3}, make([]uint8, 50*7*8*3))
		}, []string{"snow.npy", "[3 7 8], the model takes [3 8 8]"}},
		{"not an array", func(dir string) {
			if err := os.WriteFile(filepath.Join(dir, "snow.npy"), []byte("snow"), 0o666); err != nil {
				t.Fatal(err)
			}
		}, []string{"snow.npy"}},
		{"a folder for a file", func(dir string) {
			remove(filepath.Join(dir, "snow.npy"))
			if err := os.Mkdir(filepath.Join(dir, "snow.npy"), 0o777); err != nil {
				t.Fatal(err)
			}
		}, []string{"snow.npy", "a directory"}},
		{"a label that is no class", func(dir string) {
			write(t, filepath.Join(dir, "labels.npy"), []int{50}, slices.Repeat([]uint8{9}, 50))
		}, []string{"fog.npy", "labels.npy", "label 0 is 9, want 0 to 3"}},
	} {
		err := look(c.make)
		for _, want := range c.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v, want %q", c.what, err, want)
			}
		}
	}
	dir, m, _, _ := published(t, "fog")
	p, err := corrupt.OpenPublished(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Select([]string{"fog", "smog"}); err == nil || !strings.Contains(err.Error(), `no corruption "smog", want one of fog`) {
		t.Errorf("an unknown name: %v", err)
	}
	b, err := cpu.New[float32](m, cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for _, how := range []corrupt.Selection{{Offset: 10}, {Offset: 4, N: 7}, {Offset: -1}, {N: -1}} {
		how.Shape = m.ImageShape()
		if _, err := (corrupt.Evaluation{}).Published(t.Context(), b, nil, p, how); err == nil || !strings.Contains(err.Error(), "a severity has 10") {
			t.Errorf("offset %d, n %d: %v", how.Offset, how.N, err)
		}
	}
}
