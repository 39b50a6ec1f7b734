package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"advsweep/attack"
	"advsweep/backend"
	"advsweep/internal/chunklog"
	"advsweep/internal/remedy"
	"advsweep/report"
	"advsweep/rundir"
	"advsweep/study"
	"advsweep/verdict"

	"github.com/spf13/cobra"
)

// A hint says how a user mends an error. The packages below say what is wrong; they know no flags.
type hint struct {
	of   func(error) bool // reports whether the hint is of an error
	flag string           // that the running command must have, or ""
	say  func(error) string
}

// hints are in the order in which they are looked for: of an error the first counts whose flag the
// running command has.
var hints = []hint{
	{is[*report.TakenError], "out", says("choose another --out or move it away")},
	{is[*report.TakenError], "", says("move it away")},
	{is[*report.MakeError], "out", says("choose another --out")},
	{is[*rundir.VersionError], "", saysOf(func(e *rundir.VersionError) string {
		version := "the version that wrote it"
		if e.Version != "" {
			version = "advsweep " + e.Version
		}
		if e.Done < e.Total {
			return fmt.Sprintf("finish it with %s, or delete the folder and run the sweep again", version)
		}
		return fmt.Sprintf("use %s, or run the sweep again with this one: it takes that run's place", version)
	})},
	{otherRun, "out", saysOf(func(e *rundir.UnfinishedError) string {
		return fmt.Sprintf("finish it with 'advsweep resume %s' (in the environment in which it was started), delete the folder, or choose another --out", e.Dir)
	})},
	{is[*rundir.UnfinishedError], "", saysOf(func(e *rundir.UnfinishedError) string {
		return fmt.Sprintf("finish it with 'advsweep resume %s', or merge all shards", e.Dir)
	})},
	{is[*study.NotMergedError], "", saysOf(func(e *study.NotMergedError) string {
		return fmt.Sprintf("'advsweep merge %s' does it", e.Dir)
	})},
	{is[*backend.DeepError], "exact", says("--exact=false measures at --eps only, in another folder")},
	{otherBackend, "", says("compute every shard with one backend, as 'advsweep sweep --shard I/N --backend cpu' does")},
	{is[*rundir.NoRunError], "", says("want a folder that 'advsweep sweep --out' wrote")},
	{needs(remedy.Folder), "out", says("--out DIR chooses the folder")},
	{needs(remedy.Mixed), "allow-mixed", says("--allow-mixed mixes them all the same")},
	{needs(remedy.PixelMax), "pixel-max", says("--pixel-max N says which number is white")},
	{needs(remedy.Layout), "layout", says("--layout chw or --layout hwc says the order")},
	{needs(remedy.Flat), "flat", says("--flat chw or --flat hwc gives them in that order")},
	{needs(remedy.Keys), "images-key", says("--images-key and --labels-key name them")},
	{needs(remedy.Alpha), "alpha", says("--alpha white, drop or refuse chooses")},
	{needs(remedy.GreyToRGB), "grey-to-rgb", says("--grey-to-rgb makes three channels of one")},
	{needs(remedy.RGBToGrey), "rgb-to-grey", says("--rgb-to-grey makes one channel of three")},
	{needs(remedy.ImageSize), "resize", says("--resize HxW scales them, --crop HxW cuts out their middle")},
	{needs(remedy.ColourAndSize), "resize", says("--grey-to-rgb or --rgb-to-grey, and --resize or --crop, make them fit")},
	{needs(remedy.Output), "output", says("--output NAME names it")},
	{needs(remedy.ServeMixed), "", says("'advsweep serve --allow-mixed' mixes them")},
	{needs(remedy.Credential), "credentials", says("give --credentials FILE, on workers a copy of the file of 'advsweep serve --credentials'; serve makes it if it is not there")},
	{needs(remedy.Authority), "tls-ca", says("--tls-ca FILE names that certificate")},
	{needs(remedy.TLS), "", says("'advsweep serve --tls-cert FILE --tls-key FILE' takes them")},
	{needs(remedy.Cache), "cache", says("give --cache DIR")},
	{needs(remedy.Study), "study", says("choose one with --study")},
	{needs(remedy.Store), "store-bytes", says("give a larger --store-bytes")},
	{needs(remedy.Listen), "listen", says("--listen HOST:PORT is the address")},
	{needs(remedy.External), "nats", says("use the .creds file with --nats")},
	{needs(remedy.AckWait), "ack-wait", says("it is --ack-wait")},
	{needs(remedy.Attempts), "attempts", says("it is --attempts")},
	{needs(remedy.Verify), "verify", says("it is --verify")},
}

// mended adds to err how command mends it, if it does.
func mended(command *cobra.Command, err error) error {
	for _, h := range hints {
		if err != nil && h.of(err) && (h.flag == "" || command.Flags().Lookup(h.flag) != nil) {
			return fmt.Errorf("%w: %s", err, h.say(err))
		}
	}
	return err
}

