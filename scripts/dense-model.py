"""dense-model.py WEIGHTS MNIST OUT [SHARE]: the model of WEIGHTS with the biases of each hidden layer raised, all by the same number, until
SHARE (default 0.7) of its units are active on the first 1,000 test images. A program that leaves out what is 0 gains less on it.

The next layer's biases take back the mean of what that adds, so that the model still classifies. Needs numpy.
"""
import json
import os
import sys

import numpy as np

sys.path.insert(0, os.environ["PEERS"])  # its readers
from common import idx, safetensors

weights, mnist, out = sys.argv[1:4]
share = float(sys.argv[4]) if len(sys.argv) > 4 else 0.7
p = {k: v.astype(np.float64) for k, v in safetensors(weights).items()}
x = idx(mnist, "t10k-images")[:1000].reshape(1000, -1) / 255
y = idx(mnist, "t10k-labels")[:1000]
layers = len(p) // 2
for i in range(1, layers):
    u = x @ p[f"fc{i}.weight"].T + p[f"fc{i}.bias"]
    raised = u - min(0, np.quantile(u, 1 - share))
    p[f"fc{i}.bias"] += (raised - u)[0, 0]
    x, before = np.maximum(raised, 0), np.maximum(u, 0)
    p[f"fc{i + 1}.bias"] -= (x - before).mean(0) @ p[f"fc{i + 1}.weight"].T
    print(f"fc{i}: {(u > 0).mean():.3f} of the units were active, now {(x > 0).mean():.3f}", file=sys.stderr)
z = x @ p[f"fc{layers}.weight"].T + p[f"fc{layers}.bias"]
print(f"{(z.argmax(1) == y).sum()} of 1,000 images right", file=sys.stderr)

head, at = {}, 0
for k, v in p.items():
    head[k] = dict(dtype="F32", shape=v.shape, data_offsets=[at, at + 4 * v.size])
    at += 4 * v.size
head = json.dumps(head, separators=(",", ":")).encode()
head += b" " * (-len(head) % 8)
with open(out, "wb") as f:
    f.write(len(head).to_bytes(8, "little") + head)
    for v in p.values():
        f.write(v.astype("<f4").tobytes())
