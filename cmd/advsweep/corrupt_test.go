package main

import (
	"archive/zip"
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"advsweep/dataset"
)

// TestCorrupt: the answers come first, the files hold the same counts, and threads change no byte.
func TestCorrupt(t *testing.T) {
	args := []string{"corrupt", "--n", "20", "--only", "shot_noise,contrast,spatial", "--rotations", "1", "--backend", "cpu"}
	out := t.TempDir()
	code, text, stderr := advsweep(t, append(slices.Clone(args), "--out", out)...)
	if code != exitDone || !strings.Contains(stderr, "wrote "+filepath.Join(out, "spatial.csv")) {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for i, want := range []string{"clean accuracy ", "mean corruption accuracy ", "worst spatial accuracy ", "  mean ", "  most fooled "} {
		if lines := strings.Split(text, "\n"); !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
	for _, want := range []string{"20/20", "2 corruptions × 5 severities", "under all 25 transformations", "over 15 corruptions, and this one is over 2", "seed 1; severities 1 to 5; 5 × 5 shifts to ±3 pixels without rotation"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	rows := records(t, read(t, out, "corruptions.csv"))
	if len(rows) != 1+1+10+1 || strings.Join(rows[0], ",") != "corruption,severity,n,correct,accuracy,ci_low,ci_high" ||
		strings.Join(rows[1][:4], ",") != "clean,,20,20" || rows[2][0] != "shot_noise" || rows[11][0] != "contrast" || rows[11][1] != "5" || rows[12][0] != "spatial" {
		t.Errorf("corruptions.csv: %q", rows)
	}
	if rows := records(t, read(t, out, "spatial.csv")); len(rows) != 26 || strings.Join(rows[13][:5], ",") != "0,0,0,20,20" {
		t.Errorf("spatial.csv: %q", rows)
	}
	v := decode(t, read(t, out, "corruptions.json"), "model", "data", "seed", "clean", "mean_corruption", "spatial", "rows")
	if mean := v["mean_corruption"].(map[string]any); mean["answers"] != 200. || mean["n"] != 20. {
		t.Errorf("mean %v, want 200 answers about 20 images", mean)
	}
	again := t.TempDir()
	csv := do(t, append(slices.Clone(args), "--out", again, "--threads", "2", "-q", "--format", "csv")...)
	for _, name := range []string{"corruptions.csv", "corruptions.json", "spatial.csv"} {
		if !bytes.Equal(read(t, out, name), read(t, again, name)) {
			t.Errorf("%s differs with two threads", name)
		}
	}
	if csv != string(read(t, out, "corruptions.csv")) {
		t.Error("--format csv is not the file")
	}
	// What an earlier command wrote and this one does not have goes.
	do(t, "corrupt", "--n", "5", "--only", "pixelate", "--out", again, "-q")
	if _, err := os.Stat(filepath.Join(again, "spatial.csv")); !os.IsNotExist(err) {
		t.Errorf("spatial.csv of an earlier run: %v, want none", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var o, e bytes.Buffer
	if code := run(ctx, args, &o, &e); code != exitError || !strings.Contains(e.String(), "interrupted; no result was written") {
		t.Errorf("interrupted: exit code %d, %s", code, e.String())
	}
}

// writeNPY writes an array of bytes as a file of its own.
func writeNPY(t *testing.T, path string, shape []int, data []uint8) {
	t.Helper()
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
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, array, 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestCorruptFiles: published arrays in both forms, with and without clean images.
func TestCorruptFiles(t *testing.T) {
	set, err := dataset.MNIST1000()
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	pixels, labels := set.Images.Data().([]uint8)[:n*784], make([]uint8, n)
	for i := range labels {
		labels[i] = uint8(set.Labels[i])
	}
	dir := t.TempDir()
	five, folders, clean := filepath.Join(dir, "five"), filepath.Join(dir, "folders"), filepath.Join(dir, "clean")
	writeNPY(t, filepath.Join(five, "fog.npy"), []int{5 * n, 28, 28}, slices.Repeat(pixels, 5))
	writeNPY(t, filepath.Join(five, "spatter.npy"), []int{5 * n, 28, 28, 1}, make([]uint8, 5*n*784))
	writeNPY(t, filepath.Join(five, "labels.npy"), []int{5 * n}, slices.Repeat(labels, 5))
	for _, name := range []string{"identity", "zigzag"} {
		writeNPY(t, filepath.Join(folders, name, "test_images.npy"), []int{n, 28, 28, 1}, pixels)
		writeNPY(t, filepath.Join(folders, name, "test_labels.npy"), []int{n}, labels)
	}
	writeNPY(t, clean+"-x.npy", []int{n, 28, 28}, pixels)
	writeNPY(t, clean+"-y.npy", []int{n}, labels)

	out := filepath.Join(dir, "out")
	text := do(t, "corrupt", "--files", five, "--out", out, "-q")
	for _, want := range []string{"mean corruption accuracy  100/100", "1 corruption × 5 severities", "spatter, not in the mean", "clean images are not among the arrays", "2 of 2 files"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	if strings.Contains(text, "\nimages ") || strings.Contains(text, "\nclean accuracy") {
		t.Errorf("clean images that nobody named:\n%s", text)
	}
	v := decode(t, read(t, out, "corruptions.json"), "data", "clean", "spatial")
	if v["data"] != nil || v["clean"] != nil || v["spatial"] != nil || v["folder"] != "five" || len(v["arrays"].([]any)) != 2 {
		t.Errorf("data %v, clean %v, folder %v, arrays %v", v["data"], v["clean"], v["folder"], v["arrays"])
	}
	text = do(t, "corrupt", "--files", five, "--images", clean+"-x.npy", "--labels", clean+"-y.npy", "--only", "fog", "--offset", "4", "--n", "10", "--out", out, "-q")
	for _, want := range []string{"clean accuracy            10/10", "mean corruption accuracy  50/50", "10 from index 4", "1 of 2 files, from index 4"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	text = do(t, "corrupt", "--files", folders, "--out", out, "-q")
	for _, want := range []string{"clean accuracy            20/20", "mean corruption accuracy  20/20", "\nzigzag "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--files", filepath.Join(dir, "none")}, exitError, "none"},
		{[]string{"--files", dir}, exitError, "clean-x.npy and no labels.npy"},
		{[]string{"--files", five, "--only", "smog"}, exitUsage, `no corruption "smog", want one of fog, spatter`},
		{[]string{"--files", five, "--seed", "3"}, exitUsage, "--seed with --files"},
		{[]string{"--files", five, "--rotations", "3"}, exitUsage, "--rotations with --files"},
		{[]string{"--files", five, "--n", "21"}, exitError, "21 images from index 0 on, and a severity has 20"},
		{[]string{"--files", five, "--n", "0"}, exitUsage, "--n 0"},
		{[]string{"--files", ""}, exitUsage, "--files is empty"},
		{[]string{"--only", ""}, exitUsage, "--only"},
		{[]string{"--only", "fog"}, exitUsage, `no corruption "fog"`},
		{[]string{"--only", "contrast, contrast"}, exitUsage, "stands twice"},
		{[]string{"--only", "contrast", "--rotations", "7"}, exitUsage, "--rotations is for spatial"},
		{[]string{"--rotations", "4"}, exitUsage, "4 rotations, want an odd number"},
		{[]string{"--rotations", "-3"}, exitUsage, "-3 rotations"},
		{[]string{"--pixel-max", "100", "--n", "5"}, exitError, "reach from 0 to 2.55, want [0, 1]"},
	} {
		code, _, stderr := advsweep(t, append([]string{"corrupt", "--out", filepath.Join(dir, "bad"), "-q"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit code %d, want %d with %q: %s", c.args, code, c.code, c.want, stderr)
		}
	}
}

// TestCorruptOrder: a model that takes the numbers of colour images in another order is told so,
// and what mends it.
func TestCorruptOrder(t *testing.T) {
	s := scoredModel(t, "relu", 0, 1) // of 16 numbers
	m, _ := s.files(t, false)
	dir := t.TempDir()
	x, y := filepath.Join(dir, "x.npy"), filepath.Join(dir, "y.npy")
	writeNPY(t, x, []int{6, 2, 2, 4}, make([]uint8, 96))
	writeNPY(t, y, []int{6}, make([]uint8, 6))
	args := []string{"corrupt", "--model", m, "--images", x, "--labels", y, "--only", "contrast", "--out", filepath.Join(dir, "out"), "-q"}
	if stderr := fails(t, exitError, args...); !strings.Contains(stderr, "the images are [4 2 2]") || !strings.Contains(stderr, "as [2 8]") || !strings.Contains(stderr, "--flat chw") {
		t.Error(stderr)
	}
	do(t, append(args, "--flat", "chw")...)
}
