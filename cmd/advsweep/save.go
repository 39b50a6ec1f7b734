package main

import (
	"context"
	"errors"
	"fmt"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/pipeline"
	"advsweep/report"
	"advsweep/rundir"

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

// saveImages attacks all images at eps and writes them, attack by attack, as the files called
// names.
func (v *sweepVerb) saveImages(c *cobra.Command, in *inputs, folder *report.Folder, s pipeline.Sweep, res *pipeline.Result, names [][]string, eps float64) error {
	bar := newProgress(c.ErrOrStderr(), v.output.quiet, "images")
	defer bar.finish()
	if err := folder.Outdated(); err != nil { // what was is gone by now
		return err
	}
	err := rundir.CraftEach(c.Context(), in.backend, in.set, s, eps, bar.update, func(at int, crafted *pipeline.Crafted) error {
		files, err := report.SavedFiles(names[at], crafted, in.set, res.Images)
		if err != nil {
			return err
		}
		if err := folder.Write(files...); err != nil || v.output.quiet {
			return err
		}
		bar.finish()
		for _, file := range files {
			fmt.Fprintf(c.ErrOrStderr(), "wrote %s\n", folder.Path(file.Name))
		}
		return nil
	})
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("stopped while images were made: the sweep is whole in %s; the same command makes the images", v.output.out)
	}
	if err != nil {
		return err
	}
	if shape := in.set.Images.Shape(); !dataset.HasPNG(shape) && !v.output.quiet {
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: no PNG files: images of shape %v are neither grey nor RGB\n", []int(shape[1:]))
	}
	return nil
}
