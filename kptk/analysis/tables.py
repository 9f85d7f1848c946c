"""The tables of an analysis: people, detections, joints, slices, thresholds, curves.

Tidy: one row a person, a detection, a joint, with ids in every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.bundle import Bundle, Poses
from kptk.analysis.labels import (
    JOINT_LABELS,
    JointLabels,
    PersonLabels,
    crowding,
    hidden,
    label_joints,
    oks_pairs,
    ranking_scores,
    truncation,
    wilson,
)
from kptk.analysis.matching import METRICS, assign, match_poses, rank_candidates, statistics
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import LEVELS, MEMBERS, Draws, Game, idealise, interval, oracle_joints
from kptk.analysis.whatif import WhatIf, on_true_boxes
from kptk.errors import InputError, nearest
from kptk.evaluation import Matches
from kptk.evaluation.matching import AREAS, RECALLS, THRESHOLDS, average
from kptk.geometry import Float, Index, iou, oks

if TYPE_CHECKING:
    import pandas as pd

DETECTED, GROUND_TRUTH = "detected", "ground truth"
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
_KNOWN_KEYS = {
    "id", "file_name", "width", "height", "license", "coco_url", "flickr_url", "date_captured",
}  # fmt: skip
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_STEPS = 19  # thresholds of a sweep

Read = Callable[[Mapping[str, Any]], NDArray[np.uint8]]


def _about(bundle: Bundle, rows: Index, candidate: Index) -> dict[str, dict[str, Any]]:
    """What both tables of people say: who, their box, how large; ``candidate`` is (n,)."""
    people, found = bundle.people[rows], bundle.candidates
    names = np.array([str(i.get("file_name", "")) for i in bundle.images], object)
    sizes = np.array(["small", "medium", "large"], object)
    there = candidate >= 0
    score, overlap = np.full((2, len(rows)), np.nan)
    score[there] = found.scores[candidate[there]]
    overlap[there] = iou(found.boxes[candidate[there]], people.boxes[there])
    limits = [AREAS["small"][1], AREAS["medium"][1]]
    return {
        "who": {
            "image_id": people.image_ids,
            "annotation_id": people.ids,
            "file_name": names[people.image],
        },
        "box": {"detection": candidate, "box_score": score, "box_iou": overlap},
        "size": {"area": people.areas, "size": sizes[np.searchsorted(limits, people.areas)]},
    }


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
    about = _about(bundle, rows, labels.candidate[rows])
    return pd.DataFrame(
        {
            **about["who"],
            "label": labels.label[rows],
            "detail": labels.detail[rows],
            **about["box"],
            "oks": labels.oks[rows],
            "oks_given": labels.oks_given[rows],
            "flipped": labels.flipped[rows],
            **about["size"],
            "n_keypoints": people.labelled_keypoints[rows].sum(axis=1),
            "n_visible": (people.keypoints[rows, :, 2] == 2).sum(axis=1),
            **{name: values[rows] for name, values in {**columns, **labels.tags}.items()},
        }
    )


def unlabelled_table(bundle: Bundle, candidate: Index) -> pd.DataFrame:
    """One row for each single person without a labelled joint: is there a box on them?

    Args:
        bundle: candidates and people.
        candidate: (G,) the detection whose box is theirs, -1: none.
    """
    import pandas as pd

    rows = np.flatnonzero(~bundle.people.crowd & ~bundle.people.labelled)
    about = _about(bundle, rows, candidate[rows])
    detected = {"detected": candidate[rows] >= 0}
    return pd.DataFrame({**about["who"], **detected, **about["box"], **about["size"]})


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

    rows = np.flatnonzero(bundle.detected)
    found, whose = bundle.candidates[rows], person[rows]
    there = whose >= 0
    own, people = found[there], bundle.people[whose[there]]
    overlap, similarity = np.full((2, len(rows)), np.nan)
    overlap[there] = iou(own.boxes, people.boxes, people.crowd)
    similarity[there] = oks(own.keypoints, people.keypoints, people.areas, bundle.sigmas)
    return pd.DataFrame(
        {
            "image_id": found.image_ids,
            "detection": rows,
            **dict(zip(("x1", "y1", "x2", "y2"), found.boxes.T, strict=True)),
            "score": found.scores,
            "pose_score": ranking_scores(bundle)[rows],
            "type": np.array(names, object)[types[rows]],
            "annotation_id": np.where(there, bundle.people.ids[whose], -1),
            "iou": overlap,
            "oks": similarity,
        }
    )


def joint_table(
    bundle: Bundle, labels: JointLabels, points: Float, names: tuple[str, ...], on: str
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

    cell = pair, joint = np.nonzero(labels.label >= 0)
    people, person, skeleton = bundle.people, labels.person[pair], bundle.skeleton
    truth, found = people.keypoints[person, joint], points[cell]
    sides = np.array([skeleton.side(k) for k in range(len(skeleton))], object)
    whose = labels.whose[cell]
    return pd.DataFrame(
        {
            "image_id": people.image_ids[person],
            "annotation_id": people.ids[person],
            "detection": labels.candidate[pair],
            "on": np.full(len(pair), on, object),
            "joint": np.array(skeleton.names, object)[joint],
            "side": sides[joint],
            "visibility": truth[:, 2].astype(np.int8),
            "label": np.array(names, object)[labels.label[cell]],
            "similarity": labels.similarity[cell],
            "best": labels.best[cell],
            "whose": np.where(whose >= 0, people.ids[whose], -1),
            "x": found[:, 0],
            "y": found[:, 1],
            "dx": found[:, 0] - truth[:, 0],
            "dy": found[:, 1] - truth[:, 1],
            "score": found[:, 2],
        }
    )


def game_table(game: Game, draws: Draws | None, confidence: float) -> pd.DataFrame:
    """One row for each level, metric and quantity, with its interval.

    Quantities: the four values ``v()``, ``v(D)``, ``v(P)``, ``v(DP)``; ``detector``, ``keypoints``
    (what each costs) and ``interaction``. NaN intervals without draws.
    """
    import pandas as pd

    names = [*(f"v({who})" for who in MEMBERS), "detector", "keypoints", "interaction"]
    rows = []
    for level in LEVELS:
        for metric in METRICS:
            values = [game.values[level][who][metric] for who in MEMBERS]
            values += game.phi(level, metric)
            drawn: list[Float] = [np.zeros(0)] * len(names)
            if draws is not None:
                drawn = [draws.value(who, level, metric) for who in MEMBERS]
                drawn += draws.phi(level, metric)
            for name, value, draw in zip(names, values, drawn, strict=True):
                rows.append((level, metric, name, value, *interval(draw, confidence)))
    return pd.DataFrame(rows, columns=["level", "metric", "quantity", "value", "low", "high"])


def what_if_table(changes: Sequence[WhatIf]) -> pd.DataFrame:
    """One row a change: name, group, the metrics after it, their signed gains, count, note."""
    import pandas as pd

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


def person_columns(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """Columns (G,) about all people, beyond those of their label.

    ``crowding`` and ``n_overlaps`` (:func:`kptk.analysis.labels.crowding`), ``truncation``,
    ``occlusion`` (the share of labelled joints that are hidden), and ``image.<key>`` for every
    further plain value that the image records hold, such as the weather: numbers as float64 with
    NaN where there is none, everything else as it is.
    """
    largest, count = crowding(bundle)
    columns: dict[str, NDArray[Any]] = {
        "crowding": largest,
        "n_overlaps": count,
        "truncation": truncation(bundle),
        "occlusion": hidden(bundle),
    }
    keys = dict.fromkeys(
        key
        for image in bundle.images
        for key, value in image.items()
        if key not in _KNOWN_KEYS and isinstance(value, str | int | float)
    )
    for key in keys:
        values = [image.get(key) for image in bundle.images]
        known = [value for value in values if value is not None]
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in known)
        column = np.array(values, np.float64 if numbers else object)  # None as a float is NaN
        columns[f"image.{key}"] = column[bundle.people.image]
    return columns


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
        pixels = read(bundle.images[index])
        height, width = pixels.shape[:2]
        for g in np.flatnonzero(people.image == index).tolist():
            x1, y1 = np.floor(people.boxes[g, :2]).clip(0).astype(int)
            x2, y2 = np.ceil(people.boxes[g, 2:]).clip(0, (width, height)).astype(int)
            part = pixels[y1:y2, x1:x2]
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
    groups = []
    for part in by:
        names = [part] if isinstance(part, str) else list(part)
        for name in names:
            if name not in table:
                raise InputError(
                    f"There is no column {name!r} to slice by.{nearest(name, list(table.columns))}"
                )
        texts = [group_texts(table[name], name) for name in names]
        joined = np.array([" · ".join(row) for row in zip(*texts, strict=True)], np.str_)
        values, of = np.unique(joined, return_inverse=True)
        n, errors = (np.bincount(rows, minlength=len(values)) for rows in (of, of[wrong]))
        title = " · ".join(names)
        groups += [(title, *row) for row in zip(values.tolist(), n, errors, strict=True)]
    rows = pd.DataFrame(groups, columns=["slice", "value", "n", "errors"])
    count, bad = rows["n"].to_numpy(np.float64), rows["errors"].to_numpy(np.float64)
    rows["rate"] = bad / np.maximum(count, 1)
    rows["low"], rows["high"] = wilson(bad, count, confidence)
    rows["lift"] = rows["rate"] - (float(wrong.mean()) if len(wrong) else float("nan"))
    rows["grey"] = count < min_cell
    excess = rows["lift"].to_numpy(np.float64) * count
    order = np.lexsort((-excess, rows["grey"].to_numpy(np.bool_)))
    return rows.iloc[order].reset_index(drop=True)


def group_texts(column: pd.Series[Any], name: str) -> list[str]:
    """The group that each value of a column falls into, as text; "none" where it is missing."""
    import pandas as pd

    def text(value: object) -> str:
        if value is None or (isinstance(value, float) and value != value):
            return "none"
        return f"{value:g}" if isinstance(value, float) else str(value)

    if pd.api.types.is_bool_dtype(column):
        return ["yes" if value else "no" for value in column.tolist()]
    numbers = pd.api.types.is_numeric_dtype(column)
    if not numbers or (name not in BINS and column.nunique() <= _MANY):
        return [text(value) for value in column.tolist()]
    values = column.to_numpy(np.float64)
    known = np.isfinite(values)
    if name in BINS:
        ends = np.array(BINS[name], np.float64)
    else:
        ends = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75]))
    # up to the first end, between two (the upper end included), above
    names = [f"{end:g}" for end in ends.tolist()]
    whole = pd.api.types.is_integer_dtype(column)
    starts = [f"{end + 1:g}" for end in ends.tolist()] if whole else names
    between = zip(starts[:-1], names[1:], strict=True)
    texts = [
        names[0] if ends[0] == 0 else f"up to {names[0]}",
        *(low if low == high else f"{low} to {high}" for low, high in between),
        f"above {names[-1]}",
    ]
    group = np.searchsorted(ends, np.where(known, values, 0.0), side="left")
    return [texts[i] if there else "none" for i, there in zip(group, known, strict=True)]


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

    def precision(matches: Matches) -> Float:
        """(101,); NaN where nobody has to be found."""
        values: Float = average(matches, wanted=[("all", -1)]).precision[row, :, 0, 0, -1]
        return values

    columns: dict[str, Float] = {}
    for name, poses in _steps(bundle, options):
        matches = match_poses(bundle, poses, options)
        columns[name] = precision(matches)
    kept = (matches.truth[0, row] >= 0) | matches.ignored[0, row]
    right = poses[np.sort(matches.result[kept])]
    columns["false alarms dropped"] = precision(match_poses(bundle, right, options))
    columns["missed people added"] = np.ones(len(RECALLS))
    return pd.DataFrame(columns, index=pd.Index(RECALLS, name="recall"))


def _steps(bundle: Bundle, options: AnalysisOptions) -> Iterator[tuple[str, Poses]]:
    poses = found = rank_candidates(bundle, options).kept(bundle.threshold)
    yield "as it is", found
    # whose each detection is, by box; by OKS where there are no boxes; -1: nobody's
    owner = np.full(len(bundle.candidates), -1, np.intp)
    if bundle.two_stage:
        owner = assign(bundle, min_iou=options.match_iou).person
    else:
        candidate, whose = oks_pairs(bundle, options.pair_oks)
        owner[candidate] = whose
    owner = np.where((owner >= 0) & bundle.evaluated[owner], owner, -1)
    rows = np.flatnonzero(owner[found.candidate] >= 0)
    own, person = found[rows], owner[found.candidate[rows]]
    limits = options.good_similarity, options.miss_similarity
    labels = label_joints(bundle, person, own.keypoints, own.candidate, *limits).label
    better = oracle_joints(bundle, own.keypoints, person, own.crops, options.good_similarity)
    for number, name in enumerate(JOINT_LABELS[1:], 1):
        keypoints = found.keypoints.copy()
        fixed = (labels >= 1) & (labels <= number)
        keypoints[rows] = np.where(fixed[..., None], better, own.keypoints)
        poses = replace(found, keypoints=keypoints)
        yield f"{name} fixed", poses
    if bundle.two_stage and bundle.people.has_given.any():
        # detections near a person: attainable joints on the true box, with the box's own score
        near = assign(bundle, bundle.detected & (owner < 0), options.near_iou).person
        free = bundle.evaluated & bundle.people.has_given
        free[owner[owner >= 0]] = False
        whose = np.where((near >= 0) & free[near], near, owner)[poses.candidate]
        whose = np.where((whose >= 0) & bundle.people.has_given[whose], whose, -1)
        rows = np.flatnonzero(whose >= 0)
        moved = on_true_boxes(bundle, poses, rows, whose[rows])
        yield "boxes fixed", idealise(bundle, moved, whose, "attainable", options)


def sweep_thresholds(bundle: Bundle, options: AnalysisOptions) -> pd.DataFrame:
    """One row a threshold: what the pipeline would be worth with it.

    From the lowest candidate up to .95, or through the scores of a file of poses. Columns
    ``threshold``; ``AP``, ``AP50``, ``AP75`` end to end, 0 to 1; ``precision`` (NaN without
    detections) and ``recall`` at the OKS threshold (the nearest of COCO's); ``missed``, the people
    without a box of their own; ``chosen``, whether it is the threshold of the analysis.
    """
    import pandas as pd

    score = bundle.candidates.scores
    if bundle.two_stage:
        low = round(float(score.min(initial=0.5)), 2)
        grid = [low, *(k / 20 for k in range(1, _STEPS + 1) if k / 20 > low)]
    else:
        grid = np.quantile(score, np.linspace(0, 0.95, _STEPS)).tolist() if len(score) else [0.0]
    # boxes are assigned by score, so what a threshold leaves out changes nothing above it
    everyone = np.ones(len(score), np.bool_)
    own = assign(bundle, everyone, options.match_iou).candidate[bundle.evaluated]
    box_score = np.append(score, -np.inf)[own]
    ranking = rank_candidates(bundle, options)
    row = int(np.abs(THRESHOLDS - options.oks_threshold).argmin())
    rows = []
    for threshold in sorted({float(value) for value in (*grid, bundle.threshold)}):
        matches = match_poses(bundle, ranking.kept(threshold), options)
        counted = ~matches.ignored[0, row]
        hits = int((counted & (matches.truth[0, row] >= 0)).sum())
        found, people = int(counted.sum()), int((~matches.gt_ignored[0]).sum())
        rows.append(
            {
                "threshold": threshold,
                **statistics(matches),
                "precision": hits / found if found else float("nan"),
                "recall": hits / people if people else float("nan"),
                "missed": int((box_score < threshold).sum()),
                "chosen": threshold == bundle.threshold,
            }
        )
    return pd.DataFrame(rows)
