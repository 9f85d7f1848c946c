"""What ``kptk analyze`` does: evaluate first, or read what is there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from kptk.analysis.api import analyze
from kptk.analysis.result import ErrorAnalysis
from kptk.errors import InputError


@dataclass(frozen=True)
class Asked:
    """The paths given: data, or predictions and annotations."""

    data: Path | None
    split: str | None
    predictions: Path | None
    annotations: Path | None
    baseline: Path | None


def run(
    asked: Asked,
    pipeline: str,
    *,
    det_threshold: float | None,
    n_bootstrap: int,
    seed: int,
    device: str,
    engine: str,
    max_images: int | None,
) -> ErrorAnalysis:
    """Analyse.

    Raises:
        InputError: the paths given do not fit together.
    """
    progress = sys.stderr.isatty()
    if asked.predictions is not None and asked.annotations is not None and asked.data is None:
        return analyze(
            predictions=asked.predictions, annotations=asked.annotations, baseline=asked.baseline,
            det_threshold=det_threshold, n_bootstrap=n_bootstrap, seed=seed, progress=progress,
        )  # fmt: skip
    if asked.data is None or asked.predictions is not None or asked.annotations is not None:
        raise InputError("Pass --data (with --split), or both --predictions and --annotations.")
    from kptk.coco import load_coco
    from kptk.evaluation import evaluate

    evaluation = evaluate(
        pipeline, load_coco(asked.data, split=asked.split), device=device, engine=engine,
        max_images=max_images, progress=progress,
    )  # fmt: skip
    return analyze(
        evaluation, baseline=asked.baseline, det_threshold=det_threshold, n_bootstrap=n_bootstrap,
        seed=seed, progress=progress,
    )  # fmt: skip


def write(
    found: ErrorAnalysis, html: Path | None, folder: Path | None, data: Path | None = None
) -> list[Path]:
    """Write what is asked for, with pictures where the data is at hand; returns the paths."""
    written = []
    if html is not None:
        images = None if data is None else data / "images"
        there = images is not None and images.is_dir()
        written.append(found.to_html(html, images=images if there else None))
    if folder is not None:
        written.append(found.save(folder))
    return written
