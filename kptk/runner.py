"""Detector and pose model together, over a stream of images: what `create_pipeline` makes."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.config import DET_BATCH_SIZE, KPT_BATCH_SIZE
from kptk.detector import Detections, Detector
from kptk.errors import InputError, KptkError
from kptk.given_boxes import boxes_per_frame, pair
from kptk.inputs import check_batch_size, check_boxes, check_threshold
from kptk.pose import PoseModel
from kptk.replicas import count_devices
from kptk.results import PoseResult
from kptk.skeleton import COCO17, Skeleton
from kptk.sources import BadFrame, Frame, Frames, is_video, iter_frames
from kptk.video.sampling import Sampling

OnError = Literal["skip", "raise"]
KPT_THRESHOLD = 0.2
NO_JOINTS = Skeleton(names=(), edges=(), sigmas=())


@dataclass(frozen=True)
class _Run:
    """The checked settings of one call of ``predict``."""

    det_threshold: float | None
    kpt_threshold: float
    batch_size: int
    raises: bool


class Pipeline:
    """Finds people in images and places keypoints on them.

    Made by :func:`kptk.create_pipeline` (both stages) and :func:`kptk.create_model` (one of them).

    Args:
        detector: finds the people; None: the whole image is one person's box, unless the call
            gives boxes.
        pose: places the keypoints; None: results have boxes and no joints.
        det_batch_size: images that go through together.
        kpt_batch_size: people to a call of the keypoint model.
        det_threshold: lowest score of a person; None: the detector's own.
        kpt_threshold: lowest score of a joint that is drawn solid. It removes nothing.
        channel_order: of arrays handed in, ``"rgb"`` or ``"bgr"``.
    """

    def __init__(
        self,
        detector: Detector | None,
        pose: PoseModel | None,
        *,
        det_batch_size: int = DET_BATCH_SIZE,
        kpt_batch_size: int = KPT_BATCH_SIZE,
        det_threshold: float | None = None,
        kpt_threshold: float = KPT_THRESHOLD,
        channel_order: str = "rgb",
    ) -> None:
        if detector is None and pose is None:
            raise InputError("A Pipeline needs a detector, a keypoint model, or both. Got neither.")
        self.detector = detector
        self.pose = pose
        self.det_batch_size = check_batch_size(det_batch_size, "det_batch_size")
        self.kpt_batch_size = check_batch_size(kpt_batch_size, "kpt_batch_size")
        self.det_threshold = None if det_threshold is None else check_threshold(det_threshold)
        self.kpt_threshold = check_threshold(kpt_threshold, "kpt_threshold")
        self.channel_order = _check_choice("channel_order", channel_order, ("rgb", "bgr"))

    def __repr__(self) -> str:
        stages = {"det": self.detector, "kpt": self.pose}
        parts = [f"{key}={stage.model.name}" for key, stage in stages.items() if stage]
        first = next(stage for stage in stages.values() if stage)
        engines = dict.fromkeys(stage.engine.name for stage in stages.values() if stage)
        parts += [f"engine={'/'.join(engines)}", f"device={first.engine.device}"]
        if first.engine.precision != "f32":
            parts.append(f"precision={first.engine.precision}")
        if self.detector:
            parts.append(f"det_threshold={self._det_threshold(None):g}")
        if self.pose:
            parts.append(f"kpt_threshold={self.kpt_threshold:g}")
            parts += [name for name in ("flip", "udp") if getattr(self.pose, name)]
        return f"Pipeline({', '.join(parts)})"

    def __call__(
        self,
        source: Any,
        *,
        boxes: Any = None,
        det_threshold: float | None = None,
        kpt_threshold: float | None = None,
        on_error: OnError = "raise",
        channel_order: str | None = None,
        recursive: bool = False,
        batch_size: int | None = None,
        every: int = 1,
        max_fps: float | None = None,
    ) -> PoseResult | list[PoseResult]:
        """Predict at once: one image gives a PoseResult; a list, folder or film gives a list.

        Such a list holds every picture: for films longer than a few seconds use :meth:`predict`.
        A camera gives one picture.

        Arrays are RGB; ``channel_order="bgr"`` takes OpenCV's. The arguments are those of
        :meth:`predict`, but errors are raised.
        """
        results = self.predict(
            source,
            boxes=boxes,
            det_threshold=det_threshold,
            kpt_threshold=kpt_threshold,
            on_error=on_error,
            channel_order=channel_order,
            recursive=recursive,
            batch_size=batch_size,
            every=every,
            max_fps=max_fps,
        )
        with closing(results):
            return next(results) if is_single(source) else list(results)

    def predict(
        self,
        source: Any,
        *,
        boxes: Any = None,
        det_threshold: float | None = None,
        kpt_threshold: float | None = None,
        on_error: OnError = "skip",
        channel_order: str | None = None,
        recursive: bool = False,
        batch_size: int | None = None,
        every: int = 1,
        max_fps: float | None = None,
    ) -> Generator[PoseResult, None, None]:
        """Predict image by image: one result a frame, in order.

        Arrays are RGB, unlike PaddleX's BGR; ``channel_order="bgr"`` takes OpenCV's. Only the
        images of the current batch are in memory, and two that are read ahead from files.

        Results of films have ``time`` and ``frame``. A film that is damaged or cut off gives its
        good frames, then one result with the error. Closing the generator, or dropping it, lets
        go of the film or camera.

        Args:
            source: path of an image or a video, URL, folder, index of a camera, array
                (H, W, 3), PIL image, bytes, dict, or a list or generator of these.
            boxes: skip the detector: for one image an array (N, 4) of pixels
                (x1, y1, x2, y2), for several a list with one such array for each. They come
                back in this order with score 1.
            det_threshold: lowest score of a person, 0 to 1. Before the YAML's, before the
                model's own.
            kpt_threshold: lowest score of a joint that is drawn solid; results keep every joint.
            on_error: ``"skip"``: the result of an image that fails carries its ``error``;
                ``"raise"``: the first error ends the run.
            channel_order: of arrays handed in, ``"rgb"`` or ``"bgr"``.
            recursive: whether folders are read with their subfolders.
            batch_size: images that go through together; None: the configuration's.
            every: of films and cameras, 1 takes all frames, 2 every second one, ...
            max_fps: of films and cameras, frames a second at most, in the film's time.

        Returns:
            A generator of results.

        Raises:
            InputError: an argument is wrong (at once), or an image is (``on_error="raise"``).
        """
        run = self._settings(det_threshold, kpt_threshold, batch_size, on_error)
        frames = iter_frames(
            source,
            channel_order=channel_order or self.channel_order,
            recursive=recursive,
            sampling=Sampling(every, max_fps),
        )
        if boxes is None:
            return self._stream(frames, ((frame, None) for frame in frames), run)
        per_frame = boxes_per_frame(boxes, is_single(source))
        return self._stream(frames, pair(frames, per_frame), run)

    def _settings(
        self,
        det_threshold: float | None,
        kpt_threshold: float | None,
        batch_size: int | None,
        on_error: str,
    ) -> _Run:
        return _Run(
            det_threshold=None if det_threshold is None else check_threshold(det_threshold),
            kpt_threshold=self.kpt_threshold
            if kpt_threshold is None
            else check_threshold(kpt_threshold, "kpt_threshold"),
            batch_size=self.det_batch_size if batch_size is None else check_batch_size(batch_size),
            raises=_check_choice("on_error", on_error, ("skip", "raise")) == "raise",
        )

    def _stream(
        self, frames: Frames, pairs: Iterator[tuple[Frame | BadFrame, Any]], run: _Run
    ) -> Generator[PoseResult, None, None]:
        with closing(frames):
            yield from self._batches(pairs, run)

    def _batches(
        self, pairs: Iterator[tuple[Frame | BadFrame, Any]], run: _Run
    ) -> Iterator[PoseResult]:
        together = run.batch_size * self._devices()  # so that no device waits for another's batch
        while batch := list(islice(pairs, together)):
            good = iter(self._safely([pair for pair in batch if isinstance(pair[0], Frame)], run))
            for frame, _ in batch:
                if isinstance(frame, Frame):
                    yield next(good)
                elif run.raises:
                    raise frame.error
                else:
                    yield _failed(frame, frame.error, run)

    def _safely(self, batch: list[Any], run: _Run) -> list[PoseResult]:
        """Results of a batch; when it fails, image by image, so that one costs no other."""
        try:
            return self._results(batch, run) if batch else []
        except KptkError as error:
            if run.raises:
                raise
            if len(batch) == 1:
                return [_failed(batch[0][0], error, run)]
        return [result for pair in batch for result in self._safely([pair], run)]

    def _results(self, batch: list[tuple[Frame, Any]], run: _Run) -> list[PoseResult]:
        images = [frame.image for frame, _ in batch]
        people = self._people(images, [given for _, given in batch], run)
        keypoints = self._keypoints(images, people)
        return [
            PoseResult(
                image=frame.image,
                name=frame.name,
                path=frame.path,
                suffix=frame.suffix,
                boxes=found.boxes,
                scores=found.scores,
                keypoints=points,
                kpt_threshold=run.kpt_threshold,
                skeleton=COCO17 if self.pose else NO_JOINTS,
                time=frame.time,
                frame=frame.number,
            )
            for (frame, _), found, points in zip(batch, people, keypoints, strict=True)
        ]

    def _people(
        self, images: Sequence[NDArray[np.uint8]], given: Sequence[Any], run: _Run
    ) -> list[Detections]:
        if given[0] is not None:
            return [_certain(check_boxes(boxes)) for boxes in given]
        if self.detector is None:
            return [_certain(_whole(image)) for image in images]
        return self.detector.predict(
            images, threshold=self._det_threshold(run.det_threshold), batch_size=run.batch_size
        )

    def _keypoints(
        self, images: Sequence[NDArray[np.uint8]], people: Sequence[Detections]
    ) -> list[NDArray[np.float32]]:
        boxes = [found.boxes for found in people]
        if self.pose is None:
            return [np.zeros((len(box), 0, 3), np.float32) for box in boxes]
        return self.pose.predict(images, boxes, batch_size=self.kpt_batch_size)

    def _devices(self) -> int:
        """On how many devices the first stage runs."""
        stage = self.detector or self.pose
        return count_devices(stage.engine) if stage else 1

    def _det_threshold(self, argument: float | None) -> float:
        """Argument before configuration before the model's inference.yml."""
        if argument is not None:
            return argument
        if self.det_threshold is not None or self.detector is None:
            return self.det_threshold or 0.0
        return self.detector.model.threshold


