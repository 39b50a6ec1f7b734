#!/usr/bin/env bash
# Plants every mistake of internal/cusim/mutants into the kernels and wants the tests of gpu to fail.
#
#	mutants.sh [PATTERN]    only mutants that match the extended regular expression; "-n" lists them
#
# It takes build/test/gpu.test, which make builds. A mutant is caught by a test that fails. One after which the tests pass,
# hang, or crash without a failing test is not, and then the exit status is 1. It is also 1 if the tests fail without a
# mutant. JOBS are run at a time (default: as many as there are processors). EVERY=N takes every N-th mutant only.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
list=$root/internal/cusim/mutants/list.txt
limit=900 # seconds for each third of the tests: a hang is no catch
unset CUSIM_ASYNC CUSIM_ORDER CUSIM_DEVICES CUSIM_CC CUSIM_MEMORY CUSIM_PTX CUSIM_LOG ADVSWEEP_CUDA_PRODUCT
export ADVSWEEP_GPU=require
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "mutants.sh: $*" >&2; exit 1; }

# replace FILE OLD NEW: OLD must be in FILE once.
replace() {
	local text rest
	text=$(<"$1")
	rest=${text#*"$2"}
	if [ "$rest" = "$text" ]; then
		wrong "not in ${1##*/}: $2"
	elif [ "${rest#*"$2"}" != "$rest" ]; then
		wrong "more than once in ${1##*/}: $2"
	else
		printf '%s\n' "${text%%"$2"*}$3$rest" >"$1"
	fi
}

# Each mutant's kernels are made first, so that mutants that do not apply end all of it at once.
wrong=0
wrong() { echo "mutants.sh: $name: $1" >&2; wrong=1; }
names=() name='' old='' new='' has_new=''
flush() {
	[ -z "$has_new" ] || replace "$dir/$file" "$old" "$new"
	[ -z "$old" ] || [ -n "$has_new" ] || wrong "- without +"
	old='' new='' has_new=''
}
begin() {
	name=$1 dir=$work/${#names[@]}
	names+=("$1")
	mkdir "$dir"
	cp "$root"/kernels/*.cu "$root"/kernels/*.cuh "$dir"
}
begin '(the kernels as they are)'
while IFS= read -r line || [ -n "$line" ]; do
	case $line in
	'#'* | '') ;;
	'= '*)
		flush
		file=${line#= }
		file=${file%%:*}
		begin "${line#= }"
		[ -f "$dir/$file" ] || fail "$name: no such file"
		;;
	'- '*)
		[ -z "$has_new" ] || flush
		old+=${old:+$'\n'}${line#- }
		;;
	'+' | '+ '*)
		[ -n "$old" ] || fail "$name: + without -"
		line=${line#+}
		new+=${has_new:+$'\n'}${line# }
		has_new=1
		;;
	*) fail "list.txt: $line" ;;
	esac
done <"$list"
flush
[ $wrong = 0 ] || fail "mutants that do not fit the kernels: list.txt must follow them"

# run N writes to the file N.result who caught mutant N, and 0 before it if no one did: what the table shows.
run() {
	local dir=$work/$1 code=0 part test parts
	if ! CUDA_KERNELS=$dir CUSIM_OBJ=$work/obj CUSIM_OPT=-O1 "$root/internal/cusim/build.sh" plain "$dir/cusim.so" >"$dir/log" 2>&1; then
		tail -n 20 "$dir/log"
		echo "0 DOES NOT COMPILE" >"$work/$1.result"
		return
	fi
	# What takes longest comes last; failures of the driver say nothing of kernels.
	parts=('-test.skip=^(TestBackend|TestNetworks|TestFailures|TestErrorText|TestCycles|TestMemory|TestHalving|TestNetwork(Memory|Short|Failures))$'
		'-test.run=^(TestBackend|TestNetworks)$ -test.skip=^Test/./^(rows|microbatch)$' '-test.run=^(TestBackend|TestNetworks)$/./^(rows|microbatch)$')
	# Without a mutant, where only some mutants are wanted, what "SIM_SHORT=1 sim.sh test" leaves
	# out: that has just run the rest.
	[ "$1" != 0 ] || [ "${EVERY:-1}" = 1 ] ||
		parts=('-test.run=^(TestBackend|TestNetworks)$/^(3xtf32|tf32)$ -test.skip=^Test/./^(rows|general_rows|microbatch)$')
	for part in "${parts[@]}"; do
		(cd "$root/gpu" && ADVSWEEP_LIBCUDA=$dir/cusim.so exec "$root/build/test/gpu.test" -test.short -test.failfast -test.timeout "${limit}s" $part) \
			>>"$dir/log" 2>&1 || { code=$?; break; }
	done
	# Parents come before their children.
	test=$(grep -E '^ *--- FAIL: ' "$dir/log" | sed -E 's/^ *--- FAIL: ([^ ]+) .*/\1/' | tail -n 1) || true
	if [ $code = 0 ]; then
		echo "0 NOT CAUGHT"
	elif [ -n "$test" ]; then
		echo "1 $test"
	else
		tail -n 20 "$dir/log" >&2
		echo "0 CRASH OR HANG, exit status $code"
	fi >"$work/$1.result"
	rm "$dir/cusim.so"
}

chosen=(0)
for ((n = 1; n < ${#names[@]}; n++)); do
	case ${1:-} in
	'') ;;
	-n) echo "${names[n]}" && continue ;;
	*) grep -qE -- "$1" <<<"${names[n]}" || continue ;;
	esac
	[ $((n % ${EVERY:-1})) = 0 ] || continue
	chosen+=("$n")
done
[ "${1:-}" != -n ] || exit 0
[ ${#chosen[@]} -gt 1 ] || fail "no mutant matches $1"
[ -x "$root/build/test/gpu.test" ] || fail "no build/test/gpu.test: make cuda-tests"
mkdir "$work/obj"
CUSIM_OBJ=$work/obj "$root/internal/cusim/build.sh" plain "$work/cusim.so" # for the objects

begin=$SECONDS missed=0 at=0
show() { # what is done, in order
	while [ $at -lt ${#chosen[@]} ] && [ -f "$work/${chosen[at]}.result" ]; do
		local n=${chosen[at]} result
		result=$(<"$work/$n.result")
		at=$((at + 1))
		if [ "$n" = 0 ]; then
			case $result in
			'0 NOT CAUGHT') printf '%-44s | %s\n' 'caught by' mutant ;;
			*) cat "$work/0/log" && fail "the tests fail with the kernels as they are" ;;
			esac
			continue
		fi
		[ "${result%% *}" = 1 ] || missed=$((missed + 1))
		printf '%-44s | %s\n' "${result#* }" "${names[n]}"
	done
}
for n in "${chosen[@]}"; do
	while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-$(nproc)}" ]; do wait -n || true; done
	show
	run "$n" &
done
wait
show
[ $at = ${#chosen[@]} ] || fail "${#chosen[@]} runs, but $at results"
echo "mutants.sh: $((${#chosen[@]} - 1)) mutants, $missed not caught, $((SECONDS - begin)) s"
[ $missed = 0 ]
