"""small.py OUT: shrunk models of the families of image classifiers, with random weights, and what PyTorch says of them in float64.

NAME.onnx and NAME.json for each of NETS and for the two graphs written by hand. The JSON has: shape of an image as the file takes
it, inputs [2][...], labels [2], logits [2][O] and gradients [2][...] of the cross-entropy of each image, all of the module in float64.

What a file says must be what PyTorch computed, to the last digit that float64 has. A file is float32 where all its constants are
float32 numbers. Where one is not (√2 in GELU, 1/√d in attention, standardised weights), the file is float64, and so is every one of
its weights; NETS says which.
"""
import json
import pathlib
import sys

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from common import export, gradient, image, off, randomise, reference, runtime, seed_of

CLASSES = 5


# Parts that several nets are made of.

def conv(i, o, k=3, s=1, g=1, bias=False, p=None):
    return nn.Conv2d(i, o, k, s, k // 2 if p is None else p, groups=g, bias=bias)


def cbr(i, o, k=3, s=1, g=1, act=nn.ReLU, p=None):
    """Convolution, BatchNorm, activation; act None: none."""
    return nn.Sequential(conv(i, o, k, s, g, p=p), nn.BatchNorm2d(o), *([act()] if act else []))


def head(c, classes=CLASSES):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, classes))


class Residual(nn.Module):
    """x + f(x), or shortcut(x) + f(x)."""

    def __init__(self, *f, shortcut=None):
        super().__init__()
        self.f, self.shortcut = nn.Sequential(*f), shortcut or nn.Identity()

    def forward(self, x):
        return self.shortcut(x) + self.f(x)


class Cat(nn.Module):
    """The channels of all branches, one after the other."""

    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([b(x) for b in self.branches], 1)


class Gate(nn.Module):
    """Squeeze and excite: channels times a gate from their means."""

    def __init__(self, c, r, inner=nn.ReLU, outer=nn.Sigmoid, by_mean=False):
        super().__init__()
        self.by_mean = by_mean
        self.f = nn.Sequential(nn.Conv2d(c, r, 1), inner(), nn.Conv2d(r, c, 1), outer())

    def forward(self, x):
        s = x.mean((2, 3), keepdim=True) if self.by_mean else F.adaptive_avg_pool2d(x, 1)
        return x * self.f(s)


def inverted(i, o, e, k, s, act, gate):
    """Widen by 1x1, depthwise, gate, narrow by 1x1: the block of MobileNetV2, V3 and EfficientNet."""
    f = [cbr(i, e, 1, act=act), cbr(e, e, k, s, e, act=act), gate, cbr(e, o, 1, act=None)]
    return Residual(*f) if i == o and s == 1 else nn.Sequential(*f)


def efficientnet():
    silu = nn.SiLU
    return nn.Sequential(cbr(3, 8, 3, 2, act=silu), inverted(8, 8, 16, 3, 1, silu, Gate(16, 4, silu, by_mean=True)),
                         inverted(8, 12, 24, 5, 2, silu, Gate(24, 4, silu, by_mean=True)), cbr(12, 24, 1, act=silu), head(24))


def mobilenetv3():
    hs = nn.Hardswish
    return nn.Sequential(cbr(3, 8, 3, 2, act=hs), inverted(8, 8, 16, 3, 1, nn.ReLU, Gate(16, 8, nn.ReLU, nn.Hardsigmoid)),
                         inverted(8, 12, 24, 5, 2, hs, Gate(24, 8, nn.ReLU, nn.Hardsigmoid)), cbr(12, 24, 1, act=hs),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 16), hs(), nn.Linear(16, CLASSES))


def mobilenetv2():
    return nn.Sequential(cbr(3, 8, 3, 2, act=nn.ReLU6), inverted(8, 8, 16, 3, 1, nn.ReLU6, nn.Identity()),
                         inverted(8, 12, 24, 3, 2, nn.ReLU6, nn.Identity()), head(12))


class Dense(nn.Module):
    def __init__(self, c, grow):
        super().__init__()
        self.f = nn.Sequential(nn.BatchNorm2d(c), nn.ReLU(), conv(c, 2 * grow, 1), nn.BatchNorm2d(2 * grow), nn.ReLU(), conv(2 * grow, grow))

    def forward(self, x):
        return torch.cat([x, self.f(x)], 1)


def densenet():
    return nn.Sequential(conv(3, 8), Dense(8, 4), Dense(12, 4), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 8, 1), nn.AvgPool2d(2, 2),
                         Dense(8, 4), Dense(12, 4), nn.BatchNorm2d(16), nn.ReLU(), head(16))


def inception(pool):
    return Cat(cbr(8, 6, 1), nn.Sequential(cbr(8, 4, 1), nn.Conv2d(4, 6, (1, 3), padding=(0, 1)), nn.ReLU(), nn.Conv2d(6, 6, (3, 1), padding=(1, 0)), nn.ReLU()),
               nn.Sequential(cbr(8, 4, 1), cbr(4, 6), cbr(6, 6)), nn.Sequential(pool, cbr(8, 6, 1)))


def inceptionv3():
    return nn.Sequential(cbr(3, 8), nn.AvgPool2d(2, 2, ceil_mode=True), inception(nn.AvgPool2d(3, 1, 1, count_include_pad=False)), cbr(24, 8, 1),
                         nn.AvgPool2d(3, 2, 1, ceil_mode=True), inception(nn.AvgPool2d(3, 1, 1)), head(24))


def googlenet():
    return nn.Sequential(cbr(3, 8, 5, 1), nn.MaxPool2d(3, 2, ceil_mode=True), inception(nn.MaxPool2d(3, 1, 1, ceil_mode=True)), cbr(24, 8, 1),
                         nn.MaxPool2d(2, 2, ceil_mode=True), inception(nn.MaxPool2d(3, 1, 1)), nn.Dropout(), head(24))


def bottleneck(i, o, w, g, s=1, gate=None):
    return Residual(cbr(i, w, 1), cbr(w, w, 3, s, g), *([gate] if gate else []), cbr(w, o, 1, act=None),
                    shortcut=cbr(i, o, 1, s, act=None) if i != o or s > 1 else None)


def resnet():
    def basic(i, o, s):
        return nn.Sequential(Residual(cbr(i, o, 3, s), cbr(o, o, act=None), shortcut=cbr(i, o, 1, s, act=None) if i != o else None), nn.ReLU())
    return nn.Sequential(cbr(3, 8, 3, 1), nn.MaxPool2d(3, 2, 1), basic(8, 8, 1), basic(8, 12, 2), head(12))


def resnext():
    return nn.Sequential(cbr(3, 8), bottleneck(8, 16, 16, 4), nn.ReLU(), bottleneck(16, 16, 16, 8, 2), nn.ReLU(), head(16))


