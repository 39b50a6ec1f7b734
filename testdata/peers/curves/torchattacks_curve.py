import csv
import sys

import torch
import torchattacks
from scipy.stats import binomtest


def curve(model, x, y, eps, steps, size, out=sys.stdout):
    counts = []
    for e in eps:
        attack = torchattacks.FGSM(model, eps=e) if steps == 1 else torchattacks.PGD(model, eps=e, alpha=size * e, steps=steps)
        adv = attack(x, y)
        with torch.no_grad():
            counts.append(int((model(adv).argmax(1) == y).sum()))
    w = csv.writer(out)
    w.writerow(["eps", "correct", "n", "low", "high"])
    for e, k in zip(eps, counts):
        i = binomtest(k, len(y)).proportion_ci(method="wilson")
        w.writerow([e, k, len(y), i.low, i.high])
    return counts
