"""COCO statistics of one set of results: ranking, pycocotools' numbers, tables, curves.

Two ways to rank poses. ``ppdet``, as PaddleDetection evaluates and publishes: box score times the
mean of the keypoint scores above .2, over all candidates, then OKS-NMS at .9. ``deploy``, as
PaddleX's pipeline emits: the detector's score alone, over the boxes at or above the threshold, no
OKS-NMS. On ground-truth boxes every box has score 1, so there ``deploy`` ranks by the mean of all
keypoint scores: with tied scores the order of the file would decide.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DataError, InputError
from kptk.evaluation.matching import (
    AREAS,
    NAMES,
    RECALLS,
    THRESHOLDS,
    Kind,
    Matches,
    accumulate,
    average,
    match,
    nan_mean,
)
from kptk.geometry import oks_nms
from kptk.inputs import check_threshold
from kptk.instances import Instances
from kptk.skeleton import Skeleton

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Float = NDArray[np.float64]
Record = dict[str, Any]
ScoreMode = Literal["ppdet", "deploy"]

OKS_NMS = 0.9
JOINT_THRESHOLD = 0.2  # in_vis_thre of ppdet's KeyPointTopDownCOCOEval
MIN_SCORE = 0.01
# Okabe and Ito's palette: told apart by colour-blind people too.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


@dataclass(frozen=True)
class Scoring:
    """The checked options of an evaluation.

    Attributes:
        score_mode: ``"ppdet"`` or ``"deploy"``.
        oks_nms: OKS above which the lower-ranked of two poses goes; None: none goes.
        det_threshold: lowest box score end to end; None: all candidates.
        min_score: lowest box score of a candidate.
    """

    score_mode: ScoreMode = "ppdet"
    oks_nms: float | None = OKS_NMS
    det_threshold: float | None = None
    min_score: float = MIN_SCORE

    @property
    def json(self) -> dict[str, Any]:
        """The options as plain values."""
        return asdict(self)


def make_scoring(
    score_mode: str,
    oks_nms: float | str | None,
    det_threshold: float | None,
    min_score: float,
    own_threshold: float | None,
) -> Scoring:
    """Check options; what is left open follows the score mode.

    Args:
        score_mode: ``"ppdet"`` or ``"deploy"``.
        oks_nms: a number, None, or ``"auto"``.
        det_threshold: a number or None.
        min_score: lowest box score of a candidate.
        own_threshold: the pipeline's threshold, which ``deploy`` takes by default.

    Raises:
        InputError: one of them is wrong.
    """
    if score_mode not in ("ppdet", "deploy"):
        raise InputError(f"score_mode must be 'ppdet' or 'deploy'. Got {score_mode!r}.")
    if oks_nms == "auto":
        oks_nms = OKS_NMS if score_mode == "ppdet" else None
    if det_threshold is None and score_mode == "deploy":
        det_threshold = own_threshold
    mode: ScoreMode = "ppdet" if score_mode == "ppdet" else "deploy"
    return Scoring(
        mode,
        None if oks_nms is None else check_threshold(oks_nms, "oks_nms"),
        None if det_threshold is None else check_threshold(det_threshold),
        check_threshold(min_score, "min_score"),
    )


def pose_scores(
    keypoints: Float, box_scores: Float, score_mode: ScoreMode, on_truth: NDArray[np.bool_]
) -> Float:
    """(N,) the score that ranks each pose.

    Args:
        keypoints: (N, K, 3) x, y, score.
        box_scores: (N,) scores of the boxes.
        score_mode: see the module.
        on_truth: (N,) whether the box is a ground truth's.
    """
    peaks = np.nan_to_num(keypoints[..., 2])
    if score_mode == "deploy":
        return np.where(on_truth, peaks.mean(axis=1), box_scores)
    counted = peaks > JOINT_THRESHOLD
    mean = np.where(counted, peaks, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    scores: Float = mean * box_scores
    return scores


def score_poses(
    candidates: Instances, scoring: Scoring, sigmas: Sequence[float] | Float
) -> Instances:
    """Poses with the score that ranks them, image by image as they come; suppressed ones left out.

    Args:
        candidates: poses on boxes, with the boxes' scores and, as areas, the pixels that the pose
            model looked at.
        scoring: the options.
        sigmas: (K,) OKS sigmas.
    """
    if scoring.det_threshold is not None:
        candidates = candidates[candidates.scores >= scoring.det_threshold]
    scores = pose_scores(
        candidates.keypoints, candidates.scores, scoring.score_mode, candidates.ids >= 0
    )
    _, first, image = np.unique(candidates.image_ids, return_index=True, return_inverse=True)
    by_image = np.argsort(first[image], kind="stable")
    ends = np.flatnonzero(np.diff(first[image][by_image])) + 1
    chosen = []
    for rows in np.split(by_image, ends) if len(by_image) else ():
        if scoring.oks_nms is not None:
            points, areas = candidates.keypoints[rows], candidates.areas[rows]
            rows = rows[oks_nms(points, scores[rows], areas, sigmas, scoring.oks_nms)]
        chosen.append(rows)
    order = np.concatenate([np.zeros(0, np.intp), *chosen])
    return replace(candidates, scores=scores)[order]


def coco_stats(
    annotations: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    kind: str,
    sigmas: Sequence[float] | None = None,
) -> dict[str, float]:
    """Score results against COCO annotations by pycocotools, which repairs nothing.

    What pycocotools stumbles over (no ``area``, id 0, ...) is repaired by ``kptk.evaluate``; here
    it is as there, but for three things: no results are allowed, a joint that is NaN matches
    nothing instead of everything, and sizes of poses come from their joints even where they carry a
    ``bbox``.

    Args:
        annotations: a COCO annotation file's content (``images``, ``annotations``, ``categories``).
        results: COCO result records: ``image_id``, ``category_id``, ``score`` and ``bbox`` (xywh)
            or ``keypoints`` (x, y, v for each joint). Empty is allowed: everything is 0.
        kind: ``"bbox"`` or ``"keypoints"``.
        sigmas: OKS sigma of each joint; None: COCO's 17.

    Returns:
        The 12 box or 10 keypoint statistics by name, in 0 to 1; NaN where COCO leaves one undefined
        (no ground truth of that size).

    Raises:
        DataError: ``kind`` is neither, or the sigmas are not as many as the joints.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if kind not in NAMES:
        raise DataError(f"kind must be 'bbox' or 'keypoints'. Got {kind!r}.")
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dict(annotations))
        truth.createIndex()
        evaluator = COCOeval(truth, _load_results(truth, results, kind), kind)
        if kind == "keypoints":
            if sigmas is not None:
                evaluator.params.kpt_oks_sigmas = np.array(sigmas, np.float64)
            count = len(evaluator.params.kpt_oks_sigmas)
            for record in (*annotations["annotations"], *results):
                points = record.get("keypoints")
                if points and len(points) != 3 * count:
                    raise DataError(
                        f"There must be one OKS sigma for each joint. Got {count} sigmas, and "
                        f"{len(points)} numbers of keypoints in a record of image "
                        f"{record.get('image_id')!r}: {len(points) / 3:g} joints. Pass sigmas=."
                    )
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    pairs = zip(NAMES[kind], map(float, evaluator.stats), strict=True)
    return {name: value if value >= 0 else math.nan for name, value in pairs}


