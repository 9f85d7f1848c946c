"""Pictures that are copies of each other, or nearly so."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.coco.rules import ERROR, WARNING, Finding, Ledger, leave_out_images
from kptk.errors import KptkError, nearest
from kptk.io.images import decode_image
from kptk.skeleton import Skeleton, split_side

if TYPE_CHECKING:
    from kptk.coco.load import KeypointData


SIDE = 16


BITS = SIDE * SIDE


NEAR = 20


"""Near-duplicates differ in at most this many of the 256 bits; unrelated pictures in some 128."""


_FLAT = 4.0  # grey levels of spread below which a picture has no structure to compare


_CHUNK = 512


def difference_hash(pixels: NDArray[np.uint8]) -> NDArray[np.uint64] | None:
    """The difference hash (dHash) of a picture: where its brightness rises from left to right.

    Args:
        pixels: RGB uint8 (H, W, 3).

    Returns:
        256 bits as (4,) uint64, one for each neighbouring pair of a 17 x 16 grey thumbnail;
        None for a picture of one shade.
    """
    grey = Image.fromarray(pixels).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    levels = np.asarray(grey, np.int16)
    if levels.std() < _FLAT:
        return None
    return np.packbits(levels[:, 1:] > levels[:, :-1]).view(np.uint64)


def near_pairs(
    first: NDArray[np.uint64], second: NDArray[np.uint64] | None = None
) -> Iterator[tuple[int, int, int]]:
    """For each hash of ``second``, its nearest in ``first``, if near.

    Args:
        first: (N, 4) hashes.
        second: (M, 4) hashes; None compares each of ``first`` with those before it.

    Yields:
        (index in first, index in second, differing bits), by the index in second.
    """
    others = first if second is None else second
    for start in range(0, len(others), _CHUNK):
        part = others[start : start + _CHUNK]
        bits = np.zeros((len(part), len(first)), np.uint16)
        for word in range(first.shape[1]):
            bits += np.bitwise_count(part[:, None, word] ^ first[None, :, word])
        if second is None:
            bits[np.arange(len(first))[None] >= np.arange(start, start + len(part))[:, None]] = BITS
        nearest = bits.argmin(axis=1) if len(first) else np.zeros(0, np.intp)
        for row, column in enumerate(nearest.tolist()):
            if bits[row, column] <= NEAR:
                yield column, start + row, int(bits[row, column])


def duplicate_findings(
    pictures: Sequence[Picture],
    others: Sequence[Picture] | None = None,
    names: tuple[str, str] = ("", ""),
) -> list[Finding]:
    """Copies among the pictures of a split, or (``others``) between two splits.

    Each picture is named once, with the one it is nearest to (among those before it).
    """
    copies = _exact(pictures, others)
    near = _near(pictures, others, set(copies))
    between = others is not None
    where = f"between {names[0]} and {names[1]}" if between else "within the split"
    advice = (
        f"Remove them from {names[0]}: what is measured on {names[1]} is too good."
        if between
        else "Keep one of each, and keep frames of one scene in one split (kptk split --group-by)."
    )
    rule = f"at most {NEAR} of {BITS} bits of their difference hash apart"
    findings = [
        Finding(
            "leak-exact" if between else "duplicate-exact", ERROR if between else WARNING, "pair",
            tuple(copies), f"Image files are the same byte by byte {where}.", advice,
        ),
        Finding(
            "leak-near" if between else "duplicate-near", WARNING, "pair", tuple(near),
            f"Pictures are nearly the same {where} ({rule}).", advice,
        ),
    ]  # fmt: skip
    return [finding for finding in findings if finding.count]


def _exact(pictures: Sequence[Picture], others: Sequence[Picture] | None) -> list[tuple[int, int]]:
    known: dict[str, int] = {}
    if others is not None:
        for picture in pictures:
            known.setdefault(picture.sha256, picture.image_id)
    found = []
    for picture in pictures if others is None else others:
        if picture.sha256 and picture.sha256 in known:
            found.append((known[picture.sha256], picture.image_id))
        elif others is None:
            known[picture.sha256] = picture.image_id
    return found


def _near(
    pictures: Sequence[Picture],
    others: Sequence[Picture] | None,
    copies: set[tuple[int, int]],
) -> list[tuple[int, int]]:
    first_ids, first = _stack(pictures)
    second_ids, second = (first_ids, None) if others is None else _stack(others)
    pairs = sorted(near_pairs(first, second), key=lambda pair: pair[2])
    copied = {second_id for _, second_id in copies}
    return [(first_ids[a], second_ids[b]) for a, b, _ in pairs if second_ids[b] not in copied]


def _stack(pictures: Sequence[Picture]) -> tuple[list[int], NDArray[np.uint64]]:
    known = [(p.image_id, p.hash) for p in pictures if p.hash is not None]
    hashes = np.array([h for _, h in known], np.uint64).reshape(-1, BITS // 64)
    return [image_id for image_id, _ in known], hashes


# ---- files: Whether the image files that a COCO file names are there.


def mend_files(
    content: dict[str, Any], folder: Path, ledger: Ledger, *, needed: bool = True
) -> None:
    """Check that each image's file is there, and complete sizes that are missing.

    No image at all is an error only where they are ``needed``: an annotation file alone will do
    for evaluating stored predictions.
    """
    images = content["images"]
    if not images:
        return
    present = _names(folder, images)
    missing = [image for image in images if os.path.normpath(image["file_name"]) not in present]
    if len(missing) == len(images):
        where = f"{folder.name}/ (the first would be {images[0]['file_name']!r})"
        ledger.findings.append(Finding(
            "images-folder", ERROR if needed else WARNING, "image",
            tuple(image["id"] for image in images), f"None of the images is in {where}.",
            "Pass images=, the folder that file_name is relative to. To evaluate stored "
            "predictions without images, pass the annotation file alone.",
        ))  # fmt: skip
        return
    example = nearest(missing[0]["file_name"], present) if 0 < len(missing) < 20 else ""
    ledger.add(
        "image-missing", "image", (image["id"] for image in missing),
        f"Image files are not in {folder.name}/"
        + (f" (first: {missing[0]['file_name']!r}).{example}" if missing else ""),
        advice="Add the files or remove the records.",
    )  # fmt: skip
    out = {image["id"] for image in missing}
    content["images"] = [image for image in images if image["id"] not in out]
    leave_out_images(content, out)
    _fill_sizes(content["images"], folder, ledger)


def _names(folder: Path, images: list[dict[str, Any]]) -> set[str]:
    """The names of all files in the folders that the images are in, one listing a folder."""
    parents = {os.path.dirname(os.path.normpath(image["file_name"])) for image in images}
    found: set[str] = set()
    for parent in parents:
        try:
            with os.scandir(folder / parent) as entries:
                found.update(os.path.join(parent, entry.name) for entry in entries)
        except OSError:
            continue
    return found


def _fill_sizes(images: list[dict[str, Any]], folder: Path, ledger: Ledger) -> None:

    without = [image for image in images if not has_size(image)]
    filled = []
    for image in without:
        found = header(folder / image["file_name"])
        if found is not None:
            image["height"], image["width"] = found.upright_size
            filled.append(image["id"])
    ledger.add(
        "image-size-missing", "image", filled, "Images have no width and height in the file.",
        "They were read from the pictures.",
    )  # fmt: skip


def has_size(image: dict[str, Any]) -> bool:
    """Whether a record says how large the image is."""
    return all(
        isinstance(image.get(key), int | float) and image[key] > 0 for key in ("width", "height")
    )


# ---- pictures: What the image files themselves say: damage, sizes, EXIF rotation, copies of each
# other.


_ORIENTATION = 0x0112


_SIDEWAYS = (5, 6, 7, 8)


@dataclass(frozen=True, eq=False)
class Picture:
    """What one image file turned out to be.

    Attributes:
        image_id: its id.
        size: (height, width) of the stored pixels, before EXIF rotation; None if unreadable.
        orientation: EXIF orientation, 1 if it is upright or says nothing.
        sha256: of the file's bytes.
        hash: :func:`kptk.coco.checks.difference_hash` of the upright picture.
        trouble: why it cannot be read; empty if it can.
    """

    image_id: int
    size: tuple[int, int] | None = None
    orientation: int = 1
    sha256: str = ""
    hash: NDArray[np.uint64] | None = None
    trouble: str = ""

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) with the EXIF rotation applied, as everyone sees it."""
        height, width = self.size or (0, 0)
        return (width, height) if self.orientation in _SIDEWAYS else (height, width)


