"""Writes golden_cnn.json: what FGSM and BIM do to the embedded convolutional network in float64, by a program that
shares no code with this project (PyTorch, by automatic differentiation of its cross-entropy).

    pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0
    python golden_cnn.py ../../model/mnist/cnn.safetensors ../../dataset/mnist > golden_cnn.json

clipped: x <- min(max(x, 0), 1) after each step. k1: FGSM at every eps, all 1,000 images. k5: five steps, at the first 200.
"""
import gzip
import json
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

EPS = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3]


def idx(path, head):
    return np.frombuffer(gzip.open(path).read(), np.uint8, offset=head)


w = {k: torch.tensor(v.astype(np.float64)) for k, v in load_file(sys.argv[1]).items()}
pixels = idx(sys.argv[2] + "/t10k-1000-images-idx3-ubyte.gz", 16).reshape(1000, 1, 28, 28)
x0 = torch.tensor(pixels / 255.0)
labels = torch.tensor(idx(sys.argv[2] + "/t10k-1000-labels-idx1-ubyte.gz", 8).astype(np.int64))


def logits(x):
    for i in (1, 2):
        x = F.max_pool2d(F.relu(F.conv2d(x, w[f"conv{i}.weight"], w[f"conv{i}.bias"], padding=1)), 2)
    return F.linear(x.flatten(1), w["fc1.weight"], w["fc1.bias"])


def sign(x, y):
    x = x.clone().requires_grad_()
    F.cross_entropy(logits(x), y, reduction="sum").backward()
    return x.grad.sign()


def curve(n, k, clip):
    out, first = [], sign(x0[:n], labels[:n])
    for e in EPS:
        x = x0[:n]
        for step in range(k):
            x = x + e / k * (first if step == 0 else sign(x, labels[:n]))
            x = x.clamp(0, 1) if clip else x
        with torch.no_grad():
            out.append(int((logits(x).argmax(1) == labels[:n]).sum()))
    return out


result = {"made_with": f"torch {torch.__version__}, numpy {np.__version__}", "eps": EPS}
for k, n in ((1, 1000), (5, 200)):
    for clip in (False, True):
        result[f"k{k}_" + ("clipped" if clip else "unclipped")] = curve(n, k, clip)
with torch.no_grad():
    result["logits"] = logits(x0[:3]).tolist()
print(json.dumps(result))
