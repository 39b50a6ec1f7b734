"""Exports small PyTorch networks to ONNX in every way users do and writes what float64 PyTorch says of them.

    OMP_NUM_THREADS=1 python make.py

Each network has NAME.json (inputs, logits, gradients in float64) and one or more NAME_*.onnx, which the JSON lists. onnxruntime
runs every file and must agree with float64 within 1e-5 (1e-2 for float16) before the JSON is written. See README.md.
"""
import contextlib
import copy
import io
import json
import os
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
HERE = os.path.dirname(os.path.abspath(__file__))
DYNAMO = (18, 25)  # the exporter's own opset, and the newest that this version writes
report = []


# ---- networks -------------------------------------------------------------------------------------------------------------

def mlp():
    return nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 5))


class CNN(nn.Module):
    """The usual small CNN: padded, strided and pooled, then Flatten and two Linear layers."""

    def __init__(self, flatten="flatten"):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False)
        self.fc1 = nn.Linear(24, 12)
        self.fc2 = nn.Linear(12, 5)
        self.flatten = flatten

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.relu(self.conv2(x))
        if self.flatten == "flatten":
            x = torch.flatten(x, 1)
        elif self.flatten == "view":
            x = x.view(x.size(0), -1)
        elif self.flatten == "reshape":
            x = x.reshape(-1, 24)
        return self.fc2(F.relu(self.fc1(x)))


class Normalise(nn.Module):
    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None])
        self.register_buffer("std", torch.tensor(std)[None, :, None, None])

    def forward(self, x):
        return (x - self.mean) / self.std


def random_bn(m):
    for b in m.modules():
        if isinstance(b, (nn.BatchNorm2d, nn.BatchNorm1d)):
            nn.init.uniform_(b.weight, 0.5, 1.5)
            nn.init.uniform_(b.bias, -0.3, 0.3)
            nn.init.uniform_(b.running_mean, -0.3, 0.3)
            nn.init.uniform_(b.running_var, 0.5, 2)
    return m


class Block(nn.Module):
    """A residual block: conv, batch norm, ReLU, conv, batch norm, plus the input or its 1x1 projection, ReLU."""

    def __init__(self, i, o, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)
        self.down = nn.Sequential()
        if stride != 1 or i != o:
            self.down = nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))

    def forward(self, x):
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.down(x))


class ResNet(nn.Module):
    """Normalisation, a stem, an identity block, a projecting block, global average pool, Linear: a ResNet of two blocks."""

    def __init__(self):
        super().__init__()
        self.norm = Normalise([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616])
        self.stem, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.block1, self.block2 = Block(4, 4, 1), Block(4, 6, 2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 5)

    def forward(self, x):
        x = F.relu(self.bn(self.stem(self.norm(x))))
        return self.fc(torch.flatten(self.pool(self.block2(self.block1(x))), 1))


class PreAct(nn.Module):
    """Batch norm where no convolution stands before it, so that no exporter can fold it away; also over a vector; mean over H, W."""

    def __init__(self):
        super().__init__()
        self.bn0, self.conv0 = nn.BatchNorm2d(2), nn.Conv2d(2, 4, 3, padding=1)
        self.bn1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        self.fc, self.bn2, self.out = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 5)

    def forward(self, x):
        x = self.conv0(self.bn0(x))
        x = x + self.conv1(F.relu(self.bn1(x)))
        return self.out(F.relu(self.bn2(self.fc(x.mean((2, 3))))))


def pools():
    """Average pools (padded, counted and not; strided), max-pools that overlap and are padded, a global one at the end."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.AvgPool2d(3, 1, 1), nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        nn.AvgPool2d(2), nn.Dropout(), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten())


class Uneven(nn.Module):
    """Kernels, strides and paddings that differ by axis and by side (F.pad), a dilation of 1, an input that is not square."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 0))
        self.conv2 = nn.Conv2d(3, 4, (1, 3), padding=(0, 1))
        self.fc = nn.Linear(4 * 3 * 3, 5)

    def forward(self, x):  # [N, 2, 5, 6]
        x = F.relu(self.conv1(F.pad(x, (1, 0, 0, 1))))  # left 1, bottom 1: [2, 6, 7] to [3, 3, 6]
        x = F.max_pool2d(F.relu(self.conv2(x)), (1, 2), (1, 2))
        return self.fc(x.flatten(1))


def activations():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 9), nn.LeakyReLU(0.1), nn.Linear(9, 9), nn.Sigmoid(), nn.Linear(9, 9), nn.Tanh(),
        nn.Linear(9, 9), nn.GELU(), nn.Linear(9, 9), nn.GELU(approximate="tanh"), nn.Linear(9, 5))


