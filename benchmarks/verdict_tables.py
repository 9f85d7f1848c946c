"""The tables of ``docs/method.md`` from the rows of ``verdict_sweep.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

Row = Mapping[str, str]

POPULATION = "-1"
NOTHING = "nothing-stands-out"
MIN_EFFECT = 0.01  # a fault that costs less in the population has nothing to be found
_ERRORS = ("joint_errors", "pose_background", "box_errors")
_SHORT = {"threshold-or-scores": "threshold", "nothing-stands-out": "nothing",
          "too-little-data": "too little data"}  # fmt: skip


def tables(rows: Sequence[Row]) -> str:
    """Tables in Markdown: verdicts, how many are right, coverage."""
    cases = list(dict.fromkeys((row["kind"], row["severity"]) for row in rows))
    groups = {case: [r for r in rows if (r["kind"], r["severity"]) == case] for case in cases}
    parts = [_verdicts(groups), _coverage(groups)]
    return "\n\n".join(parts) + "\n"


Groups = Mapping[tuple[str, str], Sequence[Row]]


def _split(rows: Sequence[Row]) -> tuple[Row, list[Row]]:
    """The population's row and the sets'."""
    population = next(row for row in rows if row["set"] == POPULATION)
    return population, [row for row in rows if row["set"] != POPULATION]


def _above(groups: Groups) -> dict[tuple[str, str], tuple[float, float]]:
    """What each fault costs in the population above no fault, in AP: detector, keypoints."""
    costs = {
        case: np.array([float(_split(rows)[0][f"phi_{m}"]) for m in ("detector", "keypoints")])
        for case, rows in groups.items()
    }
    normal = costs[("no fault", "0.0")]
    return {case: tuple((cost - normal).tolist()) for case, cost in costs.items()}


def _expected(groups: Groups) -> dict[tuple[str, str], str]:
    """The right verdict: nothing, if a detector's fault costs nothing in the population."""
    above = _above(groups)
    named = {case: _split(rows)[0]["expected"] for case, rows in groups.items()}
    return {
        case: NOTHING if name == "detector" and above[case][0] < MIN_EFFECT else name
        for case, name in named.items()
    }


def _counts(rows: Sequence[Row], column: str) -> str:
    names, counts = np.unique([row[column] for row in rows], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{_SHORT.get(names[i], names[i])} {counts[i]}" for i in order)


def _verdicts(groups: Groups) -> str:
    above, expected, others = _above(groups), _expected(groups), _others(groups)
    lines = [
        "| fault | severity | costs detector / keypoints | should be | kptk with baseline | "
        "kptk without | coco-analyze | TIDE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for case, rows in groups.items():
        _, sets = _split(rows)
        cost = " / ".join(f"{100 * value:+.1f}" for value in above[case])
        lines.append(
            f"| {case[0]} | {float(case[1]):g} | {cost} | {_short(expected[case])} | "
            f"{_counts(sets, 'with_baseline')} | {_counts(sets, 'alone')} | "
            f"{others[case][0]} | {others[case][1]} |"
        )
    return "\n".join([*lines, "", _accuracy(groups)])


def _short(name: str) -> str:
    return _SHORT.get(name, name)


def _accuracy(groups: Groups) -> str:
    """Right, false and open verdicts, with and without baseline."""
    expected = _expected(groups)
    lines = [
        "| | right | something else is named | nothing stands out, though there is a fault | "
        "too little data |",
        "| --- | --- | --- | --- | --- |",
    ]
    sets = [(row, expected[case]) for case, rows in groups.items() for row in _split(rows)[1]]
    for column, name in (("with_baseline", "with a baseline"), ("alone", "without")):
        right = sum(row[column] == wanted for row, wanted in sets)
        little = sum(row[column] == "too-little-data" for row, _ in sets)
        silent = sum(row[column] == NOTHING != wanted for row, wanted in sets)
        counts = (right, len(sets) - right - little - silent, silent, little)
        cells = " | ".join(_share(count, len(sets)) for count in counts)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines)


def _share(count: int, n: int) -> str:
    return f"{count} of {n} ({100 * count / n:.0f} %)"


def _others(groups: Groups) -> dict[tuple[str, str], tuple[str, str]]:
    """What coco-analyze's and TIDE's errors point to, held against the sets without a fault."""
    plain = _split(groups["no fault", "0.0"])[1]
    values = np.array([[float(row[column]) for column in _ERRORS] for row in plain])
    normal = values.mean(axis=0)
    limit = np.maximum(MIN_EFFECT, 2 * values.std(axis=0))
    said = {}
    for case, rows in groups.items():
        _, sets = _split(rows)
        more = np.array([[float(row[column]) for column in _ERRORS] for row in sets]) - normal
        coco = _tally([_coco(*row, limit) for row in more])
        tide = _tally(["detector" if row[2] > limit[2] else "nothing" for row in more])
        said[case] = coco, tide
    return said


def _tally(names: Sequence[str]) -> str:
    found, counts = np.unique(names, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return ", ".join(f"{found[i]} {counts[i]}" for i in order)


def _coco(joints: float, background: float, _boxes: float, limit: Sequence[float]) -> str:
    """coco-analyze: joint errors, or the background's: whichever is larger and above normal."""
    if joints <= limit[0] and background <= limit[1]:
        return "nothing"
    return "keypoints" if joints >= background else "detector"


def _coverage(groups: Groups) -> str:
    """How often the 95 % intervals hold the population's value."""
    lines = [
        "| fault | severity | detector's cost | keypoint model's cost | their difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    totals = np.zeros(3, int)
    count = 0
    for (kind, severity), rows in groups.items():
        population, sets = _split(rows)
        held = np.array([_held(row, population) for row in sets]).reshape(-1, 3).sum(axis=0)
        totals += held
        count += len(sets)
        cells = " | ".join(f"{value}/{len(sets)}" for value in held)
        lines.append(f"| {kind} | {float(severity):g} | {cells} |")
    cells = " | ".join(_share(int(value), count) for value in totals)
    return "\n".join([*lines, f"| all | | {cells} |"])


def _held(row: Row, population: Row) -> tuple[bool, bool, bool]:
    detector, keypoints = (float(population[f"phi_{m}"]) for m in ("detector", "keypoints"))
    truths = {"detector": detector, "keypoints": keypoints, "difference": detector - keypoints}
    held = [
        float(row[f"{name}_low"]) <= value <= float(row[f"{name}_high"])
        for name, value in truths.items()
    ]
    return held[0], held[1], held[2]
