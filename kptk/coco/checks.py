"""What records alone do not show: image files, copies, labels that look wrong, counts."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from kptk.coco.dataset import KeypointData
from kptk.coco.rules import ERROR, WARNING, Finding, Ledger, leave_out_images
from kptk.errors import KptkError, nearest
from kptk.files import show_progress
from kptk.instances import Instances
from kptk.io.images import decode_image
from kptk.skeleton import Skeleton, split_side

Array = NDArray[np.float64]
Bool = NDArray[np.bool_]
Size = tuple[int, int]  # height, width

_HASH_SIDE = 16
_HASH_BITS = _HASH_SIDE**2
NEAR = 20
"""Near-duplicates differ in at most this many of the 256 bits; unrelated images in some 128."""
_FLAT = 4.0  # grey levels of spread below which an image has no structure to compare
_CHUNK = 512
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations

EDGE = 1.0
"""Pixels a point or box may reach over the image's edge: files count pixels in both ways."""
BOX_MARGIN = 0.1
"""Share of the box's longer side that a visible point may lie outside it. Hidden points may lie
anywhere, since boxes are drawn round what is seen of a person."""
ONE_SIDED, ONE_SIDED_COUNT = 2.0, 50
"""Left labelled this many times as often as right, or the reverse, is worth a look, from this many
labels of the pair on."""

FACE_HEIGHT = 0.2
"""How far the nose must lie off the line of the eyes, in distances of the eyes."""
OPPOSED = -0.8
"""Cosine below which two left-to-right directions are called opposed (over 143 degrees apart)."""
FACE_WIDTH = 0.04
"""Least distance of the eyes, in lengths of the trunk, for a face to be seen from the front."""
TRUNK_WIDTH = 0.35
"""Least width of shoulders and hips, in lengths of the trunk, for them to be seen broadside."""

_SMALL, _MEDIUM = 32**2, 96**2  # COCO's limits of area, in square pixels


def repair_files(
    content: dict[str, Any], folder: Path, ledger: Ledger, *, needed: bool = True
) -> None:
    """Check that each image's file is there, and complete sizes that are missing.

    No image at all is an error only where they are ``needed``: an annotation file alone will do
    for evaluating stored predictions.
    """
    images = content["images"]
    if not images:
        return
    present: set[str] = set()  # one listing a folder
    for parent in {os.path.dirname(os.path.normpath(image["file_name"])) for image in images}:
        try:
            with os.scandir(folder / parent) as entries:
                present.update(os.path.join(parent, entry.name) for entry in entries)
        except OSError:
            continue
    missing = [image for image in images if os.path.normpath(image["file_name"]) not in present]
    ids = {image["id"]: None for image in missing}  # in this order
    first = missing[0]["file_name"] if missing else ""
    if len(missing) == len(images):
        where = f"{folder.name}/ (the first would be {first!r})"
        ledger.findings.append(Finding(
            code="images-folder", severity=ERROR if needed else WARNING, of="image", ids=tuple(ids),
            sentence=f"None of the images is in {where}.",
            advice="Pass images=, the folder that file_name is relative to. To evaluate stored "
            "predictions without images, pass the annotation file alone.",
        ))  # fmt: skip
        return
    example = nearest(first, present) if 0 < len(missing) < 20 else ""
    sentence = f"Image files are not in {folder.name}/ (first: {first!r}).{example}"
    ledger.add("image-missing", "image", ids, sentence, "", "Add the files or remove the records.")
    content["images"] = [image for image in images if image["id"] not in ids]
    leave_out_images(content, ids)
    filled = []
    for image in content["images"]:
        size = None if has_size(image) else upright_size(folder / image["file_name"])
        if size is not None:
            image["height"], image["width"] = size
            filled.append(image["id"])
    sentence = "Images have no width and height in the file."
    done = "They were read from the pictures."
    ledger.add("image-size-missing", "image", filled, sentence, done, "")


