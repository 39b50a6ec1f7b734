"""What a user has before any of the programs starts: a PyTorch model, images [N, 1, 28, 28] in float32 and labels."""
import os
import sys

import numpy as np
import torch
import torch.nn as nn
from safetensors.torch import load_file

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from run import idx  # noqa: E402


def load(name, weights, mnist, n=1000):
    if name == "mlp":
        m = nn.Sequential(nn.Flatten(), nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
    else:
        m = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
                          nn.Flatten(), nn.Linear(1568, 128), nn.ReLU(), nn.Linear(128, 10))
    w = load_file(os.path.join(weights, name + ".safetensors"))
    layers = [v for v in m if hasattr(v, "weight")]
    for v, k in zip(layers, ("fc1", "fc2", "fc3") if name == "mlp" else ("conv1", "conv2", "fc1", "fc2")):
        v.load_state_dict(dict(weight=w[k + ".weight"], bias=w[k + ".bias"]))
    x = torch.from_numpy(idx(mnist, "t10k-images")[:n].astype(np.float32) / 255)[:, None]
    y = torch.from_numpy(idx(mnist, "t10k-labels")[:n].astype(np.int64))
    return m.eval(), x, y
