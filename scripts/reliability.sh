#!/usr/bin/env bash
# Tries again and again what must not go wrong, and writes how often, and how often it did go wrong, to docs/reliability.md.
#
#	reliability.sh            all of it: some hours with these numbers
#	reliability.sh PART...    only these: kills cluster log calls folders onnx simulate load hosts
#
# Numbers, from the environment: KILLS of sweeps in each of two forms and of writers of the log, ROUNDS of kills of servers, workers and
# array tasks, CALLS that fail, FOLDERS of each kind that are changed, ONNX files that are changed, SEEDS of the simulation, SHARDS and
# WORKERS of a server. A part for which something is missing here says so and is not tried. What earlier parts tried is kept in
# build/reliability/counts, so that parts can be run one by one; without arguments it begins anew.
set -euo pipefail
cd "$(dirname "$0")/.."
KILLS=${KILLS:-500} ROUNDS=${ROUNDS:-10} CALLS=${CALLS:-300} FOLDERS=${FOLDERS:-1000} ONNX=${ONNX:-5000} SEEDS=${SEEDS:-10000}
SHARDS=${SHARDS:-10000} WORKERS=${WORKERS:-200}
work=$PWD/build/reliability
mkdir -p "$work"
if [ $# = 0 ]; then
	rm -f "$work/counts"
	set -- kills cluster log calls folders onnx simulate load hosts
fi
touch "$work/counts"
export ADVSWEEP_COUNTS=$work/counts CGO_ENABLED=0
bad=()
say() { printf '%5d s  %s\n' "$SECONDS" "$*"; }
tests() { # PACKAGE TESTS: a failed test is a line too
	go test -count=1 -timeout 0 -run "$2" "$1" || bad+=("$1 $2")
}
binary() { [ -x "$work/advsweep" ] || go build -trimpath -o "$work/advsweep" ./cmd/advsweep; }
rm -f "$work/advsweep"
for part in "$@"; do
	say "$part"
	case $part in
	kills) ADVSWEEP_WANT=run-kills=$KILLS tests ./cmd/advsweep '^TestKill$' ;;
	cluster)
		for ((i = 0; i < ROUNDS; i++)); do
			ADVSWEEP_LONG=1 tests ./cmd/advsweep '^(TestCluster|TestArray)$'
			ADVSWEEP_LONG=1 tests ./cluster '^TestStop$'
		done
		;;
	log) ADVSWEEP_WANT=log-kills=$KILLS tests ./internal/chunklog '^(TestKill|TestTruncatedAnywhere|TestFlippedAnywhere|TestFailedAppend|TestFullDisk)$' ;;
	calls)
		binary
		if command -v strace >/dev/null; then
			scripts/reliability/calls.sh "$work/advsweep" "$CALLS" >>"$ADVSWEEP_COUNTS" || bad+=(calls)
		else
			say "no strace here: system calls do not fail"
		fi
		;;
	folders)
		binary
		scripts/reliability/folders.py "$work/advsweep" "$FOLDERS" >>"$ADVSWEEP_COUNTS" || bad+=(folders)
		;;
	onnx)
		python=${VENV:-build/zoo-venv}/bin/python
		if [ -f scripts/zoo/mutate.py ] && "$python" -c 'import onnx, onnxruntime' 2>/dev/null; then
			go build -o "$work/zoo" ./internal/zoo
			failed=0
			rm -rf "$work/onnx"
			"$python" scripts/zoo/mutate.py "$work/zoo" "$work/onnx" "$ONNX" 1 model/onnx/testdata/ops/*.onnx || { failed=1 && bad+=(onnx); }
			echo "{\"kind\":\"onnx\",\"by\":\"mutate.py\",\"tried\":$ONNX,\"failed\":$failed}" >>"$ADVSWEEP_COUNTS"
		else
			say "no Python with onnx and onnxruntime here (scripts/zoo.sh venv makes one): no ONNX file is changed"
		fi
		;;
	simulate) SEED=1 SEEDS=$SEEDS tests ./cluster/simulate '^TestSeeds$' ;;
	load)
		ADVSWEEP_LOAD=$SHARDS tests ./cluster '^TestLoad$'
		ADVSWEEP_LOAD=$((5 * WORKERS)) ADVSWEEP_LOAD_WORKERS=$WORKERS tests ./cluster '^TestLoad$'
		;;
	hosts)
		failed=0
		scripts/hosts.sh || { failed=1 && bad+=(hosts); }
		echo "{\"kind\":\"hosts\",\"by\":\"hosts.sh\",\"tried\":1,\"failed\":$failed}" >>"$ADVSWEEP_COUNTS"
		;;
	*)
		echo "reliability.sh: no part $part: kills cluster log calls folders onnx simulate load hosts" >&2
		exit 2
		;;
	esac
done
go run ./scripts/reliability "$ADVSWEEP_COUNTS" "$(scripts/commit.sh)" <docs/reliability.md >"$work/page"
cp "$work/page" docs/reliability.md
say "docs/reliability.md is written"
[ ${#bad[@]} = 0 ] || { echo "failed: ${bad[*]}"; exit 1; }
