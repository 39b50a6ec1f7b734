"""trained.py MNIST OUT [NAME ...]: trains small networks of six families on MNIST, and says what FGSM and BIM do to them in float64.

MNIST is the folder of the training images. NAME.onnx has the float32 weights as they were trained. NAME.json has how many of the first
N of the 1,000 test images of dataset/mnist are right at each eps under FGSM and BIM of three steps, by PyTorch in float64: in it
FGSM and BIM are written again, with the gradient of PyTorch's cross-entropy.
"""
import gzip
import json
import pathlib
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import small
from common import export, off, runtime, seed_of
from small import ChannelsLast, ConvNeXtBlock, Dense, Gate, Residual, ViTBlock, bottleneck, cbr, conv, head, inverted

small.CLASSES = 10
EPS = [0.0, 0.02, 0.05, 0.1, 0.2]
FEW, ALL = 100, 1000
HERE = pathlib.Path(__file__).parent


def efficientnet():
    silu = nn.SiLU
    return nn.Sequential(cbr(1, 8, 3, 2, act=silu), inverted(8, 8, 24, 3, 1, silu, Gate(24, 4, silu, by_mean=True)),
                         inverted(8, 16, 32, 5, 2, silu, Gate(32, 4, silu, by_mean=True)), cbr(16, 48, 1, act=silu), head(48, 10))


def densenet():
    return nn.Sequential(conv(1, 12, 3, 2), Dense(12, 8), Dense(20, 8), nn.BatchNorm2d(28), nn.ReLU(), conv(28, 16, 1), nn.AvgPool2d(2, 2),
                         Dense(16, 8), Dense(24, 8), nn.BatchNorm2d(32), nn.ReLU(), head(32, 10))


class ViT(nn.Module):
    """Heads are 16 wide, so that 1/√d is a float32 number."""

    def __init__(self, c=32):
        super().__init__()
        self.conv, self.token, self.pos = nn.Conv2d(1, c, 7, 7), nn.Parameter(torch.randn(1, 1, c) * 0.02), nn.Parameter(torch.randn(1, 17, c) * 0.02)
        self.blocks, self.norm, self.head = nn.Sequential(ViTBlock(c, 2), ViTBlock(c, 2)), nn.LayerNorm(c), nn.Linear(c, 10)

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.pos
        return self.head(self.norm(self.blocks(x))[:, 0])


def convnext():
    return nn.Sequential(nn.Conv2d(1, 16, 4, 4), ChannelsLast(16), ConvNeXtBlock(16), ConvNeXtBlock(16), ChannelsLast(16), nn.Conv2d(16, 32, 2, 2), ConvNeXtBlock(32),
                         nn.AdaptiveAvgPool2d(1), ChannelsLast(32), nn.Flatten(), nn.Linear(32, 10))


def resnext():
    return nn.Sequential(cbr(1, 16, 3, 2), bottleneck(16, 32, 16, 4), nn.ReLU(), bottleneck(32, 32, 32, 8, 2), nn.ReLU(), head(32, 10))


def gnresnet():
    def f(i, o, s):
        return nn.Sequential(Residual(conv(i, o, 3, s), nn.GroupNorm(4, o), nn.ReLU(), conv(o, o), nn.GroupNorm(4, o),
                                      shortcut=nn.Sequential(conv(i, o, 1, s), nn.GroupNorm(4, o)) if i != o else None), nn.ReLU())
    return nn.Sequential(conv(1, 12, 3, 2), nn.GroupNorm(4, 12), nn.ReLU(), f(12, 12, 1), f(12, 24, 2), head(24, 10))


def lenet():
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(200, 32), nn.Tanh(), nn.Linear(32, 10))


# name: module, exporter, opset
NETS = {
    "lenet": (lenet, "script", 17),
    "efficientnet": (efficientnet, "script", 14),
    "densenet": (densenet, "script", 12),
    "vit": (ViT, "dynamo", 20),
    "convnext": (convnext, "dynamo", 20),
    "resnext": (resnext, "script", 13),
    "gnresnet": (gnresnet, "script", 17),
}


def idx(path, shape, start):
    return np.frombuffer(gzip.open(path).read(), np.uint8, offset=start).reshape(shape)


def train(model, x, y, epochs=2, batch=128):
    opt = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(opt, 4e-3, total_steps=steps)
    model.train()
    for k in range(steps):
        if k % (len(x) // batch) == 0:
            order = torch.randperm(len(x))
        at = order[k % (len(x) // batch) * batch:][:batch]
        opt.zero_grad()
        F.cross_entropy(model(x[at]), y[at]).backward()
        opt.step()
        schedule.step()
    return model.eval()


def sign(model, x, y):
    x = x.clone().requires_grad_()
    F.cross_entropy(model(x), y, reduction="sum").backward()
    return x.grad.sign()


def curve(model, x0, y, steps):
    """How many are right at each of EPS, for [FEW, ALL] of the images. Each step is eps/steps, then clipped to the ball and to [0, 1]."""
    rights = []
    for e in EPS:
        right = []
        for a in range(0, len(x0), 250):
            clean, labels = x0[a:a + 250], y[a:a + 250]
            x = clean
            for _ in range(steps if e else 0):
                x = x + e / steps * sign(model, x, labels)
                x = torch.minimum(torch.maximum(x, clean - e), clean + e).clamp(0, 1)
            with torch.no_grad():
                right.append(model(x).argmax(1) == labels)
        right = torch.cat(right)
        rights.append([int(right[:n].sum()) for n in (FEW, ALL)])
    return {str(n): [r[k] for r in rights] for k, n in enumerate((FEW, ALL))}


if __name__ == "__main__":
    mnist, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    x = torch.tensor(idx(f"{mnist}/train-images-idx3-ubyte.gz", (-1, 1, 28, 28), 16) / np.float32(255))
    y = torch.tensor(idx(f"{mnist}/train-labels-idx1-ubyte.gz", -1, 8).astype(np.int64))
    test = HERE.parent.parent / "dataset/mnist"
    x0 = torch.tensor(idx(test / "t10k-1000-images-idx3-ubyte.gz", (-1, 1, 28, 28), 16) / 255.0)
    labels = torch.tensor(idx(test / "t10k-1000-labels-idx1-ubyte.gz", -1, 8).astype(np.int64))
    for name in sys.argv[3:] or NETS:
        build, exporter, opset = NETS[name]
        torch.manual_seed(seed_of(name))
        start = time.time()
        model = train(build(), x, y)
        seconds = time.time() - start
        path = out / f"{name}.onnx"
        export(model, x0[:2], path, exporter, opset, plain=True)
        model = model.double()
        with torch.no_grad():
            z = model(x0[:100]).numpy()
        away = off(runtime(path, x0[:100].numpy()), z)
        row = dict(eps=EPS, bounds=[0, 1], fgsm=curve(model, x0, labels, 1), bim3=curve(model, x0, labels, 3))
        (out / f"{name}.json").write_text(json.dumps(row) + "\n")
        print(f"{name}: {path.stat().st_size:,} bytes, trained in {seconds:.0f} s, onnxruntime within {away:.1e}, fgsm {row['fgsm']['1000']}, bim {row['bim3']['1000']}", flush=True)
        assert away < 1e-5
