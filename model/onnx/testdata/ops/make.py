"""Writes small ONNX graphs, each with operators in forms that exporters seldom write, and what onnxruntime gives.

    python make.py

NAME.onnx and ops.json: for each the inputs [3][...] as the file takes them, `turn` if they are N×H×W×C, and the logits. The weights are random
(NumPy, seed of the graph's number). Made with Python 3.11, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
"""
import json
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
everything = []


class G:
    """A graph that is being written: node(op, inputs) returns the output's name, and arrays become initializers."""

    def __init__(self, name, shape, opset=17):
        self.name, self.shape, self.opset = name, shape, opset
        self.rng = np.random.RandomState(len(everything))
        self.nodes, self.init = [], []

    def w(self, *shape):
        return (self.rng.uniform(-1, 1, shape) / max(1, np.prod(shape[1:])) ** 0.5).astype(np.float32)

    def const(self, a):
        name = f"c{len(self.init)}"
        self.init.append(numpy_helper.from_array(np.asarray(a), name))
        return name

    def node(self, op, *inputs, outputs=1, **attributes):
        names = [i if isinstance(i, str) else self.const(i) for i in inputs]
        out = [f"v{len(self.nodes)}" + "abc"[k] for k in range(outputs)]
        self.nodes.append(helper.make_node(op, names, out, name=f"{op}{len(self.nodes)}", **attributes))
        return out[0]

    def conv(self, x, o, i, k, bias=True, **attributes):
        return self.node("Conv", x, self.w(o, i, k, k), *([self.w(o)] if bias else []), **attributes)

    def fc(self, x, i, o=4):
        return self.node("Gemm", x, self.w(o, i), self.w(o), transB=1)

    def head(self, x, i, o=4):
        return self.fc(self.node("Flatten", x), i, o)

    def done(self, *outputs, turn=False, batch="N"):
        shape = ([] if batch is None else [batch]) + list(self.shape)
        graph = helper.make_graph(
            self.nodes, self.name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs], self.init)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.save(model, os.path.join(HERE, self.name + ".onnx"))
        x = (self.rng.randint(0, 257, (3, *self.shape)) / 256).astype(np.float32)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        want = [session.run([outputs[0]], {"x": v if batch is None else v[None]})[0].ravel() for v in x]
        everything.append(dict(name=self.name, shape=self.shape, turn=turn, inputs=x.reshape(3, -1).tolist(), logits=[v.tolist() for v in want]))


def i64(*v):
    return np.array(v, np.int64)


def f32(*v):
    return np.array(v, np.float32)


g = G("same", [2, 5, 6])
x = g.conv("x", 3, 2, 2, auto_pad="SAME_UPPER", strides=[2, 2])
x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_LOWER")
x = g.node("AveragePool", x, kernel_shape=[2, 3], strides=[2, 1], auto_pad="SAME_UPPER")
g.done(g.head(g.conv(x, 3, 3, 1, auto_pad="VALID"), 18))

g = G("pad", [2, 4, 5], 18)  # zeros before a convolution, an average and, after Relu, a max-pool
x = g.node("Pad", "x", i64(0, 0, 1, 2, 0, 0, 0, 1))
x = g.node("Relu", g.conv(x, 3, 2, 3, pads=[1, 0, 0, 0]))
x = g.node("Pad", x, i64(1, 1, 0, 1), "", i64(2, -1))
x = g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
x = g.node("Pad", x, i64(0, 0, 0, 0, 0, 0, 1, 1), f32(0)[0])
g.done(g.head(g.node("AveragePool", x, kernel_shape=[2, 2]), 18))

g = G("ceil", [1, 7, 6])
x = g.node("MaxPool", "x", kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1)
x = g.node("AveragePool", g.conv(x, 2, 1, 1), kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 0], ceil_mode=1)
g.done(g.head(x, 12))

g = G("gemm", [6])
x = g.node("Gemm", "x", g.w(6, 5), g.w(1, 5), alpha=0.5, beta=2.0)
x = g.node("Gemm", g.node("Sigmoid", x), g.w(5, 5), f32(0.25)[0])
g.done(g.node("Gemm", x, g.w(4, 5), transB=1))

g = G("columns", [6, 1])
x = g.node("Add", g.node("MatMul", g.w(5, 6), "x"), g.w(5, 1))
g.done(g.node("Add", g.node("MatMul", g.w(4, 5), g.node("Relu", x)), g.w(4, 1)), batch=None)

g = G("row", [6])
g.done(g.node("Add", g.node("MatMul", g.node("Relu", g.node("MatMul", "x", g.w(6, 5))), g.w(5, 4)), g.w(4)), batch=None)

g = G("clip9", [6], 9)
g.done(g.fc(g.node("Clip", g.fc("x", 6, 5), min=0.0), 5))

g = G("clip13", [6], 13)
x = g.node("Clip", g.fc("x", 6, 5), f32(0)[0], f32(np.inf)[0])
g.done(g.fc(g.node("Clip", x), 5))

g = G("channels_last", [4, 3, 2])  # all in N×H×W×C but for the convolutions
x = g.node("Mul", g.node("Sub", "x", f32(0.5, 0.25)), f32(2, 4))
x = g.node("Transpose", g.node("Pad", x, i64(0, 1, 0, 0, 0, 0, 1, 0)), perm=[0, 3, 1, 2])
x = g.node("Transpose", g.conv(x, 3, 2, 2, bias=False), perm=[0, 2, 3, 1])
x = g.node("Relu", g.node("Add", x, g.w(3)))
y = g.node("Transpose", g.conv(g.node("Transpose", x, perm=[0, 3, 1, 2]), 3, 3, 1), perm=[0, 2, 3, 1])
x = g.node("Div", g.node("Add", y, x), f32(2, 3, 4).reshape(1, 1, 1, 3))
g.done(g.fc(g.node("Reshape", x, i64(-1, 36)), 36), turn=True)

