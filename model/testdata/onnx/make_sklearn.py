"""Exports scikit-learn's MLPClassifier through skl2onnx, with float64 logits of the float32 weights in the file.

    OMP_NUM_THREADS=1 python make_sklearn.py
"""
import json
import os

import numpy as np
import onnx
import onnxruntime
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

HERE = os.path.dirname(os.path.abspath(__file__))


def f32(a):
    return a.astype(np.float32).astype(np.float64)


def rows(t, digits=17):
    return [[float(f"%.{digits}g" % v) for v in r] for r in np.asarray(t).reshape(len(t), -1)]


X, Y = load_digits(return_X_y=True)
X = X / 16
for act in ("relu", "tanh"):
    name = "sklearn_" + act
    m = MLPClassifier((8, 7), activation=act, max_iter=60, random_state=0).fit(X[:600], Y[:600])
    x, y = X[600:603], Y[600:603]

    h, zs = x, []
    for i, (w, b) in enumerate(zip(m.coefs_, m.intercepts_)):
        z = h @ f32(w) + f32(b)
        zs.append(z)
        h = np.maximum(z, 0) if act == "relu" else np.tanh(z)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    g = p.copy()
    g[np.arange(3), y] -= 1
    for i in (2, 1, 0):
        g = g @ f32(m.coefs_[i]).T
        if i:
            g = g * ((zs[i - 1] > 0) if act == "relu" else 1 - np.tanh(zs[i - 1]) ** 2)
    files = []
    for suffix, opset, options in ([("15_zipmap", 15, None)] if act == "relu" else []) + [("20" if act == "tanh" else "15", 20 if act == "tanh" else 15, {"zipmap": False})]:
        path = os.path.join(HERE, f"{name}_skl{suffix}.onnx")
        try:
            o = to_onnx(m, X[:1].astype(np.float32), target_opset={"": opset, "ai.onnx.ml": 3}, options={id(m): options} if options else None)
        except Exception as e:
            print(name, suffix, type(e), str(e)[:200])
            continue
        onnx.save(o, path)
        s = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        got = s.run(None, {s.get_inputs()[0].name: x.astype(np.float32)})[1]
        if isinstance(got, list):
            got = np.array([[r[c] for c in range(10)] for r in got])
        err = min(np.abs(got - p).max(), np.abs(got - z).max())
        assert err < 1e-5, err
        files.append(dict(file=os.path.basename(path), bytes=os.path.getsize(path), ir=o.ir_version, opset={v.domain or "ai.onnx": v.version for v in o.opset_import},
                          producer=o.producer_name + " " + o.producer_version, nodes=sorted({n.op_type for n in o.graph.node}),
                          outputs=[v.name for v in o.graph.output], onnxruntime_max_abs_error=float("%.2g" % err)))
    d = dict(format=1, shape=[64], labels=y.tolist(), inputs=rows(x), logits=rows(z), gradients=rows(g, 8), output="softmax", files=files)
    with open(os.path.join(HERE, name + ".json"), "w") as f:
        f.write("{\n" + ",\n".join(f' "{k}": [\n  ' + ",\n  ".join(json.dumps(r) for r in v) + "\n ]" if k in ("inputs", "logits", "gradients", "files")
                                   else f' "{k}": {json.dumps(v)}' for k, v in d.items()) + "\n}\n")
