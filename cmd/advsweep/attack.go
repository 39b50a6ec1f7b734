package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"

	"github.com/spf13/cobra"
)

// An attackVerb is 'advsweep attack' with its flags.
type attackVerb struct {
	inputs       inputFlags
	attack       attackFlags
	ball         ballFlags
	backend      backendFlags
	output       outputFlags
	class, index int // class is negative if the image at index is wanted
	seed         uint64
}

func newAttack() *cobra.Command {
	v := &attackVerb{}
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
				v.class = -1
			}
			return v.run(c)
		},
	}
	v.inputs.add(c)
	c.Flags().IntVar(&v.class, "class", 7, "take the first correctly classified image of this class")
	c.Flags().IntVar(&v.index, "index", 0, "take the image at this index, right or wrong")
	c.MarkFlagsMutuallyExclusive("class", "index")
	v.attack.add(c, "fgsm", "one of "+strings.Join(attack.Single, ", ")+"; options as in pgd:steps=20"+otherNames)
	v.ball.add(c, "0.3", "one number or fraction; pixels are in [0, 1]")
	v.backend.add(c)
	addSeed(c, &v.seed, "random draws")
	v.output.add(c)
	return c
}

func (v *attackVerb) run(c *cobra.Command) error {
	s, err := v.attack.parse(c, v.ball, v.seed)
	if err != nil {
		return err
	}
	if len(s.Attacks) != 1 || s.Attacks[0].Composite() {
		return usagef("--attack %q, want one of %s", v.attack.list, strings.Join(attack.Single, ", "))
	}
	if len(s.Eps) != 1 {
		return usagef("--eps %q holds %d values, want one", v.ball.eps, len(s.Eps))
	}
	in, err := open(c, &v.inputs, &v.backend, v.output.quiet, func(in *inputs) error { return in.canPick(c, v.class, v.index) })
	if err != nil {
		return err
	}
	defer in.backend.Close()
	s = in.leaveOut(c.ErrOrStderr(), s, v.output.quiet)
	in.warnUnits(c.ErrOrStderr(), s, v.ball.eps)
	if err := in.warnClean(c.Context(), c.ErrOrStderr()); err != nil {
		return err
	}
	start := time.Now()
	one, err := in.pick(c, v.class, v.index)
	if err != nil {
		return err
	}
	folder, err := report.OpenFolder(v.output.out, "attack.json", "attack.png")
	if err != nil {
		return err
	}
	ex, err := pipeline.Craft(c.Context(), in.backend, one, s.Attacks[0], s.Eps[0], s.Bounds)
	if err != nil {
		return err
	}
	meta := in.meta(one, v.seed)
	files, err := report.ExampleFiles("attack", ex, meta, record.Seconds{Load: in.load.Seconds(), Compute: time.Since(start).Seconds()})
	if err != nil {
		return err
	}
	return finish(c, v.output.quiet, folder, files, func(w *bytes.Buffer) error { return v.print(w, in, meta, ex, files) })
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

// print writes ex to standard output in the chosen format. files are those of
// report.ExampleFiles.
func (v *attackVerb) print(w *bytes.Buffer, in *inputs, meta record.Meta, ex *pipeline.Example, files []report.File) error {
	switch v.output.format {
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
	w.WriteString(settings(meta, in.model.String(), in.rivals, ""))
	return report.PredictionTable(w, ex)
}
