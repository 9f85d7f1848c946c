"""What a training run is told: one checked record, stored as YAML in the run directory."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kptk.errors import ConfigError, InputError, nearest
from kptk.models.network import ARCHITECTURES, input_size_of, kind_of


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


# ---- recipe: The settings of a run: what was asked, completed by defaults that suit a few dozen
# images.


_FILES = {"detection": "PP-YOLOE_human.yml", "keypoint": "PP-TinyPose.yml"}


_SMALL_BATCH = 16  # below it, the statistics of a batch are worse than those that are stored


_CHECKPOINTS = 20  # in a run, at least


_EVALUATIONS = 10  # in a run


AUGMENT = {"none": 0.0, "light": 0.5, "default": 1.0, "strong": 1.5}


# what `augment` scales: a probability or a range, by the name of its parameter
_STRENGTHS = {
    "RandomFlipHalfBodyTransform": {"scale": 0.35, "rot": 40, "prob_half_body": 0.3},
    "AugmentationbyInformantionDropping": {"prob_cutout": 0.0},
    "RandomExpand": {"prob": 0.5},
    "RandomFlip": {"prob": 0.5},
}


_PROBABILITIES = ("prob", "prob_half_body", "prob_cutout")  # these end at 1


_FLIPS = ("RandomFlip",)  # half of the pictures is all there is


_DISTORT = ("hue", "saturation", "contrast", "brightness")


_DISTORT_DEFAULTS = {
    "hue": [-18, 18, 0.5],
    "saturation": [0.5, 1.5, 0.5],
    "contrast": [0.5, 1.5, 0.5],
    "brightness": [0.5, 1.5, 0.5],
}


@dataclass(frozen=True)
class Wishes:
    """What a user may say about a run; None leaves it to the defaults.

    Attributes:
        steps: optimizer steps in all.
        epochs: passes over the data, instead of ``steps``.
        batch_size: images (detector) or people (pose model) a step.
        learning_rate: after the warm-up.
        warmup_steps: steps in which the rate rises to that.
        freeze_norm: keep batch-norm statistics.
        freeze_backbone: train what follows the backbone only.
        augment: strength of the augmentation: one of ``AUGMENT``, or a factor from 0 to 2.
        patience: end after so many evaluations in a row without a better AP.
        eval_every: steps between evaluations.
        eval_images: evaluate on the first so many images.
        input_size: (height, width).
        seed: of data order and augmentation.
        device: as Paddle names it.
    """

    steps: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    warmup_steps: int | None = None
    freeze_norm: bool | None = None
    freeze_backbone: bool = False
    augment: str | float = "default"
    patience: int | None = None
    eval_every: int | None = None
    eval_images: int | None = None
    input_size: tuple[int, int] | None = None
    seed: int = 0
    device: str = "cpu"


def complete(
    model: str,
    weights: Path,
    train: DataSettings,
    val: DataSettings,
    n_samples: int,
    wishes: Wishes,
) -> TrainSettings:
    """The full settings of a run.

    The learning rate follows the linear rule (rate over batch size is constant) from the stated
    default. Warm-up, averaging, evaluations and checkpoints are scaled to the length of the run:
    the weights are averaged over about its last tenth.

    Args:
        model: the architecture.
        weights: the start.
        train: data to train on.
        val: data to measure AP on.
        n_samples: images (detector) or people (pose model) in ``train``.
        wishes: what was asked for.

    Raises:
        ConfigError: a wish has a value that cannot be used.
    """
    recipe = read_recipe(model)
    defaults = recipe["defaults"]
    batch = _positive("batch_size", wishes.batch_size) or min(defaults["batch_size"], n_samples)
    steps = _steps(wishes, defaults, n_samples, batch)
    rate = wishes.learning_rate
    size = wishes.input_size or TrainSettings.model_fields["input_size"].default
    warmup = round(defaults["warmup"] * steps)
    freeze = batch < _SMALL_BATCH if wishes.freeze_norm is None else wishes.freeze_norm
    eval_every = _positive("eval_every", wishes.eval_every) or math.ceil(steps / _EVALUATIONS)
    asked: dict[str, Any] = {
        "model": model,
        "weights": weights,
        "train": train,
        "val": val,
        "input_size": size,
        "steps": steps,
        "batch_size": batch,
        "optimizer": defaults["optimizer"],
        "learning_rate": _linear(defaults, batch) if rate is None else rate,
        "warmup_steps": warmup if wishes.warmup_steps is None else wishes.warmup_steps,
        "weight_decay": defaults["weight_decay"],
        "ema_decay": round(min(0.9998, max(0.5, 1 - 10 / steps)), 4),
        "freeze_norm": freeze,
        "freeze_backbone": wishes.freeze_backbone,
        "patience": _positive("patience", wishes.patience),
        "eval_every": eval_every,
        "eval_images": wishes.eval_images,
        "checkpoint_every": max(1, min(eval_every, steps // _CHECKPOINTS)),
        "seed": wishes.seed,
        "device": wishes.device,
        **transforms(recipe, model, size, strength(wishes.augment)),
    }
    return _validated(asked)


def read_recipe(model: str) -> dict[str, Any]:
    """The defaults and transforms of an architecture's family, as packaged."""
    from ruamel.yaml import YAML

    file = resources.files("kptk") / "configs" / "train" / _FILES[kind_of(model)]
    recipe: dict[str, Any] = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return recipe


