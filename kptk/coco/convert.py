"""Other formats ↔ COCO: LabelMe, AI Challenger (14 joints), YOLO-pose."""

from __future__ import annotations

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
from kptk.files import to_yaml, writing
from kptk.io.images import IMAGE_SUFFIXES
from kptk.skeleton import COCO17, CROWDPOSE14, Skeleton, skeleton_of, split_side

StrPath = str | os.PathLike[str]
Record = dict[str, Any]

FORMATS = ("labelme", "aic", "yolo", "coco")

# AI Challenger's order; its head top and neck have no counterpart, COCO's face has none there.
AIC_JOINTS = (
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "head_top", "neck",
)  # fmt: skip
_AIC_VISIBILITY = {1: 2, 2: 1, 3: 0}  # visible, hidden, missing there

GROWTH = 0.1
"""A person without a box gets that of their keypoints, larger by this share of it on each side."""
_HIDDEN = frozenset(("hidden", "occluded", "invisible"))

_DIGITS = 9  # of YOLO's relative coordinates: some 1e-5 px at most


def convert(
    source: StrPath,
    out: StrPath,
    *,
    source_format: str,
    target_format: str = "coco",
    split: str = "train",
    images: StrPath | None = None,
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
    if source_format == "aic" and joints is not None:
        raise DataError("AI Challenger's joints are known: leave joints out.")
    if source_format == "labelme":
        content, folder = labelme_to_coco(source, images=images, joints=joints)
    elif source_format == "aic":
        content, folder = aic_to_coco(source, images=images)
    else:
        content, folder = yolo_to_coco(source, split=split, joints=joints)
    target = Path(out).expanduser()
    file = target / "annotations" / f"instance_{split}.json"
    written = write_coco(content, file, overwrite=overwrite)
    if copy:
        copy_images(content["images"], folder, target / "images")
    return written


class _Document:
    """A COCO document in the making; ids count from 1 in the order of adding."""

    def __init__(self) -> None:
        self.images: list[Record] = []
        self.annotations: list[Record] = []

    def add_image(self, name: str, height: int, width: int, **more: Any) -> None:
        number = len(self.images) + 1
        size = {"width": width, "height": height}
        self.images.append({"id": number, "file_name": name, **size, **more})

    def add_person(self, keypoints: list[float], box: Sequence[float], **more: Any) -> None:
        """A person on the last image; ``box`` is x, y, width, height."""
        self.annotations.append({
            "id": len(self.annotations) + 1,
            "image_id": len(self.images),
            "category_id": 1,
            "iscrowd": 0,
            "keypoints": keypoints,
            "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
            "bbox": list(box),
            "area": AREA_OF_BOX * abs(box[2]) * abs(box[3]),
            **more,
        })  # fmt: skip

    def content(self, skeleton: Skeleton, source: str) -> Record:
        said = f"Converted from {source} by kptk"
        return document(self.images, self.annotations, skeleton, said)


def aic_to_coco(file: StrPath, *, images: StrPath | None = None) -> tuple[dict[str, Any], Path]:
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
    beside = filter(Path.is_dir, sorted(path.parent.glob("keypoint_*images*")))
    folder = next(beside, path.parent) if images is None else Path(images).expanduser()
    made = _Document()
    missing: list[str] = []
    for entry in sorted(content, key=lambda entry: str(entry.get("image_id"))):
        name = f"{entry.get('image_id')}.jpg"
        size = upright_size(folder / name)
        if size is None:
            missing.append(name)
            continue
        made.add_image(name, *size, aic_id=entry["image_id"])
        try:
            points, boxes = entry["keypoint_annotations"], entry["human_annotations"]
            for person in sorted(points, key=lambda name: (len(name), name)):  # human2, human10
                x1, y1, x2, y2 = map(float, boxes[person])
                made.add_person(_aic_keypoints(points[person]), [x1, y1, x2 - x1, y2 - y1])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: image {entry.get('image_id')!r} must have keypoint_annotations (14 x, y, "
                "v) and human_annotations (x1, y1, x2, y2) for each person. Trouble with "
                f"{error}."
            ) from error
    if missing:
        raise DataError(
            f"{len(missing)} images of {path.name} cannot be read in {folder}: "
            f"{first_ids(missing)}. Pass images=, the folder they lie in."
        )
    return made.content(COCO17, "AI Challenger"), folder


def _aic_keypoints(numbers: list[float]) -> list[float]:
    if len(numbers) != 3 * len(AIC_JOINTS):
        raise ValueError(f"{len(numbers)} numbers in the keypoints")
    keypoints: list[float] = []
    for name in COCO17.names:
        at = 3 * AIC_JOINTS.index(name) if name in AIC_JOINTS else None
        x, y, v = (0, 0, 3) if at is None else numbers[at : at + 3]
        seen = _AIC_VISIBILITY.get(int(v), 0)
        keypoints += [x, y, seen] if seen else [0, 0, 0]
    return keypoints


def labelme_to_coco(
    folder: StrPath, *, images: StrPath | None = None, joints: Sequence[str] | None = None
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
    base = root if images is None else Path(images).expanduser()
    pages = [_Page(file) for file in sorted(root.rglob("*.json"))]
    if not pages:
        raise DataError(f"{str(root)!r} must hold LabelMe's .json files. Found none.")
    skeleton = _labelme_skeleton(pages, joints)
    made = _Document()
    for name, page in sorted((page.image_name(base), i) for i, page in enumerate(pages)):
        pages[page].add_to(made, name, skeleton)
    return made.content(skeleton, "LabelMe"), base


@dataclass
class _Labelled:
    """A person on a LabelMe page: joint → x, y, v, and their rectangle or polygon."""

    points: dict[str, tuple[float, float, int]] = field(default_factory=dict)
    outline: list[list[float]] | None = None
    is_polygon: bool = False


class _Page:
    """A LabelMe file: the shapes drawn on one image."""

    def __init__(self, file: Path) -> None:
        self.file = file
        content = read_json(file)
        try:
            shapes = [dict(shape) for shape in content["shapes"]]
            for shape in shapes:
                shape["points"] = [[float(x), float(y)] for x, y in shape["points"]]
                shape["label"] = str(shape["label"])
            self.width, self.height = int(content["imageWidth"]), int(content["imageHeight"])
            self.image_path = str(content["imagePath"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{file} must be a LabelMe file with imagePath, imageWidth, imageHeight and shapes "
                f"(label, points). Trouble with {error}."
            ) from error
        self.points = [shape for shape in shapes if shape.get("shape_type") == "point"]
        self.outlines = [shape for shape in shapes if shape.get("shape_type") != "point"]

    def image_name(self, folder: Path) -> str:
        """Its image's path relative to a folder; Windows' separators are understood."""
        relative = PureWindowsPath(self.image_path).as_posix()
        for candidate in (self.file.parent / relative, folder / Path(relative).name):
            name = os.path.relpath(candidate, folder)
            if candidate.is_file() and is_inside(folder, name):
                return Path(name).as_posix()
        raise DataError(
            f"{self.file}: the image {self.image_path!r} is neither beside it nor in {folder}. "
            "Pass images=, the folder it lies in."
        )

    def people(self) -> list[_Labelled]:
        """Join shapes to people: by group id, else by lying inside, else one person an image."""
        people: dict[Any, _Labelled] = {}
        for index, shape in enumerate(self.outlines):
            group = shape.get("group_id")
            key = ("alone", index) if group is None else ("group", group)
            if people.setdefault(key, _Labelled()).outline is not None:
                raise DataError(f"{self.file}: the group {group} has two boxes; a person has one.")
            people[key].outline = shape["points"]
            people[key].is_polygon = shape.get("shape_type", "polygon") == "polygon"
        for shape in self.points:
            points = people.setdefault(self._owner(shape, people), _Labelled()).points
            label = shape["label"]
            if label in points:
                raise DataError(
                    f"{self.file}: a person has {label!r} twice. Give each person a group_id of "
                    "its own."
                )
            words = {str(name).lower() for name, on in (shape.get("flags") or {}).items() if on}
            words.add(str(shape.get("description") or "").strip().lower())
            hidden = bool(words & _HIDDEN) or bool(shape.get("difficult"))
            points[label] = (*shape["points"][0], 1 if hidden else 2)
        return list(people.values())

    def _owner(self, shape: Mapping[str, Any], people: Mapping[Any, _Labelled]) -> Any:
        if shape.get("group_id") is not None:
            return ("group", shape["group_id"])
        x, y = shape["points"][0]
        boxes = {key: _corners(p.outline) for key, p in people.items() if p.outline}
        if not boxes:
            return ("alone", "the only one")
        inside = [key for key, (x1, y1, x2, y2) in boxes.items() if x1 <= x <= x2 and y1 <= y <= y2]
        if len(inside) == 1 or (not inside and len(boxes) == 1):
            return (inside or list(boxes))[0]
        raise DataError(
            f"{self.file}: the point {shape['label']!r} at ({x:g}, {y:g}) has no group_id and lies "
            f"in {len(inside)} boxes. Give a person's points and box one group_id."
        )

    def add_to(self, made: _Document, name: str, skeleton: Skeleton) -> None:
        """Add the image and its people."""
        made.add_image(name, self.height, self.width)
        for person in self.people():
            outline = person.outline
            if outline:
                x1, y1, x2, y2 = _corners(outline)
            else:
                x1, y1, x2, y2 = _corners(list(person.points.values()))
                dx, dy = max(GROWTH * (x2 - x1), 1), max(GROWTH * (y2 - y1), 1)
                x1, y1 = max(x1 - dx, 0), max(y1 - dy, 0)
                x2, y2 = min(x2 + dx, self.width), min(y2 + dy, self.height)
            by_joint = {split_side(label): point for label, point in person.points.items()}
            points = [by_joint.get(split_side(joint), (0, 0, 0)) for joint in skeleton.names]
            more: Record = {}
            if person.is_polygon and outline and len(outline) > 2:
                polygon = [value for point in outline for value in point]
                more = {"segmentation": [polygon], "area": polygon_area(polygon)}
            keypoints = [value for point in points for value in point]
            made.add_person(keypoints, [x1, y1, x2 - x1, y2 - y1], **more)


def _corners(points: Sequence[Sequence[float]]) -> tuple[float, float, float, float]:
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    return min(xs), min(ys), max(xs), max(ys)


def _labelme_skeleton(pages: Sequence[_Page], joints: Sequence[str] | None) -> Skeleton:
    labels = {shape["label"]: page.file for page in pages for shape in page.points}
    if not labels:
        raise DataError(
            f"{pages[0].file.parent} must hold LabelMe files with points (shape_type 'point'). "
            "Found none."
        )
    for skeleton in (COCO17, CROWDPOSE14) if joints is None else ():
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


def yolo_to_coco(
    file: StrPath, *, split: str = "train", joints: Sequence[str] | None = None
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
    path, settings = _yolo_settings(Path(file).expanduser())
    folder = _yolo_folder(path, settings, split)
    match settings.get("kpt_shape"):
        case [int(count), int(numbers)] if count > 0 and numbers in (2, 3):
            pass
        case shape:
            raise DataError(f"{path} must say kpt_shape: [joints, 2 or 3]. Got {shape!r}.")
    skeleton = skeleton_of({"keypoints": list(joints or _yolo_names(settings, count))})
    if len(skeleton) != count:
        raise DataError(f"{path} has {count} joints. Got {len(skeleton)} names.")
    if skeleton.names == COCO17.names:
        skeleton = COCO17
    # Splits may use the same names: theirs are told apart by the folder, as in images/val/1.jpg.
    root = folder.parent if folder.parent.name == "images" else folder
    made = _Document()
    for image in sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
        size = upright_size(image)
        if size is None:
            raise DataError(f"{image} cannot be read as an image.")
        height, width = size
        made.add_image(image.relative_to(root).as_posix(), height, width)
        for row in _yolo_rows(label_file(image), 5 + count * numbers):
            x, y, w, h = row[1] * width, row[2] * height, row[3] * width, row[4] * height
            keypoints: list[float] = []
            for px, py, *flag in (row[i : i + numbers] for i in range(5, len(row), numbers)):
                v = int(flag[0]) if flag else 2 * ((px, py) != (0, 0))
                keypoints += [px * width, py * height, v] if v else [0, 0, 0]
            made.add_person(keypoints, [x - w / 2, y - h / 2, w, h])
    return made.content(skeleton, "YOLO-pose"), root


def _yolo_settings(path: Path) -> tuple[Path, Mapping[str, Any]]:
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


def _yolo_folder(file: Path, settings: Mapping[str, Any], split: str) -> Path:
    value = settings.get(split)
    if not isinstance(value, str):
        splits = [name for name in ("train", "val", "test") if settings.get(name)]
        raise DataError(
            f"{file} must name one image folder for the split {split!r}. Got {value!r}."
            f"{nearest(split, splits)}"
        )
    # `path` may be of another machine
    folders = [file.parent / str(settings.get("path") or "") / value, file.parent / value]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise DataError(f"{file}: there is no image folder {str(folders[0])!r}.")


def _yolo_names(settings: Mapping[str, Any], count: int) -> list[str]:
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


def label_file(image: Path) -> Path:
    """Where YOLO looks for an image's labels: the last ``images`` in its path is ``labels``."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _yolo_rows(file: Path, count: int) -> list[list[float]]:
    rows = []
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for number, line in enumerate(lines, 1):
        words = line.split()
        try:
            row = list(map(float, words))
        except ValueError:
            row = []
        if words and len(row) != count:
            raise DataError(
                f"{file}, line {number}: expected {count} numbers (class, box, points). "
                f"Got {len(words)} words."
            )
        rows += [row] if words else []
    return rows


def coco_to_yolo(
    data: KeypointData, out: StrPath, *, split: str | None = None, images: bool = True
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
    if images:
        copy_images(data.images, data.images_dir, root / "images" / name)
    for image in data.images:
        file = (root / "labels" / name / image["file_name"]).with_suffix(".txt")
        with writing(file, DataError) as temporary:
            lines = (_yolo_line(person, image) for person in data.people(image["id"]))
            temporary.write_text("".join(lines), encoding="utf-8")
    file = root / "data.yaml"
    former = _yolo_settings(file)[1] if file.is_file() else {}
    settings = {
        "path": ".",
        **{key: former[key] for key in ("train", "val", "test") if key in former},
        name: f"images/{name}",
        "kpt_shape": [len(data.skeleton), 3],
        "flip_idx": data.skeleton.flip_order.tolist(),
        "names": {0: "person"},
        "kpt_names": {0: list(data.skeleton.names)},
    }
    with writing(file, DataError) as temporary:
        temporary.write_text(to_yaml(settings), encoding="utf-8")
    return file


def _yolo_line(person: Mapping[str, Any], image: Mapping[str, Any]) -> str:
    width, height = image["width"], image["height"]
    x, y, w, h = person["bbox"]
    x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    box = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
    words = ["0", *(f"{value:.{_DIGITS}f}" for value in box)]
    points = person["keypoints"]
    for px, py, v in zip(points[0::3], points[1::3], points[2::3], strict=True):
        if v > 0 and 0 <= px <= width and 0 <= py <= height:
            words += [f"{px / width:.{_DIGITS}f}", f"{py / height:.{_DIGITS}f}", str(int(v))]
        else:
            words += ["0", "0", "0"]
    return " ".join(words) + "\n"
