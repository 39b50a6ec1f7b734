package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"advsweep/attack"
	"advsweep/verdict"

	"github.com/spf13/cobra"
)

// A failedError says that a model did not pass: exit code 3.
type failedError struct{ questions int }

func (e failedError) Error() string {
	return fmt.Sprintf("%s failed", map[bool]string{true: "1 question", false: fmt.Sprintf("%d questions", e.questions)}[e.questions == 1])
}

func newCheck() *cobra.Command {
	var f flags
	var gates, far string
	c := &cobra.Command{
		Use:   "check",
		Short: "Can the numbers be trusted? PASS, WARN or FAIL, and a gate for CI",
		Long: `Ask what must be true of any model whose gradients can be followed, and say PASS, WARN or FAIL to each:

  finite             every logit and gradient is a finite number
  eps-0              attacks at eps 0 change nothing
  ball               perturbed images stay in their ball and bounds
  iterated           many steps fool at least as many images as one
  noise              random signs fool no more images than the attack
  better-than-noise  the attack finds what noise does not
  far                at an eps that reaches any image nothing is right but by chance
  zero-gradient      no image is right since its gradient is zero
  saturated          margins are not so large that 1 - p is 0 in float32
  converged          twice the steps find little more
  loss               the margin of logits as a loss fools no more images than cross-entropy
  monotone           a larger eps does not make images right
  min-accuracy       a gate: at least so much accuracy at an eps, under the worst of all attacks

A model that fails hides its gradients, and looks more robust than it is. Images are named, by their index.
Exit code 0: no FAIL. 3: a FAIL. 1: it could not be done.`,
		Example: `  advsweep check
  advsweep check --model my.onnx --data mnist/ --bounds 0,1 --min-accuracy 0.80@0.05
  advsweep check --eps 0.02,0.05 --steps 50 --format json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return f.check(c, gates, far) },
	}
	f.addInputs(c)
	c.Flags().StringVar(&f.eps, "eps", "0.02,0.05,0.1,0.2", "`LIST` of eps to look at; pixels are in [0, 1]")
	c.Flags().StringVar(&far, "far", "", "eps that reaches any image (default the width of --bounds, or 1; for l2 times the root of the pixels)")
	c.Flags().StringVar(&gates, "min-accuracy", "", "`LIST` of accuracy@eps, as in 0.80@0.05,0.5@8/255")
	c.Flags().StringVar(&f.norm, "norm", "linf", "of eps: linf or l2")
	c.Flags().IntVar(&f.steps, "steps", 20, "K of the iterated attacks; twice as many are tried, too")
	f.addBounds(c)
	f.addRange(c)
	f.addBackend(c)
	f.addSeed(c, "random draws")
	f.addFormat(c)
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no notes on standard error")
	if err := c.Flags().Lookup("n").Value.Set("200"); err == nil {
		c.Flags().Lookup("n").DefValue = "200"
	}
	return c
}

// parseGates reads "0.80@0.05,0.5@8/255".
func parseGates(s string) (gates []verdict.Gate, err error) {
	if s == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		share, at, ok := strings.Cut(item, "@")
		v, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if !ok || err != nil || !(v >= 0 && v <= 1) {
			return nil, usagef("--min-accuracy %q, want accuracy@eps as in 0.80@0.05, accuracy from 0 to 1", item)
		}
		eps, err := attack.ParseEps(at)
		if err != nil {
			return nil, asUsage("min-accuracy", err)
		}
		if len(eps) != 1 {
			return nil, usagef("--min-accuracy %q holds %d values of eps, want one", item, len(eps))
		}
		gates = append(gates, verdict.Gate{Accuracy: v, Eps: eps[0]})
	}
	return gates, nil
}

func (f *flags) check(c *cobra.Command, gates, far string) error {
	if f.steps < 1 || f.steps > attack.MaxSteps/2 {
		return usagef("--steps %d, want 1 to %d", f.steps, attack.MaxSteps/2)
	}
	q := verdict.Check{Steps: f.steps, Seed: f.seed}
	var err error
	if q.Eps, err = attack.ParseEps(f.eps); err != nil {
		return asUsage("eps", err)
	}
	if q.Bounds, err = attack.ParseBounds(f.bounds); err != nil {
		return asUsage("bounds", err)
	}
	if q.Norm, err = attack.ParseNorm(f.norm); err != nil {
		return asUsage("norm", err)
	}
	if q.Gates, err = parseGates(gates); err != nil {
		return err
	}
	if far != "" {
		one, err := attack.ParseEps(far)
		if err != nil || len(one) != 1 || one[0] == 0 {
			return usagef("--far %q, want one number above 0", far)
		}
		q.Far = one[0]
	}
	in, err := f.openRange(c)
	if err != nil {
		return err
	}
	defer in.backend.Close()
	if q.Far == 0 {
		q.Far = verdict.Far(q.Norm, q.Bounds, in.model.Inputs())
	}
	p := newProgress(c.ErrOrStderr(), f.quiet, "check")
	defer p.finish()
	q.Progress = p.update
	found, _, err := q.Run(c.Context(), in.backend, in.set)
	if err != nil {
		return err
	}
	p.finish()
	var b bytes.Buffer
	if err := f.printFindings(&b, in, q, found); err != nil {
		return err
	}
	if _, err := c.OutOrStdout().Write(b.Bytes()); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	if failed := verdict.Failed(found); failed > 0 {
		return failedError{failed}
	}
	return nil
}

func (f *flags) printFindings(w *bytes.Buffer, in *inputs, q verdict.Check, found []verdict.Finding) error {
	type finding struct {
		Level  string `json:"level"`
		Name   string `json:"name"`
		Text   string `json:"text"`
		Images []int  `json:"images"`
	}
	list := make([]finding, len(found))
	for i, v := range found {
		list[i] = finding{v.Level.String(), string(v.What), v.String(), append([]int{}, v.Images...)}
	}
	switch f.format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		meta := in.meta(in.set, f.seed)
		gates := [][2]float64{} // accuracy and eps
		for _, g := range q.Gates {
			gates = append(gates, [2]float64{g.Accuracy, g.Eps})
		}
		return enc.Encode(map[string]any{"run": meta, "eps": q.Eps, "far": q.Far, "bounds": q.Bounds.String(), "norm": q.Norm.String(), "steps": q.Steps, "gates": gates, "findings": list})
	case "csv":
		rows := csv.NewWriter(w)
		_ = rows.Write([]string{"level", "name", "text", "images"})
		for _, v := range list {
			_ = rows.Write([]string{v.Level, v.Name, v.Text, strings.Join(indices(v.Images), ";")})
		}
		rows.Flush()
		return rows.Error()
	}
	w.WriteString(settings(in.meta(in.set, f.seed), in.model.String(),
		fmt.Sprintf("eps      %s and %.4g, %s; bounds %s; %d steps; seed %d", f.eps, q.Far, q.Norm, q.Bounds, q.Steps, f.seed), ""))
	for _, v := range found {
		fmt.Fprintf(w, "%s  %-17s  %s\n", v.Level, v.What, v)
		if n := len(v.Images); n > 0 && v.Level != verdict.Pass {
			const most = 12
			more := ""
			if n > most {
				more = fmt.Sprintf(" and %d more; --format json has all", n-most)
			}
			fmt.Fprintf(w, "      %-17s  images %s%s\n", "", strings.Join(indices(v.Images[:min(n, most)]), ", "), more)
		}
	}
	return nil
}

func indices(images []int) []string {
	out := make([]string, len(images))
	for i, v := range images {
		out[i] = strconv.Itoa(v)
	}
	return out
}
