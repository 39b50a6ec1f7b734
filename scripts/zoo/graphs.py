"""graphs.py OUT COUNT [SEED]: random graphs over the operators of image classifiers at opsets 8 to 24, and the logits of onnxruntime.

OUT/gNNNN.onnx, and beside it gNNNN.npz with x [B, ...] and runtime [B, O], as export.py writes them; OUT/graphs.json says which
operators each graph has and its opset. Each node is run by onnxruntime as soon as it is drawn: a draw that it refuses, that gives no
finite numbers or none that depend on the image, is thrown away. No graph is kept whose logits one unit in the last place of the pixels
moves by more than 3e-6 of the largest: two programs in float32 could not agree on it.

To add an operator, write its function under @operator: it takes the graph g and a value v to go on from, and returns the name of its
result, or None if it has no use for v. Dimension 0 of every value is the batch, and nothing may mix images.
"""
import json
import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSETS = range(8, 25)
OPERATORS = []  # (first opset, last opset, function)


def operator(first=8, last=24, weight=1):
    def add(f):
        OPERATORS.extend([(first, last, f)] * weight)
        return f
    return add


class Thrown(Exception):
    """A draw that is of no use."""


def quiet():
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    o.log_severity_level = 4
    # Further optimisations are no judge: where weights are quantised they round the activations, too.
    o.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return o


class Graph:
    """nodes and initializers, and the array that every name stands for, for the images x."""

    SHAPES = [(3, 8, 8), (4, 6, 6), (2, 9, 7), (1, 8, 8), (4, 16), (12,)], [.25, .2, .2, .15, .1, .1]

    def __init__(self, seed):
        self.r = r = np.random.RandomState(seed)
        self.opset = int(r.choice(OPSETS))
        self.batch = 1 if r.rand() < 0.15 else 3  # a file for one image alone, or for any number
        self.nodes, self.init, self.values = [], [], {}
        self.images = 1 if self.batch == 1 else "N"  # what the file says of the batch
        self.shape = self.image_shape()
        self.values["x"] = (r.randint(0, 257, (self.batch, *self.shape)) / 256).astype(np.float32)

    def image_shape(self):
        shapes, often = self.SHAPES
        return shapes[self.r.choice(len(shapes), p=often)]

    # What draws use.

    def pick(self, *options):
        return options[self.r.randint(len(options))]

    def int(self, lo, hi):
        return int(self.r.randint(lo, hi + 1))

    def w(self, *shape):
        """Weights that keep the size of what they are multiplied with."""
        return (self.r.randn(*shape) / max(1, np.prod(shape[1:])) ** 0.5).astype(np.float32)

    def gain(self, *shape):
        return (self.r.rand(*shape) + 0.5).astype(np.float32)

    def const(self, a):
        """The name of a constant: an initializer or a node."""
        a = np.asarray(a)
        name = f"c{len(self.values)}"
        self.values[name] = a
        if self.r.rand() < 0.5:
            self.init.append(numpy_helper.from_array(a, name))
        else:
            self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(a)))
        return name

    def ints(self, *v):
        return self.const(np.array(v, np.int64))

    def node(self, op, *inputs, outputs=1, **attributes):
        """Adds a node and runs it. Inputs are names or arrays; "" is left out. Returns its first output's name, or all."""
        names = [i if isinstance(i, str) else self.const(i) for i in inputs]
        out = [f"v{len(self.values) + k}" for k in range(outputs)]
        n = helper.make_node(op, names, out, **attributes)
        feed = {i: self.values[i] for i in names if i}
        graph = helper.make_graph([n], "g", [helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for k, v in feed.items()],
                                  [onnx.ValueInfoProto(name=o) for o in out])
        try:
            got = onnxruntime.InferenceSession(self.model(graph).SerializeToString(), quiet(), providers=["CPUExecutionProvider"]).run(None, feed)
        except Exception as e:
            raise Thrown(f"{op}: {str(e)[:100]}") from None
        self.nodes.append(n)
        self.values.update(zip(out, got))
        return out[0] if outputs == 1 else out

    def model(self, graph):
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)

    def of(self, name):
        return self.values[name].shape

    def rank(self, name):
        return self.values[name].ndim

    def another(self, v, fits):
        """Another value that fits, or None."""
        names = [n for n in self.pool if n != v and fits(self.of(n))]
        return names[self.r.randint(len(names))] if names else None

    def axis(self, v):
        """A dimension that is not the batch, counted from either end."""
        a = self.int(1, self.rank(v) - 1)
        return a - self.rank(v) if self.r.rand() < 0.4 else a

    # Operators whose form depends on the opset.

    def with_axes(self, op, v, axes, since, **attributes):
        """An operator that has axes as an attribute before opset since, and then as an input."""
        if self.opset < since:
            return self.node(op, v, axes=list(axes), **attributes)
        return self.node(op, v, self.ints(*axes), **attributes)

    def positive(self, v):
        return self.node("Add", self.node("Abs", v), np.float32(0.5))

    def slice(self, v, starts, ends, axes, steps=None):
        if self.opset < 10:
            if steps and any(s != 1 for s in steps):
                raise Thrown("Slice without steps")
            return self.node("Slice", v, starts=list(starts), ends=list(ends), axes=list(axes))
        return self.node("Slice", v, self.ints(*starts), self.ints(*ends), self.ints(*axes), *([self.ints(*steps)] if steps else []))

    def reshape(self, v, dims):
        """dims without the batch. The batch is 0, or what Shape says, with one of the others -1 at times."""
        dims, how = list(dims), self.int(0, 3)
        if how == 0:
            return self.node("Reshape", v, self.ints(0, *dims))
        if how == 1:
            dims[self.int(0, len(dims) - 1)] = -1
            return self.node("Reshape", v, self.ints(0, *dims))
        if how == 2:
            return self.node("Reshape", v, self.ints(-1, *dims))
        n = self.node("Gather", self.node("Shape", v), self.ints(0), axis=0)
        return self.node("Reshape", v, self.node("Concat", n, self.ints(*dims), axis=0))


