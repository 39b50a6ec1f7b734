"""mutate.py ZOO OUT COUNT SEED NET...: small networks that are wrong in one thing, and who takes them.

COUNT mutants of the files NET are written to OUT. Each is asked of onnxruntime (is it loaded, and run on two images), of ONNX's checker and
of the program ZOO (internal/zoo). What ZOO takes and onnxruntime does not is listed by the kind of the mutation and by onnxruntime's words;
it fails if ZOO panics, or if both take one and their logits differ. OUT/mutants.json has a row for each.

To add a kind of mutation, write its function under @kind: it changes the model m with the random numbers r, and returns what it did, or None
if m has nothing of that kind.
"""
import collections
import json
import os
import pathlib
import re
import resource
import signal
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from graphs import quiet
from table import look

KINDS = []
NUMBERS = [-2**63, -2**31, -7, -3, -2, -1, 0, 1, 2, 3, 4, 5, 7, 9, 64, 2**20, 2**31, 2**62]
TYPES = [t for t in TensorProto.DataType.values()] + [77]


def kind(f):
    KINDS.append(f)
    return f


def any_of(r, all):
    all = list(all)
    return all[r.randint(len(all))] if all else None


def number(r):
    return NUMBERS[r.randint(len(NUMBERS))]


def attributes(m, fits=lambda a: True):
    return [(n, a) for n in m.graph.node for a in n.attribute if fits(a)]


def names(m):
    return [t.name for t in m.graph.initializer] + [o for n in m.graph.node for o in n.output] + [i.name for i in m.graph.input]


# The model.

@kind
def ir_version(m, r):
    m.ir_version = any_of(r, [-1, 0, 1, 2, 3, 4, 9, 14, 99, 2**40])
    return m.ir_version


@kind
def no_ir_version(m, r):
    m.ClearField("ir_version")
    return ""


@kind
def opset(m, r):
    m.opset_import[0].version = any_of(r, [-1, 0, 1, 5, 6, 7, 9, 10, 11, 12, 13, 14, 17, 18, 21, 24, 25, 26, 27, 28, 29, 60, 2**40])
    return m.opset_import[0].version


@kind
def no_opset(m, r):
    del m.opset_import[:]
    return ""


@kind
def opset_twice(m, r):
    o = m.opset_import.add()
    o.domain, o.version = "", any_of(r, [m.opset_import[0].version, 8, 13, 20])
    return o.version


@kind
def opset_of_another_domain(m, r):
    m.opset_import[0].domain = any_of(r, ["ai.onnx", "ai.onnx.ml", "toy"])
    return m.opset_import[0].domain


@kind
def no_graph(m, r):
    m.ClearField("graph")
    return ""


@kind
def no_graph_name(m, r):
    m.graph.ClearField("name")
    return ""


# Inputs and outputs.

@kind
def input_type(m, r):
    m.graph.input[0].type.tensor_type.elem_type = any_of(r, TYPES)
    return m.graph.input[0].type.tensor_type.elem_type


@kind
def input_no_tensor(m, r):
    t = m.graph.input[0].type
    how = any_of(r, ["none", "sequence", "map"])
    old = t.tensor_type.elem_type
    t.Clear()
    if how == "sequence":
        t.sequence_type.elem_type.tensor_type.elem_type = old
    elif how == "map":
        t.map_type.key_type = TensorProto.INT64
        t.map_type.value_type.tensor_type.elem_type = old
    return how


@kind
def input_dim(m, r):
    d = any_of(r, m.graph.input[0].type.tensor_type.shape.dim)
    if d is None:
        return None
    how = any_of(r, ["value", "value", "value", "param", "clear"])
    if how == "value":
        d.dim_value = number(r)
        return d.dim_value
    d.Clear()
    if how == "param":
        d.dim_param = any_of(r, ["N", "M", "", "height"])
    return how


@kind
def input_rank(m, r):
    s = m.graph.input[0].type.tensor_type.shape
    if len(s.dim) and r.rand() < 0.5:
        del s.dim[r.randint(len(s.dim))]
        return "less"
    s.dim.add().dim_value = any_of(r, [1, 2, 3])
    return "more"


@kind
def no_input(m, r):
    del m.graph.input[:]
    return ""


