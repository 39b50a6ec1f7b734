"""Writes a network as the ONNX file that advsweep and onnxruntime take, the number of images left open."""
import logging
import warnings

import torch

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def onnx(m, shape, path):
    """shape is that of an image. The exporter folds a BatchNorm that follows a convolution into it."""
    axes = {"x": {0: "n"}, "logits": {0: "n"}}
    torch.onnx.export(m, torch.zeros(1, *shape), path, dynamo=False, opset_version=17, input_names=["x"], output_names=["logits"], dynamic_axes=axes)
