package study

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"advsweep/backends"
	"advsweep/dataset"
	"advsweep/internal/regular"
	"advsweep/internal/words"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/rundir"
	"advsweep/verdict"

	"github.com/pelletier/go-toml/v2"
)

// A File is a study as a person writes it, in TOML. Every key means what the flag of 'advsweep
// sweep' with its name does. decode sets what the file says and maker.defaults what it leaves out;
// nothing sets a field after that.
type File struct {
	Name      string   `toml:"name"`
	Seeds     []uint64 `toml:"seeds"`     // a run for each; default 1
	Precision []string `toml:"precision"` // a run for each; default float32
	Backend   string   `toml:"backend"`   // cpu (the default) or cuda
	// MathMode is that of cuda at float32: 3xtf32 (the default) or fp32; see 'advsweep devices'.
	MathMode string `toml:"product"`
	Math     string `toml:"math"` // default, or fast on the CPU

	AttackSettings // embedded because its keys stand beside the others in the file, in no table

	Models []ModelFile  `toml:"model"`
	Data   []DataFile   `toml:"data"`
	Shards ShardSetting `toml:"shards"`
}

// AttackSettings are the attacks of a study and what they have in common. An empty one, or nil, is
// the flag's default.
type AttackSettings struct {
	Attack   string   `toml:"attack"`
	Eps      string   `toml:"eps"`
	Bounds   string   `toml:"bounds"`
	Norm     string   `toml:"norm"`
	Loss     string   `toml:"loss"`
	Step     string   `toml:"step"`
	Target   string   `toml:"target"`
	Steps    *int     `toml:"steps"`
	Restarts *int     `toml:"restarts"`
	Decay    *float64 `toml:"decay"`
	Exact    *bool    `toml:"exact"`
	Rounded  *bool    `toml:"rounded"`
}

// sweep returns the sweep of a run with that seed, without what depends on its model and images.
func (a *AttackSettings) sweep(seed uint64) (pipeline.Sweep, error) {
	t := pipeline.Text{Attack: a.Attack, Eps: a.Eps, Bounds: a.Bounds, Norm: a.Norm, Loss: a.Loss, Step: a.Step, Target: a.Target, Decay: a.Decay, Seed: seed}
	if a.Steps != nil {
		t.Steps = *a.Steps
	}
	if a.Restarts != nil {
		t.Restarts = *a.Restarts
	}
	return t.Sweep()
}

// A ModelFile is one of a study's models.
type ModelFile struct {
	Name   string `toml:"name"` // default: that of the file
	File   string `toml:"file"` // or mlp or cnn for an embedded one
	Layers string `toml:"layers"`
	// as Model.SetActivation, Model.TakePixels and model.Ask take them
	Activation string `toml:"activation"`
	Pixels     string `toml:"pixels"`
	Output     string `toml:"output"`
}

// A DataFile names some of a study's images. With neither Path nor Images they are the embedded
// ones.
type DataFile struct {
	Name   string `toml:"name"`
	Path   string `toml:"path"` // as --data takes it
	Split  string `toml:"split"`
	Images string `toml:"images"`
	Labels string `toml:"labels"`
	N      *int   `toml:"n"` // default 1000, or as many as there are
	Offset int    `toml:"offset"`
	DataForm
}

// A DataForm says of files what they leave open, as the flags with these names do.
type DataForm struct {
	ImagesKey string  `toml:"images_key"`
	LabelsKey string  `toml:"labels_key"`
	PixelMax  float64 `toml:"pixel_max"`
	Layout    string  `toml:"layout"`
	Flat      string  `toml:"flat"`
	Alpha     string  `toml:"alpha"`
	Channels  string  `toml:"channels"` // "rgb" makes grey images RGB, "grey" RGB images grey
	Resize    string  `toml:"resize"`
	Crop      string  `toml:"crop"`
}

// query is what to read of d, whose paths path makes.
func (d *DataFile) query(path func(string) string) (dataset.Query, error) {
	f := d.DataForm
	q := dataset.Query{Split: d.Split, ImagesKey: f.ImagesKey, LabelsKey: f.LabelsKey, PixelMax: f.PixelMax,
		Layout: f.Layout, Flat: f.Flat, Alpha: f.Alpha, Channels: f.Channels}
	switch {
	case d.Path != "":
		q.Path = path(d.Path)
	case d.Images != "":
		q.Images, q.Labels = path(d.Images), path(d.Labels)
	}
	var err error
	if q.Resize, err = dataset.ParseSize(f.Resize, false); err != nil {
		return q, fmt.Errorf("resize: %w", err)
	}
	if q.Crop, err = dataset.ParseSize(f.Crop, true); err != nil {
		return q, fmt.Errorf("crop: %w", err)
	}
	return q, nil
}