class MatMuls(nn.Module):
    """Layers by hand: x @ W + b with the bias on either side, a scalar affine before, a layer without bias."""

    def __init__(self):
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(16, 8) / 4), nn.Parameter(torch.randn(8) / 4)
        self.w2, self.b2 = nn.Parameter(torch.randn(8, 7) / 3), nn.Parameter(torch.randn(1, 7) / 4)
        self.fc3 = nn.Linear(7, 5, bias=False)

    def forward(self, x):
        x = 2 * x.reshape(x.shape[0], -1) - 1
        x = F.relu(x @ self.w1 + self.b1)
        return self.fc3(torch.relu(self.b2 + torch.matmul(x, self.w2)))


class Channels(nn.Module):
    """Takes N×H×W×C and turns it."""

    def __init__(self):
        super().__init__()
        self.net = CNN()

    def forward(self, x):
        return self.net(x.permute(0, 3, 1, 2))


class Head(nn.Module):
    def __init__(self, kind, dim=1):
        super().__init__()
        self.net, self.kind, self.dim = mlp(), kind, dim

    def forward(self, x):
        z = self.net(x)
        return z if self.kind == "" or self.bare else (F.softmax if self.kind == "softmax" else F.log_softmax)(z, self.dim)

    bare = False


# ---- what is refused ------------------------------------------------------------------------------------------------------

class Many(nn.Module):
    """Two inputs."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 5)

    def forward(self, a, b):
        return self.fc(a + b)


torch.manual_seed(2)
UNSUPPORTED = {  # name: network, input shape, what the reader should name
    "groups": (nn.Sequential(nn.Conv2d(2, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 5)), (2, 4, 4), "Conv group 2"),
    "dilation": (nn.Sequential(nn.Conv2d(1, 2, 2, dilation=2), nn.Flatten(), nn.Linear(8, 5)), (1, 4, 4), "Conv dilations [2 2]"),
    "relu6": (nn.Sequential(nn.Linear(8, 6), nn.ReLU6(), nn.Linear(6, 5)), (8,), "Clip"),
    "elu": (nn.Sequential(nn.Linear(8, 6), nn.ELU(), nn.Linear(6, 5)), (8,), "Elu"),
    "upsample": (nn.Sequential(nn.Upsample(scale_factor=2), nn.Flatten(), nn.Linear(64, 5)), (1, 4, 4), "Resize"),
    "transposed": (nn.Sequential(nn.ConvTranspose2d(1, 2, 2), nn.Flatten(), nn.Linear(50, 5)), (1, 4, 4), "ConvTranspose"),
    "dilated_pool": (nn.Sequential(nn.MaxPool2d(2, 1, dilation=2), nn.Flatten(), nn.Linear(4, 5)), (1, 4, 4), "MaxPool dilations [2 2]"),
    "ceil_pool": (nn.Sequential(nn.MaxPool2d(2, 2, ceil_mode=True), nn.Flatten(), nn.Linear(9, 5)), (1, 5, 5), "MaxPool ceil_mode (or taken, by padding)"),
}


# ---- export and check -----------------------------------------------------------------------------------------------------

def images(shape, n=3, seed=7):
    """Pixels that are multiples of 1/256: exact in every float format wider than float16's 11 bits, and short in JSON."""
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 257, (n, *shape)) / 256)


def ts(m, x, path, opset, **kw):
    kw.setdefault("dynamic_axes", {"input": {0: "batch"}, "logits": {0: "batch"}})
    torch.onnx.export(m, (x,), path, dynamo=False, opset_version=opset, input_names=["input"], output_names=["logits"], **kw)


def dynamo(m, x, path, opset, dynamic=True, external_data=False):
    with contextlib.redirect_stdout(io.StringIO()):
        p = torch.onnx.export(m, (x,), dynamo=True, opset_version=opset, input_names=["input"], output_names=["logits"],
                              dynamic_shapes=({0: torch.export.Dim("batch")},) if dynamic else None, verbose=False)
        p.save(path, external_data=external_data)
    strip(path)  # the exporter's notes on every node name the source files of this machine and are most of the bytes


def strip(path):
    m = onnx.load(path, load_external_data=False)
    g = m.graph
    for n in g.node:
        del n.metadata_props[:]
        n.doc_string = ""
    for t in [*g.initializer, *g.value_info, *g.input, *g.output]:
        del t.metadata_props[:]
    del g.metadata_props[:], m.metadata_props[:]
    onnx.save(m, path)


def run_ort(path, x):
    s = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    i = s.get_inputs()[0]
    dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}[i.type]
    x = np.asarray(x).astype(dtype)
    if i.shape[0] == 1:
        return np.concatenate([s.run(None, {i.name: r[None]})[-1] for r in x])
    return s.run(None, {i.name: x})[-1]


