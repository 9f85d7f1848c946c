"""`kptk.analyze`: which module is at fault, from an evaluation or from files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.analysis.baseline import Baseline
from kptk.analysis.build import bundle_of_evaluation, bundle_of_predictions, bundle_of_results
from kptk.analysis.bundle import Bundle
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.result import ErrorAnalysis
from kptk.errors import InputError
from kptk.evaluation import Evaluation, Predictions
from kptk.evaluation.truth import read_truth

if TYPE_CHECKING:
    from kptk.coco import KeypointData

Path_ = str | os.PathLike[str]
Results = Path_ | Sequence[Mapping[str, Any]] | Predictions


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
    chosen = _options(options, n_bootstrap, seed)
    if evaluation is not None:
        _alone(predictions, annotations, poses_on_truth, input_size, sigmas)
        bundle = bundle_of_evaluation(_check(evaluation), det_threshold)
    else:
        bundle = _bundle_of_files(
            predictions, annotations, poses_on_truth, det_threshold, input_size, sigmas
        )
    if flip_pairs is not None:
        pairs = tuple((int(a), int(b)) for a, b in flip_pairs)
        bundle = replace(bundle, skeleton=replace(bundle.skeleton, mirrored=pairs))
    return ErrorAnalysis(bundle, chosen, _baseline(baseline, chosen, progress), progress)


def _options(
    options: AnalysisOptions | None, n_bootstrap: int | None, seed: int | None
) -> AnalysisOptions:
    chosen = AnalysisOptions() if options is None else options
    if not isinstance(chosen, AnalysisOptions):
        raise InputError(
            "options must be kptk.analysis.options.AnalysisOptions(...). "
            f"Got {type(options).__name__}."
        )
    given = {"n_bootstrap": n_bootstrap, "seed": seed}
    return replace(chosen, **{name: value for name, value in given.items() if value is not None})


def _alone(*others: object) -> None:
    if any(other is not None for other in others):
        raise InputError(
            "analyze takes an evaluation, or predictions= and annotations= (with sigmas=, "
            "poses_on_truth=, input_size=), not both."
        )


def _check(evaluation: object) -> Evaluation:
    if isinstance(evaluation, Evaluation):
        return evaluation
    if isinstance(evaluation, str | os.PathLike):
        raise InputError(
            "analyze(...) takes an evaluation: analyze(kptk.evaluate(pipe, data)). For saved "
            "predictions write analyze(predictions=folder, annotations=file)."
        )
    raise InputError(
        "analyze(...) takes an evaluation: analyze(kptk.evaluate(pipe, data)). "
        f"Got {type(evaluation).__name__}."
    )


def _bundle_of_files(
    predictions: Results | None,
    annotations: Path_ | Mapping[str, Any] | KeypointData | None,
    poses_on_truth: Any,
    det_threshold: float | None,
    input_size: tuple[int, int] | None,
    sigmas: Sequence[float] | None,
) -> Bundle:
    if predictions is None or annotations is None:
        raise InputError(
            "analyze needs an evaluation, analyze(kptk.evaluate(pipe, data)), or results and "
            "ground truth, analyze(predictions=..., annotations=...)."
        )
    from kptk.bulk.folder import is_run_folder

    truth = read_truth(annotations, "keypoints", sigmas)
    stored: Any = predictions
    if is_run_folder(stored):
        from kptk.bulk.stored import read_predictions

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
