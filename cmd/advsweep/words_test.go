package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/dataset"
	"advsweep/internal/ref"
	"advsweep/model"
	"advsweep/verdict"

	"gorgonia.org/tensor"
)

// scored is a model of 3 classes and images [60, 4, 4] of bytes whose labels are what the model
// says of them, as float64 has it.
type scored struct {
	model *model.Model
	set   []dataset.Array
}

// scoredModel returns a random MLP with the activation, which takes pixels from lo to hi, and
// images that it judges right.
func scoredModel(t *testing.T, activation string, lo, hi float64) scored {
	t.Helper()
	r := rand.New(rand.NewPCG(4, 9))
	m := ref.RandomModel(r, 1, 16, 24, 3)
	if activation != "relu" {
		m.Assumed = "relu"
		if err := m.SetActivation(activation); err != nil {
			t.Fatal(err)
		}
	}
	const n = 60
	pixels, labels := make([]uint8, n*16), make([]int32, n)
	x := make([]float64, 16)
	// The bias of each logit leaves every class a third of the images, about.
	bias := m.Layers[2].(model.Linear).Bias.Data().([]float32)
	all := make([][]float64, 0, n)
	for i := range n {
		for k := range x {
			pixels[i*16+k] = uint8(r.IntN(256))
			x[k] = lo + float64((hi-lo)*float64(pixels[i*16+k])/255)
		}
		z, _ := ref.Forward(m, x)
		all = append(all, z)
	}
	for o := range 3 {
		mean := 0.0
		for _, z := range all {
			mean += z[o] / n
		}
		bias[o] -= float32(mean)
	}
	for i := range n {
		for k := range x {
			x[k] = lo + float64((hi-lo)*float64(pixels[i*16+k])/255)
		}
		z, _ := ref.Forward(m, x)
		labels[i] = int32(ref.Argmax(z))
	}
	return scored{m, []dataset.Array{{Name: "x_test", Shape: []int{n, 4, 4}, Data: pixels}, {Name: "y_test", Shape: []int{n}, Data: labels}}}
}

