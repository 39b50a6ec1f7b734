#!/usr/bin/env bash
# What the CUDA backend needs to build, found or installed.
#
#	cuda.sh go ARGS    go, set up to build with -tags cuda
#	cuda.sh include    prints the folder of cuda.h
#	cuda.sh nvcc       prints the folder of nvcc and ptxas
#
# cuda.h is that of $CUDA_INCLUDE, or the first found in $CUDA_HOME, $CUDA_PATH, the usual places,
# build/cuda and the packages of python3; any from CUDA 11.8 on will do. The compiler is one version
# only, for what it writes is committed. What is missing is installed into build/cuda by pip.
set -euo pipefail
shopt -s inherit_errexit
root=$(cd "$(dirname "$0")/.." && pwd)
runtime=13.0.96
nvcc=13.0.88
tools=13.2.51 # there is no 13.0 of these two

# install NAME PACKAGE...: the packages as build/cuda/NAME, whole or not at all. One folder for each
# set: pip --target leaves a package out where an earlier one made the same folder.
install() {
	local dir=$root/build/cuda/$1 tmp
	shift
	if [ ! -d "$dir" ]; then
		python3 -m pip --version >/dev/null 2>&1 || {
			echo "cuda.sh: no pip to install $* with: install python3-pip" >&2
			exit 1
		}
		echo "cuda.sh: installing $* into build/cuda" >&2
		mkdir -p "$root/build/cuda"
		tmp=$(mktemp -d "$root/build/cuda/tmp.XXXXXX")
		PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
			python3 -m pip install -q --no-deps --no-compile --target "$tmp" "$@" >&2 || { rm -rf "$tmp"; exit 1; }
		chmod 755 "$tmp"
		# Another run may have been faster.
		mv -T "$tmp" "$dir" 2>/dev/null || rm -rf "$tmp"
	fi
	echo "$dir/nvidia/cu13"
}

include() {
	local dir
	if [ -n "${CUDA_INCLUDE:-}" ]; then
		[ -f "$CUDA_INCLUDE/cuda.h" ] || { echo "cuda.sh: no cuda.h in CUDA_INCLUDE=$CUDA_INCLUDE" >&2; exit 1; }
		echo "$CUDA_INCLUDE"
		return
	fi
	for dir in ${CUDA_HOME:+"$CUDA_HOME/include"} ${CUDA_PATH:+"$CUDA_PATH/include"} /usr/local/cuda/include /opt/cuda/include \
		/usr/include "$root"/build/cuda/{runtime-$runtime,nvcc-$nvcc}/nvidia/cu13/include; do
		if [ -f "$dir/cuda.h" ]; then
			echo "$dir"
			return
		fi
	done
	dir=$(python3 -c '
import os, sys
dirs = [os.path.join(p, "nvidia", m, "include") for p in sys.path for m in ("cu13", "cuda_runtime")]
print(next((d for d in dirs if os.path.exists(os.path.join(d, "cuda.h"))), ""))' 2>/dev/null) || dir=
	[ -n "$dir" ] || dir=$(install "runtime-$runtime" "nvidia-cuda-runtime==$runtime")/include
	echo "$dir"
}

case ${1:-} in
go)
	shift
	dir=$(include)
	# The empty libcuda.a comes before every other libcuda, wherever cu looks for one.
	export CGO_ENABLED=1
	export CGO_CFLAGS="${CGO_CFLAGS:--O2 -g} -I$root/gpu/shim -I$dir"
	export CGO_LDFLAGS="-L$root/gpu/cudrv/link ${CGO_LDFLAGS:--O2 -g}"
	exec go "$@"
	;;
include)
	include
	;;
nvcc)
	dir=$(install "nvcc-$nvcc" "nvidia-cuda-"{nvcc,crt}"==$nvcc" "nvidia-nvvm==$nvcc" "nvidia-cuda-runtime==$runtime" \
		"nvidia-cuda-"{cuobjdump,nvdisasm}"==$tools")
	echo "$dir/bin"
	;;
*)
	sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2
	exit 2
	;;
esac
