"""The tidy tables of an analysis: one row a person, a detection, a joint; ids in every row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.geometry import iou, oks
from kptk.analysis.joints import ranking_scores
from kptk.evaluation.matching import AREAS

if TYPE_CHECKING:
    import pandas as pd

    from kptk.analysis.bootstrap import Draws
    from kptk.analysis.joints import JointLabels
    from kptk.analysis.labels import PersonLabels
    from kptk.analysis.oracles import Game
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
        labels: of :func:`kptk.analysis.joints.label_joints`.
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

    from kptk.analysis.bootstrap import interval
    from kptk.analysis.oracles import LEVELS, MEMBERS
    from kptk.analysis.poses import METRICS

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

    from kptk.analysis.poses import METRICS

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
