"""Trains an MLP and a CNN on MNIST by PGD adversarial training (Madry et al. 2018, arXiv:1706.06083).

    OMP_NUM_THREADS=1 python adversarial.py --mnist DIR --model adv-mlp --out adv-mlp.safetensors
    OMP_NUM_THREADS=1 python adversarial.py --mnist DIR --model adv-cnn --out adv-cnn.safetensors

Every update is of the cross-entropy at what PGD makes of the batch. The same seed, version of PyTorch and kind of CPU give the
same file. See README.md for how right the networks are.
"""
import argparse
import gzip
import json
import math
import os
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

# eps of training, epochs, images of an update
MODELS = {"adv-mlp": (0.1, 10, 100), "adv-cnn": (0.3, 2, 32)}
STEPS = 7
RATES = 1e-3, 1e-5  # Adam's first and last rate, linear between
# What a reader of the CNN's file cannot tell from the tensors, in the form of model/README.md.
LAYERS = {"input": [1, 28, 28], "layers": [
    {"type": "conv2d", "name": "conv1", "pad": 2}, {"type": "relu"}, {"type": "maxpool2d", "kernel": 2},
    {"type": "conv2d", "name": "conv2", "pad": 2}, {"type": "relu"}, {"type": "maxpool2d", "kernel": 2},
    {"type": "flatten"}, {"type": "linear", "name": "fc1"}, {"type": "relu"}, {"type": "linear", "name": "fc2"}]}


def idx(folder, stem):
    name = sorted(n for n in os.listdir(folder) if n.startswith(stem))[0]
    path = os.path.join(folder, name)
    with (gzip.open(path) if name.endswith(".gz") else open(path, "rb")) as f:
        b = f.read()
    dims = [int.from_bytes(b[4 + 4 * i:8 + 4 * i], "big") for i in range(b[3])]
    return np.frombuffer(b, np.uint8, offset=4 + 4 * b[3]).reshape(dims)


def images(folder, part):
    """Returns pixels / 255, [N, 1, 28, 28], and labels."""
    x = torch.from_numpy(idx(folder, part + "-images").astype(np.float32) / 255)[:, None]
    return x, torch.from_numpy(idx(folder, part + "-labels").astype(np.int64))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(784, 128), nn.Linear(128, 128), nn.Linear(128, 10)

    def forward(self, x):
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x.flatten(1))))))


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 5, padding=2), nn.Conv2d(16, 32, 5, padding=2)
        self.fc1, self.fc2 = nn.Linear(32 * 7 * 7, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def pgd(net, x0, y, eps, steps, size):
    """PGD in the Linf ball and the box, from a uniform start."""
    x = (x0 + eps * (2 * torch.rand_like(x0) - 1)).clamp(0, 1)
    for _ in range(steps):
        x.requires_grad_(True)
        g, = torch.autograd.grad(F.cross_entropy(net(x), y, reduction="sum"), x)
        x = x.detach() + size * g.sign()
        x = torch.minimum(torch.maximum(x, x0 - eps), x0 + eps).clamp(0, 1)
    return x


def train(net, x, y, eps, epochs, batch):
    opt = torch.optim.Adam(net.parameters())
    count, k, t = len(x) // batch, 0, time.time()
    for epoch in range(epochs):
        order = torch.randperm(len(x))
        right = 0
        for i in range(count):
            part = order[i * batch:(i + 1) * batch]
            at = k / (epochs * count)
            opt.param_groups[0]["lr"] = RATES[0] + (RATES[1] - RATES[0]) * at
            # eps grows over the first epoch: 0.3 at once leaves a network that answers the same to all.
            # The step does not, so a small ball is crossed in fewer.
            grown = min(1, (k + 1) / count)
            adv = pgd(net, x[part], y[part], eps * grown, math.ceil(STEPS * grown), 2.5 * eps / STEPS)
            logits = net(adv)
            opt.zero_grad()
            F.cross_entropy(logits, y[part]).backward()
            opt.step()
            right += int((logits.argmax(1) == y[part]).sum())
            k += 1
            if k % 200 == 0:
                print(f"epoch {epoch}, {i + 1} of {count}: {right / batch / (i + 1):.3f} right, {time.time() - t:.0f} s", flush=True)


def right(net, x, y, eps, steps):
    """Counts the images that net gets right after steps of PGD."""
    out = 0
    for i in range(0, len(x), 250):
        adv = pgd(net, x[i:i + 250], y[i:i + 250], eps, steps, 2.5 * eps / steps) if steps else x[i:i + 250]
        with torch.no_grad():
            out += int((net(adv).argmax(1) == y[i:i + 250]).sum())
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mnist", required=True, help="folder with the train and t10k IDX files, gzip or not")
    p.add_argument("--model", required=True, choices=MODELS)
    p.add_argument("--out", required=True)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(a.seed)
    eps, epochs, batch = MODELS[a.model]
    net = MLP() if a.model == "adv-mlp" else CNN()
    t = time.time()
    train(net, *images(a.mnist, "train"), eps, epochs, batch)
    print(f"{a.model}: trained in {time.time() - t:.0f} s")
    save_file(net.state_dict(), a.out, None if a.model == "adv-mlp" else {"advsweep.layers": json.dumps(LAYERS)})
    x, y = images(a.mnist, "t10k")
    print(f"right of {len(x)}: {right(net, x, y, 0, 0)}; of the first 1,000 after PGD-40 at eps {eps}: {right(net, x[:1000], y[:1000], eps, 40)}")


if __name__ == "__main__":
    main()
