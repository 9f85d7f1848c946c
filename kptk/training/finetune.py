"""``kptk.finetune``: from a model and a few dozen images to a training run."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from kptk.errors import DataError, MissingDependencyError, TrainingError
from kptk.training.run import (
    Run,
    StrPath,
    check_data,
    find_split,
    find_start,
    save_split,
    split_settings,
)
from kptk.training.settings import Wishes, complete, write_settings

if TYPE_CHECKING:
    from kptk.coco import KeypointData

    Data: TypeAlias = StrPath | tuple[StrPath, StrPath] | KeypointData


def finetune(
    model: StrPath | Run,
    train: Data,
    val: Data | None = None,
    *,
    weights: StrPath | Run | None = None,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    warmup_steps: int | None = None,
    freeze_backbone: bool = False,
    freeze_norm: bool | None = None,
    augment: str | float = "default",
    patience: int | None = None,
    input_size: tuple[int, int] | None = None,
    eval_every: int | None = None,
    eval_images: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    run_dir: StrPath | None = None,
    wait: bool = True,
    progress: bool = True,
) -> Run:
    """Fine-tune the detector or the pose model on your images, in a process of its own.

    The data is checked first. What is left None follows from the architecture and the size of the
    data; ``run.settings`` shows everything, ``kptk/configs/train`` where it comes from.

    Args:
        model: an official name, ``"demo-det"`` or ``"demo-kpt"``, a former run, or a
            ``.pdparams`` file.
        train: a data set's folder in PaddleX's layout (``images/`` and
            ``annotations/instance_{train,val}.json``), a pair (image folder, annotation file), or
            what ``kptk.load_coco`` returns.
        val: the same, to measure AP on; None takes the folder given as ``train``.
        weights: other weights for the named model: a ``.pdparams`` file or a former run.
        steps: optimizer steps in all; None: some 1600 images (detector) or 9600 people.
        epochs: passes over the data, instead of ``steps``.
        batch_size: images (detector, 8) or people (pose model, 32) a step.
        learning_rate: after the warm-up; None: 2e-4 (detector) or 5e-4 (pose model), times
            ``batch_size`` over its default. It falls to 1 % along a cosine over the run.
        warmup_steps: steps in which the rate rises from 1 % to that; None: 5 % of the run.
        freeze_backbone: train what follows the backbone only: the neck and head of a detector,
            the last layer of a pose model. For very few images, or a start that fits well.
        freeze_norm: keep batch-norm statistics; None: for batches below 16.
        augment: strength of the augmentation: ``"none"``, ``"light"`` (half), ``"default"``,
            ``"strong"`` (half as much again), or a factor from 0 to 2.
        patience: end early after so many evaluations in a row without a better AP; None: train
            all steps (the rate falls to the end, and AP may rise late).
        input_size: (height, width) in pixels, multiples of 32; None: the start's.
        eval_every: steps between evaluations; None: ten in a run. The start is evaluated too.
        eval_images: evaluate on the first so many images; None: on all.
        seed: of data order and augmentation.
        device: ``"cpu"``, ``"gpu:0"``, ...
        run_dir: a new directory; None: ``runs/{model}-{date}-{time}``.
        wait: show progress until it ends (an interrupt stops it with a checkpoint); False: return
            at once.
        progress: show a progress bar while waiting.

    Raises:
        DataError: the data cannot be used, or validation images are training images too.
        ModelError: there is no such start.
        ConfigError: a setting has a wrong value.
        TrainingError: the directory holds a run already, or the run failed.
        MissingDependencyError: ``kptk[finetune]`` is not installed.
    """
    _need_training()
    start = find_start(_path_of(model), None if weights is None else _path_of(weights))
    wishes = Wishes(
        steps, epochs, batch_size, learning_rate, warmup_steps, freeze_norm, freeze_backbone,
        augment, patience, eval_every, eval_images, input_size or start.input_size, seed,
        _device(device),
    )  # fmt: skip
    train_data = find_split(train, "train")
    val_data = find_split(_both(train) if val is None else val, "val")
    n_samples = check_data(train_data, val_data, start.model)
    folder = _new_folder(run_dir, start.model)
    settings = complete(
        start.model,
        start.weights,
        split_settings(train_data, folder / "train.json"),
        split_settings(val_data, folder / "val.json"),
        n_samples,
        wishes,
    )
    _make(folder)
    save_split(train_data, folder / "train.json")
    save_split(val_data, folder / "val.json")
    write_settings(settings, folder / "settings.yml")
    return Run(folder).resume(wait=wait, progress=progress)


def _both(train: Data) -> Data:
    """The folder that holds both sides of the data."""
    if isinstance(train, str | os.PathLike) and Path(train).is_dir():
        return train
    raise DataError("val is needed: only where train is a folder with both may it be left out.")


def _path_of(model: StrPath | Run) -> StrPath:
    return model.path if isinstance(model, Run) else model


def _need_training() -> None:
    for module in ("paddle", "ppdet"):
        if find_spec(module) is None:
            raise MissingDependencyError(
                f"Fine-tuning needs the package {module!r}, which is not installed. Install: "
                "pip install 'kptk[finetune]' && pip install --no-deps paddledet==2.6.0"
            )


def _device(text: str) -> str:
    from kptk.engines.base import parse_device

    found = str(parse_device(text))
    return "cpu" if found == "auto" else found


def _new_folder(run_dir: StrPath | None, model: str) -> Path:
    name = f"{model}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = Path("runs") / name if run_dir is None else Path(run_dir).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        what = "holds a run" if (folder / "settings.yml").is_file() else "is not empty"
        raise TrainingError(
            f"{folder} {what}. Choose another run_dir, or go on with that run: "
            f"kptk.load_run({os.fspath(folder)!r}).resume()"
        )
    return folder


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder} cannot be made: {error.strerror or error}.") from error
