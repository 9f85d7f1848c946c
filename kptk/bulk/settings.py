"""What a run does: how its pipeline is made, and all that its numbers depend on, with a hash."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from kptk.config import PipelineConfig, load_config
from kptk.errors import InputError
from kptk.inputs import check_batch_size, check_threshold

if TYPE_CHECKING:
    from kptk.modeldir import ModelDir
    from kptk.results import PoseResult
    from kptk.runner import Pipeline

SCHEMA = 1  # of the folder and its files: another number, another meaning
FORMATS = ("parquet", "jsonl")
Format = Literal["parquet", "jsonl"]


class Predictor(Protocol):
    """What a pipeline must be able to do here."""

    def predict(
        self, source: Any, *, det_threshold: float | None, channel_order: str | None
    ) -> Iterator[PoseResult]:
        """One result for each path of a list, in order."""


Maker = Callable[[], Predictor]


@dataclass(frozen=True)
class Recipe:
    """How a process makes its pipeline, and how it is asked.

    Attributes:
        pipeline: a configuration whose model directories are absolute, or a function that makes
            the pipeline.
        device: see ``create_pipeline``, like the next four.
        engine: likewise.
        flip: likewise.
        udp: likewise.
        threads: likewise.
        det_threshold: lowest score of a person; None: the pipeline's.
        channel_order: of ``.npy`` files; None: the pipeline's.
    """

    pipeline: PipelineConfig | Maker
    device: str = "auto"
    engine: str = "auto"
    flip: bool | None = None
    udp: bool | None = None
    threads: int | None = None
    det_threshold: float | None = None
    channel_order: str | None = None

    def make(self) -> Predictor:
        """Make the pipeline.

        Raises:
            KptkError: it cannot be made.
        """
        if not isinstance(self.pipeline, PipelineConfig):
            return self.pipeline()
        from kptk.pipeline import create_pipeline

        made: Any = create_pipeline(
            self.pipeline, device=self.device, engine=self.engine, flip=self.flip, udp=self.udp,
            threads=self.threads,
        )  # fmt: skip
        return made  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Settings:
    """All that the stored numbers depend on, as plain values; the manifest holds them."""

    values: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of SHA-256 over the values."""
        text = json.dumps(self.values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_layout(form: str, partition_size: int) -> dict[str, Any]:
    """The settings of the files.

    Raises:
        InputError: there is no such format, or the size is no whole number from 1 up.
    """
    if form not in FORMATS:
        raise InputError(f"format must be 'parquet' or 'jsonl'. Got {form!r}.")
    size = check_batch_size(partition_size, "partition_size")
    return {"schema": SCHEMA, "format": form, "partition_size": size}


def make_recipe(
    pipeline: str | os.PathLike[str] | PipelineConfig | Maker,
    *,
    device: str,
    engine: str,
    flip: bool | None,
    udp: bool | None,
    threads: int | None,
    det_threshold: float | None,
    channel_order: str | None,
) -> Recipe:
    """Check what a pipeline is to be made of.

    Raises:
        InputError: an argument is wrong.
        ConfigError: the configuration cannot be used.
    """
    lowest = None if det_threshold is None else check_threshold(det_threshold)
    if channel_order not in (None, "rgb", "bgr"):
        raise InputError(f"channel_order must be 'rgb' or 'bgr'. Got {channel_order!r}.")
    if isinstance(pipeline, str | os.PathLike):
        pipeline = load_config(pipeline)
    elif not isinstance(pipeline, PipelineConfig) and not callable(pipeline):
        raise InputError(
            "pipeline must be a name, a YAML file, a PipelineConfig, or a function that makes "
            f"the pipeline. Got {type(pipeline).__name__}."
        )
    return Recipe(pipeline, device, engine, flip, udp, threads, lowest, channel_order)


def describe(recipe: Recipe) -> dict[str, Any]:
    """What the numbers of a recipe depend on; the models are found, not loaded.

    The device and the number of threads are left out: a run may be continued elsewhere.

    Raises:
        ModelError: a model cannot be found.
        InputError: the function that makes the pipeline has no name.
    """
    asked = {"det_threshold": recipe.det_threshold, "channel_order": recipe.channel_order or "rgb"}
    config = recipe.pipeline
    if not isinstance(config, PipelineConfig):
        return {"made_by": _name_of(config), **asked}
    from kptk.zoo import find_model

    det = find_model(config.det_model, kind="detection")
    kpt = find_model(config.kpt_model, kind="keypoint")
    if asked["det_threshold"] is None:
        own = config.det_threshold
        asked["det_threshold"] = det.threshold if own is None else own
    return {
        "models": models_of(det, kpt),
        "engine": config.engine if recipe.engine == "auto" else recipe.engine,
        "flip": config.flip if recipe.flip is None else recipe.flip,
        "udp": config.udp if recipe.udp is None else recipe.udp,
        **asked,
        "channel_order": recipe.channel_order or config.channel_order,
    }


def describe_pipeline(pipe: Pipeline, recipe: Recipe) -> dict[str, Any]:
    """The same of a pipeline that is loaded already.

    Raises:
        InputError: it lacks a stage.
    """
    from kptk.evaluation.provenance import own_threshold

    if pipe.detector is None or pipe.pose is None:
        raise InputError("predict_dataset needs a pipeline with a detector and a keypoint model.")
    asked = recipe.det_threshold
    return {
        "models": models_of(pipe.detector.model, pipe.pose.model),
        "engine": pipe.detector.engine.name,
        "flip": pipe.pose.flip,
        "udp": pipe.pose.udp,
        "det_threshold": own_threshold(pipe) if asked is None else asked,
        "channel_order": recipe.channel_order or pipe.channel_order,
    }


def models_of(det: ModelDir, kpt: ModelDir) -> dict[str, Any]:
    """Names, input sizes (height, width) and hashes of both models."""
    return {"detector": _model(det), "pose": _model(kpt)}


def _model(model: ModelDir) -> dict[str, Any]:
    from kptk.cache import file_hash

    steps = [*model.mean, *model.std, model.is_scale, model.interp, model.keep_ratio]
    return {
        "name": model.name,
        "input_size": list(model.input_size),
        "preprocessing": steps,
        "sha256": file_hash(*model.weights) if model.weights else None,
    }


def _name_of(maker: Maker) -> str:
    module, name = getattr(maker, "__module__", None), getattr(maker, "__qualname__", None)
    if not module or not name:
        raise InputError(
            "A function that makes the pipeline must have a name, by which a later run knows that "
            f"it is the same. Got {maker!r}."
        )
    return f"{module}:{name}"
