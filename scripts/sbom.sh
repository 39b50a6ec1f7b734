#!/usr/bin/env bash
# Writes build/sbom/advsweep-SYSTEM-PROCESSOR.cdx.json and, for builds with CUDA, advsweep-cuda-linux-amd64.cdx.json:
# bills of materials in CycloneDX 1.6, of the modules that each build links, with their hashes and licences.
#
# They are of the commit, not of files that differ from it: a clone is what they are made in. They hold no time and no
# serial number, so two of one commit are the same bytes. The tool says "no licenses detected" of Go's own library:
# THIRD_PARTY_LICENSES has it.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
git rev-parse --verify -q HEAD >/dev/null || { echo "sbom.sh: not a git checkout, want one: the version of a bill is the commit's" >&2; exit 1; }
commit=$(scripts/commit.sh)
case $commit in
*+dirty) echo "sbom.sh: files here differ from commit ${commit%+dirty}: the bills are of the commit" >&2 ;;
esac
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone -q "$root" "$clone/advsweep"
mkdir -p build/sbom
go build -modfile=tools/go.mod -o "$clone/cyclonedx-gomod" github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod
for target in linux/amd64 linux/arm64 darwin/arm64 windows/amd64 cuda-linux/amd64; do
	system=${target%/*} flags= cgo=0
	case $system in cuda-*) system=${system#cuda-} flags=-tags=cuda cgo=1 ;; esac
	out=$root/build/sbom/advsweep-${target/\//-}.cdx.json
	(
		cd "$clone/advsweep"
		GOOS=$system GOARCH=${target#*/} CGO_ENABLED=$cgo GOFLAGS=$flags \
			"$clone/cyclonedx-gomod" app -json -licenses -std -noserial -notimestamp -main cmd/advsweep -output "$out.tmp" .
	)
	mv "$out.tmp" "$out"
	echo "${out#"$root"/}"
done
