"""Detector and keypoint model together, over a stream of images; loading them by name."""

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

from kptk.engines.load import load_engine
from kptk.engines.parallel import count_devices
from kptk.errors import ConfigError, DeviceError, InputError, KptkError, MissingDependencyError
from kptk.inputs import check_batch_size, check_boxes, check_threshold
from kptk.io.sources import BadFrame, Frame, Frames, boxes_per_frame, is_video, iter_frames, pair
from kptk.io.video import Sampling
from kptk.models.zoo import find_model
from kptk.pipeline.config import DET_BATCH_SIZE, KPT_BATCH_SIZE, PipelineConfig, load_config
from kptk.pipeline.detector import Detections, Detector
from kptk.pipeline.pose import PoseModel
from kptk.pipeline.results import PoseResult
from kptk.skeleton import COCO17, Skeleton

OnError = Literal["skip", "raise"]
KPT_THRESHOLD = 0.2
NO_KEYPOINTS = Skeleton(names=(), edges=(), sigmas=())


# a frame, and the boxes that were given for it
Pair = tuple[Frame | BadFrame, Any]


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
        pose: places the keypoints; None: results have boxes and no keypoints.
        det_batch_size: images that go through together.
        kpt_batch_size: people to a call of the keypoint model.
        det_threshold: lowest score of a person; None: the detector's own.
        kpt_threshold: lowest score of a keypoint that is drawn solid. It removes nothing.
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
        """Predict at once: one image gives a PoseResult; a list, folder or video gives a list.

        Such a list holds every image: for videos longer than a few seconds use :meth:`predict`.
        A camera gives one image.

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

        Results of videos have ``time`` and ``frame``. A video that is damaged or cut off gives its
        good frames, then one result with the error. Closing the generator, or dropping it, lets
        go of the video or camera.

        Args:
            source: path of an image or a video, URL, folder, index of a camera, array
                (H, W, 3), PIL image, bytes, dict, or a list or generator of these.
            boxes: skip the detector: for one image an array (N, 4) of pixels
                (x1, y1, x2, y2), for several a list with one such array for each. They come
                back in this order with score 1.
            det_threshold: lowest score of a person, 0 to 1. Before the YAML's, before the
                model's own.
            kpt_threshold: lowest score of a keypoint that is drawn solid; results keep all.
            on_error: ``"skip"``: the result of an image that fails carries its ``error``;
                ``"raise"``: the first error ends the run.
            channel_order: of arrays handed in, ``"rgb"`` or ``"bgr"``.
            recursive: whether folders are read with their subfolders.
            batch_size: images that go through together; None: the configuration's.
            every: of videos and cameras, 1 takes all frames, 2 every second one, ...
            max_fps: of videos and cameras, frames a second at most, in the video's time.

        Returns:
            A generator of results.

        Raises:
            InputError: an argument is wrong (at once), or an image is (``on_error="raise"``).
        """
        run = _Run(
            det_threshold=None if det_threshold is None else check_threshold(det_threshold),
            kpt_threshold=self.kpt_threshold
            if kpt_threshold is None
            else check_threshold(kpt_threshold, "kpt_threshold"),
            batch_size=self.det_batch_size if batch_size is None else check_batch_size(batch_size),
            raises=_check_choice("on_error", on_error, ("skip", "raise")) == "raise",
        )
        frames = iter_frames(
            source,
            channel_order=channel_order or self.channel_order,
            recursive=recursive,
            sampling=Sampling(every, max_fps),
        )
        if boxes is None:
            return self._stream(frames, ((frame, None) for frame in frames), run)
        return self._stream(frames, pair(frames, boxes_per_frame(boxes, is_single(source))), run)

    def _stream(
        self, frames: Frames, pairs: Iterator[Pair], run: _Run
    ) -> Generator[PoseResult, None, None]:
        first = self.detector or self.pose
        devices = count_devices(first.engine) if first else 1
        together = run.batch_size * devices  # so that no device waits for another's batch
        with closing(frames):
            while batch := list(islice(pairs, together)):
                good = iter(self._safely([one for one in batch if isinstance(one[0], Frame)], run))
                for frame, _ in batch:
                    if isinstance(frame, Frame):
                        yield next(good)
                    elif run.raises:
                        raise frame.error
                    else:
                        yield _result(frame, run, error=frame.error)

    def _safely(self, batch: list[Any], run: _Run) -> list[PoseResult]:
        """Results of a batch; when it fails, image by image, so that one does not fail others."""
        try:
            return self._results(batch, run) if batch else []
        except KptkError as error:
            if run.raises:
                raise
            if len(batch) == 1:
                return [_result(batch[0][0], run, error=error)]
        return [result for one in batch for result in self._safely([one], run)]

    def _results(self, batch: list[tuple[Frame, Any]], run: _Run) -> list[PoseResult]:
        images = [frame.image for frame, _ in batch]
        if batch[0][1] is not None or self.detector is None:
            boxes = [
                np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)
                if given is None
                else check_boxes(given)
                for image, (_, given) in zip(images, batch, strict=True)
            ]
            people = [Detections(found, np.ones(len(found), np.float32)) for found in boxes]
        else:
            people = self.detector.predict(
                images,
                threshold=self._det_threshold(run.det_threshold),
                batch_size=run.batch_size,
            )
        boxes = [found.boxes for found in people]
        if self.pose is None:
            keypoints = [np.zeros((len(found), 0, 3), np.float32) for found in boxes]
        else:
            keypoints = self.pose.predict(images, boxes, batch_size=self.kpt_batch_size)
        skeleton = COCO17 if self.pose else NO_KEYPOINTS
        return [
            _result(frame, run, found, points, skeleton)
            for (frame, _), found, points in zip(batch, people, keypoints, strict=True)
        ]

    def _det_threshold(self, argument: float | None) -> float:
        """Argument before configuration before the model's inference.yml."""
        if argument is not None:
            return argument
        if self.det_threshold is not None or self.detector is None:
            return self.det_threshold or 0.0
        return self.detector.model.threshold