def regnet():
    return nn.Sequential(cbr(3, 8, 3, 2), bottleneck(8, 16, 16, 2, 2, Gate(16, 4)), nn.ReLU(), bottleneck(16, 16, 16, 2, 1, Gate(16, 4)), nn.ReLU(), head(16))


class Shuffle(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        n, c, h, w = x.shape
        return x.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleUnit(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.f = nn.Sequential(cbr(c // 2, c // 2, 1), cbr(c // 2, c // 2, 3, 1, c // 2, act=None), cbr(c // 2, c // 2, 1))
        self.shuffle = Shuffle(2)

    def forward(self, x):
        a, b = x.chunk(2, 1)
        return self.shuffle(torch.cat([a, self.f(b)], 1))


def shufflenet():
    down = Cat(nn.Sequential(cbr(8, 8, 3, 2, 8, act=None), cbr(8, 8, 1)), nn.Sequential(cbr(8, 8, 1), cbr(8, 8, 3, 2, 8, act=None), cbr(8, 8, 1)))
    return nn.Sequential(cbr(3, 8, 3, 2), down, Shuffle(2), ShuffleUnit(16), ShuffleUnit(16), cbr(16, 24, 1), head(24))


class ChannelsLast(nn.Module):
    """LayerNorm over the channels of an image, by turning it."""

    def __init__(self, c):
        super().__init__()
        self.norm = nn.LayerNorm(c, eps=2**-20)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.dw, self.norm, self.up, self.down = nn.Conv2d(c, c, 7, padding=3, groups=c), nn.LayerNorm(c, eps=2**-20), nn.Linear(c, 2 * c), nn.Linear(2 * c, c)
        self.scale = nn.Parameter(torch.ones(c))

    def forward(self, x):
        y = self.norm(self.dw(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.down(F.gelu(self.up(y)))).permute(0, 3, 1, 2)


def convnext():
    return nn.Sequential(nn.Conv2d(3, 8, 2, 2), ChannelsLast(8), ConvNeXtBlock(8), ChannelsLast(8), nn.Conv2d(8, 12, 2, 2), ConvNeXtBlock(12),
                         nn.AdaptiveAvgPool2d(1), ChannelsLast(12), nn.Flatten(), nn.Linear(12, CLASSES))


class Mlp(nn.Sequential):
    def __init__(self, c, e=2, act=nn.GELU):
        super().__init__(nn.Linear(c, e * c), act(), nn.Dropout(0.1), nn.Linear(e * c, c))


class Patches(nn.Module):
    """Patches as tokens, with a class token before them and the positions added."""

    def __init__(self, c, k, size, token=True):
        super().__init__()
        self.conv = nn.Conv2d(3, c, k, k)
        self.token = nn.Parameter(torch.zeros(1, 1, c)) if token else None
        self.pos = nn.Parameter(torch.zeros(1, (size // k) ** 2 + token, c))

    def forward(self, x):
        x = self.conv(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return x + self.pos


class ViTBlock(nn.Module):
    def __init__(self, c, heads):
        super().__init__()
        self.n1, self.attn, self.n2, self.mlp = nn.LayerNorm(c), nn.MultiheadAttention(c, heads, batch_first=True), nn.LayerNorm(c), Mlp(c)

    def forward(self, x):
        y = self.n1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.n2(x))


class ViT(nn.Module):
    def __init__(self, c=12, heads=2):
        super().__init__()
        self.patches, self.blocks = Patches(c, 4, 16), nn.Sequential(ViTBlock(c, heads), ViTBlock(c, heads))
        self.norm, self.head = nn.LayerNorm(c), nn.Linear(c, CLASSES)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.patches(x)))[:, 0])


class Attention(nn.Module):
    """q, k and v from one linear map, by scaled_dot_product_attention, or written out with a matrix added to the scores."""

    def __init__(self, c, heads, fused=True):
        super().__init__()
        self.heads, self.fused, self.qkv, self.proj = heads, fused, nn.Linear(c, 3 * c), nn.Linear(c, c)

    def forward(self, x, add=None):
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            s = (q * 0.5) @ k.transpose(-2, -1)  # 1/√d for d = 4, exact in float32 whatever d is
            y = (s if add is None else add(s)).softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(n, t, c))


class DeiTBlock(nn.Module):
    def __init__(self, c, heads, fused=True):
        super().__init__()
        self.n1, self.attn, self.n2, self.mlp = nn.LayerNorm(c), Attention(c, heads, fused), nn.LayerNorm(c), Mlp(c)

    def forward(self, x):
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class DeiT(nn.Module):
    """Two tokens with a head each; the logits are the mean of both heads'."""

    def __init__(self, c=12, heads=2):
        super().__init__()
        self.conv, self.token, self.other = nn.Conv2d(3, c, 4, 4), nn.Parameter(torch.zeros(1, 1, c)), nn.Parameter(torch.zeros(1, 1, c))
        self.pos, self.blocks = nn.Parameter(torch.zeros(1, 18, c)), nn.Sequential(DeiTBlock(c, heads), DeiTBlock(c, heads))
        self.norm, self.head, self.head2 = nn.LayerNorm(c), nn.Linear(c, CLASSES), nn.Linear(c, CLASSES)

    def forward(self, x):
        n = x.shape[0]
        x = self.conv(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(n, -1, -1), self.other.expand(n, -1, -1), x), 1) + self.pos
        x = self.norm(self.blocks(x))
        return (self.head(x[:, 0]) + self.head2(x[:, 1])) / 2


class SwinBlock(nn.Module):
    """Attention within windows of w by w, which are rolled by s; s > 0 masks pairs of tokens that were no neighbours."""

    def __init__(self, c, heads, size, w, s):
        super().__init__()
        self.w, self.s, self.heads = w, s, heads
        self.n1, self.attn, self.n2, self.mlp = nn.LayerNorm(c), Attention(c, heads, False), nn.LayerNorm(c), Mlp(c)
        self.table = nn.Parameter(torch.zeros((2 * w - 1) ** 2, heads))
        at = torch.stack(torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij")).flatten(1)
        far = at[:, :, None] - at[:, None, :] + w - 1
        self.register_buffer("index", far[0] * (2 * w - 1) + far[1])
        if s:
            part = torch.zeros(size)
            part[-w:-s], part[-s:] = 1, 2
            region = self.windows((part[:, None] * 3 + part[None])[None, :, :, None]).squeeze(-1)
            self.register_buffer("mask", (region[:, :, None] != region[:, None]).float() * -100)

    def windows(self, x):
        n, h, w, c = x.shape
        k = self.w
        return x.view(n, h // k, k, w // k, k, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, k * k, c)

    def add(self, scores):
        t = self.w ** 2
        scores = scores + self.table[self.index.view(-1)].view(t, t, -1).permute(2, 0, 1)[None]
        if self.s:
            each = self.mask.shape[0]
            scores = (scores.view(-1, each, self.heads, t, t) + self.mask[None, :, None]).view(-1, self.heads, t, t)
        return scores

    def forward(self, x):
        n, h, w, c = x.shape
        y = self.n1(x)
        if self.s:
            y = torch.roll(y, (-self.s, -self.s), (1, 2))
        y = self.attn(self.windows(y), self.add)
        y = y.view(n, h // self.w, w // self.w, self.w, self.w, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)
        if self.s:
            y = torch.roll(y, (self.s, self.s), (1, 2))
        x = x + y
        return x + self.mlp(self.n2(x))


class Merge(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, c):
        super().__init__()
        self.norm, self.f = nn.LayerNorm(4 * c), nn.Linear(4 * c, 2 * c, bias=False)

    def forward(self, x):
        return self.f(self.norm(torch.cat([x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]], -1)))


class Swin(nn.Module):
    def __init__(self, c=6):
        super().__init__()
        self.conv, self.n0 = nn.Conv2d(3, c, 2, 2), nn.LayerNorm(c)
        self.blocks = nn.Sequential(SwinBlock(c, 2, 8, 4, 2), Merge(c), SwinBlock(2 * c, 4, 4, 2, 0))
        self.norm, self.head = nn.LayerNorm(2 * c), nn.Linear(2 * c, CLASSES)

    def forward(self, x):
        x = self.n0(self.conv(x).permute(0, 2, 3, 1))
        return self.head(self.norm(self.blocks(x)).mean((1, 2)))


class XCABlock(nn.Module):
    """Attention between channels, from q and k of length 1 along the tokens; then a depthwise convolution, then an MLP."""

    def __init__(self, c, heads, side):
        super().__init__()
        self.heads, self.side = heads, side
        self.n1, self.n2, self.n3 = nn.LayerNorm(c), nn.LayerNorm(c), nn.LayerNorm(c)
        self.qkv, self.proj, self.temperature = nn.Linear(c, 3 * c), nn.Linear(c, c), nn.Parameter(torch.ones(heads, 1, 1))
        self.local = nn.Sequential(conv(c, c, 3, 1, c, True), nn.GELU(), nn.BatchNorm2d(c), conv(c, c, 3, 1, c, True))
        self.mlp = Mlp(c)
        self.gamma1, self.gamma2, self.gamma3 = (nn.Parameter(torch.ones(c)) for _ in range(3))

    def attend(self, x):
        n, t, c = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 4, 1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        return self.proj((((q @ k.transpose(-2, -1)) * self.temperature).softmax(-1) @ v).permute(0, 3, 1, 2).reshape(n, t, c))

    def forward(self, x):
        n, t, c = x.shape
        x = x + self.gamma1 * self.attend(self.n1(x))
        y = self.local(self.n3(x).transpose(1, 2).reshape(n, c, self.side, self.side))
        x = x + self.gamma3 * y.reshape(n, c, t).transpose(1, 2)
        return x + self.gamma2 * self.mlp(self.n2(x))


class XCiT(nn.Module):
    def __init__(self, c=12):
        super().__init__()
        self.stem = nn.Sequential(cbr(3, 8, 3, 2, act=nn.GELU), cbr(8, c, 3, 2, act=None))
        self.blocks, self.norm, self.head = nn.Sequential(XCABlock(c, 2, 4), XCABlock(c, 2, 4)), nn.LayerNorm(c), nn.Linear(c, CLASSES)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.stem(x).flatten(2).transpose(1, 2))).mean(1))


class Tokens(nn.Module):
    """f over the tokens of each channel."""

    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, x):
        return self.f(x.transpose(1, 2)).transpose(1, 2)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


def mixer():
    c = 12
    return nn.Sequential(Patches(c, 4, 16, False), *(Residual(nn.LayerNorm(c), f) for f in (Tokens(Mlp(16, 1)), Mlp(c), Tokens(Mlp(16, 1)), Mlp(c))),
                         nn.LayerNorm(c), Mean(), nn.Linear(c, CLASSES))


class Spatial(nn.Module):
    """gMLP's gate: half of the channels, mixed over tokens, times the other half."""

    def __init__(self, c, tokens):
        super().__init__()
        self.norm, self.proj = nn.LayerNorm(c), nn.Linear(tokens, tokens)

    def forward(self, x):
        u, v = x.chunk(2, -1)
        return u * self.proj(self.norm(v).transpose(-1, -2)).transpose(-1, -2)


def gmlp():
    def block(c):
        return Residual(nn.LayerNorm(c), nn.Linear(c, 4 * c), nn.GELU(), Spatial(2 * c, 16), nn.Linear(2 * c, c))
    return nn.Sequential(Patches(12, 4, 16, False), block(12), block(12), nn.LayerNorm(12), Mean(), nn.Linear(12, CLASSES))


class Affine(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(1, 1, c)), nn.Parameter(torch.zeros(1, 1, c))

    def forward(self, x):
        return torch.addcmul(self.shift, self.scale, x)


def resmlp():
    c = 12
    return nn.Sequential(Patches(c, 4, 16, False), Residual(Affine(c), Tokens(nn.Linear(16, 16)), Affine(c)), Residual(Affine(c), Mlp(c), Affine(c)),
                         Affine(c), Mean(), nn.Linear(c, CLASSES))


class PoolMixer(nn.Module):
    def forward(self, x):
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False) - x


