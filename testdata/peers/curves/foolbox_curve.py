import csv
import sys

import foolbox as fb
from scipy.stats import binomtest


def curve(model, x, y, eps, steps, size, out=sys.stdout):
    fmodel = fb.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = fb.attacks.LinfFastGradientAttack() if steps == 1 else fb.attacks.LinfPGD(steps=steps, rel_stepsize=size)
    _, _, fooled = attack(fmodel, x, y, epsilons=eps)
    counts = (~fooled).sum(1).tolist()
    w = csv.writer(out)
    w.writerow(["eps", "correct", "n", "low", "high"])
    for e, k in zip(eps, counts):
        i = binomtest(k, len(y)).proportion_ci(method="wilson")
        w.writerow([e, k, len(y), i.low, i.high])
    return counts
