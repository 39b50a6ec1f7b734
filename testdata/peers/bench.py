"""Times the programs in curves/ on two pieces of work, one JSON line each.

    python bench.py --mnist DIR --weights DIR --threads 1 --runs 3

fgsm: FGSM at 21 eps (i/40), 1,000 images. pgd40: PGD, random start, 40 steps of eps/16, at eps 0.1, 1,000 images. float32, as the programs come.
Loading, import and one first run are outside the time. wall_s and cpu_s (of this process, all its threads) are medians. On a busy machine
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
for name in a.models.split(","):
    m, x, y = load(name, a.weights, a.mnist)
    for work in a.works.split(","):
        runs = {}
        for i in range(a.runs + 1):  # in turn, so that a busy minute hits all
            for peer in a.peers.split(","):
                curve = importlib.import_module(peer + "_curve").curve
                torch.manual_seed(i)
                w, c = time.perf_counter(), time.process_time()
                counts = curve(m, x, y, *WORKS[work], out=io.StringIO())
                if i:
                    runs.setdefault(peer, []).append((time.perf_counter() - w, time.process_time() - c, counts))
        for peer, r in runs.items():
            with open(os.path.join(HERE, "curves", peer + "_curve.py")) as f:
                lines = sum(1 for v in f if v.strip())
            print(json.dumps(dict(model=name, work=work, peer=peer, threads=a.threads, wall_s=round(statistics.median(v[0] for v in r), 2),
                                  cpu_s=round(statistics.median(v[1] for v in r), 2), cpu_s_all=[round(v[1], 2) for v in r], lines=lines, load=os.getloadavg()[0],
                                  correct=r[-1][2])), flush=True)
