"""Videos: people followed from frame to frame, keypoints smoothed, results written as a video.

Reading videos is `kptk.io.video`.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError, require
from kptk.files import replacing
from kptk.geometry import box_area, iou, keypoint_similarity
from kptk.io.sources import video_name
from kptk.io.video import VideoInfo, probe
from kptk.pipeline.results import PoseResult

__all__ = ["OneEuro", "Tracker", "VideoInfo", "VideoWriter", "probe", "save_video", "track"]

Float = NDArray[np.float64]
Index = NDArray[np.intp]
Path_ = str | os.PathLike[str]

ENDINGS = (".mp4", ".m4v", ".mov", ".mkv")
_SPEED_S = 0.2  # seconds over which a person's speed is averaged
_MIN_JOINTS = 3  # fewer common keypoints say nothing about who it is
_TICKS = 90_000  # a second: the clock of MPEG, which every usual frame rate divides nearly evenly
_ENCODERS = (
    ("libx264", {"preset": "veryfast", "crf": "20"}),
    ("libopenh264", {"rc_mode": "quality"}),
    ("mpeg4", {"qscale": "4"}),
)


class _State(NamedTuple):
    """What the filter remembers of T people: NaN where a keypoint was never seen."""

    ids: NDArray[np.int64]  # (T,), ascending
    positions: Float  # (T, K, 2) smoothed
    speeds: Float  # (T, K, 2) smoothed, a second
    times: Float  # (T, K) when each keypoint was last seen

    @classmethod
    def of(cls, ids: NDArray[np.int64], joints: int) -> _State:
        unknown = np.full((len(ids), joints, 2), np.nan)
        return cls(ids, unknown, np.zeros_like(unknown), np.full((len(ids), joints), np.nan))


class OneEuro:
    """Smooths points: strongly while they rest, where jitter shows, hardly while they move fast.

    Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
    Interactive Systems", CHI 2012, Algorithm 1, on x and y apart. Each keypoint has its own clock,
    so frames may come at any times and keypoints may be missing for a while.

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
        seen = np.asarray(np.isfinite(found).all(axis=2))[..., None]
        last = state.times[rows][..., None]
        first = seen & np.isnan(last)
        dt = np.where(first, np.inf, time - last)
        position, speed = state.positions[rows], state.speeds[rows]
        share = weight[..., None]
        # Algorithm 1 for all keypoints; those of the same moment as before keep their speed
        with np.errstate(invalid="ignore", divide="ignore"):
            measured = np.where(dt > 0, (found - position) / dt, speed)
            speed = speed + share * _alpha(dt, self.d_cutoff) * (measured - speed)
            cutoff = self.min_cutoff + self.beta * np.abs(speed) / unit[:, None, None]
            position = position + share * _alpha(dt, cutoff) * (found - position)
        position = np.where(first, found, position)
        state.positions[rows] = np.where(seen, position, state.positions[rows])
        state.speeds[rows] = np.where(seen, np.where(first, 0.0, speed), state.speeds[rows])
        state.times[rows] = np.where(seen, time, last)[..., 0]
        return np.where(seen, position, np.nan)

    def _with(self, ids: NDArray[np.int64], joints: int, time: float) -> _State:
        """The state with rows for all of these people, and without those long gone."""
        state = self._state or _State.of(np.zeros(0, np.int64), joints)
        gone = time - np.nan_to_num(state.times, nan=-np.inf).max(axis=1) > self.forget
        kept = ~gone | np.isin(state.ids, ids)
        fresh = _State.of(np.setdiff1d(ids, state.ids), joints)
        joined = [np.concatenate([old[kept], new]) for old, new in zip(state, fresh, strict=True)]
        order = np.argsort(joined[0])
        self._state = _State(*(part[order] for part in joined))
        return self._state


