"""Who killed the process: a note beside the results that outlives it.

A partition that is begun leaves a file, and takes it away when it ends in any way but the death of
its process. Whoever begins it again after a death goes image by image and writes down which one it
is at, so that an image that kills the process twice is known, and left out the third time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kptk.cache import replacing

MAX_DEATHS = 2


class Attempt:
    """One go at a partition.

    Attributes:
        careful: an earlier one ended in the death of its process.
    """

    def __init__(self, path: Path) -> None:
        before = _read(path)
        self._path = path
        self._deaths = {} if before is None else before[1]
        self.careful = before is not None
        if before is not None and before[0] is not None:
            self._deaths[before[0]] = self._deaths.get(before[0], 0) + 1
        self.at(None)

    def is_deadly(self, image: int) -> bool:
        """Whether this image has been worked at in too many deaths."""
        return self._deaths.get(image, 0) >= MAX_DEATHS

    def at(self, image: int | None) -> None:
        """Write down which image comes next."""
        deaths = {str(key): count for key, count in self._deaths.items()}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self._path) as temporary:
            temporary.write_text(json.dumps({"at": image, "deaths": deaths}), encoding="utf-8")


@contextmanager
def attempt(path: Path) -> Iterator[Attempt]:
    """Begin a partition; the note goes when the block is left, whichever way."""
    current = Attempt(path)
    try:
        yield current
    finally:
        path.unlink(missing_ok=True)


def _read(path: Path) -> tuple[int | None, dict[int, int]] | None:
    """Where the last attempt was and the deaths so far; None if there was none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        note = json.loads(text)
        return note["at"], {int(key): int(count) for key, count in note["deaths"].items()}
    return None, {}
