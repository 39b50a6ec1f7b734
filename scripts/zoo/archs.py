"""The architectures of the zoo: torchvision's, timm's, and those of robustness benchmarks on CIFAR, with ten classes and random weights.

Networks are cut in depth, never in kind of layer, where a file would take more than some 100 MB.
"""
import dataclasses

import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from small import conv


@dataclasses.dataclass
class Arch:
    source: str        # who has it: "torchvision", "timm", or "RobustBench" for networks written here
    build: object      # () -> module with ten logits
    size: int = 64     # pixels of a side; images are RGB
    opset: int = 17    # of the TorchScript exporter
    also: bool = False  # exported by the dynamo exporter as well
    fixed: bool = False  # the file takes a batch of one image
    exporter: str = "script"


def tv(name, size=64, change=None, **k):
    more = {key: k.pop(key) for key in ("opset", "also", "fixed", "exporter") if key in k}

    def build():
        m = getattr(torchvision.models, name)(weights=None, num_classes=10, **k)
        if change:
            change(m)
        return m
    return Arch("torchvision", build, size, **more)


def tm(name, size=64, **k):
    more = {key: k.pop(key) for key in ("opset", "also", "fixed", "exporter") if key in k}
    return Arch("timm", lambda: timm.create_model(name, pretrained=False, num_classes=10, **k), size, **more)


def rb(build, **k):
    return Arch("RobustBench", build, 32, **k)


class Wide(nn.Module):
    """A block of wide residual networks: BatchNorm and activation first, which the shortcut takes too where it has a convolution."""

    def __init__(self, i, o, s, act):
        super().__init__()
        self.bn1, self.c1, self.bn2, self.c2, self.act = nn.BatchNorm2d(i), conv(i, o, 3, s), nn.BatchNorm2d(o), conv(o, o), act()
        self.short = conv(i, o, 1, s) if i != o else None

    def forward(self, x):
        y = self.act(self.bn1(x))
        short = x if self.short is None else self.short(y)
        return short + self.c2(self.act(self.bn2(self.c1(y))))


class WideResNet(nn.Module):
    """WRN-depth-width. With silu it has the mean and deviation of its data inside, as the networks of Gowal et al. 2020 have."""

    def __init__(self, depth, width, silu=False):
        super().__init__()
        n, act = (depth - 4) // 6, nn.SiLU if silu else nn.ReLU
        widths = [16, 16 * width, 32 * width, 64 * width]
        blocks = [Wide(widths[g] if k == 0 else widths[g + 1], widths[g + 1], 2 if g and k == 0 else 1, act) for g in range(3) for k in range(n)]
        self.stem, self.blocks, self.bn, self.act, self.fc = conv(3, 16), nn.Sequential(*blocks), nn.BatchNorm2d(widths[3]), act(), nn.Linear(widths[3], 10)
        self.register_buffer("mean", torch.tensor([0.4914, 0.4822, 0.4465]).view(3, 1, 1) if silu else None)
        self.register_buffer("std", torch.tensor([0.2471, 0.2435, 0.2616]).view(3, 1, 1) if silu else None)

    def forward(self, x):
        if self.mean is not None:
            x = (x - self.mean) / self.std
        x = self.act(self.bn(self.blocks(self.stem(x))))
        x = F.avg_pool2d(x, 8)
        return self.fc(x.view(-1, self.fc.in_features))


class PreActResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        widths = [64, 64, 128, 256, 512]
        self.stem = conv(3, 64)
        self.blocks = nn.Sequential(*(Wide(widths[g] if k == 0 else widths[g + 1], widths[g + 1], 2 if g and k == 0 else 1, nn.ReLU) for g in range(4) for k in range(2)))
        self.bn, self.fc = nn.BatchNorm2d(512), nn.Linear(512, 10)

    def forward(self, x):
        x = F.avg_pool2d(F.relu(self.bn(self.blocks(self.stem(x)))), 4)
        return self.fc(x.view(x.size(0), -1))


def cifar(name):
    """torchvision's ResNet with a first convolution of 3x3 and no pool, as for 32x32 images."""
    m = getattr(torchvision.models, name)(weights=None, num_classes=10)
    m.conv1, m.maxpool = conv(3, 64), nn.Identity()
    return m


def narrow(m):
    """VGG and AlexNet with 64 units in the hidden layers of the classifier, where nine tenths of the weights are."""
    linear = [i for i, l in enumerate(m.classifier) if isinstance(l, nn.Linear)]
    for at, i, o in zip(linear, (m.classifier[linear[0]].in_features, 64, 64), (64, 64, 10)):
        m.classifier[at] = nn.Linear(i, o)


def single(m):
    """GoogLeNet and Inception without the heads that only training uses."""
    m.aux_logits = False
    m.aux1 = m.aux2 = m.AuxLogits = None


