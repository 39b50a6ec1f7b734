package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"advsweep/backends"
	"advsweep/internal/plain"
	"advsweep/internal/remedy"
	"advsweep/internal/words"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"
	"advsweep/rundir"
	"advsweep/study"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A flipsError says that more images flip than --max-flips allows: exit code 3.
type flipsError struct{ got, most int }

func (e flipsError) Error() string {
	return fmt.Sprintf("images whose class differs between a and b: %d, more than --max-flips %d", e.got, e.most)
}

func (flipsError) Unwrap() error { return failedError{1} }

// A compareVerb is 'advsweep compare' with its flags.
type compareVerb struct {
	side     compareSide // what the flags say; --backend and --precision may hold two
	attack   attackFlags
	ball     ballFlags
	images   rangeFlags
	output   outputFlags
	seed     uint64
	maxFlips int
	auto     string // what auto chose, for the text
}

// A compareSide is what is on one side: a model and what computes it. The flags set both sides at
// once; method both tells them apart.
type compareSide struct {
	inputs  inputFlags
	backend backendFlags
}

func newCompare() *cobra.Command {
	v := &compareVerb{}
	c := &cobra.Command{
		Use:   "compare [A B]",
		Short: "Two models, backends, precisions, kinds of math or earlier sweeps on the same images",
		Long: `Attack the same images on two sides, a and b, and say where they differ and whether that is more than
chance. The sides are

  compare A B                          two models: files, or 'embedded' for the one inside
  compare --precision float32,float64  one model (--model) in two precisions, on the CPU or, with
                                       --backend cuda or tf32, on CUDA
  compare --math default,fast          one model in two kinds of math, on the CPU
  compare --backend cpu,cuda           one model on two backends; two lists pair up: with
                                       --precision float64,tf32 it is cpu float64 and cuda tf32
  compare DIR1 DIR2                    two folders of 'advsweep sweep --out' on the same images: the
                                       attacks and eps that both have; nothing is computed anew

For every attack and eps: how many images are right on both sides, on one alone, on neither; the chance
of so uneven a split if both are as good (the exact test of McNemar 1947), also corrected for the
number of rows (Holm 1979); the difference of the accuracies with its 95 % interval for pairs
(Newcombe 1998, method 10); and the flips, which are images whose class differs.

With models at hand also: how far logits lie apart on the clean images, on each side's own perturbed ones,
and for a's perturbed images on both sides; and in how many pixels FGSM goes another way. For one model
on both sides each flip at the same pixels is held against a bound on the rounding of both
arithmetics, computed for that image: a flip outside it is no rounding but a bug.

Files: compare.csv, .json, .png, .svg. Exit code 0: done. 3: more flips than --max-flips. 1: it could not
be done. 2: wrong usage.`,
		Example: `  advsweep compare a.safetensors b.safetensors --data mnist/ --attack fgsm,pgd --eps 0:0.2:0.05 --bounds 0,1
  advsweep compare --precision float32,float64 --max-flips 0
  advsweep compare --model my.safetensors --backend cpu,cuda --n 200
  advsweep compare old-out new-out`,
		Args: func(_ *cobra.Command, args []string) error {
			switch len(args) {
			case 0, 2:
				return nil
			case 1:
				return usagef("only one to compare, %s: give two models or two folders, or --model %s with two of --backend, --precision or --math", args[0], args[0])
			}
			return usagef("%d to compare, want two", len(args))
		},
		RunE: func(c *cobra.Command, args []string) error {
			if v.maxFlips < 0 && c.Flags().Changed("max-flips") {
				return usagef("--max-flips %d, want at least 0", v.maxFlips)
			}
			return v.run(c, args)
		},
	}
	v.side.inputs.add(c)
	v.attack.add(c, "fgsm", "`LIST` of attacks as for sweep")
	v.ball.add(c, epsStandard, epsList)
	v.images.add(c, 1000)
	v.side.backend.add(c)
	c.Flags().Lookup("backend").Usage = strings.Join(backends.Names(), ", ") + " or auto, or two to compare: " + backendPair()
	c.Flags().Lookup("precision").Usage = "float32, float64 (CPU only) or tf32 (CUDA only), or two to compare: float32,float64"
	c.Flags().Lookup("math").Usage = words.Or(backends.Maths()) + ", or two to compare: " + strings.Join(backends.Maths(), ",")
	addSeed(c, &v.seed, "random draws")
	c.Flags().IntVar(&v.maxFlips, "max-flips", -1, "exit with code 3 if the class of more than `N` images differs, as they are or anywhere (default any number)")
	c.Flags().Lookup("max-flips").DefValue = "0" // which --help leaves out
	v.output.add(c)
	return c
}

