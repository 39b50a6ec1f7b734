"""What the scripts of the zoo share: random weights, export to ONNX, gradients in float64, onnxruntime."""
import contextlib
import io
import logging
import warnings
import zlib

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import nn

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def seed_of(name):
    """A seed that goes by the name alone, so that a row added to a table changes no other row."""
    return zlib.crc32(name.encode())


def randomise(model, name, spread=1.0):
    """Sets every weight, bias and statistic of model to random float32 numbers; returns it in evaluation mode.

    Weights keep the size of what passes (variance 1/fan-in times spread²). Nothing stays at the 0 or 1 that would
    hide a layer: norms have gains of 0.5 to 1.5, running variances of 0.5 to 1.5 and means of a normal draw, biases,
    tokens, layer scales and tables of positions are drawn too.
    """
    g = torch.Generator().manual_seed(seed_of(name))

    def uniform(t, lo, hi):
        t.copy_(torch.rand(t.shape, generator=g) * (hi - lo) + lo)

    def normal(t, s):
        t.copy_(torch.randn(t.shape, generator=g) * s)

    with torch.no_grad():
        for m in model.modules():
            own = dict(m.named_parameters(recurse=False))
            for key, p in own.items():
                if p is None:
                    continue
                if key == "weight" and p.dim() == 1:
                    uniform(p, 0.5, 1.5) if not isinstance(m, nn.PReLU) else uniform(p, 0.1, 0.4)
                elif "weight" in key and p.dim() > 1:
                    fan = p[0].numel()
                    if isinstance(m, nn.ConvTranspose2d):
                        fan = p.numel() // p.shape[1]
                    normal(p, spread / fan ** 0.5)
                elif any(word in key for word in ("gamma", "gain", "scale", "temperature")):
                    uniform(p, 0.5, 1.5)
                else:
                    normal(p, 0.2)
            for key, b in m.named_buffers(recurse=False):
                if key == "running_mean":
                    normal(b, 0.2)
                elif key == "running_var":
                    uniform(b, 0.5, 1.5)
    return model.eval()


def has_batch_norm(model):
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def calibrate(model, x, name, calm):
    """Sets the scale of each layer by what reaches it for images x, so that the logits depend on the image through every layer.

    A deep network with any random numbers gives the same logits for all images, or numbers of 12 digits. BatchNorm gets the share 1 - calm of the mean of what reaches it, and at least calm times its mean square as
    variance, both made wrong by a random part. Where there is no BatchNorm, outputs of convolutions and linear maps get a
    deviation of 1.
    """
    g = torch.Generator().manual_seed(seed_of(name) + 1)
    hooks = []

    def statistics(m, args):
        x = args[0]
        dims = [d for d in range(x.dim()) if d != 1]
        var, mean = torch.var_mean(x, dims)
        noise = torch.randn(mean.shape, generator=g) * 0.2
        m.running_mean.copy_(max(0, 1 - calm) * mean + noise * var.sqrt())
        m.running_var.copy_((var * (torch.rand(var.shape, generator=g) + 0.5)).clamp(min=calm * (x * x).mean().item() + 1e-6))

    def scale(m, _, y):
        bias = 0 if m.bias is None else m.bias.view([-1] + [1] * (m.weight.dim() - 2))
        s = (y - bias).std().item()
        if 1e-9 < s < 1e9:
            m.weight.div_(s)
            return (y - bias) / s + bias

    normed = has_batch_norm(model)
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            hooks.append(m.register_forward_pre_hook(statistics))
        elif not normed and type(m) in (nn.Conv2d, nn.Linear):
            hooks.append(m.register_forward_hook(scale))
    with torch.no_grad():
        model(torch.as_tensor(x, dtype=torch.float32))
    for h in hooks:
        h.remove()
    return model


