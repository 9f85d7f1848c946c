"""Following people from frame to frame of a film."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.geometry import box_area, iou, keypoint_similarity
from kptk.errors import InputError
from kptk.naming import film_name
from kptk.results import PoseResult
from kptk.skeleton import Skeleton
from kptk.video.assignment import best_pairs
from kptk.video.smoothing import OneEuro

Float = NDArray[np.float64]
Index = NDArray[np.intp]

_SPEED_S = 0.2  # seconds over which a person's speed is averaged
_MIN_JOINTS = 3  # fewer common joints say nothing about who it is


def track(
    results: Iterable[PoseResult],
    *,
    smooth: bool = False,
    fps: float | None = None,
    patience: float = 1.0,
    min_similarity: float = 0.2,
    min_cutoff: float = 1.0,
    beta: float = 1.0,
) -> Generator[PoseResult, None, None]:
    """Number the people in a stream of results, the same person alike in every frame.

    Each film of a stream is followed on its own, with numbers from 1. Results with an error pass
    unchanged. Closing the generator closes ``results``.

    Args:
        results: with times, as ``pipe.predict("clip.mp4")`` gives them, in order.
        smooth: smooth the joints with the One-Euro filter; boxes and scores stay as found.
        fps: frames a second of results without times, such as those of a folder of pictures.
        patience: seconds for which somebody who is not found keeps the number.
        min_similarity: from 0 to 1, least likeness to go on with a number: the mean of the IoU of
            the boxes and the OKS of the joints.
        min_cutoff: Hz, of the filter at rest; lower is smoother.
        beta: Hz for each person's size a second; higher lags less in fast movement.

    Returns:
        A generator of results with ``track_ids``, one for each given.

    Raises:
        InputError: a setting is out of range, or a result has no time and ``fps`` is not given.
    """
    rate = _check_fps(fps)
    tracker = Tracker(patience=patience, min_similarity=min_similarity)
    if smooth:
        tracker.smoother = OneEuro(min_cutoff, beta, forget=patience)
    return _followed(results, tracker, rate)


def _followed(
    results: Iterable[PoseResult], tracker: Tracker, fps: float | None
) -> Generator[PoseResult, None, None]:
    film: str | None = None
    with closing(results) if isinstance(results, Generator) else nullcontext():
        for index, result in enumerate(results):
            if result.error is not None:
                yield result
                continue
            if result.time is None and fps is not None:
                result = replace(result, time=index / fps)
            name = None if result.frame is None else film_name(result.name, result.frame)
            if name != film:
                tracker.reset()
                film = name
            yield tracker.update(result)


def _check_fps(fps: float | None) -> float | None:
    if fps is not None and not 0 < fps < math.inf:
        raise InputError(f"fps must be a number above 0. Got {fps!r}.")
    return fps


@dataclass
class _Tracks:
    """T people as last seen; rows stay in the order of their ids."""

    ids: NDArray[np.int64]  # (T,), ascending
    boxes: Float  # (T, 4)
    joints: Float  # (T, K, 2), NaN where not seen well
    speeds: Float  # (T, 2) of the box's centre, pixels a second
    times: Float  # (T,) when last seen, seconds

    def moved_to(self, time: float) -> tuple[Float, Float]:
        """Boxes and joints where they should be at a time, at constant speed."""
        shift = self.speeds * (time - self.times)[:, None]
        return self.boxes + np.tile(shift, 2), self.joints + shift[:, None]

    def keep(self, rows: NDArray[np.bool_]) -> None:
        for name, values in vars(self).items():
            setattr(self, name, values[rows])

    def add(self, other: _Tracks) -> None:
        for name, values in vars(self).items():
            setattr(self, name, np.concatenate([values, getattr(other, name)]))


class Tracker:
    """Numbers the people of one film, frame by frame; what :func:`track` does is a loop over it.

    A person goes on with the number whose predicted place is most alike, over all people together
    (Hungarian method). Somebody new gets the next number; nobody ever gets one that was used.

    Args:
        patience: seconds for which somebody who is not found keeps the number.
        min_similarity: from 0 to 1, as in :func:`track`.
        smoother: smooths the joints of those who are followed; None: joints stay as found.

    Raises:
        InputError: a setting is out of range.
    """

    def __init__(
        self,
        *,
        patience: float = 1.0,
        min_similarity: float = 0.2,
        smoother: OneEuro | None = None,
    ) -> None:
        if not 0 < patience < math.inf:
            raise InputError(f"patience must be a number of seconds above 0. Got {patience!r}.")
        if not 0 < min_similarity <= 1:
            raise InputError(f"min_similarity must be from 0 to 1. Got {min_similarity!r}.")
        self.patience = patience
        self.min_similarity = min_similarity
        self.smoother = smoother
        self.reset()

    def reset(self) -> None:
        """Forget everybody, as at the start of another film; numbers start from 1 again."""
        self.count = 0
        self._tracks: _Tracks | None = None
        self._time = -math.inf
        if self.smoother is not None:
            self.smoother.reset()

    def update(self, result: PoseResult) -> PoseResult:
        """The next frame's result with ``track_ids``, its joints smoothed if that is wanted.

        Raises:
            InputError: the result has no time, or one not after the last.
        """
        time = self._check_time(result)
        boxes = result.boxes.astype(np.float64)
        joints = _seen_well(result)
        if self._tracks is None:
            self._tracks = _fresh(np.zeros(0, np.int64), boxes[:0], joints[:0], time)
        tracks = self._tracks
        tracks.keep(time - tracks.times <= self.patience)
        rows, people = self._pairs(tracks, boxes, joints, result.skeleton, time)
        ids = np.zeros(len(result), np.int64)
        ids[people] = tracks.ids[rows]
        _move(tracks, rows, boxes[people], joints[people], time)
        new = ids == 0
        ids[new] = np.arange(self.count + 1, self.count + 1 + new.sum())
        self.count += int(new.sum())
        tracks.add(_fresh(ids[new], boxes[new], joints[new], time))
        followed = replace(result, track_ids=ids)
        return followed if self.smoother is None else _smoothed(followed, ids, self.smoother, time)

    def _check_time(self, result: PoseResult) -> float:
        if result.time is None:
            raise InputError(
                f"{result.name} has no time. Results of videos have one; for a folder of pictures "
                "say how many frames a second they are, for example fps=25."
            )
        if result.time <= self._time:
            raise InputError(
                f"Results must come in the order of their times. {result.name} is at "
                f"{result.time:.3f} s, the one before it at {self._time:.3f} s."
            )
        self._time = result.time
        return result.time

    def _pairs(
        self, tracks: _Tracks, boxes: Float, joints: Float, skeleton: Skeleton, time: float
    ) -> tuple[Index, Index]:
        known_boxes, known_joints = tracks.moved_to(time)
        likeness = _similarity(known_boxes, known_joints, boxes, joints, np.array(skeleton.sigmas))
        return best_pairs(likeness, self.min_similarity)


def _seen_well(result: PoseResult) -> Float:
    """(N, K, 2) joints, NaN below the threshold."""
    points = result.keypoints.astype(np.float64)
    good = points[..., 2] >= result.kpt_threshold
    return np.where(good[..., None], points[..., :2], np.nan)


def _similarity(
    boxes: Float, joints: Float, other_boxes: Float, other_joints: Float, sigmas: Float
) -> Float:
    """(T, N) mean of IoU and OKS; the IoU alone where too few joints are seen on both sides."""
    size = (len(boxes), len(other_boxes))
    row, column = (index.ravel() for index in np.indices(size))
    overlap = iou(boxes[row], other_boxes[column])
    area = np.sqrt(box_area(boxes)[row] * box_area(other_boxes)[column])
    alike = keypoint_similarity(joints[row], other_joints[column], area, sigmas)
    both = np.isfinite(alike) & np.isfinite(other_joints[column]).all(axis=2)
    count = both.sum(axis=1)
    oks = np.where(both, alike, 0.0).sum(axis=1) / np.maximum(count, 1)
    mixed: Float = np.where(count >= _MIN_JOINTS, (overlap + oks) / 2, overlap)
    return mixed.reshape(size)


def _move(tracks: _Tracks, rows: Index, boxes: Float, joints: Float, time: float) -> None:
    """Take over what was found of these people, and learn their speed."""
    passed = (time - tracks.times[rows])[:, None]
    measured = (_centre(boxes) - _centre(tracks.boxes[rows])) / passed
    share = 1 - np.exp(-passed / _SPEED_S)
    tracks.speeds[rows] += share * (measured - tracks.speeds[rows])
    tracks.boxes[rows] = boxes
    tracks.joints[rows] = joints
    tracks.times[rows] = time


def _centre(boxes: Float) -> Float:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def _fresh(ids: NDArray[np.int64], boxes: Float, joints: Float, time: float) -> _Tracks:
    return _Tracks(ids, boxes, joints, np.zeros((len(ids), 2)), np.full(len(ids), time))


def _smoothed(
    result: PoseResult, ids: NDArray[np.int64], smoother: OneEuro, time: float
) -> PoseResult:
    """The result with smoothed joints; unsure ones weigh less, in proportion to their score."""
    if not result.keypoints.shape[1]:  # a detector's result
        return result
    points = result.keypoints.copy()
    scores = np.nan_to_num(points[..., 2], nan=1.0)
    trust: Any = scores / result.kpt_threshold if result.kpt_threshold > 0 else None
    sizes = np.sqrt(box_area(result.boxes.astype(np.float64)))
    places = smoother(ids, points[..., :2], time, trust=trust, sizes=sizes)
    points[..., :2] = np.where(np.isfinite(places), places, points[..., :2])
    return replace(result, keypoints=points)
