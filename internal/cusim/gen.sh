#!/bin/sh
# gen.sh DIR/all.cu: writes a C++ file to standard output that includes the kernels and registers every
# extern "C" __global__ function in them. It looks at preprocessed text, so a kernel may come from a macro,
# and qualifiers, __launch_bounds__ and line breaks may stand in any order.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
text=$(${CXX:-g++} -std=c++17 -E -P -x c++ -DCUSIM -DCUSIM_LIST_KERNELS -I"$(dirname "$1")" -I"$here" "$1")
names=$(printf '%s\n' "$text" | tr '\n\t' '  ' | grep -oE 'extern "C"[^(){};]*cusim_kernel_marker[^(){};]*\(' |
  sed -E 's/ *\($//; s/.*[^A-Za-z0-9_]//' | sort) || { echo "gen.sh: no kernel in $1" >&2; exit 1; }
printf '#include "%s"\n' "$(basename "$1")"
printf 'CUSIM_KERNEL(%s)\n' $names