// files writes the model, as a state dict of names alone if bare is set, and the images.
func (s scored) files(t *testing.T, bare bool) (modelFile, dataFile string) {
	t.Helper()
	dir := t.TempDir()
	modelFile, dataFile = filepath.Join(dir, "m.safetensors"), filepath.Join(dir, "d.npz")
	data, err := s.model.Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	if bare { // without the layer list
		n := binary.LittleEndian.Uint64(data)
		var header map[string]json.RawMessage
		if err := json.Unmarshal(data[8:8+n], &header); err != nil {
			t.Fatal(err)
		}
		delete(header, "__metadata__")
		short, err := json.Marshal(header)
		if err != nil {
			t.Fatal(err)
		}
		data = append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(short))), short...), data[8+n:]...)
	}
	if err := os.WriteFile(modelFile, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(dataFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := dataset.WriteNPZ(f, s.set...); err != nil {
		t.Fatal(err)
	}
	return modelFile, dataFile
}

// clean is how many clean images are right in a sweep to the folder out.
func clean(t *testing.T, out string) int {
	t.Helper()
	v := decode(t, read(t, out, "curve.json"), "clean_accuracy")
	return int(math.Round(60 * v["clean_accuracy"].(float64)))
}

// TestPixels: a model for pixels from 0 to 255 is at chance on images in [0, 1]. The sweep says so
// with the flag that mends it, with which all images are right, and which fixes the run.
func TestPixels(t *testing.T) {
	m, d := scoredModel(t, "relu", 0, 255).files(t, false)
	out := filepath.Join(t.TempDir(), "out")
	args := []string{"sweep", "--model", m, "--data", d, "--eps", "0,0.01", "--bounds", "0,1", "-q"}
	_, _, plain := advsweep(t, append(args, "--out", filepath.Join(t.TempDir(), "plain"))...)
	if !strings.Contains(plain, "no better than chance") || !strings.Contains(plain, "--pixels 0,255") {
		t.Errorf("a model at chance, want a warning with the flag that mends it: %s", plain)
	}
	code, stdout, stderr := advsweep(t, append(args, "--pixels", "0,255", "--out", out)...)
	if code != exitDone || stderr != "" || !strings.Contains(stdout, "pixels 0,255") || clean(t, out) != 60 {
		t.Fatalf("exit code %d, %d right: %s\n%s", code, clean(t, out), stderr, stdout)
	}
	// The MLP is one still: its curve is exact.
	if !strings.Contains(stdout, "FGSM at every eps in") {
		t.Errorf("no exact curve: %s", stdout)
	}
	if got := string(read(t, out, "manifest.json")); !strings.Contains(got, `"pixels": "0,255"`) {
		t.Errorf("the manifest tells no pixels: %s", got)
	}
	// eps in units of the images: the same run of a model that does the scaling itself.
	own := scoredModel(t, "relu", 0, 255)
	if err := own.model.TakePixels(0, 255); err != nil {
		t.Fatal(err)
	}
	own.model.Source.Pixels = ""
	other, _ := own.files(t, false)
	if got, want := do(t, "sweep", "--model", other, "--data", d, "--eps", "0,0.01", "--bounds", "0,1", "-q", "--out", filepath.Join(t.TempDir(), "own")), stdout; rows(got) != rows(want) {
		t.Errorf("scaled by the flag:\n%s\nby the model:\n%s", want, got)
	}
	// The report of the run reads the model as the run did, and refuses another reading.
	if _, _, stderr := advsweep(t, "report", out, "--model", m, "--data", d, "-q"); strings.Contains(stderr, "read as") {
		t.Errorf("report: %s", stderr)
	}
	if code, _, stderr := advsweep(t, "report", out, "--model", m, "--data", d, "--pixels", "0,1", "-q"); code == exitDone || !strings.Contains(stderr, "pixels 0,255") {
		t.Errorf("report with other pixels: exit code %d, %s", code, stderr)
	}
	for _, bad := range []string{"255", "1,0", "0,x", ""} {
		if code, _, stderr := advsweep(t, append(args, "--pixels", bad, "--out", t.TempDir())...); code == exitDone || !strings.Contains(stderr, "pixels") {
			t.Errorf("--pixels %q: exit code %d, %s", bad, code, stderr)
		}
	}
}

// rows are the lines of a table that begin with an eps.
func rows(table string) string {
	var out []string
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "0.0") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// TestPixelsShards: shards of runs with other pixels or another activation are not merged.
func TestPixelsShards(t *testing.T) {
	m, d := scoredModel(t, "tanh", 0, 1).files(t, true)
	shard := func(i int, more ...string) string {
		out := filepath.Join(t.TempDir(), "s")
		do(t, append([]string{"sweep", "--model", m, "--data", d, "--eps", "0,0.1", "-q", "--shard", fmt.Sprintf("%d/2", i), "--out", out}, more...)...)
		return out
	}
	one := shard(1, "--activation", "tanh")
	for _, more := range [][]string{{"--activation", "sigmoid"}, {"--activation", "tanh", "--pixels", "0,2"}, nil} {
		if stderr := fails(t, exitError, "merge", one, shard(2, more...), "--out", filepath.Join(t.TempDir(), "m")); !strings.Contains(stderr, "another run") && !strings.Contains(stderr, "other") {
			t.Errorf("%q: %s", more, stderr)
		}
	}
	do(t, "merge", one, shard(2, "--activation", "tanh"), "--out", filepath.Join(t.TempDir(), "m"), "-q")
}

// TestActivation: a state dict of a tanh MLP is read with ReLU, with a note, and with --activation
// all images are right. The warning names it.
func TestActivation(t *testing.T) {
	m, d := scoredModel(t, "tanh", -30, 30).files(t, true)
	args := []string{"sweep", "--model", m, "--data", d, "--eps", "0,0.001", "--pixels", "-30,30"}
	code, _, stderr := advsweep(t, append(args, "--out", filepath.Join(t.TempDir(), "a"))...)
	for _, want := range []string{"ReLU between its layers is taken for granted", "--activation tanh puts it there"} {
		if code != exitDone || !strings.Contains(stderr, want) {
			t.Errorf("exit code %d, no %q in %s", code, want, stderr)
		}
	}
	out := filepath.Join(t.TempDir(), "b")
	code, stdout, stderr := advsweep(t, append(args, "--activation", "tanh", "-q", "--out", out)...)
	if code != exitDone || stderr != "" || clean(t, out) != 60 || !strings.Contains(stdout, ", tanh, pixels -30,30") {
		t.Errorf("exit code %d, %d right: %s%s", code, clean(t, out), stderr, stdout)
	}
	// Of a file that tells its activation, and of no file, it is an error, as is an unknown name.
	listed, _ := scoredModel(t, "tanh", 0, 1).files(t, false)
	for _, c := range [][2]string{{listed, "the file tells its activations itself"}, {"mlp", "tells its activations itself"}} {
		if code, _, stderr := advsweep(t, "check", "--model", c[0], "--data", d, "--activation", "relu"); code != exitError || !strings.Contains(stderr, c[1]) {
			t.Errorf("%s: exit code %d, %s", c[0], code, stderr)
		}
	}
	if code, _, stderr := advsweep(t, "check", "--model", m, "--activation", "rely"); code != exitUsage || !strings.Contains(stderr, "relu") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if code, _, stderr := advsweep(t, "check", "--activation", "relu"); code != exitUsage || !strings.Contains(stderr, "--model") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestChance: labels that are shifted are found first by check, which fails, and said by sweep and
// attack.
func TestChance(t *testing.T) {
	s := scoredModel(t, "relu", 0, 1)
	labels := s.set[1].Data.([]int32)
	for i, y := range labels {
		labels[i] = (y + 1) % 3
	}
	m, d := s.files(t, false)
	code, stdout, _ := advsweep(t, "check", "--model", m, "--data", d, "--n", "60", "--steps", "2", "--bounds", "0,1", "--eps", "0.1", "-q")
	at := strings.Index(stdout, "\nFAIL  clean-accuracy     0 of 60 clean images are right, no better than chance")
	if code != exitFail || at < 0 || at > strings.Index(stdout, "finite") || !strings.Contains(stdout, "subtract 1 from the labels") {
		t.Errorf("exit code %d: %s", code, stdout)
	}
	for verb, more := range map[string][]string{"sweep": nil, "attack": {"--index", "0"}} {
		_, _, stderr := advsweep(t, append([]string{verb, "--model", m, "--data", d, "--eps", "0.1", "-q", "--out", filepath.Join(t.TempDir(), "o")}, more...)...)
		for _, want := range []string{"no better than chance: 0 of 60 clean images are right", "subtract 1 from the labels"} {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: no %q in %s", verb, want, stderr)
			}
		}
	}
	var found struct {
		Findings []struct{ Level, Name, Text string }
	}
	_, stdout, _ = advsweep(t, "check", "--model", m, "--data", d, "--steps", "1", "--eps", "0.1", "--format", "json", "-q")
	if err := json.Unmarshal([]byte(stdout), &found); err != nil || found.Findings[0].Name != "clean-accuracy" || found.Findings[0].Level != "FAIL" {
		t.Errorf("%v: %s", err, stdout)
	}
}

// TestUnits: eps that are levels of 255, or written with a decimal comma, and bounds of bytes get a
// warning that says what to write; others get none.
func TestUnits(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--eps", "8"}, []string{"eps 8 is more than", "8/255"}},
		{[]string{"--eps", "0,05"}, []string{"eps 5 is more than", "0.05 is one"}},
		{[]string{"--eps", "0,8"}, []string{"eps 8 is more than", "0.8 is one", "8/255"}},
		{[]string{"--eps", "0,0.1", "--bounds", "0,255"}, []string{"bounds 0,255 hold nothing back", "--bounds 0,1"}},
		{[]string{"--eps", "0,8/255,1", "--bounds", "0,1"}, nil},
		{[]string{"--eps", "0,20", "--norm", "l2", "--bounds", "0,1"}, nil},
	} {
		code, _, stderr := advsweep(t, append([]string{"sweep", "--n", "10", "-q", "--exact=false", "--out", filepath.Join(t.TempDir(), "o")}, c.args...)...)
		if code != exitDone || c.want == nil && stderr != "" {
			t.Errorf("%q: exit code %d, %s", c.args, code, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%q: no %q in %s", c.args, want, stderr)
			}
		}
	}
}

