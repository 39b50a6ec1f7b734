package study_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"advsweep/cpu"
	"advsweep/internal/ref"
	"advsweep/internal/remedy"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/study"
)

const version = "test"

// onCPU is the CPU as a device that gives its math mode that name; "" is the precision's.
func onCPU(mathMode string) study.Device {
	return study.Device{Name: "cpu", Backend: "cpu", Open: func(m *model.Model, precision, _ string) (pipeline.Backend, string, error) {
		got := mathMode
		if got == "" {
			got = precision
		}
		if precision == "float64" {
			b, err := cpu.New[float64](m, cpu.Options{Threads: 1})
			return b, got, err
		}
		b, err := cpu.New[float32](m, cpu.Options{Threads: 1})
		return b, got, err
	}}
}

// write puts a study file and two small models into a folder, and returns the file's path.
func write(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"a", "b"} {
		data, err := ref.RandomModel(rand.New(rand.NewPCG(1, uint64(i))), 1, 784, 5, 10).Encode("float32")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".safetensors"), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "small.toml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

const small = `
attack = "fgsm,bim:steps=2,pgd:steps=3,noise,uniform"
eps = "0:0.2:0.1"
bounds = "0,1"
seeds = [1, 2]
precision = ["float32", "float64"]
[[model]]
file = "a.safetensors"
[[model]]
file = "b.safetensors"
name = "second"
[[data]]
n = 30
offset = 7
[shards]
seconds = 0.001
`

func makeStudy(t *testing.T, text string) *study.Made {
	t.Helper()
	made, err := study.Make(write(t, text), version, onCPU(""))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func create(t *testing.T, text string) *study.Folder {
	t.Helper()
	made := makeStudy(t, text)
	f, err := study.Create(filepath.Join(t.TempDir(), "study"), made.Plan, made.Inputs, made.Text)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPlan(t *testing.T) {
	one, two := makeStudy(t, small), makeStudy(t, small) // in two folders
	a, err := one.Plan.JSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := two.Plan.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("two plans of one study differ:\n%s\n%s", a, b)
	}
	var names []string
	for _, r := range one.Plan.Runs {
		names = append(names, r.Name)
	}
	want := []string{"a-float32-seed1", "a-float32-seed2", "a-float64-seed1", "a-float64-seed2",
		"second-float32-seed1", "second-float32-seed2", "second-float64-seed1", "second-float64-seed2"}
	if !slices.Equal(names, want) {
		t.Errorf("runs %q, want %q", names, want)
	}
	if len(one.Inputs) != 3 {
		t.Errorf("%d inputs, want 2 models and 1 data", len(one.Inputs))
	}
	back, err := study.ParsePlan(a, version)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, one.Plan) {
		t.Errorf("the plan does not come back as it was written")
	}
	shards, err := one.Plan.Shards()
	if err != nil {
		t.Fatal(err)
	}
	// Every chunk of every run is in one shard, and no two shards have one id.
	chunks, ids := map[[2]int]int{}, map[string]bool{}
	for i, s := range shards {
		if s.Index != i || ids[s.ID] {
			t.Errorf("shard %d: index %d, id %s", i, s.Index, s.ID)
		}
		ids[s.ID] = true
		for c := s.From; c < s.To; c++ {
			chunks[[2]int{s.Run, c}]++
		}
	}
	for r, run := range one.Plan.Runs {
		sweep := run.Manifest.Sweep()
		for c := range sweep.Plan(run.Manifest.Data.N) {
			if n := chunks[[2]int{r, c}]; n != 1 {
				t.Errorf("chunk %d of run %s is in %d shards", c, run.Name, n)
			}
			delete(chunks, [2]int{r, c})
		}
	}
	if len(chunks) > 0 {
		t.Errorf("chunks that no run has: %v", chunks)
	}
}

