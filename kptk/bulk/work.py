"""The work on one partition: the same in this process and on a worker of a cluster."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from kptk.bulk.attempts import MAX_DEATHS, Attempt, attempt
from kptk.bulk.folder import Done, RunFolder
from kptk.bulk.lists import Partition, located
from kptk.bulk.rows import K, Row, failed_row, row_of
from kptk.bulk.settings import Predictor, Recipe, describe_pipeline
from kptk.errors import BulkError, KptkError
from kptk.results import PoseResult
from kptk.sources import is_video
from kptk.web import is_url


@dataclass(frozen=True)
class Job:
    """A run as its workers know it; two are equal if folder and settings are.

    Attributes:
        folder: where results go; absolute, the same place for all.
        settings_hash: of the run.
        recipe: how a process makes its pipeline.
        models: what the models must be, see :func:`kptk.bulk.settings.models_of`; None: unknown.
        root: where relative paths start.
        format: ``"parquet"`` or ``"jsonl"``.
        version: kptk's, of who started the run.
    """

    folder: str
    settings_hash: str
    recipe: Recipe = field(compare=False)
    models: Any = field(compare=False)
    root: str = field(compare=False)
    format: str = field(compare=False)
    version: str = field(compare=False)


class Site:
    """One process at work on a job: its pipeline is made when it is first needed, and kept.

    Args:
        job: the job.
        pipe: a pipeline that is there already.
    """

    def __init__(self, job: Job, pipe: Predictor | None = None) -> None:
        self.job = job
        self.folder = RunFolder(Path(job.folder))
        self._pipe = pipe
        self._turn = threading.Lock()  # a worker with several threads has one pipeline all the same

    def run(self, partition: Partition) -> Done:
        """Do a partition and write it; one that is written already is not done again.

        Dask asks again for what a worker had finished that died before it could say so.

        Raises:
            BulkError: this process does not see the folder, or has another kptk or other models.
            KptkError: the pipeline cannot be made.
            OSError: the results cannot be written.
        """
        with self._turn:
            pipe = self._ready()
            there = self.folder.done(partition.number, self.job.settings_hash)
            if there is not None:
                return there
            began = time.perf_counter()
            with attempt(self.folder.attempt(partition.number)) as current:
                rows = self._rows(pipe, partition, current)
                return self._write(partition.number, rows, time.perf_counter() - began)

    def _ready(self) -> Predictor:
        if self._pipe is None:
            self._check_place()
            pipe = self.job.recipe.make()
            self._check_models(pipe)
            self._pipe = pipe
        return self._pipe

    def _check_place(self) -> None:
        from kptk import __version__

        if __version__ != self.job.version:
            raise BulkError(
                f"{_host()} has kptk {__version__}; the run was started with {self.job.version}. "
                "Install the same version everywhere."
            )
        try:
            there = self.folder.manifest["settings_hash"]
        except BulkError as error:
            raise BulkError(
                f"{_host()} must see the folder of results under the same path as the machine that "
                f"started the run: a shared file system is needed. {error}"
            ) from error
        if there != self.job.settings_hash:
            raise BulkError(f"On {_host()}, {self.job.folder} is the folder of another run.")

    def _check_models(self, pipe: Any) -> None:
        if self.job.models is None:
            return
        here = describe_pipeline(pipe, self.job.recipe)["models"]
        for stage, wanted in self.job.models.items():
            if here[stage] != wanted:
                raise BulkError(
                    f"The {stage} on {_host()}, {here[stage]['name']}, is not the one on the "
                    "machine that started the run: weights, preprocessing or input size differ. "
                    "Copy the same model directory to both."
                )

    def _rows(self, pipe: Predictor, partition: Partition, current: Attempt) -> list[Row]:
        if not current.careful:
            try:
                return self._at_once(pipe, partition)
            except KptkError:
                raise
            except Exception:  # of one image, perhaps: which one shows below
                pass
        return self._one_by_one(pipe, partition, current)

    def _at_once(self, pipe: Predictor, partition: Partition) -> list[Row]:
        rows = self._numbered(partition)
        refused = {i: why for i, _, path in rows if (why := self._no_image(path))}
        files = [(i, key, path) for i, key, path in rows if i not in refused]
        found = {
            image: row_of(result, image, image_id, path)
            for (image, image_id, path), result in zip(
                files, self._results(pipe, [path for _, _, path in files]), strict=True
            )
        }
        return [found.get(i) or failed_row(i, key, path, refused[i]) for i, key, path in rows]

    def _one_by_one(self, pipe: Predictor, partition: Partition, current: Attempt) -> list[Row]:
        rows, strange = [], []
        for image, image_id, path in self._numbered(partition):
            refused = _DEADLY if current.is_deadly(image) else self._no_image(path)
            if refused:
                rows.append(failed_row(image, image_id, path, refused))
                continue
            current.at(image)
            try:
                [result] = self._results(pipe, [path])
                rows.append(row_of(result, image, image_id, path))
            except Exception as error:  # whatever it is, it costs this image and no other
                strange.append(error)
                rows.append(failed_row(image, image_id, path, f"{type(error).__name__}: {error}"))
        if len(strange) == len(rows) > 1:
            raise strange[0]  # not the images are at fault but this process
        return rows

    def _numbered(self, partition: Partition) -> list[tuple[int, int | None, str]]:
        """(place in the list, COCO id, path) of each image."""
        pairs = enumerate(zip(partition.image_ids, partition.paths, strict=True), partition.first)
        return [(image, image_id, path) for image, (image_id, path) in pairs]

    def _no_image(self, path: str) -> str | None:
        """Why a path can give no single result; None: it may."""
        place = located(self.job.root, path)
        if not is_url(path) and os.path.isdir(place):
            return _FOLDER
        return _FILM if is_video(place) else None

    def _results(self, pipe: Predictor, paths: Sequence[str]) -> Iterator[PoseResult]:
        if not paths:
            return
        recipe = self.job.recipe
        for result in pipe.predict(
            [located(self.job.root, path) for path in paths],
            det_threshold=recipe.det_threshold, channel_order=recipe.channel_order,
        ):  # fmt: skip
            if result.keypoints.shape[1] != K:
                raise BulkError(
                    f"Results must have {K} joints. Got {result.keypoints.shape[1]}: a pipeline "
                    "with a detector and a keypoint model is needed."
                )
            yield result

    def _write(self, number: int, rows: Sequence[Row], seconds: float) -> Done:
        from kptk.bulk import jsonl, parquet

        if self.job.format == "parquet":
            files = parquet.write_rows(self.folder, number, rows, self.job.settings_hash)
        else:
            files = jsonl.write_rows(self.folder, number, rows)
        done = Done(
            partition=number,
            images=len(rows),
            people=sum(len(row.boxes) for row in rows),
            errors=sum(row.error is not None for row in rows),
            seconds=round(seconds, 3),
            settings_hash=self.job.settings_hash,
            files={p.relative_to(self.folder.path).as_posix(): p.stat().st_size for p in files},
        )
        self.folder.finish(done)
        return done


_FOLDER = "This is a folder; the list must name images."
_FILM = "This is a film; the list must name images."
_DEADLY = (
    f"The process died {MAX_DEATHS} times while it was at this image (it crashed, or was killed "
    "for its memory), so the image was left out."
)


@lru_cache(maxsize=1)
def site_of(job: Job) -> Site:
    """This process's site for a job; a new job lets the old one's pipeline go."""
    return Site(job)


def run_partition(job: Job, partition: Partition) -> Done:
    """What a worker is sent. A pipeline has the threads that Dask gives its worker."""
    if job.recipe.threads is None:
        from distributed import get_worker

        job = replace(job, recipe=replace(job.recipe, threads=get_worker().state.nthreads))
    return site_of(job).run(partition)


def _host() -> str:
    import platform

    return f"Worker {platform.node()}"