def settle(build, x, name, known=None):
    """A network with random weights for which float32 and float64 give the same logits of x within 1e-6 of the largest, if it can.

    With BatchNorm as in training, a network of random weights and a hundred layers makes differences grow at each layer: two
    programs that both compute in float32 would agree in three digits. Trained networks do not, so means are taken away less and
    less until this one does not.
    """
    best = np.inf
    for calm in CALMS if known is None else (known,):
        torch.manual_seed(seed_of(name))
        m = calibrate(round_constants(randomise(build(), name)), x, name, calm)
        with torch.no_grad():
            single = m(torch.tensor(x[:2]).float()).numpy()
            away = off(single, m.double()(torch.tensor(x[:2])).numpy())
        if away < best:
            best, model, taken, spread = away, m.float(), calm, float(np.abs(single[0] - single[1]).max() / np.abs(single).max())
        if best < 1e-6 or not has_batch_norm(m):
            break
    return model, taken, spread


CALMS = (0.1, 0.3, 0.5, 0.7, 0.85, 1, 1.5, 2.5)


def picture(name, n, size):
    """n RGB images of a few smooth shades and noise, which differ as a whole; multiples of 1/256 in [0, 1]."""
    g = torch.Generator().manual_seed(seed_of(name) + 2)
    shade = F.interpolate(torch.rand(n, 3, 3, 3, generator=g), size=(size, size), mode="bilinear", align_corners=True)
    x = (0.8 * shade + 0.2 * torch.rand(n, 3, size, size, generator=g)).double()
    return ((x * 256).round() / 256).numpy()


def image(name, *shape):
    """Images in [0, 1], multiples of 1/256, which are exact in float32 and short as decimals."""
    return np.random.RandomState(seed_of(name) % 2**31).randint(0, 257, shape).astype(np.float64) / 256


def float32_sixth(x, inplace=False):
    """hardsigmoid as its ONNX operator says it: the attribute alpha is a float32 number, which 1/6 is not."""
    return torch.clamp(x * float(np.float32(1 / 6)) + 0.5, 0, 1)


def round_constants(model):
    """Makes the epsilons and slopes of model float32 numbers, which attributes of ONNX files are, whatever the file's own type."""
    for m in model.modules():
        for key in ("eps", "negative_slope", "alpha", "variance_epsilon"):
            v = getattr(m, key, None)
            if isinstance(v, float):
                setattr(m, key, float(np.float32(v)))
    return model


@contextlib.contextmanager
def as_onnx_says():
    """Within it, PyTorch computes the few functions whose constants ONNX keeps as float32 with those numbers."""
    kept = F.hardsigmoid
    F.hardsigmoid = float32_sixth
    try:
        yield
    finally:
        F.hardsigmoid = kept


