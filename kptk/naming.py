"""What frames are called: names that are unique within a stream and safe as file names."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path, PurePosixPath

from kptk.images import IMAGE_SUFFIXES


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
