package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"

	"github.com/spf13/cobra"
)

// A trainVerb is 'advsweep train' with its flags.
type trainVerb struct {
	images   imageFlags
	output   outputFlags
	training cpu.Training
	arch     string // "mlp", "cnn"
	dtype    string // of the stored weights
	threads  int
	seed     uint64
}

func newTrain() *cobra.Command {
	v := &trainVerb{training: cpu.DefaultTraining()}
	t := &v.training
	c := &cobra.Command{
		Use:   "train",
		Short: "Train one of the embedded models: model.safetensors, train.json",
		Long: `Train a multilayer perceptron with ReLU, or with --arch cnn a convolutional network, by Adam
on the cross-entropy. The same images, seed and kernel give the same file, byte for byte, whatever
the number of threads. With --data the test pair judges the result, if it is there.

The network of --arch cnn has convolutions of 3x3 with padding 1, each with ReLU and a max-pool of 2x2,
and then Linear layers of --hidden widths, which are none unless given.`,
		Example: `  advsweep train --data mnist/
  advsweep train --data mnist/ --arch cnn --dtype float16
  advsweep train --images train-images.gz --labels train-labels.gz --epochs 10 --seed 7
  advsweep sweep --model advsweep-out/model.safetensors --data mnist/`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch {
			case v.arch == "mlp" && c.Flags().Changed("channels"):
				return usagef("--channels with --arch mlp, which has no convolutions: leave it out or add --arch cnn")
			case v.arch == "mlp":
				t.Channels = nil
			case v.arch == "cnn" && !c.Flags().Changed("hidden"):
				t.Hidden = cpu.DefaultCNN().Hidden
			case v.arch != "cnn":
				return usagef("--arch %q, want mlp or cnn", v.arch)
			}
			return v.run(c)
		},
	}
	v.images.add(c)
	c.MarkFlagsOneRequired("data", "images")
	c.Flags().StringVar(&v.arch, "arch", "mlp", "what to train: mlp, a multilayer perceptron, or cnn, a convolutional network")
	c.Flags().IntSliceVar(&t.Channels, "channels", cpu.DefaultCNN().Channels, "channels of the convolutions of --arch cnn")
	c.Flags().IntSliceVar(&t.Hidden, "hidden", t.Hidden, "widths of the hidden layers; those of --arch cnn are none unless given")
	c.Flags().IntVar(&t.Classes, "classes", t.Classes, "number of classes")
	c.Flags().IntVar(&t.Epochs, "epochs", t.Epochs, "passes over the images")
	c.Flags().IntVar(&t.Batch, "batch", t.Batch, "images in a step")
	c.Flags().Float64Var(&t.Rate, "rate", t.Rate, "learning rate of Adam at the start; it falls linearly to a tenth")
	c.Flags().StringVar(&v.dtype, "dtype", "float32", "type of the stored weights: float32 or float16")
	addThreads(c, &v.threads)
	addSeed(c, &v.seed, "the initial weights and the order of the images")
	v.output.add(c)
	return c
}

// An epoch is one line of train.json.
type epoch struct {
	Epoch    int     `json:"epoch"`
	Loss     float64 `json:"loss"`
	Accuracy float64 `json:"accuracy"`
}

// A trained is train.json.
type trained struct {
	Version string         `json:"version"`
	Model   record.Source  `json:"model"`
	Layers  string         `json:"layers"`
	DType   string         `json:"dtype"`
	Data    record.Data    `json:"data"`
	Seed    uint64         `json:"seed"`
	Batch   int            `json:"batch"`
	Rate    float64        `json:"rate"`
	Epochs  []epoch        `json:"epochs"`
	Test    *testResult    `json:"test"` // null if there was no test pair
	Seconds record.Seconds `json:"seconds"`
}

type testResult struct {
	N        int     `json:"n"`
	Correct  int     `json:"correct"`
	Accuracy float64 `json:"accuracy"`
}

