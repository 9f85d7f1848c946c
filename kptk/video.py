"""The One-Euro filter, for the joints of many people at once."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError, require
from kptk.files import replacing
from kptk.geometry import box_area, iou, keypoint_similarity
from kptk.io.sources import film_name
from kptk.pipeline.results import PoseResult
from kptk.skeleton import Skeleton

Float = NDArray[np.float64]


class _State(NamedTuple):
    """What is remembered of T people: NaN where a joint was never seen."""

    ids: NDArray[np.int64]  # (T,), ascending
    places: Float  # (T, K, 2) smoothed
    speeds: Float  # (T, K, 2) smoothed, a second
    times: Float  # (T, K) when each joint was last seen


class OneEuro:
    """Smooths points: strongly while they rest, where jitter shows, hardly while they move fast.

    Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
    Interactive Systems", CHI 2012, Algorithm 1, on x and y apart. Each joint has its own clock, so
    frames may come at any times and joints may be missing for a while.

    Args:
        min_cutoff: Hz; lower: smoother at rest, more lag in slow movement.
        beta: Hz for each unit of speed; higher: less lag in fast movement. The unit is
            the person's size a second where :meth:`__call__` gets sizes, else pixels a second.
        d_cutoff: Hz; of the speed's own smoothing.
        forget: seconds after which somebody who is not seen is forgotten.

    Raises:
        InputError: a frequency or time is not above 0, or ``beta`` is below 0.
    """

    def __init__(
        self,
        min_cutoff: float = 1.0,
        beta: float = 1.0,
        d_cutoff: float = 1.0,
        forget: float = 1.0,
    ) -> None:
        values = {"min_cutoff": min_cutoff, "d_cutoff": d_cutoff, "forget": forget}
        for name, value in values.items():
            if not 0 < value < math.inf:
                raise InputError(f"{name} must be a number above 0. Got {value!r}.")
        if not 0 <= beta < math.inf:
            raise InputError(f"beta must be a number of at least 0. Got {beta!r}.")
        self.min_cutoff = min_cutoff
        self.beta = beta
        self.d_cutoff = d_cutoff
        self.forget = forget
        self.reset()

    def reset(self) -> None:
        """Forget everybody."""
        self._state: _State | None = None

    def __call__(
        self,
        ids: NDArray[np.int64],
        points: NDArray[np.floating],
        time: float,
        *,
        trust: NDArray[np.floating] | None = None,
        sizes: NDArray[np.floating] | None = None,
    ) -> Float:
        """Smooth one frame.

        Args:
            ids: (N,) who each person is, no two alike.
            points: (N, K, 2); NaN is missing: it stays so, and disturbs nothing.
            time: seconds; not before that of the last call.
            trust: (N, K) from 0 to 1: the weight of a point against what is remembered. None: 1.
            sizes: (N,) pixels, the unit of speeds. None: 1.

        Returns:
            (N, K, 2) smoothed points.
        """
        state = self._with(ids, points.shape[1], time)
        rows = np.searchsorted(state.ids, ids)
        unit = np.ones(len(ids)) if sizes is None else np.maximum(sizes, 1e-9)
        weight = np.ones(points.shape[:2]) if trust is None else np.clip(trust, 0, 1)
        found = np.asarray(points, np.float64)
        seen = np.asarray(np.isfinite(found).all(axis=2))
        first = seen & np.isnan(state.times[rows])
        passed = np.where(first, np.inf, time - state.times[rows])
        place, speed = self._step(
            found, state.places[rows], state.speeds[rows], passed, weight, unit
        )
        place, speed = (
            np.where(first[..., None], start, value)
            for start, value in ((found, place), (0.0, speed))
        )
        state.places[rows] = np.where(seen[..., None], place, state.places[rows])
        state.speeds[rows] = np.where(seen[..., None], speed, state.speeds[rows])
        state.times[rows] = np.where(seen, time, state.times[rows])
        return np.where(seen[..., None], place, np.nan)

    def _step(
        self, found: Float, place: Float, speed: Float, passed: Float, weight: Float, unit: Float
    ) -> tuple[Float, Float]:
        """Algorithm 1 for all joints; those of the same moment as before keep their speed."""
        dt = passed[..., None]
        share = weight[..., None]
        with np.errstate(invalid="ignore", divide="ignore"):
            measured = np.where(dt > 0, (found - place) / dt, speed)
            speed = speed + share * _alpha(dt, self.d_cutoff) * (measured - speed)
            cutoff = self.min_cutoff + self.beta * np.abs(speed) / unit[:, None, None]
            place = place + share * _alpha(dt, cutoff) * (found - place)
        return place, speed

    def _with(self, ids: NDArray[np.int64], joints: int, time: float) -> _State:
        """The state with rows for all of these people, and without those long gone."""
        state = self._state
        if state is None:
            state = _empty(np.zeros(0, np.int64), joints)
        with np.errstate(invalid="ignore"):
            gone = (time - np.nan_to_num(state.times, nan=-np.inf).max(axis=1)) > self.forget
        kept = ~gone | np.isin(state.ids, ids)
        fresh = _empty(np.setdiff1d(ids, state.ids), joints)
        joined = [np.concatenate([old[kept], new]) for old, new in zip(state, fresh, strict=True)]
        order = np.argsort(joined[0])
        self._state = _State(*(part[order] for part in joined))
        return self._state


def _alpha(dt: Float, cutoff: Float | float) -> Float:
    """Smoothing factor: 1 / (1 + tau / Te) with tau = 1 / (2 pi fc); 1 after an endless time."""
    ratio = 2 * math.pi * cutoff * dt
    return np.where(np.isinf(ratio), 1.0, ratio / (1 + ratio))


def _empty(ids: NDArray[np.int64], joints: int) -> _State:
    return _State(
        ids,
        np.full((len(ids), joints, 2), np.nan),
        np.zeros((len(ids), joints, 2)),
        np.full((len(ids), joints), np.nan),
    )


# ---- assignment: The pairing with the greatest sum of similarities.


Index = NDArray[np.intp]


def best_pairs(similarity: Float, least: float) -> tuple[Index, Index]:
    """Pair rows with columns, each at most once, so that the sum of similarities is greatest.

    Args:
        similarity: (T, N), 0 or more.
        least: pairs below it are never made.

    Returns:
        Rows (P,), ascending, and their columns (P,).
    """
    weight = np.where(similarity >= least, similarity, 0.0)
    allowed = weight > 0
    if not allowed.any():
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    columns = _columns_of(weight, allowed)
    rows = np.flatnonzero(columns >= 0)
    rows = rows[allowed[rows, columns[rows]]]
    return rows, columns[rows]


def _columns_of(weight: Float, allowed: NDArray[np.bool_]) -> Index:
    """(T,) the column of each row, -1 for none."""
    columns = np.full(len(weight), -1, np.intp)
    # most people are near one track only, whose only candidate they are: nothing to decide
    alone = allowed & (allowed.sum(axis=1, keepdims=True) == 1) & (allowed.sum(axis=0) == 1)
    rows, there = np.nonzero(alone)
    columns[rows] = there
    rows = np.flatnonzero(allowed.any(axis=1) & (columns < 0))
    there = np.flatnonzero(allowed.any(axis=0) & ~alone.any(axis=0))
    if len(rows):
        rest = weight[np.ix_(rows, there)]
        # the method wants at least as many columns: those of no worth stand for "nobody"
        padded = np.pad(rest, ((0, 0), (0, len(rows))))
        found = _hungarian(-padded)
        real = found < len(there)
        columns[rows[real]] = there[found[real]]
    return columns


def _hungarian(cost: Float) -> Index:
    """(T,) the columns of the cheapest full assignment of the rows of (T, N >= T).

    The Hungarian method with potentials, row by row along shortest paths (Kuhn 1955; Jonker and
    Volgenant 1987), the inner loop over columns as array operations.
    """
    rows, columns = cost.shape
    u, v = np.zeros(rows), np.zeros(columns + 1)
    row_of = np.full(columns + 1, -1)  # the last column stands for the row being placed
    for row in range(rows):
        row_of[columns] = row
        at, previous, u, v = _shortest_path(cost, row_of, u, v)
        while at != columns:
            row_of[at] = row_of[previous[at]]
            at = int(previous[at])
    found = np.empty(rows, np.intp)
    taken = row_of[:columns] >= 0
    found[row_of[:columns][taken]] = np.flatnonzero(taken)
    return found


def _shortest_path(
    cost: Float, row_of: Index, u: Float, v: Float
) -> tuple[int, Index, Float, Float]:
    """A free column, the column before each on the way to it, and the new potentials."""
    columns = cost.shape[1]
    least = np.full(columns, np.inf)
    previous = np.full(columns, columns)
    seen = np.zeros(columns + 1, bool)
    at = columns
    while row_of[at] >= 0:
        seen[at] = True
        row = row_of[at]
        reduced = cost[row] - u[row] - v[:columns]
        nearer = ~seen[:columns] & (reduced < least)
        least[nearer] = reduced[nearer]
        previous[nearer] = at
        at = int(np.argmin(np.where(seen[:columns], np.inf, least)))
        step = least[at]
        u[row_of[seen]] += step
        v[seen] -= step
        least[~seen[:columns]] -= step
    return at, previous, u, v


# ---- tracking: Following people from frame to frame of a film.


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


# ---- writer: Films with poses drawn, written frame by frame under a temporary name.


ENDINGS = (".mp4", ".m4v", ".mov", ".mkv")


_TICKS = 90_000  # a second: the clock of MPEG, which every usual frame rate divides nearly evenly


_ENCODERS = (
    ("libx264", {"preset": "veryfast", "crf": "20"}),
    ("libopenh264", {"rc_mode": "quality"}),
    ("mpeg4", {"qscale": "4"}),
)


def save_video(
    results: Iterable[PoseResult],
    path: str | os.PathLike[str],
    *,
    fps: float | None = None,
    draw: bool = True,
) -> Path:
    """Write results as a film, with the frame times they have.

    Results that carry an error, or no picture, are left out.

    Args:
        results: for example ``kptk.track(pipe.predict("clip.mp4"))``.
        path: a name ending in .mp4, .m4v, .mov or .mkv. Folders are made.
        fps: frames a second, in place of the results' own times; needed where they have none.
        draw: whether people are drawn.

    Returns:
        The file written. It appears under its name when it is complete.

    Raises:
        InputError: there is no frame, no time, or the file cannot be written.
        MissingDependencyError: PyAV is not installed.
    """
    with VideoWriter(path, fps=fps, draw=draw) as film:
        for result in results:
            film.add(result)
    return film.path


class VideoWriter:
    """A film that is written while results come, for a loop that does more with them.

    ::

        with kptk.VideoWriter("poses.mp4") as film:
            for result in kptk.track(pipe.predict("clip.mp4")):
                film.add(result)

    The first picture gives the size; others are scaled to fit into it. Odd widths and heights get
    one more column or row, which the encoding asks for. When the block ends by an exception,
    nothing is left behind.

    Args:
        path: as in :func:`save_video`.
        fps: likewise.
        draw: likewise.

    Raises:
        InputError: the ending is none of these, or ``fps`` is not above 0.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, fps: float | None = None, draw: bool = True
    ) -> None:
        self.path = Path(path).expanduser()
        if self.path.suffix.lower() not in ENDINGS:
            raise InputError(f"A film's name must end in {', '.join(ENDINGS)}. Got {self.path}.")
        if fps is not None and not 0 < fps < math.inf:
            raise InputError(f"fps must be a number above 0. Got {fps!r}.")
        self.fps = fps
        self.draw = draw
        self.frames = 0
        self._block: Any = None
        self._film: _Encoder | None = None
        self._ticks = -1

    def __enter__(self) -> VideoWriter:
        self._block = self._writing()
        self._block.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._block.__exit__(kind, error, trace)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        require("av", "video", "Writing video")
        with _our_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as temporary:
            self._film = _Encoder(temporary, self.path)
            try:
                yield
                if not self.frames:
                    raise InputError(f"{self.path} would hold no frame: no result has a picture.")
                self._film.finish()
            finally:
                self._film.close()
                self._film = None

    def add(self, result: PoseResult) -> None:
        """Write the next frame; a result with an error or without a picture is left out.

        Raises:
            InputError: the result has no time and there is no ``fps``, or the file cannot be
                written, or the writer is not open.
        """
        if self._film is None:
            raise InputError("A VideoWriter writes inside its with block only.")
        if result.error is not None or result.image is None:
            return
        ticks = max(round(self._time(result) * _TICKS), self._ticks + 1)
        self._film.write(result.drawn() if self.draw else result.image, ticks)
        self._ticks = ticks
        self.frames += 1

    def _time(self, result: PoseResult) -> float:
        if self.fps is not None:
            return self.frames / self.fps
        if result.time is None:
            raise InputError(f"{result.name} has no time: say the frames a second, as in fps=25.")
        return result.time