def _alpha(dt: Float, cutoff: Float | float) -> Float:
    """Smoothing factor: 1 / (1 + tau / Te) with tau = 1 / (2 pi fc); 1 after an endless time."""
    ratio = 2 * math.pi * cutoff * dt
    return np.where(np.isinf(ratio), 1.0, ratio / (1 + ratio))


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

    Each video of a stream is followed on its own, with numbers from 1. Results with an error pass
    unchanged. Closing the generator closes ``results``.

    Args:
        results: with times, as ``pipe.predict("clip.mp4")`` gives them, in order.
        smooth: smooth the keypoints with the One-Euro filter; boxes and scores stay as found.
        fps: frames a second of results without times, such as those of a folder of images.
        patience: seconds for which somebody who is not found keeps the number.
        min_similarity: from 0 to 1, least similarity to go on with a number: the mean of the IoU
            of the boxes and the OKS of the keypoints.
        min_cutoff: Hz, of the filter at rest; lower is smoother.
        beta: Hz for each person's size a second; higher lags less in fast movement.

    Returns:
        A generator of results with ``track_ids``, one for each given.

    Raises:
        InputError: a setting is out of range, or a result has no time and ``fps`` is not given.
    """
    if fps is not None and not 0 < fps < math.inf:
        raise InputError(f"fps must be a number above 0. Got {fps!r}.")
    tracker = Tracker(patience=patience, min_similarity=min_similarity)
    if smooth:
        tracker.smoother = OneEuro(min_cutoff, beta, forget=patience)

    def followed() -> Generator[PoseResult, None, None]:
        video: str | None = None
        with closing(results) if isinstance(results, Generator) else nullcontext():
            for index, result in enumerate(results):
                if result.error is not None:
                    yield result
                    continue
                if result.time is None and fps is not None:
                    result = replace(result, time=index / fps)
                if video_of(result) != video:
                    tracker.reset()
                    video = video_of(result)
                yield tracker.update(result)

    return followed()


def video_of(result: PoseResult) -> str | None:
    """The name of the video that a result is a frame of; None for a single image."""
    return None if result.frame is None else video_name(result.name, result.frame)


@dataclass
class _Tracks:
    """T people as last seen; rows stay in the order of their ids."""

    ids: NDArray[np.int64]  # (T,), ascending
    boxes: Float  # (T, 4)
    keypoints: Float  # (T, K, 2), NaN where not seen well
    speeds: Float  # (T, 2) of the box's centre, pixels a second
    times: Float  # (T,) when last seen, seconds

    @classmethod
    def of(cls, ids: NDArray[np.int64], boxes: Float, keypoints: Float, time: float) -> _Tracks:
        return cls(ids, boxes, keypoints, np.zeros((len(ids), 2)), np.full(len(ids), time))

    def keep(self, rows: NDArray[np.bool_]) -> None:
        for name, values in vars(self).items():
            setattr(self, name, values[rows])

    def add(self, other: _Tracks) -> None:
        for name, values in vars(self).items():
            setattr(self, name, np.concatenate([values, getattr(other, name)]))

    def move(self, rows: Index, boxes: Float, keypoints: Float, time: float) -> None:
        """Take over what was found of some people, and learn their speed."""
        passed = (time - self.times[rows])[:, None]
        old, new = ((b[:, :2] + b[:, 2:]) / 2 for b in (self.boxes[rows], boxes))
        share = 1 - np.exp(-passed / _SPEED_S)
        self.speeds[rows] += share * ((new - old) / passed - self.speeds[rows])
        self.boxes[rows] = boxes
        self.keypoints[rows] = keypoints
        self.times[rows] = time

    def similarity(self, boxes: Float, keypoints: Float, sigmas: Float, time: float) -> Float:
        """(T, N) mean of IoU and OKS to N people, each track moved on at its speed.

        The IoU alone counts where too few keypoints are seen on both sides.
        """
        shift = self.speeds * (time - self.times)[:, None]
        expected, moved = self.boxes + np.tile(shift, 2), self.keypoints + shift[:, None]
        row, column = (index.ravel() for index in np.indices((len(expected), len(boxes))))
        overlap = iou(expected[row], boxes[column])
        area = np.sqrt(box_area(expected)[row] * box_area(boxes)[column])
        near = keypoint_similarity(moved[row], keypoints[column], area, sigmas)
        both = np.isfinite(near) & np.isfinite(moved[row]).all(axis=2)
        count = both.sum(axis=1)
        oks = np.where(both, near, 0.0).sum(axis=1) / np.maximum(count, 1)
        mixed = np.where(count >= _MIN_JOINTS, (overlap + oks) / 2, overlap)
        return mixed.reshape(len(expected), len(boxes))


class Tracker:
    """Numbers the people of one video, frame by frame; :func:`track` is a loop over it.

    A person goes on with the number whose predicted position is most similar, over all people
    together. Somebody new gets the next number; nobody ever gets one that was used.

    Args:
        patience: seconds for which somebody who is not found keeps the number.
        min_similarity: from 0 to 1, as in :func:`track`.
        smoother: smooths the keypoints of those who are followed; None: they stay as found.

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
        """Forget everybody, as at the start of another video; numbers start from 1 again."""
        self.count = 0
        self._tracks: _Tracks | None = None
        self._time = -math.inf
        if self.smoother is not None:
            self.smoother.reset()

    def update(self, result: PoseResult) -> PoseResult:
        """The next frame's result with ``track_ids``, its keypoints smoothed if that is wanted.

        Raises:
            InputError: the result has no time, or one not after the last.
        """
        time = result.time
        if time is None:
            raise InputError(
                f"{result.name} has no time. Results of videos have one; for a folder of images "
                "say how many frames a second they are, for example fps=25."
            )
        if time <= self._time:
            raise InputError(
                f"Results must come in the order of their times. {result.name} is at "
                f"{time:.3f} s, the one before it at {self._time:.3f} s."
            )
        self._time = time
        boxes = result.boxes.astype(np.float64)
        keypoints = result.keypoints.astype(np.float64)
        sure = keypoints[..., 2:] >= result.kpt_threshold
        keypoints = np.where(sure, keypoints[..., :2], np.nan)
        tracks = self._tracks
        if tracks is None:
            nobody = np.zeros(0, np.int64)
            tracks = self._tracks = _Tracks.of(nobody, boxes[:0], keypoints[:0], time)
        tracks.keep(time - tracks.times <= self.patience)
        similarity = tracks.similarity(boxes, keypoints, np.array(result.skeleton.sigmas), time)
        rows, people = best_pairs(similarity, self.min_similarity)
        ids = np.zeros(len(result), np.int64)
        ids[people] = tracks.ids[rows]
        tracks.move(rows, boxes[people], keypoints[people], time)
        new = ids == 0
        ids[new] = np.arange(self.count + 1, self.count + 1 + new.sum())
        self.count += int(new.sum())
        tracks.add(_Tracks.of(ids[new], boxes[new], keypoints[new], time))
        followed = replace(result, track_ids=ids)
        if self.smoother is None or not result.keypoints.shape[1]:  # a detector's result
            return followed
        # unsure keypoints weigh less, in proportion to their score
        points = result.keypoints.copy()
        scores = np.nan_to_num(points[..., 2], nan=1.0)
        trust = scores / result.kpt_threshold if result.kpt_threshold > 0 else None
        smoothed = self.smoother(
            ids, points[..., :2], time, trust=trust, sizes=np.sqrt(box_area(boxes))
        )
        points[..., :2] = np.where(np.isfinite(smoothed), smoothed, points[..., :2])
        return replace(followed, keypoints=points)


