"""What users hand in → frames, streamed one by one.

A member that cannot be read becomes a BadFrame in its place; the rest of the stream goes on.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.errors import InputError, KptkError
from kptk.images import (
    IMAGE_SUFFIXES,
    check_path,
    from_array,
    from_pil,
    read_array,
    read_image,
)
from kptk.web import is_url

__all__ = ["BadFrame", "Frame", "iter_frames", "read_image"]

_AHEAD = 2  # pictures that are read while one is worked on


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a stream.

    Attributes:
        image: RGB uint8 (H, W, 3), EXIF orientation applied.
        name: what saved files are called, unique within the stream: the file's stem, with the
            subfolder in front when folders are read recursively; ``image_000001`` for arrays.
        path: the path or URL as it was handed in; None for arrays, PIL images and bytes.
        suffix: extension of the source file.
    """

    image: NDArray[np.uint8]
    name: str
    path: str | None
    suffix: str = ".jpg"


@dataclass(frozen=True, eq=False)
class BadFrame:
    """A member of a stream that could not be read; ``error`` says why."""

    name: str
    path: str | None
    error: KptkError
    suffix: str = ".jpg"


class _Task(NamedTuple):
    """A picture still to be read, and what its frame is called; the fields of Frame."""

    read: Callable[[], NDArray[np.uint8]]
    name: str
    path: str | None
    suffix: str


def iter_frames(
    source: object, *, channel_order: str = "rgb", recursive: bool = False
) -> Iterator[Frame | BadFrame]:
    """Stream the images in whatever was handed in.

    Args:
        source: path (str or Path) of an image or ``.npy`` array, http(s) URL, folder (its images
            in natural order), array (see :func:`kptk.images.from_array`), PIL image, bytes of an
            image file, open binary file, dict (each of its values), or a list, tuple or
            generator of these, nested.
        channel_order: ``"rgb"`` or ``"bgr"``: order of the colours in arrays. Files and PIL
            images know their own.
        recursive: whether folders are read with their subfolders.

    Returns:
        An iterator of Frame, or BadFrame where a member cannot be read. An empty folder, an
        empty list or a missing path is one BadFrame.

    Raises:
        InputError: ``channel_order`` is neither of the two.
    """
    if channel_order not in ("rgb", "bgr"):
        raise InputError(f"channel_order must be 'rgb' or 'bgr'. Got {channel_order!r}.")
    return _Stream(channel_order, recursive).frames(source)


