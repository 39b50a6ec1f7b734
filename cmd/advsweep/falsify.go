package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"advsweep/certify"
	"advsweep/falsify"
	"advsweep/internal/plain"
	"advsweep/model"
	"advsweep/record"
	"advsweep/report"
	"advsweep/vnnlib"

	"github.com/spf13/cobra"
)

// Exit codes of falsify, those of the competitions of SAT solvers.
const (
	exitSat   = 10
	exitUnsat = 20
)

// An exitCode is an answer that is told by the exit code alone.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// A falsifyVerb is 'advsweep falsify' with its flags.
type falsifyVerb struct {
	backend backendFlags
	timeout time.Duration // for each property
	seed    uint64
	rounds  int
	output  outputFlags
}

// falsifyTimeout is how long an answer may take where nothing says it, as in the competition of
// 2021.
const falsifyTimeout = 5 * time.Minute

func newFalsify() *cobra.Command {
	v := &falsifyVerb{}
	c := &cobra.Command{
		Use:   "falsify {NET.onnx {SPEC.vnnlib | DIR} | INSTANCES.csv}",
		Short: "Answer properties in VNN-LIB: sat with a counterexample, unsat or unknown",
		Long: `A property in VNN-LIB describes counterexamples: inputs of a network that lie in boxes and whose outputs
fulfil linear constraints, as in the verification competition VNN-COMP. The answer stands first:

  sat      a counterexample was found. It holds in float64, and is written to a file
  unsat    it is proven that there is none
  unknown  neither, within --timeout

SPEC is a file of VNN-LIB 1 or 2, packed with gzip or not; DIR is a folder of such files, *.vnnlib or
*.vnnlib.gz. INSTANCES.csv is a list of the competition: rows of network, property and seconds, the files
relative to its folder. Its seconds count unless --timeout is given.

Inputs and outputs are the numbers of the ONNX file as it is: a Softmax at its end is not left out, and
no pixel is scaled. All cases of a property, as the rivals of a class, are attacked at once, as rows of one
batch: by sign steps along the gradient of the most violated constraint, from the centre of the box, from
the corner where certified bounds are lowest, and then from random corners and points. Cases of which these
bounds prove that they hold nowhere are left out. That goes on until the time is over.

Files in --out: falsify.csv (a row for each property), and for each sat NET_SPEC.counterexample in the
format of the competition. Ctrl-C writes what is known.
Exit code 0: unknown. 10: sat. 20: unsat. Of several properties 10 if one is sat, 20 if all are unsat.
1: it could not be done. 2: wrong usage.`,
		Example: `  advsweep falsify net.onnx prop_1.vnnlib --timeout 10s
  advsweep falsify net.onnx properties/ --out answers
  advsweep falsify instances.csv --timeout 10s --format csv`,
		Args: func(_ *cobra.Command, args []string) error {
			if n := len(args); n < 1 || n > 2 || n == 1 && !strings.HasSuffix(args[0], ".csv") {
				return usagef("want a network and a property, as net.onnx spec.vnnlib, or a list, as instances.csv")
			}
			return nil
		},
		RunE: v.run,
	}
	c.Flags().DurationVar(&v.timeout, "timeout", falsifyTimeout, "time for each property, as in 10s or 5m; with INSTANCES.csv the list's own by default")
	c.Flags().IntVar(&v.rounds, "rounds", 0, fmt.Sprintf("rounds of %d steps from new starts, at most; 0: until the time is over", falsify.RoundSteps))
	v.backend.add(c)
	addSeed(c, &v.seed, "the random starts")
	v.output.add(c)
	return c
}

// A question is one property, and what came of it.
type question struct {
	vnnlib.Instance
	answer falsify.Answer
	asked  bool
	took   time.Duration
	// What answered: meta, and the layers of the network.
	meta   record.Meta
	layers string
}

// name is what the question's file of a counterexample is called.
func (q *question) name() string {
	base := func(path string) string {
		b := strings.TrimSuffix(filepath.Base(path), ".gz")
		return strings.TrimSuffix(b, filepath.Ext(b))
	}
	return base(q.Network) + "_" + base(q.Property) + counterexample
}

// counterexample is what names of their files end with.
const counterexample = ".counterexample"