// compareBase is what the names of the files of a comparison begin with.
const compareBase = "compare"

func (v *compareVerb) run(c *cobra.Command, args []string) error {
	var cmp *report.Compared
	runs, err := areRuns(args)
	if err != nil {
		return err
	}
	var folder *report.Folder
	if runs {
		if err := onlyOutput(c); err != nil {
			return err
		}
		if cmp, err = compareRuns(args[0], args[1]); err != nil {
			return err
		}
		if folder, err = report.OpenFolder(v.output.out, report.CurveNames(compareBase)...); err != nil {
			return err
		}
	} else {
		if cmp, folder, err = v.compareModels(c, args); err != nil {
			return err
		}
	}
	files, err := cmp.Files(compareBase)
	if err != nil {
		return err
	}
	err = finish(c, v.output.quiet, folder, files, func(w *bytes.Buffer) error {
		switch v.output.format {
		case "csv":
			w.Write(files[0].Data)
			return nil
		case "json":
			w.Write(files[1].Data)
			return nil
		}
		w.WriteString(v.auto)
		return cmp.Table(w)
	})
	if n := len(cmp.Flips()); err == nil && v.maxFlips >= 0 && n > v.maxFlips {
		return flipsError{n, v.maxFlips}
	}
	return err
}

// areRuns reports whether args are the folders of earlier runs, not models.
func areRuns(args []string) (bool, error) {
	var folders []int
	for i, a := range args {
		if a == "" {
			return false, usagef("%s to compare is empty", [2]string{"the first", "the second"}[i])
		}
		if info, err := os.Stat(a); a != embedded && err == nil && info.IsDir() {
			folders = append(folders, i)
		}
	}
	if len(folders) == 1 {
		return false, usagef("%s is a folder and %s is not: want two models, or two folders of 'advsweep sweep --out'", args[folders[0]], args[1-folders[0]])
	}
	return len(folders) == 2, nil
}

// onlyOutput returns an error if a flag was given that says what to compute: two earlier runs say
// so themselves.
func onlyOutput(c *cobra.Command) (err error) {
	c.Flags().Visit(func(flag *pflag.Flag) {
		if !slices.Contains([]string{"out", "format", "quiet", "max-flips"}, flag.Name) {
			err = usagef("--%s with two folders: what was computed there is compared as it is; leave it out", flag.Name)
		}
	})
	return err
}

// compareRuns compares two finished sweeps.
func compareRuns(dirA, dirB string) (*report.Compared, error) {
	infoA, errA := os.Stat(dirA)
	infoB, errB := os.Stat(dirB)
	if errA == nil && errB == nil && os.SameFile(infoA, infoB) {
		return nil, usagef("%s and %s are the same folder", dirA, dirB)
	}
	for _, dir := range []string{dirA, dirB} {
		if err := study.Believed(dir, release); err != nil {
			return nil, err
		}
	}
	p, err := rundir.Compare(dirA, dirB)
	if err != nil {
		return nil, err
	}
	a, b := plain.Line(dirA, plain.Message), plain.Line(dirB, plain.Message)
	labels := sideLabels(p.A.Plain(), p.B.Plain(), [2]string{a, b})
	left := p.Left
	for i := range left {
		left[i] = strings.NewReplacer("the first", a, "the second", b).Replace(left[i])
	}
	return &report.Compared{A: report.Side{Label: labels[0], Manifest: p.A}, B: report.Side{Label: labels[1], Manifest: p.B}, Comparison: p.Found, Left: left}, nil
}

// readingLabel says how the model of m was read.
func readingLabel(m *record.Manifest) string {
	return cmp.Or(strings.TrimPrefix(m.Model.Reading(), ", "), "as in its file")
}

// sideLabels names two sides by what they differ in or, where that is nothing, as otherwise.
func sideLabels(a, b *record.Manifest, otherwise [2]string) [2]string {
	var names [2][]string
	add := func(x, y string) {
		if x != y {
			names[0], names[1] = append(names[0], x), append(names[1], y)
		}
	}
	if a.Model.SHA256 != b.Model.SHA256 {
		if a.Model.Name != b.Model.Name {
			add(a.Model.Name, b.Model.Name)
		} else {
			add(fmt.Sprintf("%s %.8s", a.Model.Name, a.Model.SHA256), fmt.Sprintf("%s %.8s", b.Model.Name, b.Model.SHA256))
		}
	}
	add(readingLabel(a), readingLabel(b))
	add(a.Backend, b.Backend)
	add(a.Precision, b.Precision)
	if a.Precision == b.Precision {
		add(a.Arithmetic, b.Arithmetic)
	}
	if names[0] == nil {
		return otherwise
	}
	return [2]string{strings.Join(names[0], " "), strings.Join(names[1], " ")}
}