g = G("channels_last_mlp", [4, 5, 3])  # nothing but the sizes tells it
g.done(g.fc(g.node("Relu", g.fc(g.node("Reshape", "x", i64(0, -1)), 60, 5)), 5), turn=True)

g = G("turns", [2, 3, 4])  # orders that a Linear's columns must follow
x = g.node("Transpose", g.conv("x", 3, 2, 1), perm=[0, 3, 1, 2])
x = g.node("Reshape", x, i64(0, 2, 6, 3))
x = g.node("Transpose", x, perm=[0, 2, 1, 3])
g.done(g.fc(g.node("Flatten", x, axis=-3), 36))

g = G("ranks", [1, 12, 1])  # a row that becomes an image
x = g.node("Unsqueeze", g.node("Squeeze", "x", i64(1, 3)), i64(1, 2))
x = g.node("Mul", g.node("Reshape", x, i64(-1, 1, 3, 4)), f32(2)[0])
g.done(g.head(g.conv(x, 2, 1, 2), 12))

g = G("ranks9", [1, 3, 4], 9)
x = g.node("Unsqueeze", g.node("Squeeze", "x", axes=[1]), axes=[1])
g.done(g.head(g.node("ReduceMean", g.conv(x, 5, 1, 2), axes=[-1, -2]), 5))

g = G("mean_image", [2, 3, 4])
x = g.node("Sub", "x", g.w(1, 2, 3, 4))
g.done(g.fc(g.node("Relu", g.fc(g.node("Flatten", x), 24, 5)), 5))

g = G("gelus", [6])
x = g.fc("x", 6, 5)
x = g.node("Mul", g.node("Mul", x, f32(0.5)[0]), g.node("Add", f32(1)[0], g.node("Erf", g.node("Mul", x, f32(2 ** -0.5)[0]))))
x = g.fc(x, 5, 5)
x3 = g.node("Mul", g.node("Mul", x, x), x)
t = g.node("Tanh", g.node("Add", g.node("Mul", x, f32((2 / np.pi) ** 0.5)[0]), g.node("Mul", x3, f32((2 / np.pi) ** 0.5 * 0.044715)[0])))
x = g.fc(g.node("Add", g.node("Mul", g.node("Mul", f32(0.5)[0], x), t), g.node("Mul", f32(0.5)[0], x)), 5, 5)
x = g.node("Sub", f32(3)[0], g.node("Mul", x, f32(4)[0]))  # an affine map, then GELU of that
x = g.node("Mul", x, g.node("Add", g.node("Mul", g.node("Erf", g.node("Div", x, f32(2 ** 0.5)[0])), f32(0.5)[0]), f32(0.5)[0]))
g.done(g.fc(x, 5))

g = G("formulas", [6])  # what is no GELU falls into layers
x = g.fc("x", 6, 5)
x = g.node("Add", g.node("Mul", g.node("Tanh", g.node("Mul", x, f32(2)[0])), f32(3)[0]), f32(1)[0])
x = g.fc(x, 5, 5)
x = g.node("Add", x, g.node("Tanh", x))
x = g.fc(x, 5, 5)
x = g.node("Sub", g.node("Neg", x), x)
x = g.fc(x, 5, 5)
g.done(g.fc(g.node("Sub", g.node("Sigmoid", x), x), 5))

g = G("norms", [5], 9)
bn = lambda x, c: g.node("BatchNormalization", x, g.w(c), g.w(c), g.w(c), abs(g.w(c)) + 0.5, epsilon=1e-3)
g.done(bn(g.fc(bn("x", 5), 5), 4))

g = G("global_max", [2, 3, 4])
g.done(g.head(g.node("GlobalMaxPool", g.conv("x", 3, 2, 2)), 3))

g = G("two_outputs", [6], 13)
z = g.fc("x", 6)
g.done(z, g.node("Softmax", z))

g = G("no_ops", [6])
x = g.node("Dropout", g.node("Identity", "x"), f32(0.5)[0], outputs=2)
g.done(g.fc(g.node("Cast", g.node("Relu", g.fc(x, 6, 5)), to=TensorProto.FLOAT), 5))

g = G("sizes", [2, 3, 4])  # a shape by arithmetic
s = g.node("Shape", "x")
rest = g.node("ReduceProd", g.node("Slice", s, i64(1), i64(9), i64(0)), keepdims=1)
x = g.node("Reshape", "x", g.node("Concat", g.node("Slice", s, i64(0), i64(1)), rest, axis=0))
half = g.node("Div", g.node("Mul", g.node("Gather", s, i64(2), axis=0), i64(3)), g.node("Gather", s, np.int64(-2), axis=0))
x = g.node("Reshape", x, g.node("Concat", i64(0), half, i64(-1), axis=0))
g.done(g.head(x, 24))

g = G("shared", [2, 4, 4])  # a value without its bias is used too, and so is a Scale
y = g.conv("x", 2, 2, 1, bias=False)
z = g.node("Add", y, g.w(1, 2, 1, 1))
s = g.node("Mul", g.node("Relu", z), g.w(2, 1, 1))
t = g.node("Add", s, g.w(2, 1, 1))
g.done(g.head(g.node("Add", g.node("Add", s, t), y), 32))

with open(os.path.join(HERE, "ops.json"), "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(e) for e in everything) + "\n]\n")
