#!/usr/bin/env bash
# bench-peers.sh: our times on this machine's CPU and their ratios to other programs, which run in turn with ours in the same minutes.
# Prints a table; build/bench-peers/ has it as table.md, every time in lines.jsonl, and what was built.
#
#	PEERS    the folder of run.sh and bench.py, which run a peer (default ../shared/peers)
#	PYTHON   an interpreter with the peers' libraries: numpy, jax, torch, torchattacks, foolbox (default: PEERS/run.sh installs them).
#	         One that is missing is a line that says so
#	MNIST    the folder of the MNIST test set (default ../shared/mnist)
#	WEIGHTS  a safetensors file, 784-1024-1024-10 with the names fc1 to fc3 (default ../shared/reference/mlp.safetensors). Where
#	         reference.json stands beside it, our counts are compared with it
#	WORKS    some of W1 W1b W2 W2b W3 exact cold product dense (default all); b: clipped to [0, 1]
#	N        timed turns of each (default 7, of what takes seconds 3 or 5)
#	THREADS  processors for each program (default 2)
#	BINARY   an advsweep that is built already
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
export PEERS=${PEERS:-$root/../shared/peers} MNIST=${MNIST:-$root/../shared/mnist}
export WEIGHTS=${WEIGHTS:-$root/../shared/reference/mlp.safetensors} OUT=$root/build/bench-peers
for path in "$PEERS/run.sh" "$MNIST" "$WEIGHTS"; do
	[ -e "$path" ] || { echo "bench-peers.sh: no $path: set PEERS, MNIST and WEIGHTS" >&2; exit 2; }
done
mkdir -p "$OUT"
[ -n "${BINARY:-}" ] || CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$OUT/advsweep" ./cmd/advsweep
export BINARY=${BINARY:-$OUT/advsweep}
CGO_ENABLED=0 go test -c -o "$OUT/gemm.test" ./internal/gemm
exec python3 scripts/bench-peers.py
