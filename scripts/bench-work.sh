#!/usr/bin/env bash
# bench-work.sh WORK [PRECISION]: the time of one sweep on the GPU in ms, warm, as the last line. The images' way to the device is in
# it, loading the model and opening the device are not. Stands in build/gpu-bin, beside advsweep.
#
#	W1  FGSM        1,000 images, 21 eps    W3  FGSM  10,000 images, 101 eps
#	W2  BIM, k = 5  1,000 images, 21 eps    W5  BIM, k = 5  10,000 images, 101 eps
#
# PRECISION is float32 (the default) or tf32. MNIST is a folder with the test set; W1 and W2 take its first 1,000 images.
# BENCHTIME is how long to repeat it (default 1s), DEVICE the device (default 0).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
case ${1:-} in
W1 | W2) size=(--n 1000 --eps 0:0.5:0.025) ;;
W3 | W5) size=(--n 10000 --eps 0:0.5:0.005) ;;
*) usage ;;
esac
case $1 in
W1 | W3) sweep=attack=fgsm/K=1 ;;
W2 | W5) sweep=attack=bim/K=5 ;;
esac
lines=$("$here/advsweep" bench --backend cuda --device "${DEVICE:-0}" --model "$here/mlp.safetensors" --data "${MNIST:-$here/mnist}" \
	--works Sweep --benchtime "${BENCHTIME:-1s}" --count 1 --steps 5 "${size[@]}" --precision "${2:-float32}")
awk -v sweep="BenchmarkSweep/$sweep/" 'index($1, sweep) == 1 { for (i = 2; i < NF; i++) if ($(i + 1) == "ns/op") { printf "%.6f\n", $i / 1e6; found = 1 } }
	END { exit !found }' <<<"$lines" || { printf 'bench-work.sh: no time of a sweep in\n%s\n' "$lines" >&2; exit 1; }
