package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/outdir"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"

	"github.com/spf13/cobra"
)

func newAttack() *cobra.Command {
	var f flags
	var class, index int
	c := &cobra.Command{
		Use:   "attack",
		Short: "One image before and after: attack.json, attack.png",
		Long: `Attack one image and show it before and after, with both prediction vectors.
The image is the first correctly classified one of a class, or the one at an index.`,
		Example: `  advsweep attack
  advsweep attack --class 3 --eps 0.2 --bounds 0,1
  advsweep attack --index 17 --attack bim --steps 10 --format json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if c.Flags().Changed("index") {
				class = -1
			}
			return f.attackOne(c, class, index)
		},
	}
	f.addInputs(c)
	c.Flags().IntVar(&class, "class", 7, "take the first correctly classified image of this class")
	c.Flags().IntVar(&index, "index", 0, "take the image at this index, right or wrong")
	c.MarkFlagsMutuallyExclusive("class", "index")
	f.addAttacks(c, "fgsm", "one of "+strings.Join(attack.Single, ", ")+"; options as in pgd:steps=20")
	c.Flags().StringVar(&f.eps, "eps", "0.3", "one number or fraction; pixels are in [0, 1]")
	f.addBounds(c)
	f.addBackend(c)
	f.addSeed(c, "random draws")
	f.addOutput(c)
	return c
}

func (f *flags) attackOne(c *cobra.Command, class, index int) error {
	s, err := f.parseSweep(c, f.attack)
	if err != nil {
		return err
	}
	if len(s.Attacks) != 1 || s.Attacks[0].Composite() {
		return usagef("--attack %q, want one of %s", f.attack, strings.Join(attack.Single, ", "))
	}
	if len(s.Eps) != 1 {
		return usagef("--eps %q holds %d values, want one", f.eps, len(s.Eps))
	}
	in, err := f.open(c, func(in *inputs) error { return in.canPick(c, class, index) })
	if err != nil {
		return err
	}
	defer in.backend.Close()
	start := time.Now()
	one, err := in.pick(c, class, index)
	if err != nil {
		return err
	}
	folder, err := outdir.Open(f.out, "attack.json", "attack.png")
	if err != nil {
		return err
	}
	ex, err := pipeline.Craft(c.Context(), in.backend, one, s.Attacks[0], s.Eps[0], s.Bounds)
	if err != nil {
		return err
	}
	meta := in.meta(one, f.seed)
	files, err := exampleFiles("attack", ex, meta, record.Seconds{Load: in.load.Seconds(), Compute: time.Since(start).Seconds()})
	if err != nil {
		return err
	}
	return f.finish(c, folder, files, func(w *bytes.Buffer) error { return f.printExample(w, in, meta, ex, files) })
}

// canPick returns an error for a class or an index that pick cannot have.
func (in *inputs) canPick(c *cobra.Command, class, index int) error {
	if class < 0 && !c.Flags().Changed("index") || class >= in.model.Outputs() {
		return usagef("--class %d, but the model has classes 0 to %d", class, in.model.Outputs()-1)
	}
	if class < 0 && (index < 0 || index >= in.set.N()) {
		return usagef("--index %d, but there are %d images (0 to %d)", index, in.set.N(), in.set.N()-1)
	}
	return nil
}

// pick returns the first correctly classified image of class or, if class is negative,
// the image at index.
func (in *inputs) pick(c *cobra.Command, class, index int) (*dataset.Set, error) {
	if class >= 0 {
		return pipeline.FirstCorrect(c.Context(), in.backend, in.set, class)
	}
	return in.set.Slice(index, 1)
}

// exampleFiles draws and encodes ex.
func exampleFiles(base string, ex *pipeline.Example, meta record.Meta, s record.Seconds) ([]outdir.File, error) {
	start := time.Now()
	png, err := report.Picture(ex)
	if err != nil {
		return nil, err
	}
	s.Write = time.Since(start).Seconds()
	json, err := report.AttackJSON(meta, ex, s)
	if err != nil {
		return nil, err
	}
	return []outdir.File{{Name: base + ".json", Data: json}, {Name: base + ".png", Data: png}}, nil
}

// printExample writes ex to standard output in the chosen format. files are those of
// exampleFiles.
func (f *flags) printExample(w *bytes.Buffer, in *inputs, meta record.Meta, ex *pipeline.Example, files []outdir.File) error {
	switch f.format {
	case "json":
		w.Write(files[0].Data)
		return nil
	case "csv":
		w.WriteString("class,logit_original,probability_original,logit_adversarial,probability_adversarial\n")
		for k := range ex.Original.Logits {
			fmt.Fprintf(w, "%d,%s,%s,%s,%s\n", k, number(ex.Original.Logits[k]), number(ex.Original.Probabilities[k]),
				number(ex.Adversarial.Logits[k]), number(ex.Adversarial.Probabilities[k]))
		}
		return nil
	}
	w.WriteString(settings(meta, in.model.String(), ""))
	return report.PredictionTable(w, ex)
}
