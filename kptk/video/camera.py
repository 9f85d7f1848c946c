"""Frames of a camera, by its index. OpenCV opens it: it counts cameras on every system."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from pathlib import Path

from kptk.errors import InputError
from kptk.video.reader import VideoFrame
from kptk.video.sampling import Choice, Sampling


def read_camera(index: int, sampling: Sampling) -> Generator[VideoFrame, None, None]:
    """Give the frames of a camera as they come, without end; times are when they came.

    The camera is released when the generator is closed.

    Args:
        index: 0 is the first camera.
        sampling: which frames are given.

    Raises:
        InputError: there is no such camera, another program has it, or it stops.
    """
    import cv2

    _check(index)
    camera = cv2.VideoCapture(index)
    try:
        if not camera.isOpened():
            raise InputError(
                f"Camera {index} cannot be opened. Is it connected, and does no other program use "
                "it? 0 is the first camera."
            )
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # rather new pictures than all pictures
        choice = Choice(sampling)
        start, number = None, 0
        while True:
            good, picture = camera.read()
            now = time.monotonic()
            if not good or picture is None:
                raise InputError(f"Camera {index} stopped giving pictures after {number} frames.")
            start = now if start is None else start
            number += 1
            if choice.wants(number, now - start):
                yield VideoFrame(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), number, now - start)
    finally:
        camera.release()


def _check(index: int) -> None:
    """Refuse what cannot be, before OpenCV writes its own warnings to the terminal."""
    if index < 0:
        raise InputError(f"A camera's index must be 0 or more. Got {index}.")
    if sys.platform == "linux" and not Path(f"/dev/video{index}").exists():
        found = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video[0-9]*"))
        here = f"There are {', '.join(found)}." if found else "There is none on this machine."
        raise InputError(
            f"There is no camera {index} (/dev/video{index}). {here} In a container, hand the "
            "device through."
        )
