"""Evaluation: up to three sets of COCO statistics, what they rest on, and how they show."""

from __future__ import annotations

import html
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.evaluation.ground_truth import GroundTruth
from kptk.evaluation.predictions import Predictions
from kptk.evaluation.scores import Scores, Scoring, percent, plot_curves
from kptk.files import file_hash, write_json

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from kptk.pipeline.detector import Detector
    from kptk.pipeline.pipeline import Pipeline
    from kptk.pipeline.pose import PoseModel


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


def data_provenance(truth: GroundTruth) -> dict[str, Any]:
    """Name, hash, joints and sigmas of the data."""
    data: dict[str, Any] = {"name": truth.name, "sha256": truth.sha256}
    if truth.skeleton is not None:
        data["joints"] = len(truth.skeleton)
        data["sigmas"] = list(truth.skeleton.sigmas)
    return {"data": data}


def made_by_of(pipe: Pipeline, scoring: Scoring, as_published: bool) -> dict[str, Any]:
    """Models with their hashes and engines, and how the predictions were made."""
    models: dict[str, Any] = {}
    stages: dict[str, Detector | PoseModel | None] = {"detector": pipe.detector, "pose": pipe.pose}
    for name, stage in stages.items():
        if stage is None:
            continue
        model = stage.model
        models[name] = {
            "name": model.name,
            "folder": model.path.name,
            "sha256": file_hash(*model.weights) if model.weights else None,
            "input_size": list(model.input_size),
            "engine": stage.engine.name,
            "device": stage.engine.device,
            "precision": stage.engine.precision,
        }
    if pipe.pose is not None:
        models["pose"] |= {"flip": pipe.pose.flip, "udp": pipe.pose.udp}
    return {
        "models": models,
        "det_threshold": own_threshold(pipe),
        "candidates_from": scoring.min_score,
        "ground_truth_boxes": "as PaddleDetection cuts them" if as_published else "as annotated",
    }


def versions() -> dict[str, Any]:
    """Versions of what computes the numbers."""
    from importlib.metadata import version

    from kptk import __version__

    names = ("numpy", "pycocotools")
    python = ".".join(map(str, sys.version_info[:3]))
    return {"versions": {"kptk": __version__, "python": python, **{n: version(n) for n in names}}}


# Where the two kinds of statistics share a name, they share a column.
_COLUMNS = (
    "AP", "AP50", "AP75", "APs", "APm", "APl",
    "AR", "AR1", "AR10", "AR100", "AR50", "AR75", "ARs", "ARm", "ARl",
)  # fmt: skip