def gradient(model, x, labels, dtype=torch.float64):
    """Logits [B, O] of x [B, ...] and the gradient [B, ...] of the cross-entropy summed over images, in dtype."""
    model = model.to(dtype)
    x = torch.tensor(x, dtype=dtype, requires_grad=True)
    # Behind a transposition PyTorch 2.15 takes the gradient at a BatchNorm in the wrong order of its numbers on the CPU: what it
    # then gives is not what differences of the same module give. In one piece it is taken right.
    hooks = [m.register_full_backward_pre_hook(lambda _, grads: tuple(g.contiguous() for g in grads))
             for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    with as_onnx_says():
        z = model(x)
        F.cross_entropy(z, torch.tensor(labels), reduction="sum").backward()
    for h in hooks:
        h.remove()
    return z.detach().numpy(), x.grad.numpy()


def strip(proto):
    """Takes out of an exported file what tells of the machine and of the exporter's source lines."""
    def graph(g):
        del g.metadata_props[:], g.value_info[:]
        g.doc_string = ""
        for v in [*g.input, *g.output]:
            del v.metadata_props[:]
            v.doc_string = ""
        for t in g.initializer:
            del t.metadata_props[:]
            t.doc_string = ""
        for n in g.node:
            del n.metadata_props[:]
            n.doc_string = ""
            for a in n.attribute:
                if a.type == onnx.AttributeProto.GRAPH:
                    graph(a.g)
    del proto.metadata_props[:]
    graph(proto.graph)
    for f in proto.functions:
        del f.metadata_props[:]
        f.doc_string = ""
        for n in f.node:
            del n.metadata_props[:]
            n.doc_string = ""
    return proto


def export(model, x, path, exporter="script", opset=17, dynamic=True, plain=False):
    """Writes model as an ONNX file. exporter is "script" (torch.onnx.export with dynamo=False) or "dynamo".

    plain keeps BatchNorm apart from the convolution before it, where folding would round the weights.
    """
    x = torch.as_tensor(x, dtype=next(iter(model.parameters())).dtype)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if exporter == "script":
            b = io.BytesIO()
            torch.onnx.export(model, (x,), b, dynamo=False, opset_version=opset, input_names=["x"], output_names=["logits"],
                              dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}} if dynamic else None,
                              training=torch.onnx.TrainingMode.PRESERVE if plain else torch.onnx.TrainingMode.EVAL)
            proto = onnx.load_from_string(b.getvalue())
        elif exporter == "dynamo":
            program = torch.onnx.export(model, (x,), dynamo=True, opset_version=opset, input_names=["x"], output_names=["logits"],
                                        dynamic_shapes=({0: torch.export.Dim("N")},) if dynamic else None, verbose=False)
            proto = program.model_proto
        else:
            raise ValueError(f"exporter {exporter!r}, want script or dynamo")
    onnx.save(strip(proto), path)
    return proto