@kind
def input_twice(m, r):
    m.graph.input.append(m.graph.input[0])
    return ""


@kind
def input_more(m, r):
    v = helper.make_tensor_value_info(any_of(r, ["more", "", m.graph.input[0].name + "_", any_of(r, names(m))]), TensorProto.FLOAT, [2])
    m.graph.input.insert(r.randint(2), v)
    return v.name or "unnamed"


@kind
def input_name(m, r):
    m.graph.input[0].name = any_of(r, ["", "z", *names(m)])
    return m.graph.input[0].name


@kind
def no_output(m, r):
    del m.graph.output[:]
    return ""


@kind
def output_twice(m, r):
    m.graph.output.append(m.graph.output[0])
    return ""


@kind
def output_more(m, r):
    v = helper.make_tensor_value_info(any_of(r, ["more", "", *names(m)]), TensorProto.FLOAT, None)
    m.graph.output.insert(r.randint(2), v)
    return v.name


@kind
def output_name(m, r):
    m.graph.output[0].name = any_of(r, ["", "z", *names(m)])
    return m.graph.output[0].name


@kind
def output_type(m, r):
    m.graph.output[0].type.tensor_type.elem_type = any_of(r, TYPES)
    return m.graph.output[0].type.tensor_type.elem_type


@kind
def output_no_tensor(m, r):
    m.graph.output[0].type.Clear()
    return ""


@kind
def output_shape(m, r):
    s = m.graph.output[0].type.tensor_type.shape
    s.Clear()
    for _ in range(r.randint(4)):
        s.dim.add().dim_value = number(r)
    return len(s.dim)


@kind
def value_info(m, r):
    """Says a wrong type or shape of a value in between."""
    outs = [o for n in m.graph.node for o in n.output if o]
    v = helper.make_tensor_value_info(any_of(r, outs), any_of(r, [TensorProto.FLOAT, TensorProto.INT64]), [any_of(r, [1, 3, 77, -1])] * r.randint(4))
    del m.graph.value_info[:]
    m.graph.value_info.append(v)
    return ""


# Tensors.

def tensor(m, r):
    all = list(m.graph.initializer) + [a.t for n in m.graph.node for a in n.attribute if a.type == AttributeProto.TENSOR]
    return any_of(r, all)


@kind
def tensor_type(m, r):
    t = tensor(m, r)
    if t is None:
        return None
    t.data_type = any_of(r, TYPES)
    return t.data_type


@kind
def tensor_dim(m, r):
    t = tensor(m, r)
    if t is None or not t.dims:
        return None
    t.dims[r.randint(len(t.dims))] = number(r)
    return list(t.dims)


@kind
def tensor_rank(m, r):
    t = tensor(m, r)
    if t is None:
        return None
    if t.dims and r.rand() < 0.5:
        del t.dims[r.randint(len(t.dims))]
        return "less"
    t.dims.append(any_of(r, [0, 1, 2]))
    return "more"


@kind
def tensor_turned(m, r):
    t = tensor(m, r)
    if t is None or len(t.dims) < 2:
        return None
    t.dims[:] = list(t.dims)[::-1]
    return ""


