#!/usr/bin/env bash
# Builds this commit twice, in two folders with names of two lengths, and wants the same bytes.
#
#	reproducible.sh          the program as make build makes it, for this platform
#	reproducible.sh cuda     as make cuda makes it
#
# The second build has a cache of its own: with that of the first the compiler would only run once. Files that differ
# from the commit are in neither build.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
target=${1:-build}
tmp=$(mktemp -d)
trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
first=$tmp/one second=$tmp/another/and/longer
for dir in "$first" "$second"; do
	git clone -q "$root" "$dir"
	# What pip installed for CUDA is not installed again.
	if [ -d build/cuda ]; then mkdir -p "$dir/build" && ln -s "$root/build/cuda" "$dir/build/cuda"; fi
done
make -s -C "$first" "$target"
GOCACHE=$tmp/cache make -s -C "$second" "$target"
sum() { sha256sum <"$1/advsweep" | cut -d' ' -f1; }
a=$(sum "$first") b=$(sum "$second")
[ "$a" = "$b" ] || { echo "reproducible.sh: two builds of $("$first/advsweep" --version) differ: SHA-256 $a and $b" >&2; exit 1; }
# The commit must be in it, and nothing of the folders.
case $("$first/advsweep" --version) in
*"$(git rev-parse HEAD | cut -c1-12)"\)*) ;;
*) echo "reproducible.sh: $("$first/advsweep" --version), want the commit in it" >&2; exit 1 ;;
esac
! grep -qF "$tmp" "$first/advsweep" || { echo "reproducible.sh: the program holds the name of its folder" >&2; exit 1; }
echo "$a $("$first/advsweep" --version)"