def runtime(path, x):
    """Logits of x [B, ...] by onnxruntime, all images at once, or one by one where the file says so."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    s = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    i = s.get_inputs()[0]
    x = x.astype({"tensor(float)": np.float32, "tensor(double)": np.float64}[i.type])
    if i.shape and i.shape[0] == 1:
        return np.concatenate([s.run(None, {i.name: x[k:k + 1]})[0] for k in range(len(x))])
    return s.run(None, {i.name: x})[0]


def off(got, want):
    """The largest difference in units of the largest of want."""
    return float(np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max())


def in_float64(path):
    """The graph of a float32 file with each constant and each cast made float64, which alters no number of the file."""
    proto = onnx.load(str(path))
    single, double = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE

    def widen(t):
        if t.data_type == single:
            t.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(t).astype(np.float64), t.name))

    for t in proto.graph.initializer:
        widen(t)
    for n in proto.graph.node:
        for a in n.attribute:
            if a.type == onnx.AttributeProto.TENSOR:
                widen(a.t)
            if n.op_type == "Cast" and a.name == "to" and a.i == single:
                a.i = double
    for v in [*proto.graph.input, *proto.graph.output]:
        if v.type.tensor_type.elem_type == single:
            v.type.tensor_type.elem_type = double
    return proto


def corrected():
    """Operators that ONNX's reference evaluator computes in float32, or wrongly for old opsets, by PyTorch in float64."""
    from onnx.reference.op_run import OpRun
    t = torch.from_numpy

    class BatchNormalization(OpRun):
        op_domain = ""

        def _run(self, x, gain, bias, mean, var, epsilon=1e-5, momentum=None, training_mode=0, spatial=1):
            return (F.batch_norm(*map(t, (x, mean, var, gain, bias)), eps=epsilon).numpy(),)

    class LayerNormalization(OpRun):
        op_domain = ""

        def _run(self, x, gain, bias=None, axis=-1, epsilon=1e-5, stash_type=1):
            return (F.layer_norm(t(x), x.shape[axis:], t(gain), None if bias is None else t(bias), epsilon).numpy(),)

    class GroupNormalization(OpRun):
        op_domain = ""

        def _run(self, x, gain, bias, epsilon=1e-5, num_groups=None, stash_type=1):
            return (F.group_norm(t(x), num_groups, t(gain), t(bias), epsilon).numpy(),)

    class Erf(OpRun):
        op_domain = ""

        def _run(self, x):
            return (torch.erf(t(x)).numpy(),)

    class Gelu(OpRun):
        op_domain = ""

        def _run(self, x, approximate="none"):
            return (F.gelu(t(x), approximate=approximate).numpy(),)

    class HardSwish(OpRun):
        op_domain = ""

        def _run(self, x):
            return (F.hardswish(t(x)).numpy(),)

    class Softplus(OpRun):
        op_domain = ""

        def _run(self, x):
            return (torch.log1p(torch.exp(t(x))).numpy(),)

    class Mish(OpRun):
        op_domain = ""

        def _run(self, x):
            return (F.mish(t(x)).numpy(),)

    class MaxPool(OpRun):
        op_domain = ""

        def _run(self, x, auto_pad="NOTSET", ceil_mode=0, dilations=None, kernel_shape=None, pads=None, storage_order=0, strides=None):
            pads = pads or [0, 0, 0, 0]
            assert auto_pad == "NOTSET" and pads[:2] == pads[2:]
            return (F.max_pool2d(t(x), kernel_shape, strides or 1, pads[:2], dilations or 1, bool(ceil_mode)).numpy(),)

    class AveragePool(OpRun):
        op_domain = ""

        def _run(self, x, auto_pad="NOTSET", ceil_mode=0, count_include_pad=0, dilations=None, kernel_shape=None, pads=None, strides=None):
            pads, n = pads or [0] * 2 * len(kernel_shape), len(kernel_shape)
            assert auto_pad == "NOTSET" and pads[:n] == pads[n:] and not any(d > 1 for d in dilations or [])
            pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[n]
            return (pool(t(x), kernel_shape, strides or 1, pads[:n], bool(ceil_mode), bool(count_include_pad)).numpy(),)

    class ConvTranspose(OpRun):
        op_domain = ""

        def _run(self, x, w, b=None, auto_pad="NOTSET", dilations=None, group=1, kernel_shape=None, output_padding=None, output_shape=None, pads=None, strides=None):
            pads = pads or [0, 0, 0, 0]
            assert auto_pad == "NOTSET" and pads[:2] == pads[2:] and output_shape is None
            return (F.conv_transpose2d(t(x), t(w), None if b is None else t(b), strides or 1, pads[:2], output_padding or 0, group, dilations or 1).numpy(),)

    class LRN(OpRun):
        op_domain = ""

        def _run(self, x, alpha=1e-4, beta=0.75, bias=1.0, size=None):
            return (F.local_response_norm(t(x), size, alpha, beta, bias).numpy(),)

    def along(v, x, axis):
        return v.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]) if v.ndim else v

    class QuantizeLinear(OpRun):
        op_domain = ""

        def _run(self, x, scale, zero, axis=1, block_size=0, output_dtype=None, precision=None, saturate=1):
            limits = np.iinfo(zero.dtype)
            return (np.clip(np.rint(x / along(scale, x, axis)) + along(zero, x, axis), limits.min, limits.max).astype(zero.dtype),)

    class DequantizeLinear(OpRun):
        op_domain = ""

        def _run(self, q, scale, zero, axis=1, block_size=0, output_dtype=None):
            return ((q.astype(np.float64) - along(zero, q, axis)) * along(scale, q, axis),)

    return [v for v in locals().values() if isinstance(v, type) and v is not OpRun]


def reference(path, x):
    """Logits of x by ONNX's own reference evaluator, in float64. It is slow: for small files."""
    from onnx.reference import ReferenceEvaluator
    r = ReferenceEvaluator(in_float64(path), new_ops=corrected())
    d = r.input_types[0].tensor_type.shape.dim
    if len(d) and d[0].dim_value == 1:
        return np.concatenate([r.run(None, {r.input_names[0]: x[k:k + 1]})[0] for k in range(len(x))])
    return r.run(None, {r.input_names[0]: x})[0]
