package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/internal/outdir"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/report"

	"github.com/spf13/cobra"
)

// saveHelp is what sweep's help says of --save-images.
const saveHelp = `--save-images EPS writes what each attack makes of the images at that eps: images-ATTACK.npz
with images [N, ...] (float32), labels, index, predictions, clean_predictions and eps, a PNG
of the first 100 and, of grey and RGB images, images-ATTACK.zip of 8-bit PNG files with
labels.csv. --data reads the .npz, and the .zip once it is unpacked. Rounding to 8 bits, though
within the ball, undoes attacks: column rounded_correct of curve.csv tells how many.`

// parseSave reads --save-images. ok is false if it is not given.
func parseSave(text, shard string) (eps float64, ok bool, err error) {
	if text == "" {
		return 0, false, nil
	}
	list, err := attack.ParseEps(text)
	if err != nil {
		return 0, false, asUsage("save-images", err)
	}
	if len(list) != 1 {
		return 0, false, usagef("--save-images %q holds %d values, want one", text, len(list))
	}
	if shard != "" {
		return 0, false, usagef("--save-images with --shard: merge all shards first, then the same command without --shard and with --out the merged folder saves them")
	}
	return list[0], true, nil
}

// savedBases are the names of the files for each of attacks, without what they begin and end with.
func savedBases(attacks []attack.Attack) []string {
	seen := map[string]int{}
	var out []string
	for _, a := range attacks {
		base := strings.Map(func(r rune) rune { // what every file system and shell takes
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.', r == '=':
				return r
			case r == ':':
				return '_'
			}
			return '-'
		}, a.Name)
		if seen[base]++; seen[base] > 1 {
			base = fmt.Sprintf("%s_%d", base, seen[base])
		}
		out = append(out, base)
	}
	return out
}

// savedNames are the files that are written for an attack.
func savedNames(base string, png bool) []string {
	names := []string{"images-" + base + ".npz", "montage-" + base + ".png"}
	if png {
		names = append(names, "images-"+base+".zip")
	}
	return names
}

// openSweepFolder opens --out for the files of a sweep and of --save-images. What an earlier run
// left there besides would pass for this one's, and goes, unless it is the same run.
func (f *flags) openSweepFolder(m record.Manifest, save bool, png bool) (*outdir.Folder, error) {
	names := append(slices.Clone(sweepNames), runName)
	if save {
		for _, base := range savedBases(m.Attacks) {
			names = append(names, savedNames(base, png)...)
		}
	}
	folder, err := outdir.Open(f.out, names...)
	if err != nil {
		return nil, err
	}
	data, err := m.JSON()
	if err != nil {
		return nil, err
	}
	if old, err := os.ReadFile(filepath.Join(f.out, "manifest.json")); err == nil && bytes.Equal(old, data) {
		return folder, nil
	}
	written, err := folder.Written()
	if err != nil {
		return nil, err
	}
	var outdated []string
	for _, name := range written {
		saved := strings.HasPrefix(name, "images-") || strings.HasPrefix(name, "montage-")
		if (saved || name == reportName) && !slices.Contains(names, name) {
			outdated = append(outdated, name)
		}
	}
	return folder, folder.Outdated(outdated...)
}

// saveImages attacks all images at eps and writes them, attack by attack.
func (f *flags) saveImages(c *cobra.Command, in *inputs, folder *outdir.Folder, s pipeline.Sweep, res *pipeline.Result, eps float64) error {
	p := newProgress(c.ErrOrStderr(), f.quiet, "images")
	defer p.finish()
	if err := folder.Outdated(); err != nil { // what was is gone by now
		return err
	}
	png := dataset.HasPNG(in.set.Images.Shape())
	worst := slices.ContainsFunc(s.Attacks, func(a attack.Attack) bool { return a.Composite() })
	var all []*pipeline.Crafted
	for _, a := range s.Attacks {
		if a.Composite() {
			continue
		}
		one, err := pipeline.CraftAll(c.Context(), in.backend, in.set, a, eps, s.Bounds, p.update)
		if errors.Is(err, context.Canceled) {
			return fmt.Errorf("stopped while images were made: the sweep is whole in %s; the same command makes the images", f.out)
		}
		if err != nil {
			return err
		}
		all = append(all, one)
		if !worst { // else all are needed to the end
			if err := f.writeImages(c, in, folder, s.Attacks, res, all); err != nil {
				return err
			}
			all[len(all)-1] = nil
		}
	}
	p.finish()
	if worst {
		crafted, k := all, 0
		all = nil
		for _, a := range s.Attacks {
			if a.Composite() {
				all = append(all, pipeline.WorstCrafted(crafted, in.set.Labels))
			} else {
				all = append(all, crafted[k])
				k++
			}
			if err := f.writeImages(c, in, folder, s.Attacks, res, all); err != nil {
				return err
			}
		}
	}
	if !png && !f.quiet {
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: no PNG files: images of shape %v are neither grey nor RGB\n", []int(in.set.Images.Shape()[1:]))
	}
	return nil
}

// writeImages writes the last of crafted, whose place is its attack's.
func (f *flags) writeImages(c *cobra.Command, in *inputs, folder *outdir.Folder, attacks []attack.Attack, res *pipeline.Result, crafted []*pipeline.Crafted) error {
	at := len(crafted) - 1
	one, set := crafted[at], in.set
	n := set.N()
	index, class, clean := make([]int32, n), make([]int32, n), make([]int32, n)
	for i := range n {
		index[i], class[i], clean[i] = int32(set.First+i), one.Outcomes[i].Class, res.Images[i].Class
	}
	png := dataset.HasPNG(set.Images.Shape())
	names := savedNames(savedBases(attacks)[at], png)
	var npz, archive bytes.Buffer
	err := dataset.WriteNPZ(&npz,
		dataset.Array{Name: "images", Shape: one.Images.Shape(), Data: one.Images.Data()},
		dataset.Array{Name: "labels", Shape: []int{n}, Data: set.Labels},
		dataset.Array{Name: "index", Shape: []int{n}, Data: index},
		dataset.Array{Name: "predictions", Shape: []int{n}, Data: class},
		dataset.Array{Name: "clean_predictions", Shape: []int{n}, Data: clean},
		dataset.Array{Name: "eps", Shape: []int{1}, Data: []float64{one.Eps}})
	if err != nil {
		return err
	}
	picture, err := report.Montage(one, set.Labels, set.First, set.Classes)
	if err != nil {
		return err
	}
	files := []outdir.File{{Name: names[0], Data: npz.Bytes()}, {Name: names[1], Data: picture}}
	if png {
		if err := dataset.WritePNGs(&archive, one.Levels, set.Labels, set.First); err != nil {
			return err
		}
		files = append(files, outdir.File{Name: names[2], Data: archive.Bytes()})
	}
	if err := folder.Write(files...); err != nil {
		return err
	}
	if !f.quiet {
		for _, file := range files {
			fmt.Fprintf(c.ErrOrStderr(), "wrote %s\n", folder.Path(file.Name))
		}
	}
	return nil
}
