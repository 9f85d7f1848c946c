"""What users hand in → a list of image paths that can be gone through twice, and its partitions.

A million paths are strings and nothing else; a list in a file is read as it goes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from kptk.coco import KeypointData
from kptk.errors import InputError
from kptk.images import IMAGE_SUFFIXES
from kptk.web import is_url

LIST_SUFFIXES = (".txt", ".lst", ".list")

Entry = tuple[str, int | None]


@dataclass(frozen=True)
class Partition:
    """Images that are done together.

    Attributes:
        number: from 0.
        first: place of its first image in the whole list.
        paths: as in the list, see :func:`located`.
        image_ids: COCO ids; None where the list has none.
    """

    number: int
    first: int
    paths: tuple[str, ...]
    image_ids: tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class ImageList:
    """Images by path.

    Attributes:
        root: the folder that relative paths start from; ``""`` where all are absolute.
        entries: gives an iterator of (path or URL, COCO id or None), the same one every time.
        count: how many.
        sha256: of the root, the paths and the ids, in order.
    """

    root: str
    entries: Callable[[], Iterable[Entry]]
    count: int
    sha256: str

    def partitions(self, size: int) -> Iterator[Partition]:
        """The list cut into partitions of ``size`` images; the last may be smaller."""
        entries = iter(self.entries())
        number = 0
        while batch := tuple(islice(entries, size)):
            paths, ids = zip(*batch, strict=True)
            yield Partition(number, number * size, paths, ids)
            number += 1


def located(root: str, path: str) -> str:
    """The path or URL of an image of a list."""
    return path if is_url(path) else os.path.join(root, path)


def list_images(source: object, *, recursive: bool = False) -> ImageList:
    """List the images in whatever was handed in; none is opened.

    Args:
        source: a folder, a file of paths or URLs (``.txt``, ``.lst``, ``.list``; one a line,
            relative ones start from the file's own folder), an image, COCO data, or a list of
            these but the last.
        recursive: whether folders are read with their subfolders.

    Raises:
        InputError: it is nothing of the kind, it is not there, or it is empty.
    """
    if isinstance(source, KeypointData):
        pairs = [(str(image["file_name"]), int(image["id"])) for image in source.images]
        return _counted(os.path.abspath(source.images_dir), lambda: pairs)
    if isinstance(source, str | os.PathLike):
        return _one(os.fsdecode(source), recursive)
    if isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise _refused(source)
    members = list(source)
    strange = [member for member in members if not isinstance(member, str | os.PathLike)]
    if strange:
        raise _refused(strange[0])
    texts = [os.fsdecode(member) for member in members]
    if len(texts) == 1:
        return _one(texts[0], recursive)
    paths = [path for text in texts for path in _expanded(text, recursive)]
    return _counted("", lambda: ((path, None) for path in paths))


def _one(text: str, recursive: bool) -> ImageList:
    path = _absolute(text)
    if is_url(text):
        return _counted("", lambda: [(text, None)])
    if os.path.isdir(path):
        names = _folder(path, recursive)
        return _counted(path, lambda: ((name, None) for name in names))
    if path.lower().endswith(LIST_SUFFIXES):
        return _counted(os.path.dirname(path), lambda: ((line, None) for line in _lines(path)))
    if not os.path.exists(path):
        raise InputError(f"There is no file or folder {path}.")
    return _counted("", lambda: [(path, None)])


def _expanded(text: str, recursive: bool) -> list[str]:
    """Absolute paths of one member of a list. What is called a picture is not looked at."""
    if is_url(text):
        return [text]
    path = _absolute(text)
    if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES:
        return [path]
    if os.path.isdir(path):
        return [os.path.join(path, name) for name in _folder(path, recursive)]
    if path.lower().endswith(LIST_SUFFIXES):
        folder = os.path.dirname(path)
        return [located(folder, line) for line in _lines(path)]
    return [path]


def _absolute(text: str) -> str:
    return os.path.abspath(os.path.expanduser(text))


def _folder(folder: str, recursive: bool) -> list[str]:
    """Images of a folder, relative to it, in the order of their names; hidden ones are left out."""
    found: list[str] = []
    for place, folders, names in os.walk(folder, onerror=_unreadable):
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]
        inner = "" if place == folder else os.path.relpath(place, folder)
        found += [
            os.path.join(inner, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES
        ]
    if not found:
        advice = "" if recursive else " Subfolders are read with recursive=True."
        raise InputError(f"{folder} must hold images. Got a folder without any.{advice}")
    return sorted(found)


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _lines(path: str) -> Iterator[str]:
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape") as stream:
            yield from (text for line in stream if (text := line.strip()))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _counted(root: str, entries: Callable[[], Iterable[Entry]]) -> ImageList:
    digest = hashlib.sha256(os.fsencode(root))
    count = 0
    for path, image_id in entries():
        digest.update(os.fsencode(f"\0{path}\0{image_id}"))
        count += 1
    if not count:
        raise InputError("The list of images must hold at least one. Got an empty list.")
    return ImageList(root, entries, count, digest.hexdigest())


def _refused(source: object) -> InputError:
    return InputError(
        "Many images are given by path: a folder, a file of paths (.txt), a list of paths, or "
        f"kptk.load_coco(...). Got {type(source).__name__}. For images in memory use "
        "pipe.predict(...)."
    )
