"""YOLO-pose data sets ↔ COCO."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kptk.cache import replacing
from kptk.coco.data import KeypointData
from kptk.coco.files import has_size
from kptk.coco.pictures import header
from kptk.coco.report import first_ids
from kptk.coco.rules import AREA_OF_BOX
from kptk.coco.write import copy_images, document
from kptk.errors import DataError, nearest
from kptk.images import IMAGE_SUFFIXES
from kptk.skeleton import COCO17, Skeleton, skeleton_of

_DIGITS = 9  # of relative coordinates: some 1e-5 px at most


def yolo_to_coco(
    file: str | os.PathLike[str], *, split: str = "train", joints: Sequence[str] | None = None
) -> tuple[dict[str, Any], Path]:
    """Read one split of a YOLO-pose data set.

    Points of two numbers (``kpt_shape: [K, 2]``) are visible unless they are (0, 0). The area is
    0.53 of the box's: YOLO has none.

    Args:
        file: its ``data.yaml`` (path, train, val, kpt_shape, flip_idx), or the folder with one.
        split: ``train``, ``val`` or ``test``.
        joints: names of the joints. By default the file's ``kpt_names``, COCO's for 17 joints
            flipped as COCO's are, else numbers, called left and right where ``flip_idx`` pairs
            them (which of the two is left, YOLO does not say).

    Returns:
        The COCO document and the image folder. Ids count from 1, by file name.

    Raises:
        DataError: a file is missing or malformed; the message names it and the line.
    """
    place, settings = _settings(Path(file).expanduser())
    folder = _image_folder(place, settings, split)
    count, numbers = _shape(settings, place)
    skeleton = skeleton_of({"keypoints": list(joints or _names(settings, count))})
    if len(skeleton) != count:
        raise DataError(f"{place} has {count} joints. Got {len(skeleton)} names.")
    if skeleton.names == COCO17.names:
        skeleton = COCO17
    # Splits may use the same names: theirs are told apart by the folder, as in images/val/1.jpg.
    root = folder.parent if folder.parent.name == "images" else folder
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path in _image_files(folder):
        found = header(path)
        if found is None:
            raise DataError(f"{path} cannot be read as an image.")
        height, width = found.upright_size
        name = path.relative_to(root).as_posix()
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for row in _rows(label_file(path), 5 + count * numbers):
            person = _person(row, numbers, width, height)
            annotations.append({"id": len(annotations) + 1, "image_id": len(images), **person})
    return document(images, annotations, skeleton, "Converted from YOLO-pose by kptk"), root


def _settings(path: Path) -> tuple[Path, Mapping[str, Any]]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    file = path
    if path.is_dir():
        found = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if len(found) != 1:
            raise DataError(f"{path} must hold one data.yaml. Found {len(found)}: pass the file.")
        file = found[0]
    try:
        content = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, YAMLError) as error:
        raise DataError(f"{file} cannot be read as YAML: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{file} must be a YOLO data file with path, train, val and kpt_shape.")
    return file, content


def _shape(settings: Mapping[str, Any], file: Path) -> tuple[int, int]:
    match settings.get("kpt_shape"):
        case [int(joints), int(numbers)] if joints > 0 and numbers in (2, 3):
            return joints, numbers
        case shape:
            raise DataError(f"{file} must say kpt_shape: [joints, 2 or 3]. Got {shape!r}.")


def _image_folder(file: Path, settings: Mapping[str, Any], split: str) -> Path:
    value = settings.get(split)
    if not isinstance(value, str):
        splits = [name for name in ("train", "val", "test") if settings.get(name)]
        raise DataError(
            f"{file} must name one image folder for the split {split!r}. Got {value!r}."
            f"{nearest(split, splits)}"
        )
    base = file.parent / str(settings.get("path") or "")
    places = [base / value, file.parent / value]  # `path` may be of another machine
    for place in places:
        if place.is_dir():
            return place
    raise DataError(f"{file}: there is no image folder {str(places[0])!r}.")


def _names(settings: Mapping[str, Any], count: int) -> list[str]:
    given = settings.get("kpt_names")
    if isinstance(given, dict) and given:
        given = next(iter(given.values()))
    if isinstance(given, list) and len(given) == count:
        return list(map(str, given))
    flip = settings.get("flip_idx") or []
    if count == len(COCO17) and (not flip or list(flip) == COCO17.flip_order.tolist()):
        return list(COCO17.names)
    if len(flip) != count:
        return [f"joint_{i + 1}" for i in range(count)]
    sides = ["left_" if i < j else "right_" if i > j else "" for i, j in enumerate(flip)]
    return [f"{side}joint_{min(i, flip[i]) + 1}" for i, side in enumerate(sides)]


def _image_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)


def label_file(image: Path) -> Path:
    """Where YOLO looks for an image's labels: the last ``images`` in its path is ``labels``."""
    parts = list(image.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _rows(file: Path, count: int) -> list[list[float]]:
    if not file.is_file():
        return []
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        if len(row) != count:
            raise DataError(
                f"{file}, line {number}: expected {count} numbers (class, box, points). "
                f"Got {len(line.split())} words."
            )
        rows.append(row)
    return rows


def _person(row: Sequence[float], numbers: int, width: int, height: int) -> dict[str, Any]:
    x, y, w, h = row[1] * width, row[2] * height, row[3] * width, row[4] * height
    keypoints: list[float] = []
    for i in range(5, len(row), numbers):
        px, py = row[i], row[i + 1]
        v = int(row[i + 2]) if numbers == 3 else 2 * ((px, py) != (0, 0))
        keypoints += [px * width, py * height, v] if v else [0, 0, 0]
    return {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
        "bbox": [x - w / 2, y - h / 2, w, h],
        "area": AREA_OF_BOX * w * h,
    }


def coco_to_yolo(
    data: KeypointData,
    out: str | os.PathLike[str],
    *,
    split: str | None = None,
    images: bool = True,
) -> Path:
    """Write a split in YOLO-pose's layout: ``images/``, ``labels/`` and ``data.yaml``.

    Left out, since YOLO has no place for them: crowds, areas and masks. Boxes are clipped to the
    image; points outside it become unlabelled. Splits written to one folder share its data.yaml.

    Args:
        data: what to write.
        out: the folder.
        split: what to call it; by default as in ``data``, or ``train``.
        images: whether image files are copied too.

    Returns:
        The ``data.yaml``.

    Raises:
        DataError: sizes of images are unknown, there are no joints, or files cannot be written.
    """
    name, root = split or data.split or "train", Path(out).expanduser()
    sizeless = [image["id"] for image in data.images if not has_size(image)]
    if sizeless:
        raise DataError(f"YOLO needs the images' sizes. Unknown for images {first_ids(sizeless)}.")
    if not len(data.skeleton):
        raise DataError("YOLO-pose data needs joints. This data set has boxes only.")
    try:
        if images:
            copy_images(data.images, data.images_dir, root / "images" / name)
        for image in data.images:
            lines = [_line(person, image) for person in data.people(image["id"])]
            file = (root / "labels" / name / image["file_name"]).with_suffix(".txt")
            _write(file, "".join(lines))
        return _write_settings(root, name, data.skeleton)
    except OSError as error:
        raise DataError(f"{root} cannot be written: {error}.") from error


def _line(person: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    width, height = image["width"], image["height"]
    x, y, w, h = person["bbox"]
    x1, y1 = max(x, 0), max(y, 0)
    x2, y2 = min(x + w, width), min(y + h, height)
    box = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    words = ["0", *(f"{value:.{_DIGITS}f}" for value in box)]
    points = person["keypoints"]
    for px, py, v in zip(points[0::3], points[1::3], points[2::3], strict=True):
        inside = v > 0 and 0 <= px <= width and 0 <= py <= height
        at = [f"{px / width:.{_DIGITS}f}", f"{py / height:.{_DIGITS}f}", str(int(v))]
        words += at if inside else ["0", "0", "0"]
    return " ".join(words) + "\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_settings(root: Path, split: str, skeleton: Skeleton) -> Path:
    from ruamel.yaml import YAML

    file = root / "data.yaml"
    former = _settings(file)[1] if file.is_file() else {}
    settings = {
        "path": ".",
        **{key: former[key] for key in ("train", "val", "test") if key in former},
        split: f"images/{split}",
        "kpt_shape": [len(skeleton), 3],
        "flip_idx": skeleton.flip_order.tolist(),
        "names": {0: "person"},
        "kpt_names": {0: list(skeleton.names)},
    }
    text = io.StringIO()
    YAML(typ="safe", pure=True).dump(settings, text)
    _write(file, text.getvalue())
    return file
