"""What a training run is told: one checked record, stored as YAML in the run directory.

``TrainSettings`` says what an option is. ``kptk.finetune`` takes those that a user chooses, and
``complete`` adds defaults that suit a few dozen images.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from kptk.errors import ConfigError, InputError, nearest
from kptk.files import packaged_yaml, to_yaml, writing
from kptk.models.catalog import ARCHITECTURES, MODELS

Transforms = list[dict[str, dict[str, Any]]]  # PaddleDetection's format: name to arguments


class DataSettings(BaseModel):
    """One COCO data set: a folder of images and an annotation file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path
    annotations: Path


class TrainSettings(BaseModel):
    """Settings of a training run, worded as ``kptk finetune --help`` shows them.

    In brackets is what ``kptk.finetune`` chooses where a recipe must say it.

    Attributes:
        model: the architecture.
        weights: the start (``.pdparams``, a former run's ``.npz``, a demo model); None is random.
        train: data to train on.
        val: data to measure AP on while training.
        input_size: height and width in evaluation and export, multiples of 32 [the start's].
        steps: optimizer steps in all [some 1600 images, or 9600 people].
        batch_size: images (detector) or people (pose model) a step [8 or 32].
        optimizer: ``adamw``, or ``momentum`` as PP-YOLOE was published.
        learning_rate: at the end of the warm-up; falls to 1 % of it along a cosine [2e-4 or 5e-4,
            scaled by the batch size].
        warmup_steps: steps in which the rate rises linearly from 1 % of it [5 % of the run].
        weight_decay: AdamW's decoupled decay, or the L2 factor of momentum.
        clip_norm: gradients are scaled down to this global norm; None leaves them.
        ema_decay: decay of the averaged weights, which are what is evaluated and exported.
        freeze_norm: keep batch-norm statistics, for few images [for batches below 16].
        freeze_backbone: train what follows the backbone only; its statistics are kept too.
        patience: end after so many evaluations in a row without a better AP [never].
        eval_every: steps between evaluations [a tenth of the run].
        eval_images: evaluate on the first so many images [all].
        checkpoint_every: steps between checkpoints.
        seed: of the data order, the augmentation and the random start.
        device: as Paddle names it: cpu, gpu:0, ...
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
    sample_transforms: Transforms
    batch_transforms: Transforms

    # what kptk.finetune and the command line let a user choose; the rest follows
    CHOSEN: ClassVar = (
        "steps", "batch_size", "learning_rate", "warmup_steps", "freeze_backbone", "freeze_norm",
        "patience", "input_size", "eval_every", "eval_images", "seed", "device",
    )  # fmt: skip

    @field_validator("model")
    @classmethod
    def _known(cls, model: str) -> str:
        if model not in ARCHITECTURES:
            raise ValueError(
                f"model must be one of {', '.join(ARCHITECTURES)}. "
                f"Got {model!r}.{nearest(model, ARCHITECTURES)}"
            )
        return model

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input in evaluation and export."""
        return self.input_size or MODELS[self.model].input_size


def _checked(values: Mapping[str, Any], source: str) -> TrainSettings:
    """Settings of a mapping; ``source`` names it, if something is wrong."""
    try:
        return TrainSettings.model_validate(values)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            name = ".".join(str(part) for part in item["loc"])
            said = item["type"] in ("missing", "extra_forbidden", "value_error")
            got = "" if said else f" Got {item['input']!r}."
            unknown = item["type"] == "extra_forbidden"
            hint = nearest(name, TrainSettings.model_fields) if unknown else ""
            lines.append(f"{name}: {item['msg']}.{got}{hint}")
        raise ConfigError(f"{source} cannot be used. {' '.join(lines)}") from error


def read_settings(path: str | os.PathLike[str]) -> TrainSettings:
    """Read a recipe. Relative paths in it are taken from the working directory.

    Raises:
        ConfigError: the file cannot be read, or a setting is unknown or has a wrong value.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    source = f"The recipe {os.fspath(path)}"
    try:
        content = YAML(typ="safe").load(Path(path).read_text(encoding="utf-8"))
    except (OSError, YAMLError) as error:
        raise ConfigError(f"{source} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{source} must be a YAML mapping of settings.")
    return _checked(content, source)


def write_settings(settings: TrainSettings, path: Path) -> None:
    """Write settings as YAML, whole or not at all."""
    with writing(path, ConfigError) as temporary:
        temporary.write_text(to_yaml(settings.model_dump(mode="json")), encoding="utf-8")


_RECIPES = {"detection": "PP-YOLOE_human", "keypoint": "PP-TinyPose"}  # in configs/train
_SMALL_BATCH = 16  # below it, the statistics of a batch are worse than those that are stored
_CHECKPOINTS, _EVALUATIONS = 20, 10  # in a run, at least; and in a run


def read_recipe(model: str) -> dict[str, Any]:
    """The defaults and transforms of an architecture's family, as packaged."""
    return packaged_yaml("train", _RECIPES[MODELS[model].kind])


