"""Makes counts.json: how many of the first N embedded images the embedded model gets right in NumPy's
float64, under what golden.py makes of them, and under the transformations of the spatial grid as
scipy.ndimage.map_coordinates makes them; "worst" is under all of these.

Made with the versions of golden.py, N = 100, by
    python counts.py 100 > counts.json
"""

import gzip
import json
import struct
import sys

import numpy as np
from scipy.ndimage import map_coordinates

from golden import KINDS

N = int(sys.argv[1])


def idx(name, skip):
    return np.frombuffer(gzip.open("../../dataset/mnist/" + name).read(), np.uint8)[skip:]


images = idx("t10k-1000-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:N]
labels = idx("t10k-1000-labels-idx1-ubyte.gz", 8)[:N]
data = open("../../model/mnist/mlp.safetensors", "rb").read()
start = 8 + struct.unpack("<Q", data[:8])[0]
tensors = {}
for name, t in json.loads(data[8:start]).items():
    if name != "__metadata__":
        lo, hi = t["data_offsets"]
        kind = {"F32": np.float32, "F16": np.float16}[t["dtype"]]
        tensors[name] = np.frombuffer(data[start + lo:start + hi], kind).reshape(t["shape"]).astype(float)


def right(x):
    z = x.reshape(len(x), -1)
    for name in ("fc1", "fc2", "fc3"):
        z = z @ tensors[name + ".weight"].T + tensors[name + ".bias"]
        if name != "fc3":
            z = np.maximum(z, 0)
    return z.argmax(axis=1) == labels


counts = {"n": N, "clean": int(right(images / 255).sum()), "corruptions": {}, "transformations": []}
for kind, constants in KINDS:
    counts["corruptions"][kind.__name__] = [
        int(right(np.array([np.uint8(np.clip(kind(i[..., None] / 255, c), 0, 1) * 255) for i in images]) / 255).sum())
        for c in constants]
always = np.ones(N, bool)
rows, columns = np.mgrid[0:28, 0:28] - 13.5
for turn in np.deg2rad(np.linspace(-30, 30, 5)):
    for down in np.linspace(-3, 3, 5):
        for shift in np.linspace(-3, 3, 5):
            y, x = rows - down, columns - shift
            at = [np.sin(turn) * x + np.cos(turn) * y + 15.5, np.cos(turn) * x - np.sin(turn) * y + 15.5]
            moved = [map_coordinates(np.pad(i / 255, 2), at, order=1, mode="constant") for i in images]
            now = right(np.array(moved))
            always &= now
            counts["transformations"].append(int(now.sum()))
counts["worst"] = int(always.sum())
print(json.dumps(counts))
