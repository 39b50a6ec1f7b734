#!/usr/bin/env bash
# bench-peers.sh: how long 'advsweep sweep' with its defaults takes on this machine's CPU, and other programs, in turn with it in the
# same minutes. Of each work there are two times:
#
#	the work alone   ours is seconds.compute of run.json: all that the command does after loading and before it writes the files that
#	                 show the result, its records on disk and what becomes of each image included. The others are warm, find counts
#	                 alone and write nothing
#	whole process    from start to exit: ours with loading, CSV, JSON, PNG and SVG; the others with import, loading and compilation
#
# Prints a table; build/bench-peers/ has it as table.md, for README.md, every time in lines.jsonl, and what was built.
#
#	PEERS    the folder of run.sh, bench.py and conv_peers.py, which run a peer (default ../shared/peers); scripts/peers has what runs
#	         convolutional networks, of which it takes some from conv_peers.py
#	VENV     where PEERS/run.sh has the peers' libraries, or installs them (default PEERS/.venv)
#	PYTHON   instead of VENV an interpreter that has them: numpy, jax, torch, torchattacks, foolbox, and for the convolutional networks
#	         torchvision, safetensors, onnx, onnxruntime, which run.sh does not install. One that is missing is a line that says so
#	MNIST    the folder of the MNIST test set (default ../shared/mnist)
#	WEIGHTS  a safetensors file, 784-1024-1024-10 with the names fc1 to fc3 (default ../shared/reference/mlp.safetensors), with
#	         cnn.safetensors beside it for the CNN. Where reference.json stands there too, our counts are compared with it
#	WORKS    some of the following (default all)
#	           W1 W1b W2 W2b W3  FGSM and BIM on the MLP; b: clipped to [0, 1]
#	           large             FGSM on 10,000 images at 1,001 eps, ours alone
#	           walk              W1 and W3 beside the walks that they consist of, and beside --exact=false
#	           cold              whole processes alone, FGSM and BIM in one
#	           dense             W1 and W2 on a model with 70 % of its units active
#	           cnn-fgsm cnn-bim vgg-bim3 vgg-bim10 resnet18-fgsm resnet18-bim3 resnet18-bim10 resnet18-224 silu-bim3 mobilenet-bim3
#	                             PyTorch eager and compiled, NCHW and channels-last, with BatchNorm folded or not, one eps after the
#	                             other or all at once: the fastest of these. Counts of both sides are compared with float64's
#	           resnet18-forward  logits alone, by a Go program that uses the library, against onnxruntime
#	           product           a matrix product by itself, which is no sweep
#	N        timed turns of each (default 7, of what takes seconds 3 or 5)
#	NETS     a folder of networks that scripts/peers/train.py trained: they take the place of those with random weights
#	COMPILE  0: leave torch.compile out, which needs a C++ compiler and takes minutes on a busy machine
#	JUDGE    0: leave float64's counts out, which take a minute of a processor for each work, once
#	THREADS  processors for each program (default 2); with 1 the rows of convolutional networks have the processor time as well, which
#	         is what counts on a busy machine: there wall-clock time flatters ours, for PyTorch's threads wait for each other
#	BINARY   an advsweep that is built already
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
export PEERS=${PEERS:-$root/../shared/peers} MNIST=${MNIST:-$root/../shared/mnist}
export WEIGHTS=${WEIGHTS:-$root/../shared/reference/mlp.safetensors} OUT=$root/build/bench-peers
need() { # VARIABLE PATH WHAT
	[ -e "$2" ] || { echo "bench-peers.sh: no $2: set $1 to $3" >&2; exit 2; }
}
need PEERS "$PEERS/run.sh" "the folder of the scripts that run other programs"
need MNIST "$MNIST" "the folder of the MNIST test set"
need WEIGHTS "$WEIGHTS" "a safetensors file of the model"
rm -rf "$OUT/tmp" # of a run that was killed
mkdir -p "$OUT/tmp"
[ -n "${BINARY:-}" ] || CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o "$OUT/advsweep" ./cmd/advsweep
export BINARY=${BINARY:-$OUT/advsweep}
CGO_ENABLED=0 go test -c -o "$OUT/gemm.test" ./internal/gemm
CGO_ENABLED=0 go build -o "$OUT/forward" ./scripts/peers/forward
exec python3 scripts/bench-peers.py
