#!/usr/bin/env bash
# Makes build/gpu-bin: advsweep with the CUDA backend, its tests, and run.sh, to take to a machine that has a GPU
# and its driver but neither Go nor make. See gpu-run.sh for what it can do there.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
out=build/gpu-bin
rm -rf "$out"
mkdir -p "$out/mnist"
flags=(-tags cuda -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X advsweep/record.commit=$(scripts/commit.sh)")
scripts/cuda.sh go build "${flags[@]}" -o "$out/advsweep" ./cmd/advsweep
scripts/cuda.sh go test -c "${flags[@]}" -o "$out/" ./gpu ./gpu/cudrv ./cmd/advsweep
cp scripts/gpu-run.sh "$out/run.sh"
cp scripts/bench-gpu.sh scripts/bench-work.sh model/mnist/mlp.safetensors "$out"
# The peers look for the file names of MNIST; 1,000 images are enough for two of the works.
cp dataset/mnist/t10k-1000-images-idx3-ubyte.gz "$out/mnist/t10k-images-idx3-ubyte.gz"
cp dataset/mnist/t10k-1000-labels-idx1-ubyte.gz "$out/mnist/t10k-labels-idx1-ubyte.gz"
du -sh "$out"
