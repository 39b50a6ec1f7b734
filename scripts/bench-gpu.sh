#!/usr/bin/env bash
# bench-gpu.sh [PEERS]: times of the works of bench-work.sh on the GPU, and their ratios to other programs. Stands in build/gpu-bin.
#
# PEERS is a folder with bench.py, which runs a peer in turn with bench-work.sh in the same minutes. Without it, and for W5, which
# the peers do not have, our times stand alone. A peer whose library is missing says so in its line.
#
#	WORKS      default W1 W2 W5 W3, W3 and W5 if MNIST has all 10,000 test images
#	MNIST      a folder with the test set (default: the 1,000 images beside this script)
#	PRECISIONS default float32 tf32
#	PEER_LIST  names of peers, with commas
#	N          timed turns of each (default 5, 3 for 10,000 images)
#	PYTHON     an interpreter with the peers' libraries (default python3). VENV=DIR instead has PEERS/run.sh install them there
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=${1:-}
export MNIST=${MNIST:-$here/mnist} BENCHTIME=${BENCHTIME:-300ms}
precisions=${PRECISIONS:-float32 tf32}
# On a GPU the better of each program's forms counts, one by one or batched; the linear ones are of FGSM only.
list=${PEER_LIST:-jax-best,jax-best-vmap,jax-best-linear,jax-best-linear-vmap,torch-best,torch-best-batched,torch-best-linear,torch-best-linear-batched}
python=${PYTHON:-python3}
command -v "$python" >/dev/null || { echo "bench-gpu.sh: no $python: set PYTHON" >&2; exit 1; }
"$here/advsweep" devices >&2

files=("$MNIST"/t10k-images*)
[ -f "${files[0]}" ] || { echo "bench-gpu.sh: no t10k-images in MNIST=$MNIST" >&2; exit 1; }
images=$(gzip -dcf "${files[0]}" 2>/dev/null | od -An -tu1 -j4 -N4 | awk '{ print (($1 * 256 + $2) * 256 + $3) * 256 + $4 }') || true
works=${WORKS:-W1 W2 W5 W3}

if [ -z "$peers" ]; then
	echo "bench-gpu.sh: no folder of peers given: our own times only" >&2
elif [ ! -f "$peers/bench.py" ]; then
	echo "bench-gpu.sh: no bench.py in $peers: our own times only" >&2
	peers=
elif [ -z "${VENV:-}" ] && ! "$python" -c 'import numpy' 2>/dev/null; then
	echo "bench-gpu.sh: $python has no numpy, which the peers need: our own times only. Set PYTHON, or VENV to install them" >&2
	peers=
fi

lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
failed=0
for work in $works; do
	case $work in
	W3 | W5)
		n=${N:-3}
		if [ "$images" -lt 10000 ]; then
			echo "{\"work\": \"$work\", \"skipped\": \"MNIST has $images images: give the folder of all 10,000 as MNIST\"}" | tee -a "$lines" >&2
			continue
		fi
		;;
	*) n=${N:-5} ;;
	esac
	for precision in $precisions; do
		if [ -n "$peers" ] && [ "$work" != W5 ]; then
			bench=("$python" "$peers/bench.py")
			[ -z "${VENV:-}" ] || bench=(env -u PYTHON "$peers/run.sh")
			"${bench[@]}" --mnist "$MNIST" --weights "$here/mlp.safetensors" --device cuda --precision "$precision" --peers "$list" \
				--works "$work" --n "$n" --pair "'$here/bench-work.sh' {work} $precision" --pair-clock reported | tee -a "$lines" >&2 || failed=1
		else
			times=
			for ((i = 0; i < n; i++)); do
				ms=$("$here/bench-work.sh" "$work" "$precision") || { failed=1; break; }
				times+=${times:+, }$ms
			done
			[ -z "$times" ] || echo "{\"work\": \"$work\", \"precision\": \"$precision\", \"ours\": [$times]${peers:+, \"skipped\": \"the peers have no $work\"}}" |
				tee -a "$lines" >&2
		fi
	done
done

"$python" - "$lines" <<'END'
import json, statistics, sys

print("Times in ms: median (least). Ratio: ours / peer, below 1 is faster. Ours includes copying the images to the device.")
rows = [("work", "precision", "peer", "peer's time", "ours", "ratio")]
form = lambda t: f"{t['median_ms']:.3f} ({t['min_ms']:.3f})"
devices = set()
for text in open(sys.argv[1]):
    v = json.loads(text)
    devices.add(v.get("device_name"))
    ours = v.get("pair")
    if "ours" in v:
        ours = dict(median_ms=statistics.median(v["ours"]), min_ms=min(v["ours"]))
    skipped = f"skipped: {v['skipped']}" if "skipped" in v else ""
    rows.append((v["work"], v.get("precision", ""), v.get("peer", ""), form(v) if "median_ms" in v else skipped,
                 form(ours) if ours else "", f"{v['ratio']:.3f}" if "ratio" in v else ""))
widths = [max(min(len(r[i]), 32) for r in rows) for i in range(6)]
for r in rows:
    print("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())
for d in filter(None, devices):
    print("device:", d)
END
if [ $failed = 1 ]; then
	echo "bench-gpu.sh: something failed, see above" >&2
	exit 1
fi