ARCHS = {
    # RobustBench
    "wrn_28_10": rb(lambda: WideResNet(16, 10), also=True),
    "wrn_34_20": rb(lambda: WideResNet(10, 20), opset=11, fixed=True),
    "wrn_28_10_silu": rb(lambda: WideResNet(16, 10, True), also=True, opset=13),
    "preact_resnet18": rb(PreActResNet18, also=True, opset=12),
    "resnet18_cifar": rb(lambda: cifar("resnet18"), also=True, opset=11),
    "resnet50_cifar": rb(lambda: cifar("resnet50"), opset=13),
    "xcit_small_12_p8": tm("xcit_small_12_p8_224", 64, opset=16, depth=4),
    "xcit_nano_12_p16": tm("xcit_nano_12_p16_224", 64, exporter="dynamo"),
    "convnext_tiny_timm": tm("convnext_tiny", 64, depths=(1, 1, 3, 1), also=True),
    "swin_base": tm("swin_base_patch4_window7_224", 224, depths=(1, 1, 2, 1), fixed=True),
    "vit_base": tm("vit_base_patch16_224", 96, img_size=96, depth=3, also=True),
    "deit_small": tm("deit_small_distilled_patch16_224", 96, img_size=96, depth=4, also=True),
    # torchvision
    "resnet50": tv("resnet50", also=True),
    "alexnet": tv("alexnet", 224, narrow, opset=11, also=True),
    "vgg11_bn": tv("vgg11_bn", 224, narrow, fixed=True),
    "squeezenet1_1": tv("squeezenet1_1", opset=11, also=True),
    "densenet121": tv("densenet121", opset=12),
    "googlenet": tv("googlenet", 64, single, init_weights=False, also=True),
    "inception_v3": tv("inception_v3", 107, single, init_weights=False),
    "mobilenet_v2": tv("mobilenet_v2", opset=11, also=True),
    "mobilenet_v3_small": tv("mobilenet_v3_small", opset=14, also=True),
    "mobilenet_v3_large": tv("mobilenet_v3_large", opset=17),
    "mnasnet1_0": tv("mnasnet1_0", opset=13),
    "shufflenet_v2_x1_0": tv("shufflenet_v2_x1_0", opset=12, also=True),
    "efficientnet_b0": tv("efficientnet_b0", opset=13, also=True),
    "efficientnet_v2_s": tv("efficientnet_v2_s", fixed=True),
    "regnet_x_400mf": tv("regnet_x_400mf"),
    "regnet_y_400mf": tv("regnet_y_400mf", opset=14, also=True),
    "resnext50_32x4d": tv("resnext50_32x4d", opset=11),
    "wide_resnet50_2": tv("wide_resnet50_2", opset=16),
    "convnext_tiny": tv("convnext_tiny", exporter="dynamo"),
    "vit_b_16": tv("vit_b_16", 64, image_size=64, change=lambda m: setattr(m.encoder, "layers", m.encoder.layers[:3]), also=True),
    "swin_t": tv("swin_t", 64, also=True),
    "swin_v2_t": tv("swin_v2_t", 64, opset=16),
    "maxvit_t": tv("maxvit_t", 224, fixed=True),
    # timm
    "levit_128s": tm("levit_128s", 224, fixed=True),
    "mixer_s16": tm("mixer_s16_224", 64, img_size=64, also=True),
    "resmlp_12": tm("resmlp_12_224", 64, img_size=64),
    "gmlp_s16": tm("gmlp_s16_224", 64, img_size=64),
    "poolformer_s12": tm("poolformer_s12", 64, opset=13),
    "eca_nfnet_l0": tm("eca_nfnet_l0", 64, also=True),
    "dm_nfnet_f0": tm("dm_nfnet_f0", 64, opset=14, fixed=True),
    "repvgg_a0": tm("repvgg_a0", opset=13),
    "mobileone_s0": tm("mobileone_s0", opset=13),
    "resnetblur50": tm("resnetblur50", opset=11),
    "resnet50d": tm("resnet50d", opset=14),
    "efficientvit_b0": tm("efficientvit_b0", also=True),
    "efficientvit_m0": tm("efficientvit_m0", 224, fixed=True),
    "cait_xxs24": tm("cait_xxs24_224", 64, img_size=64, depth=4),
    "beit_base": tm("beit_base_patch16_224", 64, img_size=64, depth=2),
    "convmixer_768_32": tm("convmixer_768_32", 64),
    "hrnet_w18_small": tm("hrnet_w18_small", 64),
    "res2net50": tm("res2net50_26w_4s", 64, opset=12),
    "seresnet50": tm("seresnet50", opset=13),
    "skresnet18": tm("skresnet18", opset=13),
    "ecaresnet26t": tm("ecaresnet26t", opset=16),
    "ghostnet_100": tm("ghostnet_100", opset=13, also=True),
    "mobilevit_s": tm("mobilevit_s", 64, also=True),
    "dpn68": tm("dpn68", opset=13),
    "ese_vovnet19b_dw": tm("ese_vovnet19b_dw", opset=13),
    "cspresnet50": tm("cspresnet50", opset=12),
    "dla34": tm("dla34", opset=11),
    "xception41": tm("xception41", opset=13),
    "inception_v4": tm("inception_v4", 107, opset=13),
    "resnest14d": tm("resnest14d", opset=13),
    "edgenext_xx_small": tm("edgenext_xx_small", 64),
    "focalnet_tiny_srf": tm("focalnet_tiny_srf", 64, exporter="dynamo"),
}

# Kept for rows whose export fails: PyTorch's exporters change. The first ones that do export fill up to the number wanted.
SPARE = {
    "coat_lite_tiny": tm("coat_lite_tiny", 64, img_size=64),
    "selecsls42b": tm("selecsls42b", opset=13),
    "lcnet_100": tm("lcnet_100", opset=14),
    "tinynet_e": tm("tinynet_e", opset=13),
    "hardcorenas_a": tm("hardcorenas_a", opset=14),
    "darknet53": tm("darknet53", opset=13),
    "regnety_002": tm("regnety_002", opset=13),
    "legacy_seresnet18": tm("legacy_seresnet18", opset=13),
    "fastvit_t8": tm("fastvit_t8", 64),
    "tnt_s": tm("tnt_s_patch16_224", 64, img_size=64, depth=2),
}
