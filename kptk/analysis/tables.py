"""The tidy tables of an analysis: one row a person, a detection, a joint; ids in every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.labels import (
    JOINT_LABELS,
    crowding,
    hidden,
    label_joints,
    oks_pairs,
    ranking_scores,
    truncation,
    wilson,
)
from kptk.analysis.matching import Poses, assign, match_poses, rank_candidates, score_of, statistics
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import idealise, oracle_joints
from kptk.errors import InputError, nearest
from kptk.evaluation import Matches
from kptk.evaluation.matching import AREAS, RECALLS, THRESHOLDS, average
from kptk.geometry import iou, oks

if TYPE_CHECKING:
    import pandas as pd

    from kptk.analysis.labels import JointLabels, PersonLabels
    from kptk.analysis.oracle import Draws, Game
    from kptk.analysis.whatif import WhatIf


NOBODY = -1


DETECTED, GROUND_TRUTH = "detected", "ground truth"


def sizes_of(area: Float) -> NDArray[Any]:
    """(N,) COCO's small, medium or large of areas in square pixels."""
    names = np.array(["small", "medium", "large"], object)
    found: NDArray[Any] = names[np.searchsorted([AREAS["small"][1], AREAS["medium"][1]], area)]
    return found


def ids_of(bundle: Bundle, people: Index) -> Index:
    """Annotation ids of people; -1 for nobody (-1)."""
    ids: Index = np.where(people >= 0, bundle.people.annotation_id[people], NOBODY)
    return ids


def _where(bundle: Bundle, people: Index) -> dict[str, Any]:
    """The columns that every table of people begins with."""
    image = bundle.people.image[people]
    names = np.array([str(i.get("file_name", "")) for i in bundle.images], object)
    return {
        "image_id": bundle.image_ids[image],
        "annotation_id": bundle.people.annotation_id[people],
        "file_name": names[image],
    }


def _box_columns(bundle: Bundle, people: Index, candidate: Index) -> dict[str, Any]:
    there = candidate >= 0
    score = np.full(len(people), np.nan)
    score[there] = bundle.candidates.score[candidate[there]]
    overlap = np.full(len(people), np.nan)
    overlap[there] = iou(bundle.candidates.box[candidate[there]], bundle.people.box[people[there]])
    return {"detection": candidate, "box_score": score, "box_iou": overlap}


def person_table(bundle: Bundle, labels: PersonLabels, columns: dict[str, Any]) -> pd.DataFrame:
    """One row for each person that must be found.

    Args:
        bundle: candidates and people.
        labels: of :func:`kptk.analysis.labels.label_people`.
        columns: further columns (G,) for all people.
    """
    import pandas as pd

    rows = np.flatnonzero(bundle.evaluated)
    people = bundle.people
    return pd.DataFrame(
        {
            **_where(bundle, rows),
            "label": labels.label[rows],
            "detail": labels.detail[rows],
            **_box_columns(bundle, rows, labels.candidate[rows]),
            "oks": labels.oks[rows],
            "oks_given": labels.oks_given[rows],
            "flipped": labels.flipped[rows],
            "area": people.area[rows],
            "size": sizes_of(people.area[rows]),
            "n_keypoints": people.labelled[rows].sum(axis=1),
            "n_visible": (people.points[rows, :, 2] == 2).sum(axis=1),
            **{name: values[rows] for name, values in columns.items()},
            **{name: values[rows] for name, values in labels.tags.items()},
        }
    )


def unlabelled_table(bundle: Bundle, candidate: Index) -> pd.DataFrame:
    """One row for each single person without a labelled joint: is there a box on him?

    Args:
        bundle: candidates and people.
        candidate: (G,) the detection whose box is his, -1: none.
    """
    import pandas as pd

    people = bundle.people
    rows = np.flatnonzero(~people.crowd & ~people.labelled.any(axis=1))
    return pd.DataFrame(
        {
            **_where(bundle, rows),
            "detected": candidate[rows] >= 0,
            **_box_columns(bundle, rows, candidate[rows]),
            "area": people.area[rows],
            "size": sizes_of(people.area[rows]),
        }
    )


