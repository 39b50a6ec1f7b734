#!/usr/bin/env bash
# Lets system calls of a sweep fail, one in each run, and wants an error or the right files: never a panic, and never other files. Then the
# same command goes on, and the files must be those of a sweep that nothing went wrong with.
#
#	calls.sh ADVSWEEP N    about N runs, spread over calls and errors
#
# It takes strace, and prints a line of internal/counts.
set -euo pipefail
advsweep=$(realpath "$1") wanted=$2
command -v strace >/dev/null || { echo "calls.sh: no strace here: install it" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
sweep=("$advsweep" sweep --backend cpu --threads 1 --n 20 --attack fgsm,noise --eps 0:0.2:0.1)
"${sweep[@]}" --out right >/dev/null 2>&1
tried=0 failed=0
bad() {
	failed=$((failed + 1))
	echo "calls.sh: $*" >&2
}
# compare WHAT: out must be as right, but for what differs between equal runs, the index of hashes, which has that too, and temporary
# files, which stay where their removal is what failed.
compare() {
	diff -rq -x run.json -x command.json -x .advsweep.json -x '*.lock' -x '.*.tmp' right out >diff.txt 2>&1 || { bad "$1: other files: $(head -3 diff.txt | paste -sd' ')"; return 1; }
}
calls=(write pwrite64 fsync renameat openat mkdirat ftruncate unlinkat newfstatat)
rm -rf out
for call in "${calls[@]}"; do
	strace -f -qq -o "trace-$call" -e signal=none -e "trace=$call" "${sweep[@]}" --out out >/dev/null 2>&1 || true
	grep -c . "trace-$call" >"count-$call" || true
	rm -rf out
done
each=$(((wanted + ${#calls[@]} - 1) / ${#calls[@]}))
export GOMAXPROCS=1 # strace counts the calls of each thread
for call in "${calls[@]}"; do
	count=$(cat "count-$call") hits=0
	step=$((count / (2 * each) + 1))
	for ((when = 1; when <= count && hits < each; when += step)); do
		error=$([ $((hits % 2)) = 0 ] && echo ENOSPC || echo EIO)
		what="$call $when of a thread fails with $error"
		rm -rf out
		code=0
		timeout 60 strace -f -qq -o trace -e signal=none -e "trace=$call" -e "inject=$call:error=$error:when=$when" "${sweep[@]}" --out out >said 2>&1 || code=$?
		grep -q INJECTED trace || continue
		tried=$((tried + 1)) hits=$((hits + 1))
		if grep -qE 'a bug in advsweep|^goroutine |^panic:' said && ! grep -q '^runtime: ' said; then
			bad "$what: $(grep -E 'a bug in|^panic' said | head -1)"
			continue
		fi
		case $code in
		0) compare "$what, exit code 0" || continue ;;
		1 | 2) ;; # an error, or what the runtime of Go says where it cannot start
		*) bad "$what: exit code $code: $(tail -1 said)" && continue ;;
		esac
		if ! "${sweep[@]}" --out out >said 2>&1; then
			bad "$what: the same command does not go on: $(tail -1 said)"
			continue
		fi
		compare "$what, and went on" || true
	done
done
echo "{\"kind\":\"call-faults\",\"by\":\"calls.sh\",\"tried\":$tried,\"failed\":$failed}"
