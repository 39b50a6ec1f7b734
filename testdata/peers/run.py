"""Runs torchattacks, Foolbox and pyautoattack (a packaged AutoAttack) on the two reference networks and writes their counts and distances.

    OMP_NUM_THREADS=1 python run.py --mnist DIR --weights DIR --reference reference.json --model mlp --out mlp.json

Everything is float64 (pyautoattack keeps its images in float32 but for FAB, logits and gradients are float64). An entry that OUT already holds is
not run again. See README.md for what an entry is.
"""
import argparse
import gzip
import json
import os
import sys
import time
import types
import warnings
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
import foolbox as fb  # noqa: E402
import torchattacks as ta  # noqa: E402
sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # adv-lib imports it for live plots, which nobody asks for
import adv_lib.attacks as adv_lib  # noqa: E402
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted  # noqa: E402
from pyautoattack.fab_pt import FABAttack_PT  # noqa: E402
from pyautoattack.square import SquareAttack  # noqa: E402

torch.set_num_threads(1)
E = [i / 40 for i in range(21)]  # the Linf grid
L2 = [i / 4 for i in range(21)]
MIDDLE = dict(mlp=[E[1], E[2], E[4]], cnn=[E[2], E[4], E[6]])  # where a strong attack leaves some images right
L2_MIDDLE = [0.5, 1, 2]
SEEDS = [0, 1, 2, 3, 4]


def idx(folder, stem):
    name = sorted(n for n in os.listdir(folder) if n.startswith(stem))[0]
    path = os.path.join(folder, name)
    with (gzip.open(path) if name.endswith(".gz") else open(path, "rb")) as f:
        b = f.read()
    dims = [int.from_bytes(b[4 + 4 * i:8 + 4 * i], "big") for i in range(b[3])]
    return np.frombuffer(b, np.uint8, offset=4 + 4 * b[3]).reshape(dims)