// embedded is the name of the model inside.
const embedded = "embedded"

// parseTwo reads one item, or two to compare.
func parseTwo(flag, text string) ([2]string, bool, error) {
	items := strings.Split(text, ",")
	for i := range items {
		if items[i] = strings.TrimSpace(items[i]); items[i] == "" {
			return [2]string{}, false, usagef("--%s %q holds an empty item", flag, text)
		}
	}
	switch len(items) {
	case 1:
		return [2]string{items[0], items[0]}, false, nil
	case 2:
		return [2]string{items[0], items[1]}, true, nil
	}
	return [2]string{}, false, usagef("--%s %q holds %d items, want one, or two to compare", flag, text, len(items))
}

// both returns what is on each side.
func (f compareSide) both(c *cobra.Command, args []string) (sides [2]compareSide, err error) {
	names, twoBackends, err := parseTwo("backend", f.backend.name)
	if err != nil {
		return sides, err
	}
	precisions, twoPrecisions, err := parseTwo("precision", f.backend.precision)
	if err != nil {
		return sides, err
	}
	maths, twoMaths, err := parseTwo("math", f.backend.math)
	if err != nil {
		return sides, err
	}
	lists := twoBackends || twoPrecisions || twoMaths
	switch {
	case len(args) == 2 && c.Flags().Changed("model"):
		return sides, usagef("--model with two models to compare: leave it out")
	case len(args) == 2 && lists:
		return sides, usagef("two models, and two of --backend, --precision or --math: one thing at a time can be compared; give one of each, or one model by --model")
	case len(args) == 0 && !lists:
		return sides, usagef("nothing to compare: give two models or two folders, or two of --backend, --precision or --math as in --precision float32,float64")
	case twoBackends && slices.Contains(names[:], "auto"):
		return sides, usagef("--backend %s: auto may be the same as the other; name both, as in %s", f.backend.name, backendPair())
	case lists && names[0] == names[1] && precisions[0] == precisions[1] && maths[0] == maths[1]:
		return sides, usagef("both sides are %s in %s: nothing differs", names[0], precisions[0])
	}
	if twoPrecisions && !twoBackends && names[0] == "auto" { // one backend, whatever the precision
		if names, err = f.backend.twice(c, precisions); err != nil {
			return sides, err
		}
	}
	if twoMaths && !twoBackends && !twoPrecisions && names[0] == "auto" { // one backend, which has both
		for _, m := range maths {
			if !slices.Contains(backends.Maths(), m) {
				return sides, unknownMath(m)
			}
		}
		one := firstBackend(func(e backends.Entry) bool { return e.HasMath(maths[0]) && e.HasMath(maths[1]) }).Name
		names = [2]string{one, one}
	}
	for i := range sides {
		sides[i] = f
		sides[i].backend.name, sides[i].backend.precision, sides[i].backend.math = names[i], precisions[i], maths[i]
		if len(args) == 2 {
			if sides[i].inputs.model = args[i]; args[i] == embedded {
				sides[i].inputs.model = ""
			}
		}
	}
	return sides, nil
}

