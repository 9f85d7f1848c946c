"""How often is the verdict right? Faults of known kind and severity, over fresh simulated sets.

``python benchmarks/verdict_sweep.py --out verdict_sweep.csv`` goes on where it was stopped;
``--table`` prints the tables of ``docs/method.md``.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.simulate import NO_FAULTS, Faults, simulate
from benchmarks.stickfigures import draw_world
from kptk.analysis.bundle import Bundle
from kptk.analysis.labels import oks_pairs
from kptk.analysis.matching import assign, match_poses, rank_candidates, statistics
from kptk.analysis.options import AnalysisOptions
from kptk.analysis.oracle import LEVELS, Game, bootstrap, play
from kptk.analysis.verdict import Evidence, Normal, decide
from kptk.analysis.whatif import GROUPS, JOINT_FIXES, METRIC, what_ifs
from kptk.evaluation import accumulate, match
from kptk.geometry import iou

N_SETS, N_IMAGES, N_POPULATION, N_DRAWS = 20, 400, 4000, 250
OPTIONS = AnalysisOptions(n_bootstrap=N_DRAWS)
COLUMNS = (
    "kind", "severity", "set", "expected", "alone", "with_baseline",
    "phi_detector", "phi_keypoints", "detector_low", "detector_high", "keypoints_low",
    "keypoints_high", "difference_low", "difference_high", "free_gain", "joint_errors",
    "pose_background", "box_errors",
)  # fmt: skip
POPULATION, BASELINE = -1, "no fault"


@dataclass(frozen=True)
class Case:
    """A fault, how bad it is, and the verdict it should give."""

    kind: str
    severity: float
    faults: Faults
    expected: str


def cases() -> list[Case]:
    """What is swept."""
    singles = {
        "missed": ((0.1, 0.25), "detector"),
        "truncated": ((0.2, 0.4), "detector"),
        "hips": ((0.5,), "detector"),
        "shifted": ((0.5,), "detector"),
        "background": ((4.0,), "detector"),
        "faint": ((0.1, 0.3), "threshold-or-scores"),
        "shuffled": ((0.9,), "threshold-or-scores"),
        "noise": ((0.5, 1.5), "keypoints"),
        "astray": ((0.1,), "keypoints"),
        "mirrored": ((0.1,), "keypoints"),
        "taken": ((0.2,), "keypoints"),
    }
    found = [Case(BASELINE, 0.0, NO_FAULTS, "nothing-stands-out")]
    for kind, (severities, expected) in singles.items():
        found += [Case(kind, s, replace(NO_FAULTS, **{kind: s}), expected) for s in severities]
    found.append(Case("missed and astray", 0.15, Faults(missed=0.15, astray=0.08), "both"))
    return found


def seed_of(case: Case, number: int) -> list[int]:
    """Every set is drawn anew, the population too (number -1)."""
    return [20, number + 1, *case.kind.encode(), round(1000 * case.severity)]


def make(case: Case, number: int, n_images: int) -> Bundle:
    """One simulated data set."""
    rng = np.random.default_rng(seed_of(case, number))
    return simulate(draw_world(n_images, rng), case.faults, rng)


# -- one data set ----------------------------------------------------------------------------------


def measure(case: Case, number: int, baseline: Normal) -> dict[str, Any]:
    """All columns of one data set."""
    bundle = make(case, number, N_IMAGES)
    evidence = observe(bundle)
    alone, judged = decide(evidence, OPTIONS), decide(evidence, OPTIONS, baseline)
    gains = {change.name: change.delta[METRIC] for change in evidence.what_ifs}
    phi = evidence.game.phi()
    ends = [*alone.inputs["cost_detector_interval"], *alone.inputs["cost_keypoints_interval"],
            *alone.inputs["difference_interval"]]  # fmt: skip
    return dict(zip(COLUMNS, (
        case.kind, case.severity, number, case.expected, alone.name, judged.name,
        phi[0], phi[1], *ends, judged.inputs["free_gain"],
        sum(gains[name] for name in JOINT_FIXES.values()), pose_background(bundle),
        box_errors(bundle),
    ), strict=True))  # fmt: skip


def population(case: Case) -> dict[str, Any]:
    """The values that intervals should cover, from one large set."""
    phi = play(make(case, POPULATION, N_POPULATION), OPTIONS).phi()
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    return row | {
        "kind": case.kind, "severity": case.severity, "set": POPULATION,
        "expected": case.expected, "phi_detector": phi[0], "phi_keypoints": phi[1],
    }  # fmt: skip


def normal(number: int) -> Normal:
    """A fault-free set of its own as the baseline of a set."""
    bundle = make(Case("baseline", 0.0, NO_FAULTS, ""), number, N_IMAGES)
    evidence = observe(bundle)
    return Normal(evidence.game, evidence.draws, evidence.gains)


def observe(bundle: Bundle) -> Evidence:
    """What the verdict is passed on; people's labels, which only word its reason, are left out."""
    game = play(bundle, OPTIONS)
    headline = game.matches[LEVELS[0]]  # drawn once: the verdict asks for no other level
    game = Game(game.values, dict.fromkeys(LEVELS, headline))
    changes = what_ifs(bundle, OPTIONS, groups=GROUPS[1:3])
    people = int(bundle.evaluated.sum())
    draws = bootstrap(game, OPTIONS.n_bootstrap)
    return Evidence(game, draws, len(bundle.image_ids), people, changes, {}, bundle.threshold)


