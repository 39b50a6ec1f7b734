"""densities.py NETS --mnist FOLDER [--networks resnet18,vgg,mobilenet,cnn] [--n 16]: how much of each convolution's products is not 0.

NETS is what train.py wrote. BIM with k = 5 moves each image at five neighbouring eps. At its last gradient the table says for each convolution which
part of its input is not 0, and of the gradient at its output: in a row, and at any of the five eps of the image, which is what a program has
to multiply that takes five rows together. The last lines weigh each convolution by its multiply-adds.
"""
import argparse

import numpy as np
import torch
from torch import nn

import conv
from networks import network

EPS = [0.004 * i for i in range(1, 6)]


class Seen:
    """Counts of what is not 0 at one convolution: sums over images of the densities of a row and of the union of the eps."""

    def __init__(self, name, layer):
        self.name, self.layer, self.shape, self.macs = name, layer, None, 0
        self.sums = np.zeros(4)  # input: row, union; gradient: row, union

    def take(self, at, t):
        """t [eps, C, H, W], of one image."""
        on = t != 0
        self.sums[at:at + 2] += on.double().mean().item(), on.any(0).double().mean().item()

    def look(self, layer, inputs, output):
        self.take(0, inputs[0].detach())
        self.shape = (tuple(inputs[0].shape[1:]), tuple(output.shape[1:]))
        self.macs = output[0].numel() * layer.weight[0].numel()
        if output.requires_grad:
            output.register_hook(lambda g: self.take(2, g))


def measure(m, x, y):
    """A Seen for each convolution, of images x [n, C, H, W] in [0, 1]."""
    all = [Seen(name, layer) for name, layer in m.named_modules() if isinstance(layer, nn.Conv2d)]
    e = torch.tensor(EPS)[:, None, None, None]
    for one, label in zip(x, y, strict=True):
        own, labels = one[None].expand(len(EPS), *one.shape), label.expand(len(EPS))
        sweep = conv.Sweep.__new__(conv.Sweep)
        sweep.m, v = m, own
        for _ in range(4):
            v = torch.minimum(torch.maximum(v + e / 5 * sweep.sign(v, labels), own - e), own + e).clamp(0, 1)
        hooks = [s.layer.register_forward_hook(s.look) for s in all]
        sweep.sign(v, labels)
        for h in hooks:
            h.remove()
    for s in all:
        s.sums /= len(x)
    return all


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("nets")
    p.add_argument("--mnist", required=True)
    p.add_argument("--networks", default="resnet18,vgg,mobilenet,cnn")
    p.add_argument("--n", type=int, default=16)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    for name in a.networks.split(","):
        m, trained = network(name, a.nets)
        work = next(w for w in conv.WORKS.values() if w.network == name)
        u, y = conv.images(work, a)
        x = torch.from_numpy(u[:a.n]).float() / 255
        with torch.no_grad():
            y = m(x).argmax(1) if y is None else torch.from_numpy(y[:a.n].astype(np.int64))
        print(f"\n**{name}**, {'trained' if trained else 'random weights'}, {len(x)} images, eps {EPS[0]:g} to {EPS[-1]:g}\n")
        print("| convolution | input | output | kernel | input: row | union of 5 | gradient at its output: row | union of 5 |\n|---|---|---|---|--:|--:|--:|--:|")
        seen = measure(m, x, y)
        for s in seen:
            k, layer = s.layer.kernel_size, s.layer
            kind = f"{k[0]}×{k[1]}" + (f" /{layer.stride[0]}" if layer.stride[0] > 1 else "") + (f", {layer.groups} groups" if layer.groups > 1 else "")
            print(f"| {s.name} | {'×'.join(map(str, s.shape[0]))} | {'×'.join(map(str, s.shape[1]))} | {kind} | " + " | ".join(f"{v:.2f}" for v in s.sums) + " |")
        weights = np.array([s.macs for s in seen])
        mean = (np.array([s.sums for s in seen]) * weights[:, None]).sum(0) / weights.sum()
        print(f"| by multiply-adds | | | | " + " | ".join(f"{v:.2f}" for v in mean) + " |", flush=True)


if __name__ == "__main__":
    main()