// compareModels sweeps both sides.
func (v *compareVerb) compareModels(c *cobra.Command, args []string) (*report.Compared, *report.Folder, error) {
	sides, err := v.side.both(c, args)
	if err != nil {
		return nil, nil, err
	}
	s, err := v.attack.parse(c, v.ball, v.seed)
	if err != nil {
		return nil, nil, err
	}
	warnShort(c.ErrOrStderr(), s)
	// The flags are about the side that uses a device, if one does.
	first := 0
	if one, err := backends.Lookup(sides[0].backend.name); err == nil && !one.Accelerator {
		if other, err := backends.Lookup(sides[1].backend.name); err == nil && other.Accelerator {
			first = 1
		}
	}
	var other *model.Model
	var folder *report.Folder
	in, err := open(c, &sides[first].inputs, &sides[first].backend, v.output.quiet, v.images.cut(c), func(in *inputs) (err error) {
		if other = in.model; len(args) == 2 {
			if other, err = sides[1-first].inputs.loadModel(); err != nil {
				return err
			}
			switch {
			case other.Source.SHA256 == in.model.Source.SHA256:
				return usagef("%s and %s are the same model, sha256 %.12s", args[0], args[1], other.Source.SHA256)
			case other.Inputs() != in.model.Inputs():
				return fmt.Errorf("%s takes %d pixels and %s %d: they cannot see the same images", args[first], in.model.Inputs(), args[1-first], other.Inputs())
			case other.Outputs() != in.model.Outputs():
				return fmt.Errorf("%s has %d classes and %s %d: want as many", args[first], in.model.Outputs(), args[1-first], other.Outputs())
			}
			if shape, err := in.stored.Shape(shapeOf(other)); err != nil {
				return fmt.Errorf("%s: %w", args[1-first], err)
			} else if have := in.set.Images.Shape()[1:]; !slices.Equal(shape, have) {
				return remedy.Want(remedy.Flat, fmt.Errorf("%s takes images as %v and %s as %v: they cannot see the same images", args[first], have, args[1-first], shape))
			}
		}
		folder, err = report.OpenFolder(v.output.out, report.CurveNames(compareBase)...)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	defer in.backend.Close()
	second := &inputs{model: other, set: in.set}
	ins := [2]*inputs{in, second}
	if first == 1 {
		ins = [2]*inputs{second, in}
	}
	if err = sides[1-first].backend.openOther(c, v.output.quiet, second, in.chosen); err != nil {
		return nil, nil, err
	}
	defer second.backend.Close()
	for i, side := range ins {
		if len(side.rivals) > 0 {
			v.auto += fmt.Sprintf("%c%s\n", "ab"[i], autoChose(side.chosen, side.rivals)[1:])
		}
	}

	s = in.leaveOut(c.ErrOrStderr(), s, v.output.quiet)
	p := newProgress(c.ErrOrStderr(), v.output.quiet, "compare")
	defer p.finish()
	q := pipeline.Compare{Attacks: s.Attacks, Eps: s.Eps, Bounds: s.Bounds, Progress: p.update}
	if len(args) == 0 {
		q.Model = other
	}
	found, err := q.Run(c.Context(), ins[0].backend, ins[1].backend, in.set)
	p.finish()
	if err != nil {
		return nil, nil, err
	}
	var m [2]record.Manifest
	for i := range ins {
		m[i] = ins[i].manifest(s, v.seed)
	}
	labels := sideLabels(&m[0], &m[1], [2]string{"a", "b"})
	return &report.Compared{A: report.Side{Label: labels[0], Manifest: &m[0]}, B: report.Side{Label: labels[1], Manifest: &m[1]}, Comparison: found}, folder, nil
}

// backendPair is two that can be compared: "cpu,cuda".
func backendPair() string { return backends.Always().Name + "," + backends.Auto()[0].Name }

// twice returns the backend that computes in both precisions, two times.
func (f *backendFlags) twice(c *cobra.Command, precisions [2]string) (names [2]string, err error) {
	device := c.Flags().Changed("device")
	for _, e := range backends.All() {
		if e.Has(precisions[0]) && e.Has(precisions[1]) && (e.Accelerator || !device) {
			return [2]string{e.Name, e.Name}, nil
		}
	}
	var where, say []string
	for i, p := range precisions {
		if !slices.Contains(backends.Precisions(), p) {
			return names, unknownPrecision(p)
		}
		has := func(e backends.Entry) bool { return e.Has(p) }
		names[i] = firstBackend(has).Name
		where, say = append(where, fmt.Sprintf("%s on %s only", p, backends.Titles(has))), append(say, names[i])
	}
	if device && names[0] == names[1] { // the device is what does not fit, and opening says so
		accelerator := firstBackend(func(e backends.Entry) bool { return e.Accelerator }).Name
		return [2]string{accelerator, accelerator}, nil
	}
	return names, usagef("--precision %s: %s; say --backend %s too", f.precision, strings.Replace(words.And(where), " on ", " is on ", 1), strings.Join(say, ","))
}

// openOther opens the backend of the side that is not opened first. --device is about the other
// side if that is on an accelerator and this one is not.
func (f *backendFlags) openOther(c *cobra.Command, quiet bool, in *inputs, chosen string) error {
	e, err := backends.Lookup(f.name)
	other, failed := backends.Lookup(chosen)
	if err == nil && failed == nil && !e.Accelerator && other.Accelerator && e.Has(f.precision) {
		return f.openEntry(e, in)
	}
	return f.open(c, quiet, in)
}