class _Encoder:
    """PyAV's side of it: opened with the first picture, whose size it takes."""

    def __init__(self, file: Path, path: Path) -> None:
        self.file = file
        self.path = path  # for messages
        self.container: Any = None
        self.stream: Any = None

    def write(self, image: NDArray[np.uint8], ticks: int) -> None:
        import av

        with _our_errors(self.path):
            if self.container is None:
                self._open(image)
            size = (self.stream.height, self.stream.width)
            frame = av.VideoFrame.from_ndarray(_fit(image, size), format="rgb24")
            frame.pts = ticks
            frame.time_base = Fraction(1, _TICKS)
            self.container.mux(self.stream.encode(frame))

    def _open(self, image: NDArray[np.uint8]) -> None:
        import av

        name, options = next(
            (name, options) for name, options in _ENCODERS if name in av.codec.codecs_available
        )
        self.container = av.open(f"file:{self.file}", "w")  # a name may hold a colon
        # MPEG-4 knows no finer clock than 1/65535 s
        clock = Fraction(1, _TICKS if name != "mpeg4" else _TICKS // 2)
        self.stream = self.container.add_stream(name, rate=30, options=dict(options))
        self.stream.height, self.stream.width = (side + side % 2 for side in image.shape[:2])
        self.stream.pix_fmt = "yuv420p"  # what browsers and phones play
        self.stream.time_base = self.stream.codec_context.time_base = clock

    def finish(self) -> None:
        with _our_errors(self.path):
            self.container.mux(self.stream.encode(None))
            self.container.close()
        self.container = None

    def close(self) -> None:
        """Let go of a file that is thrown away."""
        if self.container is None:
            return
        from av import FFmpegError

        with suppress(FFmpegError, OSError):  # the disk is full, perhaps; that was said before
            self.container.close()
        self.container = None


def _fit(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at (height, width): one row or column repeated, or scaled onto black."""
    height, width = image.shape[:2]
    more = (size[0] - height, size[1] - width)
    if more == (0, 0):
        return image
    if more in ((0, 1), (1, 0), (1, 1)):
        return np.pad(image, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
    import cv2

    scale = min(size[0] / height, size[1] / width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - inner[1]) // 2, (size[1] - inner[0]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        image, inner, interpolation=cv2.INTER_AREA
    )
    return canvas


@contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    from av import FFmpegError

    try:
        yield
    except (FFmpegError, OSError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be written: {why}.") from error


# ---- saved: A film's results on disk: one film with poses, one file of JSON lines.


class FilmFiles:
    """Writes ``{film}_res.mp4`` and ``{film}_res.jsonl``, a line a frame, as results come.

    A context manager: both appear when the block ends well, neither when it does not.

    Args:
        folder: where they go; it is made.
        first: the film's first result, for its name. It is not written yet.
        pictures: whether there is a film, or JSON lines alone.
        tracker: numbers the people; None: nobody is followed.
    """

    def __init__(
        self, folder: Path, first: PoseResult, *, pictures: bool, tracker: Tracker | None
    ) -> None:
        self.film = film_of(first)
        self.path = first.path
        self.tracker = tracker
        self.frames = 0
        self.most = 0
        self.best = float("nan")
        self.last = 0.0
        self.lines = folder / f"{self.film}_res.jsonl"
        self.writer = VideoWriter(folder / f"{self.film}_res.mp4") if pictures else None
        self._stack = ExitStack()
        self._text: TextIO | None = None

    def __enter__(self) -> FilmFiles:
        with ExitStack() as stack:
            try:
                self.lines.parent.mkdir(parents=True, exist_ok=True)
                temporary = stack.enter_context(replacing(self.lines))
                self._text = stack.enter_context(temporary.open("w", encoding="utf-8"))
            except OSError as error:
                raise _unwritable(self.lines, error) from error
            if self.writer is not None:
                stack.enter_context(self.writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def saved(self) -> list[Path]:
        """The files, of which the first is the film if there is one."""
        return [self.lines] if self.writer is None else [self.writer.path, self.lines]

    def add(self, result: PoseResult) -> None:
        """Write the next frame.

        Raises:
            InputError: a file cannot be written.
        """
        if self.tracker is not None:
            result = self.tracker.update(result)
        if self.writer is not None:
            self.writer.add(result)
        self._write(json.dumps(result.json, ensure_ascii=True, allow_nan=False))
        self.frames += 1
        self.most = max(self.most, len(result))
        self.last = result.time or 0.0
        if len(result):
            self.best = float(np.fmax(self.best, result.scores.max()))

    def _write(self, line: str) -> None:
        if self._text is None:
            raise InputError("FilmFiles writes inside its with block only.")
        try:
            self._text.write(line + "\n")
        except OSError as error:
            raise _unwritable(self.lines, error) from error

    @property
    def json(self) -> dict[str, Any]:
        """What there is to say of the film as a whole."""
        record: dict[str, Any] = {
            "input_path": self.path,
            "frames": self.frames,
            "last_time": self.last,
            "most_people": self.most,
        }
        if self.tracker is not None:
            record["tracks"] = self.tracker.count
        return {**record, "saved": [str(path) for path in self.saved]}


def film_of(result: PoseResult) -> str | None:
    """The name of the film that a result is a frame of; None for a single picture."""
    return None if result.frame is None else film_name(result.name, result.frame)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path} cannot be written: {error.strerror or error}.")
