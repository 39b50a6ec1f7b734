#!/usr/bin/env bash
# zoo.sh: exports sixty architectures and hundreds of random graphs with random weights, compares what advsweep reads with what
# onnxruntime and PyTorch compute, and writes docs/zoo.md. The first run takes an hour or two on two cores, 15 GB of disk and
# 8 GB of memory; files that are there already are kept. Environment:
#
#   VENV         the Python environment, made if it is not there (build/zoo-venv)
#   ZOO          the folder for what is exported (build/zoo)
#   ZOO_GRAPHS   how many random graphs (2000)
#   ZOO_SEED     of the random graphs (1)
#   ZOO_JOBS     how many processes run at a time (1)
#   MNIST        the training images, for small and trained
#
# With an argument it does but one thing: venv, export, graphs, table; ranks, which draws and compares as many small graphs of ranks 2 to 6;
# mutants, which asks of as many networks that are wrong in one thing who takes them; or what remakes the networks of the tests: small, trained.
# pip takes torch from where it is set up to: an index with builds without CUDA saves much.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-build/zoo-venv}
zoo=${ZOO:-build/zoo}
python=$venv/bin/python
export OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1

make_venv() {
	[ -x "$python" ] || python3 -m venv "$venv"
	"$python" -c 'import timm, onnxruntime, onnxscript, torchvision' 2>/dev/null ||
		"$python" -m pip install --quiet torch==2.15.0 torchvision==0.29.2 timm==1.0.31 onnx==1.23.2 onnxscript==0.7.2 onnxruntime==1.32.0 numpy==2.4.6
}

make_export() { "$python" scripts/zoo/export.py "$zoo/export"; }

make_graphs() { "$python" scripts/zoo/graphs.py "$zoo/graphs" "${ZOO_GRAPHS:-2000}" "${ZOO_SEED:-1}"; }

make_table() {
	mkdir -p "$zoo"
	go build -o "$zoo/zoo" ./internal/zoo
	"$python" scripts/zoo/table.py "$zoo/zoo" "$zoo/export" "$zoo/graphs" docs/zoo.md
}

make_ranks() {
	"$python" scripts/zoo/ranks.py "$zoo/ranks" "${ZOO_GRAPHS:-2000}" "${ZOO_SEED:-1}"
	go build -o "$zoo/zoo" ./internal/zoo
	"$python" scripts/zoo/check.py "$zoo/zoo" "$zoo/ranks"
}

make_mutants() {
	mkdir -p "$zoo"
	go build -o "$zoo/zoo" ./internal/zoo
	"$python" scripts/zoo/mutate.py "$zoo/zoo" "$zoo/mutants" "${ZOO_GRAPHS:-2000}" "${ZOO_SEED:-1}" model/onnx/testdata/ops/*.onnx model/onnx/testdata/ranks/any_*.onnx
}

make_small() { "$python" scripts/zoo/small.py model/onnx/testdata/zoo; }

make_trained() { "$python" scripts/zoo/trained.py "${MNIST:?names the folder of the training images of MNIST}" model/onnx/testdata/zoo/trained; }

case ${1:-all} in
all) parts="venv export graphs table" ;;
venv) parts=venv ;;
export | graphs | table | ranks | mutants | small | trained) parts="venv $1" ;;
*)
	echo "zoo.sh: $1, want venv, export, graphs, table, ranks, mutants, small or trained" >&2
	exit 2
	;;
esac
for part in $parts; do
	"make_$part"
done