def best_pairs(similarity: Float, least: float) -> tuple[Index, Index]:
    """Pair rows with columns, each at most once, so that the sum of similarities is greatest.

    Args:
        similarity: (T, N), 0 or more.
        least: pairs below it are never made.

    Returns:
        Rows (P,), ascending, and their columns (P,).
    """
    from scipy.optimize import linear_sum_assignment  # Hungarian method, in C++

    weight = np.where(similarity >= least, similarity, 0.0)
    rows, columns = linear_sum_assignment(weight, maximize=True)
    made = weight[rows, columns] > 0
    return rows[made], columns[made]


def save_video(
    results: Iterable[PoseResult],
    path: Path_,
    *,
    fps: float | None = None,
    draw: bool = True,
) -> Path:
    """Write results as a video, with the frame times they have.

    Results that carry an error, or no image, are left out.

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
    with VideoWriter(path, fps=fps, draw=draw) as video:
        for result in results:
            video.add(result)
    return video.path


class VideoWriter:
    """A video that is written while results come, for a loop that does more with them.

    ::

        with kptk.VideoWriter("poses.mp4") as video:
            for result in kptk.track(pipe.predict("clip.mp4")):
                video.add(result)

    The first image gives the size; others are scaled to fit into it. Odd widths and heights get
    one more column or row, which the encoding asks for. When the block ends by an exception,
    nothing is left behind.

    Args:
        path: as in :func:`save_video`.
        fps: likewise.
        draw: likewise.

    Raises:
        InputError: the ending is none of these, or ``fps`` is not above 0.
    """

    def __init__(self, path: Path_, *, fps: float | None = None, draw: bool = True) -> None:
        self.path = Path(path).expanduser()
        if self.path.suffix.lower() not in ENDINGS:
            raise InputError(f"A video's name must end in {', '.join(ENDINGS)}. Got {self.path}.")
        if fps is not None and not 0 < fps < math.inf:
            raise InputError(f"fps must be a number above 0. Got {fps!r}.")
        self.fps = fps
        self.draw = draw
        self.frames = 0
        self._block: Any = None
        self._temporary: Path | None = None
        self._container: Any = None  # opened with the first image, whose size it takes
        self._stream: Any = None
        self._ticks = -1

    def __enter__(self) -> VideoWriter:
        self._block = self._writing()
        self._block.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._block.__exit__(*error)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        require("av", "video", "Writing video")
        with _our_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as self._temporary:
            try:
                yield
                if not self.frames:
                    raise InputError(f"{self.path} would hold no frame: no result has an image.")
                with _our_errors(self.path):
                    self._container.mux(self._stream.encode(None))
                    self._container.close()
                self._container = None
            finally:
                self._temporary = None
                if self._container is not None:  # it is thrown away
                    from av import FFmpegError

                    with suppress(FFmpegError, OSError):  # a full disk, perhaps: that was said
                        self._container.close()
                    self._container = None

    def add(self, result: PoseResult) -> None:
        """Write the next frame; a result with an error or without an image is left out.

        Raises:
            InputError: the result has no time and there is no ``fps``, or the file cannot be
                written, or the writer is not open.
        """
        if self._temporary is None:
            raise InputError("A VideoWriter writes inside its with block only.")
        if result.error is not None or result.image is None:
            return
        time = result.time if self.fps is None else self.frames / self.fps
        if time is None:
            raise InputError(f"{result.name} has no time: say the frames a second, as in fps=25.")
        import av

        self._ticks = max(round(time * _TICKS), self._ticks + 1)
        image = result.drawn() if self.draw else result.image
        with _our_errors(self.path):
            if self._container is None:
                self._open(self._temporary, image)
            size = (self._stream.height, self._stream.width)
            frame = av.VideoFrame.from_ndarray(_fit(image, size), format="rgb24")
            frame.pts = self._ticks
            frame.time_base = Fraction(1, _TICKS)
            self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def _open(self, file: Path, image: NDArray[np.uint8]) -> None:
        import av

        name, options = next(
            (name, options) for name, options in _ENCODERS if name in av.codec.codecs_available
        )
        self._container = av.open(f"file:{file}", "w")  # a name may hold a colon
        # MPEG-4 knows no finer clock than 1/65535 s
        clock = Fraction(1, _TICKS if name != "mpeg4" else _TICKS // 2)
        stream = self._stream = self._container.add_stream(name, rate=30, options=dict(options))
        stream.height, stream.width = (side + side % 2 for side in image.shape[:2])
        stream.pix_fmt = "yuv420p"  # what browsers and phones play
        stream.time_base = stream.codec_context.time_base = clock


def _fit(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image at (height, width): one row or column repeated, or scaled onto black."""
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
    known: tuple[type[Exception], ...] = (OSError,)
    if "av" in sys.modules:  # not needed for JSON lines alone
        from av import FFmpegError

        known = (OSError, FFmpegError)
    try:
        yield
    except known as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path} cannot be written: {why}.") from error


