"""The model card (README.md) of an exported model: what it is, what it saw, how good it is.

It holds no date and no path, so the same run gives the same card.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from kptk.cache import file_hash
from kptk.catalog import MODELS
from kptk.coco.layout import read_json
from kptk.training.events import Events
from kptk.training.network import kind_of
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
