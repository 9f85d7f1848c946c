"""What a run starts from: a model's name, a former run, weights; and its data, checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kptk.errors import DataError, ModelError
from kptk.training.network import ARCHITECTURES, kind_of
from kptk.training.settings import DataSettings, read_settings

if TYPE_CHECKING:
    from kptk.coco import KeypointData

StrPath = str | os.PathLike[str]
_N_JOINTS = 17


@dataclass(frozen=True)
class Start:
    """Where a run starts.

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
        model: an official name, ``"demo-det"`` or ``"demo-kpt"``, the directory of a former run
            (or of the model it exported), or a ``.pdparams`` file.
        weights: other weights for the named architecture: a ``.pdparams`` file or a former run.

    Raises:
        ModelError: there is no such model, or it has no training weights.
        DownloadError: the weights could not be fetched.
    """
    from kptk.architecture import architecture_of
    from kptk.zoo import MODELS, find_weights

    name = os.fspath(model)
    if weights is not None:
        other = _of_run(Path(weights).expanduser())
        found = other.weights if other else find_weights(weights).absolute()
        if name not in MODELS:
            raise ModelError(
                f"With weights=, model must be one of {', '.join(MODELS)}. Got {name!r}."
            )
        return Start(MODELS[name].architecture, found, MODELS[name].input_size)
    if name in MODELS:
        spec = MODELS[name]
        return Start(spec.architecture, find_weights(name).absolute(), spec.input_size)
    path = Path(name).expanduser()
    start = _of_run(path) or _of_packed(path)
    if start is not None:
        return start
    params = find_weights(name).absolute()
    architecture = architecture_of(params, None)
    return Start(architecture, params, MODELS[architecture].input_size)


def _of_run(path: Path) -> Start | None:
    """The best weights of a run, from its directory or that of its exported model."""
    for folder in (path, path.parent):
        if path.is_dir() and (folder / "settings.yml").is_file():
            settings = read_settings(folder / "settings.yml")
            best = folder.absolute() / "best.npz"
            if not best.is_file():
                raise ModelError(
                    f"The run {str(folder)!r} has not been evaluated yet, so it has no weights "
                    "to start from. Let it go on first."
                )
            return Start(settings.model, best, settings.size)
    return None


def _of_packed(path: Path) -> Start | None:
    """A directory as the demo models have: the graph keeps the training weights."""
    if not (path / "inference.onnx").is_file() or (path / "inference.pdiparams").is_file():
        return None
    from kptk.modeldir import ModelDir

    found = ModelDir.open(path)
    if found.name not in ARCHITECTURES:
        return None
    return Start(found.name, path.absolute(), found.input_size)


def find_split(data: object, split: str) -> KeypointData:
    """Load one side of the data, checked.

    Args:
        data: a data set's folder; an annotation file; a pair (image folder, annotation file); or
            data already loaded with ``kptk.load_coco``.
        split: ``"train"`` or ``"val"``, for a folder with both.

    Raises:
        DataError: there is no such data, or it cannot be used as it is.
    """
    from kptk.coco import KeypointData, load_coco

    if isinstance(data, KeypointData):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        return load_coco(data[1], images=data[0])
    if isinstance(data, str | os.PathLike):
        return load_coco(data, split=None if Path(data).is_file() else split)
    raise DataError(
        f"{split} must be a data set's folder, (image folder, annotation file) or what "
        f"kptk.load_coco returns. Got {data!r}."
    )


def check_data(train: KeypointData, val: KeypointData, model: str) -> int:
    """Refuse data that would train or measure nonsense.

    Returns:
        The number of training samples: images (detector) or people with points (pose model).

    Raises:
        DataError: other joints than the network has, nobody to learn from, or images of the
            validation set among those of the training set.
    """
    keypoints = kind_of(model) == "keypoint"
    for data, side in ((train, "train"), (val, "val")):
        if keypoints and len(data.skeleton) != _N_JOINTS:
            raise DataError(
                f"{model} places {_N_JOINTS} joints; {side} has {len(data.skeleton)}. Convert the "
                "data to COCO's 17 joints first."
            )
        if not _n_people(data, keypoints):
            raise DataError(
                f"{side} ({data.annotations_path}) holds no people"
                + (" with labelled points." if keypoints else " with boxes.")
            )
    _refuse_leaks(train, val)
    return _n_people(train, True) if keypoints else len(train)


def _n_people(data: KeypointData, labelled: bool) -> int:
    people = (person for image_id in data.image_ids for person in data.people(image_id))
    return sum(not labelled or person.get("num_keypoints", 0) > 0 for person in people)


def _refuse_leaks(train: KeypointData, val: KeypointData) -> None:
    """The same picture on both sides makes AP say what was learned by heart."""
    leaks = list(_same_files(train, val))
    if leaks:
        first = " and ".join(str(path) for path in leaks[0])
        raise DataError(
            f"{len(leaks)} of {len(val)} validation images are training images too, so AP would "
            f"be too good. The first: {first}. Split the data anew (kptk split)."
        )


def _same_files(train: KeypointData, val: KeypointData) -> Iterator[tuple[Path, Path]]:
    """Pairs of files with the same bytes; only files of equal size are read."""
    from kptk.cache import file_hash

    by_size: dict[int, list[Path]] = {}
    for path in map(train.image_path, train.image_ids):
        by_size.setdefault(path.stat().st_size, []).append(path)
    hashes: dict[Path, str] = {}
    for path in map(val.image_path, val.image_ids):
        for other in by_size.get(path.stat().st_size, []):
            if other not in hashes:
                hashes[other] = file_hash(other)
            if path.resolve() == other.resolve() or file_hash(path) == hashes[other]:
                yield other, path
                break


def split_settings(data: KeypointData, file: Path) -> DataSettings:
    """What the worker is told of data whose annotations are saved to ``file``."""
    return DataSettings(images=data.images_dir.absolute(), annotations=file.absolute())


def save_split(data: KeypointData, file: Path) -> None:
    """Write the annotations as they were checked and mended, for the worker.

    Data that is a subset, or mended in memory only, is trained on as it is seen; and what is
    edited later does not change a run that goes on.
    """
    from kptk.coco.write import write_coco

    category = next(c for c in data.content["categories"] if c["id"] == data.category_id)
    people: list[dict[str, Any]] = [
        {**person, "category_id": 1}
        for image_id in data.image_ids
        for person in data.annotations(image_id)
    ]
    content = {
        "images": data.images,
        "annotations": people,
        "categories": [{**category, "id": 1}],
    }
    write_coco(content, file, overwrite=True)
