"""Which frames of a film are looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from kptk.errors import InputError
from kptk.inputs import check_batch_size

_ROUNDED_S = 6e-4  # Matroska keeps whole milliseconds


@dataclass(frozen=True)
class Sampling:
    """Every n-th frame, and at most so many a second.

    Attributes:
        every: 1 takes all frames, 2 the first, the third, ...
        max_fps: frames a second of the film's own time at most; None: all.
    """

    every: int = 1
    max_fps: float | None = None

    def __post_init__(self) -> None:
        check_batch_size(self.every, "every")
        rate = self.max_fps
        is_number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if rate is not None and not (is_number and 0 < rate < math.inf):
            raise InputError(f"max_fps must be a number above 0. Got {rate!r}.")

    def count(self, frames: int, fps: float) -> int:
        """About how many of a film's frames are taken."""
        taken = -(-frames // self.every)
        if self.max_fps is None or fps <= 0:
            return taken
        return min(taken, math.ceil(frames / fps * self.max_fps))


@dataclass
class Choice:
    """The state of one film's sampling."""

    sampling: Sampling
    slot: int = field(default=-1, init=False)

    def wants(self, number: int, time: float) -> bool:
        """Whether this frame is taken; to be asked once a frame, in order.

        With ``max_fps`` the film's time is cut into slots of ``1 / max_fps`` seconds, and the
        first frame of each is taken, so that the rate is right at variable frame rates too.

        Args:
            number: of the frame in the film, from 1.
            time: seconds from the film's first frame.
        """
        if (number - 1) % self.sampling.every:
            return False
        if self.sampling.max_fps is None:
            return True
        slot = math.floor((time + _ROUNDED_S) * self.sampling.max_fps)
        is_new = slot > self.slot
        self.slot = max(slot, self.slot)
        return is_new
