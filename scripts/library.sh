#!/usr/bin/env bash
# Runs the program of README's "As a library" in a module of its own, outside this repository, and wants the
# output that README shows. The program, the commands and the output are read from README.md, so they cannot drift.
#
#	library.sh           offline, from the module cache
#	library.sh online    by README's own commands; 'go mod tidy' asks the module proxy
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "library.sh: $*" >&2; exit 1; }

# block LANGUAGE N: the N-th block of that language in README's section.
block() {
	awk -v language="$1" -v n="$2" '
		/^## / { here = $0 == "## As a library" }
		here && !on && $0 == "```" language { k++; on = 1; next }
		on && /^```$/ { on = 0 }
		on && k == n' "$root/README.md"
}
program=$(block go 1)
commands=$(block text 1)
want=$(block text 2)
[ -n "$program" ] && [ -n "$commands" ] && [ -n "$want" ] || fail "README.md lacks the program, its commands or its output"
replace='go mod edit -replace advsweep=../advsweep'
grep -qF "$replace" <<<"$commands" || fail "README.md does not show: $replace"

ln -s "$root" "$work/advsweep"
mkdir "$work/mine"
cd "$work/mine"
printf '%s\n' "$program" >main.go
export CGO_ENABLED=0
case ${1:-offline} in
offline)
	# 'go mod tidy' looks for the tests of what is imported as well, which the cache need not have. The versions of
	# advsweep's own go.mod are those that tidy would choose.
	export GOFLAGS=-mod=mod GOPROXY=off
	cp "$root/go.mod" "$root/go.sum" .
	go mod edit -module mine -require advsweep@v0.0.0
	$replace
	got=$(go run .)
	;;
online)
	got=$(bash -euo pipefail -c "$commands")
	;;
*)
	fail "library.sh [offline|online]"
	;;
esac
[ "$got" = "$want" ] || fail "the program prints
$got
and README.md says
$want"
echo "library.sh: a module of its own runs README's program"
