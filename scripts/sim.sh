#!/usr/bin/env bash
# Runs the tests of the CUDA backend on the simulated driver of internal/cusim, without a GPU.
#
#	sim.sh test    all of it with threads in order and three devices; kernels, short, in other
#	               orders. SIM_SHORT=1: less of it
#	sim.sh asan    gpu under AddressSanitizer and UBSan
#	sim.sh tsan    gpu under ThreadSanitizer
#
# make builds what it runs: build/test/*.test and build/cusim/*.so. More arguments go to the tests. JOBS run at a time
# (default: as many as there are processors). CUSIM_LIB is another simulator to run.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
kind=${1:-}
[ $# = 0 ] || shift
unset CUSIM_ASYNC CUSIM_ORDER CUSIM_DEVICES CUSIM_CC CUSIM_MEMORY CUSIM_PTX CUSIM_LOG ADVSWEEP_CUDA_PRODUCT
export ADVSWEEP_GPU=require
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
total=$SECONDS names=()

# start NAME PACKAGE [VARIABLE=VALUE...] [-- ARG...]: the tests of PACKAGE in its folder, beside at most JOBS - 1 others.
start() {
	local name=$1 package=$2 env=()
	shift 2
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		env+=("$1")
		shift
	done
	[ $# = 0 ] || shift
	while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-$(nproc)}" ]; do wait -n || true; done
	names+=("$name")
	(
		cd "$root/$package"
		code=0 begin=$SECONDS
		env "${env[@]}" "$root/build/test/$(basename "$package").test" -test.timeout 40m "$@" >"$work/$name" 2>&1 || code=$?
		# A process of Go leaves without the sanitizers' last word.
		if grep -qE 'ERROR: AddressSanitizer|: runtime error: |WARNING: ThreadSanitizer' "$work/$name"; then code="$code, with a report of a sanitizer"; fi
		echo "$code" >"$work/$name.code"
		echo $((SECONDS - begin)) >"$work/$name.seconds"
	) &
}

# finish waits for all, shows what failed, and how long each took.
finish() {
	local name bad=0
	wait
	for name in "${names[@]}"; do
		if [ "$(cat "$work/$name.code")" = 0 ]; then
			printf 'ok    %4d s  %s\n' "$(cat "$work/$name.seconds")" "$name"
		else
			bad=1
			head -c 200000 "$work/$name"
			printf 'FAIL  %4d s  %s: exit status %s\n' "$(cat "$work/$name.seconds")" "$name" "$(cat "$work/$name.code")"
		fi
	done
	echo "sim.sh $kind: $((SECONDS - total)) s"
	exit $bad
}

# What fails in the driver, and what repeats a batch in pieces or is refused: both are of the
# host's code.
host='^Test(Failures|ErrorText|Cycles|Memory|Halving|OneWait|Devices|Network(Memory|Short|Failures|Devices))$'
pieces='^Test(Backend|Networks)$/./^(rows|general_rows|refusals|general_refusals|gradient_refusals|states|microbatch)$'

# Sanitizers look into kernels, at a tenth of the speed: no tests of the driver's failures, and none that repeat a batch in pieces.
# Opening a backend alone runs a product with every tile.
one='^(TestAffineNotFinite|TestLossGradient|TestLosses|TestSignOf|TestRandomSigns|TestDirection|TestMomentumOverflow|TestDraw|TestRoundPixels|TestNorms|TestRayForward|TestIm2col|TestMaxPoolNaN|TestActivations|TestInfinities|TestScale|TestNHWC|TestWinograd)$'

export ADVSWEEP_LIBCUDA=${CUSIM_LIB:-$root/build/cusim/$kind.so}
case $kind in
test)
	export ADVSWEEP_LIBCUDA=${CUSIM_LIB:-$root/build/cusim/plain.so}
	# SIM_SHORT=1 is what CI does. It leaves the modes of tensor cores, with threads in order, to
	# mutants.sh, whose first run is of the kernels as they are, and shuffles the one mode that is
	# not reversed. Of networks in pieces it takes the cases that have more rows than a piece.
	if [ -n "${SIM_SHORT:-}" ]; then
		start gpu,3-devices gpu CUSIM_DEVICES=3 -- -test.short \
			'-test.skip=^Test(Backend|Networks)$/^(3xtf32|tf32)$|^TestNetworks$/^fp32$/^microbatch$/^(steps|exact|not_a_number|small_derivatives)$' "$@"
	else
		start gpu,3-devices gpu CUSIM_DEVICES=3 -- "$@"
	fi
	# Each math mode is run in one other order at least; fp32 has the CPU's bits. An order finds a
	# barrier that is missing, which one launch of a kernel shows, with one device and no failure.
	start gpu,reversed gpu CUSIM_ORDER=rev -- "-test.skip=$host|$pieces|^Test(Backend|Networks)\$/^3xtf32\$" -test.short "$@"
	start gpu,shuffled gpu CUSIM_ORDER=1 -- "-test.skip=$host|$pieces|^Test(Backend|Networks)\$/^(tf32${SIM_SHORT:+|fp32})\$" -test.short "$@"
	start advsweep cmd/advsweep -- "-test.run=CUDA|Devices" "$@" # the others take any backend, and this one is slow
	start cudrv gpu/cudrv -- "$@"
	start cusim internal/cusim -- "$@"
	;;
asan)
	lib() { ${CXX:-g++} -print-file-name="$1"; }
	start gpu,asan gpu "LD_PRELOAD=$(lib libasan.so) $(lib libubsan.so)" UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 \
		ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:use_sigaltstack=0:detect_stack_use_after_return=0 \
		-- "-test.run=$one|^TestCPU$|^TestBackend$|^TestNetworks$/^fp32$/^(values|exact|steps|not a number)$" "-test.skip=$pieces|^TestBackend\$/^tf32\$" -test.short "$@"
	;;
tsan)
	# TSan puts signals off and then runs their handlers on whatever stack there is, a kernel thread's too, which Go does not
	# bear: so none to preempt goroutines.
	start gpu,tsan gpu GODEBUG=asyncpreemptoff=1 "LD_PRELOAD=$(${CXX:-g++} -print-file-name=libtsan.so)" \
		"TSAN_OPTIONS=suppressions=$root/internal/cusim/tsan.supp:exitcode=66:halt_on_error=1" \
		-- "-test.run=$one|^TestBackend$/^(fp32|3xtf32)$/^(steps|count|noise|momentum|slots)$|^TestNetworks$/^fp32$/^exact$" '-test.skip=^TestBackend$/./^microbatch$' -test.short "$@"
	;;
*)
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 2
	;;
esac
finish