// A ShardSetting says how large shards are: each takes about Seconds on a device of class Device.
type ShardSetting struct {
	Seconds float64 `toml:"seconds"` // default 60
	Device  string  `toml:"device"`  // one of pipeline.DeviceClasses; default by the backend
}

// A Made is what Make returns: a plan with what it needs.
type Made struct {
	Plan   *Plan
	Inputs map[string][]byte // by hash
	Text   []byte            // the study file as it was read
	Notes  []string          // for people
}

// maxFile bounds a study file, in bytes: ten thousand models.
const maxFile = 4 << 20

// Make plans the study in the TOML file at path. Paths in the file start from its folder. version
// is the program's. cpu is the CPU of this machine, on which Make opens each model to check that it
// fits the images and attacks; it attacks nothing. Equal files, models and images give equal plans.
// An error names path and is one line.
func Make(path, version string, cpu Device) (*Made, error) {
	text, err := regular.Read(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("study: %s: %w", path, err)
	}
	file := new(File)
	if err := decode(text, file); err != nil {
		return nil, fmt.Errorf("study: %s: %w", path, err)
	}
	m := &maker{File: file, folder: filepath.Dir(path), version: version, cpu: cpu, made: &Made{Inputs: map[string][]byte{}, Text: text}}
	if err := m.defaults(path); err != nil {
		return nil, fmt.Errorf("study: %s: %w", path, err)
	}
	if err := m.plan(); err != nil {
		return nil, fmt.Errorf("study: %s: %w", path, err)
	}
	return m.made, nil
}

// decode reads TOML into file. A key that is not known is an error: if it were ignored, a misspelt
// key would leave a default in force.
func decode(text []byte, file *File) error {
	d := toml.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(file)
	var unknown *toml.StrictMissingError
	var syntax *toml.DecodeError
	switch {
	case errors.As(err, &unknown):
		var names []string
		for _, one := range unknown.Errors {
			line, _ := one.Position()
			names = append(names, fmt.Sprintf("line %d: unknown key %s", line, strings.Join(one.Key(), ".")))
		}
		return errors.New(strings.Join(names, "; "))
	case errors.As(err, &syntax):
		line, column := syntax.Position()
		if m := mistyped.FindStringSubmatch(syntax.Error()); m != nil {
			return fmt.Errorf("line %d, column %d: %s is of type %s, want %s; the help of plan has an example", line, column, strings.Join(syntax.Key(), "."), m[1], inTOML(m[2]))
		}
		return fmt.Errorf("line %d, column %d: %s", line, column, strings.TrimPrefix(syntax.Error(), "toml: "))
	case err != nil:
		return errors.New(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "toml: "))
	}
	return nil
}

// mistyped matches the TOML library's error for a value of the wrong type. Its groups are TOML's
// type of the value and the Go type that is wanted.
var mistyped = regexp.MustCompile(`cannot decode TOML (\w+) into .* of type (\S+)$`)

// inTOML returns what a person writes in a study file for a field of that Go type.
func inTOML(kind string) string {
	switch kind = strings.TrimLeft(kind, "*"); {
	case kind == "string":
		return "text in quotes"
	case kind == "bool":
		return "true or false"
	case strings.HasPrefix(kind, "int"), strings.HasPrefix(kind, "uint"):
		return "a whole number"
	case strings.HasPrefix(kind, "float"):
		return "a number"
	case strings.HasPrefix(kind, "[]study."):
		return "a table for each, as in [[model]]"
	case strings.HasPrefix(kind, "[]"):
		return "a list in brackets"
	}
	return "a table"
}

// A maker is a Make under way. Make sets the fields of the first group; defaults fills in File and
// sets entry and class; plan and what it calls add to made.
type maker struct {
	*File
	folder  string
	version string
	cpu     Device

	entry backends.Entry // of Backend
	class pipeline.DeviceClass
	made  *Made
}

func (m *maker) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(m.made.Notes, s) {
		m.made.Notes = append(m.made.Notes, s)
	}
}