func (v *trainVerb) run(c *cobra.Command) error {
	t, dtype := v.training, v.dtype
	switch {
	case dtype != "float32" && dtype != "float16":
		return usagef("--dtype %q, want float32 or float16", dtype)
	case t.Epochs < 1 || t.Batch < 1 || t.Classes < 2 || t.Classes > 256:
		return usagef("--epochs %d --batch %d --classes %d, want at least 1, 1, and 2 to 256", t.Epochs, t.Batch, t.Classes)
	case !(t.Rate > 0 && t.Rate <= 1):
		return usagef("--rate %v, want a number in (0, 1]", t.Rate)
	}
	if err := cmp.Or(given(c), v.images.check(c), checkThreads(v.threads)); err != nil {
		return err
	}
	for _, h := range t.Hidden {
		if h < 1 || h > 1<<16 {
			return usagef("--hidden %v, want widths from 1 to 65536", t.Hidden)
		}
	}
	for _, n := range t.Channels {
		if n < 1 || n > 1024 {
			return usagef("--channels %v, want numbers from 1 to 1024", t.Channels)
		}
	}
	start := time.Now()
	v.images.split = "train"
	set, err := v.images.load(nil)
	if err != nil {
		return err
	}
	if !v.output.quiet {
		for _, note := range set.Notes {
			fmt.Fprintln(c.ErrOrStderr(), noted(c, set, note))
		}
	}
	if err := set.Check(t.Classes); err != nil {
		return err
	}
	var testSet *dataset.Set // read now: a bad file must not cost a training
	if v.images.data != "" {
		v.images.split = "test"
		if testSet, err = v.images.load(nil); err != nil {
			return err
		}
		if err := testSet.Check(t.Classes); err != nil {
			return err
		}
	}
	folder, err := report.OpenFolder(v.output.out, "model.safetensors", "train.json")
	if err != nil {
		return err
	}
	seconds := record.Seconds{Load: time.Since(start).Seconds()}

	start = time.Now()
	var epochs []epoch
	p := newProgress(c.ErrOrStderr(), v.output.quiet, "train")
	defer p.finish()
	t.Seed, t.Options.Threads = v.seed, v.threads
	t.Progress = func(at cpu.TrainingProgress) {
		if len(epochs) < at.Epoch {
			epochs = append(epochs, epoch{})
		}
		epochs[at.Epoch-1] = epoch{at.Epoch, at.Loss, at.Accuracy}
		p.note = fmt.Sprintf("epoch %d of %d, loss %.4f, accuracy %.2f %%", at.Epoch, t.Epochs, at.Loss, 100*at.Accuracy)
		p.update(at.Done, at.Total)
	}
	m, err := t.Run(c.Context(), set)
	if err != nil {
		return err
	}
	p.finish()
	seconds.Compute = time.Since(start).Seconds()

	start = time.Now()
	weights, err := m.Encode(dtype)
	if err != nil {
		return err
	}
	// This is what users will load, rounded if float16
	stored, err := model.Decode("model.safetensors", weights)
	if err != nil {
		return err
	}
	out := trained{
		Version: release, Model: record.Source{Name: stored.Source.Name, SHA256: stored.Source.SHA256}, Layers: stored.String(), DType: dtype,
		Data: record.Describe(set), Seed: v.seed, Batch: t.Batch, Rate: t.Rate, Epochs: epochs,
	}
	if testSet != nil {
		if out.Test, err = v.test(c, stored, testSet); err != nil {
			return err
		}
	}
	seconds.Write = time.Since(start).Seconds()
	out.Seconds = seconds
	summary, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	summary = append(summary, '\n')
	files := []report.File{{Name: "model.safetensors", Data: weights}, {Name: "train.json", Data: summary}}
	return finish(c, v.output.quiet, folder, files, func(w *bytes.Buffer) error {
		switch v.output.format {
		case "json":
			w.Write(summary)
			return nil
		case "csv":
			w.WriteString("epoch,loss,accuracy\n")
			for _, e := range epochs {
				fmt.Fprintf(w, "%d,%s,%s\n", e.Epoch, number(e.Loss), number(e.Accuracy))
			}
			return nil
		}
		fmt.Fprintf(w, "images   %s, %d\nmodel    %s, stored as %s, sha256 %.12s\ntraining seed %d, batches of %d, rate %v\n\n", cell(out.Data.Images.Name), out.Data.N, out.Layers, dtype, out.Model.SHA256, v.seed, t.Batch, t.Rate)
		w.WriteString("epoch    loss  accuracy on the training images as they came\n")
		for _, e := range epochs {
			fmt.Fprintf(w, "%5d  %.4f  %.2f %%\n", e.Epoch, e.Loss, 100*e.Accuracy)
		}
		if out.Test != nil {
			fmt.Fprintf(w, "\n%d of %d test images right: %.2f %%\n", out.Test.Correct, out.Test.N, 100*out.Test.Accuracy)
		}
		return nil
	})
}

// test judges m by set.
func (v *trainVerb) test(c *cobra.Command, m *model.Model, set *dataset.Set) (*testResult, error) {
	b, err := cpu.New[float32](m, cpu.Options{Threads: v.threads})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	correct, err := pipeline.Correct(c.Context(), b, set)
	if err != nil {
		return nil, err
	}
	return &testResult{set.N(), correct, float64(correct) / float64(set.N())}, nil
}
