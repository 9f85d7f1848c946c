"""Films with poses drawn, written frame by frame under a temporary name."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.cache import replacing
from kptk.errors import InputError, require
from kptk.results import PoseResult

ENDINGS = (".mp4", ".m4v", ".mov", ".mkv")
_TICKS = 90_000  # a second: the clock of MPEG, which every usual frame rate divides nearly evenly
_ENCODERS = (
    ("libx264", {"preset": "veryfast", "crf": "20"}),
    ("libopenh264", {"rc_mode": "quality"}),
    ("mpeg4", {"qscale": "4"}),
)


def save_video(
    results: Iterable[PoseResult],
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    draw: bool = True,
) -> Path:
    """Write results as a film, with the frame times they have.

    Results that carry an error, or no picture, are left out.

    Args:
        results: for example ``kptk.track(pipe.predict("clip.mp4"))``.
        path: a name ending in .mp4, .m4v, .mov or .mkv. Folders are made.
        fps: frames a second, in place of the results' own times; needed where they have none.
        draw: whether people are drawn.

    Returns:
        The file written. It appears under its name when it is complete.

    Raises:
        InputError: there is no frame, no time, or the file cannot be written.
        MissingDependencyError: PyAV is not installed.
    """
    with VideoWriter(path, fps=fps, draw=draw) as film:
        for result in results:
            film.add(result)
    return film.path


class VideoWriter:
    """A film that is written while results come, for a loop that does more with them.

    ::

        with kptk.VideoWriter("poses.mp4") as film:
            for result in kptk.track(pipe.predict("clip.mp4")):
                film.add(result)

    The first picture gives the size; others are scaled to fit into it. Odd widths and heights get
    one more column or row, which the encoding asks for. When the block ends by an exception,
    nothing is left behind.

    Args:
        path: as in :func:`save_video`.
        fps: likewise.
        draw: likewise.

    Raises:
        InputError: the ending is none of these, or ``fps`` is not above 0.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, fps: float | None = None, draw: bool = True
    ) -> None:
        self.path = Path(path).expanduser()
        if self.path.suffix.lower() not in ENDINGS:
            raise InputError(f"A film's name must end in {', '.join(ENDINGS)}. Got {self.path}.")
        if fps is not None and not 0 < fps < math.inf:
            raise InputError(f"fps must be a number above 0. Got {fps!r}.")
        self.fps = fps
        self.draw = draw
        self.frames = 0
        self._block: Any = None
        self._film: _Encoder | None = None
        self._ticks = -1

    def __enter__(self) -> VideoWriter:
        self._block = self._writing()
        self._block.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._block.__exit__(kind, error, trace)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        require("av", "video", "Writing video")
        with _our_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            self._film = _Encoder(temporary, self.path)
            try:
                yield
                if not self.frames:
                    raise InputError(f"{self.path} would hold no frame: no result has a picture.")
                self._film.finish()
            finally:
                self._film.close()
                self._film = None

    def add(self, result: PoseResult) -> None:
        """Write the next frame; a result with an error or without a picture is left out.

        Raises:
            InputError: the result has no time and there is no ``fps``, or the file cannot be
                written, or the writer is not open.
        """
        if self._film is None:
            raise InputError("A VideoWriter writes inside its with block only.")
        if result.error is not None or result.image is None:
            return
        ticks = max(round(self._time(result) * _TICKS), self._ticks + 1)
        self._film.write(result.drawn() if self.draw else result.image, ticks)
        self._ticks = ticks
        self.frames += 1

    def _time(self, result: PoseResult) -> float:
        if self.fps is not None:
            return self.frames / self.fps
        if result.time is None:
            raise InputError(f"{result.name} has no time: say the frames a second, as in fps=25.")
        return result.time


class _Encoder:
    """PyAV's side of it: opened with the first picture, whose size it takes."""

    def __init__(self, file: Path, path: Path) -> None:
        self.file = file
        self.path = path  # for messages
        self.container: Any = None
        self.stream: Any = None

    def write(self, image: NDArray[np.uint8], ticks: int) -> None:
        import av

        with _our_errors(self.path):
            if self.container is None:
                self._open(image)
            size = (self.stream.height, self.stream.width)
            frame = av.VideoFrame.from_ndarray(_fit(image, size), format="rgb24")
            frame.pts = ticks
            frame.time_base = Fraction(1, _TICKS)
            self.container.mux(self.stream.encode(frame))

    def _open(self, image: NDArray[np.uint8]) -> None:
        import av

        name, options = next(
            (name, options) for name, options in _ENCODERS if name in av.codec.codecs_available
        )
        self.container = av.open(f"file:{self.file}", "w")  # a name may hold a colon
        # MPEG-4 knows no finer clock than 1/65535 s
        clock = Fraction(1, _TICKS if name != "mpeg4" else _TICKS // 2)
        self.stream = self.container.add_stream(name, rate=30, options=dict(options))
        self.stream.height, self.stream.width = (side + side % 2 for side in image.shape[:2])
        self.stream.pix_fmt = "yuv420p"  # what browsers and phones play
        self.stream.time_base = self.stream.codec_context.time_base = clock

    def finish(self) -> None:
        with _our_errors(self.path):
            self.container.mux(self.stream.encode(None))
            self.container.close()
        self.container = None

    def close(self) -> None:
        """Let go of a file that is thrown away."""
        if self.container is None:
            return
        from av import FFmpegError

        with suppress(FFmpegError, OSError):  # the disk is full, perhaps; that was said before
            self.container.close()
        self.container = None


def _fit(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at (height, width): one row or column repeated, or scaled onto black."""
    height, width = image.shape[:2]
    more = (size[0] - height, size[1] - width)
    if more == (0, 0):
        return image
    if more in ((0, 1), (1, 0), (1, 1)):
        return np.pad(image, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
    import cv2

    scale = min(size[0] / height, size[1] / width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - inner[1]) // 2, (size[1] - inner[0]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        image, inner, interpolation=cv2.INTER_AREA
    )
    return canvas


@contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    from av import FFmpegError

    try:
        yield
    except (FFmpegError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be written: {why}.") from error