def has_size(image: dict[str, Any]) -> bool:
    """Whether a record says how large the image is."""
    sizes = image.get("width"), image.get("height")
    return all(isinstance(size, int | float) and size > 0 for size in sizes)


@dataclass(frozen=True, eq=False)
class ImageFile:
    """What one image file turned out to be.

    Attributes:
        image_id: its id.
        sizes: of the stored pixels, and with the EXIF rotation applied, as everyone sees it.
        rotated: whether EXIF asks for a rotation or mirroring.
        sha256: of the file's bytes.
        hash: :func:`difference_hash` of the upright image.
        trouble: why it cannot be read; empty if it can.
    """

    image_id: int
    sizes: tuple[Size, Size] = ((0, 0), (0, 0))
    rotated: bool = False
    sha256: str = ""
    hash: NDArray[np.uint64] | None = None
    trouble: str = ""


def upright_size(path: Path) -> Size | None:
    """The size of an image file with the EXIF rotation applied, not decoded; None if it is none."""
    try:
        return _header(path)[0][1]
    except Exception:  # a damaged header may raise anything; decoding says what it is
        return None


def _header(file: Path | io.BytesIO) -> tuple[tuple[Size, Size], int]:
    """The size of the stored pixels, that of the upright image, and the EXIF orientation."""
    with Image.open(file) as image:
        try:
            orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
        except Exception:  # a damaged EXIF block says nothing about the pixels
            orientation = 1
        stored = image.height, image.width
        return (stored, stored[::-1] if orientation in _SIDEWAYS else stored), orientation


def scan(data: KeypointData, *, progress: bool = True) -> list[ImageFile]:
    """Read every image of a data set once, in the order of their ids."""
    from tqdm.auto import tqdm

    def read(image_id: int) -> ImageFile:
        path = data.image_path(image_id)
        try:
            content = path.read_bytes()
            pixels = decode_image(content, path.name)
            sizes, orientation = _header(io.BytesIO(content))
        except OSError as error:
            return ImageFile(image_id, trouble=f"{path.name} cannot be read: {error.strerror}")
        except KptkError as error:
            return ImageFile(image_id, trouble=str(error))
        sha256 = hashlib.sha256(content).hexdigest()
        return ImageFile(image_id, sizes, orientation != 1, sha256, difference_hash(pixels))

    hidden = not progress or not show_progress()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = pool.map(read, data.image_ids)
        title = f"Reading {data.report.title}"
        return list(tqdm(found, title, len(data), unit=" images", disable=hidden, delay=1))


def file_findings(data: KeypointData, files: Sequence[ImageFile]) -> list[Finding]:
    """What single image files have wrong: damage, another size, EXIF rotation."""
    unreadable, wrong, sideways, turned = [], [], [], []
    trouble = example = ""
    for file, record in zip(files, data.images, strict=True):
        stored, upright = file.sizes
        said = (int(record["height"]), int(record["width"])) if has_size(record) else None
        if file.trouble:
            unreadable.append(file.image_id)
            trouble = trouble or file.trouble
        elif said not in (None, stored, upright):
            wrong.append(file.image_id)
            height, width = said
            example = example or (
                f"image {file.image_id}: {width} x {height}, really {upright[1]} x {upright[0]}"
            )
        elif said not in (None, upright):
            sideways.append(file.image_id)
        elif file.rotated:
            turned.append(file.image_id)
    return _findings([
        ("image-unreadable", ERROR, "image", unreadable,
         f"Image files cannot be read ({trouble})", "Replace the files, or remove their records."),
        ("image-size-wrong", ERROR, "image", wrong,
         f"Width and height in the file are not the picture's ({example}).",
         "If the labels lie right on the picture, correct the numbers; if the picture was resized, "
         "scale the labels."),
        ("exif-sideways", ERROR, "image", sideways,
         "Width and height are those of the stored pixels, but EXIF turns the picture on its side, "
         "as kptk and most viewers show it: the labels do not fit.",
         "Rotate the files for good, and look which way the labels are."),
        ("exif-rotated", WARNING, "image", turned,
         "EXIF turns these pictures. kptk applies it; PaddleX's training does not.",
         "Rotate the files for good."),
    ])  # fmt: skip


