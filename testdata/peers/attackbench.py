"""Measures AttackBench's optimality of attacks of minimum norm: of adv-lib's, and of advsweep's from the images.csv of its sweeps.

    OMP_NUM_THREADS=1 python attackbench.py --mnist DIR --weights DIR --model adv-mlp --images 100 --advsweep PROGRAM --out attackbench.json

For each norm every attack has at most 2,000 passes of an image, up or down the network. Of adv-lib's the nearest misread point that was asked
about counts, and of advsweep's the one that it reports. Optimality is 1 - (A - A*)/(c·d - A*): A is the area under robust accuracy over the distance,
A* that of each image's nearest point of all attacks, c the clean accuracy and d the largest of these nearest distances (Cinà et al. 2024,
arXiv:2404.19460). adv-lib's attacks run in float64 where they can. A norm that OUT has of a model is not run again. With --keep DIR, what
adv-lib found of a model in a norm is kept there as JSON, and not looked for again.
"""
import argparse
import csv
import json
import math
import os
import subprocess
import tempfile
import time
from unittest import mock

import numpy as np
import torch

import run
from run import adv_lib

PASSES = 2000
P = {"linf": math.inf, "l2": 2, "l1": 1, "l0": 0}
FAR = {"linf": 1, "l2": 28, "l1": 784, "l0": 784}
# With as many steps as the passes allow; a step of FAB takes 19 passes here, of FAB-T three of each of nine classes.
OURS = {
    "linf": "fab-apgd:steps=880,fab:steps=104,fab-t:steps=70,fmn:steps=990,pdpgd:steps=990,deepfool:steps=100",
    "l2": "fab-apgd:steps=880,alma:steps=990,alma-t:steps=325:targets=3,fab:steps=104,fab-t:steps=70,fmn:steps=990,pdpgd:steps=990,ddn:steps=990,carlini-wagner:steps=110,deepfool:steps=100",
    "l1": "alma:steps=990,alma-t:steps=325:targets=3,fab:steps=104,fab-t:steps=70,fmn:steps=990,pdpgd:steps=990",
    "l0": "fmn:steps=990,sigma-zero:steps=990,sigma-zero-t:steps=190",
}


class Watched(torch.nn.Module):
    """A network that counts its passes, and keeps the nearest misread point of each image among those that it is asked about."""

    def __init__(self, net, x, y, norm):
        super().__init__()
        self.net, self.x, self.y, self.norm = net, x, y, norm
        self.best = torch.full((len(x),), math.inf, dtype=torch.float64)
        self.passes = 0

    def forward(self, x):
        self.passes += len(x)
        z = self.net(x).to(x.dtype)
        if len(x) == len(self.x):  # the images in their order; of parts only what comes out in the end is known
            self.note(x.detach(), z.detach())
        if z.requires_grad:
            z.register_hook(self.count)
        return z

    def count(self, gradient):
        self.passes += len(gradient)

    def note(self, x, z):
        d = distance(x.double() - self.x, self.norm)
        inside = (x.flatten(1).min(1)[0] >= 0) & (x.flatten(1).max(1)[0] <= 1)
        d[(z.argmax(1) == self.y) | ~inside] = math.inf
        self.best = torch.minimum(self.best, d)


def distance(d, norm):
    d = d.flatten(1)
    return dict(linf=lambda: d.abs().max(1)[0], l2=lambda: d.norm(dim=1), l1=lambda: d.abs().sum(1), l0=lambda: (d != 0).sum(1).double())[norm]()


def targeted_apgd(net, x, y, norm):
    """APGD-T with eps found by halving: nine classes, ten steps each."""
    low, high = torch.zeros(len(x), dtype=x.dtype), torch.full((len(x),), float(FAR[norm]), dtype=x.dtype)
    adv = x
    for _ in range(10):
        eps = (low + high) / 2
        now = adv_lib.apgd_targeted(net, x, y, eps=eps, norm=P[norm], n_iter=10, num_targets=9)
        with torch.no_grad():
            wrong = net(now).argmax(1) != y
        adv = torch.where(wrong[:, None, None, None], now, adv)
        low, high = torch.where(wrong, low, eps), torch.where(wrong, eps, high)
    return adv


def field(norm):
    """The attacks of adv-lib in a norm: name, call of (net, x, y)."""
    p = P[norm]
    yield "fmn", lambda net, x, y: adv_lib.fmn(net, x, y, norm=p, steps=1000)
    if norm != "l0":
        yield "pdpgd", lambda net, x, y: adv_lib.pdpgd(net, x, y, norm=p, num_steps=1000)
        yield "fab", lambda net, x, y: adv_lib.fab(net, x, y, norm=p, n_iter=100)
    if norm in ("linf", "l2"):
        yield "apgd-t", lambda net, x, y: targeted_apgd(net, x, y, norm)
        yield "deepfool", lambda net, x, y: adv_lib.df(net, x, y, steps=100, norm=p)
        yield "tr", lambda net, x, y: adv_lib.tr(net, x, y, iter=100, p=p)
    if norm == "l2":
        yield "ddn", lambda net, x, y: adv_lib.ddn(net, x, y, steps=1000, levels=None)
        yield "pdgd", lambda net, x, y: adv_lib.pdgd(net, x, y, num_steps=1000)
        yield "superdeepfool", lambda net, x, y: adv_lib.sdf(net, x, y)
        yield "carlini-wagner", lambda net, x, y: adv_lib.carlini_wagner_l2(net, x, y, max_iterations=111)
    if norm in ("l2", "l1"):
        yield "alma", lambda net, x, y: adv_lib.alma(net, x, y, num_steps=1000, distance=norm, init_lr_distance=dict(l2=0.1, l1=0.5)[norm])
    if norm == "l0":
        yield "sigma-zero", lambda net, x, y: adv_lib.sigma_zero(net, x, y, num_steps=1000)
        yield "vfga", lambda net, x, y: adv_lib.vfga(net, x, y, targeted=False)