func is[E error](err error) bool { return errors.As(err, new(E)) }

// otherRun reports whether err is that another run is in the way.
func otherRun(err error) bool {
	var e *rundir.UnfinishedError
	return errors.As(err, &e) && e.Err != nil
}

// otherBackend reports whether err is that folders to merge are of different backends.
func otherBackend(err error) bool {
	var e *chunklog.OtherRunError
	return errors.As(err, &e) && e.Than != "here" && slices.ContainsFunc(e.Fields, func(f chunklog.Field) bool { return f.Name == "backend" })
}

// needs returns whether an error needs a setting: the outermost that says so counts.
func needs(need remedy.Need) func(error) bool {
	return func(err error) bool {
		var r *remedy.Error
		var other *chunklog.OtherRunError
		switch {
		case errors.As(err, &r):
			return r.Need == need
		case is[*study.MixedError](err):
			return need == remedy.Mixed
		case is[*chunklog.LockedError](err), is[*chunklog.VersionError](err), errors.As(err, &other) && other.Than == "here":
			return need == remedy.Folder
		}
		return false
	}
}

func says(text string) func(error) string { return func(error) string { return text } }

// saysOf returns what say makes of the E in an error.
func saysOf[E error](say func(E) string) func(error) string {
	return func(err error) string {
		var e E
		errors.As(err, &e)
		return say(e)
	}
}

// remedies says what mends a cause of clean images that are wrong, with the flags of this command.
func remedies(c verdict.Cause, in *inputs) string {
	say, ok := causeRemedies[c.Reason]
	if !ok {
		return fmt.Sprintf("%s: there is no remedy here", c.Reason)
	}
	return say(c, in)
}

var causeRemedies = map[verdict.Reason]func(verdict.Cause, *inputs) string{
	verdict.Shifted: func(c verdict.Cause, _ *inputs) string {
		return fmt.Sprintf("subtract %d from the labels, modulo the classes: the model counts its classes otherwise", c.Shift)
	},
	verdict.Permuted: mend("give labels in the order of the model's classes: folders and programs sort the names otherwise"),
	verdict.OneClass: mend("look at the units of the pixels, which --pixels tells the model, and at whether its weights were read from the trained file"),
	verdict.PixelRange: func(c verdict.Cause, _ *inputs) string {
		return fmt.Sprintf("--pixels %.6g,%.6g gives the model such pixels; eps and bounds stay in units of the images", c.Lo, c.Hi)
	},
	verdict.Divided: func(_ verdict.Cause, in *inputs) string {
		if in.model.Source.Pixels != "" {
			return "leave out --pixels: the model takes pixels as the images have them"
		}
		return "divide the images by 255, or give them as uint8, with --bounds 0,1 and eps in those units"
	},
	verdict.Rescaled:     mend("give the images in [0, 1], with --bounds 0,1 and eps in those units"),
	verdict.Normalised:   mend("export the model with that normalisation inside it, or put a layer normalize first in a layer list (--layers)"),
	verdict.Reversed:     mend("give the images in the order of channels that the model was trained with, or export the model for RGB"),
	verdict.CaffeOrder:   mend("export the model with that preprocessing inside it: RGB in [0, 1] comes in"),
	verdict.Inverted:     mend("give 1 - x of every pixel x, or export the model with that inside it"),
	verdict.Transposed:   mend("give the images as [N, H, W] or [N, C, H, W], rows from the top"),
	verdict.ChannelsLast: mend("give the images as rows of H·W·C numbers in the model's order, [N, H·W·C]"),
	verdict.Activation: func(c verdict.Cause, _ *inputs) string {
		return fmt.Sprintf("--activation %s puts it there", c.Name)
	},
}

func mend(text string) func(verdict.Cause, *inputs) string {
	return func(verdict.Cause, *inputs) string { return text }
}

// unitsRemedy says how f, of verdict.Units, is mended; eps is the list of the command line.
func unitsRemedy(f verdict.Finding, eps string) string {
	if f.What == verdict.BoundsUnits {
		return ": --bounds 0,1 are the bounds of these images, and eps of 8 levels is 8/255"
	}
	s := ": --eps is in units of pixels"
	if f.Attack.Norm == attack.Linf && f.Bounds.Hi <= 1 && f.Eps < 256 && f.Eps == math.Trunc(f.Eps) {
		s += fmt.Sprintf(", and %v of 255 levels is %v/255", f.Eps, f.Eps)
	}
	if before, after, ok := strings.Cut(eps, ","); ok && whole(before) && whole(after) {
		s += fmt.Sprintf("; %s is a list of two numbers, %s.%s is one", eps, before, after)
	}
	return s
}

// whole reports whether s is digits alone, as on both sides of a decimal comma.
func whole(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