def _findings(table: Sequence[tuple[str, str, str, Sequence[Any], str, str]]) -> list[Finding]:
    """The rows (code, severity, of, ids, sentence, advice) that have ids."""
    return [
        Finding(code, severity, of, tuple(ids), sentence, advice)
        for code, severity, of, ids, sentence, advice in table
        if len(ids)
    ]


def difference_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint64] | None:
    """The difference hash (dHash) of an image: where its brightness rises from left to right.

    Args:
        pixels: RGB uint8 (H, W, 3).

    Returns:
        256 bits as (4,) uint64, one for each neighbouring pair of a 17 x 16 grey thumbnail;
        None for an image of one shade.
    """
    size = (_HASH_SIDE + 1, _HASH_SIDE)
    grey = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.BOX)
    levels = np.asarray(grey, np.int16)
    if levels.std() < _FLAT:
        return None
    return np.packbits(levels[:, 1:] > levels[:, :-1]).view(np.uint64)


def duplicate_findings(
    files: Sequence[ImageFile],
    others: Sequence[ImageFile] | None = None,
    names: tuple[str, str] = ("", ""),
) -> list[Finding]:
    """Copies among the images of a split, or (``others``) between two splits.

    Each image is named once, with the one it is nearest to (among those before it).
    """
    first_of: dict[str, int] = {}
    for file in files:
        if file.sha256:
            first_of.setdefault(file.sha256, file.image_id)
    copies = [
        (first_of[file.sha256], file.image_id)
        for file in (files if others is None else others)
        if file.sha256 in first_of
        and (others is not None or first_of[file.sha256] != file.image_id)
    ]
    copied = {image_id for _, image_id in copies}
    near = [pair for pair in _near(files, others) if pair[1] not in copied]
    rule = f"at most {NEAR} of {_HASH_BITS} bits of their difference hash apart"
    if others is None:
        kind, severity, where = "duplicate", WARNING, "within the split"
        advice = "Keep one of each, and keep frames of one scene in one split (kptk split "
        advice += "--group-by)."
    else:
        kind, severity, where = "leak", ERROR, f"between {names[0]} and {names[1]}"
        advice = f"Remove them from {names[0]}: what is measured on {names[1]} is too good."
    same, alike = "Image files are the same byte by byte", "Pictures are nearly the same"
    return _findings([
        (f"{kind}-exact", severity, "pair", copies, f"{same} {where}.", advice),
        (f"{kind}-near", WARNING, "pair", near, f"{alike} {where} ({rule}).", advice),
    ])  # fmt: skip


