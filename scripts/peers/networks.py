"""The convolutional networks that are timed, by name. Those that PEERS/conv_peers.py has are taken from there.

A network has random weights, or those that train.py wrote: a state in the folder NETS under its name. Which units are 0 depends on
training, and so does what a program gains that leaves them out.
"""
import os
import sys

import torch
import torch.nn.functional as F
from torch import nn

sys.path.insert(0, os.environ.get("PEERS", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../shared/peers")))
import conv_peers


class PreAct(nn.Module):
    """A block of a residual network with BatchNorm and activation first. Where the shape changes, the shortcut takes them too."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(i), nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(o), nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.short = nn.Conv2d(i, o, 1, stride, bias=False) if stride > 1 or i != o else None

    def forward(self, x):
        y = F.silu(self.bn1(x))
        short = x if self.short is None else self.short(y)
        return short + self.conv2(F.silu(self.bn2(self.conv1(y))))


def preact18():
    """PreActResNet-18 (He et al. 2016, arXiv:1603.05027) for 32x32, with SiLU where the paper has ReLU: nothing is 0."""
    layers, c = [nn.Conv2d(3, 64, 3, 1, 1, bias=False)], 64
    for o, stride in ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        layers.append(PreAct(c, o, stride))
        c = o
    return nn.Sequential(*layers, nn.BatchNorm2d(c), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10))


def convolution(i, o, side, stride=1, groups=1):
    return [nn.Conv2d(i, o, side, stride, side // 2, groups=groups, bias=False), nn.BatchNorm2d(o), nn.ReLU6()]


class Inverted(nn.Module):
    """An inverted residual: 1x1 to t times the channels, 3x3 in each channel by itself, 1x1 without activation."""

    def __init__(self, i, o, stride, t):
        super().__init__()
        wide = convolution(i, t * i, 1) if t > 1 else []
        self.path = nn.Sequential(*wide, *convolution(t * i, t * i, 3, stride, t * i), nn.Conv2d(t * i, o, 1, bias=False), nn.BatchNorm2d(o))
        self.residual = stride == 1 and i == o

    def forward(self, x):
        return x + self.path(x) if self.residual else self.path(x)


def mobilenet():
    """MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) with the strides that are usual at 32x32: the first two are 1."""
    layers, c = convolution(3, 32, 3), 32
    for t, o, n, stride in ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for i in range(n):
            layers.append(Inverted(c, o, stride if i == 0 else 1, t))
            c = o
    return nn.Sequential(*layers, *convolution(c, 1280, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1280, 10))


def theirs(kind, side):
    """A network of conv_peers.py, with the weights and statistics that it draws."""
    return lambda: conv_peers.network(kind, os.path.dirname(os.environ.get("WEIGHTS", "")), side)


def drawn(build):
    """A network of this file: weights by seed 0, BatchNorm with the statistics of random images, so that every layer has its usual size."""
    def make():
        torch.manual_seed(0)
        m = build()
        for b in m.modules():
            if isinstance(b, nn.BatchNorm2d):
                b.momentum = None  # the mean of all passes
        m.train()
        with torch.no_grad():
            for _ in range(2):
                m(torch.rand(16, 3, 32, 32))
        return m.eval()
    return make


NETWORKS = {
    "cnn": theirs("cnn", 28),
    "vgg": theirs("vgg", 32),
    "resnet18": theirs("resnet18", 32),
    "resnet18-224": theirs("resnet18", 224),
    "silu": drawn(preact18),
    "mobilenet": drawn(mobilenet),
}


def state(name, nets):
    """The file of a trained network in the folder nets, or None."""
    path = os.path.join(nets, name + ".pt") if nets else ""
    return path if os.path.exists(path) else None


def network(name, nets=None):
    """The network, in evaluation mode and without gradients of its weights, and whether it is trained."""
    if name not in NETWORKS:
        raise ValueError(f"no network {name}, want one of {' '.join(NETWORKS)}")
    m = NETWORKS[name]()
    if path := state(name, nets):
        m.load_state_dict(torch.load(path, weights_only=True))
    return m.eval().requires_grad_(False), path is not None or name == "cnn"