def is_single(source: object) -> bool:
    """Whether a source is one image, so that ``pipe(source)`` gives one result."""
    if isinstance(source, str | os.PathLike):
        text = os.fsdecode(source)
        return not Path(text).expanduser().is_dir() and not is_video(text)
    if isinstance(source, Mapping):
        return len(source) == 1 and is_single(next(iter(source.values())))
    if hasattr(source, "__array__"):
        return np.asarray(source).dtype.kind not in "OU" or np.ndim(source) == 0
    holds_bytes = isinstance(source, bytes | bytearray | memoryview) or hasattr(source, "read")
    return holds_bytes or not isinstance(source, Iterable)


def _whole(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    return np.array([[0, 0, width, height]], np.float32)


def _certain(boxes: NDArray[np.float32]) -> Detections:
    return Detections(boxes, np.ones(len(boxes), np.float32))


def _failed(frame: Frame | BadFrame, error: KptkError, run: _Run) -> PoseResult:
    return PoseResult(
        image=frame.image if isinstance(frame, Frame) else None,
        name=frame.name,
        path=frame.path,
        suffix=frame.suffix,
        boxes=np.zeros((0, 4), np.float32),
        scores=np.zeros(0, np.float32),
        keypoints=np.zeros((0, len(COCO17), 3), np.float32),
        error=error,
        kpt_threshold=run.kpt_threshold,
        time=frame.time if isinstance(frame, Frame) else None,
        frame=frame.number if isinstance(frame, Frame) else None,
    )


def _check_choice(name: str, value: object, options: Sequence[str]) -> str:
    if value not in options:
        raise InputError(f"{name} must be {' or '.join(map(repr, options))}. Got {value!r}.")
    return str(value)