class Net(torch.nn.Module):
    """An MLP of three layers, or a CNN of two convolutions and two layers, in float64; takes [N, 1, 28, 28] of any type."""

    def __init__(self, name, weights):
        super().__init__()
        self.name = name
        for k, v in load_file(os.path.join(weights, name + ".safetensors")).items():
            self.register_parameter(k.replace(".", "_"), torch.nn.Parameter(v.double(), requires_grad=False))

    def forward(self, x):
        x = x.double()
        if self.name.endswith("mlp"):
            x = x.flatten(1)
            x = F.relu(F.linear(x, self.fc1_weight, self.fc1_bias))
            x = F.relu(F.linear(x, self.fc2_weight, self.fc2_bias))
            return F.linear(x, self.fc3_weight, self.fc3_bias)
        x = F.max_pool2d(F.relu(F.conv2d(x, self.conv1_weight, self.conv1_bias, padding=self.conv1_weight.shape[-1] // 2)), 2)
        x = F.max_pool2d(F.relu(F.conv2d(x, self.conv2_weight, self.conv2_bias, padding=self.conv2_weight.shape[-1] // 2)), 2)
        x = F.linear(x.flatten(1), self.fc1_weight, self.fc1_bias)
        return F.linear(F.relu(x), self.fc2_weight, self.fc2_bias) if hasattr(self, "fc2_weight") else x


class Run:
    def __init__(self, net, x, y):
        self.net, self.x, self.y = net.eval(), x, y

    def correct(self, adv, n):
        """Checks the box, and returns which of the first n images are still right."""
        assert not torch.isnan(adv).any() and adv.min() >= 0 and adv.max() <= 1
        with torch.no_grad():
            return self.net(adv).argmax(1) == self.y[:n]

    def apart(self, adv, norm):
        """The norm of what lies between each image and the clean one."""
        d = (adv - self.x[:len(adv)]).flatten(1)
        return dict(linf=lambda: d.abs().max(1)[0], l2=lambda: d.norm(dim=1), l1=lambda: d.abs().sum(1), l0=lambda: (d != 0).sum(1).double())[norm]()

    def distances(self, run, n, norm):
        """What an attack of minimum norm finds of each of the first n images: 0 if it is wrong as it is, None if nothing is found."""
        torch.manual_seed(0)
        clean, adv = self.correct(self.x[:n], n), run(n)
        right, d = self.correct(adv, n), self.apart(adv, norm)
        return [0 if not c else None if a else float("%.6g" % v) for c, a, v in zip(clean.tolist(), right.tolist(), d.tolist())]

    def torchattacks(self, make):
        def run(eps, n, seed):
            torch.manual_seed(seed)
            x, y = self.x[:n], self.y[:n]
            if eps == 0:
                return self.correct(x, n)
            # batches of 250 are faster than 1,000 here and the result is each image's own
            return torch.cat([self.correct_part(make(eps, seed)(x[i:i + 250], y[i:i + 250]), y[i:i + 250]) for i in range(0, n, 250)])
        return run

    def correct_part(self, adv, y):
        assert adv.min() >= 0 and adv.max() <= 1 and not torch.isnan(adv).any()
        with torch.no_grad():
            return self.net(adv).argmax(1) == y

    def foolbox(self, make):
        model = fb.PyTorchModel(self.net, bounds=(0, 1), device="cpu")

        def run(eps, n, seed):
            torch.manual_seed(seed)
            out = []
            for i in range(0, n, 250):
                x, y = self.x[i:min(i + 250, n)], self.y[i:min(i + 250, n)]
                _, adv, fooled = make()(model, x, y, epsilons=[eps])
                assert ((~fooled[0]) == self.correct_part(adv[0], y)).all()
                out.append(~fooled[0])
            return torch.cat(out)
        return run

    def autoattack(self, make):
        def run(eps, n, seed):
            x, y = self.x[:n].float(), self.y[:n]
            a = make(eps, seed)
            adv = a.perturb(x, y)
            adv = adv if torch.is_tensor(adv) else adv[-1]
            return self.correct(adv, n)
        return run


def entries(r):
    """(description, run, images, eps, seeds), cheap ones first."""
    T, B, A = r.torchattacks, r.foolbox, r.autoattack
    ta_, fb_, aa_ = "torchattacks", "foolbox", "pyautoattack"
    one, mid = [0], MIDDLE[r.net.name]

    def d(attack, peer, norm="linf", **kw):
        return dict(attack=attack, peer=peer, norm=norm, **kw)
    yield d("fgsm", ta_), T(lambda e, s: ta.FGSM(r.net, eps=e)), 1000, E, one
    yield d("fgsm", fb_), B(fb.attacks.LinfFastGradientAttack), 1000, E, one
    yield d("fgm", fb_, "l2"), B(fb.attacks.L2FastGradientAttack), 1000, L2, one
    yield d("bim", ta_, steps=5, size="eps/5"), T(lambda e, s: ta.BIM(r.net, eps=e, alpha=e / 5, steps=5)), 1000, E[:13], one
    some = E[1:9] + [E[12]]
    mi, ni = (lambda e, s: ta.MIFGSM(r.net, eps=e, alpha=e / 10, steps=10, decay=1)), (lambda e, s: ta.NIFGSM(r.net, eps=e, alpha=e / 10, steps=10, decay=1))
    yield d("mi-fgsm", ta_, steps=10, size="eps/10", decay=1), T(mi), 500, some, one
    yield d("ni-fgsm", ta_, steps=10, size="eps/10", decay=1), T(ni), 500, some, one
    yield (d("pgd", ta_, steps=10, size="2.5*eps/10", start="uniform"),
           T(lambda e, s: ta.PGD(r.net, eps=e, alpha=e / 4, steps=10)), 500, mid + [E[8]], SEEDS)
    for loss in ("ce", "dlr"):
        yield (d("apgd", ta_, steps=100, loss=loss, restarts=1),
               T(lambda e, s, loss=loss: ta.APGD(r.net, norm="Linf", eps=e, steps=100, loss=loss, seed=s)), 100, mid, SEEDS)
    yield (d("pgd", fb_, "l2", steps=10, size="2.5*eps/10", start="ball"),
           B(lambda: fb.attacks.L2PGD(steps=10, rel_stepsize=0.25)), 250, L2_MIDDLE, SEEDS)
    yield (d("pgd", ta_, "l2", steps=10, size="2.5*eps/10", start="direction, then radius uniform"),
           T(lambda e, s: ta.PGDL2(r.net, eps=e, alpha=e / 4, steps=10)), 250, L2_MIDDLE, SEEDS)
    for loss in ("ce", "dlr"):
        yield (d("apgd", aa_, steps=100, loss=loss, restarts=1),
               A(lambda e, s, loss=loss: APGDAttack(r.net, n_iter=100, norm="Linf", eps=e, loss=loss, seed=s, device="cpu")), 100, mid, SEEDS)
    yield (d("apgd-targeted", aa_, steps=100, loss="dlr-targeted", restarts=1, targets=9),
           A(lambda e, s: APGDAttack_targeted(r.net, n_iter=100, norm="Linf", eps=e, seed=s, device="cpu")), 100, [mid[1]], SEEDS[:3])
    yield (d("pgd", fb_, steps=10, size="2.5*eps/10", start="uniform"), B(lambda: fb.attacks.LinfPGD(steps=10, rel_stepsize=0.25)), 500, mid, SEEDS)
    yield (d("pgd", ta_, steps=40, size="2.5*eps/40", start="uniform"),
           T(lambda e, s: ta.PGD(r.net, eps=e, alpha=e / 16, steps=40)), 250, mid, SEEDS)
    yield (d("apgd", aa_, "l2", steps=100, loss="ce", restarts=1),
           A(lambda e, s: APGDAttack(r.net, n_iter=100, norm="L2", eps=e, loss="ce", seed=s, device="cpu")), 100, L2_MIDDLE[:2], SEEDS)
    yield (d("mi-fgsm", fb_, steps=10, size="eps/10", decay=1),
           B(lambda: fb.attacks.LinfMomentumIterativeFastGradientMethod(momentum=1, steps=10, rel_stepsize=0.1, random_start=False)), 500, mid, one)
    yield (d("pgd", fb_, "l2", steps=40, size="2.5*eps/40", start="ball"),
           B(lambda: fb.attacks.L2PGD(steps=40, rel_stepsize=2.5 / 40)), 250, L2_MIDDLE, SEEDS)
    yield (d("pgd", fb_, steps=40, size="2.5*eps/40", start="uniform"),
           B(lambda: fb.attacks.LinfPGD(steps=40, rel_stepsize=2.5 / 40)), 250, mid, SEEDS)
    for norm, eps in (("linf", mid), ("l2", L2_MIDDLE)):
        make = lambda e, s, norm=norm: SquareAttack(r.net, norm=norm.capitalize(), n_queries=1000, eps=e, seed=s, resc_schedule=False, device="cpu")
        yield d("square", aa_, norm, steps=1000), A(make), 100, eps, SEEDS


class L2FMNProjected(fb.attacks.L2FMNAttack):
    """Foolbox's, with a projection: the factor of its own is min(1, norm / norm), which is 1."""

    def project(self, x, x0, epsilon):
        d = x - x0
        length = d.flatten(1).norms.l2(axis=-1).maximum(1e-12)
        return x0 + d * (epsilon / length).minimum(1).reshape((-1, 1, 1, 1))


def minimum_norm_entries(r):
    """(description, run, images) of attacks of minimum norm, cheap ones first; run(images) returns the adversarial images."""
    fb_, aa_, n = "foolbox", "pyautoattack", 100
    model = fb.PyTorchModel(r.net, bounds=(0, 1), device="cpu")

    def foolbox(make, **kw):
        return lambda n: make(**kw)(model, r.x[:n], r.y[:n], epsilons=None)[0]

    def fab(norm, targets=0):
        def run(n):
            # It cannot mix float64 logits with its float32 images: what it casts or makes in float32 is float64 here.
            torch.set_default_dtype(torch.float64)
            try:
                with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
                    return nearest(r.x[:n], r.y[:n])
            finally:
                torch.set_default_dtype(torch.float32)

        def nearest(x, y):
            a = FABAttack_PT(r.net, norm=norm.capitalize(), n_restarts=1, n_iter=100, eps=1e9, seed=0, device="cpu", n_target_classes=targets)
            if not targets:
                return a.perturb(x, y)
            # perturb leaves out, at each target, what an earlier one has fooled within eps, and eps is no limit here.
            best = x
            for target in range(2, targets + 2):
                a.target_class = target
                adv = a.attack_single_run(x, y, is_targeted=True)
                with torch.no_grad():
                    fooled, nearer = r.net(adv).argmax(1) != y, r.apart(adv, norm) < r.apart(best, norm)
                    take = fooled & (nearer | (r.net(best).argmax(1) == y))
                best = torch.where(take[:, None, None, None], adv, best)
            return best
        return run

    both, A = ("linf", "l2"), fb.attacks
    for norm in both:
        make = dict(linf=A.LinfDeepFoolAttack, l2=A.L2DeepFoolAttack)[norm]
        yield dict(attack="deepfool", peer=fb_, norm=norm, steps=50), foolbox(make, steps=50, candidates=10, overshoot=0.02), n
    for steps in (100, 1000):
        yield dict(attack="ddn", peer=fb_, norm="l2", steps=steps), foolbox(A.DDNAttack, steps=steps), n
        for norm in both:
            make = dict(linf=A.LInfFMNAttack, l2=A.L2FMNAttack)[norm]
            yield dict(attack="fmn", peer=fb_, norm=norm, steps=steps), foolbox(make, steps=steps), n
    yield dict(attack="fmn", peer=fb_, norm="l2", steps=100, projection="mended"), foolbox(L2FMNProjected, steps=100), n
    for norm in both:
        yield dict(attack="hopskipjump", peer=fb_, norm=norm, steps=16), foolbox(A.HopSkipJumpAttack, steps=16, constraint=norm), 20
    for norm in both:
        yield dict(attack="fab", peer=aa_, norm=norm, steps=100), fab(norm), n
    for norm in both:
        yield dict(attack="fab-t", peer=aa_, norm=norm, steps=100, targets=9), fab(norm, 9), n
    # L1 and L0
    P = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}
    for norm in ("l1", "l0"):
        run_ = lambda n, norm=norm: adv_lib.fmn(r.net, r.x[:n], r.y[:n], norm=P[norm], steps=100)
        yield dict(attack="fmn", peer="adv-lib", norm=norm, steps=100), run_, n
    for norm in ("l1", "l2", "linf"):
        run_ = lambda n, norm=norm: adv_lib.pdpgd(r.net, r.x[:n], r.y[:n], norm=P[norm], num_steps=500)
        yield dict(attack="pdpgd", peer="adv-lib", norm=norm, steps=500), run_, n
    for steps in (100, 1000):
        run_ = lambda n, steps=steps: adv_lib.sigma_zero(r.net, r.x[:n], r.y[:n], num_steps=steps)
        yield dict(attack="sigma-zero", peer="adv-lib", norm="l0", steps=steps), run_, n
    def alma(norm, first):
        def run(n):  # the attack cannot take float64
            return adv_lib.alma(lambda x: r.net(x).float(), r.x[:n].float(), r.y[:n], num_steps=300, distance=norm, init_lr_distance=first).double()
        return run
    for norm, first in (("l2", 0.1), ("l1", 0.5)):
        yield dict(attack="alma", peer="adv-lib", norm=norm, steps=300), alma(norm, first), n
    yield dict(attack="fab", peer=aa_, norm="l1", steps=100), fab("l1"), n
    yield dict(attack="fab-t", peer=aa_, norm="l1", steps=100, targets=9), fab("l1", 9), n


def norms(r):
    """Norms of the gradients of the mean and the sum of the loss over 250 images, which some peers add a constant to."""
    x = r.x[:1000].clone().requires_grad_(True)
    g, = torch.autograd.grad(F.cross_entropy(r.net(x), r.y[:1000], reduction="sum"), x)
    n = g.flatten(1).norm(dim=1)
    return dict(smallest=float("%.3g" % n.min()), below_1e_10=int((n < 1e-10).sum()), below_1e_10_times_250=int((n < 2.5e-8).sum()))


def save(path, out):
    """Writes out. What autoattack.py has added to the file stays at its end."""
    kept = []
    if os.path.exists(path):
        with open(path) as f:
            kept = [e for e in json.load(f)["entries"] if e["attack"] == "autoattack"]
    write(path, dict(out, entries=out["entries"] + kept))


def write(path, out):
    def line(e):
        return "  " + json.dumps(e)
    with open(path + ".part", "w") as f:
        head = {k: v for k, v in out.items() if k != "entries"}
        f.write("{\n" + "".join(f" {json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items()))
        f.write(' "entries": [\n' + ",\n".join(line(e) for e in out["entries"]) + "\n ]\n}\n")
    os.replace(path + ".part", path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for a in ("mnist", "weights", "reference", "model", "out"):
        p.add_argument("--" + a, required=True)
    p.add_argument("--only", default="", help="run only entries whose description has this text, as apgd or pyautoattack")
    p.add_argument("--have", default="", help="another file of the same model whose entries need not be run again")
    a = p.parse_args()
    x = torch.from_numpy(idx(a.mnist, "t10k-images")[:1000].astype(np.float64) / 255)[:, None]
    y = torch.from_numpy(idx(a.mnist, "t10k-labels")[:1000].astype(np.int64))
    r = Run(Net(a.model, a.weights), x, y)
    done = {}
    for path in filter(os.path.exists, (a.have, a.out)):
        with open(path) as f:
            done |= {json.dumps([e[k] for k in sorted(e) if k not in RESULTS]): e for e in json.load(f)["entries"]}
    with open(a.reference) as f:
        ref = json.load(f)[a.model]
    clean = r.correct(x, 1000)
    assert int(clean.sum()) == ref["clean_correct"]
    from importlib.metadata import version
    out = dict(format=1, model=a.model, made_with={k: version(k).split("+")[0] for k in ("torch", "torchattacks", "foolbox", "pyautoattack", "adv-lib", "numpy")},
               bounds=[0, 1], clean_correct={str(n): int(clean[:n].sum()) for n in (1000, 500, 250, 100)}, gradient_norms=norms(r), entries=[])
    for attack, key in (("fgsm", "W1"), ("bim", "W2")):
        e = dict(attack=attack, peer="reference.json", norm="linf", **(dict(steps=5, size="eps/5") if attack == "bim" else {}), images=1000, eps=E, seeds=[0],
                 correct=[ref[key + "_clipped"]["float64"]])
        out["entries"].append(dict(**e, min=e["correct"][0], max=e["correct"][0], correct_under_all=e["correct"][0]))
    for desc, run, n, eps, seeds in entries(r):
        def counts():
            ok = torch.stack([torch.stack([run(v, n, s) for v in eps]) for s in seeds])  # [seed, eps, image]
            c = ok.sum(2)
            return dict(correct=c.tolist(), min=c.min(0)[0].tolist(), max=c.max(0)[0].tolist(), correct_under_all=ok.all(0).sum(1).tolist())
        add(a, out, done, dict(**desc, images=n, eps=eps, seeds=seeds), counts)
    for desc, run, n in minimum_norm_entries(r):
        add(a, out, done, dict(**desc, images=n), lambda: dict(distances=r.distances(run, n, desc["norm"])))


def add(a, out, done, e, results):
    """Appends entry e with its results, which are those in done if it has them, and writes the file."""
    key = json.dumps([e[k] for k in sorted(e)])
    if key not in done and a.only not in json.dumps(e):
        return
    if key not in done:
        t = time.time()
        e.update(results())
        done[key] = e
        print(a.model, json.dumps(e), "%.0f s" % (time.time() - t), flush=True)
    out["entries"].append(done[key])
    save(a.out, out)


RESULTS = ("correct", "min", "max", "correct_under_all", "distances")
if __name__ == "__main__":
    main()
