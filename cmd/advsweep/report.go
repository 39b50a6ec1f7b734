package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"advsweep/attack"
	"advsweep/backends"
	"advsweep/dataset"
	"advsweep/internal/regular"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"
	"advsweep/rundir"
	"advsweep/study"

	"github.com/spf13/cobra"
)

// A reportVerb is 'advsweep report' with its flags.
type reportVerb struct {
	*program
	inputs    inputFlags
	backend   backendFlags
	confusion string // an eps of the run, or ""
	pictures  int    // from either end of the order
	out       string // a file, or ""
	quiet     bool
}

func newReport(p *program) *cobra.Command {
	v := &reportVerb{program: p}
	c := &cobra.Command{
		Use:   "report DIR...",
		Short: "One HTML file on a finished sweep or study: report.html",
		Long: `Write DIR/report.html on the finished sweep in each DIR: curves with intervals, noise and chance,
accuracy once saved as 8-bit pictures, success rates on logarithmic axes, single classes and
what they are taken for, the least and the most robust images, and all that is needed to
repeat the run. The file needs no network and no other file, and prints.

The images are attacked again, which takes the model and the images of the run: those inside
advsweep if the run had them, else --model and --data as in the run. They must be the same, by
their SHA-256. Without them the report has no pictures, and says so.

Of a study that is merged, DIR/report.html is on all its runs: a table, curves together, paired tests;
and DIR/study.csv has all their rows.`,
		Example: `  advsweep report advsweep-out
  advsweep report clipped --model trained/model.safetensors --data mnist --confusion 0.1
  advsweep report a --out robustness.html`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, dirs []string) error {
			if err := cmp.Or(given(c), v.inputs.check(c), v.backend.check()); err != nil {
				return err
			}
			if v.out != "" && len(dirs) > 1 {
				return usagef("--out with %d folders: leave it out, and each gets its %s", len(dirs), report.PageName)
			}
			if v.pictures < 0 || v.pictures > 100 {
				return usagef("--pictures %d, want 0 to 100", v.pictures)
			}
			for _, dir := range dirs {
				if study.Is(dir) {
					if err := v.study(c, dir); err != nil {
						return err
					}
					continue
				}
				if err := v.one(c, dir); err != nil {
					return err
				}
			}
			return nil
		},
	}
	v.inputs.add(c)
	c.Flags().StringVar(&v.confusion, "confusion", "", "`EPS` of the run at which to show what classes are taken for (default where half are fooled)")
	c.Flags().IntVar(&v.pictures, "pictures", 6, "`N` images from either end of the order; 0: none")
	v.backend.add(c)
	addQuiet(c, &v.quiet)
	c.Flags().StringVar(&v.out, "out", "", "`FILE` for the report (default DIR/report.html); nothing of yours is overwritten")
	return c
}

// study writes one report on all runs of the study in dir.
func (v *reportVerb) study(c *cobra.Command, dir string) error {
	for _, name := range []string{"model", "layers", "images", "labels", "data", "confusion", "pictures"} {
		if c.Flags().Changed(name) {
			return usagef("--%s with a study: its report has no pictures; 'advsweep report %s' has them", name, filepath.Join(dir, "runs", "NAME"))
		}
	}
	folder, err := study.Open(dir, release)
	if err != nil {
		return err
	}
	all := report.Study{Name: folder.Plan.Name}
	for i, run := range folder.Plan.Runs {
		m, res, err := folder.ReadRun(i)
		if err != nil {
			return err
		}
		if mixture := m.Plain().Mixture(); mixture != "" {
			all.Warnings = append(all.Warnings, "Run "+run.Name+": "+mixture)
		}
		all.Runs = append(all.Runs, report.StudyRun{Name: run.Name, Model: run.Called.Model, Data: run.Called.Data, Manifest: m, Result: res})
	}
	where, name := dir, report.PageName
	names := []string{report.StudyName}
	if v.out != "" {
		where, name = filepath.Split(v.out)
		where, names = filepath.Clean(where), nil
	}
	out, err := report.OpenFolder(where, append(names, name)...)
	if err != nil {
		return err
	}
	data, err := all.HTML()
	if err != nil {
		return err
	}
	files := []report.File{{Name: name, Data: data}}
	if names != nil {
		files = append(files, report.File{Name: report.StudyName, Data: all.CSV()})
	}
	return finish(c, v.quiet, out, files, func(*bytes.Buffer) error { return nil })
}

