#!/bin/sh
# selftest.sh: builds the simulator with the kernels of testdata/ and checks that it runs good kernels rightly and
# reports every planted fault, in several orders of threads and under the sanitizers. "selftest.sh rates" measures it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
CXX=${CXX:-g++}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
unset CUSIM_ASYNC CUSIM_ORDER CUSIM_MEMORY CUSIM_PTX CUSIM_LOG
export CUDA_KERNELS="$here/testdata" CUSIM_DEVICES=2 CUSIM_CC=90,86

fail() {
  cat "$tmp/log" >&2
  echo "selftest: $1" >&2
  exit 1
}
$CXX -std=c++17 -g -O1 -Wall -Wextra "$here/testdata/selftest.cpp" -o "$tmp/selftest" -ldl -pthread
sh "$here/build.sh" plain "$tmp/plain.so"
if [ "${1-}" = rates ]; then exec "$tmp/selftest" "$tmp/plain.so" rates; fi
for order in fwd rev 1 2 3; do
  CUSIM_ORDER=$order "$tmp/selftest" "$tmp/plain.so" all > "$tmp/log" 2>&1 || fail "order $order failed"
done
CUSIM_ASYNC=0 "$tmp/selftest" "$tmp/plain.so" good > "$tmp/log" 2>&1 || fail 'CUSIM_ASYNC=0 failed'

sh "$here/build.sh" asan "$tmp/asan.so"
asan() {
  LD_PRELOAD="$($CXX -print-file-name=libasan.so) $($CXX -print-file-name=libubsan.so)" \
    UBSAN_OPTIONS=halt_on_error=1 \
    ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_sigbus=0:handle_sigfpe=0:use_sigaltstack=0:detect_stack_use_after_return=0 \
    "$tmp/selftest" "$tmp/asan.so" "$1" > "$tmp/log" 2>&1
}
asan good || fail 'ASan or UBSan found fault with good kernels'
# The read of a byte that the canaries, which see only writes, cannot tell.
asan overrun && fail 'ASan let a read beyond an allocation pass'
grep -q 'read_out_of_bounds.*all.cu' "$tmp/log" || fail 'ASan did not name the line of the bad read'

sh "$here/build.sh" tsan "$tmp/tsan.so"
tsan() {
  LD_PRELOAD=$($CXX -print-file-name=libtsan.so) TSAN_OPTIONS="suppressions=$here/tsan.supp:exitcode=66" \
    "$tmp/selftest" "$tmp/tsan.so" "$1" > "$tmp/log" 2>&1
}
tsan good || fail 'TSan found a race in good kernels'
tsan race && fail 'TSan let a missing barrier pass'
grep -q 'data race.*all.cu' "$tmp/log" || fail 'TSan did not name the lines of the race'
echo 'selftest: ok'