def header(path: Path) -> Picture | None:
    """Size and orientation of an image file without decoding it; None if it is no image."""
    try:
        return _header(path)
    except Exception:  # a damaged header may raise anything; decoding says what it is
        return None


def _header(file: Path | io.BytesIO) -> Picture:
    with Image.open(file) as image:
        try:
            orientation = int(image.getexif().get(_ORIENTATION, 1))
        except Exception:  # a damaged EXIF block says nothing about the pixels
            orientation = 1
        return Picture(0, (image.height, image.width), orientation)


def scan(data: KeypointData, *, progress: bool = True) -> list[Picture]:
    """Read every image of a data set once, in the order of their ids."""
    from tqdm.auto import tqdm

    hidden = not progress or os.environ.get("KPTK_PROGRESS") == "0"
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda i: read_picture(data.image_path(i), i), data.image_ids)
        title = f"Reading {data.report.title}"
        return list(tqdm(found, title, len(data), unit=" images", disable=hidden, delay=1))


def read_picture(path: Path, image_id: int) -> Picture:
    """Read and decode one image file."""
    try:
        content = path.read_bytes()
        pixels = decode_image(content, path.name)
        found = _header(io.BytesIO(content))
    except OSError as error:
        return Picture(image_id, trouble=f"{path.name} cannot be read: {error.strerror}")
    except KptkError as error:
        return Picture(image_id, trouble=str(error))
    return replace(
        found,
        image_id=image_id,
        sha256=hashlib.sha256(content).hexdigest(),
        hash=difference_hash(pixels),
    )


