"""Frames of video files and cameras, one at a time: upright, with times, as often as wanted."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError, require
from kptk.inputs import check_batch_size
from kptk.io.images import check_path

_ROUNDED_S = 6e-4  # Matroska keeps whole milliseconds
_USUAL_FPS = 30.0  # of a video that does not say
_MAX_BROKEN = 1000  # frames; after so many the rest is not tried
_MAX_FAILURES = 5  # in a row, of reading on in a file
_MISSING_S = 0.25  # a video that ends so much before its declared length is cut off
# These hold no frames but name other files, which nobody asked for.
_LISTS = {"concat", "dash", "hls", "imf", "sdp"}

Numbered = tuple[int, float, Any]  # a frame's number from 1, seconds from the first, the frame


@dataclass(frozen=True)
class Sampling:
    """Every n-th frame, and at most so many a second.

    Attributes:
        every: 1 takes all frames, 2 the first, the third, ...
        max_fps: frames a second of the video's own time at most; None: all.
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
        """About how many of a video's frames are taken."""
        taken = -(-frames // self.every)
        if self.max_fps is None or fps <= 0:
            return taken
        return min(taken, math.ceil(frames / fps * self.max_fps))

    def of(self, frames: Iterable[Numbered]) -> Iterator[Numbered]:
        """Those of a video's frames that are taken.

        With ``max_fps`` the video's time is cut into slots of ``1 / max_fps`` seconds, and the
        first frame of each is taken, so that the rate is right at variable frame rates too.
        """
        last = -1
        for number, seconds, frame in frames:
            if (number - 1) % self.every:
                continue
            if self.max_fps is not None:
                slot = math.floor((seconds + _ROUNDED_S) * self.max_fps)
                if slot <= last:
                    continue
                last = slot
            yield number, seconds, frame


class VideoFrame(NamedTuple):
    """One frame: RGB uint8 (H, W, 3), its number from 1, seconds from the video's first frame."""

    image: NDArray[np.uint8]
    number: int
    time: float


@dataclass(frozen=True)
class VideoInfo:
    """What a video says about itself; its frames are not looked at, but for the first.

    Attributes:
        width: pixels, as the frames come: upright.
        height: pixels, likewise.
        fps: mean frames a second.
        duration: seconds; None where the file does not say.
        rotation: degrees clockwise that the stored frames were turned by to be upright.
        codec: name of the encoding, e.g. ``"h264"``.
    """

    width: int
    height: int
    fps: float
    duration: float | None
    rotation: int
    codec: str

    @property
    def frames(self) -> int | None:
        """About how many frames there are; None where the duration is not known."""
        return None if self.duration is None else max(1, round(self.duration * self.fps))


def probe(path: str | Path) -> VideoInfo:
    """Look at a video file.

    Raises:
        InputError: it is missing, or no video that can be read.
        MissingDependencyError: PyAV is not installed.
    """
    with _open(Path(path).expanduser()) as (container, stream):
        fps, duration = _fps(stream), _duration(container, stream)
        with closing(_Reading(Path(path), fps, None).decode(container, stream)) as frames:
            first = next((frame for _, _, frame in frames), None)
        if first is None:
            raise InputError(f"{path} holds no frame that can be read: it is damaged.")
        turn = _turn(first)
        width, height = (first.height, first.width) if turn.swaps else (first.width, first.height)
        degrees = (90 if turn.columns else 270) if turn.swaps else 180 * turn.rows
        return VideoInfo(width, height, fps, duration, degrees, stream.codec_context.name)


def read_frames(path: Path, sampling: Sampling) -> Generator[VideoFrame, None, None]:
    """Decode a video file frame by frame; nothing is kept.

    Rotation and mirroring that the file asks for are applied. Damaged frames are left out.

    Args:
        path: the file.
        sampling: which frames are given; the others are decoded but not converted.

    Raises:
        InputError: it is missing or no video; or, after the last good frame, that frames are
            damaged or the file is cut off.
        MissingDependencyError: PyAV is not installed.
    """
    with _open(path) as (container, stream):
        stream.thread_type = "AUTO"
        reading = _Reading(path, _fps(stream), _duration(container, stream))
        # closed before the container, which a decoder at work must not lose
        with closing(reading.decode(container, stream)) as frames:
            for number, seconds, frame in sampling.of(frames):
                yield VideoFrame(_pixels(frame), number, seconds)
        reading.check_end()


class _Reading:
    """How far the reading of one file has come, and what went wrong on the way."""

    def __init__(self, path: Path, fps: float, duration: float | None) -> None:
        self.path = path
        self.step = 1 / fps
        self.duration = duration
        self.number = 0
        self.start = 0.0
        self.time = -self.step
        self.end = 0.0
        self.broken: list[float] = []  # seconds at which something could not be decoded

    def decode(self, container: Any, stream: Any) -> Generator[Numbered, None, None]:
        """Good frames with number and time; ``broken`` notes the others."""
        from av import FFmpegError

        for packet in self._packets(container, stream):
            try:
                for frame in packet.decode():
                    if not frame.is_corrupt:
                        yield self._numbered(frame)
                    elif self.number:  # before the first: a recording that starts in the middle
                        self._note_damage()
            except FFmpegError:
                self._note_damage()
            if len(self.broken) > _MAX_BROKEN:
                return

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """What is whole of the file; the last is empty: it makes the decoder give all it holds.

        Half a packet, where a file is cut off, would cost the good frames that decoder threads
        still hold; it is left out.
        """
        from av import FFmpegError, Packet

        failures, begun = 0, False
        while failures < _MAX_FAILURES:
            try:
                for packet in container.demux(stream):
                    failures = 0
                    if not packet.is_corrupt:
                        begun = True
                        yield packet
                    elif begun:
                        self._note_damage()
                return
            except FFmpegError:  # ends the demuxing, which can be taken up again
                failures += 1
                if failures == 1:
                    self._note_damage()
        end = Packet()
        end.stream, end.time_base = stream, stream.time_base
        yield end

    def _note_damage(self) -> None:
        self.broken.append(max(0.0, self.time + self.step))

    def _numbered(self, frame: Any) -> Numbered:
        """Number and time: the file's own, but a step on where they are missing or go back."""
        stamp = None if frame.pts is None else float(frame.pts * frame.time_base)
        if self.number == 0:
            self.start = stamp or 0.0
        time = self.time + self.step if stamp is None else stamp - self.start
        if time <= self.time:
            time = self.time + self.step
        self.number += 1
        self.time = time
        length = float(frame.duration * frame.time_base) if frame.duration else 0.0
        self.end = time + max(length, self.step)
        return self.number, time, frame

    def check_end(self) -> None:
        """Raise what is wrong with the video as a whole."""
        if not self.number:
            raise InputError(f"{self.path} holds no frame that can be read: it is damaged.")
        missing = 0.0 if self.duration is None else self.duration - self.end
        if missing > max(_MISSING_S, 3 * self.step):
            raise InputError(
                f"{self.path} is cut off or damaged: {self.number} frames were read, up to "
                f"{self.end:.2f} s of the {self.duration:.2f} s it should hold."
            )
        if self.broken:
            raise InputError(
                f"{self.path} is damaged: {len(self.broken)} of its frames could not be read, the "
                f"first at about {self.broken[0]:.2f} s; the other {self.number} were."
            )


@contextmanager
def _open(path: Path) -> Iterator[tuple[Any, Any]]:
    """The open container and its video stream."""
    av = require("av", "video", "Reading video")
    check_path(path)
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} must be a video. Got 0 bytes: it is empty.")
    try:
        # with "file:", a colon in the name makes no protocol of what is before it
        container = av.open(
            f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"}
        )
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (av.FFmpegError, OSError) as error:
        if _lacks_index(path):
            raise InputError(
                f"{path} is an unfinished recording: its index (the moov atom) is missing, so no "
                "frame can be found. Copy it again, or repair it with a tool such as untrunc."
            ) from error
        raise InputError(
            f"{path} must be a video. Its content is none that FFmpeg knows, or is damaged."
        ) from error
    with container:
        if set(container.format.name.split(",")) & _LISTS:
            raise InputError(f"{path} must be a video. It is a list of other files: give those.")
        # an attached picture is no video but the image on a record's sleeve
        moving = [
            stream
            for stream in container.streams.video
            if "attached_pic" not in str(stream.disposition).lower()
        ]
        if not moving:
            held = "sound only" if container.streams.audio else "no frames"
            raise InputError(f"{path} must be a video. It holds {held}.")
        if moving[0].codec_context is None:
            raise InputError(f"{path} cannot be read: this PyAV has no decoder for its frames.")
        yield container, moving[0]


