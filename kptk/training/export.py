"""Training weights, from wherever, to a model directory with a card, kept only if it runs.

The model card (README.md) says what the model is, what it saw and how good it is. It holds no date
and no path, so the same run gives the same card.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kptk.check import ModelReport, check_model, try_model
from kptk.coco.load import read_json
from kptk.errors import ModelError, nearest
from kptk.files import file_hash, to_yaml
from kptk.models.catalog import ARCHITECTURES, MODELS
from kptk.models.export import check_target, export_weights
from kptk.models.modeldir import ModelDir, architecture_of
from kptk.models.zoo import find_weights
from kptk.training.events import Events
from kptk.training.settings import DataSettings, TrainSettings, read_settings

StrPath = str | os.PathLike[str]


@dataclass(frozen=True)
class Start:
    """Where a run, or an export, starts.

    Attributes:
        model: the architecture.
        weights: a weight file, or the directory of a packed model.
        input_size: (height, width) in pixels.
    """

    model: str
    weights: Path
    input_size: tuple[int, int]


def find_start(model: StrPath, weights: StrPath | None = None) -> Start:
    """Find the architecture and the weights that a run starts from.

    Args:
        model: an official name, ``"demo-det"`` or ``"demo-kpt"``, a former run or its directory
            (or that of the model it exported), or a ``.pdparams`` file.
        weights: other weights for the named architecture: a ``.pdparams`` file or a former run.

    Raises:
        ModelError: there is no such model, or it has no training weights.
        DownloadError: the weights could not be fetched.
    """
    name = os.fspath(model)
    spec = MODELS.get(name)
    if weights is not None:
        run = _best_of_run(weights)
        found = run.weights if run else find_weights(weights).absolute()
        if spec is None:
            raise ModelError(
                f"With weights=, model must be one of {', '.join(MODELS)}. Got {name!r}."
            )
        return Start(spec.architecture, found, spec.input_size)
    if spec is not None:
        return Start(spec.architecture, find_weights(name).absolute(), spec.input_size)
    run = _best_of_run(name)
    if run is not None:
        return run
    path = Path(name).expanduser()
    if (path / "inference.onnx").is_file() and not (path / "inference.pdiparams").is_file():
        packed = ModelDir.open(path)  # as the demo models: the graph keeps the training weights
        if packed.name in ARCHITECTURES:
            return Start(packed.name, path.absolute(), packed.input_size)
    params = find_weights(name).absolute()
    architecture = architecture_of(params, None)
    return Start(architecture, params, MODELS[architecture].input_size)


def _best_of_run(source: StrPath) -> Start | None:
    """The best weights of a run, from its directory or that of its exported model."""
    path = Path(source).expanduser()
    for folder in (path, path.parent) if path.is_dir() else ():
        if (folder / "settings.yml").is_file():
            settings = read_settings(folder / "settings.yml")
            best = folder.absolute() / "best.npz"
            if not best.is_file():
                raise ModelError(
                    f"The run {str(folder)!r} has not been evaluated yet, so it has no weights "
                    "to start from. Let it go on first."
                )
            return Start(settings.model, best, settings.size)
    return None


def export_model(
    source: StrPath,
    save_path: StrPath,
    *,
    like: str | None = None,
    input_size: tuple[int, int] | None = None,
    overwrite: bool = False,
) -> ModelReport:
    """Turn training weights into a model directory that PaddleX and kptk run.

    It holds ``inference.json``, ``.pdiparams``, ``.yml`` and ``.onnx``, and a model card. Every
    engine that is installed loads and runs it, and the answers are compared, before it is kept.

    Args:
        source: a ``.pdparams`` file, a run (its best weights) or its directory, or a name as in
            ``kptk.list_models()``.
        save_path: the directory to make.
        like: the name of the architecture, for a ``.pdparams`` file where neither its weights nor
            its path tell; one of the demo models for its input size too.
        input_size: (height, width) in pixels, multiples of 32; None: the source's.
        overwrite: replace the directory, if it is a model's.

    Returns:
        What `kptk.check_model` says of the directory; ``.path`` is where it is.

    Raises:
        ModelError: the weights cannot be read or do not fit, the engines do not agree, or the
            directory exists.
        DownloadError: the weights of a name could not be fetched.
        MissingDependencyError: ``kptk[finetune]`` is not installed.
    """
    target = Path(save_path).expanduser()
    check_target(target, overwrite)
    if like is None:
        start = find_start(source)
    else:
        if like not in MODELS:
            raise ModelError(
                f"like must be one of {', '.join(MODELS)}. Got {like!r}.{nearest(like, MODELS)}"
            )
        params = Path(source).expanduser()
        if params.suffix != ".pdparams":
            raise ModelError(f"like is for a .pdparams file. Got {os.fspath(source)!r}.")
        architecture_of(params, like)
        start = find_start(like, params)
    size = input_size or start.input_size
    if len(size) != 2 or any(side < 32 or side % 32 for side in size):
        raise ModelError(f"input_size must be (height, width), multiples of 32. Got {size}.")
    return check_model(export_checked(start.weights, start.model, target, size))


def export_checked(params: Path, model: str, target: Path, size: tuple[int, int]) -> Path:
    """Make a model directory with a card; every installed engine must run it and agree.

    Args:
        params: weights; in a run directory the card tells of the run.
        model: the architecture.
        target: the directory.
        size: (height, width) of the input.

    Raises:
        ModelError: the export failed or did not pass; what was at ``target`` stays then.
    """
    card = model_card(params, model, size)
    return export_weights(params, model, target, input_size=size, card=card, check=_try)


def _try(folder: Path) -> None:
    wrong = [check for check in try_model(folder) if not check.ok]
    if wrong:
        raise ModelError(
            "The exported model did not pass its check and was not kept. "
            + "; ".join(f"{check.name}: {check.detail}" for check in wrong)
        )


_METRIC = {
    "detection": "AP of the boxes (COCO, IoU .50:.95)",
    "keypoint": "AP of the keypoints on ground-truth boxes (COCO, OKS .50:.95)",
}


def _filled(template: str, **values: str) -> str:
    return Path(__file__).with_name(template).read_text(encoding="utf-8").format(**values)


def model_card(params: Path, model: str, size: tuple[int, int]) -> str:
    """The text of a model card.

    Args:
        params: the exported weights; in a run directory the card tells of the run.
        model: the architecture.
        size: (height, width) of the input.
    """
    title, run = model, ""
    start: Path | None = params
    facts = [("architecture", model), ("input", f"{size[0]} x {size[1]} (height x width), RGB")]
    if params.name == "best.npz" and (params.parent / "settings.yml").is_file():
        settings = read_settings(params.parent / "settings.yml")
        title, run = f"{model}, trained on {_data_name(settings.train)}", _about(params, settings)
        start = settings.weights
        begun = "random weights" if start is None else f"{_name(start)}, {_hash(start)}"
        facts += [("start", begun), ("weights", f"those of the best AP, {_hash(params)}")]
    else:
        facts.append(("weights", f"{params.name}, {_hash(params)}"))
    terms = ""
    if start is not None and _name(start) not in MODELS:
        terms = f"kptk does not know the terms of the start, {_name(start)}: they apply too. "
    option = "--det-model" if MODELS[model].kind == "detection" else "--kpt-model"
    return _filled(
        "card.md",
        title=title,
        facts=_rows(facts),
        run=run,
        option=option,
        model=model,
        terms=terms,
    )


def _about(params: Path, settings: TrainSettings) -> str:
    """The part of a card that tells of the run: its data, its AP and its settings."""
    events = Events(params.parent).update()
    best, at = events.best
    rows, counts = [], {}
    for side, data in (("training", settings.train), ("validation", settings.val)):
        counts[side] = n_people = "not known"
        if data.annotations.is_file():
            content = read_json(data.annotations)
            counts[side] = str(len(content["images"]))
            n_people = str(sum(not item.get("iscrowd", 0) for item in content["annotations"]))
        rows.append((side, _data_name(data), counts[side], n_people, _hash(data.annotations)))
    few, images = settings.eval_images, counts["validation"]
    elsewhere = {"model", "weights", "train", "val", "input_size", "device"}  # told, or no matter
    return _filled(
        "card_run.md",
        data=_rows(rows),
        metric=_METRIC[MODELS[settings.model].kind],
        images=images if few is None else f"the first {few} of {images}",
        before=_percent(events.start_ap) if settings.weights else "random weights, not measured",
        after=_percent(best),
        step="none" if at is None else str(at),
        steps=str(settings.steps),
        settings=to_yaml(settings.model_dump(mode="json", exclude=elsewhere)),
    )


def _rows(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _data_name(data: DataSettings) -> str:
    """The folder's name; in PaddleX's layout that of the one above ``images``."""
    folder = data.images.absolute()
    return folder.parent.name if folder.name == "images" else folder.name


def _percent(ap: float) -> str:
    return "not measured" if math.isnan(ap) else f"{100 * ap:.1f}"


def _name(weights: Path) -> str:
    """A start by the name people know it by."""
    if weights.suffix == ".npz":
        return f"{weights.name} of the run {weights.absolute().parent.name}"
    return weights.name.removesuffix("_pretrained.pdparams")


def _hash(path: Path) -> str:
    """The first half of a file's SHA-256; of a packed model's graph for its folder."""
    file = path / "inference.onnx" if path.is_dir() else path
    return f"SHA-256 {file_hash(file)[:32]}" if file.is_file() else "no longer there"
