"""AI Challenger keypoints (14 joints) → COCO's 17."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from kptk.coco.checks import has_size, upright_size
from kptk.coco.dataset import KeypointData, copy_images, document, is_inside, write_coco
from kptk.coco.load import load_coco, read_json
from kptk.coco.rules import AREA_OF_BOX, first_ids, polygon_area
from kptk.errors import DataError, InputError, nearest
from kptk.files import replacing
from kptk.io.images import IMAGE_SUFFIXES
from kptk.skeleton import COCO17, CROWDPOSE14, Skeleton, skeleton_of, split_side

# AI Challenger's order; its head top and neck have no counterpart, COCO's face has none there.
AIC_JOINTS = (
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "head_top", "neck",
)  # fmt: skip


_VISIBILITY = {1: 2, 2: 1, 3: 0}  # visible, hidden, missing there


def aic_to_coco(
    file: str | os.PathLike[str], *, images: str | os.PathLike[str] | None = None
) -> tuple[dict[str, Any], Path]:
    """Read an AI Challenger keypoint file.

    Nose, eyes and ears are not labelled there and stay unlabelled; head top and neck are dropped.
    Visibility 1 (visible) becomes 2, 2 (hidden) becomes 1, 3 (missing) becomes 0. The area is 0.53
    of the box's.

    Args:
        file: the ``keypoint_..._annotations_....json``.
        images: the folder of its images; by default the folder beside it whose name starts with
            ``keypoint_`` and ends with ``images...``, else the file's own.

    Returns:
        The COCO document and the image folder. Ids count from 1, by image id; the image's id there
        is kept as ``aic_id``.

    Raises:
        DataError: the file is none of AI Challenger's, or its images are not there.
    """
    path = Path(file).expanduser()
    content = read_json(path)
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        raise DataError(f"{path} must be AI Challenger's list of images. Got another document.")
    folder = _image_folder(path) if images is None else Path(images).expanduser()
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    missing: list[str] = []
    for entry in sorted(content, key=lambda entry: str(entry.get("image_id"))):
        name = f"{entry.get('image_id')}.jpg"
        found = upright_size(folder / name)
        if found is None:
            missing.append(name)
            continue
        height, width = found
        number = len(records) + 1
        records.append({"id": number, "file_name": name, "width": width, "height": height,
                        "aic_id": entry["image_id"]})  # fmt: skip
        for person in _people(entry, path):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **person})
    if missing:
        raise DataError(
            f"{len(missing)} images of {path.name} cannot be read in {folder}: "
            f"{first_ids(missing)}. Pass images=, the folder they lie in."
        )
    return document(records, annotations, COCO17, "Converted from AI Challenger by kptk"), folder


def _image_folder(path: Path) -> Path:
    beside = sorted(path.parent.glob("keypoint_*images*"))
    return next((folder for folder in beside if folder.is_dir()), path.parent)


def _people(entry: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    try:
        points, boxes = entry["keypoint_annotations"], entry["human_annotations"]
        return [_person(points[name], boxes[name]) for name in sorted(points, key=_natural)]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: image {entry.get('image_id')!r} must have keypoint_annotations (14 x, y, v) "
            f"and human_annotations (x1, y1, x2, y2) for each person. Trouble with {error}."
        ) from error


def _natural(name: str) -> tuple[int, str]:
    return len(name), name  # human2 before human10


def _person(points: list[float], box: list[float]) -> dict[str, Any]:
    if len(points) != 3 * len(AIC_JOINTS):
        raise ValueError(f"{len(points)} numbers in the keypoints")
    triples = {name: points[3 * i : 3 * i + 3] for i, name in enumerate(AIC_JOINTS)}
    keypoints = [v for name in COCO17.names for v in _joint(triples.get(name, [0, 0, 3]))]
    x1, y1, x2, y2 = map(float, box)
    return {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": AREA_OF_BOX * abs(x2 - x1) * abs(y2 - y1),
    }


def _joint(triple: list[float]) -> list[float]:
    x, y, v = triple
    seen = _VISIBILITY.get(int(v), 0)
    return [x, y, seen] if seen else [0, 0, 0]


# ---- labelme: LabelMe point labels → COCO.


GROWTH = 0.1


"""A person without a box gets that of its points, larger by this share of it on each side."""


_HIDDEN = frozenset(("hidden", "occluded", "invisible"))


def labelme_to_coco(
    folder: str | os.PathLike[str],
    *,
    images: str | os.PathLike[str] | None = None,
    joints: Sequence[str] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Read a folder of LabelMe files.

    Points carry a joint's name as label; points and the rectangle or polygon of a person share a
    ``group_id``. Without one, a point belongs to the only shape it lies in, or, on an image
    without shapes, to the only person. A point is hidden (v = 1) if it has a true flag or a
    description ``hidden`` or ``occluded``, or is marked difficult; otherwise it is visible (v = 2).
    Joints without a point are not labelled. The area is the polygon's, else 0.53 of the box's.

    Args:
        folder: of ``*.json`` files, read with its subfolders.
        images: the folder that file names shall be relative to; by default the same one.
        joints: names of all joints, in order. By default COCO's 17 or CrowdPose's 14, if every
            label is one of theirs.

    Returns:
        The COCO document and the image folder. Ids count from 1, by file name.

    Raises:
        DataError: a file is none of LabelMe's, a label is no joint, a person has one twice, or a
            point could belong to several.
    """
    root = Path(folder).expanduser()
    files = sorted(root.rglob("*.json"))
    if not files:
        raise DataError(f"{str(root)!r} must hold LabelMe's .json files. Found none.")
    pages = [_read_page(file) for file in files]
    skeleton = _skeleton(pages, joints)
    place = root if images is None else Path(images).expanduser()
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for page in sorted(pages, key=lambda page: page.image_name(place)):
        number = len(records) + 1
        records.append({
            "id": number, "file_name": page.image_name(place),
            "width": page.width, "height": page.height,
        })  # fmt: skip
        for person in _people_labelme(page):
            record = _annotation(person, page, skeleton)
            annotations.append({"id": len(annotations) + 1, "image_id": number, **record})
    return document(records, annotations, skeleton, "Converted from LabelMe by kptk"), place