// defaults fills in what the file leaves out, and checks what it says.
func (m *maker) defaults(path string) error {
	fill := func(s *string, standard string) {
		if *s == "" {
			*s = standard
		}
	}
	fill(&m.Name, named(path))
	fill(&m.Backend, backends.Always().Name)
	fill(&m.Math, backends.DefaultMath())
	fill(&m.Attack, "fgsm")
	fill(&m.Eps, "0:0.5:0.025")
	fill(&m.Bounds, "none")
	if m.Shards.Seconds == 0 {
		m.Shards.Seconds = 60
	}
	if len(m.Seeds) == 0 {
		m.Seeds = []uint64{1}
	}
	if len(m.Precision) == 0 {
		m.Precision = []string{"float32"}
	}
	if len(m.Data) == 0 {
		m.Data = []DataFile{{}}
	}
	e, unknown := backends.Lookup(m.Backend)
	m.entry = e
	switch {
	case !validName(m.Name):
		return fmt.Errorf("name %q, want letters, digits and -_. inside", m.Name)
	case len(m.Models) == 0:
		return errors.New("no models: want [[model]] with a file, or mlp or cnn for an embedded one")
	case unknown != nil:
		return unknown
	case m.MathMode != "" && len(e.MathModes) == 0:
		return fmt.Errorf("product %q with backend %s: products are %s's", m.MathMode, e.Name, backends.Titles(func(e backends.Entry) bool { return len(e.MathModes) > 0 }))
	case m.MathMode != "" && !slices.Contains(e.MathModes, m.MathMode):
		return fmt.Errorf("product %q, want %s", m.MathMode, words.Or(e.MathModes))
	case e.CheckMath(m.Math) != nil:
		return e.CheckMath(m.Math)
	case !(m.Shards.Seconds >= 0.001 && m.Shards.Seconds <= 1e6):
		return fmt.Errorf("shards.seconds %v, want 0.001 to 1000000", m.Shards.Seconds)
	case m.Steps != nil && *m.Steps == 0, m.Restarts != nil && *m.Restarts == 0:
		return errors.New("steps and restarts, want at least 1")
	}
	for _, p := range m.Precision {
		if !e.Has(p) {
			return fmt.Errorf("precision %q, want of %s: %s", p, m.Backend, strings.Join(e.Precisions, ", "))
		}
	}
	if m.Shards.Device == "" {
		m.Shards.Device = e.Class
	}
	var err error
	if m.class, err = pipeline.DeviceClassOf(m.Shards.Device); err != nil {
		return fmt.Errorf("shards.device: %w", err)
	}
	for i := range m.Models {
		one := &m.Models[i]
		if one.File == "" {
			return fmt.Errorf("model %d has no file: want one, or mlp or cnn for an embedded model", i+1)
		}
		fill(&one.Name, named(one.File))
	}
	for i := range m.Data {
		one := &m.Data[i]
		switch {
		case one.Path != "" && one.Images != "":
			return fmt.Errorf("data %d has a path and images: want one of the two", i+1)
		case (one.Images == "") != (one.Labels == ""):
			return fmt.Errorf("data %d: images and labels go together", i+1)
		case one.Split != "" && one.Path == "":
			return fmt.Errorf("data %d: split chooses a part of path, which is not given", i+1)
		case one.Split != "" && one.Split != "test" && one.Split != "train":
			return fmt.Errorf("data %d: split %q, want test or train", i+1, one.Split)
		case one.Offset < 0 || one.N != nil && *one.N < 1:
			return fmt.Errorf("data %d: want n of at least 1 and offset of at least 0", i+1)
		}
		fill(&one.Split, "test")
		switch {
		case one.Path != "":
			fill(&one.Name, named(one.Path))
		case one.Images != "":
			fill(&one.Name, named(one.Images))
		default:
			fill(&one.Name, "embedded")
		}
	}
	if err := distinct("model", len(m.Models), func(i int) string { return m.Models[i].Name }); err != nil {
		return err
	}
	if err := distinct("data", len(m.Data), func(i int) string { return m.Data[i].Name }); err != nil {
		return err
	}
	if err := distinct("seed", len(m.Seeds), func(i int) string { return fmt.Sprint(m.Seeds[i]) }); err != nil {
		return err
	}
	return distinct("precision", len(m.Precision), func(i int) string { return m.Precision[i] })
}

// named returns the last element of path without its extensions, ".tar.gz" as well as ".npz".
func named(path string) string {
	base := filepath.Base(path)
	for ext := filepath.Ext(base); ext != "" && ext != base; ext = filepath.Ext(base) {
		base = strings.TrimSuffix(base, ext)
	}
	return base
}

