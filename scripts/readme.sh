#!/usr/bin/env bash
# Runs every command that README.md shows in its ```sh blocks, in a fresh clone, and fails
# if one of them fails. "$1", if given, is a command that the caller has run already:
# README.md must show it, and it is not run again.
#
# The folder mnist/, which a reader fills with the MNIST files, holds here the 1,000 embedded
# images under all four names.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
done_before=${1:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q "$root" "$work/advsweep"
cd "$work/advsweep"
mkdir mnist
for pair in t10k train; do
	cp dataset/mnist/t10k-1000-images-idx3-ubyte.gz mnist/$pair-images-idx3-ubyte.gz
	cp dataset/mnist/t10k-1000-labels-idx1-ubyte.gz mnist/$pair-labels-idx1-ubyte.gz
done
commands=$(awk '/^```sh$/ { on = 1; next } /^```$/ { on = 0 } on && NF && !/^#/' README.md)
[ -n "$commands" ] || { echo "readme.sh: README.md shows no commands"; exit 1; }
if [ -n "$done_before" ] && ! grep -qxF "$done_before" <<<"$commands"; then
	echo "readme.sh: README.md does not show: $done_before"
	exit 1
fi
while IFS= read -r command; do
	[ "$command" != "$done_before" ] || continue
	echo "\$ $command"
	bash -euo pipefail -c "$command" </dev/null
done <<<"$commands"
