"""Films and cameras as streams of frames, read in a thread a little ahead of the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from kptk.errors import KptkError
from kptk.frames import BadFrame, Frame, Frames
from kptk.naming import frame_name
from kptk.video.camera import read_camera
from kptk.video.reader import VideoFrame, read_frames
from kptk.video.sampling import Sampling

Pictures = Generator[VideoFrame, None, None]
_AHEAD = 2  # pictures that are made while one is worked on


def film_frames(path: Path, sampling: Sampling, name: str, text: str) -> Frames:
    """Frames of a video file; an error stands after the last good one.

    Args:
        path: the file.
        sampling: which frames are taken.
        name: what its frames are called, ``{name}_000001``.
        text: the path as it was handed in.
    """
    return _frames(read_frames(path, sampling), name, text)


def camera_frames(index: int, sampling: Sampling, name: str) -> Frames:
    """Frames of a camera, without end; the arguments are those of :func:`film_frames`."""
    return _frames(read_camera(index, sampling), name, None)


def _frames(pictures: Pictures, film: str, path: str | None) -> Frames:
    """Frames of a film or camera, which is read in a thread; an error stands at its place."""
    number = 0
    try:
        for image, number, time in _iterate_ahead(pictures):
            yield Frame(image, frame_name(film, number), path, time=time, number=number)
    except KptkError as error:
        name = frame_name(film, number + 1) if number else film
        yield BadFrame(name, path, error)


def _iterate_ahead(pictures: Pictures) -> Pictures:
    """The same pictures; a few are made in a thread before they are due."""
    # The thread ends first, then the film is closed: a generator at work cannot be.
    with closing(pictures), ThreadPoolExecutor(1, "kptk-read") as reader:
        waiting = deque(reader.submit(next, pictures, None) for _ in range(_AHEAD))
        while (picture := waiting.popleft().result()) is not None:
            waiting.append(reader.submit(next, pictures, None))
            yield picture
