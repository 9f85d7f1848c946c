"""Parts of a network that keep their weights while the rest learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_STATISTICS = ("_mean", "_variance")


@dataclass(frozen=True)
class Frozen:
    """What does not change in a network.

    Attributes:
        names: of its arrays, as in ``state_dict``.
        norms: the batch norms that use their stored statistics.
    """

    names: frozenset[str]
    norms: tuple[Any, ...]

    def train(self, net: Any) -> None:
        """Put a network into training mode, but for what is frozen."""
        net.train()
        for layer in self.norms:
            layer.eval()


def freeze(net: Any, *, backbone: bool, norm: bool) -> Frozen:
    """Freeze parts of a network, before its optimizer is made.

    Args:
        net: one of ``network.build``; frozen parameters get no gradient from here on.
        backbone: all of the backbone: weights and batch-norm statistics.
        norm: the batch-norm statistics of all layers (their scale and shift learn).
    """
    import paddle

    norms = {
        name: layer
        for name, layer in net.named_sublayers()
        if isinstance(layer, paddle.nn.BatchNorm2D)
        and (norm or (backbone and name.startswith("backbone.")))
    }
    names = {f"{name}.{part}" for name in norms for part in _STATISTICS}
    if backbone:
        for parameter in net.backbone.parameters():
            parameter.stop_gradient = True
        names |= {name for name in net.state_dict() if name.startswith("backbone.")}
    return Frozen(frozenset(names), tuple(norms.values()))