// questions are those that the command line asks, in the order of a list or of names.
func (v *falsifyVerb) questions(c *cobra.Command, args []string) ([]question, error) {
	var all []vnnlib.Instance
	if len(args) == 1 {
		var err error
		if all, err = vnnlib.Instances(args[0]); err != nil {
			return nil, err
		}
	} else if info, err := os.Stat(args[1]); err == nil && info.IsDir() {
		for _, pattern := range []string{"*.vnnlib", "*.vnnlib.gz"} {
			found, err := filepath.Glob(filepath.Join(escaped(args[1]), pattern))
			if err != nil {
				return nil, err
			}
			for _, path := range found {
				all = append(all, vnnlib.Instance{Network: args[0], Property: path})
			}
		}
		slices.SortFunc(all, func(a, b vnnlib.Instance) int { return cmp.Compare(a.Property, b.Property) })
		if len(all) == 0 {
			return nil, fmt.Errorf("%s holds no properties, want files *.vnnlib or *.vnnlib.gz", args[1])
		}
	} else {
		all = []vnnlib.Instance{{Network: args[0], Property: args[1]}}
	}
	list, names := make([]question, len(all)), map[string]string{}
	for i, one := range all {
		if one.Timeout == 0 || c.Flags().Changed("timeout") {
			one.Timeout = v.timeout
		}
		list[i].Instance = one
		if other, ok := names[list[i].name()]; ok {
			return nil, fmt.Errorf("%s and %s have counterexamples of one name, %s: give one of them another name, or ask them one after the other", other, one.Property, list[i].name())
		}
		names[list[i].name()] = one.Property
	}
	return list, nil
}

