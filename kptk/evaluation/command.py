"""What ``kptk eval`` does: which kind of evaluation is asked for."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kptk.errors import InputError
from kptk.evaluation.measure import evaluate
from kptk.evaluation.scoring import ScoreMode


@dataclass(frozen=True)
class Asked:
    """The paths given: data, or predictions and annotations."""

    data: Path | None
    split: str | None
    predictions: Path | None
    annotations: Path | None
    save_path: Path | None


@dataclass(frozen=True)
class Output:
    """What is written: the JSON document, or the text."""

    document: dict[str, Any]
    text: str


def run(
    asked: Asked,
    pipeline: str,
    *,
    score_mode: str,
    det_threshold: float | None,
    flip: bool | None,
    udp: bool | None,
    device: str,
    engine: str,
    enable_hpi: bool,
    max_images: int | None,
) -> Output:
    """Evaluate.

    Raises:
        InputError: the paths given do not fit together.
    """
    progress = sys.stderr.isatty()
    if enable_hpi and asked.data is None:
        raise InputError("--enable-hpi is about running a pipeline, and so needs --data.")
    mode = cast(ScoreMode, score_mode)
    if asked.predictions is not None and asked.annotations is not None and asked.data is None:
        found = evaluate(
            predictions=asked.predictions, annotations=asked.annotations, score_mode=mode,
            det_threshold=det_threshold, flip=flip, udp=udp, device=device, engine=engine,
            max_images=max_images,
        )  # fmt: skip
    elif asked.data is not None and asked.predictions is None and asked.annotations is None:
        from kptk.coco import load_coco
        from kptk.pipeline import create_pipeline

        pipe = create_pipeline(pipeline, device=device, engine=engine, enable_hpi=enable_hpi)
        found = evaluate(
            pipe, load_coco(asked.data, split=asked.split), score_mode=mode,
            det_threshold=det_threshold, flip=flip, udp=udp, max_images=max_images,
            progress=progress,
        )  # fmt: skip
    else:
        raise InputError(
            "Pass --data (with --split), or both --predictions and --annotations."
        )
    if asked.save_path is not None:
        found.save(asked.save_path)
    document = found.json
    if found.predictions is None:  # a file of results: the statistics and nothing else
        del document["provenance"]
    return Output(document, f"{found.name}, AP in percent\n{found.text}")

