"""Exports small Keras networks to ONNX through tf2onnx, with logits and gradients of the same weights in float64.

    OMP_NUM_THREADS=1 python make_keras.py

Keras is N×H×W×C: `shape` and the inputs in the JSON are in that order, as the file's own input is.
"""
import json
import os

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import keras  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf2onnx  # noqa: E402
from keras import layers as L  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
HERE = os.path.dirname(os.path.abspath(__file__))


def mlp(dtype, last=None):
    return keras.Sequential([keras.Input((4, 4), dtype=dtype), L.Flatten(dtype=dtype), L.Dense(12, "relu", dtype=dtype), L.Dense(10, "tanh", dtype=dtype),
                             L.Dense(5, last, dtype=dtype)])


def cnn(dtype, last=None):
    return keras.Sequential([
        keras.Input((8, 8, 2), dtype=dtype), L.Rescaling(2.0, -1.0, dtype=dtype), L.Conv2D(4, 3, padding="same", activation="relu", dtype=dtype),
        L.MaxPooling2D(2, dtype=dtype), L.Conv2D(5, 3, strides=2, padding="same", use_bias=False, dtype=dtype), L.BatchNormalization(dtype=dtype),
        L.ReLU(dtype=dtype), L.Flatten(dtype=dtype), L.Dense(8, "relu", dtype=dtype), L.Dropout(0.5, dtype=dtype), L.Dense(5, last, dtype=dtype)])


def residual(dtype, last=None):
    x = i = keras.Input((6, 6, 3), dtype=dtype)
    x = L.Conv2D(4, 3, padding="same", dtype=dtype)(x)
    x = L.LeakyReLU(negative_slope=0.1, dtype=dtype)(L.BatchNormalization(dtype=dtype)(x))
    y = L.Conv2D(4, 3, padding="same", activation="relu", dtype=dtype)(x)
    x = L.Add(dtype=dtype)([x, y])
    x = L.AveragePooling2D(2, dtype=dtype)(x)
    x = L.GlobalAveragePooling2D(dtype=dtype)(L.Conv2D(6, 1, activation="sigmoid", dtype=dtype)(x))
    return keras.Model(i, L.Dense(5, last, dtype=dtype)(x))


def nodes(path):
    m = onnx.load(path)
    return dict(file=os.path.basename(path), bytes=os.path.getsize(path), ir=m.ir_version, opset={o.domain or "ai.onnx": o.version for o in m.opset_import},
                producer=m.producer_name + " " + m.producer_version, nodes=sorted({n.op_type for n in m.graph.node}))


def rows(t, digits=17):
    return [[float(f"%.{digits}g" % v) for v in r] for r in np.asarray(t).reshape(len(t), -1)]


def scrub(path):
    m = onnx.load(path)
    m.doc_string = ""
    for n in m.graph.node:
        n.doc_string = ""
    onnx.save(m, path)


for name, make, last, opsets in (("keras_mlp", mlp, "softmax", (13,)), ("keras_cnn", cnn, None, (9, 18)), ("keras_residual", residual, "softmax", (9, 18))):
    keras.utils.set_random_seed(3)
    small, full = make("float32", last), make("float64")
    r = np.random.RandomState(5)
    w = [(v + r.uniform(-0.3, 0.3, v.shape)).astype(np.float32) for v in small.get_weights()]  # so that biases and averages are not 0
    for v, a in zip(small.variables, w):
        if "variance" in v.path:
            a[:] = np.abs(a) + 0.5
    small.set_weights(w), full.set_weights(w)
    shape = small.input_shape[1:]
    x = np.random.RandomState(7).randint(0, 257, (3, *shape)) / 256
    y = np.arange(3)
    with tf.GradientTape() as t:
        v = tf.constant(x)
        t.watch(v)
        z = full(v, training=False)
        loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(y, z))
    g = t.gradient(loss, v)
    want = tf.nn.softmax(z).numpy() if last else z.numpy()
    files = []
    spec = (tf.TensorSpec((None, *shape), tf.float32, name="input"),)
    for opset in opsets:
        path = os.path.join(HERE, f"{name}_tf2onnx{opset}.onnx")
        try:
            small.output_names = ["output"]  # tf2onnx still asks for it
            fn = tf.function(lambda i: small(i, training=False), input_signature=spec)
            tf2onnx.convert.from_function(fn, input_signature=spec, opset=opset, output_path=path)
            scrub(path)
            s = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            err = np.abs(s.run(None, {s.get_inputs()[0].name: x.astype(np.float32)})[0] - want).max()
            assert err < 1e-5, err
            files.append(dict(**nodes(path), onnxruntime_max_abs_error=float("%.2g" % err)))
        except Exception as e:
            print(path, type(e), str(e)[:300])
            if os.path.exists(path):
                os.remove(path)
    try:
        path = os.path.join(HERE, f"{name}_export.onnx")
        small.export(path, format="onnx", verbose=False)
        scrub(path)
        s = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        err = np.abs(s.run(None, {s.get_inputs()[0].name: x.astype(np.float32)})[0] - want).max()
        assert err < 1e-5, err
        files.append(dict(**nodes(path), onnxruntime_max_abs_error=float("%.2g" % err)))
    except Exception as e:
        print(path, type(e), str(e)[:300])
        if os.path.exists(path):
            os.remove(path)
    d = dict(format=1, shape=list(shape), labels=y.tolist(), inputs=rows(x), logits=rows(z), gradients=rows(g, 8),
             **(dict(output=last) if last else {}), files=files)
    with open(os.path.join(HERE, name + ".json"), "w") as f:
        f.write("{\n" + ",\n".join(f' "{k}": [\n  ' + ",\n  ".join(json.dumps(r) for r in v) + "\n ]" if k in ("inputs", "logits", "gradients", "files")
                                   else f' "{k}": {json.dumps(v)}' for k, v in d.items()) + "\n}\n")
