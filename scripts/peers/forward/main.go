// Command forward times logits by the library's public API, for scripts/bench-peers.py, which
// compares it with onnxruntime:
//
//	forward -threads 2 MODEL.onnx IMAGES.npz
//
// It reads both files and takes a pass over all images for warmth, then one for each line of
// standard input. Of each, the first too, it writes a line of JSON: ms and the logits. A pass
// begins with images in float32 and ends with the logits. It takes in the images anew, so nothing
// that an earlier pass found is used again.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	_ "advsweep/model/onnx"

	"gorgonia.org/tensor"
)

// A pass is what one pass found.
type pass struct {
	Ms     float64     `json:"ms"`
	Logits [][]float32 `json:"logits"` // [N, O]
}

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "forward:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("forward", flag.ContinueOnError)
	threads := flags.Int("threads", 0, "goroutines; 0 is one for each processor")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 2 {
		return errors.New("want MODEL.onnx IMAGES.npz")
	}
	m, err := model.Load(flags.Arg(0))
	if err != nil {
		return err
	}
	set, err := dataset.Load(flags.Arg(1), "test")
	if err != nil {
		return err
	}
	b, err := cpu.New[float32](m, cpu.Options{Threads: *threads})
	if err != nil {
		return err
	}
	defer b.Close()
	images := floats(set.Images)
	lines, answers := bufio.NewScanner(in), json.NewEncoder(out)
	for again := true; again; again = lines.Scan() {
		p, err := look(b, images, set.Labels)
		if err != nil {
			return err
		}
		// A logit that is not finite is an error here, for JSON has none.
		if err := answers.Encode(p); err != nil {
			return err
		}
	}
	return lines.Err()
}

// floats returns images in float32, as other programs take them.
func floats(images *tensor.Dense) *tensor.Dense {
	levels, ok := images.Data().([]uint8)
	if !ok {
		return images
	}
	x := make([]float32, len(levels))
	for i, v := range levels {
		x[i] = float32(v) / 255
	}
	return tensor.New(tensor.WithShape(images.Shape().Clone()...), tensor.WithBacking(x))
}

// look takes a pass.
func look(b *cpu.Backend[float32], images *tensor.Dense, labels []int32) (pass, error) {
	ctx, start := context.Background(), time.Now()
	if err := b.Load(ctx, 0, images, labels); err != nil {
		return pass{}, err
	}
	if err := b.Begin(ctx, 0, len(labels), []float64{0}); err != nil {
		return pass{}, err
	}
	z, err := b.Logits(ctx)
	if err != nil {
		return pass{}, err
	}
	p := pass{Ms: float64(time.Since(start)) / float64(time.Millisecond)}
	for row := range slices.Chunk(z.Data().([]float32), z.Shape()[1]) {
		p.Logits = append(p.Logits, row)
	}
	return p, nil
}
