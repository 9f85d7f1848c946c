"""``kptk.finetune``: from a model and a few dozen images to a training run."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from pathlib import Path

from kptk.coco import KeypointData
from kptk.engines.base import parse_device
from kptk.errors import DataError, MissingDependencyError, TrainingError
from kptk.training.data import check_data, find_split, save_split
from kptk.training.export import StrPath, find_start
from kptk.training.run import Run
from kptk.training.settings import DataSettings, TrainSettings, complete, write_settings

Data = StrPath | tuple[StrPath, StrPath] | KeypointData


def finetune(
    model: StrPath,
    train: Data,
    val: Data | None = None,
    *,
    weights: StrPath | None = None,
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
    options = {k: v for k, v in locals().items() if k in TrainSettings.CHOSEN}
    for module in ("paddle", "ppdet"):
        if find_spec(module) is None:
            raise MissingDependencyError(
                f"Fine-tuning needs the package {module!r}, which is not installed. Install: "
                "pip install 'kptk[finetune]' && pip install --no-deps paddledet==2.6.0"
            )
    start = find_start(model, weights)
    chosen = str(parse_device(device))
    splits = {"train": find_split(train, "train")}
    if val is None and not (isinstance(train, str | os.PathLike) and Path(train).is_dir()):
        raise DataError("val is needed: only where train is a folder with both may it be left out.")
    splits["val"] = find_split(train if val is None else val, "val")
    n_samples = check_data(splits["train"], splits["val"], start.model)
    name = f"{start.model}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = Path("runs") / name if run_dir is None else Path(run_dir).expanduser()
    if folder.is_dir() and any(folder.iterdir()):
        what = "holds a run" if (folder / "settings.yml").is_file() else "is not empty"
        raise TrainingError(
            f"{folder} {what}. Choose another run_dir, or go on with that run: "
            f"kptk.load_run({os.fspath(folder)!r}).resume()"
        )
    sides = {
        side: DataSettings(
            images=data.images_dir.absolute(), annotations=(folder / f"{side}.json").absolute()
        )
        for side, data in splits.items()
    }
    options |= {
        "model": start.model,
        "weights": start.weights,
        "input_size": input_size or start.input_size,
        "device": "cpu" if chosen == "auto" else chosen,
        **sides,
    }
    settings = complete(n_samples, options, epochs=epochs, augment=augment)
    for side, data in splits.items():
        save_split(data, sides[side].annotations)
    write_settings(settings, folder / "settings.yml")
    return Run(folder).resume(wait=wait, progress=progress)