// escaped is a path in a pattern of filepath.Glob.
func escaped(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// falsifyTable is the file with a row for each property.
const falsifyTable = "falsify.csv"

func (v *falsifyVerb) run(c *cobra.Command, args []string) error {
	if err := cmp.Or(given(c), v.backend.check()); err != nil {
		return err
	}
	switch {
	case v.timeout <= 0:
		return usagef("--timeout %v, want more than 0", v.timeout)
	case v.rounds < 0:
		return usagef("--rounds %d, want at least 0", v.rounds)
	}
	list, err := v.questions(c, args)
	if err != nil {
		return err
	}
	names := []string{falsifyTable}
	for i := range list {
		names = append(names, list[i].name())
	}
	folder, err := report.OpenFolder(v.output.out, names...)
	if err != nil {
		return err
	}
	in := &inputs{}
	defer func() {
		if in.backend != nil {
			in.backend.Close()
		}
	}()
	bar := newProgress(c.ErrOrStderr(), v.output.quiet, "falsify")
	defer bar.finish()
	var stopped error
	for i := range list {
		if stopped = v.ask(c, in, list, i, bar); stopped != nil {
			break
		}
	}
	bar.finish()
	interrupted := errors.Is(stopped, context.Canceled)
	done := slices.DeleteFunc(slices.Clone(list), func(q question) bool { return !q.asked })
	if stopped != nil && (len(done) == 0 || !interrupted && len(list) == 1) {
		return stopped
	}
	files, err := answers(done)
	if err != nil {
		return err
	}
	if err := outdate(folder, files); err != nil {
		return err
	}
	err = finish(c, v.output.quiet, folder, files, func(w *bytes.Buffer) error { return v.show(w, in.rivals, done) })
	switch {
	case err != nil:
		return err
	case interrupted:
		return fmt.Errorf("stopped: %d of %d properties have their answers in %s, the last of them as far as it was known", len(done), len(list), v.output.out)
	case stopped != nil:
		return fmt.Errorf("%w (%d of %d properties were answered before it, see %s)", stopped, len(done), len(list), v.output.out)
	}
	return told(done)
}

// outdate lets go, once files are written, of counterexamples in the folder that are of other
// answers: they would pass for some of these.
func outdate(folder *report.Folder, files []report.File) error {
	written, err := folder.Written()
	if err != nil {
		return err
	}
	return folder.Outdated(slices.DeleteFunc(written, func(name string) bool {
		return !strings.HasSuffix(name, counterexample) || slices.ContainsFunc(files, func(f report.File) bool { return f.Name == name })
	})...)
}

// told is the exit code that tells the answers, nil for unknown.
func told(all []question) error {
	is := func(v falsify.Verdict) func(question) bool {
		return func(q question) bool { return q.answer.Verdict == v }
	}
	switch {
	case slices.ContainsFunc(all, is(falsify.Sat)):
		return exitCode(exitSat)
	case !slices.ContainsFunc(all, is(falsify.Unknown)):
		return exitCode(exitUnsat)
	}
	return nil
}

// ask finds the answer to question i, within its time from now on. The backend of in is opened anew
// where the network is another than that of the question before.
func (v *falsifyVerb) ask(c *cobra.Command, in *inputs, list []question, i int, bar *progress) error {
	q, began := &list[i], time.Now()
	ctx, cancel := context.WithTimeout(c.Context(), q.Timeout)
	defer cancel()
	if i == 0 || list[i-1].Network != q.Network {
		if err := v.open(c, in, q.Network); err != nil {
			return err
		}
	}
	p, err := vnnlib.Load(q.Property)
	if err != nil {
		return err
	}
	search := falsify.Search{Model: in.model, Backend: in.backend, Property: p, Seed: v.seed, Rounds: v.rounds}
	prover, unproven := certify.New(in.model, proving(p))
	if unproven == nil {
		search.Prover = prover
	}
	search.Progress = func(now falsify.Progress) {
		share := min(float64(time.Since(began))/float64(q.Timeout), 1)
		bar.note = fmt.Sprintf("round %d, criterion %.4g", now.Round, now.Least)
		if len(list) > 1 {
			bar.note = filepath.Base(q.Property) + ", " + bar.note
		}
		bar.update(int(1000*(float64(i)+share)), 1000*len(list))
	}
	q.answer, err = search.Run(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: %s: %w", q.Network, q.Property, err)
	}
	q.answer.Unproven = cmp.Or(q.answer.Unproven, unproven)
	q.asked, q.took, q.layers = true, time.Since(began), in.model.String()
	info := in.backend.Info()
	q.meta = record.Meta{Version: release, Model: record.DescribeModel(in.model), Seed: v.seed, Backend: in.chosen, Device: info.Device, Precision: info.Precision, Math: in.math}
	return err
}

// proving is how the cases of p are proven to be impossible. Branching ends where a sum is above 0,
// which says enough unless it has to be above more.
func proving(p *vnnlib.Property) certify.Method {
	for _, c := range p.Cases {
		if slices.ContainsFunc(c.All, func(k vnnlib.Constraint) bool { return k.Bound > 0 }) {
			return certify.Alpha
		}
	}
	return certify.Branch
}

// open reads a network as it is in its file, and opens the backend for it.
func (v *falsifyVerb) open(c *cobra.Command, in *inputs, network string) (err error) {
	if in.backend != nil {
		if err := in.backend.Close(); err != nil {
			return err
		}
		in.backend = nil
	}
	if in.model, err = model.LoadAsking(network, "", model.Ask{AsIs: true}); err != nil {
		return err
	}
	if !v.output.quiet {
		for _, note := range in.model.Notes {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: %s: %s\n", cell(in.model.Source.Name), plain.Line(note, plain.Message))
		}
	}
	return v.backend.open(c, v.output.quiet, in)
}

// answers makes the files: the table, and a counterexample for each sat.
func answers(all []question) ([]report.File, error) {
	var table bytes.Buffer
	if err := writeAnswers(&table, all); err != nil {
		return nil, err
	}
	files := []report.File{{Name: falsifyTable, Data: table.Bytes()}}
	for i := range all {
		if a := &all[i].answer; a.Verdict == falsify.Sat {
			var b bytes.Buffer
			if err := vnnlib.WriteWitness(&b, a.X, a.Y); err != nil {
				return nil, err
			}
			files = append(files, report.File{Name: all[i].name(), Data: b.Bytes()})
		}
	}
	return files, nil
}

// answerColumns are those of falsify.csv.
var answerColumns = []string{"answer", "network", "property", "seconds", "case", "cases_proven", "rounds", "passes", "counterexample"}

func writeAnswers(w io.Writer, all []question) error {
	rows := csv.NewWriter(w)
	_ = rows.Write(answerColumns)
	for i := range all {
		q := &all[i]
		place, file := "", ""
		if q.answer.Verdict == falsify.Sat {
			place, file = strconv.Itoa(q.answer.Case), q.name()
		}
		_ = rows.Write([]string{string(q.answer.Verdict), q.Network, q.Property, fmt.Sprintf("%.2f", q.took.Seconds()), place,
			strconv.Itoa(q.answer.Proven), strconv.Itoa(q.answer.Rounds), strconv.Itoa(q.answer.Passes), file})
	}
	rows.Flush()
	return rows.Error()
}

// show writes the answers to w, in the form that is asked for. rivals are those of inputs.
func (v *falsifyVerb) show(w *bytes.Buffer, rivals []string, all []question) error {
	last := &all[len(all)-1]
	switch v.output.format {
	case "csv":
		return writeAnswers(w, all)
	case "json":
		type answer struct {
			Answer         string    `json:"answer"`
			Network        string    `json:"network"`
			Property       string    `json:"property"`
			Seconds        float64   `json:"seconds"`
			Timeout        float64   `json:"timeout"`
			Case           int       `json:"case"` // -1: none
			Proven         int       `json:"cases_proven"`
			Rounds         int       `json:"rounds"`
			Passes         int       `json:"passes"`
			Counterexample []float64 `json:"counterexample"`
			Outputs        []float64 `json:"outputs"`
		}
		list := make([]answer, len(all))
		for i := range all {
			q, a := &all[i], &all[i].answer
			list[i] = answer{string(a.Verdict), q.Network, q.Property, q.took.Seconds(), q.Timeout.Seconds(), a.Case, a.Proven, a.Rounds, a.Passes, a.X, a.Y}
		}
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{"seed": v.seed, "backend": last.meta.Backend, "precision": last.meta.Computed(), "answers": list})
	}
	counts := map[falsify.Verdict]int{}
	for i := range all {
		counts[all[i].answer.Verdict]++
	}
	if len(all) == 1 {
		a := &all[0].answer
		fmt.Fprintf(w, "%s\n\n%s\n\n", a.Verdict, explained(&all[0]))
	} else {
		fmt.Fprintf(w, "%d sat, %d unsat, %d unknown of %d properties\n\n", counts[falsify.Sat], counts[falsify.Unsat], counts[falsify.Unknown], len(all))
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "answer\tseconds\tnetwork\tproperty")
		for i := range all {
			fmt.Fprintf(tw, "%s\t%.2f\t%s\t%s\n", all[i].answer.Verdict, all[i].took.Seconds(), cell(all[i].Network), cell(all[i].Property))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
		w.WriteString("\n")
	}
	text := settings(last.meta, last.layers, rivals, fmt.Sprintf("search   %s; seed %d", v.limits(all), v.seed))
	if slices.ContainsFunc(all, func(q question) bool { return q.Network != last.Network }) {
		_, text, _ = strings.Cut(text, "\n") // the first line is of the model, and there are several
	}
	w.WriteString(text)
	return nil
}

// limits says how long a search goes on.
func (v *falsifyVerb) limits(all []question) string {
	s := fmt.Sprintf("at most %v for each property", all[0].Timeout)
	if slices.ContainsFunc(all, func(q question) bool { return q.Timeout != all[0].Timeout }) {
		s = "the list's time for each property"
	}
	if v.rounds > 0 {
		s += fmt.Sprintf(" and %d rounds of %d steps", v.rounds, falsify.RoundSteps)
	}
	return s
}

// explained says of one question what the answer means.
func explained(q *question) string {
	a := &q.answer
	work := fmt.Sprintf("round %d, %d passes, %.1f seconds", a.Rounds, a.Passes, q.took.Seconds())
	switch a.Verdict {
	case falsify.Sat:
		return fmt.Sprintf("A counterexample was found, which holds in float64 by case %d of the property: %s.", a.Case, work)
	case falsify.Unsat:
		return fmt.Sprintf("There is no counterexample: that is proven of each case (%s).", work)
	}
	s := fmt.Sprintf("No counterexample was found, and it is not proven that there is none: %s.", work)
	if a.Unproven != nil {
		s += " Nothing could be proven: " + plain.Line(a.Unproven.Error(), plain.Message)
	}
	return s
}
