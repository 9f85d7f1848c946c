"""What the pointer is told: joints and boxes of the picture, with their numbers as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from kptk.widgets.overlay import pairs, similarity
from kptk.widgets.picture import State

Mark = list[Any]  # x, y, text
Area = list[Any]  # x1, y1, x2, y2, text, place in the poses or -1
_MOST = 40  # people whose joints are told; nobody reads more, and it would be slow to send


def joint_marks(state: State) -> list[Mark]:
    """Joints that are shown: ``[x, y, text]`` in image pixels, from edge to edge."""
    marks: list[Mark] = []
    truth = state.scene.truth if state.look.truth else None
    if truth is not None:
        for person in range(min(len(truth), _MOST)):
            marks += _true_joints(state, person)
    owner = {} if truth is None else dict(pairs(state.poses, truth, state.shown))
    for place in state.shown[:_MOST].tolist():
        marks += _placed_joints(state, place, owner.get(place))
    return marks


def _true_joints(state: State, person: int) -> list[Mark]:
    truth = state.scene.truth
    if truth is None:
        return []
    names, points = state.scene.skeleton.names, truth.points[person]
    said = {1: "hidden", 2: "visible"}
    return [
        [*_edge(points[k]), f"{names[k]}, annotated, {said.get(int(points[k, 2]), '')}"]
        for k in np.flatnonzero(np.isfinite(points[:, 0])).tolist()
    ]


def _placed_joints(state: State, place: int, person: int | None) -> list[Mark]:
    points, skeleton, truth = state.poses.points[place], state.scene.skeleton, state.scene.truth
    near = np.full(len(points), np.nan)
    away = near
    if person is not None and truth is not None:
        near = similarity(points, truth, person, skeleton)
        away = np.hypot(*(points[:, :2] - truth.points[person, :, :2]).T)
    marks = []
    for k in np.flatnonzero(np.isfinite(points[:, 0])).tolist():
        x, y, score = points[k]
        text = f"{skeleton.names[k]}  score {score:.2f}  at {x:.1f}, {y:.1f}"
        if np.isfinite(near[k]):
            text += f"\n{away[k]:.1f} px off, similarity {near[k]:.2f}"
        marks.append([*_edge(points[k]), text])
    return marks


def box_areas(state: State) -> list[Area]:
    """Boxes that are shown: ``[x1, y1, x2, y2, text, place]``, from edge to edge."""
    poses = state.poses
    areas: list[Area] = []
    for place in state.shown.tolist():
        if poses.ids[place] >= 0:
            text = f"pose on annotated box {poses.ids[place]}"
        else:
            text = f"detected, score {poses.scores[place]:.2f}"
        areas.append([*_corners(poses.boxes[place]), text, place])
    truth = state.scene.truth if state.look.truth else None
    if truth is not None:
        for number, box, crowd in zip(truth.ids.tolist(), truth.boxes, truth.crowd, strict=True):
            label = state.labels.get(number, ("", ""))[0]
            what = "crowd" if crowd else "person"
            said = f"annotated {what} {number}" + (f": {label}" if label else "")
            areas.append([*_corners(box), said, -1])
    return areas


def _edge(point: Any) -> tuple[float, float]:
    """Pixel centres at whole numbers → the picture's corner at 0, 0."""
    return round(float(point[0]) + 0.5, 2), round(float(point[1]) + 0.5, 2)


def _corners(box: Any) -> list[float]:
    return [round(float(value), 2) for value in box]
