"""train.py OUT --mnist FOLDER [--networks resnet18,vgg,mobilenet,silu] [--steps N]: trains networks on digits in colour.

OUT gets NAME.pt (the state that networks.py reads), NAME.onnx and images.npz: test images, uint8 [N, 3, 32, 32], with their labels.
A digit of MNIST is moved by up to two pixels, its ink and its ground are blends of two random colours, and there is noise on all of it:
colours do not tell the class, and few pixels are 0. Widths and depths are the networks' own. A step takes 64 images, products in bfloat16:
of ResNet-18 a second on one core with AMX. On a busy machine one thread is faster than two, which wait for each other.
"""
import argparse
import gzip
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from export import onnx
from networks import network

BATCH, RATE = 64, 0.03


def read(mnist, part):
    def array(stem, skip):
        path = os.path.join(mnist, f"{part}-{stem}-ubyte.gz")
        with gzip.open(path) as f:
            return np.frombuffer(f.read(), np.uint8, offset=skip)
    return array("images-idx3", 16).reshape(-1, 28, 28), array("labels-idx1", 8)


def colour(digits, seed):
    """uint8 [n, 3, 32, 32] of uint8 [n, 28, 28]."""
    r, n = np.random.default_rng(seed), len(digits)
    ink = np.zeros((n, 32, 32), np.float32)
    for i, (dy, dx) in enumerate(r.integers(0, 5, (n, 2))):
        ink[i, dy:dy + 28, dx:dx + 28] = digits[i] / np.float32(255)
    across, down = np.linspace(0, 1, 32, dtype=np.float32)[None, :], np.linspace(0, 1, 32, dtype=np.float32)[:, None]

    def blend(lo, hi):
        """A colour at either end of a random direction, [n, 3, 32, 32]."""
        a, b = (r.uniform(lo, hi, (2, n, 3, 1, 1))).astype(np.float32)
        turn = r.uniform(0, 1, (n, 1, 1, 1)).astype(np.float32)
        return a + (b - a) * (turn * across + (1 - turn) * down)
    dark, light = blend(0.05, 0.45), blend(0.55, 0.95)
    swap = r.random((n, 1, 1, 1)) < 0.5
    ground, stroke = np.where(swap, light, dark), np.where(swap, dark, light)
    x = ground + (stroke - ground) * ink[:, None] + r.normal(0, 0.06, (n, 3, 32, 32)).astype(np.float32)
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)


def pixels(u):
    return torch.from_numpy(u).float() / 255


def train(name, digits, labels, steps):
    m, _ = network(name)
    for b in m.modules():
        if isinstance(b, torch.nn.BatchNorm2d):
            b.momentum = 0.1
            b.reset_running_stats()
    m.requires_grad_(True).train()
    opt = torch.optim.SGD(m.parameters(), lr=RATE, momentum=0.9, nesterov=True, weight_decay=5e-4)
    plan = torch.optim.lr_scheduler.OneCycleLR(opt, RATE, total_steps=steps)
    start = time.time()
    for i in range(steps):
        at = np.random.default_rng([1, i]).integers(0, len(digits), BATCH)
        x, y = pixels(colour(digits[at], [2, i])), torch.from_numpy(labels[at].astype(np.int64))
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(m(x).float(), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        plan.step()
        if i % 10 == 9:
            print(f"{name}: step {i + 1} of {steps}, loss {loss.item():.3f}, {time.time() - start:.0f} s", flush=True)
    return m.eval().requires_grad_(False)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("out")
    p.add_argument("--mnist", required=True)
    p.add_argument("--networks", default="resnet18,vgg,mobilenet,silu")
    p.add_argument("--steps", type=int, default=120)
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    os.makedirs(a.out, exist_ok=True)
    digits, labels = read(a.mnist, "train")
    test, truth = read(a.mnist, "t10k")
    images, truth = colour(test[:256], 3), truth[:256]
    np.savez(os.path.join(a.out, "images.npz"), images=images, labels=truth)
    for name in a.networks.split(","):
        torch.manual_seed(0)
        m = train(name, digits, labels, a.steps)
        torch.save(m.state_dict(), os.path.join(a.out, name + ".pt"))
        onnx(m, (3, 32, 32), os.path.join(a.out, name + ".onnx"))
        with torch.no_grad():
            right = sum(int((m(pixels(images[i:i + BATCH])).argmax(1).numpy() == truth[i:i + BATCH]).sum()) for i in range(0, len(images), BATCH))
        print(f"{name}: {right} of {len(images)} test images right", flush=True)


if __name__ == "__main__":
    main()