def _load_results(truth: Any, results: Sequence[Mapping[str, Any]], kind: str) -> Any:
    """Results as pycocotools' COCO object.

    Missing keypoints are moved to infinity, where their similarity is 0: NaN would make it
    perfect. Sizes are then taken from the others.
    """
    from pycocotools.coco import COCO

    if not results:  # loadRes cannot take an empty list
        found = COCO()
        found.dataset = {**truth.dataset, "annotations": []}
        found.createIndex()
        return found
    records = [
        {key: result[key] for key in ("image_id", "category_id", "score", kind)}
        for result in results
    ]
    for record in records if kind == "keypoints" else ():
        points = np.array(record["keypoints"], np.float64).reshape(-1, 3)
        missing = ~np.isfinite(points[:, :2]).all(axis=1)
        if missing.any():
            points[missing, :2] = np.inf
            record["keypoints"] = points.ravel().tolist()
    with np.errstate(invalid="ignore"):  # of points at infinity
        found = truth.loadRes(records)
    for record in found.dataset["annotations"]:
        points = np.reshape(record.get("keypoints", []), (-1, 3))[:, :2]
        if not np.isfinite(points).all():
            known = points[np.isfinite(points).all(axis=1)]
            record["area"] = float(np.prod(np.ptp(known, axis=0))) if len(known) else 0.0
    return found