// distinct returns an error unless the n names are fit for folders and differ in more than case.
// what says in the error what they name.
func distinct(what string, n int, name func(i int) string) error {
	seen := map[string]bool{}
	for i := range n {
		s := name(i)
		if !validName(s) {
			return fmt.Errorf("%s %d is called %q: give it a name of letters, digits and -_. inside", what, i+1, s)
		}
		if seen[strings.ToLower(s)] { // folders of some systems do not tell them apart
			return fmt.Errorf("two of %s are called %s: give each a name or value of its own", what, s)
		}
		seen[strings.ToLower(s)] = true
	}
	return nil
}

// path returns p as seen from here: a path in the study file starts from the file's folder.
func (m *maker) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(m.folder, p)
}

// plan reads the models and images, and lists the runs: by models, then data, precisions and seeds.
func (m *maker) plan() error {
	p := &Plan{Version: m.version, Name: m.Name, Class: m.class.Name, Seconds: m.Shards.Seconds}
	stored := make([]*dataset.Stored, len(m.Data))
	for k, d := range m.Data {
		q, err := d.query(m.path)
		if err == nil {
			stored[k], err = dataset.Open(q)
		}
		if err != nil {
			return fmt.Errorf("data %s: %w", d.Name, err)
		}
	}
	for _, one := range m.Models {
		mod, err := m.loadModel(one, stored)
		if err != nil {
			return fmt.Errorf("model %s: %w", one.Name, err)
		}
		for _, n := range mod.Notes {
			m.note("model %s: %s", one.Name, n)
		}
		data, err := encodeModel(mod)
		if err != nil {
			return fmt.Errorf("model %s: %w", one.Name, err)
		}
		hash := Hash(data)
		m.made.Inputs[hash] = data
		for k, d := range m.Data {
			set, err := m.cutSet(stored[k], d, mod)
			if err != nil {
				return fmt.Errorf("model %s, data %s: %w", one.Name, d.Name, err)
			}
			data, err := encodeSet(set)
			if err != nil {
				return fmt.Errorf("data %s: %w", d.Name, err)
			}
			setHash := Hash(data)
			m.made.Inputs[setHash] = data
			for _, precision := range m.Precision {
				if err := m.runs(p, one, mod, hash, d, set, setHash, precision); err != nil {
					return fmt.Errorf("model %s, data %s: %w", one.Name, d.Name, err)
				}
			}
		}
	}
	m.made.Plan = p
	return nil
}

// loadModel reads a model. One that leaves rows and columns free takes those of the first data.
func (m *maker) loadModel(f ModelFile, stored []*dataset.Stored) (*model.Model, error) {
	mod, err := m.readModel(f, nil)
	var free *model.FreeSizeError
	if errors.As(err, &free) && len(stored) > 0 {
		var image []int
		if image, err = stored[0].Image(free.Channels); err == nil {
			mod, err = m.readModel(f, image)
		}
	}
	if err != nil {
		return nil, err
	}
	return mod, record.Model{Pixels: f.Pixels, Activation: f.Activation}.Apply(mod)
}

// readModel reads a model as its file has it, for images of a shape where it leaves that open.
func (m *maker) readModel(f ModelFile, image []int) (*model.Model, error) {
	if slices.Contains(model.EmbeddedNames, f.File) {
		if f.Layers != "" {
			return nil, fmt.Errorf("layers with the embedded model %s: leave them out", f.File)
		}
		return model.Embedded(f.File)
	}
	layers := f.Layers
	if layers != "" {
		layers = m.path(layers)
	}
	return model.LoadAsking(m.path(f.File), layers, model.Ask{Output: f.Output, Image: image})
}

// cutSet returns the images of d in the shape in which mod takes them.
func (m *maker) cutSet(stored *dataset.Stored, d DataFile, mod *model.Model) (*dataset.Set, error) {
	set, err := stored.For(mod.ImageShape())
	if err != nil {
		return nil, err
	}
	for _, n := range append(slices.Clone(set.Notes), set.ClassNotes(mod.Outputs())...) {
		m.note("data %s: %s", d.Name, n.Text)
	}
	n := 1000
	if d.N != nil {
		n = *d.N
	} else if left := set.N() - d.Offset; left < n {
		n = max(1, left)
	}
	return set.Slice(d.Offset, n)
}

