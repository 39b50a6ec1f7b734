package main

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/dataset"
	"advsweep/report"
)

// column gives the values of one column of a CSV file, by its name.
func column(t *testing.T, data []byte, name string) (values []string) {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, head := range rows[0] {
		if head == name {
			for _, r := range rows[1:] {
				values = append(values, r[i])
			}
		}
	}
	return values
}

func TestReport(t *testing.T) {
	out := t.TempDir()
	do(t, "sweep", "--backend", "cpu", "--attack", "fgsm,pgd:steps=3,noise,worst", "--n", "60", "--offset", "20", "--eps", "0:0.2:0.05", "--bounds", "0,1", "--out", out, "-q")
	do(t, "report", out, "-q", "--backend", "cpu", "--pictures", "2")
	first := read(t, out, report.PageName)
	for _, want := range []string{"Least robust", "data:image/png;base64,", "PGD, k = 3", "worst of all", "FGSM is exact"} {
		if !bytes.Contains(first, []byte(want)) {
			t.Errorf("no %q in the report", want)
		}
	}
	if n := bytes.Count(first, []byte("<img")); n != 3*4 {
		t.Errorf("%d pictures, want 12", n)
	}
	if bytes.Contains(first, []byte("The run said")) {
		t.Error("an image attacked again is taken for another class than in the run")
	}
	// The same bytes, over its own file, with another number of threads, and elsewhere.
	other := filepath.Join(t.TempDir(), "r.html")
	do(t, "report", out, "-q", "--backend", "cpu", "--pictures", "2", "--threads", "1")
	do(t, "report", out, "-q", "--backend", "cpu", "--pictures", "2", "--out", other)
	if !bytes.Equal(first, read(t, out, report.PageName)) || !bytes.Equal(first, read(t, other)) {
		t.Error("two reports on the same run differ")
	}
	do(t, "report", out, "-q", "--confusion", "0.15", "--pictures", "0", "--out", other)
	if got := read(t, other); !bytes.Contains(got, []byte("worst of all, eps 0.15")) || !bytes.Contains(got, []byte("No pictures were asked for.")) {
		t.Error("--confusion 0.15 --pictures 0 is not what the report shows")
	}
	// A file that a person changed is not overwritten, as of every verb.
	if err := os.WriteFile(filepath.Join(out, report.PageName), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := advsweep(t, "report", out); code != exitError || !strings.Contains(stderr, "was changed since advsweep wrote it") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

// TestReportInputs: the model and the images must be the run's, or there are no pictures.
func TestReportInputs(t *testing.T) {
	data := mnistFolder(t)
	trained, out := t.TempDir(), t.TempDir()
	do(t, "train", "--data", data, "--epochs", "1", "--hidden", "8", "--out", trained, "-q")
	model := filepath.Join(trained, "model.safetensors")
	do(t, "sweep", "--backend", "cpu", "--model", model, "--data", data, "--n", "40", "--offset", "7", "--eps", "0,0.1", "--out", out, "-q")
	code, _, stderr := advsweep(t, "report", out, "--backend", "cpu")
	if code != exitDone || !strings.Contains(stderr, "no pictures: the model of the run, model.safetensors, was not given") || !bytes.Contains(read(t, out, report.PageName), []byte("was not given: give it with --model.")) {
		t.Errorf("no model: exit code %d: %s", code, stderr)
	}
	// The embedded images begin with those of the folder: they are the same ones, whatever they are
	// called.
	do(t, "report", out, "--backend", "cpu", "-q", "--model", model)
	if !bytes.Contains(read(t, out, report.PageName), []byte("<img")) {
		t.Error("model and images are there, and no pictures")
	}
	do(t, "report", out, "--backend", "cpu", "-q", "--model", model, "--data", data)

	another := t.TempDir()
	do(t, "train", "--data", data, "--epochs", "1", "--hidden", "9", "--out", another, "-q")
	code, _, stderr = advsweep(t, "report", out, "--model", filepath.Join(another, "model.safetensors"))
	if code != exitError || !strings.Contains(stderr, "is not the model of the run in "+out) || !strings.Contains(stderr, "SHA-256") {
		t.Errorf("another model: exit code %d: %s", code, stderr)
	}
	npz := filepath.Join(t.TempDir(), "images.npz")
	var b bytes.Buffer
	if err := dataset.WriteNPZ(&b, dataset.Array{Name: "images", Shape: []int{50, 28, 28}, Data: make([]float32, 50*784)}, dataset.Array{Name: "labels", Shape: []int{50}, Data: make([]int32, 50)}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(npz, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = advsweep(t, "report", out, "--model", model, "--data", npz)
	if code != exitError || !strings.Contains(stderr, npz+" does not hold the images of the run in "+out) {
		t.Errorf("other images: exit code %d: %s", code, stderr)
	}
	do(t, "sweep", "--backend", "cpu", "--model", model, "--data", npz, "--n", "40", "--eps", "0,0.1", "--out", another, "-q")
	code, _, stderr = advsweep(t, "report", another, "--backend", "cpu", "--model", model)
	if code != exitDone || !strings.Contains(stderr, "no pictures: the images of the run, images.npz, were not given") {
		// An untrained class may be right of no image: then there is no order either.
		if !bytes.Contains(read(t, another, report.PageName), []byte("There is no order of images")) {
			t.Errorf("no images: exit code %d: %s", code, stderr)
		}
	}
}

func TestReportErrors(t *testing.T) {
	out, empty := t.TempDir(), t.TempDir()
	do(t, "sweep", "--backend", "cpu", "--attack", "fgsm,bim", "--n", "30", "--eps", "0,0.1", "--shard", "1/2", "--out", out, "-q")
	whole := t.TempDir()
	do(t, "sweep", "--backend", "cpu", "--n", "10", "--eps", "0,0.1", "--out", whole, "-q")
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"unfinished", []string{out}, exitError, "chunks are done: finish it with 'advsweep resume " + out + "'"},
		{"no run", []string{empty}, exitError, empty + " holds no run"},
		{"no folder", nil, exitUsage, "requires at least 1 arg"},
		{"one file for two", []string{whole, whole, "--out", "x.html"}, exitUsage, "--out with 2 folders"},
		{"confusion at another eps", []string{whole, "--confusion", "0.07"}, exitUsage, "want one eps of the run in " + whole + ": [0 0.1]"},
		{"confusion", []string{whole, "--confusion", "x"}, exitUsage, "--confusion"},
		{"pictures", []string{whole, "--pictures", "-1"}, exitUsage, "--pictures -1, want 0 to 100"},
		{"empty out", []string{whole, "--out", ""}, exitUsage, "--out is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := advsweep(t, append([]string{"report"}, c.args...)...)
			if code != c.code || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q", code, c.code, stderr, c.want)
			}
		})
	}
	do(t, "report", whole, whole, "-q", "--backend", "cpu")
}