def picture_findings(data: KeypointData, *, progress: bool = True) -> list[Finding]:
    """Read every image of a data set and say what is wrong with them."""
    pictures = scan(data, progress=progress)
    return file_findings(data, pictures) + duplicate_findings(pictures)


def file_findings(data: KeypointData, pictures: list[Picture]) -> list[Finding]:
    """What single image files have wrong: damage, another size, EXIF rotation."""
    bad = [picture for picture in pictures if picture.trouble]
    good = [picture for picture in pictures if not picture.trouble]
    records = {image["id"]: image for image in data.images}
    wrong = [p for p in good if _size_in_file(records[p.image_id]) not in _sizes(p)]
    sideways = [
        p for p in good
        if p not in wrong and _size_in_file(records[p.image_id]) not in (None, p.upright_size)
    ]  # fmt: skip
    turned = [p for p in good if p.orientation != 1 and p not in wrong and p not in sideways]
    findings = [
        _finding(
            "image-unreadable", ERROR, bad,
            f"Image files cannot be read ({bad[0].trouble if bad else ''})",
            "Replace the files, or remove their records.",
        ),
        _finding(
            "image-size-wrong", ERROR, wrong, "Width and height in the file are not the "
            f"picture's ({_example(records, wrong)}).",
            "If the labels lie right on the picture, correct the numbers; if the picture was "
            "resized, scale the labels.",
        ),
        _finding(
            "exif-sideways", ERROR, sideways, "Width and height are those of the stored pixels, "
            "but EXIF turns the picture on its side, as kptk and most viewers show it: the labels "
            "do not fit.", "Rotate the files for good, and look which way the labels are.",
        ),
        _finding(
            "exif-rotated", WARNING, turned, "EXIF turns these pictures. kptk applies it; "
            "PaddleX's training does not.", "Rotate the files for good.",
        ),
    ]  # fmt: skip
    return [finding for finding in findings if finding.count]


def _finding(
    code: str, severity: str, pictures: list[Picture], sentence: str, advice: str
) -> Finding:
    return Finding(code, severity, "image", tuple(p.image_id for p in pictures), sentence, advice)


def _size_in_file(record: dict[str, Any]) -> tuple[int, int] | None:
    return (int(record["height"]), int(record["width"])) if has_size(record) else None