// TestShardSize asks for shards of several sizes: none is longer than asked for by more than one
// chunk.
func TestShardSize(t *testing.T) {
	last := 0
	for _, seconds := range []float64{1000, 0.05, 0.02, 0.001} {
		made := makeStudy(t, strings.Replace(small, "seconds = 0.001", fmt.Sprintf("seconds = %v", seconds), 1))
		shards, err := made.Plan.Shards()
		if err != nil {
			t.Fatal(err)
		}
		if len(shards) < last || seconds == 1000 && len(shards) != len(made.Plan.Runs) {
			t.Errorf("%v s: %d shards, after %d of larger ones", seconds, len(shards), last)
		}
		last = len(shards)
		for _, s := range shards {
			if s.To > s.From+1 && s.Seconds > seconds+0.001 { // rounded
				t.Errorf("%v s: shard %d of %d chunks takes %v s", seconds, s.Index, s.To-s.From, s.Seconds)
			}
		}
	}
	chunks := 0
	for _, r := range makeStudy(t, small).Plan.Runs {
		chunks += r.Ends[len(r.Ends)-1]
	}
	if last != chunks || last < 40 {
		t.Errorf("%d shards at the end of %d chunks, want each chunk for itself, and 40 at least", last, chunks)
	}
}

func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"no TOML", "attack = ", "line 1"},
		{"unknown key", "atack = \"fgsm\"\n[[model]]\nfile = \"mlp\"", "line 1: unknown key atack"},
		{"a list for text", "eps = [0.1, 0.2]\n[[model]]\nfile = \"mlp\"", "line 1, column 7: eps is of type array, want text in quotes"},
		{"a number for a list", "seeds = 1\n[[model]]\nfile = \"mlp\"", "seeds is of type integer, want a list in brackets"},
		{"text for a table", "model = \"mlp\"", "model is of type string, want a table for each"},
		{"unknown key of a model", "[[model]]\nfile = \"mlp\"\nfil = 3", "unknown key model.fil"},
		{"type", "eps = 0.1\n[[model]]\nfile = \"mlp\"", "line 1"},
		{"no models", "attack = \"fgsm\"", "no models"},
		{"no file", "[[model]]\nname = \"x\"", "model 1 has no file"},
		{"missing model", "[[model]]\nfile = \"none.onnx\"", "none.onnx"},
		{"missing data", "[[model]]\nfile = \"mlp\"\n[[data]]\npath = \"nowhere\"", "nowhere"},
		{"images of another size", "[[model]]\nfile = \"mlp\"\n[[data]]\nresize = \"14\"", "images are [1 14 14] ([channels, height, width]), 196 numbers, the model takes 784"},
		{"images in colour", "[[model]]\nfile = \"cnn\"\n[[data]]\nchannels = \"rgb\"", "images are [3 28 28], the model takes [1 28 28]"},
		{"a size that is none", "[[model]]\nfile = \"mlp\"\n[[data]]\ncrop = \"x\"", "crop: \"x\", want a number of pixels"},
		{"a layout that is none", "[[model]]\nfile = \"mlp\"\n[[data]]\nlayout = \"x\"", "layout \"x\", want one of"},
		{"two of one name", "[[model]]\nfile = \"mlp\"\n[[model]]\nfile = \"mlp\"", "two of model are called mlp"},
		{"bad name", "[[model]]\nfile = \"mlp\"\nname = \"../x\"", "give it a name"},
		{"seeds", "seeds = [1, 1]\n[[model]]\nfile = \"mlp\"", "two of seed"},
		{"attack", "attack = \"fgms\"\n[[model]]\nfile = \"mlp\"", "unknown attack \"fgms\""},
		{"eps", "eps = \"0.2:0.1\"\n[[model]]\nfile = \"mlp\"", "eps"},
		{"precision", "precision = [\"tf32\"]\n[[model]]\nfile = \"mlp\"", "precision \"tf32\""},
		{"math", "math = \"wild\"\n[[model]]\nfile = \"mlp\"", "math \"wild\", want default or fast"},
		{"math of another backend", "math = \"fast\"\nbackend = \"cuda\"\n[[model]]\nfile = \"mlp\"", "math fast with backend cuda"},
		{"backend", "backend = \"tpu\"\n[[model]]\nfile = \"mlp\"", "backend \"tpu\""},
		{"class", "[shards]\ndevice = \"abacus\"\n[[model]]\nfile = \"mlp\"", "unknown class of device"},
		{"seconds", "[shards]\nseconds = -1\n[[model]]\nfile = \"mlp\"", "shards.seconds"},
		{"steps", "steps = 0\n[[model]]\nfile = \"mlp\"", "steps"},
		{"n", "[[model]]\nfile = \"mlp\"\n[[data]]\nn = 0", "want n of at least 1"},
		{"too many", "[[model]]\nfile = \"mlp\"\n[[data]]\nn = 1001", "1000"},
		{"exact", "attack = \"bim\"\nexact = true\n[[model]]\nfile = \"mlp\"", "exact"},
		{"bounds", "bounds = \"0,0.5\"\n[[model]]\nfile = \"mlp\"", "outside the bounds"},
		{"mixed norms", "attack = \"fgsm,pgd:norm=l2,worst\"\n[[model]]\nfile = \"mlp\"", "worst of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := write(t, c.text)
			_, err := study.Make(path, version, onCPU(""))
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one line with %q and the file", err, c.want)
			}
		})
	}
	if _, err := study.Make(t.TempDir(), version, onCPU("")); err == nil {
		t.Error("no error for a folder")
	}
	if _, err := study.Make(filepath.Join(t.TempDir(), "none.toml"), version, onCPU("")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that the file does not exist", err)
	}
}