// TestRemedies: every cause that verdict finds has words there and a remedy here.
func TestRemedies(t *testing.T) {
	in := &inputs{model: model.MLP(2, 2), set: &dataset.Set{Images: tensor.New(tensor.WithShape(1, 1, 2), tensor.WithBacking(make([]uint8, 2))), Labels: []int32{0}}}
	for _, r := range verdict.Reasons {
		c := verdict.Cause{Reason: r, Right: 3, N: 4, Shift: 1, Hi: 255, Name: "tanh"}
		if s := c.String(); strings.Contains(s, "no words") || !strings.Contains(s, "3 of 4") {
			t.Errorf("%s: %q", r, s)
		}
		if s := remedies(c, in); strings.Contains(s, "no remedy") {
			t.Errorf("%s: %q", r, s)
		}
	}
	if len(verdict.Reasons) != len(causeRemedies) {
		t.Errorf("%d reasons and %d remedies", len(verdict.Reasons), len(causeRemedies))
	}
	if s := remedies(verdict.Cause{Reason: "new"}, in); !strings.Contains(s, "new") {
		t.Error(s)
	}
	if s := (verdict.Cause{Reason: "new"}).String(); !strings.Contains(s, "new") {
		t.Error(s)
	}
}

// TestStudyReading: a study's models are read as its file says, and runs of the same file that are
// read otherwise differ.
func TestStudyReading(t *testing.T) {
	m, d := scoredModel(t, "tanh", 0, 255).files(t, true)
	toml := filepath.Join(t.TempDir(), "s.toml")
	text := fmt.Sprintf("attack = \"fgsm\"\neps = \"0,0.01\"\n[[data]]\npath = %q\n[[model]]\nfile = %q\nname = \"a\"\nactivation = \"tanh\"\npixels = \"0,255\"\n[[model]]\nfile = %q\nname = \"b\"\n", d, m, m)
	if err := os.WriteFile(toml, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "study")
	code, _, stderr := advsweep(t, "plan", toml, "--out", dir)
	if code != exitDone || !strings.Contains(stderr, "model b: ReLU between its layers is taken for granted") || strings.Contains(stderr, "model a: ReLU") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	do(t, "work", dir, "-q")
	do(t, "merge", dir, "-q")
	if got := clean(t, filepath.Join(dir, "runs", "a")); got != 60 {
		t.Errorf("%d of 60 are right with tanh and pixels from 0 to 255", got)
	}
	if a := string(read(t, dir, "runs", "a", "manifest.json")); !strings.Contains(a, `"activation": "tanh"`) || !strings.Contains(a, `"pixels": "0,255"`) {
		t.Errorf("the manifest is %s", a)
	}
	if b := string(read(t, dir, "runs", "b", "manifest.json")); strings.Contains(b, "activation") {
		t.Errorf("the manifest is %s", b)
	}
	for key, bad := range map[string]string{"pixels": "255", "activation": "rely"} {
		if err := os.WriteFile(toml, []byte(fmt.Sprintf("[[model]]\nfile = %q\n%s = %q\n", m, key, bad)), 0o666); err != nil {
			t.Fatal(err)
		}
		if stderr := fails(t, exitError, "plan", toml, "--out", filepath.Join(t.TempDir(), "x")); !strings.Contains(stderr, bad) {
			t.Errorf("%s: %s", key, stderr)
		}
	}
}