def theirs(net, x, y, norm, wrong):
    out = {}
    for name, attack in field(norm):
        for dtype in torch.float64, torch.float32:  # some cannot take float64
            torch.manual_seed(0)
            torch.set_default_dtype(dtype)
            t, w = time.process_time(), Watched(net, x, y, norm)
            try:
                # PDPGD writes norms of what needs a gradient to a tensor, which torch refuses
                with mock.patch.object(torch, "norm", lambda v, *a, norm=torch.norm, **kw: norm(v.detach() if "out" in kw else v, *a, **kw)):
                    adv = attack(w, x.to(dtype), y)
                break
            except Exception as e:
                print(name, norm, dtype, "failed:", repr(e)[:150], flush=True)
                adv = None
        if adv is None:
            continue
        with torch.no_grad():
            w.note(adv.detach(), net(adv))
        w.best[wrong] = 0
        out["adv-lib " + name] = w.best.tolist()
        print(name, norm, "%.0f passes, %.0f s" % (w.passes / len(x), time.process_time() - t), flush=True)
    return out


def kept(keep, name, norm, n, find):
    """What find returns, from the folder keep if it has it of so many images."""
    path = os.path.join(keep, "%s-%s-%d.json" % (name, norm, n))
    if keep and os.path.exists(path):
        with open(path) as f:
            return json.load(f)
    found = find()
    if keep:
        with open(path, "w") as f:
            json.dump(found, f)
    return found


def ours(program, model, mnist, n, norm):
    out = {}
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([program, "sweep", "-q", "--backend", "cpu", "--model", model, "--data", mnist, "--n", str(n), "--norm", norm, "--bounds", "0,1", "--eps", "0,%g" % FAR[norm],
                        "--attack", OURS[norm], "--out", d + "/out", "--steps", "100"], check=True, stdout=subprocess.DEVNULL)
        with open(d + "/out/images.csv") as f:
            for row in csv.DictReader(f):
                v = row["eps_star"]
                out.setdefault("advsweep " + row["attack"], []).append(math.inf if v == "" else float(v))
    return out


def area(distances, most):
    """The area under robust accuracy over distances up to most: it falls by a step at each image's distance."""
    return float(np.minimum(np.array(distances), most).mean())


def optimality(all):
    best = np.min(np.array(list(all.values())), axis=0)
    clean, most = float((best > 0).mean()), float(best.max())
    least = area(best, most)
    return {name: 1 - (area(d, most) - least) / (clean * most - least) for name, d in all.items()}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("mnist", "weights", "model", "advsweep", "out"):
        p.add_argument("--" + name, required=True)
    p.add_argument("--name", default="", help="what OUT calls the model, if not by its file")
    p.add_argument("--images", type=int, default=100)
    p.add_argument("--keep", default="", help="a folder for what adv-lib found")
    a = p.parse_args()
    torch.set_default_dtype(torch.float64)
    n, name = a.images, a.name or a.model
    x = torch.from_numpy(run.idx(a.mnist, "t10k-images")[:n].astype(np.float64) / 255)[:, None]
    y = torch.from_numpy(run.idx(a.mnist, "t10k-labels")[:n].astype(np.int64))
    net = run.Net(a.model, a.weights).eval()
    with torch.no_grad():
        wrong = net(x).argmax(1) != y
    out = {}
    if os.path.exists(a.out):
        with open(a.out) as f:
            out = json.load(f)
    for norm in P:
        if norm in out.get(name, {}):
            continue
        all = kept(a.keep, name, norm, n, lambda: theirs(net, x, y, norm, wrong))
        onnx = os.path.join(a.weights, a.model + ".onnx")  # if there is one: the CNN's safetensors may be without its layers
        all |= ours(a.advsweep, onnx if os.path.exists(onnx) else os.path.join(a.weights, a.model + ".safetensors"), a.mnist, n, norm)
        found = {k: round(v, 4) for k, v in optimality(all).items()}
        with_names = dict(sorted(found.items(), key=lambda kv: -kv[1]))
        if os.path.exists(a.out):
            with open(a.out) as f:
                out = json.load(f)
        out.setdefault(name, {})[norm] = with_names
        with open(a.out, "w") as f:
            json.dump(out, f, indent=1)
        print(name, norm, with_names, flush=True)


if __name__ == "__main__":
    main()
