"""kptk.video on people whose ways are written down here, so that who is who is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

import kptk
from kptk.errors import InputError
from kptk.pipeline.results import PoseResult
from kptk.skeleton import COCO17, Skeleton
from kptk.video import Tracker

WIDTH, HEIGHT = 60.0, 180.0
# where joints are in a box, from 0 to 1: two people with their arms held differently
RNG = np.random.default_rng(0)
STANDS = RNG.random((17, 2))
WAVES = RNG.random((17, 2))


def result_of(
    frame: int,
    centres: Sequence[tuple[float, float]],
    *,
    fps: float = 25.0,
    bodies: Sequence[np.ndarray] | None = None,
    film: str = "clip",
) -> PoseResult:
    """A result with people whose boxes have these centres."""
    middle = np.array(centres, np.float64).reshape(-1, 2)
    half = np.array([WIDTH, HEIGHT]) / 2
    boxes = np.concatenate([middle - half, middle + half], axis=1)
    shapes = np.array(bodies or [STANDS] * len(boxes)).reshape(-1, 17, 2)
    points = boxes[:, None, :2] + shapes * np.array([WIDTH, HEIGHT])
    scores = np.full((len(boxes), 17, 1), 0.9)
    return PoseResult(
        image=None,
        name=f"{film}_{frame:06d}",
        path=f"{film}.mp4",
        suffix=".jpg",
        boxes=boxes.astype(np.float32),
        scores=np.linspace(0.9, 0.8, len(boxes)).astype(np.float32),
        keypoints=np.concatenate([points, scores], axis=2).astype(np.float32),
        time=(frame - 1) / fps,
        frame=frame,
    )


def ids_of(results: Sequence[PoseResult], **options: float) -> list[list[int]]:
    return [
        result.track_ids.tolist()
        for result in kptk.track(results, **options)  # type: ignore[union-attr, arg-type]
    ]


def walk(start: float, speed: float, y: float = 200.0) -> Callable[[int], tuple[float, float]]:
    """A way along x: pixels at the first frame, pixels a frame."""
    return lambda frame: (start + speed * (frame - 1), y)


def film(
    ways: Sequence[Callable[[int], tuple[float, float]]],
    frames: int,
    hidden: Callable[[int, int], bool] = lambda person, frame: False,
) -> tuple[list[PoseResult], list[list[int]]]:
    """Results in shuffled order, and who each person in them is, from 1."""
    rng = np.random.default_rng(7)
    results, truth = [], []
    for frame in range(1, frames + 1):
        here = [person for person in range(len(ways)) if not hidden(person, frame)]
        if frame > 1:
            rng.shuffle(here)
        results.append(result_of(frame, [ways[person](frame) for person in here]))
        truth.append([person + 1 for person in here])
    return results, truth


def test_people_who_cross_keep_their_numbers() -> None:
    # they pass each other after frame 25, 4 pixels apart, and walk on: speed decides
    results, truth = film([walk(100, 8), walk(488, -8), walk(900, 0)], 50)
    assert ids_of(results) == truth


def test_people_who_meet_and_turn_round_are_told_apart_by_their_joints() -> None:
    # for 12 frames they stand in one place, their boxes trembling; then each goes back
    rng = np.random.default_rng(5)
    results = []
    for frame in range(1, 41):
        gap = max(abs(frame - 20.5) - 6, 0) * 4
        places = np.array([(300 - gap, 200), (300 + gap, 200)]) + rng.normal(0, 3, (2, 2))
        results.append(result_of(frame, places, bodies=[STANDS, WAVES]))
    assert ids_of(results) == [[1, 2]] * 40


def test_misses_within_the_patience_cost_no_number() -> None:
    # person 1 walks behind a pole for 10 frames, .4 s, and comes out 80 pixels further on
    def hidden(person: int, frame: int) -> bool:
        return person == 0 and 20 <= frame < 30

    results, truth = film([walk(100, 8), walk(700, 1)], 45, hidden)
    assert ids_of(results) == truth


def test_the_patience_is_in_seconds_whatever_the_frame_rate() -> None:
    for fps, gap, same in ((25, 20, True), (25, 30, False), (5, 4, True), (5, 6, False)):
        before = [result_of(frame, [(100, 200)], fps=fps) for frame in (1, 2, 3)]
        after = result_of(3 + gap, [(100, 200)], fps=fps)
        ids = ids_of([*before, after], patience=1.0)
        assert ids[-1] == ([1] if same else [2]), (fps, gap)


def test_births_get_new_numbers_and_none_is_used_twice() -> None:
    ways = [walk(100, 2), walk(300, 2), walk(700, -2), walk(1000, 2)]
    alive = [(1, 10), (1, 60), (5, 20), (50, 60)]

    def hidden(person: int, frame: int) -> bool:
        return not alive[person][0] <= frame <= alive[person][1]

    results, truth = film(ways, 60, hidden)
    assert ids_of(results) == truth


def test_nobody_far_away_takes_over_a_number() -> None:
    assert ids_of([result_of(1, [(100, 200)]), result_of(2, [(400, 200)])]) == [[1], [2]]
    least = ids_of([result_of(1, [(100, 200)]), result_of(2, [(130, 200)])], min_similarity=0.9)
    assert least == [[1], [2]]


def test_boxes_alone_are_enough() -> None:
    bare = Skeleton(names=(), edges=(), sigmas=())
    results, truth = film([walk(100, 8), walk(488, -8)], 50)
    detector_only = [
        replace(result, keypoints=result.keypoints[:, :0], skeleton=bare) for result in results
    ]
    assert ids_of(detector_only) == truth
    for smoothed, result in zip(kptk.track(detector_only, smooth=True), detector_only, strict=True):
        assert smoothed.keypoints.shape == result.keypoints.shape  # nothing to smooth
        assert np.array_equal(smoothed.boxes, result.boxes)


def test_missing_joints_and_nobody_at_all() -> None:
    results, truth = film([walk(100, 3), walk(500, 3)], 12)
    for index, result in enumerate(results):
        result.keypoints[:, index::2] = np.nan
    results[5] = result_of(6, [])
    truth[5] = []
    assert ids_of(results) == truth
    for smoothed, result in zip(kptk.track(results, smooth=True), results, strict=True):
        assert np.array_equal(np.isnan(smoothed.keypoints), np.isnan(result.keypoints))


def test_smoothing_keeps_people_apart_and_touches_only_the_joints() -> None:
    rng = np.random.default_rng(3)
    results, _ = film([walk(100, 0), walk(400, 0)], 60)
    clean = [result.keypoints.copy() for result in results]
    for result in results:
        result.keypoints[..., :2] += rng.normal(0, 2, result.keypoints[..., :2].shape)
    given = [result.keypoints.copy() for result in results]
    out = list(kptk.track(results, smooth=True))
    off = [np.abs(r.keypoints - c)[..., :2].mean() for r, c in zip(out, clean, strict=True)]
    was = [np.abs(g - c)[..., :2].mean() for g, c in zip(given, clean, strict=True)]
    assert np.mean(off[10:]) < 0.6 * np.mean(was[10:])
    for result, before, kept in zip(out, results, given, strict=True):
        assert np.array_equal(result.boxes, before.boxes)
        assert np.array_equal(result.keypoints[..., 2], kept[..., 2])
        assert np.array_equal(before.keypoints, kept)  # what was handed in is as it was


def test_an_unsure_joint_that_jumps_moves_the_smoothed_one_less() -> None:
    def jump(score: float) -> float:
        results = [result_of(frame, [(100, 200)]) for frame in range(1, 11)]
        results[-1].keypoints[0, 9] += [80, 0, score - 0.9]
        *_, last = kptk.track(results, smooth=True)
        return float(last.keypoints[0, 9, 0] - results[0].keypoints[0, 9, 0])

    assert jump(0.02) < 0.2 * jump(0.9)


def test_each_film_is_followed_on_its_own() -> None:
    first = [result_of(frame, [(100, 200)]) for frame in (1, 2)]
    second = [result_of(frame, [(100, 200), (500, 200)], film="b") for frame in (1, 2)]
    assert ids_of([*first, *second]) == [[1], [1], [1, 2], [1, 2]]


def test_errors_pass_and_pictures_without_times_need_a_rate() -> None:
    timeless = [replace(result_of(n, [(100, 200)]), time=None, frame=None) for n in (1, 2, 3)]
    with pytest.raises(InputError, match="fps=25"):
        ids_of(timeless)
    failed = replace(timeless[1], error=InputError("no"))
    out = list(kptk.track([timeless[0], failed, timeless[2]], fps=10))
    assert out[1] is failed
    assert [result.time for result in out] == [0.0, None, 0.2]
    assert out[2].track_ids is not None
    assert out[2].track_ids.dtype == np.int64


def test_wrong_settings_and_times_that_go_back() -> None:
    for name in ("patience", "min_similarity", "fps", "min_cutoff", "beta"):
        with pytest.raises(InputError, match=name):
            kptk.track([], smooth=True, **{name: -1})
    tracker = Tracker()
    tracker.update(result_of(5, []))
    with pytest.raises(InputError, match="order of their times"):
        tracker.update(result_of(4, []))


def test_closing_closes_what_is_followed() -> None:
    closed = []

    def stream() -> Iterator[PoseResult]:
        try:
            for frame in range(1, 100):
                yield result_of(frame, [(100, 200)])
        finally:
            closed.append(True)

    followed = kptk.track(stream())
    next(followed)
    followed.close()
    assert closed == [True]


def test_ids_are_in_every_form() -> None:
    (result,) = kptk.track([result_of(1, [(100, 200), (300, 200)])])
    assert [box["track_id"] for box in result.json["boxes"]] == [1, 2]
    table = result.to_pandas()
    assert list(table.columns[:5]) == ["image", "frame", "time", "person", "track_id"]
    assert table["track_id"].tolist() == [1, 2]
    assert "<th>track</th>" in result._table()
    again = replace(result, track_ids=np.array([2, 1]))
    assert result != again
    assert result == replace(result, track_ids=result.track_ids.copy())  # type: ignore[union-attr]
    assert result != replace(result, track_ids=None)


def test_numbers_are_drawn() -> None:
    image = np.full((300, 400, 3), 128, np.uint8)
    plain = replace(result_of(1, [(100, 200)]), image=image)
    (followed,) = kptk.track([plain])
    assert not np.array_equal(plain.drawn(), followed.drawn())
    assert COCO17 is followed.skeleton
