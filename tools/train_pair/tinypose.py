"""PP-TinyPose as a PyTorch module: ppdet's Lite-HRNet "wider_naive" under its own names."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

JOINTS = 17
STRIDE = 4  # of the heatmaps
_STAGES = ((2, (40, 80)), (4, (40, 80, 160)), (2, (40, 80, 160, 320)))  # modules, channels
_STEM = 32


def _conv(c_in: int, c_out: int, size: int = 1, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)


class ConvNorm(nn.Module):
    """Convolution, batch norm and, if asked for, a ReLU (ppdet's ``ConvNormLayer``)."""

    def __init__(
        self, c_in: int, c_out: int, size: int, stride: int = 1, groups: int = 1, relu: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(c_out)
        self.conv = _conv(c_in, c_out, size, stride, groups)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


class Separable(nn.Module):
    """A depthwise convolution and a pointwise one."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.depthwise_conv = ConvNorm(c_in, c_in, 3, groups=c_in)
        self.pointwise_conv = ConvNorm(c_in, c_out, 1, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pointwise_conv(self.depthwise_conv(x))
        return y


def shuffle(x: Tensor) -> Tensor:
    """Interleave the two halves of the channels."""
    n, c, h, w = x.shape
    return x.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class ShuffleUnit(nn.Module):
    """ShuffleNet's block: half of the channels pass, half are worked on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.branch2 = nn.Sequential(
            ConvNorm(half, half, 1, relu=True),
            ConvNorm(half, half, 3, groups=half),
            ConvNorm(half, half, 1, relu=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        kept, worked = x.chunk(2, 1)
        return shuffle(torch.cat([kept, self.branch2(worked)], 1))


class Stem(nn.Module):
    """From the image to a quarter of its size."""

    def __init__(self) -> None:
        super().__init__()
        half = _STEM // 2
        self.conv1 = ConvNorm(3, _STEM, 3, stride=2, relu=True)
        self.branch1 = nn.Sequential(
            ConvNorm(half, half, 3, stride=2, groups=half), ConvNorm(half, half, 1, relu=True)
        )
        self.expand_conv = ConvNorm(half, _STEM, 1, relu=True)
        self.depthwise_conv = ConvNorm(_STEM, _STEM, 3, stride=2, groups=_STEM)
        self.linear_conv = ConvNorm(_STEM, half, 1, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.conv1(x).chunk(2, 1)
        second = self.linear_conv(self.depthwise_conv(self.expand_conv(second)))
        return shuffle(torch.cat([self.branch1(first), second], 1))


def _down(c_in: int, c_out: int, relu: bool) -> nn.Sequential:
    """Half the size; the layers are numbered as ppdet numbers them."""
    layers = [
        _conv(c_in, c_in, 3, 2, c_in),
        nn.BatchNorm2d(c_in),
        _conv(c_in, c_out),
        nn.BatchNorm2d(c_out),
    ]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


class Module(nn.Module):
    """Two shuffle units a resolution, then every resolution is added to every other."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        n = len(channels)
        self.layers = nn.ModuleList(nn.Sequential(ShuffleUnit(c), ShuffleUnit(c)) for c in channels)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._fuse(channels, i, j) for j in range(n)) for i in range(n)
        )

    @staticmethod
    def _fuse(channels: Sequence[int], i: int, j: int) -> nn.Module:
        if i == j:
            return nn.Identity()
        if j > i:
            return nn.Sequential(
                _conv(channels[j], channels[i]),
                nn.BatchNorm2d(channels[i]),
                nn.Upsample(scale_factor=2 ** (j - i), mode="nearest"),
            )
        steps = [_down(channels[j], channels[j], True) for _ in range(i - j - 1)]
        return nn.Sequential(*steps, _down(channels[j], channels[i], False))

    def forward(self, x: Sequence[Tensor]) -> list[Tensor]:
        out = [layer(y) for layer, y in zip(self.layers, x, strict=True)]
        fused = []
        for i, row in enumerate(self.fuse_layers):
            # ppdet counts the first resolution twice, and hands its sum on to the others
            y = 2 * row[0](out[0])
            for j in range(1, len(out)):
                y = y + row[j](out[j])
            if i == 0:
                out[0] = y
            fused.append(F.relu(y))
        return fused


class Head(nn.Module):
    """From coarse to fine, each resolution adds to the next."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        down = [*channels[::-1], channels[0]]
        self.projects = nn.ModuleList(Separable(a, b) for a, b in itertools.pairwise(down))

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        last = self.projects[0](x[-1])
        for project, y in zip(list(self.projects)[1:], x[-2::-1], strict=True):
            size = y.shape[-2:]
            last = F.interpolate(last, size=size, mode="bilinear", align_corners=True)
            last = project(y + last)
        out: Tensor = last
        return out


class LiteHRNet(nn.Module):
    """The backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Stem()
        before: tuple[int, ...] = (_STEM,)
        for number, (n_modules, channels) in enumerate(_STAGES):
            self.add_module(f"transition{number}", self._transition(before, channels))
            self.add_module(
                f"stage{number}", nn.Sequential(*(Module(channels) for _ in range(n_modules)))
            )
            before = channels
        self.head_layer = Head(before)

    @staticmethod
    def _transition(before: Sequence[int], after: Sequence[int]) -> nn.ModuleList:
        layers: list[nn.Module] = []
        for i, channels in enumerate(after):
            if i >= len(before):
                layers.append(nn.Sequential(_down(before[-1], channels, True)))
            elif channels == before[i]:
                layers.append(nn.Identity())
            else:
                layers.append(
                    nn.Sequential(
                        _conv(before[i], before[i], 3, 1, before[i]),
                        nn.BatchNorm2d(before[i]),
                        _conv(before[i], channels),
                        nn.BatchNorm2d(channels),
                        nn.ReLU(),
                    )
                )
        return nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        y = [self.stem(x)]
        for number in range(len(_STAGES)):
            transition, stage = (
                getattr(self, f"transition{number}"),
                getattr(self, f"stage{number}"),
            )
            y = stage([layer(y[min(i, len(y) - 1)]) for i, layer in enumerate(transition)])
        out: Tensor = self.head_layer(y)
        return out


class TinyPose(nn.Module):
    """Crops (N, 3, H, W), normalised -> heatmaps (N, 17, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = LiteHRNet()
        self.final_conv = nn.Conv2d(_STAGES[0][1][0], JOINTS, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.backbone(x).float()
        with torch.autocast(y.device.type, enabled=False):
            out: Tensor = self.final_conv(y)
        return out