def pose_background(bundle: Bundle) -> float:
    """coco-analyze's background errors: AP gained if unpaired poses and people did not count."""
    candidate, person = oks_pairs(bundle, OPTIONS.pair_oks)
    found = rank_candidates(bundle, OPTIONS).kept(bundle.threshold)
    before = statistics(match_poses(bundle, found, OPTIONS))[METRIC]
    paired = np.zeros(len(bundle.people), np.bool_)
    paired[person] = True
    people = replace(bundle.people, ignored=bundle.people.ignored | ~paired)
    kept = found[np.isin(found.candidate, candidate)]
    after = statistics(match_poses(replace(bundle, people=people), kept, OPTIONS))[METRIC]
    return after - before


def box_errors(bundle: Bundle) -> float:
    """TIDE's errors of boxes at IoU .5, summed: what box AP50 gains if each is put right alone.

    Badly placed, duplicate, background, missed; one class, so none of its class errors.
    """
    box = bundle.candidates.boxes.copy()
    kept = bundle.detected
    owner = assign(bundle).person
    d, g = bundle.pairs()
    overlap = np.zeros(len(box))
    nearest = np.zeros(len(box), np.intp)
    value = iou(bundle.candidates.boxes[d], bundle.people.boxes[g])
    order = np.argsort(value, kind="stable")
    overlap[d[order]], nearest[d[order]] = value[order], g[order]
    free = kept & (owner < 0)
    placed, second, wrong = free & (overlap >= 0.1) & (overlap < 0.5), free & (overlap >= 0.5), (
        free & (overlap < 0.1)
    )  # fmt: skip
    taken = np.isin(nearest, owner[owner >= 0])
    moved = box.copy()
    moved[placed] = bundle.people.boxes[nearest[placed]]
    near = np.zeros(len(bundle.people), np.bool_)
    near[owner[owner >= 0]] = near[nearest[placed]] = True
    everyone = np.ones(len(bundle.people), np.bool_)
    before = box_ap50(bundle, box, kept, everyone)
    fixed = (
        box_ap50(bundle, moved, kept & ~(placed & taken), everyone),
        box_ap50(bundle, box, kept & ~second, everyone),
        box_ap50(bundle, box, kept & ~wrong, everyone),
        box_ap50(bundle, box, kept, near),
    )
    return sum(value - before for value in fixed)


def box_ap50(bundle: Bundle, box: Any, kept: Any, wanted: Any) -> float:
    """COCO's AP50 of some boxes against some people."""
    people = bundle.people
    rows, truths = np.flatnonzero(kept), np.flatnonzero(wanted)
    content = {
        "images": [{"id": int(i)} for i in bundle.image_ids],
        "categories": [{"id": 1}],
        "annotations": [
            {"id": int(g) + 1, "image_id": int(bundle.image_ids[people.image[g]]),
             "category_id": 1, "iscrowd": int(people.crowd[g]), "area": float(people.areas[g]),
             "bbox": xywh(people.boxes[g])}
            for g in truths
        ],
    }  # fmt: skip
    results = [
        {"image_id": int(bundle.image_ids[bundle.candidates.image[d]]), "category_id": 1,
         "score": float(bundle.candidates.scores[d]), "bbox": xywh(box[d])}
        for d in rows
    ]  # fmt: skip
    return accumulate(match(content, results, "bbox"), names=["AP50"])["AP50"]


def xywh(box: Any) -> list[float]:
    """COCO's x, y, width, height."""
    return [float(v) for v in (*box[:2], *(box[2:] - box[:2]))]


# -- the sweep -------------------------------------------------------------------------------------


def jobs() -> Iterator[tuple[Case, int]]:
    """Set by set, so that a part of the sweep is a smaller sweep."""
    for case in cases():
        yield case, POPULATION
    for number in range(N_SETS):
        for case in cases():
            yield case, number


def read(path: Path) -> list[dict[str, str]]:
    """Rows that are there already."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(path: Path) -> None:
    """Compute the rows that are missing."""
    done = {(row["kind"], float(row["severity"]), int(row["set"])) for row in read(path)}
    baselines: dict[int, Normal] = {}
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not done:
            writer.writeheader()
        for case, number in jobs():
            if (case.kind, case.severity, number) in done:
                continue
            if number == POPULATION:
                row = population(case)
            else:
                if number not in baselines:
                    baselines = {number: normal(number)}
                row = measure(case, number, baselines[number])
            writer.writerow(row)
            file.flush()


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="CSV, written row by row")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there")
    chosen = parser.parse_args()
    if chosen.table:
        from verdict_tables import tables

        sys.stdout.write(tables(read(chosen.out)))
        return
    run(chosen.out)


if __name__ == "__main__":
    main()
