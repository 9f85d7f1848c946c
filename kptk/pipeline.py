"""Load a pipeline, or one of its models, by name, directory or configuration file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from functools import partial

from kptk.config import DET_BATCH_SIZE, KPT_BATCH_SIZE, PipelineConfig, load_config
from kptk.detector import Detector
from kptk.engine import Engine, load_engine
from kptk.errors import ConfigError, DeviceError, InputError, MissingDependencyError
from kptk.modeldir import ModelDir
from kptk.pose import PoseModel
from kptk.runner import KPT_THRESHOLD, Pipeline
from kptk.zoo import find_model

__all__ = ["Pipeline", "create_model", "create_pipeline"]


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
