"""What a stream is made of: frames, and what stands in place of one that cannot be read."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kptk.errors import KptkError


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a stream.

    Attributes:
        image: RGB uint8 (H, W, 3), EXIF orientation applied.
        name: what saved files are called, unique within the stream: the file's stem, with the
            subfolder in front when folders are read recursively; ``image_000001`` for arrays.
        path: the path or URL as it was handed in; None for arrays, PIL images and bytes.
        suffix: extension of the source file; ``.jpg`` for frames of a film.
        time: seconds from the film's first frame; None for single pictures.
        number: of the frame in its film, from 1; None for single pictures.
    """

    image: NDArray[np.uint8]
    name: str
    path: str | None
    suffix: str = ".jpg"
    time: float | None = None
    number: int | None = None


@dataclass(frozen=True, eq=False)
class BadFrame:
    """A member of a stream that could not be read; ``error`` says why."""

    name: str
    path: str | None
    error: KptkError
    suffix: str = ".jpg"


Frames = Generator[Frame | BadFrame, None, None]