def detection_table(
    bundle: Bundle, types: Index, names: tuple[str, ...], person: Index
) -> pd.DataFrame:
    """One row for each detection: a candidate at or above the threshold.

    Args:
        bundle: candidates and people.
        types: (D,) index into ``names``.
        names: of the types.
        person: (D,) whose it is, -1: nobody's.
    """
    import pandas as pd

    found = bundle.candidates
    rows = np.flatnonzero(bundle.detected)
    whose = person[rows]
    there = whose >= 0
    overlap, likeness = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    own, his = rows[there], whose[there]
    people = bundle.people
    overlap[there] = iou(found.box[own], people.box[his], people.crowd[his])
    likeness[there] = oks(found.points[own], people.points[his], people.area[his], bundle.sigmas)
    x1, y1, x2, y2 = found.box[rows].T
    return pd.DataFrame(
        {
            "image_id": bundle.image_ids[found.image[rows]],
            "detection": rows,
            "x1": x1, "y1": y1, "x2": x2, "y2": y2,
            "score": found.score[rows],
            "pose_score": ranking_scores(bundle)[rows],
            "type": np.array(names, object)[types[rows]],
            "annotation_id": ids_of(bundle, whose),
            "iou": overlap,
            "oks": likeness,
        }
    )  # fmt: skip


def joint_table(
    bundle: Bundle,
    labels: JointLabels,
    points: Float,
    names: tuple[str, ...],
    on: str,
) -> pd.DataFrame:
    """One row for each labelled joint of each pair of a pose and a person.

    Args:
        bundle: candidates and people.
        labels: of :func:`kptk.analysis.labels.label_joints`.
        points: (n, K, 3) the poses.
        names: of the labels.
        on: ``"detected"`` or ``"ground truth"``: which boxes the poses are on.
    """
    import pandas as pd

    pair, joint = np.nonzero(labels.label >= 0)
    person, candidate = labels.person[pair], labels.candidate[pair]
    truth, found = bundle.people.points[person, joint], points[pair, joint]
    skeleton = bundle.skeleton
    sides = np.array([skeleton.side(k) for k in range(len(skeleton))], object)
    return pd.DataFrame(
        {
            "image_id": bundle.image_ids[bundle.people.image[person]],
            "annotation_id": bundle.people.annotation_id[person],
            "detection": candidate,
            "on": np.full(len(pair), on, object),
            "joint": np.array(skeleton.names, object)[joint],
            "side": sides[joint],
            "visibility": truth[:, 2].astype(np.int8),
            "label": np.array(names, object)[labels.label[pair, joint]],
            "similarity": labels.similarity[pair, joint],
            "best": labels.best[pair, joint],
            "whose": ids_of(bundle, labels.whose[pair, joint]),
            "x": found[:, 0],
            "y": found[:, 1],
            "dx": found[:, 0] - truth[:, 0],
            "dy": found[:, 1] - truth[:, 1],
            "score": found[:, 2],
        }
    )


def best_boxes(bundle: Bundle, person: Index, kept: Bool) -> Index:
    """(G,) the best-scored kept candidate of each person, -1: none.

    Args:
        bundle: candidates, in order of score within an image.
        person: (D,) whose each is, -1: nobody's.
        kept: (D,) the candidates to look at.
    """
    best = np.full(len(bundle.people), NOBODY, np.intp)
    rows = np.flatnonzero(kept & (person >= 0))[::-1]
    best[person[rows]] = rows
    return best