def describe(path):
    m = onnx.load(path)
    ops = sorted({n.op_type for n in m.graph.node})
    return dict(file=os.path.basename(path), bytes=os.path.getsize(path), ir=m.ir_version,
                opset={o.domain or "ai.onnx": o.version for o in m.opset_import}, producer=m.producer_name + " " + m.producer_version, nodes=ops)


def truth(m, x, y):
    """Float64 logits and the gradient of each image's own cross-entropy. m is in float64."""
    x = x.clone().requires_grad_(True)
    z = m(x)
    g, = torch.autograd.grad(F.cross_entropy(z, y, reduction="sum"), x)
    return z.detach(), g


def rows(t, digits=17):
    return [[float(f"%.{digits}g" % v) for v in r] for r in np.asarray(t).reshape(len(t), -1)]


def write(name, shape, x, y, z, g, files, **more):
    d = dict(format=1, shape=list(shape), labels=[int(v) for v in y], inputs=rows(x), logits=rows(z), gradients=rows(g, 8), **more, files=files)
    with open(os.path.join(HERE, name + ".json"), "w") as f:
        lines = []
        for k, v in d.items():
            if k in ("inputs", "logits", "gradients", "files"):
                lines.append(f' "{k}": [\n  ' + ",\n  ".join(json.dumps(r) for r in v) + "\n ]")
            else:
                lines.append(f' "{k}": {json.dumps(v)}')
        f.write("{\n" + ",\n".join(lines) + "\n}\n")


def double(m):
    return copy.deepcopy(m).double()


def make(name, m, shape, exports, layout=None):
    """exports: {suffix: function(m, x32, path)}. The gradients' label of image i is i."""
    m.eval()
    with torch.no_grad():  # PyTorch's first weights make small logits that the biases rule: twice them
        for w in m.parameters():
            if w.dim() > 1:
                w *= 2
    x, y = images(shape), torch.arange(3)
    full = double(m)
    if isinstance(full, Head):
        full.bare = True
    z, g = truth(full, x, y)
    want = z
    more = {}
    if isinstance(m, Head) and m.kind:
        want = z.softmax(1) if m.kind == "softmax" else z.log_softmax(1)
        more = dict(output=m.kind)
    files = []
    for suffix, export in exports.items():
        path = os.path.join(HERE, f"{name}_{suffix}.onnx")
        try:
            export(m, x.float(), path)
            onnx.checker.check_model(path)
            got = run_ort(path, x)
            err = float(np.abs(got - want.numpy()).max())
            d = describe(path)
            half = "half" in suffix
            assert err < (1e-2 if half else 1e-5), err
            d["onnxruntime_max_abs_error"] = float("%.2g" % err)
            files.append(d)
        except Exception as e:  # a version that this exporter cannot write: said in the report, not in the JSON
            if os.path.exists(path):
                os.remove(path)
            report.append(f"{name}_{suffix}: {type(e).__name__}: {str(e)[:200]}")
    write(name, shape, x, y, z, g, files, **more)
    return m


def at(opset, **kw):
    return lambda m, x, p: ts(m, x, p, opset, **kw)


def new(opset, **kw):
    return lambda m, x, p: dynamo(m, x, p, opset, **kw)


def everywhere():
    d = {f"ts{o}": at(o) for o in (9, 11, 13, 17, 20)}
    d.update({f"dynamo{o}": new(o) for o in DYNAMO})
    return d


def external(one):
    """External data in one file or in one file per tensor."""
    def export(m, x, path):
        ts(m, x, path, 17)
        p = onnx.load(path)
        os.remove(path)
        base = os.path.basename(path)[:-5]
        if one:
            onnx.save_model(p, path, save_as_external_data=True, all_tensors_to_one_file=True, location=base + ".data", size_threshold=0)
        else:
            for i, t in enumerate(p.graph.initializer):
                raw = onnx.numpy_helper.to_array(t)
                with open(os.path.join(HERE, f"{base}.{i}"), "wb") as f:
                    f.write(raw.tobytes())
                t.ClearField("raw_data")
                t.data_location = onnx.TensorProto.EXTERNAL
                for k, v in (("location", f"{base}.{i}"),):
                    e = t.external_data.add()
                    e.key, e.value = k, v
            onnx.save(p, path)
    return export


def as_float_data(m, x, path):
    """The values in float_data instead of raw_data, as older writers did."""
    ts(m, x, path, 13)
    p = onnx.load(path)
    for t in p.graph.initializer:
        if t.data_type == onnx.TensorProto.FLOAT:
            a = onnx.numpy_helper.to_array(t)
            t.ClearField("raw_data")
            t.float_data.extend(a.ravel().tolist())
    onnx.save(p, path)


def typed(dtype):
    def export(m, x, path):
        ts(copy.deepcopy(m).to(dtype), x.to(dtype), path, 17)
    return export


