"""Writes golden.json: what FGSM and BIM do to the embedded model, by a program that
shares no code with this project (JAX, by automatic differentiation of the usual loss).

    pip install jax==0.10.2 numpy==2.4.6 safetensors==0.8.0
    python golden.py ../../model/mnist/mlp.safetensors ../../dataset/mnist > golden.json

Pixels are v/255 divided in float64. float64: everything in float64, the gradient of
-log softmax(f(x))[y]. float32_naive: the same program in float32, where softmax - onehot loses
the sign of confident images; kept for contrast. clipped: x <- min(max(x, 0), 1) after each step.
"""
import gzip
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

jax.config.update("jax_enable_x64", True)
EPS = [i / 40 for i in range(21)]


def idx(path, head):
    return np.frombuffer(gzip.open(path).read(), np.uint8, offset=head)


weights = load_file(sys.argv[1])
pixels = idx(sys.argv[2] + "/t10k-1000-images-idx3-ubyte.gz", 16).reshape(1000, 784)
labels = idx(sys.argv[2] + "/t10k-1000-labels-idx1-ubyte.gz", 8).astype(np.int64)


def program(dtype):
    p = {k: jnp.asarray(v.astype(dtype)) for k, v in weights.items()}

    def logits(x):
        for i in (1, 2, 3):
            x = x @ p[f"fc{i}.weight"].T + p[f"fc{i}.bias"]
            x = jax.nn.relu(x) if i < 3 else x
        return x

    def loss(x, y):
        return -jnp.take_along_axis(jax.nn.log_softmax(logits(x)), y[:, None], 1).sum()

    return jnp.asarray((pixels / 255.0).astype(dtype)), jax.jit(logits), jax.jit(jax.grad(loss))


def curve(x0, logits, grad, k, clip):
    out = []
    for e in EPS:
        x = x0
        for _ in range(k):
            x = x + (x0.dtype.type(e / k)) * jnp.sign(grad(x, labels))
            x = jnp.clip(x, 0, 1) if clip else x
        out.append(int((logits(x).argmax(1) == labels).sum()))
    return out


result = {"made_with": f"jax {jax.__version__}, numpy {np.__version__}", "eps": EPS}
signs = {}
for name, dtype in (("float64", np.float64), ("float32_naive", np.float32)):
    x0, logits, grad = program(dtype)
    signs[name] = np.sign(np.asarray(grad(x0, labels)))
    result[name] = {f"k{k}_{'clipped' if clip else 'unclipped'}": curve(x0, logits, grad, k, clip) for k in (1, 5) for clip in (False, True)}
    if name == "float64":
        result["clean_correct"] = int((logits(x0).argmax(1) == labels).sum())
        g = np.asarray(grad(x0, labels))
        result["logits16"] = np.asarray(logits(x0))[:16].tolist()
        result["fgsm_0_1_logits16"] = np.asarray(logits(x0 + 0.1 * signs[name]))[:16].tolist()
        result["gradient0"] = g[0].tolist()
result["float32_naive"]["signs_that_differ"] = int((signs["float64"] != signs["float32_naive"]).sum())
json.dump(result, sys.stdout, indent=1)
print()