// TestBadPlans changes single values of a plan: it must not be taken.
func TestBadPlans(t *testing.T) {
	data, err := makeStudy(t, small).Plan.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := study.ParsePlan(data, "other"); err == nil || !strings.Contains(err.Error(), "test and this is other") {
		t.Errorf("another version: %v", err)
	}
	for _, change := range [][2]string{
		{`"name": "second-float64-seed1"`, `"name": "second-float64-seed2"`},
		{`"name": "second-float64-seed1"`, `"name": "../../x"`},
		{`"model_input": "`, `"model_input": "0`},
		{`"images_input": "`, `"images_input": "/`},
		{`"ends": [`, `"ends": [0,`},
		{`"ends": [`, `"ends": [1,`},
		{`"seconds": [`, `"seconds": [-1,`},
		{`"device_class": "`, `"device_class": "\u001b[31m`},
		{`"shard_seconds": `, `"shard_seconds": -`},
		{`"model": "second"`, `"model": "\u202esecond"`},
		{`"name": "`, `"name": "\u001b`}, // the study's, which is first
		{`"runs": [`, `"more": 1, "runs": [`},
		{`"n": 30`, `"n": 3000`},
		{`"n": 30`, `"n": 2147483647`},
		{`"n": 30`, `"n": 9000000000`},
	} {
		if bytes.Count(data, []byte(change[0])) == 0 {
			t.Fatalf("%s is not in the plan", change[0])
		}
		bad := bytes.Replace(data, []byte(change[0]), []byte(change[1]), 1)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := study.ParsePlan(bad, version); err == nil {
			t.Errorf("%s for %s: no error", change[1], change[0])
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 200*uint64(len(bad)) {
			t.Errorf("%s for %s: %d bytes are taken for a plan of %d", change[1], change[0], took, len(bad))
		}
	}
}

func TestCreate(t *testing.T) {
	made := makeStudy(t, small)
	dir := filepath.Join(t.TempDir(), "study")
	if _, err := study.Create(dir, made.Plan, made.Inputs, made.Text); err != nil {
		t.Fatal(err)
	}
	if _, err := study.Create(dir, made.Plan, made.Inputs, made.Text); err != nil {
		t.Errorf("the same study again: %v", err)
	}
	other := makeStudy(t, strings.Replace(small, "seeds = [1, 2]", "seeds = [3]", 1))
	if _, err := study.Create(dir, other.Plan, other.Inputs, other.Text); err == nil || !strings.Contains(err.Error(), "another study") {
		t.Errorf("another study: %v", err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.tex"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := study.Create(full, made.Plan, made.Inputs, made.Text); err == nil || !strings.Contains(err.Error(), "other files") {
		t.Errorf("a folder with other files: %v", err)
	}
	// A plan that is damaged or lost is made again, and results stay.
	kept := filepath.Join(dir, "shards", "ab", "result")
	if err := os.MkdirAll(filepath.Dir(kept), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	plan := filepath.Join(dir, "plan.json")
	for _, spoil := range []func() error{func() error { return os.Truncate(plan, 100) }, func() error { return os.Remove(plan) }} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if _, err := study.Open(dir, version); err == nil || !strings.Contains(err.Error(), "'advsweep plan'") {
			t.Errorf("without its plan: %v", err)
		}
		if _, err := study.Create(dir, made.Plan, made.Inputs, made.Text); err != nil {
			t.Errorf("made again: %v", err)
		}
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "shards")); err != nil {
		t.Fatal(err)
	}
	// What was created opens, and damaged inputs are told.
	f, err := study.Open(dir, version)
	if err != nil {
		t.Fatal(err)
	}
	hash := f.Inputs()[0]
	path := filepath.Join(dir, "inputs", hash)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Input(hash); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a damaged input: %v", err)
	}
	if _, err := study.Open(t.TempDir(), version); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v", err)
	}
	unlock, err := f.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lock(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("locked twice: %v", err)
	}
	unlock()
	if unlock, err = f.Lock(); err != nil {
		t.Errorf("locked again: %v", err)
	} else {
		unlock()
	}
}

