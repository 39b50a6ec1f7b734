"""Writes the models and base.npz beside it: small networks with random weights, and what they say.

Made with NumPy 2.4.6, onnx 1.23.2 and onnxruntime 1.32.0: python images.py. base.npz holds
  x        uint8 [24, 8, 8, 3]
  y_row    argmax of row.onnx on x/255 as rows in the order H, W, C: x.reshape(24, -1)
  y_rowc   argmax of row.onnx on x/255 as rows in the order C, H, W
  y_rgb    argmax of rgb.onnx on x/255 as [N, C, H, W];  y_mlp that of mlp.onnx, an MLP behind a Flatten
  y_grey   argmax of grey.onnx on the red channel/255;   y_16 on the red channel//16 of 16
  y_three  argmax of rgb.onnx on the red channel/255 three times
  x5, y5   float32 [12, 5, 4, 4] and the argmax of five.onnx
The weights are such that another order or scale of the pixels gives other classes.
"""
import os

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

os.chdir(os.path.dirname(os.path.abspath(__file__)))
rng = np.random.default_rng(7)


def weight(name, *shape):
    return numpy_helper.from_array(rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32), name)


def save(name, shape, nodes, weights):
    graph = helper.make_graph(
        nodes, name,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 4])], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, name + ".onnx")


def conv(name, c, h, w):
    save(name, (c, h, w), [
        helper.make_node("Conv", ["x", "w1"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Flatten", ["b"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["logits"], transB=1),
    ], [weight("w1", 3, c, 3, 3), weight("w2", 4, 3 * h * w), weight("b2", 4)])


def predict(name, x, balance=False):
    """balance sets the last bias so that each class is the argmax of some images."""
    run = lambda: onnxruntime.InferenceSession(name + ".onnx").run(None, {"x": x.astype(np.float32)})[0]
    if balance:
        model = onnx.load(name + ".onnx")
        bias = model.graph.initializer[-1]
        b = numpy_helper.to_array(bias) - np.median(run(), axis=0)
        bias.CopyFrom(numpy_helper.from_array(b.astype(np.float32), bias.name))
        onnx.save(model, name + ".onnx")
    y = run().argmax(1)
    print(name, np.bincount(y, minlength=4))
    return y.astype(np.int64)


save("row", (192,), [helper.make_node("Gemm", ["x", "w", "b"], ["logits"], transB=1)], [weight("w", 4, 192), weight("b", 4)])
save("mlp", (3, 8, 8), [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["logits"], transB=1)],
     [weight("w", 4, 192), weight("b", 4)])
conv("rgb", 3, 8, 8)
conv("grey", 1, 8, 8)
conv("five", 5, 4, 4)
conv("wide", 1, 6, 10)
x = rng.integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
chw = x.transpose(0, 3, 1, 2) / 255
red = x[..., 0]
x5 = rng.random((12, 5, 4, 4), dtype=np.float32)
np.savez_compressed(
    "base.npz", x=x, x5=x5, y_row=predict("row", (x / 255).reshape(24, -1), True), y_rowc=predict("row", chw.reshape(24, -1)),
    y_rgb=predict("rgb", chw, True), y_mlp=predict("mlp", chw, True), y_grey=predict("grey", red[:, None] / 255, True),
    y_16=predict("grey", (red // 16)[:, None] / 16), y_three=predict("rgb", np.repeat(red[:, None] / 255, 3, 1)), y5=predict("five", x5, True))
