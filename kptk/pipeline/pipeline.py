"""Detector and pose model together, over a stream of images: what `create_pipeline` makes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.engines.base import Engine
from kptk.engines.load import load_engine
from kptk.engines.parallel import count_devices
from kptk.errors import ConfigError, DeviceError, InputError, KptkError, MissingDependencyError
from kptk.inputs import check_batch_size, check_boxes, check_threshold
from kptk.io.sources import BadFrame, Frame, Frames, boxes_per_frame, is_video, iter_frames, pair
from kptk.io.video import Sampling
from kptk.models.modeldir import ModelDir
from kptk.models.zoo import find_model
from kptk.pipeline.config import (
    DET_BATCH_SIZE,
    KPT_BATCH_SIZE,
    PipelineConfig,
    load_config,
)
from kptk.pipeline.detector import Detections, Detector
from kptk.pipeline.pose import PoseModel
from kptk.pipeline.results import PoseResult
from kptk.skeleton import COCO17, Skeleton

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


# ---- pipeline: Load a pipeline, or one of its models, by name, directory or configuration file.


def create_pipeline(
    pipeline: str | os.PathLike[str] | PipelineConfig = "human_keypoint_detection",
    *,
    device: str = "auto",
    engine: str = "auto",
    enable_hpi: bool = False,
    det_model: str | os.PathLike[str] | None = None,
    kpt_model: str | os.PathLike[str] | None = None,
    det_threshold: float | None = None,
    kpt_threshold: float = KPT_THRESHOLD,
    channel_order: str | None = None,
    flip: bool | None = None,
    udp: bool | None = None,
    threads: int | None = None,
) -> Pipeline:
    """Load a pipeline.

    Args:
        pipeline: ``"demo"``, ``"human_keypoint_detection"`` (the official models, fetched the
            first time), a YAML file in PaddleX's old or new format, or a PipelineConfig.
        device: ``"auto"``, ``"cpu"``, ``"gpu:0"``, ``"npu:0"``, ``"xpu:0"``, ``"mlu:0"``, or
            several: ``"gpu:0,1"`` loads both models on each and shares the batches out. One that
            is missing is an error here; in the YAML it warns and the CPU is used.
        engine: ``"auto"``, ``"onnxruntime"``, ``"openvino"`` or ``"paddle"``.
        enable_hpi: PaddleX's switch for high-performance inference: allow bfloat16, by OpenVINO.
            Faster, and a little less exact (`benchmarks/RESULTS.md` says how much of each). A
            CPU or installation that has none warns and uses float32. Pose models stay in float32
            where ONNX Runtime runs them: that was as fast.
        det_model: another detector: name, model directory or ``.pdparams`` file.
        kpt_model: another keypoint model, likewise.
        det_threshold: lowest score of a person, 0 to 1; None: the YAML's.
        kpt_threshold: lowest score of a joint that is drawn solid.
        channel_order: of arrays handed in, ``"rgb"`` or ``"bgr"``; None: the YAML's, else RGB.
        flip: average with the mirrored person; None: the YAML's.
        udp: crop with unbiased data processing; None: the YAML's.
        threads: CPU threads; None: all cores.

    Raises:
        ConfigError: the configuration cannot be used.
        ModelError: a model cannot be found or loaded.
        DeviceError: this build lacks the device.
    """
    config = pipeline if isinstance(pipeline, PipelineConfig) else load_config(pipeline)
    det = find_model(det_model or config.det_model, kind="detection")
    kpt = find_model(kpt_model or config.kpt_model, kind="keypoint")
    _check_img_size(config, det)
    det_engine, kpt_engine = _load_engines([det, kpt], config, device, engine, threads, enable_hpi)
    return Pipeline(
        Detector(det, det_engine),
        PoseModel(
            kpt,
            kpt_engine,
            flip=config.flip if flip is None else flip,
            udp=config.udp if udp is None else udp,
        ),
        det_batch_size=config.det_batch_size,
        kpt_batch_size=config.kpt_batch_size,
        det_threshold=config.det_threshold if det_threshold is None else det_threshold,
        kpt_threshold=kpt_threshold,
        channel_order=channel_order or config.channel_order,
    )


def create_model(
    model: str | os.PathLike[str],
    *,
    device: str = "auto",
    engine: str = "auto",
    enable_hpi: bool = False,
    batch_size: int | None = None,
    channel_order: str = "rgb",
    flip: bool = False,
    udp: bool = False,
    threads: int | None = None,
) -> Pipeline:
    """Load one module alone, as a pipeline of one stage that gives PoseResults.

    A keypoint model takes ``predict(image, boxes=xyxy)``; without boxes the whole image is the
    box. A detector's results have boxes and scores, and keypoints of shape (N, 0, 3).

    Args:
        model: name, model directory or ``.pdparams`` file.
        device: as in :func:`create_pipeline`.
        engine: as in :func:`create_pipeline`.
        enable_hpi: as in :func:`create_pipeline`.
        batch_size: images (detector) or people (keypoint model) to a call; None: 1 or 16.
        channel_order: of arrays handed in, ``"rgb"`` or ``"bgr"``.
        flip: keypoint model: average with the mirrored person.
        udp: keypoint model: crop with unbiased data processing.
        threads: CPU threads; None: all cores.

    Raises:
        ModelError: the model cannot be found or loaded.
        DeviceError: this build lacks the device.
        InputError: ``flip`` or ``udp`` for a detector.
    """
    found = find_model(model)
    loaded = load_engine(
        found, engine=engine, device=device, threads=threads, enable_hpi=enable_hpi
    )
    if found.kind == "detection":
        if flip or udp:
            raise InputError(f"flip and udp are for keypoint models. {found.name} is a detector.")
        return Pipeline(
            Detector(found, loaded),
            None,
            det_batch_size=DET_BATCH_SIZE if batch_size is None else batch_size,
            channel_order=channel_order,
        )
    return Pipeline(
        None,
        PoseModel(found, loaded, flip=flip, udp=udp),
        kpt_batch_size=KPT_BATCH_SIZE if batch_size is None else batch_size,
        channel_order=channel_order,
    )


def _check_img_size(config: PipelineConfig, det: ModelDir) -> None:
    """PaddleX ignores img_size; an exported detector has one size, so anything else is refused."""
    if config.det_img_size not in (None, det.input_size):
        raise ConfigError(
            f"img_size in {config.path} must be the detector's {det.input_size} "
            f"(height, width), or be left out. Got {config.det_img_size}. Another size needs "
            "another export."
        )


def _load_engines(
    models: Sequence[ModelDir],
    config: PipelineConfig,
    device: str,
    engine: str,
    threads: int | None,
    enable_hpi: bool,
) -> list[Engine]:
    """Arguments before the YAML; a device that only the YAML asks for may be missing."""
    from_file = device == "auto" and config.device is not None
    place = config.device if from_file and config.device else device
    load = partial(
        load_engine,
        engine=config.engine if engine == "auto" else engine,
        threads=threads,
        enable_hpi=enable_hpi,
    )
    try:
        return [load(model, device=place) for model in models]
    except (DeviceError, MissingDependencyError) as error:
        if not from_file or place == "cpu":
            raise
        warnings.warn(
            f"{config.path} asks for device {place!r}, which cannot be used here; the CPU is "
            f"used instead. {error}",
            stacklevel=3,
        )
    return [load(model, device="cpu") for model in models]