// one writes the report on the run in dir.
func (v *reportVerb) one(c *cobra.Command, dir string) error {
	if err := study.Believed(dir, release); err != nil {
		return err
	}
	m, res, err := rundir.Read(dir)
	if err != nil {
		return err
	}
	page := report.Page{Manifest: m, Result: res, Confusion: -1}
	if v.confusion != "" {
		eps, err := attack.ParseEps(v.confusion)
		if err != nil {
			return asUsage("confusion", err)
		}
		if len(eps) != 1 || !slices.Contains(m.Eps, eps[0]) {
			return usagef("--confusion %s, want one eps of the run in %s: %v", v.confusion, dir, m.Eps)
		}
		page.Confusion = slices.Index(m.Eps, eps[0])
	}
	if page.Run, err = regular.ReadFrom(dir, report.RunName, maxSmall); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", filepath.Join(dir, report.RunName), err)
	}
	where, name := dir, report.PageName
	if v.out != "" {
		where, name = filepath.Split(v.out)
		where = filepath.Clean(where)
	}
	folder, err := report.OpenFolder(where, name)
	if err != nil {
		return err
	}
	if k, ok := report.Rank(res, v.pictures); ok {
		page.Ranking = &k
		if page.Examples, page.NoExamples, err = v.examples(c, dir, m, res, &k); err != nil {
			return err
		}
	}
	data, err := page.HTML()
	if err != nil {
		return err
	}
	return finish(c, v.quiet, folder, []report.File{{Name: name, Data: data}}, func(*bytes.Buffer) error { return nil })
}

// examples makes the pictures of k again. Where it cannot, it says why.
func (v *reportVerb) examples(c *cobra.Command, dir string, m *record.Manifest, res *pipeline.Result, k *report.Ranking) (all []*pipeline.Example, why string, err error) {
	ranked := append(slices.Clone(k.Least), k.Most...)
	if len(ranked) == 0 {
		return nil, "No pictures were asked for.", nil
	}
	mod, set, why, err := v.runInputs(dir, m)
	if why != "" && !v.quiet {
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: no pictures: %s\n", why)
	}
	if why != "" || err != nil {
		return nil, why, err
	}
	if !c.Flags().Changed("precision") && backends.Always().Has(m.Precision) {
		v.backend.precision = m.Precision
	}
	if !c.Flags().Changed("math") && m.Math != "" {
		v.backend.math = m.Math
	}
	in := &inputs{model: mod}
	if err := v.backend.open(c, v.quiet, in); err != nil {
		return nil, "", err
	}
	b := in.backend
	defer b.Close()
	for _, one := range ranked {
		image, err := set.Slice(one.Image, 1)
		if err != nil {
			return nil, "", err
		}
		e, err := pipeline.Craft(v.hard, b, image, res.Curves[k.Curve].Attack, res.Eps[one.At], res.Bounds)
		if err != nil {
			return nil, "", err
		}
		if c.Context().Err() != nil {
			return nil, "", context.Canceled
		}
		all = append(all, e)
	}
	return all, "", nil
}

// runInputs reads the model and the images of the run that m fixes. why says what is missing; other
// ones than the run's are an error.
func (v *reportVerb) runInputs(dir string, m *record.Manifest) (mod *model.Model, set *dataset.Set, why string, err error) {
	// The run says how its model was read, so nobody has to say it again.
	v.inputs.pixels, v.inputs.activation = cmp.Or(v.inputs.pixels, m.Model.Pixels), cmp.Or(v.inputs.activation, m.Model.Activation)
	v.inputs.output = cmp.Or(v.inputs.output, m.Model.Output)
	if mod, err = v.inputs.readModel(); err != nil {
		return nil, nil, "", err
	}
	if mod.Source.SHA256 != m.Model.SHA256 {
		if v.inputs.model != "" {
			return nil, nil, "", fmt.Errorf("--model %s is not the model of the run in %s: its SHA-256 is %s, want %s, of %s", v.inputs.model, dir, mod.Source.SHA256, m.Model.SHA256, m.Model.Name)
		}
		return nil, nil, fmt.Sprintf("the model of the run, %s, was not given: give it with --model.", m.Model.Name), nil
	}
	if err = (record.Model{Pixels: v.inputs.pixels, Activation: v.inputs.activation}).Apply(mod); err != nil {
		return nil, nil, "", err
	}
	if got := record.DescribeModel(mod); got.Reading() != m.Model.Reading() {
		return nil, nil, "", fmt.Errorf("--model %s is not read as in the run in %s: it has%s, want%s", v.inputs.model, dir, cmp.Or(got.Reading(), " nothing"), cmp.Or(m.Model.Reading(), " nothing"))
	}
	if set, err = v.inputs.images.load(mod); err != nil {
		return nil, nil, "", err
	}
	own, failed := set.Slice(m.Data.Offset, m.Data.N)
	if failed == nil && own.SHA256() == m.Data.SHA256 {
		return mod, own, "", nil
	}
	given := v.inputs.images.data
	if v.inputs.images.images != "" {
		given = v.inputs.images.images
	}
	if given == "" {
		return nil, nil, fmt.Sprintf("the images of the run, %s, were not given: give them with --data or --images and --labels.", m.Data.Images.Name), nil
	}
	if failed != nil {
		return nil, nil, "", fmt.Errorf("%s does not hold the images of the run in %s: %w", given, dir, failed)
	}
	return nil, nil, "", fmt.Errorf("%s does not hold the images of the run in %s: the SHA-256 of its %d images and labels from index %d on is %s, want %s, of %s",
		given, dir, m.Data.N, m.Data.Offset, own.SHA256(), m.Data.SHA256, m.Data.Images.Name)
}