def game_table(game: Game, draws: Draws | None, confidence: float) -> pd.DataFrame:
    """One row for each level, metric and quantity, with its interval.

    Quantities: the four values ``v()``, ``v(D)``, ``v(P)``, ``v(DP)``; ``detector``, ``keypoints``
    (what each costs) and ``interaction``. NaN intervals without draws.
    """
    import pandas as pd

    from kptk.analysis.matching import METRICS
    from kptk.analysis.oracle import LEVELS, MEMBERS, interval

    nothing = np.zeros(0)
    rows = []
    for level in LEVELS:
        for metric in METRICS:
            values = [game.values[level][who][metric] for who in MEMBERS]
            drawn = [nothing] * 4
            parts: Sequence[Float] = [nothing] * 3
            if draws is not None:
                drawn = [draws.value(who, level, metric) for who in MEMBERS]
                parts = draws.phi(level, metric)
            names = [*(f"v({who})" for who in MEMBERS), "detector", "keypoints", "interaction"]
            numbers = [*values, *game.phi(level, metric)]
            for name, value, draw in zip(names, numbers, [*drawn, *parts], strict=True):
                low, high = interval(draw, confidence)
                rows.append((level, metric, name, value, low, high))
    return pd.DataFrame(rows, columns=["level", "metric", "quantity", "value", "low", "high"])


def what_if_table(changes: Sequence[WhatIf]) -> pd.DataFrame:
    """One row a change: name, group, the metrics after it, their signed gains, count, note."""
    import pandas as pd

    from kptk.analysis.matching import METRICS

    rows = [
        {
            "name": change.name,
            "group": change.group,
            **{name: change.values[name] for name in METRICS},
            **{f"d{name}": change.delta[name] for name in METRICS},
            "changed": change.changed,
            "note": change.note,
        }
        for change in changes
    ]
    return pd.DataFrame(rows)


# ---- slices: Where errors gather: error rates of groups of people, by size, crowding, any column.


Read = Callable[[Mapping[str, Any]], NDArray[np.uint8]]


BINS: Mapping[str, tuple[float, ...]] = {
    "crowding": (0.0, 0.1, 0.3, 0.5),
    "n_overlaps": (0, 1, 3),
    "truncation": (0.0, 0.1, 0.25),
    "occlusion": (0.0, 0.25, 0.5, 0.75),
    "box_iou": (0.5, 0.6, 0.7, 0.8, 0.9),
    "box_score": (0.3, 0.5, 0.7, 0.9),
    "oks": (0.5, 0.75, 0.85, 0.95),
    "oks_given": (0.5, 0.75, 0.85, 0.95),
    "n_keypoints": (5, 10, 15),
    "n_visible": (0, 5, 10, 15),
}


"""Upper ends of the groups of known columns; the last group holds what is above."""


_MANY = 8  # more different numbers in a column without BINS are put into quarters


_KNOWN_KEYS = {"id", "file_name", "width", "height", "license", "coco_url", "flickr_url",
               "date_captured"}  # fmt: skip