class VideoFiles:
    """Writes ``{video}_res.mp4`` and ``{video}_res.jsonl``, a line a frame, as results come.

    A context manager: both appear when the block ends well, neither when it does not.

    Args:
        folder: where they go; it is made.
        first: the video's first result, for its name. It is not written yet.
        images: whether there is a video, or JSON lines alone.
        tracker: numbers the people; None: nobody is followed.
    """

    def __init__(
        self, folder: Path, first: PoseResult, *, images: bool, tracker: Tracker | None
    ) -> None:
        self.video = video_of(first)
        self.path = first.path
        self.tracker = tracker
        self.frames = 0
        self.most = 0
        self.best = float("nan")
        self.last = 0.0
        self.lines = folder / f"{self.video}_res.jsonl"
        self.writer = VideoWriter(folder / f"{self.video}_res.mp4") if images else None
        self._stack = ExitStack()
        self._text: TextIO | None = None

    def __enter__(self) -> VideoFiles:
        with ExitStack() as stack:
            with _our_errors(self.lines):
                self.lines.parent.mkdir(parents=True, exist_ok=True)
                temporary = stack.enter_context(replacing(self.lines))
                self._text = stack.enter_context(temporary.open("w", encoding="utf-8"))
            if self.writer is not None:
                stack.enter_context(self.writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def saved(self) -> list[Path]:
        """The files, of which the first is the video if there is one."""
        return [self.lines] if self.writer is None else [self.writer.path, self.lines]

    def add(self, result: PoseResult) -> None:
        """Write the next frame.

        Raises:
            InputError: a file cannot be written.
        """
        if self._text is None:
            raise InputError("VideoFiles writes inside its with block only.")
        if self.tracker is not None:
            result = self.tracker.update(result)
        if self.writer is not None:
            self.writer.add(result)
        line = json.dumps(result.json, ensure_ascii=True, allow_nan=False)
        with _our_errors(self.lines):
            self._text.write(line + "\n")
        self.frames += 1
        self.most = max(self.most, len(result))
        self.last = result.time or 0.0
        if len(result):
            self.best = float(np.fmax(self.best, result.scores.max()))

    @property
    def json(self) -> dict[str, Any]:
        """What there is to say of the video as a whole."""
        record: dict[str, Any] = {
            "input_path": self.path,
            "frames": self.frames,
            "last_time": self.last,
            "most_people": self.most,
        }
        if self.tracker is not None:
            record["tracks"] = self.tracker.count
        return {**record, "saved": [str(path) for path in self.saved]}
