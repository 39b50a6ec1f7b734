import csv
import sys

import torch
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescentPyTorch
from art.estimators.classification import PyTorchClassifier
from scipy.stats import binomtest


def curve(model, x, y, eps, steps, size, out=sys.stdout):
    x, y = x.numpy(), y.numpy()
    c = PyTorchClassifier(model, torch.nn.CrossEntropyLoss(), x.shape[1:], 10, clip_values=(0, 1), device_type="cpu")
    counts = []
    for e in eps:
        if steps == 1:
            attack = FastGradientMethod(c, eps=e, batch_size=len(x))
        else:
            step = size * e or 1  # a step of 0 is refused
            attack = ProjectedGradientDescentPyTorch(c, eps=e, eps_step=step, max_iter=steps, num_random_init=1, batch_size=len(x), verbose=False)
        adv = attack.generate(x, y)
        counts.append(int((c.predict(adv, batch_size=len(x)).argmax(1) == y).sum()))
    w = csv.writer(out)
    w.writerow(["eps", "correct", "n", "low", "high"])
    for e, k in zip(eps, counts):
        i = binomtest(k, len(y)).proportion_ci(method="wilson")
        w.writerow([e, k, len(y), i.low, i.high])
    return counts