def _lacks_index(path: Path) -> bool:
    """Whether it is MP4 or QuickTime without a moov box (ISO/IEC 14496-12, 4.2)."""
    kinds = []
    with path.open("rb") as file:
        while len(head := file.read(16)) >= 8:
            size, kind = int.from_bytes(head[:4]), head[4:8]
            size = int.from_bytes(head[8:]) if size == 1 else size
            kinds.append(kind)
            if size < 8 or len(kinds) > 1000:  # up to the file's end, or no box at all
                break
            file.seek(size - len(head), 1)
    return bool(kinds) and kinds[0] in (b"ftyp", b"mdat", b"wide") and b"moov" not in kinds


def _fps(stream: Any) -> float:
    rate = stream.average_rate or stream.guessed_rate or stream.base_rate
    return float(rate) if rate and 0 < rate <= 1000 else _USUAL_FPS


def _duration(container: Any, stream: Any) -> float | None:
    """Seconds of the frames: the stream's own, its tag in Matroska, or the whole file's."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = {key.upper(): value for key, value in stream.metadata.items()}.get("DURATION", "")
    parts = tag.split(":")
    if len(parts) == 3:
        numbers = [float(p) if p.replace(".", "", 1).isdecimal() else 0.0 for p in parts]
        return 3600 * numbers[0] + 60 * numbers[1] + numbers[2]
    if container.duration and len(container.streams) == 1:  # other streams may last longer
        return float(container.duration) / 1e6
    return None


class _Turn(NamedTuple):
    """How stored frames become upright: swap the axes, then reverse columns and rows."""

    swaps: bool
    columns: bool
    rows: bool


def _turn(frame: Any) -> _Turn:
    """What the display matrix asks for: x' = a x + c y, y' = b x + d y (ISO/IEC 14496-12, 6.2.2).

    Cameras write quarter turns and mirrorings; of anything else the nearest is taken.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return _Turn(False, False, False)
    a, b, _, c, d = np.frombuffer(matrix, np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return _Turn(True, c < 0, b < 0)
    return _Turn(False, a < 0, d < 0)


def _pixels(frame: Any) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    turn = _turn(frame)
    if turn.swaps:
        image = image.transpose(1, 0, 2)
    if turn.columns:
        image = image[:, ::-1]
    if turn.rows:
        image = image[::-1]
    return np.ascontiguousarray(image)


def read_camera(index: int, sampling: Sampling) -> Generator[VideoFrame, None, None]:
    """Give the frames of a camera as they come, without end; times are when they came.

    OpenCV opens it, since it counts cameras on every system. The camera is released when the
    generator is closed.

    Args:
        index: 0 is the first camera.
        sampling: which frames are given.

    Raises:
        InputError: there is no such camera, another program has it, or it stops.
    """
    import cv2

    _check_camera(index)
    camera = cv2.VideoCapture(index)

    def frames() -> Iterator[Numbered]:
        start, number = None, 0
        while True:
            good, image = camera.read()
            now = time.monotonic()
            if not good or image is None:
                raise InputError(f"Camera {index} stopped giving images after {number} frames.")
            start = now if start is None else start
            number += 1
            yield number, now - start, image

    try:
        if not camera.isOpened():
            raise InputError(
                f"Camera {index} cannot be opened. Is it connected, and does no other program use "
                "it? 0 is the first camera."
            )
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # rather new frames than all frames
        for number, seconds, image in sampling.of(frames()):
            yield VideoFrame(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), number, seconds)
    finally:
        camera.release()


def _check_camera(index: int) -> None:
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
