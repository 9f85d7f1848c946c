"""One set of COCO statistics, with what is behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError
from kptk.evaluation.averaging import accumulate, average, nan_mean
from kptk.evaluation.matching import AREAS, THRESHOLDS, Kind, Matches, match
from kptk.evaluation.pycoco import coco_stats
from kptk.skeleton import Skeleton

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Record = dict[str, Any]


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
        return match(self.annotations, self.results, self.kind, self._sigmas)

    @property
    def _sigmas(self) -> tuple[float, ...] | None:
        return self.skeleton.sigmas if self.skeleton is not None else None

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
        rows = [
            {
                "size": size,
                "n": int((~self.matches.gt_ignored[a]).sum()),
                "AP": nan_mean(curves.precision[:, :, :, a, -1]),
                "AR": nan_mean(curves.recall[:, :, a, -1]),
            }
            for a, size in enumerate(AREAS)
        ]
        return pd.DataFrame(rows)

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
            matches = match(
                _one_joint(self.annotations, joint),
                [_reduced(result, joint) for result in self.results],
                "keypoints",
                [self.skeleton.sigmas[joint]],
            )
            stats = accumulate(matches)
            rows.append(
                {
                    "joint": name,
                    "n": int((~matches.gt_ignored[0]).sum()),
                    **{key: stats[key] for key in ("AP", "AP50", "AP75")},
                }
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
        from kptk.evaluation.plots import plot_curves

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


def _one_joint(annotations: Record, joint: int) -> Record:
    reduced = [_reduced(annotation, joint) for annotation in annotations["annotations"]]
    return {**annotations, "annotations": reduced}


def _reduced(record: Record, joint: int) -> Record:
    """A record with one of its joints; ignored people stay ignored."""
    points = record["keypoints"][3 * joint : 3 * joint + 3]
    reduced = {**record, "keypoints": points}
    if "num_keypoints" in record:
        reduced["num_keypoints"] = int(points[2] > 0 and record["num_keypoints"] > 0)
    return reduced