class LayerScale(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(c))

    def forward(self, x):
        return x * self.scale.view(1, -1, 1, 1)


def poolformer():
    def block(c):
        return (Residual(nn.GroupNorm(1, c), PoolMixer(), LayerScale(c)),
                Residual(nn.GroupNorm(1, c), nn.Conv2d(c, 2 * c, 1), nn.GELU(), nn.Conv2d(2 * c, c, 1), LayerScale(c)))
    return nn.Sequential(nn.Conv2d(3, 8, 7, 4, 2), *block(8), nn.Conv2d(8, 12, 3, 2, 1), *block(12), nn.GroupNorm(1, 12), head(12))


class WSConv(nn.Conv2d):
    """A convolution whose weights have mean 0 and variance 1/fan-in for each output, times a gain."""

    def __init__(self, *a, **k):
        super().__init__(*a, **k)
        self.gain_scale = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def forward(self, x):
        w = self.weight
        v, m = torch.var_mean(w, (1, 2, 3), keepdim=True, unbiased=False)
        w = (w - m) * torch.rsqrt(torch.clamp(v * w[0].numel(), min=1e-4)) * self.gain_scale
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class NFBlock(nn.Module):
    def __init__(self, c, beta):
        super().__init__()
        self.beta, self.c1, self.c2, self.c3 = beta, WSConv(c, c, 1), WSConv(c, c, 3, padding=1, groups=2), WSConv(c, c, 1)
        self.gate, self.gain_scale = Gate(c, 4), nn.Parameter(torch.ones(()))

    def forward(self, x):
        act = lambda v: F.silu(v) * 1.7881293296813965
        y = act(x) * self.beta
        y = self.c3(act(self.c2(act(self.c1(y)))))
        return x + 0.1875 * self.gain_scale * 2 * self.gate(y)


