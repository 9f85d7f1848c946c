"""``kptk.analyze``: which module is at fault, from an evaluation or from files.

``ErrorAnalysis`` is all that can be said about one pipeline on one data set; a ``Comparison`` is of
two pipelines on the same people.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kptk.analysis import report
from kptk.analysis.bundle import (
    Bundle,
    bundle_of_evaluation,
    bundle_of_predictions,
    bundle_of_results,
)
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import interval
from kptk.analysis.plots import Plots
from kptk.analysis.verdict import FILE, Baseline
from kptk.errors import DataError, InputError
from kptk.evaluation import Evaluation, Predictions
from kptk.evaluation.ground_truth import read_truth
from kptk.files import write_json, writing
from kptk.stored import is_run_folder, read_predictions

if TYPE_CHECKING:
    import pandas as pd

    from kptk.coco import KeypointData

Path_ = str | os.PathLike[str]
Results = Path_ | Sequence[Mapping[str, Any]] | Predictions
CHANGES = ("fixed", "broken", "still wrong", "still right")
TABLES = ("persons", "unlabelled", "detections", "joints", "what_if", "sweep")


class ErrorAnalysis(Plots):
    """What a pipeline gets wrong, and which of its modules is at fault.

    In a notebook it shows the verdict. Everything is computed when it is first asked for, and kept.

    Attributes:
        bundle: candidates, poses and people as arrays.
        options: the thresholds.
        baseline: what is normal; None: nothing to compare with.
        progress: show a progress bar while the intervals are computed.
    """

    @cached_property
    def json(self) -> dict[str, Any]:
        """The whole report as plain values; undefined numbers are None."""
        return report.document(self)

    @property
    def text(self) -> str:
        """The verdict and what it rests on, as plain text."""
        return report.text(self)

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """:attr:`json` as text; written to ``path`` too, if given.

        Raises:
            InputError: it cannot be written.
        """
        if path is not None:
            write_json(Path(path).expanduser(), self.json)
        return json.dumps(self.json, indent=2, allow_nan=False)

    def to_html(
        self, path: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None
    ) -> Path:
        """Write the report: one HTML file that needs nothing else, and no network.

        Args:
            path: the file.
            images: the folder of the images, to show the worst people; None: without.

        Returns:
            The file.

        Raises:
            InputError: it cannot be written, or there is no such folder.
        """
        return report.write_html(self, path, images)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the report, the tables, and what a later analysis needs to take it as baseline.

        ``analysis.json``; ``persons.csv``, ``unlabelled.csv``, ``detections.csv``, ``joints.csv``,
        ``what_if.csv``, ``sweep.csv``; ``draws.npz`` of a pipeline.

        Returns:
            The folder.

        Raises:
            InputError: it cannot be written.
        """
        target = Path(folder).expanduser()
        write_json(target / "analysis.json", self.json)
        for name in TABLES:
            with writing(target / f"{name}.csv") as temporary:
                getattr(self, name).to_csv(temporary, index=False)
        if (own := self.as_baseline) is not None:
            own.save(target)
        else:
            (target / FILE).unlink(missing_ok=True)
        return target

    def compare(self, other: ErrorAnalysis) -> Comparison:
        """From this pipeline to another one on the same people: who was fixed, who was broken.

        Raises:
            DataError: the other is of other people, or made with other options.
        """
        first, second = self.bundle, other.bundle
        same = (
            np.array_equal(first.image_ids, second.image_ids)
            and np.array_equal(first.people.ids, second.people.ids)
            and np.array_equal(first.evaluated, second.evaluated)
        )
        if not same:
            one, two = (
                f"{it.name} ({len(it.image_ids)} images, {int(it.evaluated.sum())} people)"
                for it in (first, second)
            )
            raise DataError(
                f"Both analyses must be of the same people on the same images. Got {one} and {two}."
            )
        if self.options != other.options:
            theirs = other.options.json
            names = ", ".join(k for k, v in self.options.json.items() if theirs[k] != v)
            raise DataError(
                f"Both analyses must be made with the same options. They differ in {names}."
            )
        return Comparison(self, other)

    def __repr__(self) -> str:
        bundle = self.bundle
        size = f"{len(bundle.image_ids)} images, {int(bundle.evaluated.sum())} people"
        said = self.without_verdict if self.verdict is None else self.verdict.sentence
        return f"<ErrorAnalysis {bundle.name}: {size}; {said}>"

    def _repr_html_(self) -> str:
        return report.card(self)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Two analyses of the same data.

    Attributes:
        before: the first.
        after: the second.
    """

    before: ErrorAnalysis
    after: ErrorAnalysis

    @cached_property
    def persons(self) -> pd.DataFrame:
        """One row for each person that must be found.

        Columns ``image_id, annotation_id, file_name``, ``before`` and ``after`` (labels),
        ``oks_before`` and ``oks_after``, and ``change``: fixed, broken, still wrong, still right.
        """
        import pandas as pd

        first, second = self.before.persons, self.after.persons
        was, now = first["label"] == "ok", second["label"] == "ok"
        change = np.select([~was & now, was & ~now, ~was & ~now], CHANGES[:3], CHANGES[3])
        return pd.DataFrame(
            {
                **{key: first[key] for key in ("image_id", "annotation_id", "file_name")},
                "before": first["label"],
                "after": second["label"],
                "oks_before": first["oks"],
                "oks_after": second["oks"],
                "change": change,
            }
        )

    @property
    def fixed(self) -> pd.DataFrame:
        """The people who are right now and were not."""
        return self.persons[self.persons["change"] == "fixed"]

    @property
    def broken(self) -> pd.DataFrame:
        """The people who were right and are not any more."""
        return self.persons[self.persons["change"] == "broken"]

    @cached_property
    def labels(self) -> pd.DataFrame:
        """How many people went from which label (rows) to which (columns)."""
        import pandas as pd

        return pd.crosstab(self.persons["before"], self.persons["after"])

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a metric: before, after, delta, and the interval of delta, AP from 0 to 1.

        The interval is of a paired bootstrap over the images: both pipelines on the same draws.
        """
        import pandas as pd

        first, second = self.before.end_to_end, self.after.end_to_end
        draws = self.after.end_to_end_draws - self.before.end_to_end_draws
        ends = [interval(column, self.after.options.confidence) for column in draws.T]
        rows = [
            (name, first[name], second[name], second[name] - first[name], *ends[k])
            for k, name in enumerate(first)
        ]
        return pd.DataFrame(rows, columns=["metric", "before", "after", "delta", "low", "high"])

    @property
    def json(self) -> dict[str, Any]:
        """Counts and metrics as plain values."""
        counts = self.persons["change"].value_counts()
        return {
            "data": self.before.bundle.name,
            "persons": {name: int(counts.get(name, 0)) for name in CHANGES},
            "metrics": self.metrics.set_index("metric").to_dict("index"),
        }

    @property
    def text(self) -> str:
        """Two sentences."""
        row = self.metrics.iloc[0]
        return (
            f"{len(self.fixed)} people fixed, {len(self.broken)} broken, of {len(self.persons)}. "
            f"{row['metric']} {100 * row['before']:.1f} to {100 * row['after']:.1f}: "
            f"{100 * row['delta']:+.1f} ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})."
        )

    def __repr__(self) -> str:
        return f"<Comparison {self.before.bundle.name}: {self.text}>"

    def _repr_html_(self) -> str:
        table = self.labels.to_html()
        note = "People by label, before (rows) and after (columns)"
        return f"<p>{html.escape(self.text)}</p><p>{note}</p>{table}"


