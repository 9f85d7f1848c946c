"""Statistics of COCO results that are there already."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from kptk.coco import KeypointData
from kptk.coco.layout import read_json
from kptk.coco.report import first_ids
from kptk.errors import DataError
from kptk.evaluation.matching import Kind
from kptk.evaluation.provenance import data_provenance, ignore_note, versions
from kptk.evaluation.result import Evaluation
from kptk.evaluation.scores import score
from kptk.evaluation.truth import honour_ignore, is_list, read_truth

Path_ = str | os.PathLike[str]
Record = dict[str, Any]


def evaluate_results(
    predictions: Path_ | Sequence[Mapping[str, Any]],
    annotations: Path_ | Mapping[str, Any] | KeypointData,
    sigmas: Sequence[float] | None,
) -> Evaluation:
    """Score a file of COCO results."""
    records, name, sha256 = read_results(predictions)
    kind = kind_of_results(records) or _kind_of_annotations(annotations)
    truth = read_truth(annotations, kind, sigmas)
    joints = len(truth.skeleton) if truth.skeleton is not None else 0
    results, notes = check_results(records, kind, truth.content, joints)
    content, count = honour_ignore(truth.content, kind)
    source = {"box_source": "results", "score_mode": "as in the results", "results": name,
              "results_sha256": sha256}  # fmt: skip
    scores = score(name, kind, content, results, truth.skeleton, source)
    provenance = {
        **data_provenance(truth),
        **versions(),
        "notes": [*truth.notes, *notes, *ignore_note(count)],
    }
    return Evaluation(truth.name, {kind: scores}, None, provenance)


def _kind_of_annotations(annotations: Path_ | Mapping[str, Any] | KeypointData) -> Kind:
    """What annotations are for, when there are no results to tell."""
    categories = read_truth(annotations, "bbox", None).content["categories"]
    return "keypoints" if any(category.get("keypoints") for category in categories) else "bbox"


def read_results(
    predictions: str | os.PathLike[str] | Sequence[Mapping[str, Any]],
) -> tuple[list[Record], str, str | None]:
    """COCO results, how they are called, and the file's SHA-256 if they are from one.

    Raises:
        DataError: they are no list of records.
    """
    name, sha256 = "results", None
    if isinstance(predictions, str | os.PathLike):
        from kptk.cache import file_hash

        path = Path(predictions).expanduser()
        loaded = read_json(path)
        name, sha256 = path.name, file_hash(path)
    else:
        loaded = predictions
    if not is_list(loaded) or not all(isinstance(record, Mapping) for record in loaded):
        kind = "an annotation file" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise DataError(
            f"{name} must be a list of COCO results (image_id, category_id, score, and keypoints "
            f"or bbox). Got {kind}."
        )
    return [dict(record) for record in loaded], name, sha256


def kind_of_results(results: Sequence[Mapping[str, Any]]) -> Kind | None:
    """``"keypoints"`` or ``"bbox"``; None without results.

    Raises:
        DataError: the results are neither, or both kinds are mixed.
    """
    poses = ["keypoints" in result for result in results]
    boxes = ["bbox" in result for result in results]
    if all(poses):
        return "keypoints" if results else None
    if all(boxes) and not any(poses):
        return "bbox"
    raise DataError(
        "Results must all have keypoints, or all have bbox (x, y, width, height). Of "
        f"{len(results)}, {sum(poses)} have keypoints and {sum(boxes)} have bbox."
    )


def check_results(
    results: Sequence[Record], kind: str, content: Mapping[str, Any], n_joints: int
) -> tuple[list[Record], list[str]]:
    """Refuse results that cannot be scored; say what pycocotools would get wrong.

    Returns:
        The results that count, and notes.

    Raises:
        DataError: a record is incomplete or does not belong to these annotations.
    """
    for place, record in enumerate(results):
        _check_result(place, record, kind, n_joints)
    images = {image["id"] for image in content["images"]}
    strange = [r["image_id"] for r in results if r["image_id"] not in images]
    if strange:
        raise DataError(
            f"{len(strange)} results are on images that are not in the annotations, the first on "
            f"image {strange[0]!r}. Are these the results of another data set?"
        )
    categories = {category["id"] for category in content["categories"]}
    known = [r for r in results if r["category_id"] in categories]
    if results and not known:
        raise DataError(
            f"No result has a category that is evaluated ({first_ids(sorted(categories))}). "
            f"Got category_id {results[0]['category_id']!r}."
        )
    return known, _result_notes(results, known, kind)


def _result_notes(results: Sequence[Record], known: Sequence[Record], kind: str) -> list[str]:
    notes = []
    if len(known) < len(results):
        notes.append(f"{len(results) - len(known)} results of other categories were left out.")
    if kind == "keypoints" and any("bbox" in record for record in known):
        notes.append(
            "Results carry a bbox, from which pycocotools would take the sizes for AP(M) and "
            "AP(L); they are taken from the joints, as for every COCO keypoint result."
        )
    missing = sum(_has_missing(record) for record in known) if kind == "keypoints" else 0
    if missing:
        notes.append(
            f"{missing} results have joints that are NaN or null, which pycocotools takes for a "
            "perfect match; they match nothing."
        )
    return notes


def _has_missing(record: Record) -> bool:
    return not all(value is not None and math.isfinite(value) for value in record["keypoints"])


def _check_result(place: int, record: Record, kind: str, n_joints: int) -> None:
    for key in ("image_id", "category_id", "score", kind):
        if record.get(key) is None:
            raise DataError(f"Result {place} has no {key!r}. Every COCO result needs one.")
    if not _is_finite(record["score"]):
        raise DataError(f"The score of result {place} must be a number. Got {record['score']!r}.")
    values = record[kind]
    wanted = 4 if kind == "bbox" else 3 * n_joints
    if not is_list(values) or len(values) != wanted:
        what = f"{len(values)} numbers" if is_list(values) else repr(values)
        raise DataError(
            f"{kind} of result {place} must be {wanted} numbers"
            f"{'' if kind == 'bbox' else f' (x, y, score for each of {n_joints} joints)'}. "
            f"Got {what}."
        )
    fine = all(map(_is_finite, values)) if kind == "bbox" else all(map(_is_number, values))
    if not fine:
        raise DataError(f"{kind} of result {place} must be numbers. Got {values!r}.")


def _is_finite(value: object) -> bool:
    return _is_number(value) and value is not None and math.isfinite(value)  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    """A number, or None, which some writers use for NaN."""
    return value is None or (isinstance(value, Real) and not isinstance(value, bool))