def _result(
    frame: Frame | BadFrame,
    run: _Run,
    people: Detections | None = None,
    keypoints: NDArray[np.float32] | None = None,
    skeleton: Skeleton = COCO17,
    error: KptkError | None = None,
) -> PoseResult:
    """What became of a frame; nobody, and why, where it failed."""
    good = frame if isinstance(frame, Frame) else None
    return PoseResult(
        image=good.image if good else None,
        name=frame.name,
        path=frame.path,
        suffix=frame.suffix,
        boxes=people.boxes if people else np.zeros((0, 4), np.float32),
        scores=people.scores if people else np.zeros(0, np.float32),
        keypoints=np.zeros((0, len(COCO17), 3), np.float32) if keypoints is None else keypoints,
        error=error,
        kpt_threshold=run.kpt_threshold,
        skeleton=skeleton,
        time=good.time if good else None,
        frame=good.number if good else None,
    )


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


def _check_choice(name: str, value: object, options: Sequence[str]) -> str:
    if value not in options:
        raise InputError(f"{name} must be {' or '.join(map(repr, options))}. Got {value!r}.")
    return str(value)


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
        kpt_threshold: lowest score of a keypoint that is drawn solid.
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
    if config.det_img_size not in (None, det.input_size):
        # PaddleX ignores img_size; an exported detector has one size, so anything else is refused
        raise ConfigError(
            f"img_size in {config.path} must be the detector's {det.input_size} "
            f"(height, width), or be left out. Got {config.det_img_size}. Another size needs "
            "another export."
        )
    load = partial(
        load_engine,
        engine=config.engine if engine == "auto" else engine,
        threads=threads,
        enable_hpi=enable_hpi,
    )
    wanted = config.device if device == "auto" and config.device else device
    try:
        det_engine, kpt_engine = (load(model, device=wanted) for model in (det, kpt))
    except (DeviceError, MissingDependencyError) as error:
        if wanted == device or wanted == "cpu":
            raise
        # a device that only the YAML asks for may be missing
        warnings.warn(
            f"{config.path} asks for device {wanted!r}, which cannot be used here; the CPU is "
            f"used instead. {error}",
            stacklevel=2,
        )
        det_engine, kpt_engine = (load(model, device="cpu") for model in (det, kpt))
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
