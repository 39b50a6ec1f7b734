"""Times the programs in curves/ on two pieces of work: one JSON line after each run, so the last of each kind has the median of all.

    python bench.py --mnist DIR --weights DIR --threads 1 --runs 3

fgsm: FGSM at 21 eps (i/40), 1,000 images. pgd40: PGD, random start, 40 steps of eps/16, at eps 0.1, 1,000 images. float32, as the programs come.
Loading, import and a first run on a few images are outside the time. wall_s and cpu_s (of this process, all its threads) are medians. On a busy machine
only cpu_s with one thread means something.
"""
import argparse
import importlib
import io
import json
import os
import statistics
import sys
import time
import warnings

warnings.filterwarnings("ignore")
p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--mnist", required=True)
p.add_argument("--weights", required=True)
p.add_argument("--threads", type=int, default=1)
p.add_argument("--runs", type=int, default=3)
p.add_argument("--peers", default="foolbox,torchattacks,art")
p.add_argument("--models", default="mlp,cnn")
p.add_argument("--works", default="fgsm,pgd40")
a = p.parse_args()
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(a.threads)
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "curves"))
import torch  # noqa: E402

from net import load  # noqa: E402

torch.set_num_threads(a.threads)  # run.py sets 1
WORKS = {"fgsm": ([i / 40 for i in range(21)], 1, None), "pgd40": ([0.1], 40, 1 / 16)}
peers = a.peers.split(",")
curve = {p: importlib.import_module(p + "_curve").curve for p in peers}
nets = {name: load(name, a.weights, a.mnist) for name in a.models.split(",")}
for m, x, y in nets.values():
    for p in peers:  # the first run, on a few images
        for work in WORKS.values():
            curve[p](m, x[:20], y[:20], [0.1], *work[1:], out=io.StringIO())
times = {}
for i in range(a.runs):  # all in turn, so that a busy minute hits all
    for work in a.works.split(","):
        for name, (m, x, y) in nets.items():
            for p in peers:
                torch.manual_seed(i)
                w, c = time.perf_counter(), time.process_time()
                counts = curve[p](m, x, y, *WORKS[work], out=io.StringIO())
                t = times.setdefault((name, work, p), [])
                t.append((round(time.perf_counter() - w, 2), round(time.process_time() - c, 2)))
                print(json.dumps(dict(model=name, work=work, peer=p, threads=a.threads, runs=len(t), wall_s=statistics.median(v[0] for v in t),
                                      cpu_s=statistics.median(v[1] for v in t), cpu_s_all=[v[1] for v in t], load=round(os.getloadavg()[0], 1), correct=counts)), flush=True)