_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def person_columns(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """Columns (G,) about all people, beyond those of their label.

    ``crowding`` and ``n_overlaps`` (:func:`kptk.analysis.labels.crowding`), ``truncation``,
    ``occlusion`` (the share of labelled joints that are hidden), and ``image.<key>`` for every
    further plain value that the image records hold, such as the weather.
    """
    largest, count = crowding(bundle)
    return {
        "crowding": largest,
        "n_overlaps": count,
        "truncation": truncation(bundle),
        "occlusion": hidden(bundle),
        **_image_columns(bundle),
    }


def _image_columns(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """What the image records say beyond COCO's own keys, for each person."""
    keys = dict.fromkeys(
        key
        for image in bundle.images
        for key, value in image.items()
        if key not in _KNOWN_KEYS and isinstance(value, str | int | float)
    )
    columns = {}
    for key in keys:
        values = [image.get(key) for image in bundle.images]
        columns[f"image.{key}"] = _column(values)[bundle.people.image]
    return columns


def _column(values: Sequence[Any]) -> NDArray[Any]:
    """Numbers as float64 with NaN where there is none; everything else as it is."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array(values, object)


def brightness(bundle: Bundle, read: Read) -> Float:
    """(G,) mean luminance of the person's box, 0 to 1; NaN where it is outside the image.

    Luminance is .299 R + .587 G + .114 B (ITU-R BT.601), of the values as stored.

    Args:
        bundle: the people.
        read: gives the image of a COCO image record: RGB uint8 (H, W, 3). Called once an image, in
            the order of the ids, for images with people.
    """
    people = bundle.people
    values = np.full(len(people), np.nan)
    for index in np.unique(people.image).tolist():
        picture = read(bundle.images[index])
        height, width = picture.shape[:2]
        for g in np.flatnonzero(people.image == index).tolist():
            x1, y1 = np.floor(people.box[g, :2]).clip(0).astype(int)
            x2, y2 = np.ceil(people.box[g, 2:]).clip(0, (width, height)).astype(int)
            part = picture[y1:y2, x1:x2]
            if part.size:
                values[g] = (part.mean(axis=(0, 1)) @ _LUMA) / 255
    return values


def slice_table(
    table: pd.DataFrame,
    by: Sequence[str | Sequence[str]],
    *,
    right: str = "ok",
    min_cell: int = 30,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Error rates of groups of rows.

    Args:
        table: persons, or anything with a column ``label``, such as joints.
        by: columns, each for itself; several columns together as a tuple. Numbers are put into the
            groups of :data:`BINS`, or into quarters if there are many different ones.
        right: the label of rows without an error: ``"ok"`` of persons, ``"good"`` of joints.
        min_cell: groups with fewer rows are grey.
        confidence: of the intervals.

    Returns:
        One row a group. ``slice``: the columns; ``value``: the group, text; ``n``; ``errors``;
        ``rate`` with its Wilson interval ``low``, ``high``; ``lift``: the rate less the rate of the
        whole table; ``grey``. Ordered by lift times n, the errors beyond what so many rows have on
        average; grey groups last.

    Raises:
        InputError: there is no such column.
    """
    import pandas as pd

    wrong = (table["label"] != right).to_numpy(np.bool_)
    overall = float(wrong.mean()) if len(wrong) else float("nan")
    parts = [_groups(table, name, wrong) for name in by]
    columns = ["slice", "value", "n", "errors"]
    rows = pd.DataFrame([row for part in parts for row in part], columns=columns)
    counts, errors = rows["n"].to_numpy(np.float64), rows["errors"].to_numpy(np.float64)
    rows["rate"] = errors / np.maximum(counts, 1)
    rows["low"], rows["high"] = wilson(errors, counts, confidence)
    rows["lift"] = rows["rate"] - overall
    rows["grey"] = counts < min_cell
    excess = rows["lift"].to_numpy(np.float64) * counts
    order = np.lexsort((-excess, rows["grey"].to_numpy(np.bool_)))
    return rows.iloc[order].reset_index(drop=True)


def _groups(
    table: pd.DataFrame, by: str | Sequence[str], wrong: NDArray[np.bool_]
) -> list[tuple[str, str, int, int]]:
    """(columns, group, rows, errors) of each group of one column, or of several together."""
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in table:
            raise InputError(
                f"There is no column {name!r} to slice by.{nearest(name, list(table.columns))}"
            )
    texts = [group_texts(table[name], name) for name in names]
    joined = np.array([" · ".join(parts) for parts in zip(*texts, strict=True)], object)
    values, place = np.unique(joined.astype(str), return_inverse=True)
    n = np.bincount(place, minlength=len(values))
    errors = np.bincount(place[wrong], minlength=len(values))
    title = " · ".join(names)
    rows = zip(values.tolist(), n.tolist(), errors.tolist(), strict=True)
    return [(title, value, count, bad) for value, count, bad in rows]


def group_texts(column: pd.Series[Any], name: str) -> list[str]:
    """The group that each value of a column falls into, as text; "none" where it is missing."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column):
        return ["yes" if value else "no" for value in column.tolist()]
    numbers = pd.api.types.is_numeric_dtype(column)
    if not numbers or (name not in BINS and column.nunique() <= _MANY):
        return [_text(value) for value in column.tolist()]
    values = column.to_numpy(np.float64)
    known = np.isfinite(values)
    if name in BINS:
        ends = np.array(BINS[name], np.float64)
    else:
        ends = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75]))
    texts = np.array(_interval_texts(ends, pd.api.types.is_integer_dtype(column)), object)
    place = np.searchsorted(ends, np.where(known, values, 0.0), side="left")
    return [str(text) for text in np.where(known, texts[place], "none")]


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _interval_texts(ends: Float, whole: bool) -> list[str]:
    """Names of the groups: up to the first end, between two (the upper end included), above."""
    names = [f"{end:g}" for end in ends.tolist()]
    starts = [f"{end + 1:g}" for end in ends.tolist()] if whole else names
    pairs = zip(starts[:-1], names[1:], strict=True)
    between = [low if low == high else f"{low} to {high}" for low, high in pairs]
    first = names[0] if ends[0] == 0 else f"up to {names[0]}"
    return [first, *between, f"above {names[-1]}"]


# ---- curves: Precision against recall, with errors taken away one kind after another.


def stacked_curves(
    bundle: Bundle, options: AnalysisOptions, threshold: float = 0.5
) -> pd.DataFrame:
    """Precision after each step, every step on top of those before it.

    Joints of detections that belong to a person become attainably good, one label after another:
    jitter, inversion, swap, miss. Then detections near a person get the true box and attainable
    joints on it (only with poses on ground-truth boxes). Then what still matches nobody goes. What
    is missing after that are people whom no detection is near.

    Args:
        bundle: candidates and people.
        options: the thresholds.
        threshold: of OKS, one of .5, .55, ... .95.

    Returns:
        Index ``recall`` 0, .01, ... 1; one column a step.

    Raises:
        InputError: another threshold.
    """
    import pandas as pd

    near = np.flatnonzero(np.isclose(THRESHOLDS, threshold))
    if not len(near):
        raise InputError(f"threshold must be one of .5, .55, ... .95. Got {threshold!r}.")
    row = int(near[0])
    columns: dict[str, Float] = {}
    for name, poses in _steps(bundle, options):
        matches = match_poses(bundle, poses, options)
        columns[name] = _precision(matches, row)
    right = _true_only(poses, matches, row)
    columns["false alarms dropped"] = _precision(match_poses(bundle, right, options), row)
    columns["missed people added"] = np.ones(len(RECALLS))
    return pd.DataFrame(columns, index=pd.Index(RECALLS, name="recall"))


def _steps(bundle: Bundle, options: AnalysisOptions) -> Iterator[tuple[str, Poses]]:
    found = rank_candidates(bundle, options).kept(bundle.threshold)
    yield "as it is", found
    owner = _owners(bundle, options)
    rows = np.flatnonzero(owner[found.candidate] >= 0)
    person = owner[found.candidate[rows]]
    labels = label_joints(
        bundle, person, found.points[rows], found.candidate[rows],
        options.good_similarity, options.miss_similarity,
    ).label  # fmt: skip
    better = oracle_joints(
        bundle, found.points[rows], person, found.crop[rows], options.good_similarity
    )
    poses = found
    for number, name in enumerate(JOINT_LABELS[1:], 1):
        points = found.points.copy()
        fixed = (labels >= 1) & (labels <= number)
        points[rows] = np.where(fixed[..., None], better, found.points[rows])
        poses = replace(found, points=points)
        yield f"{name} fixed", poses
    if bundle.two_stage and bundle.people.has_given.any():
        yield "boxes fixed", _on_true_boxes(bundle, poses, owner, options)


def _owners(bundle: Bundle, options: AnalysisOptions) -> Index:
    """(D,) whose each detection is, by box; by OKS where there are no boxes; -1: nobody's."""
    if bundle.two_stage:
        owner = assign(bundle, min_iou=options.match_iou).person
    else:
        owner = np.full(len(bundle.candidates), -1, np.intp)
        candidate, person = oks_pairs(bundle, options.pair_oks)
        owner[candidate] = person
    return np.where((owner >= 0) & bundle.evaluated[owner], owner, -1)


def _on_true_boxes(bundle: Bundle, poses: Poses, owner: Index, options: AnalysisOptions) -> Poses:
    """Detections near a person: attainable joints on the true box, with the box's own score."""
    people = bundle.people
    near = assign(bundle, bundle.detected & (owner < 0), options.near_iou).person
    free = bundle.evaluated & people.has_given
    free[owner[owner >= 0]] = False
    whose = np.where((near >= 0) & free[near], near, owner)[poses.candidate]
    rows = np.flatnonzero((whose >= 0) & people.has_given[whose])
    points, score, crop = poses.points.copy(), poses.score.copy(), poses.crop.copy()
    points[rows], crop[rows] = people.given[whose[rows]], bundle.given_crop[whose[rows]]
    score[rows] = score_of(points[rows], bundle.candidates.score[poses.candidate[rows]])
    moved = replace(poses, points=points, score=score, crop=crop)
    real = np.full(len(poses), -1, np.intp)
    real[rows] = whose[rows]
    return idealise(bundle, moved, real, "attainable", options)


def _precision(matches: Matches, row: int) -> Float:
    """(101,) precision at one threshold; NaN where nobody has to be found."""
    precision: Float = average(matches, wanted=[("all", -1)]).precision[row, :, 0, 0, -1]
    return precision


def _true_only(poses: Poses, matches: Matches, row: int) -> Poses:
    kept = (matches.truth[0, row] >= 0) | matches.ignored[0, row]
    return poses.take(np.sort(matches.result[kept]))


# ---- sweep: What another detection threshold would give, from the candidates that are there.


_STEPS = 19


def sweep_thresholds(bundle: Bundle, options: AnalysisOptions) -> pd.DataFrame:
    """One row a threshold: what the pipeline would be worth with it.

    Columns ``threshold``; ``AP``, ``AP50``, ``AP75`` end to end, 0 to 1; ``precision`` and
    ``recall`` at the OKS threshold (the nearest of COCO's); ``missed``, the people without a box
    of their own; ``chosen``, whether it is the threshold of the analysis.
    """
    import pandas as pd

    ranking = rank_candidates(bundle, options)
    lowest_box = _needed(bundle, options)
    rows = []
    for threshold in _thresholds(bundle):
        matches = match_poses(bundle, ranking.kept(threshold), options)
        precision, recall = _rates(matches, options.oks_threshold)
        rows.append(
            {
                "threshold": threshold,
                **statistics(matches),
                "precision": precision,
                "recall": recall,
                "missed": int((lowest_box < threshold).sum()),
                "chosen": threshold == bundle.threshold,
            }
        )
    return pd.DataFrame(rows)


def _thresholds(bundle: Bundle) -> list[float]:
    """From the lowest candidate up to .95, or through the scores of a file of poses."""
    score = bundle.candidates.score
    if bundle.two_stage:
        low = round(float(score.min(initial=0.5)), 2)
        grid = [low, *(k / 20 for k in range(1, _STEPS + 1) if k / 20 > low)]
    else:
        grid = np.quantile(score, np.linspace(0, 0.95, _STEPS)).tolist() if len(score) else [0.0]
    return sorted({float(value) for value in (*grid, bundle.threshold)})


def _needed(bundle: Bundle, options: AnalysisOptions) -> Float:
    """(n,) of the people to be found: the score of their box; -inf without any.

    Boxes are assigned by score, so what a threshold leaves out changes nothing above it.
    """
    kept = np.ones(len(bundle.candidates), np.bool_)
    candidate = assign(bundle, kept, options.match_iou).candidate[bundle.evaluated]
    there = candidate >= 0
    score = np.full(len(candidate), -np.inf)
    score[there] = bundle.candidates.score[candidate[there]]
    return score


def _rates(matches: Matches, oks: float) -> tuple[float, float]:
    """Precision (NaN without detections) and recall at a threshold of OKS."""
    row = int(np.abs(THRESHOLDS - oks).argmin())
    counted = ~matches.ignored[0, row]
    hits = int((counted & (matches.truth[0, row] >= 0)).sum())
    found = int(counted.sum())
    people = int((~matches.gt_ignored[0]).sum())
    return hits / found if found else float("nan"), hits / people if people else float("nan")