# Operators that keep the shape.

def elementwise(op, first=8, **attributes):
    @operator(first)
    def f(g, v):
        return g.node(op, v, **{k: d(g) if callable(d) else d for k, d in attributes.items()})
    f.__name__ = op


for op in "Relu Softplus Softsign Sigmoid Tanh Elu Selu HardSigmoid LeakyRelu Abs Neg Sin Cos".split():
    elementwise(op)
elementwise("Relu")
elementwise("Elu", alpha=lambda g: 0.5 + g.r.rand())
elementwise("LeakyRelu", alpha=lambda g: g.r.rand() / 2)
elementwise("HardSigmoid", alpha=lambda g: 0.1 + g.r.rand() / 3, beta=lambda g: g.r.rand())
elementwise("Selu", alpha=lambda g: 1 + g.r.rand(), gamma=lambda g: 0.5 + g.r.rand())
elementwise("ThresholdedRelu", 10, alpha=lambda g: g.r.rand() / 2)
elementwise("Celu", 12, alpha=lambda g: 0.5 + g.r.rand())
elementwise("Erf", 9)
elementwise("HardSwish", 14)
elementwise("Mish", 18)
elementwise("Swish", 24, alpha=lambda g: 0.5 + g.r.rand())
elementwise("Gelu", 20, approximate=lambda g: g.pick("none", "tanh"))
elementwise("Identity")


@operator()
def clip(g, v):
    lo, hi = g.pick((-0.5, 0.5), (0.0, 6.0), (None, 0.3), (0.0, None))
    if g.opset < 11:
        return g.node("Clip", v, **{k: b for k, b in (("min", lo), ("max", hi)) if b is not None})
    return g.node("Clip", v, *["" if b is None else np.float32(b) for b in ((lo, hi) if hi is not None else (lo,))])


@operator()
def prelu(g, v):
    slope = g.gain(*([1] if g.r.rand() < 0.3 else [g.of(v)[1]] + [1] * (g.rank(v) - 2))) / 3
    return g.node("PRelu", v, slope)


@operator()
def exp(g, v):
    return g.node("Exp", v) if np.abs(g.values[v]).max() < 2 else None


@operator()
def log(g, v):
    return g.node("Log", g.positive(v))


