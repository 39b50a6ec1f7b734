package record

import (
	"runtime/debug"
	"sync"
)

// UnknownBuild is what Build says of a program that was built outside a git checkout and was told
// no commit, and of the programs of 'go test' and 'go run'.
const UnknownBuild = "unknown"

// commit is what the builds of this project give by -ldflags "-X advsweep/record.commit=...", in
// the form of Build: see scripts/commit.sh.
var commit string

// Build says which source this program was built from: the first twelve hex digits of the git
// commit, with "+dirty" behind them if files differed from it, or UnknownBuild.
//
// It tells builds of one Version apart. It goes where results are explained, never into what is
// hashed or compared byte for byte: two builds may well compute the same.
func Build() string { return built() }

var built = sync.OnceValue(func() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return UnknownBuild
	}
	return buildOf(info.Settings)
})

// buildOf is the commit that the go command itself has put into a program.
func buildOf(settings []debug.BuildSetting) string {
	id, dirty := "", ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			id = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if id == "" {
		return UnknownBuild
	}
	return id + dirty
}
