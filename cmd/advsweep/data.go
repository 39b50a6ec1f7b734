package main

import (
	"fmt"
	"strings"

	"advsweep/dataset"
	"advsweep/model"

	"github.com/spf13/cobra"
)

// imageFlags say which images to take, --images, --labels, --data and, where a verb adds it,
// --split; and of them what their files leave open.
type imageFlags struct {
	images, labels string // a pair of files
	data           string // a folder or a file that holds both, instead
	split          string // of data: "test", "train", or "" where the verb has no flag for it
	form           formFlags
}

// formFlags say how files are read that leave something open: --images-key, --labels-key,
// --pixel-max, --layout, --flat, --alpha, --resize, --crop, --grey-to-rgb, --rgb-to-grey.
type formFlags struct {
	imagesKey, labelsKey string
	pixelMax             float64
	layout, flat, alpha  string
	resize, crop         string // "H", "HxW"
	toRGB, toGrey        bool
}

func (f *imageFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.images, "images", "", "`FILE` of images, with --labels: "+formatNames(pairs))
	c.Flags().StringVar(&f.labels, "labels", "", "`FILE` of labels: "+formatNames(pairs))
	c.Flags().StringVar(&f.data, "data", "", "`PATH` of images with labels: a folder, or a file ("+formatNames(files)+"); see 'advsweep formats'")
	c.MarkFlagsRequiredTogether("images", "labels")
	c.MarkFlagsMutuallyExclusive("data", "images")
	f.form.add(c)
}

func (f *formFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.imagesKey, "images-key", "", "`NAME` of the array of images in an NPZ file, or of labels.csv's column of files")
	c.Flags().StringVar(&f.labelsKey, "labels-key", "", "`NAME` of the array of labels in an NPZ file, or of the column of labels in a CSV file")
	c.Flags().Float64Var(&f.pixelMax, "pixel-max", 0, "the number in the files that is white, which becomes the pixel 1\n(default 255 of integers, 1 of floats)")
	c.Flags().StringVar(&f.layout, "layout", "", "order of an array's images: chw or hwc (default as the model takes them, else told by 1, 3 or 4 channels)")
	c.Flags().StringVar(&f.flat, "flat", "", "order in which a model of one dimension takes pixels of several channels: chw or hwc\n(default the array's own, of pictures chw)")
	c.Flags().StringVar(&f.alpha, "alpha", "white", "transparent pixels of pictures: white lays them over white, drop leaves transparency out, refuse")
	c.Flags().StringVar(&f.resize, "resize", "", "scale images to `SIZE`: HxW, or the length of the shorter side (bilinear, antialiased)")
	c.Flags().StringVar(&f.crop, "crop", "", "then cut out the middle of `SIZE`: HxW, or the side of a square")
	c.Flags().BoolVar(&f.toRGB, "grey-to-rgb", false, "make three equal channels of grey images")
	c.Flags().BoolVar(&f.toGrey, "rgb-to-grey", false, "make grey of RGB images: 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)")
	c.MarkFlagsMutuallyExclusive("grey-to-rgb", "rgb-to-grey")
}

// check returns an error of the values that do not need the files.
func (f *imageFlags) check(c *cobra.Command) error {
	if !(f.form.pixelMax > 0) && c.Flags().Changed("pixel-max") { // 0 would pass for the default
		return usagef("--pixel-max %v, want a positive number", f.form.pixelMax)
	}
	_, err := f.query()
	return err
}

// query is what the flags ask for.
func (f *imageFlags) query() (dataset.Query, error) {
	q := dataset.Query{
		Images: f.images, Labels: f.labels, Path: f.data, Split: f.split,
		ImagesKey: f.form.imagesKey, LabelsKey: f.form.labelsKey, PixelMax: f.form.pixelMax,
		Layout: f.form.layout, Flat: f.form.flat, Alpha: f.form.alpha,
	}
	switch {
	case f.form.toRGB:
		q.Channels = "rgb"
	case f.form.toGrey:
		q.Channels = "grey"
	}
	var err error
	if q.Resize, err = dataset.ParseSize(f.form.resize, false); err != nil {
		return q, asUsage("resize", err)
	}
	if q.Crop, err = dataset.ParseSize(f.form.crop, true); err != nil {
		return q, asUsage("crop", err)
	}
	for _, o := range []struct {
		flag, value string
		want        []string
	}{
		{"layout", q.Layout, []string{"chw", "hwc"}}, {"flat", q.Flat, []string{"chw", "hwc"}},
		{"alpha", q.Alpha, []string{"white", "drop", "refuse"}},
	} {
		known := o.value == ""
		for _, w := range o.want {
			known = known || o.value == w
		}
		if !known {
			return q, usagef("--%s %q, want %s", o.flag, o.value, strings.Join(o.want, " or "))
		}
	}
	return q, nil
}

// open reads the images; those inside if none are named.
func (f *imageFlags) open() (*dataset.Stored, error) {
	q, err := f.query()
	if err != nil {
		return nil, err
	}
	return dataset.Open(q)
}

// load reads the images in the shape in which mod takes them; nil: as they are.
func (f *imageFlags) load(mod *model.Model) (*dataset.Set, error) {
	stored, err := f.open()
	if err != nil {
		return nil, err
	}
	return stored.For(shapeOf(mod))
}

// shapeOf is the shape in which mod takes an image; nil if there is no model.
func shapeOf(mod *model.Model) []int {
	if mod == nil {
		return nil
	}
	return mod.ImageShape()
}

// noted is what the program says of a note of images, with the flag that takes it otherwise.
func noted(c *cobra.Command, set *dataset.Set, n dataset.Note) string {
	return fmt.Sprintf("advsweep: %s: %v", set.Source.Images.Name, mended(c, n.AsError()))
}
