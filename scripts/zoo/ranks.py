"""ranks.py OUT COUNT [SEED]: small random graphs of ranks 2 to 6 whose shapes are full of ones, for how values are broadcast.

OUT gets what graphs.py writes. The operators are those of graphs.py that take values of any rank, and some of their own: constants of
more and of fewer axes than the value, on either side, axes that go elsewhere and come back, and the batch anywhere among the axes.
"""
import numpy as np

import graphs
from graphs import Graph, Thrown, operator

SAME = """with_constant of_two of_three where where_computed batch_norm layer_norm rms_norm l2_norm concat split slices gather transpose reshape
squeeze unsqueeze expand tile pad matmul_constant matmul_left matmul_two softmax reduce clip prelu Relu Identity gemm einsum flatten""".split()
first = len(graphs.OPERATORS)


class Ranks(Graph):
    """Images of 1 to 5 axes, each of 1 to 6 numbers, and of not many in all. Some files are for three images alone."""

    def __init__(self, seed):
        super().__init__(seed)
        if self.batch > 1 and self.r.rand() < 0.2:
            self.images = self.batch

    def image_shape(self):
        while True:
            shape = tuple(self.pick(1, 1, 2, 2, 3, 4, 5, 6) for _ in range(self.int(1, 5)))
            if 2 <= np.prod(shape) <= 240:
                return shape


def beside(g, shape):
    """A constant that is broadcast with what has a shape, either of them along an axis, of as many axes or fewer."""
    s = [g.pick(1, d, d) if d > 1 else g.pick(1, 1, 2, 3) for d in shape]
    s = s[g.int(0, len(s)):]
    return np.asarray(0.5 + g.r.rand(*s), np.float32)


def with_beside(g, v, c):
    op = g.pick("Add", "Sub", "Mul", "Div", "Max", "Min")
    a = [v, c] if g.r.rand() < 0.6 or op == "Div" else [c, v]
    return g.node(op, *a)


@operator(weight=6)
def both_ways(g, v):
    shape = [1, *g.of(v)[1:]]
    c = beside(g, shape)
    if c.ndim == len(shape) and len(c) > 1:
        c = c[:1]
    return with_beside(g, v, c)


@operator(weight=2)
def of_scalar(g, v):
    return with_beside(g, v, g.pick(np.float32(1.5), np.full([1] * g.int(1, g.rank(v)), 0.75, np.float32)))


@operator(weight=2)
def of_constants(g, v):
    """With what two constants make that are broadcast to each other."""
    s = g.of(v)[1:]
    if not s:
        return None
    return with_beside(g, v, with_beside(g, beside(g, s), beside(g, s)))


@operator(weight=2)
def more_axes(g, v):
    """With a constant of one axis more, which goes away again."""
    if g.rank(v) > 5:
        return None
    k = g.int(1, 3)
    w = with_beside(g, v, np.asarray(0.5 + g.r.rand(k, *[1] * g.rank(v)), np.float32))
    how = g.int(0, 2)
    if how == 0:
        op = g.pick("ReduceSum", "ReduceMean", "ReduceMax")
        return g.with_axes(op, w, [0], 13 if op == "ReduceSum" else 18, keepdims=0)
    if how == 1 and k == 1:
        return g.with_axes("Squeeze", w, [0], 13)
    p = list(range(g.rank(w)))
    p.remove(1)
    return g.node("Transpose", w, perm=[1, *p])


@operator(weight=3)
def wander(g, v):
    """The axes go elsewhere, the batch among them, and come back after something is done."""
    p = [int(i) for i in g.r.permutation(g.rank(v))]
    w = g.node("Transpose", v, perm=p)
    batch = p.index(0)
    shape = list(g.of(w))
    shape[batch] = 1
    how = g.int(0, 3)
    if how == 0:
        c = beside(g, shape)
        k = batch - (len(shape) - c.ndim)
        if k >= 0 and c.shape[k] > 1:
            return None
        w = with_beside(g, w, c)
    elif how == 1:
        a = g.int(0, g.rank(w) - 1)
        if a == batch or g.opset < 13:
            return None
        w = g.node("Softmax", w, axis=a)
    elif how == 2 and batch != 1:
        c = g.of(w)[1]
        if g.rank(w) == 2 and g.opset < 9:
            return None
        w = g.node("BatchNormalization", w, g.gain(c), g.w(c), g.w(c) * np.float32(0.3), g.gain(c))
    else:
        w = g.node("Relu", w)
    return g.node("Transpose", w, perm=[p.index(i) for i in range(len(p))])


@operator(weight=2)
def norm_of_any_rank(g, v):
    c = g.of(v)[1]
    if g.rank(v) < 3:
        return None
    if g.r.rand() < 0.5 or g.opset < 18:
        return g.node("InstanceNormalization", v, g.gain(c), g.w(c), epsilon=1e-2)
    groups = g.pick(*[d for d in range(1, c + 1) if c % d == 0])
    n = groups if g.opset < 21 else c
    return g.node("GroupNormalization", v, g.gain(n), g.w(n), num_groups=groups, epsilon=1e-2)


@operator(weight=2)
def pool_of_any_rank(g, v):
    return g.node(g.pick("GlobalAveragePool", "GlobalMaxPool"), v) if g.rank(v) > 2 else None


@operator(weight=2)
def reduce_all_ways(g, v):
    """Over no axis of more than one number, or over all but the batch."""
    op = g.pick("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare")
    axes = [i for i in range(1, g.rank(v)) if g.of(v)[i] == 1] if g.r.rand() < 0.6 else list(range(1, g.rank(v)))
    return g.with_axes(op, v, axes, 13 if op == "ReduceSum" else 18, keepdims=1) if axes else None


@operator()
def flatten_anywhere(g, v):
    """Flatten at an axis that leaves the batch in front, by way of one that has it there alone."""
    a = g.int(1, g.rank(v))
    if int(np.prod(g.of(v)[1:a])) > 1:
        return None
    return g.node("Flatten", v, axis=a)


OPERATORS = graphs.OPERATORS[first:] + [o for o in graphs.OPERATORS[:first] if o[2].__name__ in SAME]


def draw(seed):
    g = graphs.draw(seed, Ranks, OPERATORS, 6)
    # Which way such images lie, none can tell from the shape that the model then says.
    for n in g.nodes:
        if n.op_type == "Transpose" and len(g.shape) == 3 and len(set(g.shape)) < 3 and list(n.attribute[0].ints) == [0, 3, 1, 2]:
            raise Thrown("an image that may be turned")
    return g


if __name__ == "__main__":
    graphs.main(draw)