@dataclass(frozen=True, eq=False, repr=False)
class Scores(Mapping[str, float]):
    """COCO's 12 box or 10 keypoint statistics, by pycocotools; a mapping from name to 0..1.

    Undefined is NaN: no ground truth of that size.

    Attributes:
        title: what was measured.
        kind: ``"bbox"`` or ``"keypoints"``.
        stats: the statistics.
        annotations: the COCO document they were measured on, as pycocotools got it.
        results: the COCO results that were scored.
        skeleton: joints; None for boxes.
        provenance: box source, score mode, thresholds and counts.
    """

    title: str
    kind: Kind
    stats: Mapping[str, float]
    annotations: Record
    results: list[Record]
    skeleton: Skeleton | None
    provenance: Mapping[str, Any]

    def __getitem__(self, name: str) -> float:
        return self.stats[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.stats)

    def __len__(self) -> int:
        return len(self.stats)

    @property
    def AP(self) -> float:
        """Average precision, mean over the thresholds .5 to .95."""
        return self.stats["AP"]

    @property
    def AP50(self) -> float:
        """Average precision at IoU or OKS .5."""
        return self.stats["AP50"]

    @property
    def AP75(self) -> float:
        """Average precision at IoU or OKS .75."""
        return self.stats["AP75"]

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {percent(value)}" for name, value in self.stats.items())
        return f"<Scores {self.title}: {numbers}>"

    @cached_property
    def matches(self) -> Matches:
        """Which result belongs to which annotation, for bootstraps and error analysis."""
        sigmas = self.skeleton.sigmas if self.skeleton is not None else None
        return match(self.annotations, self.results, self.kind, sigmas)

    @cached_property
    def sizes(self) -> pd.DataFrame:
        """AP and AR by size of the person (or object), each with its number.

        One row for each of all, small (area below 32² pixels), medium (to 96²), large. COCO's
        keypoint statistics name no small ones; they are in "all" all the same. A size without
        anyone has NaN. ``n`` counts those that must be found: no crowds, nobody without labelled
        points.
        """
        import pandas as pd

        curves = average(self.matches)
        sizes = range(len(AREAS))
        return pd.DataFrame(
            {
                "size": list(AREAS),
                "n": (~self.matches.gt_ignored).sum(axis=1),
                "AP": [nan_mean(curves.precision[:, :, :, a, -1]) for a in sizes],
                "AR": [nan_mean(curves.recall[:, :, a, -1]) for a in sizes],
            }
        )

    @cached_property
    def joints(self) -> pd.DataFrame:
        """AP joint by joint: as if the skeleton were that joint alone.

        OKS is then that joint's similarity with its own sigma; people are ranked by the score of
        the whole pose; people whose joint is not labelled are ignored. ``n`` is how many are
        labelled.

        Raises:
            InputError: boxes have no joints.
        """
        import pandas as pd

        if self.skeleton is None:
            raise InputError(f"There are no joints in {self.title}: it is about boxes.")
        rows = []
        for joint, name in enumerate(self.skeleton.names):
            people = [_one_joint(a, joint) for a in self.annotations["annotations"]]
            matches = match(
                {**self.annotations, "annotations": people},
                [_one_joint(result, joint) for result in self.results],
                "keypoints",
                [self.skeleton.sigmas[joint]],
            )
            n = int((~matches.gt_ignored[0]).sum())
            rows.append(
                {"joint": name, "n": n, **accumulate(matches, names=("AP", "AP50", "AP75"))}
            )
        return pd.DataFrame(rows)

    def precision(self, threshold: float) -> NDArray[np.float64]:
        """Precision (101,) at recall 0, .01, ... 1, mean over the categories.

        Args:
            threshold: of IoU or OKS, one of .5, .55, ... .95.

        Raises:
            InputError: another threshold.
        """
        near = np.flatnonzero(np.isclose(THRESHOLDS, threshold))
        if not len(near):
            raise InputError(f"threshold must be one of .5, .55, ... .95. Got {threshold!r}.")
        curves = average(self.matches, wanted=[("all", -1)])
        values = curves.precision[near[0], :, :, 0, -1]
        known = values[:, ~np.isnan(values).any(axis=0)]
        return known.mean(axis=1) if known.size else np.full(len(values), np.nan)

    def plot_precision_recall(
        self,
        ax: Axes | None = None,
        *,
        thresholds: Sequence[float] = (0.5, 0.75),
        color: str | None = None,
    ) -> Axes:
        """Draw precision against recall.

        Args:
            ax: where to draw; None: a new figure.
            thresholds: of IoU or OKS, one line each: solid, dashed, dotted.
            color: of the lines.

        Returns:
            The axes.
        """

        return plot_curves([self], ax, thresholds, None if color is None else [color])