@operator()
def sqrt(g, v):
    return g.node("Sqrt", g.positive(v))


@operator()
def reciprocal(g, v):
    return g.node("Reciprocal", g.positive(v))


@operator()
def power(g, v):
    p = g.pick(2.0, 3.0, 0.5, -0.5, 1.0, 1.5)
    return g.node("Pow", v if p in (2, 3, 1) else g.positive(v), np.float32(p))


def operand(g, v):
    """A constant that broadcasts against v, of any rank up to its own."""
    s = list(g.of(v)[1:])
    keep = g.int(0, len(s))
    s = s[len(s) - keep:]
    return g.w(*[d if g.r.rand() < 0.6 else 1 for d in s]) * 0.5 + 1 if s else np.float32(0.5 + g.r.rand())


@operator(weight=3)
def with_constant(g, v):
    op, c = g.pick("Add", "Sub", "Mul", "Div", "Min", "Max"), operand(g, v)
    if op == "Div":
        c = np.abs(c) + np.float32(0.5)
    return g.node(op, *((v, c) if g.r.rand() < 0.6 or op == "Div" else (c, v)))


@operator(weight=3)
def of_two(g, v):
    def fits(s):
        a = g.of(v)
        return all(x == y or 1 in (x, y) for x, y in zip(a[::-1], s[::-1])) and len(s) == len(a)
    u = g.another(v, fits)
    if u is None:
        return None
    op = g.pick("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean")
    return g.node(op, v, g.positive(u) if op == "Div" else u)


@operator()
def of_three(g, v):
    u, t = (g.another(v, lambda s: s == g.of(v)) for _ in range(2))
    return g.node(g.pick("Sum", "Mean", "Max", "Min"), v, u, t) if u and t else None


@operator(9)
def where(g, v):
    mask = g.r.rand(*g.of(v)[1:]) < 0.6
    other = g.another(v, lambda s: s == g.of(v))
    a = (v, other if other and g.r.rand() < 0.5 else np.float32(0.25))
    return g.node("Where", mask, *(a if g.r.rand() < 0.5 else a[::-1]))


@operator(9)
def where_computed(g, v):
    """A mask that nodes compute from constants."""
    c = g.w(*g.of(v)[1:])
    op = g.pick("Greater", "Less", "Equal") if g.opset > 10 else g.pick("Greater", "Less")
    mask = g.node(op, c, np.float32(0.1))
    return g.node("Where", g.node("Not", mask) if g.r.rand() < 0.3 else mask, v, g.w(1))


@operator()
def dropout(g, v):
    return g.node("Dropout", v) if g.opset >= 12 else g.node("Dropout", v, ratio=0.25)


@operator()
def cast(g, v):
    return g.node("Cast", v, to=TensorProto.FLOAT)


# Convolutions, pools and norms.

def is_image(g, v):
    return g.rank(v) == 4 and min(g.of(v)[2:]) >= 2


