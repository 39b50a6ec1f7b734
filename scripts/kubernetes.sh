#!/usr/bin/env bash
# Reads the job files for Kubernetes as its API server does, by the server's own code: decoded strictly, filled with defaults, validated. That
# finds planted mistakes, and reads names that try to be YAML as what they are.
#
#	kubernetes.sh [FILE...]    those of submit/testdata, and these
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
jobs=()
for file in "$@"; do jobs+=("$(realpath -- "$file")"); done
cd "$root/submit/kubernetes"
# What advsweep requires moves on, and with it what its users must; a copy follows, so that the committed files need not.
mkdir -p "$root/build/kubernetes"
cp go.mod go.sum "$root/build/kubernetes"
JOBS=$(printf '%s\n' ${jobs[@]+"${jobs[@]}"}) CGO_ENABLED=0 go test -mod=mod -modfile="$root/build/kubernetes/go.mod" -count=1 -v .
