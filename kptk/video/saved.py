"""A film's results on disk: one film with poses, one file of JSON lines."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np

from kptk.cache import replacing
from kptk.errors import InputError
from kptk.naming import film_name
from kptk.results import PoseResult
from kptk.video.tracking import Tracker
from kptk.video.writer import VideoWriter


class FilmFiles:
    """Writes ``{film}_res.mp4`` and ``{film}_res.jsonl``, a line a frame, as results come.

    A context manager: both appear when the block ends well, neither when it does not.

    Args:
        folder: where they go; it is made.
        first: the film's first result, for its name. It is not written yet.
        pictures: whether there is a film, or JSON lines alone.
        tracker: numbers the people; None: nobody is followed.
    """

    def __init__(
        self, folder: Path, first: PoseResult, *, pictures: bool, tracker: Tracker | None
    ) -> None:
        self.film = film_of(first)
        self.path = first.path
        self.tracker = tracker
        self.frames = 0
        self.most = 0
        self.best = float("nan")
        self.last = 0.0
        self.lines = folder / f"{self.film}_res.jsonl"
        self.writer = VideoWriter(folder / f"{self.film}_res.mp4") if pictures else None
        self._stack = ExitStack()
        self._text: TextIO | None = None

    def __enter__(self) -> FilmFiles:
        with ExitStack() as stack:
            try:
                self.lines.parent.mkdir(parents=True, exist_ok=True)
                temporary = stack.enter_context(replacing(self.lines))
                self._text = stack.enter_context(temporary.open("w", encoding="utf-8"))
            except OSError as error:
                raise _unwritable(self.lines, error) from error
            if self.writer is not None:
                stack.enter_context(self.writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def saved(self) -> list[Path]:
        """The files, of which the first is the film if there is one."""
        return [self.lines] if self.writer is None else [self.writer.path, self.lines]

    def add(self, result: PoseResult) -> None:
        """Write the next frame.

        Raises:
            InputError: a file cannot be written.
        """
        if self.tracker is not None:
            result = self.tracker.update(result)
        if self.writer is not None:
            self.writer.add(result)
        self._write(json.dumps(result.json, ensure_ascii=True, allow_nan=False))
        self.frames += 1
        self.most = max(self.most, len(result))
        self.last = result.time or 0.0
        if len(result):
            self.best = float(np.fmax(self.best, result.scores.max()))

    def _write(self, line: str) -> None:
        if self._text is None:
            raise InputError("FilmFiles writes inside its with block only.")
        try:
            self._text.write(line + "\n")
        except OSError as error:
            raise _unwritable(self.lines, error) from error

    @property
    def json(self) -> dict[str, Any]:
        """What there is to say of the film as a whole."""
        record: dict[str, Any] = {
            "input_path": self.path,
            "frames": self.frames,
            "last_time": self.last,
            "most_people": self.most,
        }
        if self.tracker is not None:
            record["tracks"] = self.tracker.count
        return {**record, "saved": [str(path) for path in self.saved]}


def film_of(result: PoseResult) -> str | None:
    """The name of the film that a result is a frame of; None for a single picture."""
    return None if result.frame is None else film_name(result.name, result.frame)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written: {error.strerror or error}.")
