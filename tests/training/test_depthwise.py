"""The depthwise convolution for training against Paddle's own."""

from __future__ import annotations

import numpy as np
import pytest

paddle = pytest.importorskip("paddle")
pytest.importorskip("numba")


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(7, 5), (8, 8), (2, 3)])
def test_output_and_gradients_equal_paddles(
    kernel: int, stride: int, size: tuple[int, int]
) -> None:
    from kptk.training.depthwise import speed_up

    paddle.seed(0)
    conv = paddle.nn.Conv2D(4, 4, kernel, stride, kernel // 2, groups=4)
    x = paddle.randn([2, 4, *size])
    x.stop_gradient = False

    def outcome() -> list[np.ndarray]:
        y = conv(x)
        factor = paddle.arange(y.size, dtype="float32").reshape(y.shape)
        gradients = paddle.grad(y, [x, conv.weight, conv.bias], factor)
        return [tensor.numpy() for tensor in (y, *gradients)]

    expected = outcome()
    assert speed_up(paddle.nn.Sequential(conv)) == 1
    for mine, theirs in zip(outcome(), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    "conv",
    [
        {"groups": 1},  # an ordinary convolution
        {"groups": 2},  # grouped, two channels a group
        {"groups": 4, "dilation": 2},
        {"groups": 4, "stride": (1, 2)},
    ],
)
def test_other_convolutions_are_left_alone(conv: dict[str, object]) -> None:
    from kptk.training.depthwise import speed_up

    layer = paddle.nn.Conv2D(4, 4, 3, padding=1, **conv)
    assert speed_up(paddle.nn.Sequential(layer)) == 0
    assert "forward" not in vars(layer)