@dataclass(frozen=True)
class _Page:
    file: Path
    shapes: list[dict[str, Any]]
    image_path: str
    width: int
    height: int

    def image_name(self, place: Path) -> str:
        """Its image's path relative to ``place``; Windows' separators are understood."""
        relative = PureWindowsPath(self.image_path).as_posix()
        for candidate in (self.file.parent / relative, place / Path(relative).name):
            name = os.path.relpath(candidate, place)
            if candidate.is_file() and is_inside(place, name):
                return Path(name).as_posix()
        raise DataError(
            f"{self.file}: the image {self.image_path!r} is neither beside it nor in {place}. "
            "Pass images=, the folder it lies in."
        )


@dataclass
class _Person:
    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    outline: list[list[float]] | None = None
    is_polygon: bool = False


def _read_page(file: Path) -> _Page:
    content = read_json(file)
    try:
        shapes = [dict(shape) for shape in content["shapes"]]
        for shape in shapes:
            shape["points"] = [[float(x), float(y)] for x, y in shape["points"]]
            shape["label"] = str(shape["label"])
        size = int(content["imageWidth"]), int(content["imageHeight"])
        return _Page(file, shapes, str(content["imagePath"]), *size)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{file} must be a LabelMe file with imagePath, imageWidth, imageHeight and shapes "
            f"(label, points). Trouble with {error}."
        ) from error


def _is_point(shape: Mapping[str, Any]) -> bool:
    return bool(shape.get("shape_type") == "point")


