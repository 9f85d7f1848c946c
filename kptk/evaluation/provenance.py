"""What a number rests on: data, models, engine, versions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from kptk.evaluation.scoring import Scoring
from kptk.evaluation.truth import Truth

if TYPE_CHECKING:
    from kptk.detector import Detector
    from kptk.pose import PoseModel
    from kptk.runner import Pipeline


def own_threshold(pipe: Pipeline) -> float | None:
    """The threshold a pipeline detects with when it is not told another."""
    if pipe.detector is None:
        return None
    return pipe.detector.model.threshold if pipe.det_threshold is None else pipe.det_threshold


def ignore_note(count: int) -> list[str]:
    """What is said of annotations with ``ignore: 1``."""
    if not count:
        return []
    return [
        f"{count} annotations say ignore: 1, which pycocotools discards; here they need not be "
        "found, and finding them is no mistake."
    ]


def data_provenance(truth: Truth) -> dict[str, Any]:
    """Name, hash, joints and sigmas of the data."""
    data: dict[str, Any] = {"name": truth.name, "sha256": truth.sha256}
    if truth.skeleton is not None:
        data["joints"] = len(truth.skeleton)
        data["sigmas"] = list(truth.skeleton.sigmas)
    return {"data": data}


def made_by_of(pipe: Pipeline, scoring: Scoring, as_published: bool) -> dict[str, Any]:
    """Models with their hashes and engines, and how the predictions were made."""
    models: dict[str, Any] = {}
    if pipe.detector is not None:
        models["detector"] = _model(pipe.detector)
    if pipe.pose is not None:
        switches = {"flip": pipe.pose.flip, "udp": pipe.pose.udp}
        models["pose"] = {**_model(pipe.pose), **switches}
    return {
        "models": models,
        "det_threshold": own_threshold(pipe),
        "candidates_from": scoring.min_score,
        "ground_truth_boxes": "as PaddleDetection cuts them" if as_published else "as annotated",
    }


def _model(stage: Detector | PoseModel) -> dict[str, Any]:
    from kptk.cache import file_hash

    model = stage.model
    return {
        "name": model.name,
        "folder": model.path.name,
        "sha256": file_hash(*model.weights) if model.weights else None,
        "input_size": list(model.input_size),
        "engine": stage.engine.name,
        "device": stage.engine.device,
        "precision": stage.engine.precision,
    }


def versions() -> dict[str, Any]:
    """Versions of what computes the numbers."""
    from importlib.metadata import version

    from kptk import __version__

    names = ("numpy", "pycocotools")
    python = ".".join(map(str, sys.version_info[:3]))
    return {"versions": {"kptk": __version__, "python": python, **{n: version(n) for n in names}}}
