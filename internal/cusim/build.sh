#!/bin/sh
# build.sh plain|asan|tsan OUT.so: builds the simulated libcuda with the kernels in it.
# Environment: CUDA_KERNELS  the folder of all.cu (default: kernels/ of this repository)
#              CUSIM_OBJ     a folder for what is the same for all kernels: used if there, else put there
#              CUSIM_OPT     what is in the place of -O3 for plain
#              CXX           the compiler, g++ or another that takes its flags (default g++)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
kind=$1 out=$2
kernels=${CUDA_KERNELS:-$here/../../kernels}
CXX=${CXX:-g++}
export CXX

flags='-std=c++17 -g -fPIC -fvisibility=hidden -pthread -DCUSIM -Wall -Wextra -Wno-unknown-pragmas -Wno-clobbered'
# No contraction: a*b+c is two roundings unless the source says fmaf. No aliasing rules: nvcc has none, and
# kernels look at a float4 as four words.
# Stack probes: a kernel with large local arrays must hit the guard page, not the next stack.
flags="$flags -fstack-clash-protection -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-strict-aliasing"
flags="$flags -I$kernels -I$here"
for f in fma avx2; do grep -qsw $f /proc/cpuinfo && flags="$flags -m$f"; done
case $kind in
plain) opt=${CUSIM_OPT:--O3} own= all= ;;
asan)  opt='-O1 -DCUSIM_ASAN -fno-omit-frame-pointer' own=-fsanitize=address,undefined all=-fsanitize=address,undefined ;;
# Only the kernels are looked at for races, not the simulator, which switches their stacks.
tsan)  opt='-O1 -DCUSIM_TSAN -fno-omit-frame-pointer' own= all=-fsanitize=thread ;;
*) echo "build.sh: no such kind: $kind" >&2; exit 2 ;;
esac

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
sh "$here/gen.sh" "$kernels/all.cu" > "$tmp/kernels.cpp"
# The kernels beside the rest; wait returns their status.
$CXX $flags $opt $all -Wno-unused-parameter -c "$tmp/kernels.cpp" -o "$tmp/kernels.o" &
job=$!
obj=${CUSIM_OBJ:-$tmp/obj}
mkdir -p "$obj"
objects=
for f in exec mma memory image driver; do
  case $f in image | driver) o=-O1 ;; *) o= ;; esac   # not worth the wait for -O3
  [ -n "${CUSIM_OBJ-}" ] && [ -f "$obj/$f.o" ] || $CXX $flags $opt $o $own -c "$here/$f.cpp" -o "$obj/$f.o"
  objects="$objects $obj/$f.o"
done
wait $job
$CXX $all -shared -pthread -Wl,-soname,libcuda.so.1 "$tmp/kernels.o" $objects -o "$out"
