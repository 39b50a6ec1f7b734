package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"advsweep/attack"
	"advsweep/certify"
	"advsweep/internal/plain"
	"advsweep/internal/words"
	"advsweep/pipeline"
	"advsweep/verdict"

	"github.com/spf13/cobra"
)

// A failedError says that a model did not pass: exit code 3.
type failedError struct{ questions int }

func (e failedError) Error() string {
	return fmt.Sprintf("%s failed", map[bool]string{true: "1 question", false: fmt.Sprintf("%d questions", e.questions)}[e.questions == 1])
}

// A checkVerb is 'advsweep check' with its flags.
type checkVerb struct {
	inputs     inputFlags
	backend    backendFlags
	ball       ballFlags
	images     rangeFlags
	norm       string
	steps      int
	more       string // --attack as it was given
	far, gates string // --far and --min-accuracy as they were given
	proofs     string // --min-certified as it was given
	certify    string // a certify.Method
	seed       uint64
	format     string
	quiet      bool
}

func newCheck() *cobra.Command {
	v := &checkVerb{}
	c := &cobra.Command{
		Use:   "check",
		Short: "Can the numbers be trusted? PASS, WARN or FAIL, and a gate for CI",
		Long: `Ask what must be true of any model whose gradients can be followed, and say PASS, WARN or FAIL to each:

  clean-accuracy     more clean images are right than the most frequent label alone gives (exact
                     binomial test, one-sided, at 0.001); if not, likely causes are tried
  finite             every logit and gradient is a finite number
  eps-0              attacks at eps 0 change nothing
  ball               perturbed images stay in their ball and bounds
  iterated           many steps fool at least as many images as one
  noise              random signs fool no more images than the attack
  better-than-noise  the attack finds what noise does not
  black-box          what asks for no gradient, as Square, fools no image that no attack along
                     gradients fools
  far                at an eps that reaches any image nothing is right but by chance
  zero-gradient      no image is right since its gradient is zero
  saturated          margins are not so large that 1 - p is 0 in float32
  converged          twice the steps find little more
  loss               the margin of logits as a loss fools no more images than cross-entropy
  monotone           a larger eps does not make images right
  min-accuracy       a gate: at least so much accuracy at an eps, under the worst of all attacks
  min-certified      a gate: at least so many images proven to be right within an eps, in linf

A model that fails hides its gradients, and looks more robust than it is. Images are named, by their index.
With --attack further attacks are made and judged like these: targeted ones, which find what others miss, or
Square with more queries. All this then takes longer, with quick about four times as long.
Exit code 0: no FAIL. 3: a FAIL. 1: it could not be done.`,
		Example: `  advsweep check
  advsweep check --model my.onnx --data mnist/ --bounds 0,1 --min-accuracy 0.80@0.05
  advsweep check --attack quick,square:steps=1000 --bounds 0,1 --n 50
  advsweep check --eps 0.02,0.05 --steps 50 --format json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return v.run(c) },
	}
	v.inputs.add(c)
	v.ball.add(c, "0.02,0.05,0.1,0.2", "`LIST` of eps to look at; pixels are in [0, 1]")
	c.Flags().StringVar(&v.far, "far", "", "eps that reaches any image (default the width of --bounds, or 1; for l2 times the root of the pixels, for l1 times their number)")
	c.Flags().StringVar(&v.gates, "min-accuracy", "", "`LIST` of accuracy@eps, as in 0.80@0.05,0.5@8/255")
	c.Flags().StringVar(&v.proofs, "min-certified", "", "`LIST` of accuracy@eps, as in 0.5@0.02: images that --certify proves")
	c.Flags().StringVar(&v.certify, "certify", string(certify.Auto), "how --min-certified proves: "+words.Or(certify.Methods()))
	c.Flags().StringVar(&v.norm, "norm", "linf", "of eps: linf, l2 or l1")
	c.Flags().IntVar(&v.steps, "steps", 20, "K of the iterated attacks; twice as many are tried, too")
	c.Flags().StringVar(&v.more, "attack", "", "`LIST` of attacks to make besides, as in quick,square:steps=1000: any but "+words.Or(composites())+otherNames)
	v.images.add(c, 200)
	v.backend.add(c)
	addSeed(c, &v.seed, "random draws")
	addFormat(c, &v.format)
	addQuiet(c, &v.quiet)
	return c
}

// composites names the attacks that are made of what others found.
func composites() []string {
	return slices.DeleteFunc(slices.Clone(attack.Names), func(name string) bool { return slices.Contains(attack.Single, name) })
}

// parseMore reads the attacks that are to be made besides, in a norm.
func (v *checkVerb) parseMore(norm attack.Norm) ([]attack.Attack, error) {
	if v.more == "" {
		return nil, nil
	}
	list, err := attack.ParseList(v.more, attack.Options{Seed: v.seed, Norm: norm, Decay: -1})
	if err != nil {
		return nil, asUsage("attack", err)
	}
	for _, a := range list.Attacks {
		switch {
		case a.Composite():
			return nil, usagef("--attack %q: check judges each attack by itself, and --min-accuracy the worst of all; name attacks, as in quick,square", v.more)
		case a.Norm != norm:
			return nil, usagef("--attack %q: eps of %s is in %s, and of check in %s; give --norm %s or leave it out", v.more, a.Name, a.Norm, norm, a.Norm)
		}
	}
	return list.Attacks, nil
}

// parseGates reads "0.80@0.05,0.5@8/255" of a flag.
func parseGates(flag, s string) (gates []verdict.Gate, err error) {
	if s == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		share, at, ok := strings.Cut(item, "@")
		v, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if !ok || err != nil || !(v >= 0 && v <= 1) {
			return nil, usagef("--%s %q, want accuracy@eps as in 0.80@0.05, accuracy from 0 to 1", flag, item)
		}
		eps, err := attack.ParseEps(at)
		if err != nil {
			return nil, asUsage(flag, err)
		}
		if len(eps) != 1 {
			return nil, usagef("--%s %q holds %d values of eps, want one", flag, item, len(eps))
		}
		gates = append(gates, verdict.Gate{Accuracy: v, Eps: eps[0]})
	}
	return gates, nil
}

func (v *checkVerb) run(c *cobra.Command) error {
	if v.steps < 1 || v.steps > attack.MaxSteps/2 {
		return usagef("--steps %d, want 1 to %d", v.steps, attack.MaxSteps/2)
	}
	q := verdict.Check{Steps: v.steps, Seed: v.seed}
	var err error
	if q.Eps, err = attack.ParseEps(v.ball.eps); err != nil {
		return asUsage("eps", err)
	}
	if q.Bounds, err = attack.ParseBounds(v.ball.bounds); err != nil {
		return asUsage("bounds", err)
	}
	if q.Norm, err = attack.ParseNorm(v.norm); err != nil {
		return asUsage("norm", err)
	}
	if !verdict.Judges(q.Norm) {
		return usagef("--norm %v: check has no questions in it, as there are neither controls nor a search without gradients; give linf, l2 or l1", q.Norm)
	}
	if q.Norm.Above() && !c.Flags().Changed("eps") {
		return usagef("--eps: in %v eps is %s, so that the default, %s, says little: give a list, as in 2,5,10,20", q.Norm, q.Norm.Axis(), v.ball.eps)
	}
	if q.More, err = v.parseMore(q.Norm); err != nil {
		return err
	}
	if q.Gates, err = parseGates("min-accuracy", v.gates); err != nil {
		return err
	}
	if q.Proofs.Gates, err = parseGates("min-certified", v.proofs); err != nil {
		return err
	}
	if c.Flags().Changed("certify") && v.proofs == "" {
		return usagef("--certify %s without --min-certified, whose proofs it chooses", v.certify)
	}
	if v.far != "" {
		one, err := attack.ParseEps(v.far)
		if err != nil || len(one) != 1 || one[0] == 0 {
			return usagef("--far %q, want one number above 0", v.far)
		}
		q.Far = one[0]
	}
	in, err := open(c, &v.inputs, &v.backend, v.quiet, v.images.cut(c))
	if err != nil {
		return err
	}
	defer in.backend.Close()
	asked, err := attack.Parse("uniform", attack.Options{Norm: q.Norm, Decay: -1})
	if err != nil {
		return err
	}
	in.warnUnits(c.ErrOrStderr(), pipeline.Sweep{Attacks: asked, Eps: q.Eps, Bounds: q.Bounds}, v.ball.eps)
	if q.Far == 0 {
		q.Far = attack.Reach(q.Norm, q.Bounds, in.model.Inputs())
	}
	p := newProgress(c.ErrOrStderr(), v.quiet, "check")
	defer p.finish()
	q.Progress = p.update
	q.Prober = in.prober()
	if len(q.Proofs.Gates) > 0 {
		if q.Proofs.Prover, err = in.prover(v.certify); err != nil {
			return err
		}
	}
	found, _, err := q.Run(c.Context(), in.backend, in.set)
	if err != nil {
		return err
	}
	p.finish()
	var b bytes.Buffer
	if err := v.print(&b, in, q, found); err != nil {
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

func (v *checkVerb) print(w *bytes.Buffer, in *inputs, q verdict.Check, found []verdict.Finding) error {
	type finding struct {
		Level  string `json:"level"`
		Name   string `json:"name"`
		Text   string `json:"text"`
		Images []int  `json:"images"`
	}
	list := make([]finding, len(found))
	for i, f := range found {
		list[i] = finding{f.Level.String(), string(f.What), f.String(), append([]int{}, f.Images...)}
	}
	switch v.format {
	case "json":
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		meta := in.meta(in.set, v.seed)
		gates := [][2]float64{} // accuracy and eps
		for _, g := range q.Gates {
			gates = append(gates, [2]float64{g.Accuracy, g.Eps})
		}
		all := map[string]any{"run": meta, "eps": q.Eps, "far": q.Far, "bounds": q.Bounds.String(), "norm": q.Norm.String(), "steps": q.Steps, "more_attacks": names(q.More), "gates": gates, "findings": list}
		if proofs := q.Proofs.Gates; len(proofs) > 0 {
			var gates [][2]float64
			for _, g := range proofs {
				gates = append(gates, [2]float64{g.Accuracy, g.Eps})
			}
			all["certify"], all["certified_gates"] = v.certify, gates
		}
		return enc.Encode(all)
	case "csv":
		rows := csv.NewWriter(w)
		_ = rows.Write([]string{"level", "name", "text", "images"})
		for _, f := range list {
			_ = rows.Write([]string{f.Level, f.Name, f.Text, strings.Join(indices(f.Images), ";")})
		}
		rows.Flush()
		return rows.Error()
	}
	asked := []string{fmt.Sprintf("eps      %s and %.4g, %s; bounds %s; %d steps; seed %d", v.ball.eps, q.Far, q.Norm, q.Bounds, q.Steps, v.seed)}
	if v.more != "" {
		asked = append(asked, "besides  "+plain.Line(v.more, plain.Message))
	}
	w.WriteString(settings(in.meta(in.set, v.seed), in.model.String(), in.rivals, append(asked, "")...))
	for _, f := range found {
		causes := f.Causes
		f.Causes = nil // which have lines of their own, with what mends them
		fmt.Fprintf(w, "%s  %-17s  %s\n", f.Level, f.What, plain.Line(fmt.Sprint(f), plain.Message))
		for _, c := range causes {
			fmt.Fprintf(w, "      %-17s  likely cause: %s: %s\n", "", plain.Line(fmt.Sprint(c), plain.Message), remedies(c, in))
		}
		if n := len(f.Images); n > 0 && f.Level != verdict.Pass {
			const most = 12
			more := ""
			if n > most {
				more = fmt.Sprintf(" and %d more; --format json has all", n-most)
			}
			fmt.Fprintf(w, "      %-17s  images %s%s\n", "", strings.Join(indices(f.Images[:min(n, most)]), ", "), more)
		}
	}
	return nil
}

// names are those of attacks, none of no attacks.
func names(attacks []attack.Attack) []string {
	all := []string{}
	for _, a := range attacks {
		all = append(all, a.Name)
	}
	return all
}

func indices(images []int) []string {
	out := make([]string, len(images))
	for i, v := range images {
		out[i] = strconv.Itoa(v)
	}
	return out
}
