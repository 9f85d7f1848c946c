"""What users hand in → frames, streamed one by one.

A member that cannot be read becomes a BadFrame in its place; the rest of the stream goes on.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.errors import InputError, KptkError
from kptk.frames import BadFrame, Frame, Frames
from kptk.images import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    check_path,
    from_array,
    from_pil,
    read_array,
    read_image,
)
from kptk.naming import Names, natural_key, url_name
from kptk.video.frames import camera_frames, film_frames
from kptk.video.sampling import Sampling
from kptk.web import is_url

__all__ = ["BadFrame", "Frame", "Frames", "is_camera", "is_video", "iter_frames", "read_image"]

_AHEAD = 2  # pictures that are read while one is worked on


class _Task(NamedTuple):
    """A picture still to be read, and what its frame is called; the fields of Frame."""

    read: Callable[[], NDArray[np.uint8]]
    name: str
    path: str | None
    suffix: str


def iter_frames(
    source: object,
    *,
    channel_order: str = "rgb",
    recursive: bool = False,
    sampling: Sampling | None = None,
) -> Frames:
    """Stream the images in whatever was handed in.

    Args:
        source: path (str or Path) of an image, video or ``.npy`` array, http(s) URL of an image,
            folder (its images in natural order), index of a camera (its frames, without end),
            array (see :func:`kptk.images.from_array`), PIL image, bytes of an image file, open
            binary file, dict (each of its values), or a list, tuple or generator of these, nested.
        channel_order: ``"rgb"`` or ``"bgr"``: order of the colours in arrays. Files and PIL
            images know their own.
        recursive: whether folders are read with their subfolders.
        sampling: which frames of films and cameras are taken; None: all.

    Returns:
        A generator of Frame, or BadFrame where a member cannot be read. An empty folder, an
        empty list or a missing path is one BadFrame; so is, after its good frames, a film that is
        damaged or cut off. Closing it lets go of the film or camera.

    Raises:
        InputError: ``channel_order`` is neither of the two.
    """
    if channel_order not in ("rgb", "bgr"):
        raise InputError(f"channel_order must be 'rgb' or 'bgr'. Got {channel_order!r}.")
    return _Stream(channel_order, recursive, sampling or Sampling()).frames(source)


class _Stream:
    """The state of one run: its settings and the names it has given out."""

    def __init__(self, channel_order: str, recursive: bool, sampling: Sampling) -> None:
        self.channel_order = channel_order
        self.recursive = recursive
        self.sampling = sampling
        self.arrays = 0
        self.names = Names()

    def frames(self, source: object) -> Frames:
        if isinstance(source, Image.Image):
            yield self._unnamed(lambda: from_pil(source))
        elif isinstance(source, bytes | bytearray | memoryview):
            yield self._unnamed(lambda: read_image(bytes(source)))
        elif isinstance(source, str | os.PathLike):
            yield from self._files([source])
        elif is_camera(source):
            index = int(source)  # type: ignore[call-overload]
            name = self.names.film(f"camera_{index}", "")
            yield from camera_frames(index, self.sampling, name)
        elif hasattr(source, "read"):
            yield self._unnamed(lambda: read_image(_read_binary(source)))
        elif hasattr(source, "__array__"):
            yield from self._array(source)
        elif isinstance(source, Iterable):
            yield from self._members(source)
        else:
            yield self._unnamed(lambda: _refuse(source))

    def _members(self, members: Iterable[object]) -> Frames:
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

    def _array(self, source: Any) -> Frames:
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

    def _files(self, paths: Iterable[str | os.PathLike[str]]) -> Frames:
        """Frames of files, URLs and folders; the next are read while one is worked on."""
        for is_film, group in groupby(map(os.fsdecode, paths), is_video):
            if is_film:
                for text in group:
                    yield from self._film(text)
                continue
            for task in _read_ahead(task for text in group for task in self._place(text)):
                yield self._read(*task)

    def _film(self, text: str) -> Frames:
        path = Path(os.path.expanduser(text))
        name = self.names.film(path.stem, path.suffix)
        return film_frames(path, self.sampling, name, text)

    def _place(self, text: str) -> Iterator[_Task]:
        if is_url(text):
            name, suffix = url_name(text)
            yield _Task(partial(_fetch_image, text), name, text, suffix)
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
        return Frame(image, self.names.unique(name, suffix), path, suffix or ".jpg")

    def _bad(
        self, error: KptkError, name: str = "input", path: str | None = None, suffix: str = ""
    ) -> BadFrame:
        return BadFrame(self.names.unique(name, suffix), path, error, suffix or ".jpg")


def is_video(text: str) -> bool:
    """Whether a path is a video's, by its ending; a folder may be called so, too."""
    ending = os.path.splitext(text)[1].lower()
    return (
        ending in VIDEO_SUFFIXES
        and not is_url(text)
        and not os.path.isdir(os.path.expanduser(text))
    )


def is_camera(source: object) -> bool:
    """Whether a source is the index of a camera."""
    return isinstance(source, int | np.integer) and not isinstance(source, bool)


def _is_path(source: object) -> bool:
    return isinstance(source, str | os.PathLike)


def _fail(error: InputError) -> NDArray[np.uint8]:
    raise error


def _fetch_image(url: str) -> NDArray[np.uint8]:
    if os.path.splitext(url.partition("?")[0])[1].lower() in VIDEO_SUFFIXES:
        raise InputError(f"{url} is a video; those are read from files only: download it first.")
    return read_image(url)


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
    return sorted(files, key=lambda path: natural_key(path.relative_to(folder)))


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
    raise InputError(
        "The input must be a path, URL, folder, camera index, array, PIL image, bytes, dict or a "
        f"list of these. Got {type(source).__name__}."
    )
