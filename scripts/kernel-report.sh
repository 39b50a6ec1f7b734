#!/usr/bin/env bash
# Prints what each kernel of kernels/*.ptx takes: registers of a thread by architecture, with the
# bytes it spills after a plus, and the most bytes of static shared memory of a block and of local
# memory of a thread. Fails if a kernel spills more than two words, each stored and read once.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$("$root/scripts/cuda.sh" nvcc)
for target in 75/75 80/80 80/90; do
	"$bin/ptxas" -v -arch="sm_${target#*/}" "$root/kernels/sm${target%/*}.ptx" -o /dev/null 2>&1 || {
		"$bin/ptxas" -arch="sm_${target#*/}" "$root/kernels/sm${target%/*}.ptx" -o /dev/null
		exit 1
	}
done | awk '
	function number(unit) { return match($0, "[0-9]+ " unit) ? substr($0, RSTART, RLENGTH) + 0 : 0 }
	function max(a, b) { return a > b ? a : b }
	function cell(c) { return c == "" ? "-" : c }
	/Compiling entry function/ { split($0, q, "\047"); kernel = q[2]; arch = q[4] }
	/bytes stack frame/ { stack += number("bytes stack frame"); spill += number("bytes spill stores") + number("bytes spill loads") }
	/Used [0-9]+ registers/ {
		if (!(kernel in shared)) names[n++] = kernel
		used[kernel, arch] = number("registers") (spill ? "+" spill : "")
		shared[kernel] = max(shared[kernel], number("bytes smem"))
		local[kernel] = max(local[kernel], stack)
		bad += spill > 16; stack = spill = 0
	}
	END {
		form = "%-30s %8s %8s %8s %7s %6s\n"
		printf form, "kernel", "sm_75", "sm_80", "sm_90", "shared", "local"
		for (i = 1; i < n; i++) for (j = i; j > 0 && names[j-1] > names[j]; j--) { t = names[j]; names[j] = names[j-1]; names[j-1] = t }
		for (i = 0; i < n; i++) {
			k = names[i]
			printf form, k, cell(used[k, "sm_75"]), cell(used[k, "sm_80"]), cell(used[k, "sm_90"]), shared[k], local[k]
		}
		fflush()
		if (!n) print "kernel-report.sh: no kernels" > "/dev/stderr"
		if (bad) print "kernel-report.sh: more than 16 bytes spilled: " bad " of the numbers above" > "/dev/stderr"
		exit bad || !n
	}
'