// TestSaveImages reads back what was saved: it must be as wrong as the sweep says.
func TestSaveImages(t *testing.T) {
	out := t.TempDir()
	sweep := []string{"sweep", "--backend", "cpu", "--attack", "fgsm,pgd:steps=4:restarts=2:step=2/255,worst", "--n", "50", "--offset", "10", "--eps", "0,0.05", "--bounds", "0,1", "--out", out, "-q"}
	do(t, append(sweep, "--save-images", "0.05")...)
	curve := read(t, out, "curve.csv")
	correct, rounded := column(t, curve, "correct"), column(t, curve, "rounded_correct")
	for k, base := range []string{"fgsm", "pgd_steps=4_restarts=2_step=2-255", "worst"} {
		npz := filepath.Join(out, "images-"+base+".npz")
		again := func(data string) string {
			dir := t.TempDir()
			do(t, "sweep", "--backend", "cpu", "--data", data, "--eps", "0", "--out", dir, "-q")
			return column(t, read(t, dir, "curve.csv"), "correct")[0]
		}
		if got, want := again(npz), correct[2*k+1]; got != want {
			t.Errorf("%s: %s right in the NPZ file, %s in the sweep", base, got, want)
		}
		set, err := dataset.Load(npz, "test")
		if err != nil {
			t.Fatal(err)
		}
		if set.N() != 50 {
			t.Errorf("%s: %d images", base, set.N())
		}
		archive := read(t, out, "images-"+base+".zip")
		z, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := os.CopyFS(dir, z); err != nil {
			t.Fatal(err)
		}
		if got, want := again(dir), rounded[2*k+1]; got != want {
			t.Errorf("%s: %s right as pictures, %s in the sweep", base, got, want)
		}
		if _, err := png.Decode(bytes.NewReader(read(t, out, "montage-"+base+".png"))); err != nil {
			t.Error(err)
		}
	}
	// Repeating the run keeps them; another run's go, and so does the report.
	do(t, "report", out, "-q", "--backend", "cpu")
	do(t, sweep...)
	read(t, out, "images-worst.npz")
	read(t, out, report.PageName)
	do(t, "sweep", "--backend", "cpu", "--n", "20", "--eps", "0,0.1", "--out", out, "-q", "--save-images", "0.07")
	read(t, out, "images-fgsm.npz")
	for _, name := range []string{"images-worst.npz", "montage-worst.png", "images-worst.zip", report.PageName} {
		if _, err := os.Stat(filepath.Join(out, name)); !os.IsNotExist(err) {
			t.Errorf("%s of the earlier run is there (%v)", name, err)
		}
	}
}

func TestSaveImagesErrors(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"--save-images=x", "--save-images"}, {"--save-images=0,0.1", "holds 2 values, want one"}, {"--save-images=0.1 --shard=1/2", "--save-images with --shard: merge all shards first"},
	} {
		code, _, stderr := advsweep(t, append([]string{"sweep", "--out", t.TempDir()}, strings.Fields(c.name)...)...)
		if code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit code %d, stderr %q, want %q", c.name, code, stderr, c.want)
		}
	}
	mine := t.TempDir()
	if err := os.WriteFile(filepath.Join(mine, "images-fgsm.npz"), []byte("mine"), 0o666); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := advsweep(t, "sweep", "--n", "10", "--eps", "0", "--save-images", "0.1", "--out", mine)
	if code != exitError || !strings.Contains(stderr, "was not written by advsweep: choose another --out or move it away\n") {
		t.Errorf("a file of the user's: exit code %d, %s", code, stderr)
	}
}