def _skeleton(pages: Sequence[_Page], joints: Sequence[str] | None) -> Skeleton:
    labels = {s["label"]: page.file for page in pages for s in page.shapes if _is_point(s)}
    if not labels:
        raise DataError(
            f"{pages[0].file.parent} must hold LabelMe files with points (shape_type 'point'). "
            "Found none."
        )
    if joints is None:
        for skeleton in (COCO17, CROWDPOSE14):
            if {split_side(label) for label in labels} <= set(map(split_side, skeleton.names)):
                return skeleton
    known = list(joints or COCO17.names)
    strange = [x for x in labels if split_side(x) not in set(map(split_side, known))]
    if strange:
        raise DataError(
            f"{labels[strange[0]]}: the label {strange[0]!r} is no joint."
            f"{nearest(strange[0], known)} Pass joints=, the names of all joints in order."
        )
    try:
        return skeleton_of({"keypoints": known})
    except InputError as error:
        raise DataError(str(error)) from error


def _people_labelme(page: _Page) -> list[_Person]:
    """Join shapes to people: by group id, else by lying inside, else one person an image."""
    people: dict[Any, _Person] = {}
    for place, shape in enumerate(page.shapes):
        if _is_point(shape):
            continue
        group = shape.get("group_id")
        key = ("alone", place) if group is None else ("group", group)
        if people.setdefault(key, _Person()).outline is not None:
            raise DataError(f"{page.file}: the group {group} has two boxes; a person has one.")
        people[key].outline = shape["points"]
        people[key].is_polygon = shape.get("shape_type", "polygon") == "polygon"
    for shape in filter(_is_point, page.shapes):
        person = people.setdefault(_owner(shape, people, page), _Person())
        _add_point(person, shape, page)
    return list(people.values())


def _owner(shape: Mapping[str, Any], people: Mapping[Any, _Person], page: _Page) -> Any:
    if shape.get("group_id") is not None:
        return ("group", shape["group_id"])
    x, y = shape["points"][0]
    outlines = {key: person.outline for key, person in people.items() if person.outline}
    if not outlines:
        return ("alone", "the only one")
    inside = [key for key, outline in outlines.items() if _contains(outline, x, y)]
    if len(inside) == 1:
        return inside[0]
    if not inside and len(outlines) == 1:
        return next(iter(outlines))
    raise DataError(
        f"{page.file}: the point {shape['label']!r} at ({x:g}, {y:g}) has no group_id and lies in "
        f"{len(inside)} boxes. Give a person's points and box one group_id."
    )


def _contains(outline: Sequence[Sequence[float]], x: float, y: float) -> bool:
    x1, y1, x2, y2 = _corners(outline)
    return x1 <= x <= x2 and y1 <= y <= y2