def nfnet():
    return nn.Sequential(WSConv(3, 8, 3, 2, 1), nn.SiLU(), WSConv(8, 12, 3, 2, 1), NFBlock(12, 1.0), NFBlock(12, 0.96875), nn.SiLU(), head(12))


class LinearBN(nn.Module):
    """A linear map whose output passes BatchNorm over all tokens."""

    def __init__(self, i, o):
        super().__init__()
        self.f, self.bn = nn.Linear(i, o, bias=False), nn.BatchNorm1d(o)

    def forward(self, x):
        x = self.f(x)
        return self.bn(x.flatten(0, 1)).reshape_as(x)


class LeViTAttention(nn.Module):
    """q and k are half as wide as v; scores have a bias by distance."""

    def __init__(self, c, heads, side):
        super().__init__()
        self.heads, self.d = heads, c // heads // 2
        self.qkv, self.proj = LinearBN(c, heads * 4 * self.d), nn.Sequential(nn.Hardswish(), LinearBN(heads * 2 * self.d, c))
        at = [(i, j) for i in range(side) for j in range(side)]
        far = sorted({(abs(a - c), abs(b - d)) for a, b in at for c, d in at})
        self.table = nn.Parameter(torch.zeros(heads, len(far)))
        self.register_buffer("index", torch.tensor([[far.index((abs(a - c), abs(b - d))) for c, d in at] for a, b in at]))

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, self.heads, -1).split([self.d, self.d, 2 * self.d], 3)
        q, k, v = q.permute(0, 2, 1, 3), k.permute(0, 2, 3, 1), v.permute(0, 2, 1, 3)
        a = (q @ k * self.d ** -0.5 + self.table[:, self.index]).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(n, t, -1))


class LeViT(nn.Module):
    def __init__(self, c=16):
        super().__init__()
        self.stem = nn.Sequential(cbr(3, 8, 3, 2, act=nn.Hardswish), cbr(8, c, 3, 2, act=None))
        self.blocks = nn.Sequential(*(Residual(f) for _ in range(2) for f in (LeViTAttention(c, 2, 4), nn.Sequential(LinearBN(c, 2 * c), nn.Hardswish(), LinearBN(2 * c, c)))))
        self.bn, self.head, self.bn2, self.head2 = nn.BatchNorm1d(c), nn.Linear(c, CLASSES), nn.BatchNorm1d(c), nn.Linear(c, CLASSES)

    def forward(self, x):
        x = self.blocks(self.stem(x).flatten(2).transpose(1, 2)).mean(1)
        return (self.head(self.bn(x)) + self.head2(self.bn2(x))) / 2


class ReLUAttention(nn.Module):
    """EfficientViT's attention: relu(q)·(relu(k)ᵀ·v), divided by its sum, at two scales."""

    def __init__(self, c, d):
        super().__init__()
        self.d, self.qkv = d, conv(c, 3 * c, 1)
        self.scale = nn.Sequential(conv(3 * c, 3 * c, 5, 1, 3 * c), conv(3 * c, 3 * c, 1, 1, 3 * c // d))
        self.proj = cbr(2 * c, c, 1, act=None)

    def forward(self, x):
        n, _, h, w = x.shape
        y = self.qkv(x)
        y = torch.cat([y, self.scale(y)], 1).reshape(n, -1, 3 * self.d, h * w).transpose(-1, -2)
        q, k, v = y.chunk(3, -1)
        q, k, v = F.relu(q), F.relu(k), F.pad(v, (0, 1), value=1.0)
        y = q @ (k.transpose(-1, -2) @ v)
        y = y[..., :-1] / (y[..., -1:] + 2**-20)
        return self.proj(y.transpose(-1, -2).reshape(n, -1, h, w))


def efficientvit():
    c, hs = 8, nn.Hardswish
    return nn.Sequential(cbr(3, c, 3, 2, act=hs), inverted(c, c, 16, 3, 1, hs, nn.Identity()), Residual(ReLUAttention(c, 4)),
                         inverted(c, 12, 16, 3, 2, hs, nn.Identity()), head(12))


class Blur(nn.Module):
    """A fixed smooth filter for each channel, with stride 2, after padding by reflection."""

    def __init__(self, c):
        super().__init__()
        f = torch.tensor([1., 2., 1.]) / 4
        self.c = c
        self.register_buffer("filter", (f[:, None] * f)[None, None].repeat(c, 1, 1, 1))

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), self.filter, stride=2, groups=self.c)


def blurnet():
    return nn.Sequential(cbr(3, 8), nn.MaxPool2d(2, 1), nn.ReflectionPad2d((0, 1, 1, 0)), Blur(8), Residual(cbr(8, 8), cbr(8, 8, act=None)), nn.ReLU(),
                         Residual(cbr(8, 12), Blur(12), cbr(12, 12, act=None), shortcut=nn.Sequential(nn.AvgPool2d(2, 2), cbr(8, 12, 1, act=None))), nn.ReLU(), head(12))