def analyze(
    evaluation: Evaluation | None = None,
    *,
    baseline: ErrorAnalysis | Evaluation | Path_ | None = None,
    predictions: Results | None = None,
    annotations: Path_ | Mapping[str, Any] | KeypointData | None = None,
    poses_on_truth: Path_ | Sequence[Mapping[str, Any]] | None = None,
    det_threshold: float | None = None,
    input_size: tuple[int, int] | None = None,
    sigmas: Sequence[float] | None = None,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    options: AnalysisOptions | None = None,
    n_bootstrap: int | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> ErrorAnalysis:
    """Find out which module to improve: the detector or the keypoint model.

    Give an evaluation, ``analyze(kptk.evaluate(pipe, data))``, or files,
    ``analyze(predictions=..., annotations=...)``. No model is run.

    What can be said depends on what there is. With boxes and with poses on ground-truth boxes (any
    evaluation of a pipeline has both): everything. With boxes alone: labels, what-ifs, slices, but
    no verdict. With COCO keypoint results without boxes: the errors of joints and what they cost.

    Args:
        evaluation: of a pipeline with a detector and a keypoint model, or of COCO results.
        baseline: the same pipeline on data where it is known to do well, or the stock models: an
            analysis, an evaluation, or a folder of ``ErrorAnalysis.save``. The verdict is then on
            the difference, since every good pair has errors of both kinds.
        predictions: a folder of ``Evaluation.save`` or ``predict_dataset``,
            ``Evaluation.predictions``, or a file or list of COCO keypoint results. If every record
            has a ``bbox`` (x, y, width, height), they are boxes with a pose on each, and ``score``
            is the box's.
        annotations: a COCO annotation file, its content, or loaded data.
        poses_on_truth: with results that have boxes: the same model's poses on ground-truth boxes,
            a file or list of records with ``annotation_id`` and ``keypoints``.
        det_threshold: lowest score of a detection; None: the pipeline's own; of results without
            one, all are detections.
        input_size: (height, width) of the pose model's input, with results that have boxes; it
            sets the shape of the crop. None: 3 wide to 4 high.
        sigmas: OKS sigma of each joint, with ``annotations``; None: by the joints' names.
        flip_pairs: pairs (left, right) of 0-based joint indices; None: by the joints' names.
        options: all other thresholds.
        n_bootstrap: bootstrap draws over the images; None: as in ``options``, 1000.
        seed: of the bootstrap; None: as in ``options``, 0.
        progress: show a progress bar while the intervals are computed.

    Returns:
        The analysis. In a notebook it shows the verdict.

    Raises:
        InputError: an argument is wrong, or the evaluation lacks a stage.
        DataError: predictions and annotations do not fit, or nobody has to be found.
    """
    chosen = AnalysisOptions() if options is None else options
    if not isinstance(chosen, AnalysisOptions):
        raise InputError(
            "options must be kptk.analysis.options.AnalysisOptions(...). "
            f"Got {type(options).__name__}."
        )
    own = {"n_bootstrap": n_bootstrap, "seed": seed}
    chosen = replace(chosen, **{name: value for name, value in own.items() if value is not None})
    of_files = (predictions, annotations, poses_on_truth, input_size, sigmas)
    if evaluation is None:
        bundle = _bundle_of_files(*of_files, det_threshold)
    elif any(argument is not None for argument in of_files):
        raise InputError(
            "analyze takes an evaluation, or predictions= and annotations= (with sigmas=, "
            "poses_on_truth=, input_size=), not both."
        )
    else:
        bundle = bundle_of_evaluation(_check(evaluation), det_threshold)
    if flip_pairs is not None:
        pairs = tuple((int(a), int(b)) for a, b in flip_pairs)
        bundle = replace(bundle, skeleton=replace(bundle.skeleton, mirrored=pairs))
    return ErrorAnalysis(bundle, chosen, _baseline(baseline, chosen, progress), progress)


def _check(evaluation: object) -> Evaluation:
    if isinstance(evaluation, Evaluation):
        return evaluation
    hint = f"Got {type(evaluation).__name__}."
    if isinstance(evaluation, str | os.PathLike):
        hint = "For saved predictions write analyze(predictions=folder, annotations=file)."
    raise InputError(
        f"analyze(...) takes an evaluation: analyze(kptk.evaluate(pipe, data)). {hint}"
    )


def _bundle_of_files(
    predictions: Results | None,
    annotations: Path_ | Mapping[str, Any] | KeypointData | None,
    poses_on_truth: Any,
    input_size: tuple[int, int] | None,
    sigmas: Sequence[float] | None,
    det_threshold: float | None,
) -> Bundle:
    if predictions is None or annotations is None:
        raise InputError(
            "analyze needs an evaluation, analyze(kptk.evaluate(pipe, data)), or results and "
            "ground truth, analyze(predictions=..., annotations=...)."
        )
    truth = read_truth(annotations, "keypoints", sigmas)
    stored: Any = predictions
    if is_run_folder(stored):
        run = read_predictions(stored)
        stored = run.to_coco(annotations)
        input_size = input_size or (run.input_size if stored else None)
        det_threshold = run.det_threshold if det_threshold is None else det_threshold
    if isinstance(stored, str | os.PathLike) and Path(stored).expanduser().is_dir():
        stored = Predictions.load(stored)
    if not isinstance(stored, Predictions):
        return bundle_of_results(
            stored, truth, det_threshold=det_threshold, poses_on_truth=poses_on_truth,
            input_size=input_size,
        )  # fmt: skip
    if poses_on_truth is not None or input_size is not None:
        raise InputError("poses_on_truth and input_size are for COCO results; here both are saved.")
    return bundle_of_predictions(stored, truth, det_threshold)


def _baseline(source: object, options: AnalysisOptions, progress: bool) -> Baseline | None:
    """What the verdict is compared with.

    Raises:
        InputError: it is nothing of the kind, or has no oracle game.
        DataError: the folder does not hold an analysis.
    """
    if source is None:
        return None
    if isinstance(source, str | os.PathLike):
        return Baseline.load(Path(source).expanduser())
    if isinstance(source, Evaluation):
        source = ErrorAnalysis(bundle_of_evaluation(source), options, progress=progress)
    if not isinstance(source, ErrorAnalysis):
        raise InputError(
            "baseline must be an analysis, an evaluation, or a folder of ErrorAnalysis.save. "
            f"Got {type(source).__name__}."
        )
    found = source.as_baseline
    if found is None:
        raise InputError(f"The baseline cannot be compared with. {source.without_verdict}")
    return found
