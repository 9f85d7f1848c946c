"""Whatever users hand in → frames, streamed one by one, with names unique within the stream.

A member that cannot be read becomes a BadFrame in its place; the rest of the stream goes on.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.errors import InputError, KptkError
from kptk.inputs import check_boxes
from kptk.io.images import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    check_path,
    from_array,
    from_pil,
    is_url,
    read_array,
    read_image,
)
from kptk.io.video import Sampling, VideoFrame, read_camera, read_frames


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a stream.

    Attributes:
        image: RGB uint8 (H, W, 3), EXIF orientation applied.
        name: what saved files are called, unique within the stream: the file's stem, with the
            subfolder in front when folders are read recursively; ``image_000001`` for arrays.
        path: the path or URL as it was handed in; None for arrays, PIL images and bytes.
        suffix: extension of the source file; ``.jpg`` for frames of a video.
        time: seconds from the video's first frame; None for single images.
        number: of the frame in its video, from 1; None for single images.
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

_AHEAD = 2  # images that are made while one is worked on


class Names:
    """The names that one stream has given out: unique, also where the file system ignores case."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}  # name, case-folded → suffix it was given for
        self.videos: set[str] = set()  # case-folded; their frames are not listed: may be many

    def unique(self, name: str, suffix: str) -> str:
        """The name, with the extension or a number added if it is taken in this stream."""
        unique = name = name or "input"
        holder = self.taken.get(name.casefold())
        if holder is not None and suffix and holder.lower() != suffix.lower():
            unique = f"{name}_{suffix[1:]}"
        number = 2
        while (folded := unique.casefold()) in self.taken or _video_of(folded) in self.videos:
            unique = f"{name}_{number}"
            number += 1
        self.taken[folded] = suffix
        return unique

    def video(self, name: str, suffix: str) -> str:
        """A name for a video, such that no frame of it is called like anything before."""
        unique = self.unique(name, suffix)
        while any(_video_of(taken) == unique.casefold() for taken in self.taken):
            unique = self.unique(name, suffix)
        self.videos.add(unique.casefold())
        return unique


def _frame_name(video: str, number: int) -> str:
    """``clip_000001``: what the frame of that number is called, counted from 1."""
    return f"{video}_{number:06d}"


def video_name(name: str, number: int) -> str:
    """The video's name from that of one of its frames."""
    return name.removesuffix(_frame_name("", number))


def _video_of(folded: str) -> str | None:
    """The video that a frame of this name would belong to."""
    match = re.fullmatch(r"(.+)_\d{6,}", folded)
    return match and match[1]


def boxes_per_frame(boxes: Any, single: bool) -> Iterable[Any]:
    """One array of boxes for each frame."""
    if single:
        return [check_boxes(boxes)]
    if not isinstance(boxes, Iterable) or (isinstance(boxes, np.ndarray) and boxes.ndim == 2):
        raise InputError(
            "boxes for several images must be a list with one array (N, 4) for each image. "
            f"Got {type(boxes).__name__}{getattr(boxes, 'shape', '')}."
        )
    return boxes


def pair(
    frames: Iterator[Frame | BadFrame], boxes: Iterable[Any]
) -> Iterator[tuple[Frame | BadFrame, Any]]:
    """Frames with their boxes; an error where there are more of one than of the other."""
    rest = iter(boxes)
    missing = object()
    count = 0
    for count, frame in enumerate(frames, 1):
        given = next(rest, missing)
        if given is missing or given is None:
            raise InputError(
                f"boxes must hold one array (N, 4) for each image. Image {count}, {frame.name}, "
                "has none; for an image without people give an empty list."
            )
        yield frame, given
    if next(rest, missing) is not missing:
        raise InputError(
            f"boxes must hold one array for each image. There are only {count} images."
        )


def _video_frames(video: Generator[VideoFrame, None, None], name: str, path: str | None) -> Frames:
    """Frames of a video or camera, read in a thread a little ahead of the work.

    An error stands at its position.
    """
    number = 0
    try:
        # The thread ends first, then the video is closed: a generator at work cannot be.
        with closing(video), ThreadPoolExecutor(1, "kptk-read") as reader:
            waiting = deque(reader.submit(next, video, None) for _ in range(_AHEAD))
            while (frame := waiting.popleft().result()) is not None:
                waiting.append(reader.submit(next, video, None))
                image, number, time = frame
                yield Frame(image, _frame_name(name, number), path, time=time, number=number)
    except KptkError as error:
        yield BadFrame(_frame_name(name, number + 1) if number else name, path, error)