@operator(weight=4)
def conv(g, v):
    if not is_image(g, v):
        return None
    n, c, h, w = g.of(v)
    k = [min(g.int(1, 5), h), min(g.int(1, 5), w)]
    group = g.pick(*[d for d in (1, 1, 2, 3, 4, c) if c % d == 0])
    o = group * g.int(1, max(1, 6 // group))
    a = dict(group=group) if group > 1 or g.r.rand() < 0.5 else {}
    if g.r.rand() < 0.6:
        a["strides"] = [g.int(1, 2), g.int(1, 2)]
    how = g.int(0, 4)
    if how == 0:
        a["auto_pad"] = g.pick("SAME_UPPER", "SAME_LOWER", "VALID")
    else:
        if how < 3:
            a["pads"] = [g.int(0, d - 1) for d in k * 2]
        if all((d - 1) * 2 < s for d, s in zip(k, (h, w))) and g.r.rand() < 0.4:
            a["dilations"] = [g.int(1, 2), g.int(1, 2)]
    if g.r.rand() < 0.5:
        a["kernel_shape"] = k
    return g.node("Conv", v, g.w(o, c // group, *k), *([g.w(o)] if g.r.rand() < 0.6 else []), **a)


@operator()
def conv1d(g, v):
    if g.rank(v) != 3 or g.of(v)[2] < 3:
        return None
    return g.node("Conv", v, g.w(g.int(2, 5), g.of(v)[1], 3), pads=[g.int(0, 2), g.int(0, 2)])


@operator(weight=2)
def conv_transpose(g, v):
    if not is_image(g, v) or max(g.of(v)[2:]) > 10:
        return None
    c = g.of(v)[1]
    group = g.pick(*[d for d in (1, 1, 2, c) if c % d == 0])
    k, s = g.int(1, 4), g.int(1, 2)
    a = dict(group=group, strides=[s, s])
    if g.r.rand() < 0.5:
        a["pads"] = [g.int(0, (k - 1) // 2) for _ in range(4)]
    if s == 2 and g.r.rand() < 0.5:
        a["output_padding"] = [g.int(0, 1), g.int(0, 1)]
    if g.r.rand() < 0.2:
        a["dilations"] = [2, 1]
    o = g.int(1, 3)
    return g.node("ConvTranspose", v, g.w(c, o, k, k), *([g.w(group * o)] if g.r.rand() < 0.6 else []), **a)


def pool(g, v, op):
    if not is_image(g, v):
        return None
    h, w = g.of(v)[2:]
    k = [min(g.int(1, 4), h), min(g.int(1, 4), w)]
    a = dict(kernel_shape=k)
    if g.r.rand() < 0.7:
        a["strides"] = [g.int(1, 3), g.int(1, 3)]
    how = g.int(0, 4)
    if how == 0:
        a["auto_pad"] = g.pick("SAME_UPPER", "SAME_LOWER", "VALID")
    elif how < 3:
        a["pads"] = [g.int(0, d // 2) for d in k * 2]
    if op == "AveragePool" and g.r.rand() < 0.5:
        a["count_include_pad"] = 1
    if g.opset >= 10 and how and g.r.rand() < 0.4:
        a["ceil_mode"] = 1
    if g.opset >= (10 if op == "MaxPool" else 19) and how and g.r.rand() < 0.3 and all(2 * d - 1 <= s for d, s in zip(k, (h, w))):
        a["dilations"] = [g.int(1, 2), g.int(1, 2)]
    return g.node(op, v, **a)


@operator(weight=2)
def max_pool(g, v):
    return pool(g, v, "MaxPool")


@operator(weight=2)
def average_pool(g, v):
    return pool(g, v, "AveragePool")


@operator()
def global_pool(g, v):
    return g.node(g.pick("GlobalAveragePool", "GlobalMaxPool"), v) if is_image(g, v) else None


@operator(weight=2)
def batch_norm(g, v):
    c = g.of(v)[1]
    if g.rank(v) == 2 and g.opset < 9:
        return None
    return g.node("BatchNormalization", v, g.gain(c), g.w(c), g.w(c) * np.float32(0.3), g.gain(c), epsilon=float(g.pick(1e-5, 1e-3)))


@operator()
def instance_norm(g, v):
    if not is_image(g, v):
        return None
    c = g.of(v)[1]
    return g.node("InstanceNormalization", v, g.gain(c), g.w(c), epsilon=1e-3)


@operator(18)
def group_norm(g, v):
    if not is_image(g, v):
        return None
    c = g.of(v)[1]
    groups = g.pick(*[d for d in (1, 2, c) if c % d == 0])
    n = groups if g.opset < 21 else c
    return g.node("GroupNormalization", v, g.gain(n), g.w(n), num_groups=groups, epsilon=1e-3)


@operator(17)
def layer_norm(g, v):
    a = g.axis(v)
    s = g.of(v)[a:]
    if np.prod(s) < 2:
        return None
    return g.node("LayerNormalization", v, g.gain(*s), *([g.w(*s)] if g.r.rand() < 0.7 else []), axis=a, epsilon=1e-3)


@operator(23)
def rms_norm(g, v):
    a = g.axis(v)
    return g.node("RMSNormalization", v, g.gain(*g.of(v)[a:]), axis=a, epsilon=1e-3)


@operator()
def lrn(g, v):
    return g.node("LRN", v, size=g.pick(1, 3, 5), alpha=0.1, beta=0.75, bias=1.5) if is_image(g, v) else None


@operator()
def l2_norm(g, v):
    return g.node("LpNormalization", g.node("Add", v, np.float32(0.3)), axis=g.axis(v), p=2)


# Shapes.

@operator()
def concat(g, v):
    a = g.axis(v) % g.rank(v)
    def fits(s):
        return len(s) == g.rank(v) and all(i == a or d == e for i, (d, e) in enumerate(zip(s, g.of(v))))
    u = g.another(v, fits)
    parts = [v, u or g.node("Neg", v)]
    if g.r.rand() < 0.2 and g.batch == 1:
        parts.append(g.w(1, *g.of(v)[1:]))
    return g.node("Concat", *parts, axis=a - g.pick(0, g.rank(v)) if g.opset >= 11 else a)


@operator()
def split(g, v):
    a = g.axis(v)
    d = g.of(v)[a]
    if d < 2:
        return None
    k = g.int(1, d - 1)
    if g.r.rand() < 0.4 and d % 2 == 0:
        extra = dict(num_outputs=2) if g.opset >= 18 else {}
        p, q = g.node("Split", v, outputs=2, axis=a, **extra)
    elif g.opset < 13:
        p, q = g.node("Split", v, outputs=2, axis=a, split=[k, d - k])
    else:
        p, q = g.node("Split", v, g.ints(k, d - k), outputs=2, axis=a)
    g.pool.append(p)
    return q


@operator(weight=2)
def slices(g, v):
    a = g.axis(v)
    d = g.of(v)[a]
    if d < 2:
        return None
    start = g.int(0, d - 1)
    end = g.pick(2**31 - 1, g.int(start + 1, d))
    if g.r.rand() < 0.3:
        start -= d
    if g.opset >= 10 and g.r.rand() < 0.3:
        if g.r.rand() < 0.3:
            return g.slice(v, [-1], [-2**31], [a], [-1])  # backwards
        return g.slice(v, [start], [end], [a], [2])
    return g.slice(v, [start], [end], [a])


@operator()
def slice_by_shape(g, v):
    """Up to half of a dimension, computed: Shape, Gather, Div, Slice."""
    if g.opset < 10:
        return None
    a = g.axis(v) % g.rank(v)
    if g.of(v)[a] < 2:
        return None
    half = g.node("Div", g.node("Gather", g.node("Shape", v), g.ints(a), axis=0), g.ints(2))
    return g.node("Slice", v, g.ints(0), half, g.ints(a))


@operator()
def gather(g, v):
    a = g.axis(v)
    d = g.of(v)[a]
    if g.r.rand() < 0.3 and g.rank(v) > 2:
        return g.node("Gather", v, np.int64(g.int(0, d - 1)), axis=a)
    at = g.r.randint(-d if g.opset >= 11 else 0, d, g.int(1, d + 1))
    return g.node("Gather", v, np.array(at, np.int64), axis=a)


@operator(11)
def gather_range(g, v):
    """Every second element, by Range and Mod."""
    a = g.axis(v) % g.rank(v)
    d = g.node("Squeeze", g.node("Gather", g.node("Shape", v), g.ints(a), axis=0), **({} if g.opset >= 13 else dict(axes=[0])))
    at = g.node("Range", np.int64(0), d, np.int64(2))
    return g.node("Gather", v, g.node("Mod", at, d), axis=a)


@operator(weight=2)
def transpose(g, v):
    p = [0, *(1 + g.r.permutation(g.rank(v) - 1)).tolist()]
    return g.node("Transpose", v, perm=p)


def factors(g, n):
    """Two to four numbers whose product is n."""
    dims = [n]
    for _ in range(g.int(1, 3)):
        k = g.int(0, len(dims) - 1)
        divisors = [d for d in range(2, dims[k]) if dims[k] % d == 0]
        if divisors:
            d = g.pick(*divisors)
            dims[k:k + 1] = [d, dims[k] // d]
    return dims


@operator(weight=2)
def reshape(g, v):
    return g.reshape(v, factors(g, int(np.prod(g.of(v)[1:]))))


@operator()
def flatten(g, v):
    return g.node("Flatten", v, axis=1) if g.r.rand() < 0.7 else g.node("Flatten", v)


@operator()
def squeeze(g, v):
    axes = [i for i in range(1, g.rank(v)) if g.of(v)[i] == 1]
    return g.with_axes("Squeeze", v, axes, 13) if axes and g.rank(v) - len(axes) >= 2 else None


@operator()
def unsqueeze(g, v):
    return g.with_axes("Unsqueeze", v, [g.int(1, g.rank(v))], 13) if g.rank(v) < 5 else None


@operator()
def expand(g, v):
    axes = [i for i in range(1, g.rank(v)) if g.of(v)[i] == 1]
    if not axes:
        return None
    s = [1] + [3 if i in axes else g.pick(1, d) for i, d in enumerate(g.of(v)) if i]
    return g.node("Expand", v, g.ints(*s))


@operator(9)
def expand_constant(g, v):
    """A token for every image, by Shape and Expand, and then Concat, as a class token is put in front."""
    if g.rank(v) != 3:
        return None
    n = g.node("Gather", g.node("Shape", v), g.ints(0), axis=0)
    c = g.of(v)[2]
    token = g.node("Expand", g.w(1, 1, c), g.node("Concat", n, g.ints(-1 if g.r.rand() < 0 else 1, c), axis=0))
    return g.node("Concat", token, v, axis=1)


@operator()
def tile(g, v):
    if np.prod(g.of(v)[1:]) > 200:
        return None
    return g.node("Tile", v, g.ints(1, *(g.int(1, 2) for _ in range(g.rank(v) - 1))))


@operator(weight=2)
def pad(g, v):
    mode = g.pick("constant", "reflect", "edge")
    s = g.of(v)
    most = [min(2, d - 1) if mode == "reflect" else 2 for d in s]
    spatial = range(2 if g.rank(v) == 4 and g.r.rand() < 0.7 else 1, g.rank(v))
    begin, end = ([g.int(0, most[i]) if i in spatial else 0 for i in range(g.rank(v))] for _ in range(2))
    if g.opset < 11:
        return g.node("Pad", v, mode=mode, pads=begin + end, **(dict(value=0.25) if mode == "constant" and g.r.rand() < 0.4 else {}))
    return g.node("Pad", v, g.ints(*begin, *end), *([np.float32(0.25)] if mode == "constant" and g.r.rand() < 0.4 else []), mode=mode)


@operator()
def crop(g, v):
    """Pads below zero take away."""
    if not is_image(g, v) or min(g.of(v)[2:]) < 4:
        return None
    p = [0, 0, -1, 0, 0, 0, 0, -1]
    return g.node("Pad", v, pads=p) if g.opset < 11 else g.node("Pad", v, g.ints(*p))


@operator()
def depth_to_space(g, v):
    if not is_image(g, v) or g.of(v)[1] % 4:
        return None
    return g.node("DepthToSpace", v, blocksize=2, **(dict(mode=g.pick("DCR", "CRD")) if g.opset >= 11 else {}))


@operator()
def space_to_depth(g, v):
    return g.node("SpaceToDepth", v, blocksize=2) if is_image(g, v) and all(d % 2 == 0 for d in g.of(v)[2:]) else None


@operator(weight=2)
def resize(g, v):
    if not is_image(g, v) or max(g.of(v)[2:]) > 10:
        return None
    mode = g.pick("nearest", "linear")
    scales = np.array([1, 1, g.pick(1, 2), g.pick(1, 2, 3)], np.float32)
    if g.opset < 9:
        return g.node("Upsample", v, mode=mode, scales=scales.tolist())
    if g.opset == 9:
        return g.node("Upsample", v, scales, mode=mode)
    if g.opset == 10:
        return g.node("Resize", v, scales, mode=mode)
    if mode == "nearest":
        a = dict(coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    else:
        a = dict(coordinate_transformation_mode=g.pick("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"))
    roi = "" if g.opset >= 13 else np.zeros(0, np.float32)
    if g.r.rand() < 0.5:
        return g.node("Resize", v, roi, scales, mode=mode, **a)
    n, c, h, w = g.of(v)
    sizes = g.node("Concat", g.slice(g.node("Shape", v), [0], [2], [0]), g.ints(g.int(1, 2 * h), g.int(1, 2 * w)), axis=0)
    return g.node("Resize", v, roi, "" if g.opset >= 13 else np.zeros(0, np.float32), sizes, mode=mode, **a)


# Products, sums, attention.

@operator(weight=2)
def matmul_constant(g, v):
    return g.node("MatMul", v, g.w(g.of(v)[-1], g.int(2, 6)).astype(np.float32))


@operator()
def matmul_left(g, v):
    return g.node("MatMul", g.w(g.int(2, 5), g.of(v)[-2]), v) if g.rank(v) >= 3 else None


@operator(weight=2)
def matmul_two(g, v):
    if g.rank(v) < 3:
        return None
    u = g.another(v, lambda s: len(s) == g.rank(v) and s[:-2] == g.of(v)[:-2] and s[-1] == g.of(v)[-1]) or v
    p = list(range(g.rank(v)))
    p[-2:] = p[:-3:-1]
    return g.node("Mul", g.node("MatMul", v, g.node("Transpose", u, perm=p)), np.float32(1 / g.of(v)[-1]))


@operator()
def attention(g, v):
    """Softmax of scaled products of three maps of v, as transformers write it."""
    if g.rank(v) != 3:
        return None
    n, t, c = g.of(v)
    q, k, u = (g.node("MatMul", v, g.w(c, 4)) for _ in range(3))
    s = g.node("Div", g.node("MatMul", q, g.node("Transpose", k, perm=[0, 2, 1])), np.float32(2))
    return g.node("MatMul", g.node("Softmax", s, axis=-1 if g.opset >= 13 else 2), u)


@operator()
def gemm(g, v):
    if g.rank(v) != 2:
        return None
    o, a = g.int(2, 6), dict(transB=g.int(0, 1))
    b = g.w(o, g.of(v)[1])
    if g.r.rand() < 0.4:
        a.update(alpha=0.5, beta=1.5)
    return g.node("Gemm", v, b if a["transB"] else b.T.copy(), g.pick(g.w(o), g.w(1, o), np.float32(0.5)), **a)


@operator()
def softmax(g, v):
    if g.opset < 13:  # over all that follows axis, too
        return g.node(g.pick("Softmax", "LogSoftmax"), v, axis=g.axis(v) % g.rank(v))
    return g.node(g.pick("Softmax", "LogSoftmax"), v, axis=g.axis(v))


@operator(weight=3)
def reduce(g, v):
    op = g.pick("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare", "ReduceProd")
    if g.rank(v) < 3:
        return None
    axes = sorted(g.r.permutation(g.rank(v) - 1)[:g.int(1, g.rank(v) - 2)] + 1)
    if op == "ReduceProd" and np.prod([g.of(v)[a] for a in axes]) > 8:
        return None
    axes = [int(a) - g.pick(0, g.rank(v)) if g.opset >= 11 else int(a) for a in axes]
    return g.with_axes(op, v, axes, 13 if op == "ReduceSum" else 18, keepdims=g.int(0, 1))


@operator(12)
def einsum(g, v):
    if g.rank(v) == 3:
        if g.r.rand() < 0.5:
            return g.node("Mul", g.node("Einsum", v, v, equation="nij,nkj->nik"), np.float32(0.25))
        return g.node("Einsum", v, g.w(g.of(v)[2], 4), equation="bij,jk->bik")
    if g.rank(v) == 4:
        return g.node("Einsum", v, g.w(g.of(v)[1], 3), equation="nchw,ck->nkhw")
    return None


# What quantised networks have. Rounding is only of numbers that every program has to the bit: the image, and constants.

@operator(10)
def quantised_weights(g, v):
    w, s = g.w(g.of(v)[-1], 4), np.float32(2**-6)
    q = g.node("QuantizeLinear", w, s, np.int8(0)) if g.r.rand() < 0.5 else np.clip(np.rint(w / s), -128, 127).astype(np.int8)
    return g.node("MatMul", v, g.node("DequantizeLinear", q, s, np.int8(0)))


@operator(10)
def quantised_image(g, v):
    if v != "x":
        return None
    s, zero = np.float32(g.pick(2**-5, 2**-7)), np.uint8(g.pick(0, 5))
    return g.node("DequantizeLinear", g.node("QuantizeLinear", v, s, zero), s, zero)


def draw(seed, kind=Graph, operators=OPERATORS, most=14):
    """Returns a graph of up to most values that operators give, or raises Thrown."""
    g = kind(seed)
    g.pool = ["x"]
    fits = [f for first, last, f in operators if first <= g.opset <= last]
    wanted = g.int(min(3, most), most)
    for _ in range(8 * wanted):
        if len(g.pool) > wanted:
            break
        v = g.pool[-1] if g.r.rand() < 0.75 else g.pool[g.int(0, len(g.pool) - 1)]
        before = len(g.nodes), len(g.init), list(g.pool)
        try:
            name = g.pick(*fits)(g, v)
            if name is None:
                raise Thrown("no use")
            a = g.values[name]
            if a.dtype != np.float32 or a.ndim < 2 or a.shape[0] != g.batch or a.size == 0 or a[0].size > 3000:
                raise Thrown("shape")
            if not np.isfinite(a).all() or not 1e-3 < np.abs(a).max() < 100 or np.ptp(a) < 1e-3:
                raise Thrown("size")
            g.pool.append(name)
        except Thrown:
            del g.nodes[before[0]:], g.init[before[1]:]
            g.pool = before[2]
    # The logits take the last value, and another one at times.
    v = g.pool[-1]
    if g.rank(v) == 4 and g.r.rand() < 0.4:
        v = g.node("GlobalAveragePool", v)
    parts = [v] + [u for u in g.pool[-4:-1] if g.r.rand() < 0.3]
    flat = [g.node("Flatten", u) if g.rank(u) != 2 or g.r.rand() < 0.2 else u for u in parts]
    v = g.node("Concat", *flat, axis=1) if len(flat) > 1 else flat[0]
    g.node("Gemm", v, g.w(5, g.of(v)[1]), g.w(5), transB=1)
    return g


def write(out, name, g):
    logits = g.nodes[-1].output[0]
    # What the logits do not need is left out, as an exporter does.
    need, kept = {logits}, []
    for n in reversed(g.nodes):
        if need & set(n.output):
            kept.insert(0, n)
            need |= set(n.input)
    if "x" not in need:
        raise Thrown("constant")
    dims = [g.images, *g.shape]
    graph = helper.make_graph(kept, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
                              [helper.make_tensor_value_info(logits, TensorProto.FLOAT, [dims[0], 5])], [t for t in g.init if t.name in need])
    proto = g.model(graph)
    x = g.values["x"]
    try:
        s = onnxruntime.InferenceSession(proto.SerializeToString(), quiet(), providers=["CPUExecutionProvider"])
        z = s.run(None, {"x": x})[0]
        near = s.run(None, {"x": x * np.float32(1 + 2**-23)})[0]
    except Exception as e:
        raise Thrown(str(e)[:100]) from None
    top = np.abs(z).max()
    if not np.isfinite(z).all() or top < 1e-2 or np.abs(near - z).max() > 3e-6 * top or (len(z) > 1 and np.abs(z - z[0]).max() < 1e-3 * top):
        raise Thrown("ill-conditioned")
    onnx.save(proto, out / f"{name}.onnx")
    np.savez(out / f"{name}.npz", x=x.astype(np.float64), labels=np.zeros(len(x), np.int32), runtime=z)
    return dict(opset=g.opset, operators=sorted({n.op_type for n in kept}), nodes=len(kept))


def main(draw):
    out, count, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    out.mkdir(parents=True, exist_ok=True)
    rows, thrown, k = {}, {}, 0
    while len(rows) < count:
        name = f"g{len(rows):04}"
        try:
            rows[name] = write(out, name, draw(seed * 100_000 + k))
        except Thrown as e:
            thrown[str(e)] = thrown.get(str(e), 0) + 1
        k += 1
    (out / "graphs.json").write_text(json.dumps(rows, indent=0, sort_keys=True))
    used = sorted({o for r in rows.values() for o in r["operators"]})
    print(f"{count} graphs of {k} drawn, {len(used)} operators: {' '.join(used)}")
    print("thrown away:", thrown)


if __name__ == "__main__":
    main(draw)
