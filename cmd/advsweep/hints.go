package main

import (
	"errors"
	"fmt"

	"advsweep/internal/chunklog"
	"advsweep/internal/remedy"
	"advsweep/report"
	"advsweep/rundir"
	"advsweep/study"

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