class _Task(NamedTuple):
    """An image still to be read, and what its frame is called; the fields of Frame."""

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
            array (see :func:`kptk.io.images.from_array`), PIL image, bytes of an image file, open
            binary file, dict (each of its values), or a list, tuple or generator of these, nested.
        channel_order: ``"rgb"`` or ``"bgr"``: order of the colours in arrays. Files and PIL
            images know their own.
        recursive: whether folders are read with their subfolders.
        sampling: which frames of videos and cameras are taken; None: all.

    Returns:
        A generator of Frame, or BadFrame where a member cannot be read. An empty folder, an
        empty list or a missing path is one BadFrame; so is, after its good frames, a video that
        is damaged or cut off. Closing it lets go of the video or camera.

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
        elif isinstance(source, int | np.integer) and not isinstance(source, bool):
            name = self.names.video(f"camera_{source}", "")
            yield from _video_frames(read_camera(int(source), self.sampling), name, None)
        elif hasattr(source, "read"):
            yield self._unnamed(lambda: read_image(_read_binary(source)))
        elif hasattr(source, "__array__"):
            yield from self._array(source)
        elif isinstance(source, Iterable):
            yield from self._members(source)
        else:
            yield self._unnamed(lambda: _refuse(source))

    def _members(self, members: Iterable[object]) -> Frames:
        listed = members if isinstance(members, list | tuple) else ()
        if listed and all(isinstance(member, str | os.PathLike) for member in listed):
            yield from self._files(listed)
            return
        empty = True
        for member in members.values() if isinstance(members, Mapping) else members:
            empty = False
            yield from self.frames(member)
        if empty:
            kind = type(members).__name__
            yield self._bad(f"The input must hold at least one image. Got an empty {kind}.")

    def _array(self, source: Any) -> Frames:
        try:
            array: NDArray[Any] = np.asarray(source)
        except (TypeError, ValueError, RuntimeError) as error:  # a tensor on a GPU, for one
            kind = type(source).__name__
            yield self._bad(f"This {kind} cannot become a NumPy array: {error}")
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
        for videos, group in groupby(map(os.fsdecode, paths), is_video):
            if not videos:
                for task in _read_ahead(task for text in group for task in self._tasks(text)):
                    yield self._read(*task)
                continue
            for text in group:
                path = Path(os.path.expanduser(text))
                name = self.names.video(path.stem, path.suffix)
                yield from _video_frames(read_frames(path, self.sampling), name, text)

    def _tasks(self, text: str) -> Iterator[_Task]:
        """What is to be read for one path or URL."""
        if is_url(text):
            name, suffix = _url_name(text)
            yield _Task(partial(_fetch_image, text), name, text, suffix)
            return
        path = Path(os.path.expanduser(text))  # unlike Path's, this leaves unknown ~users alone
        read = partial(read_image, path)
        try:
            check_path(path)
            if path.is_dir():
                for member in _list_folder(path, self.recursive):
                    inner = member.relative_to(path).with_suffix("").as_posix()
                    yield _Task(partial(read_image, member), inner, str(member), member.suffix)
                return
            if path.suffix.lower() == ".npy":
                read = partial(read_array, path, self.channel_order)
        except InputError as error:
            read = partial(_fail, str(error))
        yield _Task(read, path.stem or "input", text, path.suffix)

    def _read(
        self, read: Callable[[], NDArray[np.uint8]], name: str, path: str | None, suffix: str
    ) -> Frame | BadFrame:
        try:
            image = read()
        except KptkError as error:
            unique = self.names.unique(name, suffix)
            return BadFrame(unique, path, error, suffix or ".jpg")
        return Frame(image, self.names.unique(name, suffix), path, suffix or ".jpg")

    def _bad(self, message: str) -> BadFrame:
        return BadFrame(self.names.unique("input", ""), None, InputError(message))


def is_video(text: str) -> bool:
    """Whether a path is a video's, by its ending; a folder may be called so, too."""
    ending = os.path.splitext(text)[1].lower()
    return (
        ending in VIDEO_SUFFIXES
        and not is_url(text)
        and not os.path.isdir(os.path.expanduser(text))
    )


def _fail(message: str) -> NDArray[np.uint8]:
    raise InputError(message)


def _url_name(url: str) -> tuple[str, str]:
    """Stem and suffix for a URL's image, of characters that are safe in file names."""
    path = re.split(r"[?#]", url.partition("://")[2])[0].partition("/")[2]
    last = PurePosixPath(urllib.parse.unquote(path)).name
    safe = re.sub(r"[^\w.-]", "_", last).lstrip(".")[:100]
    stem, dot, suffix = safe.rpartition(".")
    if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES:
        return stem or "image", f".{suffix}"
    return safe or "image", ".jpg"


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

    def natural(path: Path) -> Any:
        parts = [re.split(r"(\d+)", part.lower()) for part in path.relative_to(folder).parts]
        numbers = [[(0, int(b)) if b.isdecimal() else (1, b) for b in part] for part in parts]
        return numbers, str(path)

    return sorted(files, key=natural)


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
