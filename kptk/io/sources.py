"""What a stream is made of: frames, and what stands in place of one that cannot be read."""

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


# ---- naming: What frames are called: names that are unique within a stream and safe as file names.


class Names:
    """The names that one stream has given out."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}  # name, case-folded → suffix it was given for
        self.films: set[str] = set()  # case-folded; their frames are not listed: they may be many

    def unique(self, name: str, suffix: str) -> str:
        """The name, with the extension or a number added if it is taken in this stream."""
        name = name or "input"
        holder = self.taken.get(name.casefold())
        unique = name
        if holder is not None and suffix and holder.lower() != suffix.lower():
            unique = f"{name}_{suffix[1:]}"
        number = 2
        while self._is_taken(unique.casefold()):  # also where the file system ignores case
            unique = f"{name}_{number}"
            number += 1
        self.taken[unique.casefold()] = suffix
        return unique

    def film(self, name: str, suffix: str) -> str:
        """A name for a film, such that no frame of it is called like anything before."""
        unique = self.unique(name, suffix)
        while any(_film_of(taken) == unique.casefold() for taken in self.taken):
            unique = self.unique(name, suffix)
        self.films.add(unique.casefold())
        return unique

    def _is_taken(self, folded: str) -> bool:
        return folded in self.taken or _film_of(folded) in self.films


def frame_name(film: str, number: int) -> str:
    """``clip_000001``: what the frame of that number is called, counted from 1."""
    return f"{film}_{number:06d}"


def film_name(name: str, number: int) -> str:
    """The film's name from that of one of its frames."""
    return name.removesuffix(frame_name("", number))


def _film_of(folded: str) -> str | None:
    """The film that a frame of this name would belong to."""
    match = re.fullmatch(r"(.+)_\d{6,}", folded)
    return match and match[1]


def natural_key(path: Path) -> tuple[list[list[tuple[int, int | str]]], str]:
    """Sorts 2 before 10."""
    parts = [
        [(0, int(bit)) if bit.isdecimal() else (1, bit) for bit in re.split(r"(\d+)", part.lower())]
        for part in path.parts
    ]
    return parts, str(path)


def url_name(url: str) -> tuple[str, str]:
    """Stem and suffix for a URL's picture, of characters that are safe in file names."""
    place = re.split(r"[?#]", url.partition("://")[2])[0].partition("/")[2]
    last = PurePosixPath(urllib.parse.unquote(place)).name
    safe = re.sub(r"[^\w.-]", "_", last).lstrip(".")[:100]
    stem, dot, suffix = safe.rpartition(".")
    if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES:
        return stem or "image", f".{suffix}"
    return safe or "image", ".jpg"


# ---- given_boxes: Boxes that are handed in with the images: which belong to which.


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


# ---- frames: Films and cameras as streams of frames, read in a thread a little ahead of the work.


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


# ---- sources: What users hand in → frames, streamed one by one.
#
# A member that cannot be read becomes a BadFrame in its place; the rest of the stream goes on.


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
            array (see :func:`kptk.io.images.from_array`), PIL image, bytes of an image file, open
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
