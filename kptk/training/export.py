"""The model card (README.md) of an exported model: what it is, what it saw, how good it is.

It holds no date and no path, so the same run gives the same card.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from kptk.check import ModelReport, check_model
from kptk.coco.load import read_json
from kptk.errors import ModelError, nearest
from kptk.files import file_hash
from kptk.models.catalog import MODELS
from kptk.models.export import export_weights
from kptk.models.network import kind_of
from kptk.training.run import Events, Run, Start, StrPath, find_start
from kptk.training.settings import DataSettings, TrainSettings, read_settings

_ELSEWHERE = {
    "model",
    "weights",
    "train",
    "val",
    "input_size",
    "device",
}  # told apart, or no matter


_METRIC = {
    "detection": "AP of the boxes (COCO, IoU .50:.95)",
    "keypoint": "AP of the keypoints on ground-truth boxes (COCO, OKS .50:.95)",
}


_USE = """\
## How to use it

Put it into a pipeline's YAML file, in either of PaddleX's formats, and run that:

```bash
kptk check-model path/to/this/folder
kptk swap human_keypoint_detection {option} path/to/this/folder --save-path mine.yaml
kptk predict photo.jpg --pipeline mine.yaml
```

PaddleX reads the folder too. There the name must be that of the architecture:

```python
from paddlex import create_model

model = create_model("{model}", model_dir="path/to/this/folder")
```
"""


_LICENCE = """\
## Licence

The architecture, PaddleDetection's code and the weights of the official and the demo models are
under Apache-2.0. {start}The data of the training may set terms of its own.
"""


def model_card(params: Path, model: str, size: tuple[int, int]) -> str:
    """The text of a model card.

    Args:
        params: the exported weights; in a run directory the card tells of the run.
        model: the architecture.
        size: (height, width) of the input.
    """
    settings = params.parent / "settings.yml"
    if params.name == "best.npz" and settings.is_file():
        return _card_of_run(params, read_settings(settings), size)
    facts = [*_facts(model, size), ("weights", f"{params.name}, {_hash(params)}")]
    return _joined(
        f"# {model}", _table(("", ""), facts), _use(model), _licence(_is_known(params), params.name)
    )


def _card_of_run(params: Path, settings: TrainSettings, size: tuple[int, int]) -> str:
    model, start = settings.model, settings.weights
    facts = [
        *_facts(model, size),
        ("start", "random weights" if start is None else f"{_name(start)}, {_hash(start)}"),
        ("weights", f"those of the best AP, {_hash(params)}"),
    ]
    return _joined(
        f"# {model}, trained on {_data_name(settings.train)}",
        _table(("", ""), facts),
        "## Data",
        _data(settings),
        "## Accuracy",
        _accuracy(params.parent, settings),
        "## Settings",
        f"```yaml\n{_yaml(settings)}```",
        _use(model),
        _licence(start is None or _is_known(start), "" if start is None else _name(start)),
    )


def _joined(*parts: str) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _facts(model: str, size: tuple[int, int]) -> list[tuple[str, str]]:
    return [("architecture", model), ("input", f"{size[0]} x {size[1]} (height x width), RGB")]


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _data(settings: TrainSettings) -> str:
    rows = [
        (side, _data_name(data), *_counts(data), _hash(data.annotations))
        for side, data in (("training", settings.train), ("validation", settings.val))
    ]
    return _table(("", "name", "images", "people", "annotations"), rows)


def _data_name(data: DataSettings) -> str:
    """The folder's name; in PaddleX's layout that of the one above ``images``."""
    folder = data.images.absolute()
    return folder.parent.name if folder.name == "images" else folder.name


def _counts(data: DataSettings) -> tuple[str, str]:
    if not data.annotations.is_file():
        return "not known", "not known"
    content = read_json(data.annotations)
    people = [item for item in content["annotations"] if not item.get("iscrowd", 0)]
    return str(len(content["images"])), str(len(people))


def _accuracy(folder: Path, settings: TrainSettings) -> str:
    events = Events(folder).update()
    best, at = events.best
    images = _counts(settings.val)[0]
    if settings.eval_images is not None:
        images = f"the first {settings.eval_images} of {images}"
    before = (
        "random weights, not measured" if settings.weights is None else _percent(events.start_ap)
    )
    return (
        f"{_METRIC[kind_of(settings.model)]} on the validation data ({images} images), measured "
        f"by kptk while training.\n\n"
        + _table(
            ("before", "after", "step"),
            [(before, _percent(best), f"{'none' if at is None else at} of {settings.steps}")],
        )
    )


def _percent(ap: float) -> str:
    return "not measured" if math.isnan(ap) else f"{100 * ap:.1f}"


def _yaml(settings: TrainSettings) -> str:
    from ruamel.yaml import YAML

    out = StringIO()
    kept: dict[str, Any] = settings.model_dump(mode="json", exclude=_ELSEWHERE)
    YAML(typ="safe", pure=True).dump(kept, out)
    return out.getvalue()


def _use(model: str) -> str:
    option = "--det-model" if kind_of(model) == "detection" else "--kpt-model"
    return _USE.format(model=model, option=option)


def _licence(known: bool, name: str) -> str:
    start = "" if known else f"kptk does not know the terms of the start, {name}: they apply too. "
    return _LICENCE.format(start=start)


def _is_known(weights: Path) -> bool:
    return _name(weights) in MODELS


def _name(weights: Path) -> str:
    """A start by the name people know it by."""
    if weights.suffix == ".npz":
        return f"{weights.name} of the run {weights.absolute().parent.name}"
    return weights.name.removesuffix("_pretrained.pdparams")


def _hash(path: Path) -> str:
    """The first half of a file's SHA-256; of a packed model's graph for its folder."""
    file = path / "inference.onnx" if path.is_dir() else path
    return f"SHA-256 {file_hash(file)[:32]}" if file.is_file() else "no longer there"


# ---- export_model: ``kptk.export_model``: training weights, from wherever, to a checked model
# directory.


def export_model(
    source: StrPath | Run,
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
    start = _start(source.path if isinstance(source, Run) else source, like)
    size = input_size or start.input_size
    if len(size) != 2 or any(side < 32 or side % 32 for side in size):
        raise ModelError(f"input_size must be (height, width), multiples of 32. Got {size}.")
    export_weights(start.weights, start.model, target, input_size=size, check=True)
    return check_model(target)


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a directory that is there, unless it is a model's and may be replaced.

    Raises:
        ModelError: it is in the way.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not overwrite:
        raise ModelError(
            f"{target} exists already. Choose another save_path, or replace it with "
            "overwrite=True (kptk export --force)."
        )
    if not (target / "inference.yml").is_file():
        raise ModelError(f"{target} is no model directory, so it is not replaced.")


def _start(source: StrPath, like: str | None) -> Start:
    if like is None:
        return find_start(source)
    from kptk.models.catalog import MODELS
    from kptk.models.modeldir import architecture_of

    if like not in MODELS:
        raise ModelError(
            f"like must be one of {', '.join(MODELS)}. Got {like!r}.{nearest(like, MODELS)}"
        )
    params = Path(os.fspath(source)).expanduser()
    if params.suffix != ".pdparams":
        raise ModelError(f"like is for a .pdparams file. Got {os.fspath(source)!r}.")
    architecture_of(params, like)
    return find_start(like, params)