def _corners(points: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def _add_point(person: _Person, shape: Mapping[str, Any], page: _Page) -> None:
    label = shape["label"]
    if label in person.points:
        raise DataError(
            f"{page.file}: a person has {label!r} twice. Give each person a group_id of its own."
        )
    flags = {str(name).lower() for name, value in (shape.get("flags") or {}).items() if value}
    words = {str(shape.get("description") or "").strip().lower()} | flags
    hidden = bool(words & _HIDDEN) or bool(shape.get("difficult"))
    x, y = shape["points"][0]
    person.points[label] = (x, y, 1 if hidden else 2)


def _annotation(person: _Person, page: _Page, skeleton: Skeleton) -> dict[str, Any]:
    by_joint = {split_side(label): point for label, point in person.points.items()}
    points = [by_joint.get(split_side(name), (0, 0, 0)) for name in skeleton.names]
    x1, y1, x2, y2 = _corners(person.outline) if person.outline else _box_of_points(person, page)
    record: dict[str, Any] = {
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": [value for point in points for value in point],
        "num_keypoints": len(person.points),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": AREA_OF_BOX * (x2 - x1) * (y2 - y1),
    }
    if person.is_polygon and person.outline and len(person.outline) > 2:
        record["segmentation"] = [[value for point in person.outline for value in point]]
        record["area"] = polygon_area(record["segmentation"][0])
    return record


def _box_of_points(person: _Person, page: _Page) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = _corners([point[:2] for point in person.points.values()])
    dx, dy = max(GROWTH * (x2 - x1), 1), max(GROWTH * (y2 - y1), 1)
    return max(x1 - dx, 0), max(y1 - dy, 0), min(x2 + dx, page.width), min(y2 + dy, page.height)


# ---- yolo: YOLO-pose data sets ↔ COCO.


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
    folder = _image_folder_yolo(place, settings, split)
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
        found = upright_size(path)
        if found is None:
            raise DataError(f"{path} cannot be read as an image.")
        height, width = found
        name = path.relative_to(root).as_posix()
        images.append({"id": len(images) + 1, "file_name": name, "width": width, "height": height})
        for row in _rows(label_file(path), 5 + count * numbers):
            person = _person_yolo(row, numbers, width, height)
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


def _image_folder_yolo(file: Path, settings: Mapping[str, Any], split: str) -> Path:
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


def _person_yolo(row: Sequence[float], numbers: int, width: int, height: int) -> dict[str, Any]:
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


# ---- convert: Convert whole data sets between formats, files included.


FORMATS = ("labelme", "aic", "yolo", "coco")


def convert(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    source_format: str,
    target_format: str = "coco",
    split: str = "train",
    images: str | os.PathLike[str] | None = None,
    joints: Sequence[str] | None = None,
    copy: bool = True,
    overwrite: bool = False,
) -> Path:
    """Convert a data set; the source is left as it is.

    Args:
        source: LabelMe's folder, AI Challenger's annotation file, YOLO's ``data.yaml`` (or the
            folder with it), or a COCO data set.
        out: the folder to write: ``images/`` and ``annotations/instance_{split}.json``, or
            YOLO's layout.
        source_format: ``"labelme"``, ``"aic"``, ``"yolo"`` or ``"coco"``.
        target_format: ``"coco"``, or from COCO also ``"yolo"``.
        split: which split is read, where there are several, and written.
        images: the image folder of the source, where it is not found.
        joints: names of all joints in order, where the source does not say.
        copy: whether image files are copied.
        overwrite: whether an annotation file may be replaced.

    Returns:
        The file to load: the annotation file or ``data.yaml``.

    Raises:
        DataError: a format is unknown, or something cannot be read or written.
    """
    for value in (source_format, target_format):
        if value not in FORMATS:
            raise DataError(
                f"Formats are {', '.join(FORMATS)}. Got {value!r}.{nearest(value, FORMATS)}"
            )
    if target_format == "yolo" and source_format == "coco":
        data = load_coco(source, split=split, images=images)
        return coco_to_yolo(data, out, split=split, images=copy)
    if target_format != "coco" or source_format == "coco":
        raise DataError(
            f"Expected labelme, aic or yolo to coco, or coco to yolo. Got {source_format} to "
            f"{target_format}; go by way of coco."
        )
    content, folder = _read(source, source_format, split, images, joints)
    target = Path(out).expanduser()
    written = write_coco(
        content, target / "annotations" / f"instance_{split}.json", overwrite=overwrite
    )
    if copy:
        copy_images(content["images"], folder, target / "images")
    return written


def _read(
    source: str | os.PathLike[str],
    source_format: str,
    split: str,
    images: str | os.PathLike[str] | None,
    joints: Sequence[str] | None,
) -> tuple[dict[str, Any], Path]:
    if source_format == "labelme":
        return labelme_to_coco(source, images=images, joints=joints)
    if joints is not None and source_format == "aic":
        raise DataError("AI Challenger's joints are known: leave joints out.")
    if source_format == "aic":
        return aic_to_coco(source, images=images)
    return yolo_to_coco(source, split=split, joints=joints)