// runs adds a run for each seed.
func (m *maker) runs(p *Plan, one ModelFile, mod *model.Model, modelHash string, d DataFile, set *dataset.Set, setHash, precision string) error {
	b, mathMode, err := m.cpu.Open(mod, checked(precision), m.Math)
	if err != nil {
		return err
	}
	defer b.Close()
	if m.entry.Planned != nil {
		mathMode = m.entry.Planned(precision, m.MathMode)
	}
	for _, seed := range m.Seeds {
		s, err := m.sweep(seed)
		if err != nil {
			return err
		}
		for _, a := range s.Attacks {
			if top := s.Eps[len(s.Eps)-1]; a.Short(top) {
				m.note("%s: %d steps of %s do not reach eps %v: the model will look stronger than it is", a.Name, a.Steps, a.StepSize(), top)
			}
		}
		lo, hi := set.Range()
		for _, f := range verdict.Units(s, lo, hi, mod.Inputs()) {
			m.note("%s: eps and bounds are in units of pixels, so 8 of 255 levels are 8/255 with bounds 0,1", f)
		}
		if factor, ok := mod.FirstFactor(); ok && math.Abs(factor) < verdict.SmallFactor && lo >= 0 && hi <= 1 {
			m.note("model %s: its first layer multiplies pixels by %.3g: was it made for pixels from 0 to 255? Those of %s lie in [0, 1]; pixels = \"0,255\" scales them for the model", one.Name, factor, d.Name)
		}
		_, left := s.LeaveOut(b.Info().Classes)
		for _, l := range left {
			m.note("model %s: %s", one.Name, l)
		}
		exact := pipeline.ExactPays(b)
		if m.Exact != nil {
			exact = *m.Exact
		}
		s.Exact, s.Rounded = exact && m.entry.Exact, m.Rounded == nil || *m.Rounded
		if s, err = rundir.Fit(s, mod, b, set); err != nil {
			return err
		}
		if m.Exact != nil && exact && !s.Exact {
			return errors.New("exact = true, but only the curve of fgsm on a model of piecewise linear layers on the cpu can be exact")
		}
		if err := s.Validate(b, set); err != nil {
			return err
		}
		r := Run{Name: m.runName(one, d, seed, precision), Called: Called{one.Name, d.Name}, Model: modelHash, Images: setHash}
		meta := record.Meta{Version: m.version, Model: record.DescribeModel(mod), Data: record.Describe(set), Seed: seed, Backend: m.Backend, Precision: precision}
		if m.Math != backends.DefaultMath() {
			meta.Math = m.Math
		}
		r.Manifest = record.New(meta, mod, set, s, mathMode)
		if err := m.cut(&r, mod); err != nil {
			return err
		}
		p.Runs = append(p.Runs, r)
	}
	return nil
}

// checked returns the precision at which the CPU checks that a run of that precision fits: the CPU
// has no tf32.
func checked(precision string) string {
	if precision == "float64" {
		return precision
	}
	return "float32"
}

// runName returns the name of a run: the model's, and of data, precision and seed those of which
// the study has several.
func (m *maker) runName(one ModelFile, d DataFile, seed uint64, precision string) string {
	name := one.Name
	if len(m.Data) > 1 {
		name += "-" + d.Name
	}
	if len(m.Precision) > 1 {
		name += "-" + precision
	}
	if len(m.Seeds) > 1 {
		name += fmt.Sprintf("-seed%d", seed)
	}
	return name
}

// cut cuts r into shards, each of as many chunks as take no longer than the study wants, but at
// least one.
func (m *maker) cut(r *Run, mod *model.Model) error {
	s := r.Manifest.Sweep()
	macs, err := mod.MACs()
	if err != nil {
		return err
	}
	rate := m.class.Rate(mod)
	sum := 0.0
	plan := s.Plan(r.Manifest.Data.N)
	for i, c := range plan {
		cost := m.class.Seconds(s.Cost(c, macs), rate)
		if sum > 0 && sum+cost > m.Shards.Seconds {
			r.Ends, r.Costs = append(r.Ends, i), append(r.Costs, rounded(sum))
			sum = 0
		}
		sum += cost
	}
	r.Ends, r.Costs = append(r.Ends, len(plan)), append(r.Costs, rounded(sum))
	return nil
}

// rounded returns v in seconds, rounded to a millisecond. Digits beyond that mean nothing, and may
// differ between processors, and the plan's bytes must not.
func rounded(v float64) float64 { return float64(int64(float64(v*1000)+0.5)) / 1000 }
