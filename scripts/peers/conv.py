"""The other side of a work on a convolutional network: PyTorch, or onnxruntime where only the logits are wanted.

  conv.py --dir DIR --work WORK --write            writes what both sides take, and float64's counts, if they are not there yet
  conv.py --dir DIR --work WORK [--threads 2]      loads, warms up, prints a line; then does one sweep for each line of its input

DIR gets NETWORK.onnx, images as NPZ, and WORK.json with "float64", the counts by PyTorch in double precision with dense products.
Random images have the clean classes as labels, in float64, so that accuracy starts at 1. With --nets the networks that train.py wrote there take
the place of those with random weights, and its images and labels that of random ones.

The first line printed names the variants and how long each took warm, in ms: {"variants": {NAME: MS}, "versions", "plain"}. "plain" is the fastest
of those that conv_peers.py knows: no BatchNorm folded, one eps after the other. A line of input is the name of a variant; the answer is
{"ms", "correct"}, or with "logits" [n, classes] where only these are wanted. A sweep is written as well as we know. No weight has a gradient. The clean gradient is taken once for all eps. The loss is
logsumexp(z of the other classes) - z of the label, whose gradient has the cross-entropy's direction and does not vanish in float32.
Variants are NCHW and channels-last; BatchNorm as it stands or folded into convolutions; one eps after the other or all in one batch;
and torch.compile. Folding and one batch are tried on the fastest of the four plain ones.
"""
import argparse
import json
import os
import sys
import time

import numpy as np
import torch

from works import WORKS


def images(work, a):
    """uint8 [n, C, H, W]; and the labels, or None where they are to be the clean classes."""
    if work.network == "cnn":
        import gzip

        def read(stem, skip):
            with gzip.open(os.path.join(a.mnist, f"t10k-{stem}-ubyte.gz")) as f:
                return np.frombuffer(f.read(), np.uint8, offset=skip)
        return read("images-idx3", 16).reshape(-1, 1, 28, 28)[:work.n], read("labels-idx1", 8)[:work.n]
    from networks import state
    if state(work.network, a.nets):
        z = np.load(os.path.join(a.nets, "images.npz"))
        return z["images"][:work.n], z["labels"][:work.n]
    return (np.random.default_rng(0).random((work.n, *work.shape())) * 255).astype(np.uint8), None


def files(work, a):
    return [os.path.join(a.dir, name) for name in work.files()]


def write(name, work, a):
    """Writes what is not there yet, or is older than the network that it is made from."""
    from export import onnx
    from networks import network, state
    os.makedirs(a.dir, exist_ok=True)
    model, data = files(work, a)
    counts = os.path.join(a.dir, name + ".json")
    made = os.path.getmtime(state(work.network, a.nets)) if state(work.network, a.nets) else 0

    def wanted(path):
        return not os.path.exists(path) or os.path.getmtime(path) < made
    m, trained = network(work.network, a.nets)
    if wanted(model):
        onnx(m, work.shape(), model)
    m = m.double()
    if wanted(data):
        u, y = images(work, a)
        if y is None:
            with torch.no_grad():
                y = torch.cat([m(torch.from_numpy(v).double() / 255).argmax(1) for v in np.split(u, range(8, len(u), 8))]).numpy()
        np.savez(data, images=u, labels=y)
    if wanted(counts) or a.judge and work.k and json.load(open(counts))["float64"] is None:
        found = Sweep(m, work, data, torch.float64).run() if work.k and a.judge else None
        with open(counts, "w") as f:
            json.dump(dict(float64=found, trained=trained), f)