@kind
def tensor_raw(m, r):
    t = tensor(m, r)
    if t is None or not t.raw_data:
        return None
    how = any_of(r, ["cut", "longer", "empty", "one byte"])
    t.raw_data = {"cut": t.raw_data[:len(t.raw_data) // 2], "longer": t.raw_data + bytes(8), "empty": b"", "one byte": t.raw_data[:-1]}[how]
    return how


@kind
def tensor_both(m, r):
    """Raw and typed data."""
    t = tensor(m, r)
    if t is None or not t.raw_data:
        return None
    any_of(r, [t.float_data, t.double_data]).append(1.5) if r.rand() < 0.5 else any_of(r, [t.int32_data, t.int64_data, t.uint64_data]).append(1)
    return ""


@kind
def tensor_typed(m, r):
    """The same numbers as typed data, in a field, right or wrong, and at times too many."""
    t = tensor(m, r)
    if t is None or not t.raw_data:
        return None
    a = numpy_helper.to_array(t).ravel().tolist()
    t.ClearField("raw_data")
    how = any_of(r, ["float_data", "double_data", "int32_data", "int64_data", "uint64_data", "string_data"])
    try:
        getattr(t, how).extend([str(v).encode() for v in a] if how == "string_data" else a if how in ("float_data", "double_data") else [int(v) for v in a])
        if r.rand() < 0.2 and a:
            getattr(t, how).append(getattr(t, how)[0])
            how += " and one more"
    except (ValueError, TypeError):
        return None
    return how


@kind
def tensor_not_finite(m, r):
    t = tensor(m, r)
    if t is None or t.data_type != TensorProto.FLOAT or not t.raw_data:
        return None
    a = numpy_helper.to_array(t).copy()
    if a.size == 0:
        return None
    a.flat[r.randint(a.size)] = any_of(r, [np.nan, np.inf, -np.inf])
    t.raw_data = a.tobytes()
    return ""


@kind
def tensor_external(m, r):
    t = tensor(m, r)
    if t is None:
        return None
    t.data_location = TensorProto.EXTERNAL
    how = any_of(r, ["nothing", "missing", "outside"])
    if how != "nothing":
        e = t.external_data.add()
        e.key, e.value = "location", {"missing": "missing.bin", "outside": "../missing.bin"}[how]
    if r.rand() < 0.5:
        t.ClearField("raw_data")
    return how


@kind
def tensor_segment(m, r):
    t = tensor(m, r)
    if t is None:
        return None
    t.segment.begin, t.segment.end = 0, 1
    return ""


@kind
def tensor_name(m, r):
    t = any_of(r, m.graph.initializer)
    if t is None:
        return None
    t.name = any_of(r, ["", "z", *names(m)])
    return t.name


@kind
def tensor_twice(m, r):
    t = any_of(r, m.graph.initializer)
    if t is None:
        return None
    m.graph.initializer.append(t)
    return ""


@kind
def no_tensor(m, r):
    if not m.graph.initializer:
        return None
    del m.graph.initializer[r.randint(len(m.graph.initializer))]
    return ""


@kind
def tensor_more(m, r):
    m.graph.initializer.append(numpy_helper.from_array(np.ones(2, np.float32), any_of(r, ["more", "", *names(m)])))
    return m.graph.initializer[-1].name


@kind
def sparse(m, r):
    s = m.graph.sparse_initializer.add()
    s.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
    s.indices.CopyFrom(numpy_helper.from_array(np.zeros(1, np.int64), "indices"))
    s.dims.append(3)
    return ""


# Nodes.

@kind
def op_type(m, r):
    n = any_of(r, m.graph.node)
    if n is None:
        return None
    ops = [s.name for s in onnx.defs.get_all_schemas() if s.domain == ""]
    n.op_type = any_of(r, ["", "Nothing", *[o.op_type for o in m.graph.node], *[ops[r.randint(len(ops))] for _ in range(20)]])
    return n.op_type


@kind
def domain(m, r):
    n = any_of(r, m.graph.node)
    if n is None:
        return None
    n.domain = any_of(r, ["ai.onnx", "ai.onnx.ml", "toy", "com.microsoft"])
    return n.domain


@kind
def node_input(m, r):
    n = any_of(r, [n for n in m.graph.node if n.input])
    if n is None:
        return None
    i = r.randint(len(n.input))
    n.input[i] = any_of(r, ["", "nothing", *names(m)])
    return f"{n.op_type} {i} {n.input[i] if n.input[i] in ('', 'nothing') else 'another'}"


@kind
def node_inputs(m, r):
    n = any_of(r, m.graph.node)
    if n is None:
        return None
    how = any_of(r, ["more", "less", "none", "turned", "unnamed"])
    if how == "more":
        n.input.append(any_of(r, names(m)))
    elif how == "unnamed":
        n.input.append("")
    elif how == "less" and n.input:
        del n.input[r.randint(len(n.input))]
    elif how == "none":
        del n.input[:]
    elif len(n.input) > 1:
        n.input[:] = list(n.input)[::-1]
    else:
        return None
    return f"{n.op_type} {how}"


@kind
def node_output(m, r):
    n = any_of(r, [n for n in m.graph.node if n.output])
    if n is None:
        return None
    how = any_of(r, ["", "nothing", "another", "own"])
    i = r.randint(len(n.output))
    n.output[i] = {"another": any_of(r, names(m)), "own": n.input[0] if n.input else ""}.get(how, how)
    return how


@kind
def node_outputs(m, r):
    n = any_of(r, [n for n in m.graph.node if n.output])
    if n is None:
        return None
    how = any_of(r, ["more", "unnamed", "none", "twice", "another"])
    if how == "none":
        del n.output[:]
    else:
        n.output.append({"more": "more", "unnamed": "", "twice": n.output[0], "another": any_of(r, names(m))}[how])
    return f"{n.op_type} {how}"


@kind
def node_twice(m, r):
    n = any_of(r, m.graph.node)
    if n is None:
        return None
    m.graph.node.append(n)
    return ""


@kind
def no_node(m, r):
    if not m.graph.node:
        return None
    i = r.randint(len(m.graph.node))
    op = m.graph.node[i].op_type
    del m.graph.node[i]
    return op


@kind
def node_order(m, r):
    if len(m.graph.node) < 2:
        return None
    i, k = r.randint(len(m.graph.node)), r.randint(len(m.graph.node))
    a, b = onnx.NodeProto(), onnx.NodeProto()
    a.CopyFrom(m.graph.node[i])
    b.CopyFrom(m.graph.node[k])
    m.graph.node[i].CopyFrom(b)
    m.graph.node[k].CopyFrom(a)
    return "same" if i == k else ""


@kind
def cycle(m, r):
    if len(m.graph.node) < 2:
        return None
    i = r.randint(len(m.graph.node) - 1)
    n, later = m.graph.node[i], m.graph.node[r.randint(i, len(m.graph.node))]
    if not n.input or not later.output:
        return None
    n.input[r.randint(len(n.input))] = later.output[0]
    return ""


@kind
def nodes_nobody_needs(m, r):
    """A node that nothing takes, wrong in itself."""
    how = any_of(r, ["unknown", "dangling", "bad perm", "name taken", "right"])
    x = m.graph.input[0].name
    n = {"unknown": helper.make_node("Nothing", [x], ["aside"]), "dangling": helper.make_node("Relu", ["nowhere"], ["aside"]),
         "bad perm": helper.make_node("Transpose", [x], ["aside"], perm=[0, 0, 7]),
         "name taken": helper.make_node("Relu", [x], [any_of(r, names(m))]), "right": helper.make_node("Relu", [x], ["aside"])}[how]
    m.graph.node.append(n)
    return how


# Attributes.

@kind
def attribute_more(m, r):
    n = any_of(r, m.graph.node)
    if n is None:
        return None
    key = any_of(r, ["unknown", "axis", "perm", "alpha", "keepdims", "axes", "mode", ""])
    n.attribute.append(helper.make_attribute(key or "k", any_of(r, [number(r), 0.5, [0, 1], "text"])))
    n.attribute[-1].name = key
    return f"{n.op_type} {key}"


@kind
def no_attribute(m, r):
    n = any_of(r, [n for n in m.graph.node if n.attribute])
    if n is None:
        return None
    i = r.randint(len(n.attribute))
    what = f"{n.op_type} {n.attribute[i].name}"
    del n.attribute[i]
    return what


@kind
def attribute_twice(m, r):
    n = any_of(r, [n for n in m.graph.node if n.attribute])
    if n is None:
        return None
    a = any_of(r, n.attribute)
    n.attribute.append(a)
    return f"{n.op_type} {a.name}"


@kind
def attribute_type(m, r):
    got = any_of(r, attributes(m))
    if got is None:
        return None
    n, a = got
    a.type = any_of(r, [t for t in AttributeProto.AttributeType.values() if t != a.type] + [55])
    return f"{n.op_type} {a.name}"


@kind
def attribute_kind(m, r):
    """Another value of another type."""
    got = any_of(r, attributes(m))
    if got is None:
        return None
    n, a = got
    name = a.name
    a.CopyFrom(helper.make_attribute(name, any_of(r, [1, 0.5, [1, 1], [0.5, 0.5], "text", numpy_helper.from_array(np.ones(2, np.float32))])))
    return f"{n.op_type} {name}"


@kind
def attribute_name(m, r):
    got = any_of(r, attributes(m))
    if got is None:
        return None
    n, a = got
    what = f"{n.op_type} {a.name}"
    a.name = any_of(r, ["", a.name.upper(), a.name + "_", "axis"])
    return what


@kind
def attribute_reference(m, r):
    got = any_of(r, attributes(m))
    if got is None:
        return None
    got[1].ref_attr_name = "other"
    return ""


@kind
def attribute_two_values(m, r):
    got = any_of(r, attributes(m))
    if got is None:
        return None
    n, a = got
    any_of(r, [a.ints, a.floats]).append(1)
    if a.type == AttributeProto.INTS:
        a.i = 3
    return f"{n.op_type} {a.name}"


@kind
def integer(m, r):
    got = any_of(r, attributes(m, lambda a: a.type == AttributeProto.INT))
    if got is None:
        return None
    got[1].i = number(r)
    return f"{got[0].op_type} {got[1].name} {got[1].i}"


@kind
def integers(m, r):
    got = any_of(r, attributes(m, lambda a: a.type == AttributeProto.INTS and len(a.ints)))
    if got is None:
        return None
    n, a = got
    how = any_of(r, ["value", "value", "value", "more", "less", "none", "twice"])
    i = r.randint(len(a.ints))
    if how == "value":
        a.ints[i] = number(r)
    elif how == "more":
        a.ints.append(number(r))
    elif how == "less":
        del a.ints[i]
    elif how == "none":
        del a.ints[:]
    else:
        a.ints[i] = a.ints[r.randint(len(a.ints))]
    return f"{n.op_type} {a.name} {how}"


@kind
def float_(m, r):
    got = any_of(r, attributes(m, lambda a: a.type == AttributeProto.FLOAT))
    if got is None:
        return None
    got[1].f = any_of(r, [np.nan, np.inf, -np.inf, 0, -1, 1e30])
    return f"{got[0].op_type} {got[1].name} {got[1].f}"


@kind
def text(m, r):
    got = any_of(r, attributes(m, lambda a: a.type == AttributeProto.STRING))
    if got is None:
        return None
    got[1].s = any_of(r, [b"", b"text", got[1].s.lower(), got[1].s + b" "])
    return f"{got[0].op_type} {got[1].name}"


@kind
def constant_integer(m, r):
    """A shape, an axis, a pad in a constant."""
    all = list(m.graph.initializer) + [a.t for n in m.graph.node for a in n.attribute if a.type == AttributeProto.TENSOR]
    t = any_of(r, [t for t in all if t.data_type == TensorProto.INT64 and t.raw_data])
    if t is None:
        return None
    a = numpy_helper.to_array(t).copy()
    a.flat[r.randint(a.size)] = number(r)
    t.raw_data = a.tobytes()
    by = {n.op_type for n in m.graph.node if t.name in n.input}
    return "".join(sorted(by))


# Who takes them.

def image(s):
    """Two images as the session says that it takes them, or one, where the file has one. Of several inputs they are the largest."""
    i = max(s.get_inputs(), key=lambda i: len(i.shape))
    kind = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}.get(i.type)
    if kind is None:
        raise ValueError(f"takes {i.type}")
    shape = [d if isinstance(d, int) and d > 0 else 2 if k == 0 else 4 for k, d in enumerate(i.shape)]
    if np.prod(shape, dtype=float) > 1e6:
        raise ValueError(f"takes {shape}")
    x = np.random.RandomState(1).randint(0, 257, shape) / 256
    return i.name, (x * 255 if kind is np.uint8 else x).astype(kind)


def runtime(data):
    """What onnxruntime says: (x, logits, None) or (None, None, why not). In a process of its own, which it may end."""
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(r)
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
        signal.alarm(20)
        try:
            s = onnxruntime.InferenceSession(data, quiet(), providers=["CPUExecutionProvider"])
            name, x = image(s)
            others = {i.name: np.zeros([d if isinstance(d, int) else 2 for d in i.shape], np.float32) for i in s.get_inputs() if i.name != name}
            z = s.run(None, {name: x, **others})[0]
            got = dict(x=x.astype(float).tolist(), z=np.asarray(z, float).tolist())
        except Exception as e:
            got = dict(why=str(e) or type(e).__name__)
        with os.fdopen(w, "w") as f:
            json.dump(got, f)
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        said = f.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if said and status == 0 else dict(why=f"ended its process ({status})")


def checked(m):
    """What ONNX's checker says of m."""
    try:
        onnx.checker.check_model(m)
        return ""
    except Exception as e:
        return str(e) or type(e).__name__


def said_anew(now, before):
    """now, or "" where the checker says so of the file before it was changed: some have an output without a shape."""
    return "" if words(now) == words(before) else now


def words(text):
    """A message without what only this file has."""
    text = text.splitlines()[0] if text else ""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|\([^()]*\)|\{[^{}]*\}", "_", text)
    return re.sub(r"-?\d+", "#", text)[-110:]


def main(zoo, out, count, seed, nets):
    out.mkdir(parents=True, exist_ok=True)
    rows, before = [], {}
    while len(rows) < count:
        r = np.random.RandomState(seed * 1_000_000 + len(rows))
        m, net = onnx.load(nets[r.randint(len(nets))]), nets[0]
        f = KINDS[len(rows) % len(KINDS)]
        did = None
        for _ in range(50):
            net = any_of(r, nets)
            m = onnx.load(net)
            try:
                did = f(m, r)
                data = m.SerializeToString()
            except (ValueError, TypeError, IndexError):
                did = None
            if did is not None and data != net.read_bytes():
                break
        name = f"m{len(rows):05}"
        (out / f"{name}.onnx").write_bytes(data)
        said = runtime(data)
        if "z" in said:
            x, z = np.array(said["x"]), np.array(said["z"])
            np.savez(out / f"{name}.npz", x=x, labels=np.zeros(len(x) if x.ndim else 1, np.int32), runtime=z)
        if net not in before:
            before[net] = checked(onnx.load(net))
        rows.append(dict(name=name, kind=f.__name__, did=str(did), net=net.name, runtime=said.get("why", ""), checker=said_anew(checked(m), before[net]),
                         finite=bool(np.isfinite(said["z"]).all()) if "z" in said else None))
    files = [out / f"{r['name']}.onnx" for r in rows]
    for row, got in zip(rows, (r for i in range(0, len(files), 100) for r in look(zoo, files[i:i + 100]))):
        row["zoo"] = dict(got)
    (out / "mutants.json").write_text(json.dumps(rows, indent=0))
    return tell(rows)


def verdict(row):
    """Who takes a mutant: "both", "neither", "zoo" or "onnxruntime" alone; or "differs" or "panics"."""
    z, theirs = row["zoo"], not row["runtime"]
    ours = z["layers"] > 0 if "layers" in z else False
    if "panic" in z:
        return "panics"
    if ours and theirs:
        # What follows the logits is left out, and logits in columns are taken as rows: both are told, and neither is compared.
        told = any("at the end is left out" in n or "the images are its axis" in n for n in z.get("notes") or [])
        return "both" if row["finite"] is False or told or z.get("logits") is not None and z["logits"] <= 1e-4 else "differs"
    return "zoo" if ours else "onnxruntime" if theirs else "neither"


def tell(rows):
    counts = collections.Counter(verdict(r) for r in rows)
    print(len(rows), "mutants:", ", ".join(f"{k} {n}" for k, n in counts.most_common()))
    print("malformed by ONNX's checker, and taken:", sum(1 for r in rows if r["checker"] and verdict(r) in ("zoo", "both", "differs")))
    by = collections.defaultdict(list)
    for r in rows:
        if verdict(r) == "zoo":
            by[r["kind"], words(r["runtime"]), bool(r["checker"])].append(r)
    for (k, why, checked), all in sorted(by.items(), key=lambda e: -len(e[1])):
        print(f"{len(all):5} {k}{' [checker]' if checked else ''}: {why}  ({all[0]['name']} {all[0]['net']} {all[0]['did'][:40]})")
    wrong = [r for r in rows if verdict(r) in ("differs", "panics")]
    for r in wrong:
        print(f"{verdict(r)}: {r['name']} {r['kind']} {r['did']} of {r['net']}: {r['zoo'].get('panic') or r['zoo'].get('error') or r['zoo']['logits']}")
    return bool(wrong)


if __name__ == "__main__":
    # A file of one image without a batch has no two images to compare.
    nets = [p for p in map(pathlib.Path, sys.argv[5:]) if onnx.load(p).graph.input[0].type.tensor_type.shape.dim[0].dim_value <= 1]
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), nets))
