package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"advsweep/dataset"
	"advsweep/internal/ref"
)

// walksChunks is how many chunks the sweep of manyWalks has.
const walksChunks = 25

// manyWalks writes a small MLP and many small images, and returns the command line of a sweep of
// FGSM on them that is read off its walks, in walksChunks chunks and no others.
func manyWalks(t *testing.T) []string {
	t.Helper()
	r := rand.New(rand.NewPCG(5, 6))
	weights, err := ref.RandomModel(r, 1, 16, 12, 5).Encode("float32")
	if err != nil {
		t.Fatal(err)
	}
	const n = walksChunks * 1000
	pixels, labels := make([]uint8, n*16), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	for i := range labels {
		labels[i] = int32(r.IntN(5))
	}
	var images bytes.Buffer
	if err := dataset.WriteNPZ(&images,
		dataset.Array{Name: "x_test", Shape: []int{n, 4, 4}, Data: pixels},
		dataset.Array{Name: "y_test", Shape: []int{n}, Data: labels}); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	model, data := filepath.Join(dir, "small.safetensors"), filepath.Join(dir, "small.npz")
	for name, text := range map[string][]byte{model: weights, data: images.Bytes()} {
		if err := os.WriteFile(name, text, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return []string{"sweep", "--backend", "cpu", "--quiet", "--model", model, "--data", data, "--n", fmt.Sprint(n), "--eps", "0:0.5:0.05", "--bounds", "0,1"}
}

// TestWalksStudy does the sweep of manyWalks as a study in shards of one chunk: its files are those
// of the sweep.
func TestWalksStudy(t *testing.T) {
	args := manyWalks(t)
	whole := t.TempDir()
	do(t, append(args, "--out", whole)...)
	file := filepath.Join(t.TempDir(), "walks.toml")
	text := fmt.Sprintf("attack = \"fgsm\"\neps = \"0:0.5:0.05\"\nbounds = \"0,1\"\n[[model]]\nfile = %q\n[[data]]\npath = %q\nn = %d\n[shards]\nseconds = 0.001\n",
		args[5], args[7], walksChunks*1000)
	if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	dir := planned(t, file)
	do(t, "work", dir, "--quiet")
	if rows := bytes.Count(read(t, dir, "shards.csv"), []byte("\n")); rows != 1+walksChunks {
		t.Errorf("%d rows of shards.csv, want one for each of %d chunks and one above", rows, walksChunks)
	}
	sameRun(t, filepath.Join(dir, "runs", "small"), whole)
}
