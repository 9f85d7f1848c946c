"""The analysis as one JSON document."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.analysis.labels import DETECTION_TYPES, PERSON_LABELS

if TYPE_CHECKING:
    import pandas as pd

    from kptk.analysis.result import ErrorAnalysis

SCHEMA = "kptk.analysis/1"


def report(analysis: ErrorAnalysis) -> dict[str, Any]:
    """The document, of plain values; numbers that are not defined are None.

    ``joints``, ``persons`` and ``detections`` count labels; ``what_if`` holds signed gains, AP from
    0 to 1. ``config_hash`` is the same for the same data, models or results, and options.
    """
    bundle = analysis.bundle
    document = {
        "schema": SCHEMA,
        "config_hash": config_hash(analysis),
        "data": counts(analysis),
        "verdict": None if analysis.verdict is None else asdict(analysis.verdict),
        "without_verdict": analysis.without_verdict,
        "end_to_end": analysis.end_to_end,
        "game": _records(analysis.game_table),
        "what_if": what_if_json(analysis),
        "joints": analysis.joint_labels.counts,
        "joints_on_ground_truth": analysis.joint_labels_given.counts,
        "transitions": analysis.transitions.to_numpy().tolist(),
        "persons": named_counts(analysis.persons["label"], PERSON_LABELS),
        "unlabelled": {
            "detected": int(analysis.unlabelled["detected"].sum()),
            "missed": int((~analysis.unlabelled["detected"]).sum()),
        },
        "detections": named_counts(analysis.detections["type"], DETECTION_TYPES),
        "rates": {name: rate._asdict() for name, rate in analysis.rates.items()},
        "options": analysis.options.json,
        "provenance": dict(bundle.provenance),
        "notes": list(bundle.notes),
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def _records(table: pd.DataFrame | None) -> list[dict[Any, Any]] | None:
    return None if table is None else table.to_dict("records")


def _plain(value: Any) -> Any:
    """The same as JSON knows it: lists, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def config_hash(analysis: ErrorAnalysis) -> str:
    """SHA-256 (hex) of what the numbers follow from, versions left out."""
    bundle = analysis.bundle
    source = {k: v for k, v in bundle.provenance.items() if k not in ("versions", "notes")}
    content = {
        "options": analysis.options.json,
        "source": source,
        "threshold": bundle.threshold,
        "flips": bundle.skeleton.flip_pairs,
        "sigmas": bundle.skeleton.sigmas,
        "schema": SCHEMA,
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def counts(analysis: ErrorAnalysis) -> dict[str, Any]:
    """Name and size of the data, and of what was found on it."""
    bundle = analysis.bundle
    return {
        "name": bundle.name,
        "images": len(bundle.image_ids),
        "people": int((~bundle.people.crowd).sum()),
        "evaluated": int(bundle.evaluated.sum()),
        "crowds": int(bundle.people.crowd.sum()),
        "candidates": len(bundle.candidates),
        "detections": int(bundle.detected.sum()),
        "threshold": bundle.threshold,
        "box_source": "detector" if bundle.two_stage else "results",
        "score_mode": "ppdet" if bundle.two_stage else "as in the results",
    }


def named_counts(values: Iterable[str], names: Sequence[str]) -> dict[str, int]:
    """How often each name occurs; 0 too."""
    every = list(values)
    return {name: every.count(name) for name in names}


def what_if_json(analysis: ErrorAnalysis) -> dict[str, Any]:
    """The isolated what-ifs by name."""
    table = analysis.what_if
    return {row.pop("name"): row for row in table.to_dict("records")}