class _Stream:
    """The state of one run: its settings and the names it has given out."""

    def __init__(self, channel_order: str, recursive: bool) -> None:
        self.channel_order = channel_order
        self.recursive = recursive
        self.arrays = 0
        self.taken: dict[str, str] = {}  # name, case-folded → suffix it was given for

    def frames(self, source: object) -> Iterator[Frame | BadFrame]:
        if isinstance(source, Image.Image):
            yield self._unnamed(lambda: from_pil(source))
        elif isinstance(source, bytes | bytearray | memoryview):
            yield self._unnamed(lambda: read_image(bytes(source)))
        elif isinstance(source, str | os.PathLike):
            yield from self._files([source])
        elif hasattr(source, "read"):
            yield self._unnamed(lambda: read_image(_read_binary(source)))
        elif hasattr(source, "__array__"):
            yield from self._array(source)
        elif isinstance(source, Iterable):
            yield from self._members(source)
        else:
            yield self._unnamed(lambda: _refuse(source))

    def _members(self, members: Iterable[object]) -> Iterator[Frame | BadFrame]:
        if isinstance(members, list | tuple) and members and all(map(_is_path, members)):
            yield from self._files(members)
            return
        empty = True
        for member in members.values() if isinstance(members, Mapping) else members:
            empty = False
            yield from self.frames(member)
        if empty:
            kind = type(members).__name__
            error = InputError(f"The input must hold at least one image. Got an empty {kind}.")
            yield self._bad(error)

    def _array(self, source: Any) -> Iterator[Frame | BadFrame]:
        try:
            array: NDArray[Any] = np.asarray(source)
        except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU, for one
            kind = type(source).__name__
            yield self._bad(InputError(f"This {kind} cannot become a NumPy array: {error}"))
            return
        if array.dtype.kind in "OU" and array.ndim:  # an array of paths, or of images
            yield from self._members(array.ravel().tolist())
        else:
            yield self._unnamed(lambda: from_array(array, channel_order=self.channel_order))

    def _unnamed(self, read: Callable[[], NDArray[np.uint8]]) -> Frame | BadFrame:
        self.arrays += 1
        return self._read(read, f"image_{self.arrays:06d}", None, ".jpg")

    def _files(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[Frame | BadFrame]:
        """Frames of files, URLs and folders; the next are read while one is worked on."""
        for task in _read_ahead(task for path in paths for task in self._place(os.fsdecode(path))):
            yield self._read(*task)

    def _place(self, text: str) -> Iterator[_Task]:
        if is_url(text):
            name, suffix = _url_name(text)
            yield _Task(partial(read_image, text), name, text, suffix)
            return
        path = Path(os.path.expanduser(text))  # unlike Path's, this leaves unknown ~users alone
        try:
            check_path(path)
            members = _list_folder(path, self.recursive) if path.is_dir() else None
        except InputError as error:
            yield _Task(partial(_fail, error), path.stem or "input", text, path.suffix)
            return
        if members is None and path.suffix.lower() == ".npy":
            read = partial(read_array, path, self.channel_order)
            yield _Task(read, path.stem, text, path.suffix)
        elif members is None:
            yield _Task(partial(read_image, path), path.stem, text, path.suffix)
        for member in members or ():
            inner = member.relative_to(path).with_suffix("").as_posix()
            yield _Task(partial(read_image, member), inner, str(member), member.suffix)

    def _read(
        self, read: Callable[[], NDArray[np.uint8]], name: str, path: str | None, suffix: str
    ) -> Frame | BadFrame:
        try:
            image = read()
        except KptkError as error:
            return self._bad(error, name, path, suffix)
        return Frame(image, self._unique(name, suffix), path, suffix or ".jpg")

    def _bad(
        self, error: KptkError, name: str = "input", path: str | None = None, suffix: str = ""
    ) -> BadFrame:
        return BadFrame(self._unique(name, suffix), path, error, suffix or ".jpg")

    def _unique(self, name: str, suffix: str) -> str:
        """The name, with the extension or a number added if it is taken in this stream."""
        name = name or "input"
        holder = self.taken.get(name.casefold())
        unique = name
        if holder is not None and suffix and holder.lower() != suffix.lower():
            unique = f"{name}_{suffix[1:]}"
        number = 2
        while unique.casefold() in self.taken:  # also where the file system ignores case
            unique = f"{name}_{number}"
            number += 1
        self.taken[unique.casefold()] = suffix
        return unique


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def _fail(error: InputError) -> NDArray[np.uint8]:
    raise error


def _read_ahead(tasks: Iterator[_Task]) -> Iterator[_Task]:
    """The same tasks; all but a single one are read in a thread, a few before they are due."""
    first = list(islice(tasks, 2))
    if len(first) < 2:
        yield from first
        return
    with ThreadPoolExecutor(1, "kptk-read") as reader:
        waiting: deque[_Task] = deque()
        for task in chain(first, tasks):
            waiting.append(task._replace(read=reader.submit(task.read).result))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting


def _list_folder(folder: Path, recursive: bool) -> list[Path]:
    """Images of a folder in natural order (2 before 10); hidden files are left out."""
    try:
        found = folder.rglob("*") if recursive else folder.iterdir()
        files = [
            path
            for path in found
            if path.suffix.lower() in IMAGE_SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and not path.is_dir()
        ]
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror or error}.") from error
    if not files:
        advice = "" if recursive else " Subfolders are read with recursive=True."
        raise InputError(f"{folder} must hold images. Got a folder without any.{advice}")
    return sorted(files, key=lambda path: _natural_key(path.relative_to(folder)))


def _natural_key(path: Path) -> tuple[list[list[tuple[int, int | str]]], str]:
    parts = [
        [(0, int(bit)) if bit.isdecimal() else (1, bit) for bit in re.split(r"(\d+)", part.lower())]
        for part in path.parts
    ]
    return parts, str(path)


def _url_name(url: str) -> tuple[str, str]:
    """Stem and suffix for a URL's picture, of characters that are safe in file names."""
    place = re.split(r"[?#]", url.partition("://")[2])[0].partition("/")[2]
    last = PurePosixPath(urllib.parse.unquote(place)).name
    safe = re.sub(r"[^\w.-]", "_", last).lstrip(".")[:100]
    stem, dot, suffix = safe.rpartition(".")
    if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES:
        return stem or "image", f".{suffix}"
    return safe or "image", ".jpg"


def _read_binary(file: Any) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise InputError(f"The open file cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise InputError(f"An open file must be binary (mode 'rb'). Got {type(data).__name__}.")
    return data


def _refuse(source: object) -> NDArray[np.uint8]:
    if source is None:
        raise InputError(
            "The input must be an image. Got None, which cv2.imread returns for a file it "
            "cannot read: pass the path itself."
        )
    if isinstance(source, int):
        raise InputError(
            f"The input must be an image. Got the number {source}; cameras are not supported "
            "yet: pass the frames as arrays."
        )
    raise InputError(
        "The input must be a path, URL, folder, array, PIL image, bytes, dict or a list of "
        f"these. Got {type(source).__name__}."
    )
