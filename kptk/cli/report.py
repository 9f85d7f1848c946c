"""What ``kptk predict`` saves and prints while results come."""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from kptk.errors import KptkError

if TYPE_CHECKING:
    from kptk.results import PoseResult
    from kptk.video.saved import FilmFiles


def source_of(text: str) -> str | int:
    """A number is a camera's index, unless a file is called so."""
    return int(text) if text.isdecimal() and not os.path.exists(text) else text


def expected(
    sources: Sequence[str | int], every: int, max_fps: float | None
) -> tuple[int | None, bool]:
    """How many results there will be, if all are films that say so; whether any is a film."""
    from kptk.sources import is_video
    from kptk.video import probe
    from kptk.video.sampling import Sampling

    films = [text for text in sources if isinstance(text, str) and is_video(text)]
    moving = len(films) > 0 or any(isinstance(text, int) for text in sources)
    if len(films) < len(sources):
        return None, moving
    try:
        found = [probe(text) for text in films]
    except KptkError:  # the run says what is wrong
        return None, moving
    sampling = Sampling(every, max_fps)
    counts = [sampling.count(film.frames, film.fps) for film in found if film.frames]
    return (sum(counts) if len(counts) == len(films) else None), moving


class Report:
    """What a prediction run has come to: saves and tabulates results, keeps the errors.

    A context manager: the film being written is finished at its end. Ctrl-C is how a camera's
    film ends; of any other film nothing is kept then.
    """

    def __init__(
        self, save_path: Path, *, pictures: bool, table: bool, track: bool, smooth: bool
    ) -> None:
        self.save_path = save_path
        self.pictures = pictures
        self.table = table
        self.track = track
        self.smooth = smooth
        self.film: FilmFiles | None = None
        self.results: list[dict[str, Any]] = []
        self.errors: list[dict[str, Any]] = []
        if table:
            typer.echo(f"{'people':>6}  {'best':>4}  image -> saved")

    def __enter__(self) -> Report:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        camera = self.film is not None and self.film.path is None
        stopped = camera and kind is KeyboardInterrupt
        if kind is None or stopped:
            self._end_film()
        elif self.film is not None:
            self.film.__exit__(kind, error, trace)
        return stopped

    def take(
        self, stream: Generator[PoseResult, None, None], total: int | None, moving: bool
    ) -> None:
        """All results of a stream, which is closed; with a bar where lines are slow to come.

        Args:
            stream: the results.
            total: how many there will be; None: that is not known.
            moving: whether there are films or cameras among them.
        """
        from tqdm import tqdm

        silent = True if self.table and not moving else None  # None: unless at a terminal
        with closing(stream), self:
            for result in tqdm(stream, total=total, unit=" images", disable=silent, leave=False):
                self.add(result)

    def add(self, result: PoseResult) -> None:
        from kptk.video.saved import film_of

        if result.error is not None:
            title = result.path or result.name
            self.errors.append({"input_path": title, "error": str(result.error)})
        elif film_of(result) is None:
            self._end_film()
            self._add_image(result)
        else:
            self._add_frame(result)

    def _add_frame(self, result: PoseResult) -> None:
        from kptk.video import OneEuro, Tracker
        from kptk.video.saved import FilmFiles, film_of

        if self.film is None or self.film.film != film_of(result):
            self._end_film()
            tracker = Tracker(smoother=OneEuro() if self.smooth else None) if self.track else None
            film = FilmFiles(self.save_path, result, pictures=self.pictures, tracker=tracker)
            self.film = film.__enter__()
        self.film.add(result)

    def _end_film(self) -> None:
        film, self.film = self.film, None
        if film is None:
            return
        film.__exit__(None, None, None)
        if not self.table:
            self.results.append(film.json)
            return
        followed = f", {film.tracker.count} people followed" if film.tracker else ""
        title = f"{film.path or film.film} ({film.frames} frames, {film.last:.1f} s{followed})"
        self._row(film.most, film.best, title, film.saved)

    def _add_image(self, result: PoseResult) -> None:
        saved = [result.save_to_json(f"{self.save_path}{os.sep}")]
        if self.pictures:
            saved.append(result.save_to_img(f"{self.save_path}{os.sep}"))
        if not self.table:
            self.results.append(result.json)
            return
        best = float(result.scores.max()) if len(result) else math.nan
        self._row(len(result), best, result.path or result.name, saved)

    def _row(self, people: int, best: float, title: str, saved: Sequence[Path]) -> None:
        score = "-" if math.isnan(best) else f"{best:.2f}"
        typer.echo(f"{people:>6}  {score:>4}  {title} -> {', '.join(map(str, saved))}")

    def finish(self) -> None:
        """List the errors on stderr; exit with 1 if there are any."""
        say_errors(self.errors, len(self.errors))


def say_errors(errors: Sequence[dict[str, Any]], count: int) -> None:
    """List the first of so many errors on stderr; exit with 1 if there are any."""
    if not count:
        return
    typer.echo(f"kptk: {count} of the inputs failed:", err=True)
    for error in errors:
        typer.echo(f"  {error['input_path']}: {' '.join(error['error'].split())}", err=True)
    if count > len(errors):
        typer.echo(f"  and {count - len(errors)} more", err=True)
    raise typer.Exit(1)
