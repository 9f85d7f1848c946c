"""What is frozen: no gradient, no part in the optimizer, statistics that stand still."""

from __future__ import annotations

import numpy as np
import pytest

from kptk.training.trainer import freeze

paddle = pytest.importorskip("paddle")


def tiny() -> object:
    """A network with a backbone and a head, each a convolution and a batch norm."""

    class Net(paddle.nn.Layer):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.backbone = self._part()
            self.head = self._part()

        def _part(self) -> object:
            return paddle.nn.Sequential(paddle.nn.Conv2D(2, 2, 1), paddle.nn.BatchNorm2D(2))

        def forward(self, x: object) -> object:
            return self.head(self.backbone(x))

    paddle.seed(0)
    return Net()


@pytest.mark.parametrize(
    ("backbone", "norm", "moving"),
    [
        (False, False, {"backbone.0", "backbone.1", "head.0", "head.1"}),
        (True, False, {"head.0", "head.1"}),
        (False, True, {"backbone.0", "backbone.1", "head.0", "head.1"}),
        (True, True, {"head.0", "head.1"}),
    ],
)
def test_frozen_arrays_are_the_same_bit_by_bit(
    backbone: bool, norm: bool, moving: set[str]
) -> None:
    net = tiny()
    frozen = freeze(net, backbone=backbone, norm=norm)
    learning = [p for p in net.parameters() if not p.stop_gradient]  # type: ignore[attr-defined]
    optimizer = paddle.optimizer.AdamW(0.1, parameters=learning, weight_decay=0.1)
    before = {name: value.numpy() for name, value in net.state_dict().items()}  # type: ignore[attr-defined]
    frozen.train(net)
    x = paddle.to_tensor(np.random.default_rng(0).normal(3, 2, (4, 2, 3, 3)).astype("float32"))
    (net(x) ** 3).mean().backward()  # type: ignore[operator]
    optimizer.step()
    after = {name: value.numpy() for name, value in net.state_dict().items()}  # type: ignore[attr-defined]
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name.rpartition(".")[0] for name in changed} == moving
    assert not changed & frozen.names
    statistics = {name for name in changed if name.endswith(("_mean", "_variance"))}
    assert bool(statistics) == (not norm)
    assert set(before) - changed <= frozen.names  # what is not called frozen did move
    held = {name.partition(".b")[0] for name in optimizer.state_dict()}
    assert not any(p.name in held for p in net.backbone.parameters()) or not backbone  # type: ignore[attr-defined]