def _sizes(picture: Picture) -> tuple[tuple[int, int] | None, ...]:
    return (None, picture.size, picture.upright_size)


def _example(records: dict[int, dict[str, Any]], pictures: list[Picture]) -> str:
    if not pictures:
        return ""
    first = pictures[0]
    height, width = _size_in_file(records[first.image_id]) or (0, 0)
    true_height, true_width = first.upright_size
    return f"image {first.image_id}: {width} x {height}, really {true_width} x {true_height}"


# ---- points: Labels that are well-formed but may be wrong: points and boxes out of place, balance.


EDGE = 1.0


"""Pixels a point or box may reach over the image's edge: files count pixels in both ways."""


BOX_MARGIN = 0.1


"""Share of the box's longer side that a visible point may lie outside it. Hidden points may lie
anywhere, since boxes are drawn round what is seen of a person."""


ONE_SIDED = 2.0


"""Left labelled this many times as often as right, or the reverse, is worth a look ..."""


ONE_SIDED_COUNT = 50


"""... from this many labels of the pair on."""


@dataclass(frozen=True, eq=False)
class People:
    """All single people of a data set as arrays, by image and annotation id.

    Attributes:
        ids: (N,) annotation ids.
        points: (N, K, 3) x, y in pixels, v.
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        areas: (N,) square pixels.
        sizes: (N, 2) height and width of the image, NaN where the file does not say.
    """

    ids: NDArray[np.int64]
    points: NDArray[np.float64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    sizes: NDArray[np.float64]


def gather(data: KeypointData) -> People:
    """The single people of a data set as arrays."""
    joints = len(data.skeleton)
    rows = [(image, person) for image in data.images for person in data.people(image["id"])]
    boxes = np.array([person["bbox"] for _, person in rows], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    points = [person["keypoints"] if joints else [] for _, person in rows]
    sizes = [[image.get(key) or np.nan for key in ("height", "width")] for image, _ in rows]
    return People(
        np.array([person["id"] for _, person in rows], np.int64),
        np.array(points, float).reshape(len(rows), joints, 3),
        boxes,
        np.array([person["area"] for _, person in rows], float),
        np.array(sizes, float).reshape(-1, 2),
    )


def point_findings(data: KeypointData) -> list[Finding]:
    """What is odd about boxes and points."""

    people = gather(data)
    findings = _box_findings(people) + _flag_findings(data)
    if len(data.skeleton) and len(people.ids):
        findings += _place_findings(people)
        findings += side_findings(people, data.skeleton)
        findings += _balance_findings(people, data)
    return [finding for finding in findings if finding.count]


def _box_findings(people: People) -> list[Finding]:
    x1, y1, x2, y2 = people.boxes.T
    height, width = people.sizes.T
    outside = (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    over = np.max([-x1, -y1, x2 - width, y2 - height], axis=0)
    over = np.where(outside, 0, over)
    too_large = people.areas / ((x2 - x1) * (y2 - y1))
    as_corners = _fit_as_corners(people)
    hint = " They would fit as (x1, y1, x2, y2): convert them." if as_corners else ""
    return [
        Finding(
            "box-outside-image", ERROR, "annotation", tuple(people.ids[outside].tolist()),
            "Boxes lie wholly outside the image, so nobody can find the person.",
            "Correct or remove them.",
        ),
        Finding(
            "box-over-edge", WARNING, "annotation", _worst(people.ids, over, EDGE),
            f"Boxes reach more than {EDGE:g} px over the image's edge.",
            f"Clip them, if the part outside was not meant.{hint}",
        ),
        Finding(
            "area-above-box", WARNING, "annotation", _worst(people.ids, too_large, 1.05),
            "The area is larger than the box's.",
            "The area is the mask's, in square pixels; OKS and the size classes depend on it.",
        ),
    ]  # fmt: skip


def _fit_as_corners(people: People) -> bool:
    """Whether most boxes fit their images only if width and height are read as a corner."""
    corners = np.concatenate([people.boxes[:, :2], people.boxes[:, 2:] - people.boxes[:, :2]], 1)
    limits = people.sizes[:, ::-1] + EDGE
    fits = (corners[:, 2:] > corners[:, :2]).all(1) & (corners[:, 2:] <= limits).all(1)
    return bool((fits & (people.boxes[:, 2:] > limits).any(1)).sum() * 2 > len(people.ids))


def _flag_findings(data: KeypointData) -> list[Finding]:
    people = [person for image_id in data.image_ids for person in data.people(image_id)]
    ignored = tuple(person["id"] for person in people if person.get("ignore"))
    bare = [p["id"] for p in people if len(data.skeleton) and not p["num_keypoints"]]
    return [
        Finding(
            "ignore-flag", WARNING, "annotation", ignored,
            "Persons carry 'ignore', which pycocotools discards: they count like all others.",
            "Set iscrowd to 1 if they must not count.",
        ),
        Finding(
            "person-without-keypoints", WARNING, "annotation", tuple(bare),
            "Persons have a box and no labelled point. They count for the detector; keypoint AP "
            "ignores them.", "Label them, or leave them so if they are too small or hidden.",
        ),
    ]  # fmt: skip


def _place_findings(people: People) -> list[Finding]:
    labelled = people.points[..., 2] > 0
    x, y = people.points[..., 0], people.points[..., 1]
    height, width = people.sizes[:, :1], people.sizes[:, 1:]
    off_image = np.max([-x, -y, x - width, y - height], axis=0)
    off_image = np.where(labelled, np.nan_to_num(off_image), 0).max(axis=1)
    x1, y1, x2, y2 = (people.boxes[:, i : i + 1] for i in range(4))
    off_box = np.max([x1 - x, y1 - y, x - x2, y - y2], axis=0) / np.maximum(x2 - x1, y2 - y1)
    seen = people.points[..., 2] == max(people.points[..., 2].max(), 1)  # some files know no 2
    off_box = np.where(seen, off_box, 0).max(axis=1)
    origin = (labelled & (x == 0) & (y == 0)).sum(axis=1)
    off_box = np.where((off_image > EDGE) | (origin > 0), 0, off_box)
    return [
        Finding(
            "keypoints-at-origin", WARNING, "annotation", _worst(people.ids, origin, 0),
            "Points are labelled (v > 0) at exactly (0, 0), where missing points are often put.",
            "Set v to 0 if they are missing.",
        ),
        Finding(
            "keypoints-outside-image", WARNING, "annotation",
            _worst(people.ids, off_image, EDGE),
            f"Labelled points lie more than {EDGE:g} px outside the image.",
            "Set v to 0 for what the image does not show.",
        ),
        Finding(
            "keypoints-outside-box", WARNING, "annotation",
            _worst(people.ids, off_box, BOX_MARGIN),
            f"Visible points lie outside the box by more than {BOX_MARGIN:.0%} of its longer "
            "side.",
            "Look whether box and points are of the same person.",
        ),
    ]  # fmt: skip


def _balance_findings(people: People, data: KeypointData) -> list[Finding]:
    counts = (people.points[..., 2] > 0).sum(axis=0)
    names = data.skeleton.names
    never = [name for name, count in zip(names, counts, strict=True) if not count]
    uneven = [
        (names[left], names[right])
        for left, right in data.skeleton.flip_pairs
        if counts[left] + counts[right] >= ONE_SIDED_COUNT
        and max(counts[left], counts[right]) > ONE_SIDED * min(counts[left], counts[right])
    ]
    return [
        Finding(
            "joint-never-labelled", WARNING, "joint", tuple(never if counts.any() else ()),
            "Joints have not one label; training cannot learn them, and their AP is undefined.",
        ),
        Finding(
            "labels-one-sided", WARNING, "joint", tuple(uneven),
            f"One side is labelled more than {ONE_SIDED:g} times as often as the other.",
            "Look whether left and right were understood alike by everyone who labelled.",
        ),
    ]  # fmt: skip


def _worst(ids: NDArray[np.int64], badness: NDArray[Any], limit: float) -> tuple[Any, ...]:
    """The ids whose badness is above the limit, the worst first."""
    order: Sequence[int] = np.argsort(-np.nan_to_num(badness), kind="stable").tolist()
    return tuple(int(ids[i]) for i in order if badness[i] > limit)


# ---- sides: Persons whose left and right are probably labelled the wrong way round.
#
# Three rules, each of which anatomy nearly rules out by chance, and none of which depends on how the
# person is turned in the picture.
#
# Measured on the 3,895 rendered people of ``data/demo``, whose labels are exact: 2,373 can be judged,
# 4 of them are named wrongly (0.2 %). With left and right of everyone swapped, 99 % of those with a
# visible face are found (65 % of all that can be judged: a back view does not tell). With shoulders
# and arms alone swapped, 93 % are found. On four COCO photographs 11 people can be judged: none is
# named, and 9 are when their sides are swapped.


Array = NDArray[np.float64]


FACE_HEIGHT = 0.2


"""How far the nose must lie off the line of the eyes, in distances of the eyes."""


OPPOSED = -0.8


"""Cosine below which two left-to-right directions are called opposed (over 143 degrees apart)."""


FACE_WIDTH = 0.04


"""Least distance of the eyes, in lengths of the trunk, for a face to be seen from the front."""


TRUNK_WIDTH = 0.35


"""Least width of shoulders and hips, in lengths of the trunk, for them to be seen broadside."""


def side_findings(people: People, skeleton: Skeleton) -> list[Finding]:
    """Persons whose sides are probably swapped, as at most one finding."""
    swapped, judged = probable_swaps(people.points, skeleton)
    ids = tuple(people.ids[swapped].tolist())
    share = f"{len(ids)} of the {int(judged.sum())} persons that can be judged"
    most = len(ids) > 0.5 * judged.sum()
    return [
        Finding(
            "sides-swapped", WARNING, "annotation", ids,
            f"Left and right are probably swapped for {share}: eyes and nose are those of a "
            "mirrored face, or shoulders point against the eyes or the hips.",
            "Most are: look whether the joint names' left is the person's own left, as it must be."
            if most else "Look at them; swap the labels if so.",
        )
    ]  # fmt: skip


def probable_swaps(
    points: Array, skeleton: Skeleton
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Judge whose left and right are swapped.

    1. *Mirrored face*: eyes and nose are visible (v = 2), and going from the right eye to the left
       one and on to the nose turns the wrong way, with the nose at least ``FACE_HEIGHT`` eye
       distances off the line of the eyes. A face is never seen from behind, and this turn stays
       the same however head or camera are rolled.
    2. *Shoulders against eyes*: the same three points are visible and not mirrored, the shoulders
       are at least ``TRUNK_WIDTH`` of the trunk's length apart, and point against the eyes. No
       one can turn the head so far that both eyes are seen above a back.
    3. *Shoulders against hips*: both at least ``TRUNK_WIDTH`` wide and opposed: the spine does not
       turn half round.

    Args:
        points: (N, K, 3) x, y, v.
        skeleton: its joint names say which joints those are; rules whose joints it lacks are
            left out.

    Returns:
        (N,) whether a rule says swapped, and (N,) whether any rule could judge.
    """
    none = np.zeros(len(points), bool)
    swapped, judged = none.copy(), none.copy()
    joints = _Joints(points, skeleton)
    eyes, shoulders, hips = joints.across("eye"), joints.across("shoulder"), joints.across("hip")
    trunk = _length(joints.middle("shoulder") - joints.middle("hip"))
    broad = (_length(shoulders) > TRUNK_WIDTH * trunk) & (trunk > 0)
    height = _cross(eyes, joints.at("nose") - joints.middle("eye")) / _length(eyes) ** 2
    face = joints.seen("left_eye", "right_eye", "nose") & (np.abs(height) > FACE_HEIGHT)
    mirrored = face & (height < 0)
    front = face & ~mirrored & broad & (_length(eyes) > FACE_WIDTH * trunk)
    wide = broad & (_length(hips) > TRUNK_WIDTH * trunk)
    for able, wrong in (
        (face, mirrored),
        (front, front & (_cosine(eyes, shoulders) < OPPOSED)),
        (wide, wide & (_cosine(shoulders, hips) < OPPOSED)),
    ):
        judged |= able
        swapped |= wrong
    return swapped, judged


class _Joints:
    """Joints by name; unlabelled and absent ones are NaN, which every comparison refuses."""

    def __init__(self, points: Array, skeleton: Skeleton) -> None:
        sides = [split_side(name) for name in skeleton.names]
        names = [rest if side == "centre" else f"{side}_{rest}" for side, rest in sides]
        self.index = {name: i for i, name in enumerate(names)}
        self.visibility = points[..., 2]
        self.xy = np.where(points[..., 2:] > 0, points[..., :2], np.nan)

    def at(self, name: str) -> Array:
        """(N, 2) places of a joint."""
        if name not in self.index:
            return np.full((len(self.xy), 2), np.nan)
        return self.xy[:, self.index[name]]

    def across(self, part: str) -> Array:
        """(N, 2) from the right one to the left one."""
        return self.at(f"left_{part}") - self.at(f"right_{part}")

    def middle(self, part: str) -> Array:
        """(N, 2) between left and right."""
        return (self.at(f"left_{part}") + self.at(f"right_{part}")) / 2

    def seen(self, *names: str) -> NDArray[np.bool_]:
        """(N,) whether all of them are labelled as visible."""
        if not set(names) <= set(self.index):
            return np.zeros(len(self.xy), bool)
        found: NDArray[np.bool_] = np.all(
            [self.visibility[:, self.index[name]] == 2 for name in names], axis=0
        )
        return found


def _length(vectors: Array) -> Array:
    lengths: Array = np.hypot(vectors[:, 0], vectors[:, 1])
    return np.where(lengths > 0, lengths, np.nan)


def _cross(a: Array, b: Array) -> Array:
    """Positive where b points clockwise of a on the screen (y is down)."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _cosine(a: Array, b: Array) -> Array:
    dots: Array = (a * b).sum(axis=1)
    return dots / (_length(a) * _length(b))


# ---- statistics: Counts, sizes and label balance of a data set.


SMALL, MEDIUM = 32**2, 96**2  # COCO's limits of area, in square pixels


def describe(data: KeypointData) -> dict[str, Any]:
    """Describe a data set in plain values.

    Returns:
        ``images``, ``images_without_people``, ``people``, ``people_without_keypoints``,
        ``crowds``, ``most_people_on_an_image``; ``sizes``: people of COCO's small, medium and
        large area; ``box_height``: its 0, 5, 50, 95 and 100 % quantiles in pixels;
        ``joints``: for each joint, how many are labelled, and of these visible and hidden.
    """
    people = [data.people(image_id) for image_id in data.image_ids]
    every = [person for on_image in people for person in on_image]
    areas = np.array([person["area"] for person in every], float)
    heights = np.array([person["bbox"][3] for person in every], float)
    counts = [len(on_image) for on_image in people]
    return {
        "images": len(data),
        "images_without_people": counts.count(0),
        "people": len(every),
        "people_without_keypoints": sum(not person.get("num_keypoints") for person in every),
        "crowds": sum(len(data.crowds(image_id)) for image_id in data.image_ids),
        "most_people_on_an_image": max(counts, default=0),
        "sizes": {
            "small": int((areas < SMALL).sum()),
            "medium": int(((areas >= SMALL) & (areas < MEDIUM)).sum()),
            "large": int((areas >= MEDIUM).sum()),
        },
        "box_height": _quantiles(heights),
        "joints": _joints(data),
    }


def _quantiles(values: NDArray[np.float64]) -> dict[str, float]:
    if not len(values):
        return {}
    found = np.quantile(values, [0, 0.05, 0.5, 0.95, 1])
    return {f"{p}%": round(float(v), 1) for p, v in zip((0, 5, 50, 95, 100), found, strict=True)}


def _joints(data: KeypointData) -> dict[str, dict[str, int]]:

    visibility = gather(data).points[..., 2]
    return {
        name: {
            "labelled": int((visibility[:, k] > 0).sum()),
            "visible": int((visibility[:, k] == 2).sum()),
            "hidden": int((visibility[:, k] == 1).sum()),
        }
        for k, name in enumerate(data.skeleton.names)
    }
