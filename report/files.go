package report

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"

	"advsweep/internal/outdir"
	"advsweep/internal/regular"
	"advsweep/pipeline"
	"advsweep/record"
)

// The files of a run beside its curves.
const (
	ImagesName  = "images.csv"
	ClassesName = "classes.csv"
	// RunName is the file of record.RunJSON, which differs between two runs with one result.
	RunName = "run.json"
	// PageName is the file of a Page or of a Study.
	PageName = "report.html"
	// StudyName is the file of Study.CSV.
	StudyName = "study.csv"
)

// A File is a file of a result: its name in the folder of the run, and what it holds.
type File = outdir.File

// A Folder is where files are written, all of them or none. It never overwrites a file that
// advsweep did not write, or that was changed since.
type Folder = outdir.Folder

// A TakenError says that something is in the way that advsweep did not write, or that was changed
// since.
type TakenError = outdir.TakenError

// A MakeError says that a folder is not there and cannot be made.
type MakeError = outdir.MakeError

// A Drawing is one plot of a run, with the files that hold its data.
type Drawing struct {
	Base   string // that the names of its files begin with
	Title  string
	Curves []int // places in the result's Curves; nil: all
}

// CurveNames lists the files of a Drawing: CSV, JSON, PNG and SVG.
func CurveNames(base string) []string {
	return []string{base + ".csv", base + ".json", base + ".png", base + ".svg"}
}

// mathNote is what a caption says of the math of m: nothing of the default.
func mathNote(m *record.Manifest) string {
	if m.Math == "" {
		return ""
	}
	return ", " + m.Math + " math"
}

// CurveFiles draws and encodes drawings of res, all at once. It returns the files of each, in the
// order of CurveNames.
func CurveFiles(m *record.Manifest, res *pipeline.Result, drawings ...Drawing) ([][]File, error) {
	pngs, svgs := make([][]byte, len(drawings)), make([][]byte, len(drawings))
	places, errs := make([][]int, len(drawings)), make([]error, 2*len(drawings)+1)
	var wg sync.WaitGroup
	for i, d := range drawings {
		fig := Figure{Title: d.Title, Model: m.Model.Name + " " + m.Layers + m.Model.Reading() + mathNote(m), Result: res, Curves: d.Curves}
		if places[i], errs[2*i] = fig.places(); errs[2*i] != nil {
			continue
		}
		wg.Go(func() { pngs[i], errs[2*i] = fig.PNG() })
		wg.Go(func() { svgs[i], errs[2*i+1] = fig.SVG() })
	}
	all := make([][]File, len(drawings))
	wg.Go(func() {
		rows, E := Rows(res), len(res.Eps)
		for i, d := range drawings {
			its := []Row{}
			for _, k := range places[i] {
				its = append(its, rows[k*E:(k+1)*E]...)
			}
			drawn := res.Select(places[i]...)
			json, err := curveJSON(m.Meta, drawn, its)
			if err != nil {
				errs[2*len(drawings)] = err
				return
			}
			names := CurveNames(d.Base)
			all[i] = []File{{Name: names[0], Data: curveCSV(drawn, its)}, {Name: names[1], Data: json}, {Name: names[2]}, {Name: names[3]}}
		}
	})
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	for i := range all {
		all[i][2].Data, all[i][3].Data = pngs[i], svgs[i]
	}
	return all, nil
}

// ExampleFiles draws and encodes e: base.json, which says that it took s and the time that drawing
// took, and base.png.
func ExampleFiles(base string, e *pipeline.Example, m record.Meta, s record.Seconds) ([]File, error) {
	start := time.Now()
	png, err := Picture(e)
	if err != nil {
		return nil, err
	}
	s.Write = time.Since(start).Seconds()
	json, err := AttackJSON(m, e, s)
	if err != nil {
		return nil, err
	}
	return []File{{Name: base + ".json", Data: json}, {Name: base + ".png", Data: png}}, nil
}

// Files makes the files of c, in the order of CurveNames.
func (c *Compared) Files(base string) ([]File, error) {
	json, err := c.JSON()
	if err != nil {
		return nil, err
	}
	png, err := c.PNG()
	if err != nil {
		return nil, err
	}
	svg, err := c.SVG()
	if err != nil {
		return nil, err
	}
	var files []File
	for i, data := range [][]byte{c.CSV(), json, png, svg} {
		files = append(files, File{Name: CurveNames(base)[i], Data: data})
	}
	return files, nil
}

// Names lists the files of Files.
func Names() []string { return append(CurveNames("curve"), ImagesName, ClassesName) }

// Files makes the files that follow from what the run of m found, in the order of Names, and behind
// them those of CertifiedNames where something was certified. They are
// the same bytes however and wherever the run was computed.
func Files(m *record.Manifest, res *pipeline.Result) ([]File, error) {
	var lists []File
	var wg sync.WaitGroup
	wg.Go(func() { lists = ListFiles(m, res) })
	drawn, err := CurveFiles(m, res, Drawing{"curve", "Accuracy against eps", nil})
	wg.Wait()
	if err != nil {
		return nil, err
	}
	return append(append(drawn[0], lists...), certifiedFiles(res)...), nil
}

// ListFiles makes the files of res that list images and classes.
func ListFiles(m *record.Manifest, res *pipeline.Result) []File {
	return []File{{Name: ImagesName, Data: ImagesCSV(res, m.Precision)}, {Name: ClassesName, Data: ClassesCSV(res)}}
}

// OpenFolder opens dir, which is made if it is not there, for the files called names. It returns a
// *TakenError if one could not be written, and a *MakeError if the folder cannot be made: so a
// program finds out before it computes.
func OpenFolder(dir string, names ...string) (*Folder, error) { return outdir.Open(dir, names...) }

// OpenRun is OpenFolder for the files of the run that m fixes: those of Files, RunName and more.
// What an earlier run left there besides would pass for this one's, so writing to the folder
// removes it, unless it is the same run.
func OpenRun(dir string, m *record.Manifest, more ...string) (*Folder, error) {
	names := append(append(Names(), RunName), more...)
	if m.Certify != "" {
		names = append(names, CertifiedNames()...)
	}
	folder, err := outdir.Open(dir, names...)
	if err != nil {
		return nil, err
	}
	data, err := m.JSON()
	if err != nil {
		return nil, err
	}
	if old, err := regular.ReadFrom(dir, "manifest.json", int64(len(data))); err == nil && bytes.Equal(old, data) {
		return folder, nil
	}
	written, err := folder.Written()
	if err != nil {
		return nil, err
	}
	var outdated []string
	for _, name := range written {
		saved := strings.HasPrefix(name, savedImages) || strings.HasPrefix(name, savedMontage)
		if (saved || name == PageName || slices.Contains(CertifiedNames(), name)) && !slices.Contains(names, name) {
			outdated = append(outdated, name)
		}
	}
	return folder, folder.Outdated(outdated...)
}

// Write writes the files of Files, and more, to dir: to the folder of a run that package rundir
// computed, read or merged. It returns a *TakenError if one would overwrite what advsweep did not
// write; then it has written none.
func Write(dir string, m *record.Manifest, res *pipeline.Result, more ...File) error {
	names := append(Names(), CertifiedNames()...)
	for _, f := range more {
		names = append(names, f.Name)
	}
	folder, err := OpenFolder(dir, names...)
	if err != nil {
		return err
	}
	files, err := Files(m, res)
	if err != nil {
		return err
	}
	return folder.Write(append(files, more...)...)
}
