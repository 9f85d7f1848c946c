"""The processes that train one network together, one a device, or a process alone.

``paddle.distributed.launch`` starts them. Each works on its share of every batch; gradients are
averaged, so that all take the same step. The first leads: it alone evaluates and writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls, device: str) -> Team:
        """Take this process's device, and meet the others if a launcher started several.

        Args:
            device: as Paddle names it; of several GPUs each process takes its own.
        """
        import paddle

        size = int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
        if size == 1:
            paddle.set_device(device)
            return cls()
        if device == "cpu":
            paddle.set_device("cpu")
        paddle.distributed.init_parallel_env()
        return cls(paddle.distributed.get_rank(), size)

    @property
    def leads(self) -> bool:
        """Whether this process evaluates and writes."""
        return self.rank == 0

    def mean(self, value: float) -> float:
        """The mean of a number over the processes; NaN in one is NaN in all."""
        return value if self.size == 1 else self._reduced(value, "SUM") / self.size

    def agree(self, value: int) -> int:
        """The greatest of a number over the processes."""
        return value if self.size == 1 else int(self._reduced(value, "MAX"))

    def average_gradients(self, parameters: Iterable[Any]) -> None:
        """Replace the gradients by their means over the processes, in one exchange."""
        if self.size == 1:
            return
        import paddle

        gradients = [p.grad for p in parameters if p.grad is not None]
        joined = paddle.concat([gradient.reshape([-1]) for gradient in gradients])
        paddle.distributed.all_reduce(joined)
        parts = (joined / self.size).split([gradient.size for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.set_value(part.reshape(gradient.shape))

    def _reduced(self, value: float, operation: str) -> float:
        import paddle

        tensor = paddle.to_tensor([value], "float32")
        paddle.distributed.all_reduce(tensor, getattr(paddle.distributed.ReduceOp, operation))
        return float(tensor.item())
