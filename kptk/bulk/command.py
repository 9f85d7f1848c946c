"""What ``kptk predict`` does with --dask or --format parquet|jsonl."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kptk.bulk.run import PARTITION_SIZE, predict_dataset
from kptk.bulk.settings import Format
from kptk.bulk.stored import StoredPredictions
from kptk.errors import DownloadError, InputError

_MAX_ERRORS = 20  # that are listed


@dataclass(frozen=True)
class Asked:
    """The options of ``kptk predict`` that are about many images; None: not given."""

    dask: str | None
    format: str | None
    partition_size: int | None
    coco_results: Path | None

    @property
    def partitioned(self) -> bool:
        """Whether results go into partitions, instead of a JSON file an image.

        Raises:
            InputError: an option is given that needs the partitions.
        """
        if self.dask is not None or self.format not in (None, "json"):
            if self.format == "json":
                raise InputError("--dask writes --format parquet (its default) or jsonl, not json.")
            return True
        for name, value in (
            ("--partition-size", self.partition_size),
            ("--coco-results", self.coco_results),
        ):
            if value is not None:
                raise InputError(f"{name} is for --format parquet or jsonl, or --dask.")
        return False


def run(
    inputs: Sequence[str],
    pipeline: str,
    save_path: Path,
    asked: Asked,
    *,
    device: str,
    engine: str,
    det_threshold: float | None,
    kpt_threshold: float | None,
    channel_order: str | None,
    recursive: bool,
) -> StoredPredictions:
    """Predict into partitions; with ``--coco-results`` write ``predictions.json`` too.

    Raises:
        KptkError: see :func:`kptk.predict_dataset`.
    """
    if kpt_threshold is not None:
        raise InputError("--kpt-threshold is for pictures; partitions hold every joint and score.")
    try:
        stored = predict_dataset(
            list(inputs), pipeline, save_path, asked.dask,
            format=cast(Format, asked.format or "parquet"),
            partition_size=PARTITION_SIZE if asked.partition_size is None else asked.partition_size,
            det_threshold=det_threshold, channel_order=channel_order, device=device,
            engine=engine, recursive=recursive, progress=sys.stderr.isatty(),
        )  # fmt: skip
    except DownloadError as error:
        raise DownloadError(f"{error} Without a network, try: --pipeline demo") from error
    if asked.coco_results is not None:
        stored.save_coco(save_path / "predictions.json", asked.coco_results)
    return stored


def document(stored: StoredPredictions) -> dict[str, Any]:
    """What ``--json`` writes: counts and the first errors, no results."""
    errors = list(stored.errors().items()) if stored.n_errors else []
    return {
        "folder": str(stored.folder),
        "images": len(stored),
        "people": sum(done.people for done in stored.partitions),
        "partitions": len(stored.partitions),
        "n_errors": stored.n_errors,
        "errors": [{"input_path": path, "error": why} for path, why in errors[:_MAX_ERRORS]],
    }
