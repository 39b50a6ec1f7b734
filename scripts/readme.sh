#!/usr/bin/env bash
# Runs every command that README.md shows in its ```sh blocks, in a fresh clone, and fails
# if one of them fails. Arguments are commands that the caller runs elsewhere: README.md must
# show each, and it is not run again.
#
# The folder mnist/, which a reader fills with the MNIST files, holds here the 1,000 embedded
# images under all four names.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
elsewhere=("$@")
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
for command in "${elsewhere[@]}"; do
	grep -qxF "$command" <<<"$commands" || { echo "readme.sh: README.md does not show: $command"; exit 1; }
done
while IFS= read -r command; do
	! printf '%s\n' "${elsewhere[@]}" | grep -qxF -- "$command" || continue
	echo "\$ $command"
	bash -euo pipefail -c "$command" </dev/null
done <<<"$commands"