def score(
    title: str,
    kind: Kind,
    annotations: Record,
    results: list[Record],
    skeleton: Skeleton | None,
    provenance: Mapping[str, Any],
) -> Scores:
    """Measure results by pycocotools, and count what was measured."""
    sigmas = skeleton.sigmas if skeleton is not None else None
    stats = coco_stats(annotations, results, kind, sigmas)
    counts = {**count_people(annotations, kind), "results": len(results)}
    return Scores(
        title, kind, stats, annotations, results, skeleton, {**provenance, "counts": counts}
    )


def count_people(annotations: Mapping[str, Any], kind: str) -> dict[str, int]:
    """How many images and ground truths there are, and which of them must be found."""
    records = annotations["annotations"]
    crowds = sum(bool(a.get("iscrowd")) for a in records)
    single = [a for a in records if not a.get("iscrowd")]
    empty = sum(a.get("num_keypoints") == 0 for a in single) if kind == "keypoints" else 0
    beyond = sum(a["area"] > AREAS["all"][1] for a in single) if kind == "bbox" else 0
    return {
        "images": len(annotations["images"]),
        "evaluated": len(single) - empty - beyond,
        "crowds": crowds,
        "ignored": empty + beyond,
    }


def percent(value: float) -> str:
    """AP as it is shown: in percent, one decimal; undefined is a dash."""
    return "-" if np.isnan(value) else f"{100 * value:.1f}"


def _one_joint(record: Record, joint: int) -> Record:
    """A record with one of its joints; ignored people stay ignored."""
    points = record["keypoints"][3 * joint : 3 * joint + 3]
    reduced = {**record, "keypoints": points}
    if "num_keypoints" in record:
        reduced["num_keypoints"] = int(points[2] > 0 and record["num_keypoints"] > 0)
    return reduced


def plot_curves(
    scores: Sequence[Scores],
    ax: Axes | None,
    thresholds: Sequence[float],
    colours: Sequence[str] | None = None,
) -> Axes:
    """Draw precision against recall of several sets of scores.

    Args:
        scores: one colour each.
        ax: where to draw; None: a new figure.
        thresholds: one style of line each.
        colours: None: a colour-blind-safe palette.

    Returns:
        The axes.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
    for i, part in enumerate(scores):
        colour = (colours or COLOURS)[i % len(colours or COLOURS)]
        measure = "IoU" if part.kind == "bbox" else "OKS"
        for k, threshold in enumerate(thresholds):
            ax.plot(
                RECALLS,
                part.precision(threshold),
                ("-", "--", ":")[k % 3],
                color=colour,
                label=f"{part.title}, {measure} {threshold:g}",
            )
    ax.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    ax.legend(fontsize="small")
    return ax
