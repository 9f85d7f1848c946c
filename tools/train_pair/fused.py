"""Both networks with what PyTorch is slow at replaced by ``fused.cpp``, to train on a CPU."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tools.train_pair import ppyoloe, tinypose

Context = Any
NONE, RELU, SILU = range(3)


@lru_cache
def ops() -> Any:
    """The compiled functions; the first call takes a minute."""
    from torch.utils.cpp_extension import load

    flags = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math"]
    return load("kptk_fused", [str(Path(__file__).with_name("fused.cpp"))], extra_cflags=flags)


def rows(x: Tensor) -> Tensor:
    """(N, C, H, W) as contiguous bfloat16 (N, H, W, C); no copy if it is channels last already."""
    return x.permute(0, 2, 3, 1).to(torch.bfloat16).contiguous()


def images(x: Tensor) -> Tensor:
    """The way back, without a copy."""
    return x.permute(0, 3, 1, 2)


class Depthwise(torch.autograd.Function):
    """A depthwise 3 x 3 convolution."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        x = rows(x)
        taps = weight.detach().float().reshape(len(weight), 9).t().contiguous()
        ctx.save_for_backward(x, taps)
        ctx.stride = stride
        return images(ops().depthwise(x, taps, stride))

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        x, taps = ctx.saved_tensors
        dx, dw = ops().depthwise_back(rows(g), x, taps, ctx.stride)
        return images(dx), dw.t().reshape(-1, 1, 3, 3), None


class Norm(torch.autograd.Function):
    """Batch norm in training mode, and what follows it: NONE, RELU or SILU."""

    @staticmethod
    def forward(
        ctx: Context, x: Tensor, bn: nn.BatchNorm2d, scale: Tensor, shift: Tensor, act: int
    ) -> Tensor:
        x = rows(x)
        y, mean, var = ops().norm(x, scale.detach(), shift.detach(), bn.eps, act)
        n = x.numel() / len(mean)
        bn.running_mean.lerp_(mean, bn.momentum)
        bn.running_var.lerp_(var * (n / (n - 1)), bn.momentum)
        ctx.save_for_backward(x, scale.detach(), shift.detach(), mean, var)
        ctx.eps, ctx.act = bn.eps, act
        return images(y)

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, mean, var = ctx.saved_tensors
        dx, dscale, dshift = ops().norm_back(rows(g), x, scale, shift, mean, var, ctx.eps, ctx.act)
        return images(dx), None, dscale, dshift, None


class Weave(torch.autograd.Function):
    """The channels of two maps in turn."""

    @staticmethod
    def forward(ctx: Context, a: Tensor, b: Tensor) -> Tensor:
        return images(ops().weave(rows(a), rows(b)))

    @staticmethod
    def backward(ctx: Context, g: Tensor) -> tuple[Tensor, ...]:
        return tuple(images(t) for t in ops().unweave(rows(g)))


class Halve(torch.autograd.Function):
    """The two halves of the channels."""

    @staticmethod
    def forward(ctx: Context, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(images(t) for t in ops().halve(rows(x)))

    @staticmethod
    def backward(ctx: Context, a: Tensor, b: Tensor) -> Tensor:
        return images(ops().join(rows(a), rows(b)))


def conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution."""
    if layer.groups == layer.in_channels and layer.kernel_size == (3, 3):
        return Depthwise.apply(x, layer.weight, layer.stride[0])
    return layer(x)


def _conv_norm(self: tinypose.ConvNorm, x: Tensor) -> Tensor:
    bn = self.norm
    if not self.training:
        x = bn(self.conv(x))
        return torch.relu(x) if self.relu else x
    return Norm.apply(conv(self.conv, x), bn, bn.weight, bn.bias, RELU if self.relu else NONE)


def _conv_bn(self: ppyoloe.ConvBN, x: Tensor) -> Tensor:
    x, bn = self.conv(x), self.bn
    if not self.training:
        x = bn(x)
        return F.silu(x) if self.act else x
    return Norm.apply(x, bn, bn.weight, bn.bias, SILU if self.act else NONE)


def _unit(self: tinypose.ShuffleUnit, x: Tensor) -> Tensor:
    if not self.training:
        kept, worked = x.chunk(2, 1)
        return tinypose.shuffle(torch.cat([kept, self.branch2(worked)], 1))
    kept, worked = Halve.apply(x)
    return Weave.apply(kept, self.branch2(worked))


class Chain(nn.Sequential):
    """Convolutions, batch norms and ReLUs in a row."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        layers = list(self)
        for k, layer in enumerate(layers):
            if isinstance(layer, nn.Conv2d):
                x = conv(layer, x)
            elif isinstance(layer, nn.BatchNorm2d):
                act = k + 1 < len(layers) and isinstance(layers[k + 1], nn.ReLU)
                x = Norm.apply(x, layer, layer.weight, layer.bias, RELU if act else NONE)
            elif not isinstance(layer, nn.ReLU):
                x = layer(x)
        return x


def fuse(net: nn.Module) -> nn.Module:
    """Let a TinyPose or a PPYoloe run on these functions; its weights and their names stay."""
    ops()
    for module in list(net.modules()):
        if isinstance(module, tinypose.ConvNorm):
            module.forward = _conv_norm.__get__(module)
        elif isinstance(module, ppyoloe.ConvBN):
            module.forward = _conv_bn.__get__(module)
        elif isinstance(module, tinypose.ShuffleUnit):
            module.forward = _unit.__get__(module)
        elif type(module) is nn.Sequential and any(isinstance(m, nn.BatchNorm2d) for m in module):
            module.__class__ = Chain
    return net