def complete(
    n_samples: int,
    options: Mapping[str, Any],
    *,
    epochs: float | None = None,
    augment: str | float = "default",
) -> TrainSettings:
    """The full settings of a run.

    The learning rate follows the linear rule (rate over batch size is constant) from the stated
    default. Warm-up, averaging, evaluations and checkpoints are scaled to the length of the run:
    the weights are averaged over about its last tenth.

    Args:
        n_samples: images (detector) or people (pose model) in the data to train on.
        options: fields of ``TrainSettings``; ``model``, ``train`` and ``val`` must be there. What
            is missing or None gets its default.
        epochs: passes over the data, instead of ``steps``.
        augment: strength of the augmentation: one of ``AUGMENT``, or a factor from 0 to 2.

    Raises:
        ConfigError: an option has a value that cannot be used.
    """
    options = {name: value for name, value in options.items() if value is not None}
    for name in ("batch_size", "steps", "patience", "eval_every"):
        value = options.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be a positive integer. Got {value!r}.")
    recipe = read_recipe(options["model"])
    defaults = recipe["defaults"]
    batch = options.get("batch_size") or min(defaults["batch_size"], n_samples)
    if epochs is None:
        epochs = min(defaults["max_epochs"], max(1, defaults["samples"] / n_samples))
    elif "steps" in options:
        raise ConfigError("Give steps or epochs, not both.")
    if not (isinstance(epochs, int | float) and 0 < epochs < math.inf):
        raise ConfigError(f"epochs must be a positive number. Got {epochs!r}.")
    steps = options.get("steps") or math.ceil(epochs * n_samples / batch)
    eval_every = options.get("eval_every") or math.ceil(steps / _EVALUATIONS)
    values = {
        "steps": steps,
        "batch_size": batch,
        "optimizer": defaults["optimizer"],
        "learning_rate": defaults["learning_rate"] * batch / defaults["batch_size"],
        "warmup_steps": round(defaults["warmup"] * steps),
        "weight_decay": defaults["weight_decay"],
        "ema_decay": round(min(0.9998, max(0.5, 1 - 10 / steps)), 4),
        "freeze_norm": batch < _SMALL_BATCH,
        "eval_every": eval_every,
        "checkpoint_every": max(1, min(eval_every, steps // _CHECKPOINTS)),
        **transforms(recipe, options["model"], options.get("input_size"), _strength(augment)),
    }
    return _checked({**values, **options}, "What was asked for")


AUGMENT = {"none": 0.0, "light": 0.5, "default": 1.0, "strong": 1.5}

# What `augment` scales of a transform: probabilities, which end at 1, and ranges, with the values
# that PaddleDetection gives them where a recipe does not. (low, high, probability) scale the last.
_SCALED: dict[str, dict[str, Any]] = {
    "RandomFlipHalfBodyTransform": {"scale": 0.35, "rot": 40, "prob_half_body": 0.3},
    "AugmentationbyInformantionDropping": {"prob_cutout": 0.0},
    "RandomExpand": {"prob": 0.5},
    "RandomFlip": {"prob": 0.5},
    "RandomDistort": {"hue": [-18, 18, 0.5]}
    | {name: [0.5, 1.5, 0.5] for name in ("saturation", "contrast", "brightness")},
}


def _strength(augment: str | float) -> float:
    if isinstance(augment, str) and augment in AUGMENT:
        return AUGMENT[augment]
    if isinstance(augment, bool | str) or not 0 <= augment <= 2:
        hint = nearest(augment, AUGMENT) if isinstance(augment, str) else ""
        raise InputError(
            f"augment must be {', '.join(map(repr, AUGMENT))} or a number from 0 to 2. "
            f"Got {augment!r}.{hint}"
        )
    return float(augment)


def transforms(
    recipe: Mapping[str, Any], model: str, size: tuple[int, int] | None, augment: float = 1.0
) -> dict[str, Transforms]:
    """The transforms of a recipe, filled in for an input size.

    Args:
        recipe: of ``read_recipe``.
        model: the architecture.
        size: (height, width) of the input; None takes the published size.
        augment: factor of probabilities and ranges, from 0; 1 is as the recipe says.

    Returns:
        ``sample_transforms`` and ``batch_transforms`` in PaddleDetection's format.
    """
    height, width = size or MODELS[model].input_size
    if height % 32 or width % 32 or min(height, width) < 32:
        raise InputError(f"input_size must be multiples of 32. Got ({height}, {width}).")
    trained = {"trainsize": [width, height]}
    filled: dict[str, dict[str, Any]] = {
        "RandomFlipHalfBodyTransform": {**trained, **({} if augment > 0 else {"flip": False})},
        "TopDownAffine": trained,
        "AugmentationbyInformantionDropping": trained,
        "ToHeatmapsTopDown_DARK": {
            "hmsize": [width // 4, height // 4],
            "sigma": max(1, round(height / 128)),
        },
        "BatchRandomResize": {"target_size": _sizes(height, width, min(1, augment))},
    }
    return {
        key: [
            {name: {**values, **_scaled(name, values, augment), **filled.get(name, {})}}
            for step in recipe[key]
            for name, values in step.items()
            if augment > 0 or name != "RandomCrop"
        ]
        for key in ("sample_transforms", "batch_transforms")
    }


def _sizes(height: int, width: int, augment: float) -> list[int] | list[list[int]]:
    """Sizes of training, in steps of 32 from half to 1.2 times the input size, not beyond."""
    low, high = 1 - 0.5 * augment, 1 + 0.2 * augment

    def by_32(value: float) -> int:
        return max(32, 32 * round(value / 32))

    if height == width:
        return list(range(by_32(height * low), by_32(height * high) + 1, 32))
    factors = [low + (high - low) * i / 8 for i in range(9)]
    sizes = {(by_32(height * factor), by_32(width * factor)) for factor in factors}
    return [list(pair) for pair in sorted(sizes)]


def _scaled(name: str, values: Mapping[str, Any], augment: float) -> dict[str, Any]:
    """The probabilities and ranges of a transform times ``augment``."""
    scaled: dict[str, Any] = {}
    for key, default in _SCALED.get(name, {}).items() if augment != 1 else ():
        value = values.get(key, default)
        if isinstance(value, list):
            scaled[key] = [*value[:2], min(1.0, augment * value[2])]
            continue
        value *= min(1, augment) if name == "RandomFlip" else augment  # half mirrored: that is all
        scaled[key] = min(1.0, value) if key.startswith("prob") else value
    return scaled