class RepVGGBlock(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.a, self.b = cbr(i, o, 3, s, act=None), cbr(i, o, 1, s, act=None)
        self.c = nn.BatchNorm2d(i) if i == o and s == 1 else None

    def forward(self, x):
        y = self.a(x) + self.b(x)
        return F.relu(y if self.c is None else y + self.c(x))


def repvgg():
    return nn.Sequential(RepVGGBlock(3, 8, 2), RepVGGBlock(8, 8, 1), RepVGGBlock(8, 12, 2), RepVGGBlock(12, 12, 1), head(12))


def gnresnet():
    def f(i, o, s):
        return nn.Sequential(Residual(conv(i, o, 3, s), nn.GroupNorm(4, o), nn.ReLU(), conv(o, o), nn.GroupNorm(2, o),
                                      shortcut=nn.Sequential(conv(i, o, 1, s), nn.GroupNorm(4, o)) if i != o else None), nn.ReLU())
    return nn.Sequential(conv(3, 8), nn.GroupNorm(2, 8), nn.ReLU(), f(8, 8, 1), f(8, 12, 2), head(12))


def instancenet():
    return nn.Sequential(conv(3, 8, bias=True), nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU(0.125), conv(8, 12, 3, 2, bias=True), nn.InstanceNorm2d(12), nn.LeakyReLU(0.25), head(12))


def squeezenet():
    def fire(i, s, e):
        return nn.Sequential(nn.Conv2d(i, s, 1), nn.ReLU(), Cat(nn.Sequential(nn.Conv2d(s, e, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(s, e, 3, padding=1), nn.ReLU())))
    return nn.Sequential(nn.Conv2d(3, 12, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), fire(12, 4, 8), fire(16, 4, 8), nn.Dropout(),
                         nn.Conv2d(16, CLASSES, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class LRNFunction(torch.autograd.Function):
    """The same numbers as nn.LocalResponseNorm, written as the one operator LRN, as exporters of other libraries do."""

    @staticmethod
    def forward(_, x, size, alpha, beta, bias):
        return F.local_response_norm(x, size, alpha, beta, bias)

    @staticmethod
    def symbolic(g, x, size, alpha, beta, bias):
        return g.op("LRN", x, size_i=size, alpha_f=alpha, beta_f=beta, bias_f=bias).setType(x.type())


class LRN(nn.Module):
    # alpha, beta and bias are float32 numbers.
    def forward(self, x):
        if torch.onnx.is_in_onnx_export():
            return LRNFunction.apply(x, 5, 0.125, 0.75, 2.0)
        return F.local_response_norm(x, 5, 0.125, 0.75, 2.0)


def alexnet(lrn):
    return nn.Sequential(nn.Conv2d(3, 8, 5, 1, 2), nn.ReLU(), lrn, nn.MaxPool2d(3, 2), nn.Conv2d(8, 12, 3, padding=1, groups=2), nn.ReLU(), lrn, nn.MaxPool2d(3, 2),
                         nn.Flatten(), nn.Dropout(), nn.Linear(108, 16), nn.ReLU(), nn.Linear(16, CLASSES))


class Normalised(nn.Module):
    """The mean and the deviation of a data set inside the model, as RobustBench has them."""

    def __init__(self, f):
        super().__init__()
        self.f = f
        self.register_buffer("mean", torch.tensor([0.4914, 0.4822, 0.4465]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2471, 0.2435, 0.2616]).view(1, 3, 1, 1))

    def forward(self, x):
        return self.f((x - self.mean) / self.std)


class PreAct(nn.Module):
    """BatchNorm and activation before each convolution; the shortcut begins behind the first activation."""

    def __init__(self, i, o, s, act=nn.ReLU):
        super().__init__()
        self.b1, self.a1, self.c1 = nn.BatchNorm2d(i), act(), conv(i, o, 3, s)
        self.b2, self.a2, self.c2 = nn.BatchNorm2d(o), act(), conv(o, o)
        self.short = conv(i, o, 1, s) if i != o or s > 1 else None

    def forward(self, x):
        y = self.a1(self.b1(x))
        short = x if self.short is None else self.short(y)
        return short + self.c2(self.a2(self.b2(self.c1(y))))


def wrn_silu():
    return Normalised(nn.Sequential(conv(3, 8), PreAct(8, 8, 1, nn.SiLU), PreAct(8, 12, 2, nn.SiLU), nn.BatchNorm2d(12), nn.SiLU(), head(12)))


def preact():
    return nn.Sequential(nn.BatchNorm2d(3), conv(3, 8), PreAct(8, 8, 1), PreAct(8, 12, 2), nn.BatchNorm2d(12), nn.ReLU(), nn.AvgPool2d(8), nn.Flatten(), nn.Linear(12, CLASSES))


def prelu():
    return nn.Sequential(conv(3, 8, bias=True), nn.PReLU(8), conv(8, 8, 3, 2, bias=True), nn.PReLU(), nn.Flatten(), nn.Linear(512, 8), nn.PReLU(8), nn.Linear(8, CLASSES))


def elu():
    return nn.Sequential(conv(3, 8, bias=True), nn.ELU(0.5), conv(8, 8, 3, 2, bias=True), nn.ELU(), cbr(8, 12, act=nn.Softplus), cbr(12, 12, act=nn.Mish),
                         cbr(12, 12, act=nn.Tanh), head(12))


def selu():
    """Kept from the net above: the constants of SELU are float32 numbers in ONNX, whatever the file's own type."""
    return nn.Sequential(conv(3, 8, 3, 2, bias=True), nn.CELU(0.5), cbr(8, 8, act=nn.Softsign), cbr(8, 8, act=lambda: nn.LeakyReLU(0.125)), cbr(8, 8, act=nn.Sigmoid), head(8))


class MaxOut(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.o, self.c = o, conv(i, 3 * o, 3, s, bias=True)

    def forward(self, x):
        y = self.c(x)
        a, b, c = y.split(self.o, 1)
        return torch.maximum(torch.max(a, b), c)


class MaxOut2(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.o, self.f = o, nn.Linear(i, 4 * o)

    def forward(self, x):
        return self.f(x).view(-1, self.o, 4).amax(-1)


def maxout():
    return nn.Sequential(MaxOut(3, 6, 2), MaxOut(6, 8, 2), nn.AdaptiveMaxPool2d(1), nn.Flatten(), MaxOut2(8, 8), nn.Linear(8, CLASSES))


class HRNet(nn.Module):
    """Two resolutions that exchange what they have: downwards by stride 2, upwards by Resize of both modes."""

    def __init__(self):
        super().__init__()
        self.stem, self.down, self.a, self.b = cbr(3, 8, 3, 2), cbr(8, 12, 3, 2), Residual(cbr(8, 8)), Residual(cbr(12, 12))
        self.ab, self.ba, self.bb = cbr(8, 12, 3, 2, act=None), cbr(12, 8, 1, act=None), cbr(12, 8, 1, act=None)
        self.head = head(20)

    def forward(self, x):
        a = self.stem(x)
        b = self.down(a)
        a, b = self.a(a), self.b(b)
        up = F.interpolate(self.ba(b), scale_factor=2, mode="nearest") + F.interpolate(self.bb(b), size=a.shape[2:], mode="bilinear", align_corners=False)
        a, b = F.relu(a + up), F.relu(b + self.ab(a))
        return self.head(torch.cat([F.interpolate(a, scale_factor=0.5, mode="bilinear", align_corners=True), b], 1))


class Res2Block(nn.Module):
    """Each part of the channels passes a convolution that also takes the part before."""

    def __init__(self, c, parts):
        super().__init__()
        self.w = c // parts
        self.f = nn.ModuleList(cbr(self.w, self.w) for _ in range(parts - 1))

    def forward(self, x):
        parts = torch.split(x, self.w, 1)
        out, y = [], None
        for f, p in zip(self.f, parts):
            y = f(p if y is None else y + p)
            out.append(y)
        return torch.cat([*out, parts[-1]], 1)


def res2net():
    return nn.Sequential(cbr(3, 12, 3, 2), Residual(cbr(12, 12, 1), Res2Block(12, 4), cbr(12, 12, 1, act=None)), nn.ReLU(), head(12))


class SplitAttention(nn.Module):
    """ResNeSt: two groups of branches, weighed against each other by a softmax."""

    def __init__(self, c, radix=2):
        super().__init__()
        self.radix, self.c = radix, cbr(c, c * radix, 3, 1, radix)
        self.f = nn.Sequential(nn.Conv2d(c, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, c * radix, 1))

    def forward(self, x):
        y = self.c(x)
        n, rc, h, w = y.shape
        y = y.reshape(n, self.radix, rc // self.radix, h, w)
        a = self.f(y.sum(1).mean((2, 3), keepdim=True)).view(n, 1, self.radix, -1).transpose(1, 2).softmax(1)
        return (y * a.reshape(n, self.radix, -1, 1, 1)).sum(1)


def resnest():
    return nn.Sequential(cbr(3, 8, 3, 2), Residual(SplitAttention(8), cbr(8, 8, 1, act=None)), nn.ReLU(), head(8))


class TalkingHeads(nn.Module):
    """CaiT: scores of the heads are mixed before and after the softmax."""

    def __init__(self, c, heads):
        super().__init__()
        self.a = Attention(c, heads, False)
        self.mix1, self.mix2 = nn.Linear(heads, heads), nn.Linear(heads, heads)

    def forward(self, x):
        n, t, c = x.shape
        a = self.a
        q, k, v = a.qkv(x).reshape(n, t, 3, a.heads, c // a.heads).permute(2, 0, 3, 1, 4)
        s = self.mix1((q * 0.5 @ k.transpose(-2, -1)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).softmax(-1)
        s = self.mix2(s.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return a.proj((s @ v).transpose(1, 2).reshape(n, t, c))


class CaiT(nn.Module):
    """The class token comes last, and attends to all the others alone."""

    def __init__(self, c=12):
        super().__init__()
        self.patches, self.token = Patches(c, 4, 16, False), nn.Parameter(torch.zeros(1, 1, c))
        self.n1, self.talk, self.scale1 = nn.LayerNorm(c), TalkingHeads(c, 3), nn.Parameter(torch.ones(c))
        self.n2, self.q, self.kv, self.scale2 = nn.LayerNorm(c), nn.Linear(c, c), nn.Linear(c, 2 * c), nn.Parameter(torch.ones(c))
        self.norm, self.head = nn.LayerNorm(c), nn.Linear(c, CLASSES)

    def forward(self, x):
        x = self.patches(x)
        x = x + self.scale1 * self.talk(self.n1(x))
        token = self.token.expand(x.shape[0], -1, -1)
        u = self.n2(torch.cat((token, x), 1))
        k, v = self.kv(u).chunk(2, -1)
        a = (self.q(u[:, 0:1]) * 0.25 @ k.transpose(1, 2)).softmax(-1)
        return self.head(self.norm(torch.cat((token + self.scale2 * (a @ v), x), 1))[:, 0])


class Ghost(nn.Module):
    """Half of the channels by 1x1, the other half from those by a depthwise convolution; cut to size."""

    def __init__(self, i, o):
        super().__init__()
        self.o, self.a = o, cbr(i, (o + 1) // 2, 1)
        self.b = cbr((o + 1) // 2, (o + 1) // 2, 3, 1, (o + 1) // 2)

    def forward(self, x):
        y = self.a(x)
        return torch.cat([y, self.b(y)], 1)[:, :self.o, :, :]


def ghostnet():
    return nn.Sequential(cbr(3, 8, 3, 2), Ghost(8, 11), cbr(11, 11, 3, 2, 11, act=None), Gate(11, 4, nn.ReLU, nn.Hardsigmoid), Ghost(11, 12), head(12))


class MobileViT(nn.Module):
    """Tokens at the same place of each 2x2 patch attend to each other."""

    def __init__(self, c=8):
        super().__init__()
        self.stem, self.local, self.block, self.norm = cbr(3, c, 3, 2, act=nn.SiLU), cbr(c, c, act=nn.SiLU), ViTBlock(c, 2), nn.LayerNorm(c)
        self.proj, self.fuse, self.head = cbr(c, c, 1, act=nn.SiLU), cbr(2 * c, c, act=nn.SiLU), head(c)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        y = self.local(x)
        y = y.reshape(n * c * (h // 2), 2, w // 2, 2).transpose(1, 2).reshape(n, c, h * w // 4, 4).transpose(1, 3).reshape(n * 4, h * w // 4, c)
        y = self.norm(self.block(y))
        y = y.contiguous().view(n, 4, h * w // 4, c).transpose(1, 3).reshape(n * c * (h // 2), w // 2, 2, 2).transpose(1, 2).reshape(n, c, h, w)
        return self.head(self.fuse(torch.cat((x, self.proj(y)), 1)))


class RMSNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(c))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 2**-20) * self.scale


def rmsnet():
    c = 8
    return nn.Sequential(Patches(c, 4, 16, False), Residual(RMSNorm(c), Mlp(c, 2, nn.SiLU)), Residual(RMSNorm(c), Tokens(nn.Linear(16, 16))), RMSNorm(c), Mean(), nn.Linear(c, CLASSES))


class Pixels(nn.Module):
    """PixelUnshuffle, a transposed convolution, PixelShuffle: what goes down and up again."""

    def __init__(self):
        super().__init__()
        self.f = nn.Sequential(nn.PixelUnshuffle(2), conv(12, 8, bias=True), nn.ReLU(), conv(8, 12, 3, 2, bias=True), nn.ReLU(),
                               nn.ConvTranspose2d(12, 8, 3, 2, 1, output_padding=1, groups=2), nn.ReLU(), nn.PixelShuffle(2), head(2))

    def forward(self, x):
        return self.f(x)


def dilated():
    return nn.Sequential(nn.ZeroPad2d((1, 0, 2, 1)), nn.Conv2d(3, 8, 3, dilation=2), nn.ReLU(), nn.ReplicationPad2d(1), nn.Conv2d(8, 8, (3, 2), (2, 1), (1, 0), dilation=(1, 2), groups=4),
                         nn.ReLU(), nn.MaxPool2d(2, 2, dilation=2), nn.AvgPool2d((2, 3)), nn.Flatten(), nn.Linear(32, CLASSES))


def tanhnet():
    """LeNet as it was."""
    return nn.Sequential(nn.Conv2d(1, 6, 5), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(32, 12), nn.Tanh(), nn.Linear(12, CLASSES))


# name: module, exporter, opset, and what the file's numbers are (float32 where every constant is one).
RGB, SCRIPT, DYNAMO = (3, 16, 16), "script", "dynamo"
NETS = {
    "efficientnet": (efficientnet, SCRIPT, 13, "float32"),
    "mobilenetv2": (mobilenetv2, SCRIPT, 11, "float32"),
    "mobilenetv3": (mobilenetv3, SCRIPT, 14, "float32"),
    "mobilenetv3_dynamo": (mobilenetv3, DYNAMO, 18, "float64"),
    "densenet": (densenet, SCRIPT, 12, "float32"),
    "inceptionv3": (inceptionv3, SCRIPT, 17, "float32"),
    "googlenet": (googlenet, SCRIPT, 11, "float32"),
    "resnet": (resnet, SCRIPT, 11, "float32"),
    "resnext": (resnext, DYNAMO, 18, "float64"),
    "regnet": (regnet, SCRIPT, 16, "float32"),
    "shufflenet": (shufflenet, SCRIPT, 11, "float32"),
    "shufflenet_dynamo": (shufflenet, DYNAMO, 18, "float64"),
    "convnext": (convnext, SCRIPT, 17, "float64"),
    "convnext_dynamo": (convnext, DYNAMO, 20, "float32"),
    "vit": (ViT, SCRIPT, 17, "float64"),
    "vit_dynamo": (ViT, DYNAMO, 18, "float64"),
    "deit": (DeiT, SCRIPT, 14, "float64"),
    "deit_dynamo": (DeiT, DYNAMO, 20, "float64"),
    "swin": (Swin, SCRIPT, 16, "float64"),
    "swin_dynamo": (Swin, DYNAMO, 18, "float64"),
    "xcit": (XCiT, SCRIPT, 14, "float64"),
    "cait": (CaiT, DYNAMO, 20, "float32"),
    "mixer": (mixer, SCRIPT, 17, "float64"),
    "gmlp": (gmlp, DYNAMO, 20, "float32"),
    "resmlp": (resmlp, SCRIPT, 15, "float64"),
    "poolformer": (poolformer, SCRIPT, 13, "float64"),
    "nfnet": (nfnet, SCRIPT, 13, "float64"),
    "levit": (LeViT, SCRIPT, 14, "float32"),
    "efficientvit": (efficientvit, SCRIPT, 17, "float32"),
    "blurnet": (blurnet, SCRIPT, 11, "float32"),
    "repvgg": (repvgg, SCRIPT, 13, "float32"),
    "gnresnet": (gnresnet, SCRIPT, 17, "float32"),
    "gnresnet_dynamo": (gnresnet, DYNAMO, 21, "float32"),
    "instancenet": (instancenet, SCRIPT, 17, "float32"),
    "squeezenet": (squeezenet, SCRIPT, 11, "float32"),
    "alexnet_lrn": (lambda: alexnet(LRN()), SCRIPT, 11, "float32"),
    "alexnet_lrn_parts": (lambda: alexnet(nn.LocalResponseNorm(5, 0.125, 0.75, 2.0)), SCRIPT, 11, "float32"),
    "wrn_silu": (wrn_silu, SCRIPT, 17, "float32"),
    "preact": (preact, SCRIPT, 12, "float32"),
    "prelu": (prelu, SCRIPT, 11, "float32"),
    "elu": (elu, SCRIPT, 17, "float32"),
    "mish_dynamo": (elu, DYNAMO, 18, "float64"),
    "activations": (selu, SCRIPT, 13, "float32"),
    "maxout": (maxout, SCRIPT, 13, "float32"),
    "hrnet": (HRNet, SCRIPT, 13, "float32"),
    "hrnet_dynamo": (HRNet, DYNAMO, 18, "float64"),
    "res2net": (res2net, SCRIPT, 13, "float32"),
    "resnest": (resnest, SCRIPT, 13, "float32"),
    "ghostnet": (ghostnet, SCRIPT, 13, "float32"),
    "mobilevit": (MobileViT, DYNAMO, 18, "float64"),
    "rmsnet": (rmsnet, SCRIPT, 13, "float32"),
    "pixels": (Pixels, SCRIPT, 13, "float32"),
    "dilated": (dilated, SCRIPT, 13, "float32"),
    "lenet": (tanhnet, SCRIPT, 17, "float32"),
}
SHAPES = {"lenet": (1, 16, 16)}
FIXED = {"shufflenet", "vit_dynamo", "squeezenet", "mobilevit"}  # a batch of one image, by the file


LABEL = 3


def digits(a):
    """Numbers as short decimals that are within 1e-12 of the largest."""
    top = np.abs(a).max()
    return [float(f"{v:.{max(1, 13 + int(np.floor(np.log10(abs(v) / top))))}g}") if v else 0.0 for v in a.ravel().tolist()]


def save(out, name, module, x, shape, turn=None, **about):
    """Writes NAME.json. turn gives the module's order of an image from the file's."""
    z, g = gradient(module, x if turn is None else turn(x), [LABEL])
    if turn is not None:
        g = np.moveaxis(g, 1, 3)
    judges = {}
    if about["dtype"] == "float32":  # onnxruntime has few operators in float64
        judges["onnxruntime"] = off(runtime(out / f"{name}.onnx", x), z), 1e-5
    judges["ONNX's reference"] = off(reference(out / f"{name}.onnx", x), z), 1e-11
    judged = ", ".join(f"{k} within {v:.1e}" for k, (v, _) in judges.items())
    row = dict(about, shape=list(shape), label=LABEL, input=(x * 256).astype(int).ravel().tolist(), logits=digits(z), gradient=digits(g))
    text = "{" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in row.items()) + "}\n"
    (out / f"{name}.json").write_text(text)
    size = (out / f"{name}.onnx").stat().st_size
    print(f"{name:20} {about.get('exporter', 'hand'):7} {about['opset']:3} {about['dtype']} {size:7,} bytes, {judged}", flush=True)
    assert all(v <= limit for v, limit in judges.values()), f"{name}: the file is not what the module computes"
    assert size < 100_000, f"{name}: {size} bytes"


def write(out, name):
    build, exporter, opset, dtype = NETS[name]
    shape = SHAPES.get(name, RGB)
    torch.manual_seed(seed_of(name))
    module = randomise(build(), name)
    x = image(name, 2, *shape)
    module = module.to(getattr(torch, dtype))
    export(module, x[:1] if name in FIXED else x, out / f"{name}.onnx", exporter, opset, name not in FIXED, plain=True)
    save(out, name, module, x[:1], shape, exporter=exporter, opset=opset, dtype=dtype)


# Graphs written by hand, in forms of other libraries' exporters.

class Graph:
    def __init__(self):
        self.nodes, self.init = [], []

    def const(self, a):
        self.init.append(numpy_helper.from_array(np.asarray(a), f"c{len(self.init)}"))
        return self.init[-1].name

    def node(self, op, *inputs, **attributes):
        names = [i if isinstance(i, str) else self.const(i) for i in inputs]
        self.nodes.append(helper.make_node(op, names, [f"v{len(self.nodes)}"], **attributes))
        return f"v{len(self.nodes) - 1}"

    def write(self, path, output, shape, opset):
        graph = helper.make_graph(self.nodes, path.stem, [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
                                  [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)], self.init)
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path)


def f32(t):
    return t.detach().float().numpy()


def i64(*v):
    return np.array(v, np.int64)


class Keras(nn.Module):
    """What keras_nhwc computes, in PyTorch's order."""

    def __init__(self):
        super().__init__()
        self.c1, self.bn, self.dw, self.pw = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8, eps=2**-10), nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.Conv2d(8, 12, 1)
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn(self.c1(F.pad(x * 2 - 1, (0, 1, 0, 1)))))
        x = F.max_pool2d(F.relu6(self.pw(self.dw(x))), 2)
        return self.fc(x.mean((2, 3)))


def keras(out):
    """An image [N, H, W, C], turned before and back after each layer, as tf2onnx writes Keras models where it cannot take turns away."""
    name, opset = "keras_nhwc", 15
    m = randomise(Keras(), name)
    g = Graph()

    def layer(f, x):
        return g.node("Transpose", f(g.node("Transpose", x, perm=[0, 3, 1, 2])), perm=[0, 2, 3, 1])

    x = g.node("Sub", g.node("Mul", "x", np.float32(2)), np.float32(1))
    x = layer(lambda v: g.node("Conv", v, f32(m.c1.weight), strides=[2, 2], auto_pad="SAME_UPPER", kernel_shape=[3, 3]), x)
    x = g.node("Add", x, f32(m.c1.bias))
    x = layer(lambda v: g.node("BatchNormalization", v, f32(m.bn.weight), f32(m.bn.bias), f32(m.bn.running_mean), f32(m.bn.running_var), epsilon=2**-10), x)
    x = g.node("Relu", x)
    x = layer(lambda v: g.node("Conv", v, f32(m.dw.weight), group=8, auto_pad="SAME_UPPER"), x)
    x = g.node("Add", layer(lambda v: g.node("Conv", v, f32(m.pw.weight), auto_pad="VALID"), x), f32(m.pw.bias))
    x = g.node("Min", g.node("Relu", x), np.float32(6))
    x = layer(lambda v: g.node("MaxPool", v, kernel_shape=[2, 2], strides=[2, 2]), x)
    x = g.node("ReduceMean", x, axes=[1, 2], keepdims=0)
    x = g.node("Add", g.node("MatMul", x, f32(m.fc.weight).T.copy()), f32(m.fc.bias))
    shape = (16, 16, 3)
    g.write(out / f"{name}.onnx", x, shape, opset)
    save(out, name, m, image(name, 1, *shape), shape, turn=lambda v: np.moveaxis(v, 3, 1), opset=opset, dtype="float32")


def fake(x, scale, zero, lo, hi, axis=None):
    """Quantised and back; the gradient passes unchanged where the number lies in the range, and is 0 elsewhere (PyTorch's fake_quantize)."""
    if axis is not None:
        scale = scale.view([-1 if i == axis else 1 for i in range(x.dim())])
    inside = torch.clamp(x, (lo - zero) * scale, (hi - zero) * scale)
    return inside + ((torch.clamp(torch.round(x / scale) + zero, lo, hi) - zero) * scale - inside).detach()


class Quantised(nn.Module):
    """int8 weights with a scale for each filter, uint8 activations. Scales are powers of two, so that float32 divides as float64 does."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 12, 3, 2, 1), nn.Linear(12, CLASSES)

    def forward(self, x):
        for c, s in ((self.c1, 2**-6), (self.c2, 2**-7)):
            x = F.relu(F.conv2d(x, fake(c.weight, self.scales(c.weight), 0, -128, 127, 0), c.bias, 2, 1))
            x = fake(x, s, 0, 0, 255)
        x = fake(x.mean((2, 3)), 2**-6, 3, 0, 255)
        return F.linear(x, fake(self.fc.weight, self.scales(self.fc.weight), 0, -128, 127, 0), self.fc.bias)

    @staticmethod
    def scales(w):
        return torch.exp2(torch.arange(len(w)) % 2 - 7).to(w.dtype)


def qdq(out):
    """QuantizeLinear and DequantizeLinear around each layer: the weights of the first as a quantised constant, of the others both nodes."""
    name, opset = "qdq", 13
    m = randomise(Quantised(), name)
    g = Graph()

    def pair(v, scale, zero, **attributes):
        return g.node("DequantizeLinear", g.node("QuantizeLinear", v, scale, zero, **attributes), scale, zero, **attributes)

    def weights(w, constant):
        scale, zero = f32(m.scales(w)), np.zeros(len(w), np.int8)
        if constant:
            q = torch.clamp(torch.round(w / m.scales(w).view(-1, *[1] * (w.dim() - 1))), -128, 127).to(torch.int8).numpy()
            return g.node("DequantizeLinear", q, scale, zero, axis=0)
        return pair(f32(w), scale, zero, axis=0)

    x = "x"
    for c, s in ((m.c1, 2**-6), (m.c2, 2**-7)):
        x = g.node("Relu", g.node("Conv", x, weights(c.weight.detach(), c is m.c1), f32(c.bias), strides=[2, 2], pads=[1, 1, 1, 1]))
        x = pair(x, np.float32(s), np.uint8(0))
    x = g.node("Flatten", g.node("GlobalAveragePool", x))
    x = pair(x, np.float32(2**-6), np.uint8(3))
    x = g.node("Gemm", x, weights(m.fc.weight.detach(), False), f32(m.fc.bias), transB=1)
    g.write(out / f"{name}.onnx", x, RGB, opset)
    save(out, name, m, image(name, 1, *RGB), RGB, opset=opset, dtype="float32")


HAND = {"keras_nhwc": keras, "qdq": qdq}

if __name__ == "__main__":
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    failed = []
    for name in sys.argv[2:] or [*NETS, *HAND]:
        try:
            HAND[name](out) if name in HAND else write(out, name)
        except Exception as e:
            failed.append(name)
            print(f"{name}: {type(e).__name__}: {str(e)[-300:]}", flush=True)
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)