_SHORT = {"detector": "detector", "pose": "pose on ground-truth boxes", "end_to_end": "end to end"}


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """How good a pipeline, or a file of results, is on a data set.

    In a notebook it shows a table, AP in percent.

    Attributes:
        name: the data.
        sections: sets of statistics by name: ``detector``, ``pose``, ``end_to_end`` of a
            pipeline; ``keypoints`` or ``bbox`` of a file of results.
        predictions: what the pipeline said; None for a file of results.
        provenance: data, models, engine, versions, and what was repaired on the way (``notes``).
    """

    name: str
    sections: Mapping[str, Scores]
    predictions: Predictions | None
    provenance: Mapping[str, Any]

    @property
    def detector(self) -> Scores | None:
        """The 12 box statistics of the detector; None without one."""
        return self.sections.get("detector")

    @property
    def pose(self) -> Scores | None:
        """The 10 keypoint statistics on ground-truth boxes; None without a pose model."""
        return self.sections.get("pose")

    @property
    def end_to_end(self) -> Scores | None:
        """The 10 keypoint statistics of both together; None if one of them is missing."""
        return self.sections.get("end_to_end")

    @property
    def keypoints(self) -> Scores | None:
        """The 10 keypoint statistics of a file of results."""
        return self.sections.get("keypoints")

    @property
    def bbox(self) -> Scores | None:
        """The 12 box statistics of a file of results."""
        return self.sections.get("bbox")

    @property
    def json(self) -> dict[str, Any]:
        """Statistics from 0 to 1 (undefined: None) by section, and the provenance."""
        numbers = {
            name: {key: _finite(value) for key, value in scores.items()}
            for name, scores in self.sections.items()
        }
        details = {name: dict(scores.provenance) for name, scores in self.sections.items()}
        return {**numbers, "provenance": {**self.provenance, **details}}

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:attr:`json` as text; written to ``path`` too, if given.

        Raises:
            InputError: it cannot be written.
        """
        if path is not None:
            write_json(Path(path).expanduser(), self.json)
        return json.dumps(self.json, indent=2, allow_nan=False)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the numbers and the predictions to a folder.

        ``evaluation.json`` holds the numbers. ``{section}_results.json`` are the results that were
        scored, as COCO's tools read them. Those of a pipeline can be scored again in another way
        and without inference: ``kptk.evaluate(predictions=folder, annotations=...)``.

        Returns:
            The folder.

        Raises:
            InputError: it cannot be written.
        """
        target = Path(folder).expanduser()
        write_json(target / "evaluation.json", self.json)
        for name, scores in self.sections.items():
            records = [{key: _finite(v) for key, v in r.items()} for r in scores.results]
            write_json(target / f"{name}_results.json", records)
        if self.predictions is not None:
            self.predictions.save(target)
        return target

    def to_pandas(self) -> pd.DataFrame:
        """One row a section.

        Returns:
            Columns ``section, box_source, score_mode, images, evaluated, results``, then every
            statistic of either kind, 0 to 1; NaN where a section has none.
        """
        import pandas as pd

        rows = [
            {
                "section": name,
                "box_source": scores.provenance["box_source"],
                "score_mode": scores.provenance["score_mode"],
                **{n: scores.provenance["counts"][n] for n in ("images", "evaluated", "results")},
                **{n: scores.stats.get(n, math.nan) for n in _COLUMNS},
            }
            for name, scores in self.sections.items()
        ]
        return pd.DataFrame(rows)

    def plot_precision_recall(self, ax: Axes | None = None) -> Axes:
        """Draw precision against recall of every section, at IoU or OKS .5 and .75.

        Args:
            ax: where to draw; None: a new figure.

        Returns:
            The axes.
        """
        return plot_curves(list(self.sections.values()), ax, (0.5, 0.75))

    def _table(self) -> list[list[str]]:
        """Head and rows as texts: AP in percent, of whole tenths, the same on every machine."""
        shown = [c for c in _COLUMNS if any(c in s for s in self.sections.values())]
        rows = [["", "boxes", "scores", *shown, "people"]]
        for scores in self.sections.values():
            source = scores.provenance
            numbers = [percent(scores[c]) if c in scores else "" for c in shown]
            people = str(source["counts"]["evaluated"])
            rows.append(
                [scores.title, source["box_source"], source["score_mode"], *numbers, people]
            )
        return rows

    @property
    def text(self) -> str:
        """The table as plain text, AP in percent, and the notes below it."""
        rows = self._table()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.provenance["notes"])])

    def __repr__(self) -> str:
        parts = [
            f"{_SHORT.get(name, name)} AP {percent(s.AP)}" for name, s in self.sections.items()
        ]
        counts = next(iter(self.sections.values())).provenance["counts"]
        return f"<Evaluation {self.name}: {', '.join(parts)}; {counts['images']} images>"

    def _repr_html_(self) -> str:
        import pandas as pd

        heads, *rows = self._table()
        table = pd.DataFrame(rows, columns=heads).to_html(index=False, border=0)
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.provenance["notes"])
        images = next(iter(self.sections.values())).provenance["counts"]["images"]
        title = f"<p><b>{html.escape(self.name)}</b>: {images} images, AP in percent</p>"
        return title + table + (f"<ul>{notes}</ul>" if notes else "")


def _finite(value: Any) -> Any:
    """JSON has no NaN: null in its place, also inside a list."""
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
