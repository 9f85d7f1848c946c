"""kptk.video: who is who is known; filter, pairs and files are compared with independent ones."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import av
import numpy as np
import pytest

import kptk
from kptk.errors import InputError
from kptk.io.video import Sampling, read_frames
from kptk.pipeline.results import PoseResult
from kptk.skeleton import COCO17, Skeleton
from kptk.video import OneEuro, Tracker, best_pairs
from tests.clips import SIZE, find_square, picture, square_at


def best_total(similarity: np.ndarray, least: float) -> float:
    """The greatest sum, by trying every pairing."""
    weight = np.where(similarity >= least, similarity, 0.0)
    if len(weight) > weight.shape[1]:
        weight = weight.T
    columns = range(weight.shape[1])
    return max(
        sum(weight[row, column] for row, column in enumerate(chosen))
        for chosen in permutations(columns, len(weight))
    )


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 3), (4, 6), (6, 4), (5, 5)])
@pytest.mark.parametrize("least", [0.0, 0.4, 0.8])
def test_the_sum_is_the_greatest_there_is(shape: tuple[int, int], least: float) -> None:
    rng = np.random.default_rng(shape[0] * 10 + shape[1])
    for _ in range(20):
        similarity = rng.random(shape)
        rows, columns = best_pairs(similarity, least)
        assert len(set(rows)) == len(rows) == len(set(columns))
        assert (similarity[rows, columns] >= least).all()
        assert (np.diff(rows) > 0).all()
        total = similarity[rows, columns].sum()
        assert total == pytest.approx(best_total(similarity, least))


def test_as_scipy_on_many_people() -> None:
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(1)
    for shape in ((30, 30), (40, 25), (25, 40)):
        similarity = rng.random(shape)
        similarity[rng.random(shape) < 0.7] = 0.0
        rows, columns = best_pairs(similarity, 0.1)
        weight = np.where(similarity >= 0.1, similarity, 0.0)
        expected = weight[optimize.linear_sum_assignment(-weight)].sum()
        assert similarity[rows, columns].sum() == pytest.approx(expected)


def test_the_nearest_first_would_be_wrong() -> None:
    # .9 first leaves 0 for the other: by hand, .8 + .7 is more
    rows, columns = best_pairs(np.array([[0.9, 0.8], [0.7, 0.0]]), 0.1)
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 2)])
def test_nothing_to_pair(shape: tuple[int, int]) -> None:
    rows, columns = best_pairs(np.zeros(shape), 0.2)
    assert len(rows) == len(columns) == 0


class PlainOneEuro:
    """One number; Casiez, Roussel and Vogel, CHI 2012, Algorithm 1 and the appendix."""

    def __init__(self, min_cutoff: float, beta: float, d_cutoff: float) -> None:
        self.min_cutoff, self.beta, self.d_cutoff = min_cutoff, beta, d_cutoff
        self.x_hat = self.dx_hat = self.last = math.nan

    @staticmethod
    def alpha(rate: float, cutoff: float) -> float:
        tau = 1.0 / (2 * math.pi * cutoff)
        te = 1.0 / rate
        return 1.0 / (1.0 + tau / te)

    def filter(self, x: float, time: float) -> float:
        if math.isnan(self.x_hat):
            self.x_hat, self.dx_hat, self.last = x, 0.0, time
            return x
        rate = 1.0 / (time - self.last)
        self.last = time
        dx = (x - self.x_hat) * rate
        a = self.alpha(rate, self.d_cutoff)
        self.dx_hat = a * dx + (1 - a) * self.dx_hat
        cutoff = self.min_cutoff + self.beta * abs(self.dx_hat)
        a = self.alpha(rate, cutoff)
        self.x_hat = a * x + (1 - a) * self.x_hat
        return self.x_hat


def test_many_people_are_filtered_as_each_number_alone() -> None:
    """People come and go, joints are missing now and then, time steps vary."""
    rng = np.random.default_rng(0)
    people, joints, settings = 6, 5, (1.3, 0.02, 0.8)
    fast = OneEuro(*settings, forget=60.0)
    plain = {key: PlainOneEuro(*settings) for key in np.ndindex(people, joints, 2)}
    time = 3.0
    for _ in range(60):
        time += float(rng.choice([0.01, 0.033, 0.04, 0.5]))
        ids = np.flatnonzero(rng.random(people) < 0.7)
        rng.shuffle(ids)
        points = rng.normal(100, 30, (len(ids), joints, 2))
        points[rng.random((len(ids), joints)) < 0.2] = np.nan
        expected = np.full_like(points, np.nan)
        for row, joint, axis in np.ndindex(points.shape):
            if not np.isnan(points[row, joint, axis]):
                one = plain[ids[row], joint, axis]
                expected[row, joint, axis] = one.filter(points[row, joint, axis], time)
        found = fast(ids + 1, points, time)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_sizes_are_the_unit_of_speed() -> None:
    """A person twice as near moves twice as many pixels, and is smoothed alike."""
    rng = np.random.default_rng(1)
    walk = rng.normal(0, 5, (40, 1, 17, 2)).cumsum(axis=0)
    near, far = OneEuro(), OneEuro()
    one = np.array([1])
    for index, points in enumerate(walk):
        a = far(one, points, index / 30, sizes=np.array([100.0]))
        b = near(one, 2 * points, index / 30, sizes=np.array([200.0]))
        np.testing.assert_allclose(2 * a, b)


def test_half_a_point_is_missing_and_stays_so() -> None:
    smoother = OneEuro()
    one = np.array([1])
    smoother(one, np.array([[[1.0, 1.0]]]), 0.0)
    assert np.isnan(smoother(one, np.array([[[5.0, np.nan]]]), 0.1)).all()
    again = smoother(one, np.array([[[1.0, 1.0]]]), 0.2)
    np.testing.assert_allclose(again, [[[1.0, 1.0]]])  # the half point left no trace


def test_points_that_are_not_trusted_move_nothing() -> None:
    smoother = OneEuro()
    one, rest = np.array([1]), np.zeros((1, 1, 2))
    smoother(one, rest, 0.0)
    assert smoother(one, rest + 100, 0.1, trust=np.zeros((1, 1)))[0, 0, 0] == 0.0
    full, half = OneEuro(), OneEuro()
    for filter_ in (full, half):
        filter_(one, rest, 0.0)
    whole = full(one, rest + 100, 0.1, trust=np.array([[1.0]]))[0, 0, 0]
    part = half(one, rest + 100, 0.1, trust=np.array([[0.5]]))[0, 0, 0]
    assert 0 < part < whole


def test_people_long_gone_are_forgotten() -> None:
    smoother = OneEuro(forget=1.0)
    for number in range(50):
        smoother(np.array([number]), np.zeros((1, 17, 2)), number * 0.5)
    state = smoother._state
    assert state is not None
    assert state.ids.tolist() == [47, 48, 49]
    fresh = smoother(np.array([1]), np.full((1, 17, 2), 9.0), 25.0)
    np.testing.assert_allclose(fresh, 9.0)  # as seen for the first time


def smoothed(values: np.ndarray, times: np.ndarray, size: float) -> np.ndarray:
    smoother = OneEuro()
    one = np.array([1])
    sizes = np.array([size])
    return np.array(
        [
            smoother(one, np.array([[[x, 0.0]]]), t, sizes=sizes)[0, 0, 0]
            for x, t in zip(values, times, strict=True)
        ]
    )


def test_jitter_falls_and_lag_stays_bounded() -> None:
    """A person of 200 pixels who stands, then walks at 160 pixels a second (30 frames a second)."""
    rng = np.random.default_rng(2)
    times = np.arange(180) / 30
    walk = 160.0 * np.maximum(times - 3, 0)
    noisy = walk + rng.normal(0, 3, len(times))
    out = smoothed(noisy, times, size=200.0)
    rest = slice(30, 90)
    assert np.diff(out[rest]).std() < 0.4 * np.diff(noisy[rest]).std()
    assert out[rest].std() < 0.6 * noisy[rest].std()
    lag = (walk - out)[120:] / 160.0  # seconds, once the walk is under way
    # By hand: in steady motion at speed v the filter lags by tau v, and measures the speed
    # v (1 + tau / dt). So 2 pi tau (min_cutoff + beta v / size (1 + tau / dt)) = 1, here
    # 2 pi tau (1.8 + 24 tau) = 1: tau = .0522 s.
    assert lag.mean() == pytest.approx(0.0522, abs=0.005)
    assert lag.max() < 0.1


@pytest.mark.parametrize("name", ["min_cutoff", "d_cutoff", "forget"])
def test_wrong_settings(name: str) -> None:
    for value in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match=name):
            OneEuro(**{name: value})
    with pytest.raises(InputError, match="beta"):
        OneEuro(beta=-1)


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


MANY = 80  # frames: more than the encoder keeps before it writes the first


def result_at(index: int, time: float | None, image: np.ndarray | None = None) -> PoseResult:
    return PoseResult(
        image=picture(index) if image is None else image,
        name=f"clip_{index + 1:06d}", path="clip.mp4", suffix=".jpg",
        boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32),
        keypoints=np.zeros((0, 17, 3), np.float32), time=time, frame=index + 1,
    )  # fmt: skip


def read(path: Path) -> tuple[list[np.ndarray], list[float]]:
    found = list(read_frames(path, Sampling()))
    return [frame.image for frame in found], [frame.time for frame in found]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_frames_and_times_come_out_as_they_went_in(tmp_path: Path, name: str) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.533, 2.0]
    path = kptk.save_video(
        (result_at(index, time) for index, time in enumerate(times)), tmp_path / "new" / name
    )
    images, found = read(path)
    assert found == pytest.approx(times, abs=2e-3 if name == "a.mkv" else 1e-4)
    for index, image in enumerate(images):
        assert image.shape == (*SIZE, 3)
        assert find_square(image) == pytest.approx(square_at(index), abs=1)
    assert [path.name for path in path.parent.iterdir()] == [name]


@pytest.mark.skipif(sys.platform == "win32", reason="names there hold no colon")
def test_a_relative_name_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = kptk.save_video([result_at(0, 0.0)], "10:15:00.mp4")
    assert len(read(path)[0]) == 1


def test_people_are_drawn_unless_that_is_not_wanted(tmp_path: Path) -> None:
    grey = np.full((60, 60, 3), 60, np.uint8)
    person = replace(
        result_at(0, 0.0, grey),
        boxes=np.array([[10, 10, 40, 50]], np.float32),
        scores=np.array([0.9], np.float32),
        keypoints=np.full((1, 17, 3), np.nan, np.float32),
    )
    (with_box,), _ = read(kptk.save_video([person], tmp_path / "a.mp4"))
    (without,), _ = read(kptk.save_video([person], tmp_path / "b.mp4", draw=False))
    assert int(with_box.max()) > 180
    assert np.abs(without.astype(int) - 60).max() < 8


def test_a_rate_of_its_own(tmp_path: Path) -> None:
    results = [result_at(index, None) for index in range(3)]
    with pytest.raises(InputError, match="fps=25"):
        kptk.save_video(results, tmp_path / "a.mp4")
    _, times = read(kptk.save_video(results, tmp_path / "a.mp4", fps=10))
    assert times == pytest.approx([0, 0.1, 0.2], abs=1e-4)


def test_odd_and_other_sizes(tmp_path: Path) -> None:
    shapes = [(31, 45), (31, 45), (62, 90), (31, 90)]
    images = [np.full((*shape, 3), 200, np.uint8) for shape in shapes]
    results = [result_at(i, i / 10, image) for i, image in enumerate(images)]
    found, _ = read(kptk.save_video(results, tmp_path / "a.mp4"))
    assert [image.shape for image in found] == [(32, 46, 3)] * 4  # even sides: the encoding's rule
    assert found[0].min() > 180  # the row more repeats the last
    assert found[2].min() > 180
    # 31 x 90 scaled by 46 / 90 is 16 rows high: rows 8 to 23, between bars of black
    rows = found[3].mean(axis=(1, 2))
    assert rows[[2, 29]].max() < 30
    assert rows[[12, 20]].min() > 180


def test_the_same_moment_twice_moves_on_by_a_tick(tmp_path: Path) -> None:
    path = kptk.save_video([result_at(i, 0.0) for i in range(3)], tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert len(stamps) == len(set(stamps)) == 3


def test_errors_are_left_out(tmp_path: Path) -> None:
    failed = replace(result_at(1, None), image=None, error=InputError("broken"))
    _, times = read(
        kptk.save_video([result_at(0, 0.0), failed, result_at(2, 1.0)], tmp_path / "a.mp4")
    )
    assert times == pytest.approx([0, 1], abs=1e-4)
    with pytest.raises(InputError, match="no frame"):
        kptk.save_video([failed], tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def broken_off() -> Iterator[PoseResult]:
    for index in range(MANY):
        yield result_at(index % 20, index / 10)
    raise KeyboardInterrupt


def test_an_unfinished_film_is_not_left_behind(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"what was there before")
    with pytest.raises(KeyboardInterrupt):
        kptk.save_video(broken_off(), target)
    assert target.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_is_there_under_the_name_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with kptk.VideoWriter(target) as film:
        for index in range(MANY):
            film.add(result_at(index % 20, index / 10))
            assert not target.exists()
        (temporary,) = tmp_path.iterdir()
        assert temporary.stat().st_size > 0
    assert target.exists()
    assert film.frames == MANY
    with pytest.raises(InputError, match="with block"):
        film.add(result_at(0, 9.0))


def test_names_and_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4"):
        kptk.VideoWriter(tmp_path / "a.gif")
    with pytest.raises(InputError, match="fps"):
        kptk.VideoWriter(tmp_path / "a.mp4", fps=0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        kptk.save_video([result_at(0, 0.0)], tmp_path / "file" / "a.mp4")


@pytest.mark.parametrize("missing", [("libx264",), ("libx264", "libopenh264")])
def test_other_encoders_do_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: Sequence[str]
) -> None:
    here = frozenset(av.codec.codecs_available) - set(missing)
    monkeypatch.setattr(av.codec, "codecs_available", here)
    times = [0.0, 0.04, 0.5]
    _, found = read(
        kptk.save_video([result_at(i, t) for i, t in enumerate(times)], tmp_path / "a.mp4")
    )
    assert found == pytest.approx(times, abs=1e-3)
