"""Runs 'standard' AutoAttack of pyautoattack and writes how many images are right after each of its stages.

    OMP_NUM_THREADS=1 python autoattack.py --mnist DIR --weights DIR --model adv-mlp --out adv-mlp.json

Everything is float64, the images too. Entries that OUT holds already keep their place, and those of this script come last. A seed
that an entry has is not run again. See README.md for what an entry is.
"""
import argparse
import functools
import json
import os
import time

import numpy as np
import torch
from pyautoattack import autoattack
from pyautoattack.state import EvaluationState

import run

STAGES = ["apgd-ce", "apgd-t", "fab-t", "square"]
# where some images stay right, and some do not
EPS = {"linf": {"adv-mlp": [0.05, 0.1, 0.15], "adv-cnn": [0.2, 0.3, 0.35], "mlp": [0.02, 0.05, 0.1], "cnn": [0.02, 0.05, 0.1]},
       "l2": {"adv-mlp": [0.5, 1, 2], "adv-cnn": [1, 2, 3], "mlp": [0.25, 0.5, 1], "cnn": [0.5, 1, 2]},
       "l1": {"adv-mlp": [5, 10, 15], "adv-cnn": [5, 10, 20], "mlp": [3, 6, 9], "cnn": [3, 6, 9]}}
IMAGES = 100
ROWS = 10  # of one pass of a CNN: more do not fit into a CPU's caches, and take half as long again


class Stages(EvaluationState):
    """AutoAttack's record of itself, which also keeps which images are right after each stage."""

    def add_run_attack(self, attack):
        super().add_run_attack(attack)
        self.right = getattr(self, "right", []) + [self.robust_flags.clone()]


class Counted(torch.nn.Module):
    """A network that counts the images it sees, and those whose gradient is asked for."""

    def __init__(self, net):
        super().__init__()
        self.net, self.forwards, self.backwards = net, 0, 0

    def forward(self, x):
        self.forwards += len(x)
        z = torch.cat([self.net(part) for part in x.split(ROWS)]) if "cnn" in self.net.name else self.net(x)
        if z.requires_grad:
            z.register_hook(self.count)
        return z

    def count(self, gradient):
        self.backwards += len(gradient)


def standard(net, x, y, norm, eps, seed):
    """Runs AutoAttack; returns which images are right after each stage, and image passes of each: [stage, image], [stage], [stage]."""
    a = autoattack.AutoAttack(net, norm=norm.capitalize(), eps=eps, seed=seed, version="standard", device="cpu")
    assert a.attacks_to_run == STAGES
    counts = [Counted(net) for _ in STAGES]
    a.model = Counted(net)  # the checks before the stages, and the verdict after each
    a.apgd.model, a.apgd_targeted.model, a.fab.predict, a.square.predict = counts
    states = []

    def state(*args, **kw):
        states.append(Stages(*args, **kw))
        return states[-1]
    autoattack.EvaluationState = state
    adv, _ = a.run_standard_evaluation(x, y, batch_size=len(x))
    right = states[0].right
    right += [torch.zeros(len(x), dtype=torch.bool)] * (len(STAGES) - len(right))  # it stops where none is right
    assert adv.dtype == torch.float64 and not torch.isnan(adv).any() and adv.min() >= 0 and adv.max() <= 1
    d = (adv - x).flatten(1)
    length = dict(linf=lambda: d.abs().max(1)[0], l2=lambda: d.norm(dim=1), l1=lambda: d.abs().sum(1))[norm]()
    assert length.max() <= eps * (1 + 1e-9)
    with torch.no_grad():
        assert ((net(adv).argmax(1) == y) == right[-1]).all()
    return torch.stack(right), [c.forwards for c in counts], [c.backwards for c in counts]


def known(e):
    return json.dumps({k: e[k] for k in ("attack", "peer", "norm", "stages", "images", "eps")})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mnist", "weights", "model", "out"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--norm", default="linf", choices=EPS)
    p.add_argument("--seeds", type=int, default=5)
    p.add_argument("--images", type=int, default=IMAGES)
    a = p.parse_args()
    # pyautoattack makes its own tensors of the default type, and calls float() on the images
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    x = torch.from_numpy(run.idx(a.mnist, "t10k-images")[:1000].astype(np.float64) / 255)[:, None]
    y = torch.from_numpy(run.idx(a.mnist, "t10k-labels")[:1000].astype(np.int64))
    net = run.Net(a.model, a.weights)
    r = run.Run(net, x, y)
    if os.path.exists(a.out):
        with open(a.out) as f:
            out = json.load(f)
    else:
        from importlib.metadata import version
        clean = r.correct(x, 1000)
        out = dict(format=1, model=a.model, made_with={k: version(k).split("+")[0] for k in ("torch", "pyautoattack", "numpy")}, bounds=[0, 1],
                   clean_correct={str(n): int(clean[:n].sum()) for n in (1000, 500, 250, 100)}, gradient_norms=run.norms(r), entries=[])
    eps = EPS[a.norm][a.model]
    e = dict(attack="autoattack", peer="pyautoattack", norm=a.norm, stages=STAGES, images=a.images, eps=eps, seeds=[], correct=[])
    e = next((v for v in out["entries"] if v["attack"] == "autoattack" and known(v) == known(e)), e)
    if e not in out["entries"]:
        out["entries"].append(e)
    for seed in range(len(e["seeds"]), a.seeds):
        t, right, passes = time.process_time(), [], []
        for v in eps:
            ok, *n = standard(net, x[:a.images], y[:a.images], a.norm, v, seed)
            right.append(ok)
            passes.append(n)
            print(a.model, a.norm, "eps", v, "seed", seed, ok.sum(1).tolist(), "passes", n, "%.0f s" % (time.process_time() - t), flush=True)
        right = torch.stack(right, 1)  # [stage, eps, image]
        e["seeds"].append(seed)
        e["correct"].append(right.sum(2).tolist())
        last = torch.tensor([c[-1] for c in e["correct"]])
        e["min"], e["max"] = last.min(0)[0].tolist(), last.max(0)[0].tolist()
        if seed == 0:
            e["forwards"], e["backwards"] = torch.tensor(passes).permute(1, 2, 0).tolist()
        run.write(a.out, out)


if __name__ == "__main__":
    main()
