"""Small films, made by PyAV: a white square that moves over grey, a frame a number."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (48, 64)  # height, width
SIDE = 12
TIMES = tuple(index / 25 for index in range(20))


def square_at(index: int) -> tuple[int, int]:
    """Left and top of the square in the frame of that index, from 0."""
    return 2 + 2 * index, 8


def picture(index: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    image = np.full((*size, 3), 60, np.uint8)
    left, top = square_at(index)
    image[top : top + SIDE, left : left + SIDE] = 255
    return image


def find_square(image: np.ndarray) -> tuple[float, float]:
    """Left and top of what is bright in a decoded frame."""
    rows, columns = np.nonzero(image[..., 1] > 160)
    return float(columns.min()), float(rows.min())


def write_clip(
    path: Path,
    times: Sequence[float] = TIMES,
    *,
    codec: str = "libx264",
    pictures: Sequence[np.ndarray] | None = None,
    options: dict[str, str] | None = None,
    last: float | None = None,
) -> Path:
    """A film with these frame times, in seconds; the last frame stands for ``last`` seconds."""
    shown = pictures or [picture(index) for index in range(len(times))]
    clock = Fraction(1, 1000 if codec == "mpeg4" else 90000)
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = shown[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = clock
        for time, image in zip(times, shown, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base, frame.pts = clock, round(time / clock)
            for packet in stream.encode(frame):
                if last is not None and time == times[-1]:
                    packet.duration = round(last / clock)
                container.mux(packet)
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path: Path, share: float) -> Path:
    """The first part of a file's bytes, as when the disk was full."""
    data = path.read_bytes()
    shorter = path.with_name(f"cut{path.suffix}")
    shorter.write_bytes(data[: int(len(data) * share)])
    return shorter


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write a transformation into the track header (tkhd, ISO/IEC 14496-12, 8.3.2) of an MP4."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4
    assert data[start] == 0  # version: 32-bit times
    start += 40
    assert struct.unpack_from(">9i", data, start) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    one = 65536
    struct.pack_into(">9i", data, start, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path
