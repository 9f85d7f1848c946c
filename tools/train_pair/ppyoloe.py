"""PP-YOLOE-S of one class as a PyTorch module, under ppdet's names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STRIDES = (32, 16, 8)
BINS = 17  # distances 0 to 16 cells
_CHANNELS = (32, 64, 128, 256, 512)
_DEPTHS = (1, 2, 2, 1)
_NECK = (384, 192, 96)


class ConvBN(nn.Module):
    """Convolution, batch norm and, unless told otherwise, swish."""

    def __init__(
        self, c_in: int, c_out: int, size: int = 1, stride: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(c_out)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return F.silu(x) if self.act else x


class RepVgg(nn.Module):
    """A 3 x 3 and a 1 x 1 convolution, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ConvBN(channels, channels, 3, act=False)
        self.conv2 = ConvBN(channels, channels, 1, act=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv1(x) + self.conv2(x))


class Block(nn.Module):
    """ppdet's ``BasicBlock``."""

    def __init__(self, c_in: int, c_out: int, shortcut: bool) -> None:
        super().__init__()
        self.conv1 = ConvBN(c_in, c_out, 3)
        self.conv2 = RepVgg(c_out)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(self.conv1(x))
        return x + y if self.shortcut else y


class SqueezeExcite(nn.Module):
    """Effective squeeze and excitation: one layer, hard sigmoid."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * F.hardsigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class Stage(nn.Module):
    """A stage of the backbone: half the size, then a cross-stage partial block."""

    def __init__(self, c_in: int, c_out: int, depth: int) -> None:
        super().__init__()
        mid = (c_in + c_out) // 2
        self.conv_down = ConvBN(c_in, mid, 3, 2)
        self.conv1 = ConvBN(mid, mid // 2)
        self.conv2 = ConvBN(mid, mid // 2)
        self.blocks = nn.Sequential(*(Block(mid // 2, mid // 2, True) for _ in range(depth)))
        self.attn = SqueezeExcite(mid)
        self.conv3 = ConvBN(mid, c_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_down(x)
        x = torch.cat([self.conv1(x), self.blocks(self.conv2(x))], 1)
        y: Tensor = self.conv3(self.attn(x))
        return y


class Backbone(nn.Module):
    """CSPResNet with the large stem; gives strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        first = _CHANNELS[0]
        self.stem = nn.Sequential()
        self.stem.add_module("conv1", ConvBN(3, first // 2, 3, 2))
        self.stem.add_module("conv2", ConvBN(first // 2, first // 2, 3))
        self.stem.add_module("conv3", ConvBN(first // 2, first, 3))
        pairs = zip(_CHANNELS[:-1], _CHANNELS[1:], _DEPTHS, strict=True)
        self.stages = nn.Sequential(*(Stage(a, b, n) for a, b, n in pairs))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        out = []
        for stage in self.stages:
            x = stage(x)
            out.append(x)
        return out[1:]


class SPP(nn.Module):
    """Maxima over three window sizes beside the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = ConvBN(channels * 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [F.max_pool2d(x, size, 1, size // 2) for size in (5, 9, 13)]
        y: Tensor = self.conv(torch.cat([x, *pooled], 1))
        return y


class NeckStage(nn.Module):
    """A cross-stage partial block of the neck."""

    def __init__(self, c_in: int, c_out: int, spp: bool) -> None:
        super().__init__()
        mid = c_out // 2
        self.conv1 = ConvBN(c_in, mid)
        self.conv2 = ConvBN(c_in, mid)
        self.convs = nn.Sequential()
        self.convs.add_module("0", Block(mid, mid, False))
        if spp:
            self.convs.add_module("spp", SPP(mid))
        self.conv3 = ConvBN(mid * 2, c_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv3(torch.cat([self.conv1(x), self.convs(self.conv2(x))], 1))
        return y


def _named(stage: nn.Module) -> nn.Sequential:
    return nn.Sequential(stage)


class Neck(nn.Module):
    """CustomCSPPAN: coarse to fine and back; gives strides 32, 16 and 8."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c = _NECK
        wide = _CHANNELS[:1:-1]  # 512, 256, 128
        self.fpn_stages = nn.ModuleList(
            [
                _named(NeckStage(wide[0], a, True)),
                _named(NeckStage(wide[1] + a // 2, b, False)),
                _named(NeckStage(wide[2] + b // 2, c, False)),
            ]
        )
        self.fpn_routes = nn.ModuleList([ConvBN(a, a // 2), ConvBN(b, b // 2)])
        self.pan_stages = nn.ModuleList(
            [_named(NeckStage(a + b, a, False)), _named(NeckStage(b + c, b, False))]
        )
        self.pan_routes = nn.ModuleList([ConvBN(b, b, 3, 2), ConvBN(c, c, 3, 2)])

    def forward(self, x: Sequence[Tensor]) -> list[Tensor]:
        coarse = self.fpn_stages[0](x[2])
        middle = self.fpn_stages[1](torch.cat([_double(self.fpn_routes[0](coarse)), x[1]], 1))
        fine = self.fpn_stages[2](torch.cat([_double(self.fpn_routes[1](middle)), x[0]], 1))
        middle = self.pan_stages[1](torch.cat([self.pan_routes[1](fine), middle], 1))
        coarse = self.pan_stages[0](torch.cat([self.pan_routes[0](middle), coarse], 1))
        return [coarse, middle, fine]


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Attention(nn.Module):
    """ppdet's ``ESEAttn``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)
        self.conv = ConvBN(channels, channels)
        nn.init.normal_(self.fc.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True))))
        return y


class Found(NamedTuple):
    """What the head says of L cells, coarse to fine.

    Attributes:
        logits: (N, L) of a person.
        bins: (N, L, 4, BINS) logits of the distances left, top, right, bottom.
        points: (L, 2) middles of the cells, pixels.
        strides: (L, 1) pixels.
    """

    logits: Tensor
    bins: Tensor
    points: Tensor
    strides: Tensor

    def boxes(self) -> Tensor:
        """(N, L, 4) pixels, (x1, y1, x2, y2)."""
        steps = torch.arange(BINS, dtype=torch.float32, device=self.bins.device)
        distances = (self.bins.softmax(-1) * steps).sum(-1) * self.strides
        return torch.cat([self.points - distances[..., :2], self.points + distances[..., 2:]], -1)


class YoloHead(nn.Module):
    """The head; ``proj_conv`` is constant and only kept for its name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem_cls = nn.ModuleList(Attention(c) for c in _NECK)
        self.stem_reg = nn.ModuleList(Attention(c) for c in _NECK)
        self.pred_cls = nn.ModuleList(nn.Conv2d(c, 1, 3, padding=1) for c in _NECK)
        self.pred_reg = nn.ModuleList(nn.Conv2d(c, 4 * BINS, 3, padding=1) for c in _NECK)
        self.proj_conv = nn.Conv2d(BINS, 1, 1, bias=False)
        self.proj_conv.weight.requires_grad_(False)
        self.proj_conv.weight.copy_(torch.arange(BINS).reshape(1, BINS, 1, 1))
        for score, distance in zip(self.pred_cls, self.pred_reg, strict=True):
            nn.init.zeros_(score.weight)
            nn.init.constant_(score.bias, -4.595)  # one in a hundred
            nn.init.zeros_(distance.weight)
            nn.init.ones_(distance.bias)

    def forward(self, x: Sequence[Tensor]) -> Found:
        logits, bins, points, strides = [], [], [], []
        for i, (y, stride) in enumerate(zip(x, STRIDES, strict=True)):
            n, _, h, w = y.shape
            score, side = self.stem_cls[i](y) + y, self.stem_reg[i](y)
            with torch.autocast(y.device.type, enabled=False):
                logit, distance = self.pred_cls[i](score.float()), self.pred_reg[i](side.float())
            logits.append(logit.reshape(n, h * w))
            bins.append(distance.reshape(n, 4, BINS, h * w).permute(0, 3, 1, 2))
            points.append(_cells(h, w, stride, y.device))
            strides.append(torch.full((h * w, 1), float(stride), device=y.device))
        return Found(
            torch.cat(logits, 1),
            torch.cat(bins, 1),
            torch.cat(points),
            torch.cat(strides),
        )


def _cells(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Middles of cells, row by row: (height * width, 2) as (x, y) pixels."""
    ys = torch.arange(height, device=device, dtype=torch.float32) + 0.5
    xs = torch.arange(width, device=device, dtype=torch.float32) + 0.5
    grid = torch.stack(torch.meshgrid(ys, xs, indexing="ij"), -1).flip(-1)
    return grid.reshape(-1, 2) * stride


class PPYoloe(nn.Module):
    """Images (N, 3, H, W), normalised -> ``Found``."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.neck = Neck()
        self.yolo_head = YoloHead()

    def forward(self, x: Tensor) -> Found:
        found: Found = self.yolo_head(self.neck(self.backbone(x)))
        return found