// files are all files below dir, by path.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		all[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// merge merges all runs and returns their files.
func merge(t *testing.T, f *study.Folder, mixed bool) map[string]string {
	t.Helper()
	if err := f.Missing(); err != nil {
		t.Fatal(err)
	}
	for i := range f.Plan.Runs {
		if _, _, err := f.MergeRun(i, mixed); err != nil {
			t.Fatal(err)
		}
	}
	return files(t, filepath.Join(f.Dir, "runs"))
}

func run(t *testing.T, j study.Job) {
	t.Helper()
	if err := j.Run(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
}

// TestRun does a study on one device, on three, in parts and in reverse order: the merged files are
// the same.
func TestRun(t *testing.T) {
	f := create(t, small)
	if err := f.Missing(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%d of %d shards", len(f.Shards), len(f.Shards))) {
		t.Errorf("nothing is done: %v", err)
	}
	var last, most float64
	run(t, study.Job{Folder: f, Shards: f.Shards, Name: "one", Devices: []study.Device{onCPU("")}, Progress: func(done, total float64, _ string) {
		if done < last-1e-9 || done > total+1e-9 {
			t.Errorf("progress %v of %v after %v", done, total, last)
		}
		last, most = done, total
	}})
	if !(last > 0.999*most) {
		t.Errorf("progress ends at %v of %v", last, most)
	}
	want := merge(t, f, false)
	if len(want) != 2*len(f.Plan.Runs) {
		t.Fatalf("%d files of %d runs", len(want), len(f.Plan.Runs))
	}

	g := create(t, small)
	back := slices.Clone(g.Shards)
	slices.Reverse(back)
	for i := range 4 {
		var part []study.Shard
		for k := i; k < len(back); k += 4 {
			part = append(part, back[k])
		}
		run(t, study.Job{Folder: g, Shards: part, Name: "three", Devices: []study.Device{onCPU(""), onCPU(""), onCPU("")}})
	}
	if got := merge(t, g, false); !reflect.DeepEqual(got, want) {
		t.Error("the files depend on who does which shard when")
	}
	if got := merge(t, g, false); !reflect.DeepEqual(got, want) {
		t.Error("the files change when they are merged again")
	}
	workers, err := g.Workers()
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	for _, w := range workers {
		if w.Shard != -1 || w.Arithmetic.Fingerprint == "" && w.Done > 0 {
			t.Errorf("worker %+v", w)
		}
		done += w.Done
	}
	st, err := g.Status(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if st.Done != st.Total || st.Left > 1e-6 || st.Running(time.Now()) != 0 {
		t.Errorf("status at the end: %+v", st)
	}
}

// TestCopies does the halves of a study in two copies of its folder.
func TestCopies(t *testing.T) {
	f := create(t, small)
	run(t, study.Job{Folder: f, Shards: f.Shards, Name: "w", Devices: []study.Device{onCPU("")}})
	want := merge(t, f, false)
	a, b := create(t, small), create(t, small)
	half := len(a.Shards) / 2
	run(t, study.Job{Folder: a, Shards: a.Shards[:half+1], Name: "w", Devices: []study.Device{onCPU("")}})
	// one of them twice
	run(t, study.Job{Folder: b, Shards: b.Shards[half:], Name: "w", Devices: []study.Device{onCPU("")}})
	if err := a.Take(b, false); err != nil {
		t.Fatal(err)
	}
	if got := merge(t, a, false); !reflect.DeepEqual(got, want) {
		t.Error("the files differ")
	}
	other := create(t, strings.Replace(small, "n = 30", "n = 31", 1))
	if err := a.Take(other, false); err == nil || !strings.Contains(err.Error(), "want copies of one") {
		t.Errorf("another study: %v", err)
	}
}

// TestStop stops work after each of its first shards: nothing that was done is lost, and the end is
// the same.
func TestStop(t *testing.T) {
	text := small
	if testing.Short() { // each stop looks at all shards, so that half of them take a quarter of the time
		text = strings.Replace(small, "seeds = [1, 2]", "seeds = [1]", 1)
	}
	f := create(t, text)
	for stops := 0; ; stops++ {
		if stops > 2*len(f.Shards) {
			t.Fatal("it does not end")
		}
		before, err := f.Done()
		if err != nil {
			t.Fatal(err)
		}
		stop := make(chan struct{})
		began := false
		err = study.Job{Folder: f, Shards: f.Shards, Name: "w", Devices: []study.Device{onCPU("")}, Progress: func(done, total float64, _ string) {
			if !began && done > 0 {
				began = true
				close(stop)
			}
		}}.Run(context.Background(), stop)
		after, failed := f.Done()
		if failed != nil {
			t.Fatal(failed)
		}
		for i := range before {
			if before[i] && !after[i] {
				t.Fatalf("shard %d is lost", i)
			}
		}
		if err == nil {
			break
		}
		if !errors.Is(err, pipeline.ErrStopped) {
			t.Fatal(err)
		}
		// One more, so that it comes to an end: a stop always costs the shard in hand.
		i := slices.Index(after, false)
		run(t, study.Job{Folder: f, Shards: f.Shards[i : i+1], Name: "w", Devices: []study.Device{onCPU("")}})
	}
	if err := f.Missing(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g := create(t, text)
	if err := (study.Job{Folder: g, Shards: g.Shards, Name: "w", Devices: []study.Device{onCPU("")}}).Run(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("ended before it began: %v", err)
	}
}

// failing is a backend that fails at the Begin that brings at to 0, of those that reach the last of
// 30 images.
type failing struct {
	pipeline.Backend
	at *int
}

func (b failing) Begin(ctx context.Context, lo, hi int, eps []float64) error {
	if hi == 30 {
		if *b.at--; *b.at == 0 {
			return errors.New("the device fell off the bus")
		}
	}
	return b.Backend.Begin(ctx, lo, hi, eps)
}

// TestFailure lets a device fail once: the shard is noted, the others go on, and the next run does
// it.
func TestFailure(t *testing.T) {
	// failing follows no rays
	f := create(t, strings.Replace(small, `precision = ["float32", "float64"]`, "exact = false", 1))
	at := 7
	device := onCPU("")
	open := device.Open
	device.Open = func(m *model.Model, precision, mathMode string) (pipeline.Backend, string, error) {
		b, got, err := open(m, precision, mathMode)
		return failing{b, &at}, got, err
	}
	var told []int
	job := study.Job{Folder: f, Shards: f.Shards, Name: "w", Devices: []study.Device{device}, Failed: func(s study.Shard, err error) { told = append(told, s.Index) }}
	run(t, job)
	if len(told) != 1 {
		t.Fatalf("%d failures told, want 1", len(told))
	}
	failures, err := f.Failures()
	if err != nil {
		t.Fatal(err)
	}
	if len(failures) != 1 || failures[0].Shard != told[0] || !strings.Contains(failures[0].Message, "fell off the bus") || failures[0].Worker != "w" {
		t.Errorf("failures %+v", failures)
	}
	st, err := f.Status(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if st.Done != st.Total-1 || len(st.Failed) != 1 || st.Runs[f.Shards[told[0]].Run].Failed != 1 {
		t.Errorf("status %+v", st)
	}
	if err := f.Missing(); err == nil || !strings.Contains(err.Error(), "fell off the bus") {
		t.Errorf("what is missing: %v", err)
	}
	if _, _, err := f.MergeRun(f.Shards[told[0]].Run, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("merged without a shard: %v", err)
	}
	run(t, job)
	if failures, _ := f.Failures(); len(failures) != 0 {
		t.Errorf("after it was done: %+v", failures)
	}
	if err := f.Missing(); err != nil {
		t.Error(err)
	}
}

// TestMixed has some shards done by a backend of another arithmetic.
func TestMixed(t *testing.T) {
	f := create(t, small)
	n := len(f.Shards)
	run(t, study.Job{Folder: f, Shards: f.Shards[:n-3], Name: "w", Devices: []study.Device{onCPU("")}})
	other := study.Job{Folder: f, Shards: f.Shards, Name: "w", Devices: []study.Device{onCPU("float99")}}
	var mixed *study.MixedError
	if err := other.Run(context.Background(), nil); !errors.As(err, &mixed) || !strings.Contains(err.Error(), "only if that is allowed") || !strings.Contains(err.Error(), "float99") {
		t.Fatalf("a device of another arithmetic: %v", err)
	}
	if failures, _ := f.Failures(); len(failures) > 0 {
		t.Errorf("a device that does not fit failed shards: %+v", failures)
	}
	other.Mixed = true
	run(t, other)
	last := len(f.Plan.Runs) - 1
	if _, _, err := f.MergeRun(0, false); err != nil {
		t.Errorf("a run that is not mixed: %v", err)
	}
	if _, _, err := f.MergeRun(last, false); err == nil || !strings.Contains(err.Error(), "float99") || !errors.As(err, new(*remedy.Error)) {
		t.Errorf("a mixed run: %v", err)
	}
	m, _, err := f.MergeRun(last, true)
	if err != nil {
		t.Fatal(err)
	}
	chunks := f.Shards[n-1].To
	if len(m.Mixed) != 2 || m.Mixed[0].From != 0 || m.Mixed[0].To != f.Shards[n-3].From || m.Mixed[1].To != chunks || m.Mixed[1].MathMode != "float99" || m.Mixed[0].MathMode == "float99" {
		t.Errorf("marked as %+v of %d chunks", m.Mixed, chunks)
	}
	if m, _, err := f.MergeRun(0, true); err != nil || m.Mixed != nil {
		t.Errorf("a run that is not mixed is marked: %+v, %v", m.Mixed, err)
	}
}

func TestETA(t *testing.T) {
	f := create(t, small)
	now := time.Now()
	st, err := f.Status(now)
	if err != nil {
		t.Fatal(err)
	}
	if st.Known || st.Left != st.Expected {
		t.Errorf("nothing is known yet: %+v", st)
	}
	// Two workers, twice as slow as expected: what is left takes as long as expected.
	for i := range 2 {
		if err := f.Heartbeat(study.WorkerState{Name: fmt.Sprint("w", i), Shard: i, Since: now, Busy: 20, Expected: 10}); err != nil {
			t.Fatal(err)
		}
	}
	if st, err = f.Status(now); err != nil {
		t.Fatal(err)
	}
	if got := st.ETA.Seconds(); !st.Known || !(got > 0.999*st.Left && got < 1.001*st.Left) || st.Running(now) != 2 {
		t.Errorf("ETA %v, want %v; %d running", got, st.Left, st.Running(now))
	}
	if n := st.Running(now.Add(time.Hour)); n != 0 {
		t.Errorf("%d workers that were not heard for an hour are running", n)
	}
}

func FuzzDecodeResult(f *testing.F) {
	s := study.Shard{ID: strings.Repeat("ab", 32), From: 2, To: 4}
	data, err := (&study.Result{Chunks: [][]byte{{1, 2}, {3}}}).Encode(s.ID)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := study.DecodeResult(s, data)
		if err != nil {
			return
		}
		again, err := r.Encode(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := study.DecodeResult(s, again); err != nil || !reflect.DeepEqual(back, r) {
			t.Fatalf("%+v comes back as %+v, %v", r, back, err)
		}
	})
}

func FuzzParsePlan(f *testing.F) {
	f.Add([]byte(`{"version": "test", "runs": []}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := study.ParsePlan(data, version)
		if err != nil {
			return
		}
		if _, err := p.Shards(); err != nil {
			t.Fatal(err)
		}
	})
}