class Sweep:
    """Counts of the right images at each eps: x is clipped to [0, 1] and to the eps-ball after every step."""

    def __init__(self, m, work, data, dtype=torch.float32, last=False, whole=False):
        z = np.load(data)
        self.m, self.k, self.eps, self.whole = m, work.k, work.grid(), whole
        self.x, self.y = torch.from_numpy(z["images"]).to(dtype) / 255, torch.from_numpy(z["labels"].astype(np.int64))
        self.batch = work.batch or len(self.x)
        if last:
            self.x = self.x.contiguous(memory_format=torch.channels_last)

    def sign(self, x, y):
        x = x.detach().requires_grad_(True)
        z = self.m(x)
        own = z.gather(1, y[:, None])
        others = z.scatter(1, y[:, None], float("-inf"))
        return torch.autograd.grad((others.logsumexp(1) - own[:, 0]).sum(), x)[0].sign_()

    def attack(self, x, y, s, e):
        """The number of right rows of x after the attack; e is a number, or for all eps in one batch one for each row [rows, 1, 1, 1]."""
        v = (x + e / self.k * s).clamp_(0, 1)
        for _ in range(self.k - 1):
            v = torch.minimum(torch.maximum(v + e / self.k * self.sign(v, y), x - e), x + e).clamp_(0, 1)
        with torch.no_grad():
            return self.m(v).argmax(1) == y

    def run(self):
        correct = [0] * len(self.eps)
        for i in range(0, len(self.x), self.batch):
            x, y = self.x[i:i + self.batch], self.y[i:i + self.batch]
            s = self.sign(x, y)
            if self.whole:
                n, E = len(x), len(self.eps)
                e = torch.tensor(self.eps, dtype=x.dtype).repeat_interleave(n)[:, None, None, None]
                # cat keeps the layout, which repeat does not.
                right = self.attack(torch.cat([x] * E), y.repeat(E), torch.cat([s] * E), e).view(E, n).sum(1)
                correct = [c + int(r) for c, r in zip(correct, right, strict=True)]
            else:
                for j, e in enumerate(self.eps):
                    correct[j] += int(self.attack(x, y, s, e).sum())
        return correct


def clock(f):
    t = time.perf_counter()
    r = f()
    return (time.perf_counter() - t) * 1e3, r


def timed(run):
    """Warm milliseconds: the better of two sweeps after a first one."""
    run()
    return min(clock(run)[0] for _ in range(2))


def variants(work, a):
    """PyTorch's variants by name, functions that sweep, and the warm ms of each."""
    from torch.fx.experimental.optimization import fuse

    from networks import network
    data, runs, ms = files(work, a)[1], {}, {}

    def add(compiled, last, folded, whole):
        m, _ = network(work.network, a.nets)
        if folded:
            m = fuse(m)
        if last:
            m = m.to(memory_format=torch.channels_last)
        if compiled:
            m = torch.compile(m)
        words = ["torch.compile" if compiled else "eager", "channels-last" if last else "NCHW"]
        name = ", ".join(words + ["folded"] * folded + ["all eps at once"] * whole)
        runs[name] = Sweep(m, work, data, last=last, whole=whole).run
        ms[name] = timed(runs[name])
        print(f"  {name}: {ms[name]:.0f} ms", file=sys.stderr, flush=True)
        return ms[name]

    ways = [False, True] if a.compile else [False]
    plain = {(c, last): add(c, last, False, False) for c in ways for last in (False, True)}
    best = min(plain.values())
    c, last = min(plain, key=plain.get)
    folded = add(c, last, True, False) < best
    add(c, last, folded, True)
    names = list(ms)
    return runs, ms, min(names[:len(plain)], key=ms.get)


def torchs(work, a):
    torch.set_num_threads(a.threads)
    runs, ms, plain = variants(work, a)
    return runs, ms, dict(torch=torch.__version__), plain


def onnxruntime(work, a):
    """onnxruntime's one variant."""
    import onnxruntime as ort
    o = ort.SessionOptions()
    o.intra_op_num_threads = a.threads
    o.add_session_config_entry("session.force_spinning_stop", "1")  # its threads do not spin in our turn
    model, data = files(work, a)
    s = ort.InferenceSession(model, o, providers=["CPUExecutionProvider"])
    x = np.load(data)["images"].astype(np.float32) / np.float32(255)

    def run():
        return s.run(None, {"x": x})[0].tolist()
    return {"onnxruntime": run}, {"onnxruntime": timed(run)}, dict(onnxruntime=ort.__version__), "onnxruntime"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--dir", required=True)
    p.add_argument("--work", required=True, choices=list(WORKS))
    p.add_argument("--nets")
    p.add_argument("--mnist")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument("--write", action="store_true")
    p.add_argument("--judge", action=argparse.BooleanOptionalAction, default=True, help="count in float64 too")
    a = p.parse_args()
    work = WORKS[a.work]
    if a.write:
        return write(a.work, work, a)
    runs, ms, versions, plain = (torchs if work.k else onnxruntime)(work, a)
    print(json.dumps(dict(variants=ms, versions=versions, plain=plain)), flush=True)
    for line in sys.stdin:
        took, found = clock(runs[line.strip()])
        print(json.dumps({"ms": took, "correct" if work.k else "logits": found}), flush=True)


if __name__ == "__main__":
    main()
