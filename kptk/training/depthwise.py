"""Depthwise convolution for training on CPU, faster than Paddle's own.

Paddle 3.2's CPU kernel unfolds every channel by itself and calls a matrix product on each; it takes
half of a PP-TinyPose training step. The same sums in plain loops, compiled by numba, replace it
while training (never in an exported model). ``benchmarks/train_step.py`` compares whole steps.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numba
import numpy as np
import paddle
from numpy.typing import NDArray

_JIT: Any = {"nopython": True, "fastmath": {"contract", "reassoc", "nsz"}, "cache": True}


@numba.jit(**_JIT)
def _pad(plane: Any, pad: int, padded: Any) -> None:
    """Copy a plane [H, W] into the middle of a flat zero array with rows of W + 2 * pad."""
    height, width = plane.shape
    row = width + 2 * pad
    grid = padded[: (height + 2 * pad) * row].reshape(-1, row)
    grid[pad : pad + height, pad : pad + width] = plane


@numba.jit(parallel=True, **_JIT)
def _convolve(x: Any, w: Any, pad: int, stride: int, out: Any) -> None:
    """Rows are joined into one long line, so that each of the k * k sums is one long loop."""
    n_images, n_channels, height, width = x.shape
    out_h, out_w = out.shape[2:]
    k = w.shape[2]
    row = width + 2 * pad
    length = (height + 2 * pad - k + 1) * row
    for plane in numba.prange(n_images * n_channels):
        image, channel = plane // n_channels, plane % n_channels
        padded = np.zeros((height + 2 * pad) * row + k, np.float32)
        _pad(x[image, channel], pad, padded)
        line = np.zeros(length, np.float32)
        for ky in range(k):
            for kx in range(k):
                weight, at = w[channel, 0, ky, kx], ky * row + kx
                shifted = padded[at : at + length]
                for i in range(length):
                    line[i] += weight * shifted[i]
        grid = line.reshape(-1, row)[::stride, ::stride]
        out[image, channel] = grid[:out_h, :out_w]


@numba.jit(parallel=True, **_JIT)
def _weight_gradient(grad: Any, x: Any, pad: int, stride: int, grad_w: Any) -> None:
    n_images, n_channels, height, width = x.shape
    out_h, out_w = grad.shape[2:]
    k = grad_w.shape[2]
    row = width + 2 * pad
    length = (height + 2 * pad - k + 1) * row
    for channel in numba.prange(n_channels):
        total = np.zeros((k, k), np.float32)
        padded = np.zeros((height + 2 * pad) * row + k, np.float32)
        line = np.zeros(length, np.float32)
        for image in range(n_images):
            _pad(x[image, channel], pad, padded)
            grid = line.reshape(-1, row)[::stride, ::stride]
            grid[:out_h, :out_w] = grad[image, channel]
            for ky in range(k):
                for kx in range(k):
                    at = ky * row + kx
                    shifted = padded[at : at + length]
                    part = np.float32(0)
                    for i in range(length):
                        part += line[i] * shifted[i]
                    total[ky, kx] += part
        grad_w[channel, 0] = total


def _input_gradient(grad: Any, w: Any, pad: int, stride: int, out: Any) -> None:
    """A convolution of the gradient with the kernel turned by 180 degrees."""
    k = w.shape[2]
    if stride > 1:
        full = [side + 2 * pad - k + 1 for side in out.shape[2:]]
        spread = np.zeros((*grad.shape[:2], *full), np.float32)
        # the gradient of a strided output, on the grid of the unstrided one
        spread[:, :, ::stride, ::stride][:, :, : grad.shape[2], : grad.shape[3]] = grad
        grad = spread
    _convolve(grad, np.ascontiguousarray(w[:, :, ::-1, ::-1]), k - 1 - pad, 1, out)


def _view(tensor: paddle.Tensor) -> NDArray[np.float32]:
    """The tensor's own memory as an array (no copy); the tensor must outlive it."""
    size = int(np.prod(tensor.shape))
    pointer = ctypes.cast(tensor.data_ptr(), ctypes.POINTER(ctypes.c_float))
    return np.ctypeslib.as_array(pointer, (size,)).reshape(tensor.shape)


class _Depthwise(paddle.autograd.PyLayer):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, x: Any, w: Any, pad: int, stride: int) -> Any:
        x = x.contiguous()
        k = w.shape[2]
        size = [(side + 2 * pad - k) // stride + 1 for side in x.shape[2:]]
        out = paddle.empty([*x.shape[:2], *size], "float32")
        _convolve(_view(x), _view(w), pad, stride, _view(out))
        ctx.save_for_backward(x, w)
        ctx.geometry = pad, stride
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, w = ctx.saved_tensor()
        grad = grad.contiguous()
        grad_x, grad_w = paddle.empty(x.shape, "float32"), paddle.empty(w.shape, "float32")
        pad, stride = ctx.geometry
        _input_gradient(_view(grad), _view(w), pad, stride, _view(grad_x))
        _weight_gradient(_view(grad), _view(x), pad, stride, _view(grad_w))
        return grad_x, grad_w


def _forward(layer: Any, x: Any) -> Any:
    pad = layer._padding
    out = _Depthwise.apply(
        x, layer.weight, pad if isinstance(pad, int) else pad[0], layer._stride[0]
    )
    return out if layer.bias is None else out + layer.bias.reshape([1, -1, 1, 1])


def speed_up(model: Any) -> int:
    """Let the depthwise convolutions of a model train by the loops above.

    Only float32 on CPU, square kernels without dilation; all others stay as they are.

    Args:
        model: a ``paddle.nn.Layer``; changed in place.

    Returns:
        The number of convolutions replaced.
    """
    count = 0
    for layer in model.sublayers():
        if not isinstance(layer, paddle.nn.Conv2D) or layer._groups == 1:
            continue
        out_channels, per_group, k_h, k_w = layer.weight.shape
        square = k_h == k_w and len(set(layer._stride)) == 1 and set(layer._dilation) == {1}
        if square and per_group == 1 and layer._groups == out_channels:
            layer.forward = functools.partial(_forward, layer)
            count += 1
    return count
