"""Networks of real size with weights by a formula, and what float64 PyTorch says of them: writes large.json.

    OMP_NUM_THREADS=1 python large.py                # large.json
    OMP_NUM_THREADS=1 python large.py --export DIR   # also NAME.onnx by both exporters and NAME.safetensors, to try by hand

The formula, which any language repeats to the bit: number i of a tensor is float32(add + scale·u), u = (h >> 8)·2^-23 - 1 in float64, h = mix(offset + i), with
mix (the finaliser of MurmurHash3, public domain) on uint32:
    h ^= h >> 16; h *= 0x85ebca6b; h ^= h >> 13; h *= 0xc2b2ae35; h ^= h >> 16
Pixel i of all images together is (mix(2^31 + i) >> 24) / 256. Tensors count i in row-major order.
"""
import argparse
import contextlib
import io
import json
import math
import os
import warnings

import numpy as np
import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
HERE = os.path.dirname(os.path.abspath(__file__))


def mix(h):
    h = h.astype(np.uint32)
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x85EBCA6B)
    h = h ^ (h >> np.uint32(13))
    h = h * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


class Net(torch.nn.Module):
    """A list of layers as in large.json; `from` names earlier layers by index (-1: the image) where it is not the one before."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.layers, self.tensors, self.values, self.n = shape, [], [], {}, 0

    def tensor(self, name, shape, add, scale):
        n = math.prod(shape)
        u = (mix(np.arange(self.n, self.n + n)) >> np.uint32(8)).astype(np.float64) * 2.0 ** -23 - 1
        self.values[name] = torch.from_numpy((add + scale * u).astype(np.float32).reshape(shape))
        self.tensors.append(dict(name=name, shape=list(shape), offset=self.n, add=add, scale=scale))
        self.n += n
        return name

    def add(self, op, **kw):
        self.layers.append(dict(op=op, **kw))
        return len(self.layers) - 1

    def linear(self, name, i, o, bias=True):
        scale = 2.0 ** round(math.log2(math.sqrt(6 / i)))  # near Kaiming's, but a power of two
        kw = dict(weight=self.tensor(name + ".weight", (o, i), 0, scale), bias=self.tensor(name + ".bias", (o,), 0, 2.0 ** -3))
        return self.add("linear", **kw)

    def conv(self, name, i, o, k, stride=1, pad=0, bias=True, **kw):
        scale = 2.0 ** round(math.log2(math.sqrt(6 / (i * k * k))))
        kw = dict(weight=self.tensor(name + ".weight", (o, i, k, k), 0, scale), stride=stride, pad=pad, **kw)
        if bias:
            kw["bias"] = self.tensor(name + ".bias", (o,), 0, 2.0 ** -3)
        return self.add("conv", **kw)

    def bn(self, name, c):
        return self.add("batchnorm", eps=1e-5, weight=self.tensor(name + ".weight", (c,), 1, 0.25), bias=self.tensor(name + ".bias", (c,), 0, 0.25),
                        mean=self.tensor(name + ".running_mean", (c,), 0, 0.25), var=self.tensor(name + ".running_var", (c,), 1, 0.5))

    def prepare(self, dtype):
        self.p = {k: v.to(dtype) for k, v in self.values.items()}
        return self

    def forward(self, x):
        outs = []
        for layer in self.layers:
            take = [x if j == -1 else outs[j] for j in layer.get("from", [len(outs) - 1])]
            a, op, p = take[0], layer["op"], self.p
            if op == "linear":
                a = F.linear(a.flatten(1), p[layer["weight"]], p[layer["bias"]])
            elif op == "conv":
                a = F.conv2d(a, p[layer["weight"]], p[layer["bias"]] if "bias" in layer else None, layer["stride"], layer["pad"])
            elif op == "batchnorm":
                a = F.batch_norm(a, p[layer["mean"]], p[layer["var"]], p[layer["weight"]], p[layer["bias"]], eps=layer["eps"])
            elif op == "normalise":
                a = (a - torch.tensor(layer["mean"], dtype=a.dtype)[:, None, None]) / torch.tensor(layer["std"], dtype=a.dtype)[:, None, None]
            elif op == "maxpool":
                a = F.max_pool2d(a, layer["kernel"])
            elif op == "avgpool":
                a = F.avg_pool2d(a, layer["kernel"])
            elif op == "globalavgpool":
                a = F.adaptive_avg_pool2d(a, 1)
            elif op == "add":
                a = take[0] + take[1]
            else:
                a = dict(relu=F.relu, tanh=torch.tanh)[op](a)
            outs.append(a)
        return outs[-1]


def mnist_fc(hidden):
    n = Net((1, 28, 28))
    sizes = [784] + [256] * hidden + [10]
    for i in range(hidden + 1):
        n.linear(f"fc{i + 1}", sizes[i], sizes[i + 1])
        if i < hidden:
            n.add("relu")
    return n


def lenet(act, pool):
    n = Net((1, 28, 28))
    n.conv("conv1", 1, 6, 5, pad=2), n.add(act), n.add(pool, kernel=2)
    n.conv("conv2", 6, 16, 5), n.add(act), n.add(pool, kernel=2)
    n.linear("fc1", 400, 120), n.add(act), n.linear("fc2", 120, 84), n.add(act), n.linear("fc3", 84, 10)
    return n


MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]


def cifar():
    n = Net((3, 32, 32))
    n.add("normalise", mean=MEAN, std=STD)
    for i, (a, b) in enumerate(((3, 32), (32, 32), (32, 64), (64, 64))):
        n.conv(f"conv{i + 1}", a, b, 3, pad=1), n.add("relu")
        if i % 2:
            n.add("maxpool", kernel=2)
    n.linear("fc1", 4096, 256), n.add("relu"), n.linear("fc2", 256, 10)
    return n


def resnet18(width):
    """He et al. 2015, table 1, 18 layers, with the 3×3 stem without pooling that is usual for 32×32 images."""
    n = Net((3, 32, 32))
    n.add("normalise", mean=MEAN, std=STD)
    n.conv("conv1", 3, width, 3, pad=1, bias=False), n.bn("bn1", width)
    last, c = n.add("relu"), width
    for stage in range(4):
        for block in range(2):
            o, stride, name = width << stage, 2 if stage and not block else 1, f"layer{stage + 1}.{block}"
            n.conv(name + ".conv1", c, o, 3, stride, 1, bias=False, **{"from": [last]}), n.bn(name + ".bn1", o), n.add("relu")
            n.conv(name + ".conv2", o, o, 3, 1, 1, bias=False)
            main, side = n.bn(name + ".bn2", o), last
            if c != o:
                n.conv(name + ".downsample.0", c, o, 1, stride, bias=False, **{"from": [last]})
                side = n.bn(name + ".downsample.1", o)
            n.add("add", **{"from": [main, side]})
            last, c = n.add("relu"), o
    n.add("globalavgpool"), n.linear("fc", c, 10)
    return n


NETS = {
    "mnist_fc_256x2": lambda: mnist_fc(2), "mnist_fc_256x4": lambda: mnist_fc(4), "mnist_fc_256x6": lambda: mnist_fc(6),
    "lenet": lambda: lenet("relu", "maxpool"), "lenet_tanh": lambda: lenet("tanh", "avgpool"), "cifar_cnn": cifar,
    "resnet18_16": lambda: resnet18(16), "resnet18_64": lambda: resnet18(64),
}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--export")
    a = p.parse_args()
    out = []
    for name, make in NETS.items():
        n = make().prepare(torch.float64).eval()
        N = 2
        x = torch.from_numpy((mix(np.arange(N * math.prod(n.shape)) + 2 ** 31) >> np.uint32(24)).astype(np.float64).reshape(N, *n.shape) / 256)
        x.requires_grad_(True)
        z = n(x)
        y = z.argmin(1)  # the class least believed in, so that the gradient is far from 0
        g, = torch.autograd.grad(F.cross_entropy(z, y, reduction="sum"), x)
        g = g.flatten(1)
        n.prepare(torch.float32)
        err = float((n(x.detach().float()).double() - z).abs().max())
        print(name, n.n, "float32 off by", err, "logits", z.tolist()[0], flush=True)
        d = dict(name=name, shape=list(n.shape), parameters=n.n, labels=y.tolist(), logits=z.tolist(), float32_max_abs_error=float("%.2g" % err),
                 gradient_norm=g.norm(dim=1).tolist(), gradient_sum=g.sum(1).tolist(), gradient_first8=g[:, :8].tolist(),
                 gradient_argmax=g.abs().argmax(1).tolist(), layers=n.layers, tensors=n.tensors)
        out.append(d)
        if a.export:
            export(n, name, x.detach().float(), z.detach(), a.export)
    with open(os.path.join(HERE, "large.json"), "w") as f:
        f.write('{"format": 1, "networks": [\n')
        for i, d in enumerate(out):
            f.write("{" + ",\n ".join(json.dumps(k) + ": " + ("[\n  " + ",\n  ".join(json.dumps(r) for r in v) + "\n ]" if k in ("layers", "tensors") else json.dumps(v))
                                      for k, v in d.items()) + "}" + ("," if i < len(out) - 1 else "") + "\n")
        f.write("]}\n")


def export(n, name, x, want, folder):
    import onnx
    import onnxruntime
    from safetensors.torch import save_file
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.contiguous() for k, v in n.values.items()}, os.path.join(folder, name + ".safetensors"))
    for k, v in n.values.items():  # so that the exporters see weights, not constants
        n.register_buffer(k.replace(".", "_"), v)
    n.p = {k: getattr(n, k.replace(".", "_")) for k in n.values}
    for how in ("ts17", "dynamo18"):
        path = os.path.join(folder, f"{name}_{how}.onnx")
        with contextlib.redirect_stdout(io.StringIO()):
            if how == "ts17":
                torch.onnx.export(n, (x,), path, dynamo=False, opset_version=17, input_names=["input"], output_names=["logits"],
                                  dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}})
            else:
                torch.onnx.export(n, (x,), path, dynamo=True, opset_version=18, input_names=["input"], output_names=["logits"],
                                  dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False)
        onnx.checker.check_model(path)
        got = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"input": x.numpy()})[0]
        err = float(np.abs(got - want.numpy()).max() / np.abs(want.numpy()).max())
        assert err < 1e-4, err
        print("  ", path, os.path.getsize(path), "onnxruntime off by", err, "of the largest logit", flush=True)


main()