def weights(name, m):
    sd = {k: v.contiguous() for k, v in m.state_dict().items() if not k.endswith("num_batches_tracked")}
    for suffix, dtype in (("float32", torch.float32), ("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        save_file({k: v.to(dtype) for k, v in sd.items()}, os.path.join(HERE, f"{name}_{suffix}.safetensors"))
    if name != "resnet":
        np.savez(os.path.join(HERE, f"{name}_float32.npz"), **{k: v.numpy() for k, v in sd.items()})


def narrow(name, m, shape):
    """Logits of the float16 and bfloat16 weights widened to float64."""
    x = images(shape)
    out = {}
    for suffix, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16)):
        out["logits_" + suffix] = rows(copy.deepcopy(m).to(dtype).double()(x).detach())
    p = os.path.join(HERE, name + ".json")
    with open(p) as f:
        s = f.read().rstrip()
    assert s.endswith("}")
    s = s[:-1].rstrip()
    for k, v in out.items():
        s += f',\n "{k}": [\n  ' + ",\n  ".join(json.dumps(r) for r in v) + "\n ]"
    with open(p, "w") as f:
        f.write(s + "\n}\n")


def main():
    for f in os.listdir(HERE):
        if f.startswith(("keras", "sklearn", "large")) or f.endswith((".py", ".md", ".txt")):
            continue
        if os.path.isfile(os.path.join(HERE, f)):
            os.remove(os.path.join(HERE, f))
    torch.manual_seed(1)
    m = make("mlp", mlp(), (16,), {
        **everywhere(),
        "ts17_fixed1": lambda m, x, p: ts(m, x[:1], p, 17, dynamic_axes=None),
        "ts17_fixed3": at(17, dynamic_axes=None),
        "ts9_inputs": at(9, keep_initializers_as_inputs=True),
        "ts13_floatdata": as_float_data,
        "ts17_double": typed(torch.float64),
        "ts17_half": typed(torch.float16),
        "ts17_external": external(True),
        "ts17_external_each": external(False),
        "dynamo18_external": new(18, external_data=True),
    })
    weights("mlp", m)
    narrow("mlp", m, (16,))
    m = make("cnn", CNN(), (1, 8, 8), everywhere())
    weights("cnn", m)
    narrow("cnn", m, (1, 8, 8))
    for k in ("view", "reshape"):
        make("cnn_" + k, CNN(k), (1, 8, 8), {"ts17": at(17), "dynamo18": new(18)})
    m = make("resnet", random_bn(ResNet()), (3, 8, 8), {
        **{k: v for k, v in everywhere().items() if k not in ("ts11", "ts13", "ts20")},
        "ts17_unfolded": at(17, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)})
    weights("resnet", m)
    narrow("resnet", m, (3, 8, 8))
    make("preact", random_bn(PreAct()), (2, 5, 5), {"ts9": at(9), "ts20": at(20), **{f"dynamo{o}": new(o) for o in DYNAMO}})
    make("pools", pools(), (1, 9, 9), {"ts9": at(9), "ts11": at(11), "ts20": at(20), "dynamo18": new(18)})
    make("uneven", Uneven(), (2, 5, 6), {"ts9": at(9), "ts11": at(11), "ts17": at(17), "dynamo18": new(18)})
    make("activations", activations(), (1, 4, 4), {"ts9": at(9), "ts17": at(17), "ts20": at(20), **{f"dynamo{o}": new(o) for o in DYNAMO}})
    make("matmuls", MatMuls(), (1, 4, 4), {"ts9": at(9), "ts17": at(17), "dynamo18": new(18)})
    make("channels", Channels(), (8, 8, 1), {"ts17": at(17), "dynamo18": new(18)})
    for kind in ("softmax", "logsoftmax"):
        make(kind, Head(kind), (16,), {"ts9": at(9), "ts11": at(11), "ts17": at(17), "dynamo18": new(18)})
    make("softmax_last", Head("softmax", -1), (16,), {"ts9": at(9), "ts17": at(17)})
    refused = []
    for name, (m, shape, what) in UNSUPPORTED.items():
        path = os.path.join(HERE, f"unsupported_{name}.onnx")
        ts(m.eval(), images(shape).float(), path, 17)
        refused.append(dict(**describe(path), names=what))
    path = os.path.join(HERE, "unsupported_two_inputs.onnx")
    torch.onnx.export(Many().eval(), (torch.zeros(1, 8), torch.zeros(1, 8)), path, dynamo=False, opset_version=17)
    refused.append(dict(**describe(path), names="two inputs"))
    with open(os.path.join(HERE, "unsupported.json"), "w") as f:
        f.write('{\n "format": 1,\n "files": [\n  ' + ",\n  ".join(json.dumps(r) for r in refused) + "\n ]\n}\n")
    print("\n".join(report))


main()