def _near(files: Sequence[ImageFile], others: Sequence[ImageFile] | None) -> list[tuple[int, int]]:
    """Each image with the nearest of ``files`` (without others: of those before it), if near."""

    def hashes(files: Sequence[ImageFile]) -> tuple[list[int], NDArray[np.uint64]]:
        known = [file for file in files if file.hash is not None]
        bits = np.array([file.hash for file in known], np.uint64)
        return [file.image_id for file in known], bits.reshape(-1, _HASH_BITS // 64)

    first_ids, first = hashes(files)
    later_ids, later = (first_ids, first) if others is None else hashes(others)
    pairs = []
    for start in range(0, len(later) if len(first) else 0, _CHUNK):
        part = later[start : start + _CHUNK]
        bits = np.zeros((len(part), len(first)), np.uint16)
        for word in range(first.shape[1]):
            bits += np.bitwise_count(part[:, None, word] ^ first[None, :, word])
        if others is None:
            rows = np.arange(start, start + len(part))
            bits[np.arange(len(first))[None] >= rows[:, None]] = _HASH_BITS
        nearest_one = bits.argmin(axis=1)
        for row in np.flatnonzero(bits.min(axis=1) <= NEAR).tolist():
            column = int(nearest_one[row])
            pair = first_ids[column], later_ids[start + row]
            pairs.append((int(bits[row, column]), pair))
    return [pair for _, pair in sorted(pairs, key=lambda found: found[0])]


def people_of(data: KeypointData) -> tuple[Instances, Array]:
    """All single people by image and annotation id, and (N, 2) height and width of their images.

    The sizes are NaN where the file does not say.
    """
    rows = [(image, person) for image in data.images for person in data.people(image["id"])]
    joints = len(data.skeleton)
    people = [person if joints else {**person, "keypoints": None} for _, person in rows]
    sizes = [[image.get(key) or np.nan for key in ("height", "width")] for image, _ in rows]
    return Instances.from_annotations(people, joints), np.array(sizes, float).reshape(-1, 2)


def label_findings(data: KeypointData) -> list[Finding]:
    """Labels that are well-formed but may be wrong: boxes, points and sides out of place."""
    people, sizes = people_of(data)
    records = [person for image_id in data.image_ids for person in data.people(image_id)]
    posed = len(data.skeleton) > 0

    def worst(badness: NDArray[Any], limit: float) -> list[int]:
        order = np.argsort(-np.nan_to_num(badness), kind="stable")
        return [int(i) for i in people.ids[order[badness[order] > limit]]]

    (x1, y1, x2, y2), (height, width) = people.boxes.T, sizes.T
    outside = (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    over = np.where(outside, 0, np.max([-x1, -y1, x2 - width, y2 - height], axis=0))
    # Do most boxes fit their images only if width and height are read as a corner?
    as_corners = np.column_stack([x2 - x1, y2 - y1])
    limits = sizes[:, ::-1] + EDGE
    fit = ((as_corners > people.boxes[:, :2]) & (as_corners <= limits)).all(1)
    most = (fit & (people.boxes[:, 2:] > limits).any(1)).sum() * 2 > len(people)
    hint = " They would fit as (x1, y1, x2, y2): convert them." if most else ""
    found = _findings([
        ("box-outside-image", ERROR, "annotation", people.ids[outside].tolist(),
         "Boxes lie wholly outside the image, so nobody can find the person.",
         "Correct or remove them."),
        ("box-over-edge", WARNING, "annotation", worst(over, EDGE),
         f"Boxes reach more than {EDGE:g} px over the image's edge.",
         f"Clip them, if the part outside was not meant.{hint}"),
        ("area-above-box", WARNING, "annotation",
         worst(people.areas / ((x2 - x1) * (y2 - y1)), 1.05), "The area is larger than the box's.",
         "The area is the mask's, in square pixels; OKS and the size classes depend on it."),
        ("ignore-flag", WARNING, "annotation", [p["id"] for p in records if p.get("ignore")],
         "Persons carry 'ignore', which pycocotools discards: they count like all others.",
         "Set iscrowd to 1 if they must not count."),
        ("person-without-keypoints", WARNING, "annotation",
         [p["id"] for p in records if posed and not p["num_keypoints"]],
         "Persons have a box and no labelled point. They count for the detector; keypoint AP "
         "ignores them.", "Label them, or leave them so if they are too small or hidden."),
    ])  # fmt: skip
    if not posed or not len(people):
        return found

    x, y, v = np.moveaxis(people.keypoints, 2, 0)
    off = np.max([-x, -y, x - width[:, None], y - height[:, None]], axis=0)
    off_image = np.where(v > 0, np.nan_to_num(off), 0).max(axis=1)
    origin = ((v > 0) & (x == 0) & (y == 0)).sum(axis=1)
    left, top, right, bottom = (people.boxes[:, i : i + 1] for i in range(4))
    longer = np.maximum(right - left, bottom - top)
    off = np.max([left - x, top - y, x - right, y - bottom], axis=0) / longer
    seen = v == max(v.max(), 1)  # some files know no 2
    off_box = np.where(seen, off, 0).max(axis=1)
    off_box = np.where((off_image > EDGE) | (origin > 0), 0, off_box)

    swapped, judged = probable_swaps(people.keypoints, data.skeleton)
    share = f"{int(swapped.sum())} of the {int(judged.sum())} persons that can be judged"

    counts, names = (v > 0).sum(axis=0), data.skeleton.names
    never = [name for name, count in zip(names, counts, strict=True) if not count]
    uneven = [
        (names[a], names[b])
        for a, b in data.skeleton.flip_pairs
        if counts[a] + counts[b] >= ONE_SIDED_COUNT
        and max(counts[a], counts[b]) > ONE_SIDED * min(counts[a], counts[b])
    ]
    return found + _findings([
        ("keypoints-at-origin", WARNING, "annotation", worst(origin, 0),
         "Points are labelled (v > 0) at exactly (0, 0), where missing points are often put.",
         "Set v to 0 if they are missing."),
        ("keypoints-outside-image", WARNING, "annotation", worst(off_image, EDGE),
         f"Labelled points lie more than {EDGE:g} px outside the image.",
         "Set v to 0 for what the image does not show."),
        ("keypoints-outside-box", WARNING, "annotation", worst(off_box, BOX_MARGIN),
         f"Visible points lie outside the box by more than {BOX_MARGIN:.0%} of its longer side.",
         "Look whether box and points are of the same person."),
        ("sides-swapped", WARNING, "annotation", people.ids[swapped].tolist(),
         f"Left and right are probably swapped for {share}: eyes and nose are those of a "
         "mirrored face, or shoulders point against the eyes or the hips.",
         "Most are: look whether the joint names' left is the person's own left, as it must be."
         if swapped.sum() > 0.5 * judged.sum() else "Look at them; swap the labels if so."),
        ("joint-never-labelled", WARNING, "joint", never if counts.any() else [],
         "Joints have not one label; training cannot learn them, and their AP is undefined.", ""),
        ("labels-one-sided", WARNING, "joint", uneven,
         f"One side is labelled more than {ONE_SIDED:g} times as often as the other.",
         "Look whether left and right were understood alike by everyone who labelled."),
    ])  # fmt: skip


def probable_swaps(keypoints: Array, skeleton: Skeleton) -> tuple[Bool, Bool]:
    """Judge whose left and right are probably labelled the wrong way round.

    Three rules, each of which anatomy nearly rules out by chance, and none of which depends on how
    the person is turned in the image:

    1. *Mirrored face*: eyes and nose are visible (v = 2), and going from the right eye to the left
       one and on to the nose turns the wrong way, with the nose at least ``FACE_HEIGHT`` eye
       distances off the line of the eyes. A face is never seen from behind, and this turn stays
       the same however head or camera are rolled.
    2. *Shoulders against eyes*: the same three points are visible and not mirrored, the shoulders
       are at least ``TRUNK_WIDTH`` of the trunk's length apart, and point against the eyes. No
       one can turn the head so far that both eyes are seen above a back.
    3. *Shoulders against hips*: both at least ``TRUNK_WIDTH`` wide and opposed: the spine does not
       turn half round.

    Measured on the 3,895 rendered people of ``data/demo``, whose labels are exact: 2,373 can be
    judged, 4 of them are named wrongly (0.2 %). With left and right of everyone swapped, 99 % of
    those with a visible face are found (65 % of all that can be judged: a back view does not
    tell). With shoulders and arms alone swapped, 93 % are found. On four COCO photographs 11
    people can be judged: none is named, and 9 are when their sides are swapped.

    Args:
        keypoints: (N, K, 3) x, y, v.
        skeleton: its joint names say which joints those are; rules whose joints it lacks are
            left out.

    Returns:
        (N,) whether a rule says swapped, and (N,) whether any rule could judge.
    """
    index = {split_side(name): i for i, name in enumerate(skeleton.names)}
    xy = np.where(keypoints[..., 2:] > 0, keypoints[..., :2], np.nan)
    absent = np.full((len(keypoints), 2), np.nan)  # which every comparison refuses

    def pair(part: str) -> tuple[Array, Array, Array]:
        """From the right one to the left one, that distance, and the middle between them."""
        left, right = (
            xy[:, index[side, part]] if (side, part) in index else absent
            for side in ("left", "right")
        )  # fmt: skip
        return left - right, _length(left - right), (left + right) / 2

    eyes, eye_distance, eye_middle = pair("eye")
    shoulders, shoulder_width, shoulder_middle = pair("shoulder")
    hips, hip_width, hip_middle = pair("hip")
    trunk = _length(shoulder_middle - hip_middle)
    broad = (shoulder_width > TRUNK_WIDTH * trunk) & (trunk > 0)
    nose = (xy[:, index["centre", "nose"]] if ("centre", "nose") in index else absent) - eye_middle
    # positive where the nose is clockwise of the eyes on the screen (y is down)
    height = (eyes[:, 0] * nose[:, 1] - eyes[:, 1] * nose[:, 0]) / eye_distance**2
    face = np.abs(height) > FACE_HEIGHT
    for joint in (("left", "eye"), ("right", "eye"), ("centre", "nose")):
        face &= keypoints[:, index[joint], 2] == 2 if joint in index else False
    mirrored = face & (height < 0)
    front = face & ~mirrored & broad & (eye_distance > FACE_WIDTH * trunk)
    wide = broad & (hip_width > TRUNK_WIDTH * trunk)
    against_eyes = (eyes * shoulders).sum(axis=1) / (eye_distance * shoulder_width) < OPPOSED
    against_hips = (hips * shoulders).sum(axis=1) / (hip_width * shoulder_width) < OPPOSED
    return mirrored | (front & against_eyes) | (wide & against_hips), face | front | wide


def _length(vectors: Array) -> Array:
    lengths: Array = np.hypot(vectors[:, 0], vectors[:, 1])
    return np.where(lengths > 0, lengths, np.nan)


def describe(data: KeypointData) -> dict[str, Any]:
    """Describe a data set in plain values.

    Returns:
        ``images``, ``images_without_people``, ``people``, ``people_without_keypoints``,
        ``crowds``, ``most_people_on_an_image``; ``sizes``: people of COCO's small, medium and
        large area; ``box_height``: its 0, 5, 50, 95 and 100 % quantiles in pixels;
        ``joints``: for each joint, how many are labelled, and of these visible and hidden.
    """
    on_images = [data.people(image_id) for image_id in data.image_ids]
    people = [person for on_image in on_images for person in on_image]
    areas = np.array([person["area"] for person in people], float)
    heights = np.array([person["bbox"][3] for person in people], float)
    shares = (0, 5, 50, 95, 100)
    quantiles = np.percentile(heights, shares).tolist() if people else []
    flags = people_of(data)[0].keypoints[..., 2]
    counts = np.stack([flags > 0, flags == 2, flags == 1]).sum(axis=1).T.tolist()
    return {
        "images": len(data),
        "images_without_people": sum(not on_image for on_image in on_images),
        "people": len(people),
        "people_without_keypoints": sum(not person.get("num_keypoints") for person in people),
        "crowds": sum(len(data.crowds(image_id)) for image_id in data.image_ids),
        "most_people_on_an_image": max(map(len, on_images), default=0),
        "sizes": {
            "small": int((areas < _SMALL).sum()),
            "medium": int(((areas >= _SMALL) & (areas < _MEDIUM)).sum()),
            "large": int((areas >= _MEDIUM).sum()),
        },
        "box_height": {f"{p}%": round(q, 1) for p, q in zip(shares, quantiles, strict=False)},
        "joints": {
            name: dict(zip(("labelled", "visible", "hidden"), count, strict=True))
            for name, count in zip(data.skeleton.names, counts, strict=True)
        },
    }