def strength(augment: str | float) -> float:
    """The factor that a strength of augmentation stands for.

    Raises:
        InputError: it is neither one of ``AUGMENT`` nor a number from 0 to 2.
    """
    if isinstance(augment, str) and augment in AUGMENT:
        return AUGMENT[augment]
    if isinstance(augment, bool | str) or not 0 <= augment <= 2:
        hint = nearest(augment, AUGMENT) if isinstance(augment, str) else ""
        raise InputError(
            f"augment must be {', '.join(map(repr, AUGMENT))} or a number from 0 to 2. "
            f"Got {augment!r}.{hint}"
        )
    return float(augment)


def _linear(defaults: Mapping[str, Any], batch: int) -> float:
    rate: float = defaults["learning_rate"] * batch / defaults["batch_size"]
    return rate


def _steps(wishes: Wishes, defaults: Mapping[str, Any], n_samples: int, batch: int) -> int:
    if wishes.steps is not None and wishes.epochs is not None:
        raise ConfigError("Give steps or epochs, not both.")
    if wishes.steps is not None:
        return _positive("steps", wishes.steps) or 1
    epochs = wishes.epochs
    if epochs is None:
        epochs = min(defaults["max_epochs"], max(1, defaults["samples"] / n_samples))
    if not (isinstance(epochs, int | float) and 0 < epochs < math.inf):
        raise ConfigError(f"epochs must be a positive number. Got {epochs!r}.")
    return math.ceil(epochs * n_samples / batch)


def _positive(name: str, value: int | None) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a positive integer. Got {value!r}.")
    return value


def _validated(asked: dict[str, Any]) -> TrainSettings:
    try:
        return TrainSettings.model_validate(asked)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "The settings"
        raise ConfigError(f"{name}: {first['msg']}. Got {first['input']!r}.") from error


def transforms(
    recipe: Mapping[str, Any], model: str, size: tuple[int, int] | None, augment: float = 1.0
) -> dict[str, list[dict[str, dict[str, Any]]]]:
    """The transforms of a recipe, filled in for an input size.

    Args:
        recipe: of ``read_recipe``.
        model: the architecture.
        size: (height, width) of the input; None takes the published size.
        augment: factor of probabilities and ranges, from 0; 1 is as the recipe says.

    Returns:
        ``sample_transforms`` and ``batch_transforms`` in PaddleDetection's format.
    """
    from kptk.models.network import input_size_of

    height, width = size or input_size_of(model)
    if height % 32 or width % 32 or min(height, width) < 32:
        raise InputError(f"input_size must be multiples of 32. Got ({height}, {width}).")
    mirror = {} if augment > 0 else {"flip": False}
    filled: dict[str, dict[str, Any]] = {
        "RandomFlipHalfBodyTransform": {"trainsize": [width, height], **mirror},
        "TopDownAffine": {"trainsize": [width, height]},
        "AugmentationbyInformantionDropping": {"trainsize": [width, height]},
        "ToHeatmapsTopDown_DARK": {
            "hmsize": [width // 4, height // 4],
            "sigma": max(1, round(height / 128)),
        },
        "BatchRandomResize": {"target_size": _sizes(height, width, augment)},
    }
    return {
        key: [
            {name: {**_weakened(name, values, augment), **filled.get(name, {})}}
            for step in recipe[key]
            for name, values in step.items()
            if augment > 0 or name != "RandomCrop"
        ]
        for key in ("sample_transforms", "batch_transforms")
    }


def _sizes(height: int, width: int, augment: float) -> list[int] | list[list[int]]:
    """Sizes of training, in steps of 32 from half to 1.2 times the input size, not beyond."""
    low, high = 1 - 0.5 * min(1, augment), 1 + 0.2 * min(1, augment)
    if height == width:
        return list(range(_by_32(height * low), _by_32(height * high) + 1, 32))
    factors = [low + (high - low) * i / 8 for i in range(9)]
    sizes = {(_by_32(height * factor), _by_32(width * factor)) for factor in factors}
    return [list(pair) for pair in sorted(sizes)]


def _by_32(value: float) -> int:
    return max(32, 32 * round(value / 32))


def _weakened(name: str, values: Mapping[str, Any], augment: float) -> dict[str, Any]:
    """A transform with its probabilities and ranges scaled."""
    if augment == 1:
        return dict(values)
    scaled: dict[str, Any] = {}
    for key, default in _STRENGTHS.get(name, {}).items():
        value = (min(1, augment) if name in _FLIPS else augment) * values.get(key, default)
        scaled[key] = min(1.0, value) if key in _PROBABILITIES else value
    if name == "RandomDistort":
        for key in _DISTORT:
            low, high, prob = values.get(key, _DISTORT_DEFAULTS[key])
            scaled[key] = [low, high, min(1.0, augment * prob)]
    return {**values, **scaled}
