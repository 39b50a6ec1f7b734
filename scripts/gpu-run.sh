#!/usr/bin/env bash
# Tests and times the CUDA backend on this machine's GPU. Stands in build/gpu-bin as run.sh, beside the programs.
#
#	run.sh test [ARG...]       all tests with the CUDA backend; without a device they fail
#	run.sh sanitize [ARG...]   the short tests of gpu under each tool of compute-sanitizer, which comes with CUDA
#	run.sh bench [PEERS]       times, and ratios to JAX and PyTorch where PEERS has the scripts that run them
#
# ARG goes to the tests: -test.run TestBackend, -test.v. TOOLS are those of sanitize. ADVSWEEP_LIBCUDA is a driver other than the
# machine's: the simulator of internal/cusim, to try this script.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ -x "$here/gpu.test" ] || { echo "run.sh: no programs here: make gpu-binaries, then build/gpu-bin/run.sh" >&2; exit 2; }
verb=${1:-}
[ $# = 0 ] || shift
unset ADVSWEEP_CUDA_PRODUCT
export ADVSWEEP_GPU=require
[ "$verb" = bench ] || cd "$here" # bench is given folders

# step NAME COMMAND...: runs it, tells how long it took, and goes on if it fails.
bad=()
step() {
	local name=$1 begin=$SECONDS code=0
	shift
	echo "== $name"
	"$@" || code=$?
	[ $code = 0 ] || bad+=("$name")
	echo "== $name: exit status $code, $((SECONDS - begin)) s"
}

# finish fails if a step did.
finish() {
	[ ${#bad[@]} -gt 0 ] || { echo "run.sh $verb: ok, $SECONDS s"; exit 0; }
	echo "run.sh $verb: failed: ${bad[*]}" >&2
	exit 1
}

case $verb in
test)
	step devices ./advsweep devices
	for program in cudrv gpu advsweep; do
		step "$program" "./$program.test" -test.timeout 20m "$@"
	done
	finish
	;;
sanitize)
	tool=
	for dir in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda /opt/cuda; do
		for at in bin compute-sanitizer extras/compute-sanitizer; do
			[ -n "$tool" ] || [ -z "$dir" ] || [ ! -x "$dir/$at/compute-sanitizer" ] || tool=$dir/$at/compute-sanitizer
		done
	done
	[ -n "$tool" ] || tool=$(command -v compute-sanitizer) || {
		echo "run.sh: no compute-sanitizer: install the CUDA toolkit, or set CUDA_HOME" >&2
		exit 1
	}
	"$tool" --version
	for t in ${TOOLS:-memcheck racecheck initcheck synccheck}; do
		# Errors of calls are what some tests provoke: a call's error is the tests' business, not the tool's.
		step "$t" "$tool" --tool "$t" --target-processes all --report-api-errors no --error-exitcode 99 --print-limit 20 \
			./gpu.test -test.short -test.timeout 60m "$@"
	done
	finish
	;;
bench)
	exec "$here/bench-gpu.sh" "$@"
	;;
*)
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 2
	;;
esac
