"""What a training run is told: one checked record, stored as YAML in the run directory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kptk.errors import ConfigError, nearest
from kptk.training.network import ARCHITECTURES, input_size_of


class DataSettings(BaseModel):
    """One COCO data set: a folder of images and an annotation file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path
    annotations: Path


class TrainSettings(BaseModel):
    """Settings of a training run.

    Attributes:
        model: the architecture.
        weights: the start (``.pdparams``, a former run's ``.npz``, a demo model); None is random.
        train: data to train on.
        val: data to measure AP on while training.
        input_size: (height, width) of evaluation and export; None takes the published size.
        steps: optimizer steps in all.
        batch_size: images (detector) or people (pose model) a step.
        optimizer: ``adamw``, or ``momentum`` as PP-YOLOE was published.
        learning_rate: at the end of the warm-up; decays to 1 % of it by a cosine.
        warmup_steps: steps in which the rate rises linearly from 1 % of it.
        weight_decay: AdamW's decoupled decay, or the L2 factor of momentum.
        clip_norm: gradients are scaled down to this global norm; None leaves them.
        ema_decay: decay of the averaged weights, which are what is evaluated and exported.
        freeze_norm: keep batch-norm statistics, for few images.
        freeze_backbone: train what follows the backbone only; its statistics are kept too.
        patience: end after so many evaluations in a row without a better AP; None never does.
        eval_every: steps between evaluations.
        eval_images: evaluate on the first so many images; None takes all.
        checkpoint_every: steps between checkpoints.
        seed: of the data order, the augmentation and the random start.
        device: as Paddle names it.
        sample_transforms: per sample, in PaddleDetection's format.
        batch_transforms: per batch, in PaddleDetection's format.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    weights: Path | None = None
    train: DataSettings
    val: DataSettings
    input_size: tuple[int, int] | None = None
    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    optimizer: Literal["adamw", "momentum"] = "adamw"
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(50, ge=0)
    weight_decay: float = Field(5e-4, ge=0)
    clip_norm: float | None = Field(10.0, gt=0)
    ema_decay: float = Field(0.9998, gt=0, lt=1)
    freeze_norm: bool = False
    freeze_backbone: bool = False
    patience: int | None = Field(None, gt=0)
    eval_every: int = Field(500, gt=0)
    eval_images: int | None = Field(None, gt=0)
    checkpoint_every: int = Field(200, gt=0)
    seed: int = 0
    device: str = "cpu"
    sample_transforms: list[dict[str, dict[str, Any]]]
    batch_transforms: list[dict[str, dict[str, Any]]]

    @model_validator(mode="after")
    def _known_model(self) -> TrainSettings:
        if self.model not in ARCHITECTURES:
            raise ValueError(
                f"model must be one of {', '.join(ARCHITECTURES)}. "
                f"Got {self.model!r}.{nearest(self.model, ARCHITECTURES)}"
            )
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input in evaluation and export."""
        return self.input_size or input_size_of(self.model)


def read_settings(path: str | os.PathLike[str]) -> TrainSettings:
    """Read a recipe. Relative paths in it are taken from the working directory.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or has a wrong value.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
    except (OSError, YAMLError) as error:
        raise ConfigError(f"The recipe {os.fspath(path)} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"The recipe {os.fspath(path)} must be a YAML mapping of settings.")
    try:
        return TrainSettings.model_validate(content)
    except ValidationError as error:
        raise ConfigError(_explain(error, os.fspath(path))) from error


def write_settings(settings: TrainSettings, path: Path) -> None:
    """Write settings as YAML, whole or not at all."""
    from ruamel.yaml import YAML

    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8"
    ) as file:
        YAML(typ="safe", pure=True).dump(settings.model_dump(mode="json"), file)
    os.replace(file.name, path)


def _explain(error: ValidationError, source: str) -> str:
    lines = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"]) or "recipe"
        unknown = item["type"] == "extra_forbidden"
        hint = nearest(name, TrainSettings.model_fields) if unknown else ""
        lines.append(f"{name}: {item['msg']}.{hint}")
    return f"The recipe {source} cannot be used. " + " ".join(lines)
