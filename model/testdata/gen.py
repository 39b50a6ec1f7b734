"""Makes the safetensors files beside it and golden.json, what they hold.

    python gen.py

Made with Python 3.11.7, numpy 2.4.6, safetensors 0.8.0, ml_dtypes 0.6.0
(bfloat16 for numpy). The files are the same byte for byte each time.

f32, f16, bf16, f64: one type each. mixed: one layer of each type.
golden.json: for each file the layers in the order in which they are applied,
with weights and biases as exact float64 numbers; null for no bias.
"""
import json
import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

TYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "f64": np.float64}
# The extremes of each type beside ordinary numbers: -0, the least subnormal, the
# largest subnormal, the least normal and the largest number.
EDGES = {
    "f32": [0x80000000, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF],
    "f16": [0x8000, 1, 0x03FF, 0x0400, 0x7BFF],
    "bf16": [0x8000, 1, 0x007F, 0x0080, 0x7F7F],
    "f64": [1 << 63, 1, (1 << 52) - 1, 1 << 52, (0x7FF << 52) - 1],
}
UINT = {2: np.uint16, 4: np.uint32, 8: np.uint64}
rng = np.random.default_rng(0)
golden = {}


def weights(kind, shape):
    a = rng.normal(size=shape).astype(TYPES[kind])
    edges = np.array(EDGES[kind], UINT[a.dtype.itemsize]).view(a.dtype)
    a.reshape(-1)[1 : 1 + len(edges)] = edges
    return a


def save(name, layers, **options):
    save_file({k: v for _, pair in layers for k, v in pair.items()}, name + ".safetensors", **options)
    golden[name] = [
        {
            "name": layer,
            "weight": [[float(v) for v in row] for row in pair[layer + ".weight"]],
            "bias": [float(v) for v in pair[layer + ".bias"]] if layer + ".bias" in pair else None,
        }
        for layer, pair in layers
    ]


def layer(name, kind, o, i, bias=True):
    pair = {name + ".weight": weights(kind, (o, i))}
    if bias:
        pair[name + ".bias"] = rng.normal(size=o).astype(TYPES[kind])
    return name, pair


# nn.Sequential beyond ten modules: 2 comes before 10.
save("f32", [layer("net.0", "f32", 5, 3), layer("net.2", "f32", 5, 5), layer("net.10", "f32", 2, 5)], metadata={"format": "pt"})
save("f16", [layer("fc1", "f16", 3, 4), layer("fc2", "f16", 4, 3)])
# Words in an order that only the shapes tell: input, hidden, output.
save("bf16", [layer("input", "bf16", 3, 4), layer("hidden", "bf16", 5, 3), layer("output", "bf16", 2, 5, bias=False)])
save("f64", [layer("fc1", "f64", 10, 7)])
save("mixed", [layer("0", "bf16", 3, 4), layer("2", "f64", 3, 3), layer("4", "f16", 3, 3), layer("6", "f32", 2, 3)])
with open("golden.json", "w") as f:
    json.dump(golden, f, indent=0)
    f.write("\n")
