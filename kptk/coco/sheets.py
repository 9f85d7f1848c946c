"""Contact sheets of the worst: one a finding, drawn from the annotation file as it stands."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kptk.coco.dataset import KeypointData
from kptk.coco.load import CheckReport, read_document
from kptk.coco.rules import Finding
from kptk.errors import DataError, InputError
from kptk.files import replacing
from kptk.io.images import read_image
from kptk.skeleton import Skeleton, skeleton_of

_TILE, _CAPTION = 300, 16  # pixels
_GREY = 128
_MARGIN = 0.2
_ENLARGED = 4.0


def save_sheets(
    found: CheckReport, folder: str | os.PathLike[str], *, tiles: int = 6
) -> list[Path]:
    """Save one contact sheet a finding, with its first (worst) images or people side by side.

    Args:
        found: of :func:`kptk.coco.check_coco`.
        folder: receives ``{split}_{code}.jpg``; it is made, files of these names are replaced.
        tiles: how many a sheet.

    Returns:
        The files; none for findings that have nothing to show (of joints or missing files).

    Raises:
        DataError: they cannot be written.
    """
    target = Path(folder).expanduser()
    records = {split: Records(data) for split, data in found.files.items()}
    saved = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for split, finding in found.findings:
            sheet = sheet_of(finding, split, records, tiles)
            if sheet is not None:
                file = target / f"{split.replace('/', '-')}_{finding.code}.jpg"
                with replacing(file) as temporary:
                    sheet.save(temporary, "JPEG", quality=90)
                saved.append(file)
    except OSError as error:
        raise DataError(f"Contact sheets cannot be written to {target}: {error}.") from error
    return saved


class Records:
    """The records of an annotation file as they stand there, by id; ids may be of any type."""

    def __init__(self, data: KeypointData) -> None:
        def by_id(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
            return {repr(record.get("id")): record for record in reversed(list(records))}

        content = read_document(data.annotations_path)
        self.folder = data.images_dir
        self.images = by_id(content["images"])
        self.annotations = by_id(content["annotations"])
        posed = (c for c in content["categories"] if c.get("keypoints"))
        self.skeleton = skeleton_of(next(posed, {}))

    def read(self, image_id: Any) -> NDArray[np.uint8] | None:
        """An image, or None where it cannot be shown."""
        name = self.images.get(repr(image_id), {}).get("file_name")
        try:
            return read_image(self.folder / name) if isinstance(name, str) else None
        except InputError:
            return None


def sheet_of(
    finding: Finding, split: str, records: dict[str, Records], tiles: int
) -> Image.Image | None:
    """The first (worst) of a finding side by side; None where there is nothing to show.

    Args:
        finding: what was found.
        split: in which split, or ``"train/val"`` for what is between two.
        records: split → its records.
        tiles: how many at most.
    """
    splits = [records[name] for name in split.split("/") if name in records]
    shown: list[tuple[NDArray[np.uint8], str]] = []
    for number in finding.ids[: 3 * tiles]:
        if len(shown) < tiles:
            shown += pictures_of(finding, number, splits)
    if not shown:
        return None
    images = [(Image.fromarray(pixels), caption) for pixels, caption in shown]
    for image, _ in images:
        image.thumbnail((_TILE - 4, _TILE - 4))
    return contact_sheet(images, (_TILE, _TILE))


def contact_sheet(images: Sequence[tuple[Image.Image, str]], tile: tuple[int, int]) -> Image.Image:
    """Images side by side, three a row, each with its caption above.

    Args:
        images: with their captions, none larger than a tile less 4 pixels.
        tile: (width, height) of an image's room, without the caption.
    """
    columns, (width, height) = min(len(images), 3), (tile[0], tile[1] + _CAPTION)
    rows = -(-len(images) // max(columns, 1))
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for index, (image, caption) in enumerate(images):
        left, top = index % columns * width, index // columns * height
        sheet.paste(image, (left + 2, top + _CAPTION))
        ImageDraw.Draw(sheet).text((left + 3, top + 2), caption, fill="black")
    return sheet


def pictures_of(
    finding: Finding, number: Any, splits: list[Records]
) -> list[tuple[NDArray[np.uint8], str]]:
    """The image of one id with its caption: the person, the image, or both images of a pair.

    Args:
        finding: one of whose ``ids`` it is.
        number: the id.
        splits: the records of the split, or of both.

    Returns:
        RGB uint8 (H, W, 3) and text; empty where there is nothing to show.
    """
    if finding.of == "pair":
        pairs = zip(number, (splits[0], splits[-1]), strict=True)
        shown = [(records.read(image_id), f"image {image_id}") for image_id, records in pairs]
        known = [(pixels, caption) for pixels, caption in shown if pixels is not None]
        return known if len(known) == 2 else []
    records = splits[0]
    annotation = records.annotations.get(repr(number)) if finding.of == "annotation" else None
    if annotation is None and finding.of != "image":
        return []
    image_id = number if annotation is None else annotation.get("image_id")
    pixels = records.read(image_id)
    if pixels is None:
        return []
    if annotation is None:
        return [(pixels, f"image {image_id}")]
    caption = f"annotation {number}, image {image_id}"
    return [(draw_record(pixels, annotation, records.skeleton), caption)]


def draw_record(
    pixels: NDArray[np.uint8], annotation: dict[str, Any], skeleton: Skeleton
) -> NDArray[np.uint8]:
    """The part of an image round a person, with box and keypoints as the record has them.

    What lies outside the image is shown on grey; hidden keypoints (v = 1) are hollow.
    """
    box = _numbers(annotation.get("bbox"), 4).reshape(2, 2)
    box[1] += box[0]
    points = _numbers(annotation.get("keypoints"), 3 * len(skeleton)).reshape(-1, 3)
    points[~(points[:, 2] > 0)] = np.nan
    points[:, 2] = np.where(points[:, 2] == 1, 0.5, 1)
    region = np.vstack([box, points[:, :2]])
    people = box.reshape(1, 4), np.array([np.nan]), points[None]
    options: Any = {"skeleton": skeleton, "kpt_threshold": 0.75, "side": _TILE - 4}
    return draw_region(pixels, region, *people, **options)


def draw_region(
    pixels: NDArray[np.uint8],
    region: NDArray[Any],
    boxes: NDArray[Any],
    scores: NDArray[Any],
    keypoints: NDArray[Any],
    *,
    skeleton: Skeleton,
    kpt_threshold: float,
    side: int,
) -> NDArray[np.uint8]:
    """The part of an image round the points ``region`` (n, 2), with people drawn on it.

    Its longer side has ``side`` pixels; small parts are enlarged, but not more than four times.
    """
    from kptk.pipeline.results import draw_poses

    origin, canvas = cut_out(pixels, region.astype(np.float32))
    scale = min(side / max(canvas.shape[:2]), _ENLARGED)
    height, width = (max(1, round(scale * size)) for size in canvas.shape[:2])
    image = np.array(Image.fromarray(canvas).resize((width, height)))
    moved = keypoints.astype(np.float32)
    moved[..., :2] = (moved[..., :2] - origin) * scale
    corners = ((boxes.reshape(-1, 2, 2) - origin) * scale).reshape(-1, 4).astype(np.float32)
    people = corners, scores.astype(np.float32), moved
    return draw_poses(image, *people, skeleton=skeleton, kpt_threshold=kpt_threshold)


def _numbers(values: Any, count: int) -> NDArray[np.float32]:
    """So many numbers; all NaN where the record has something else."""
    try:
        array = np.array(values, np.float32)
    except (TypeError, ValueError):
        array = np.zeros(0, np.float32)
    return array if array.shape == (count,) else np.full(count, np.nan, np.float32)


def cut_out(
    pixels: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Cut out the region of ``points`` with a margin, at most one image size outside.

    Returns:
        (x, y) of its corner in the image, and its pixels.
    """
    size = np.array([pixels.shape[1], pixels.shape[0]], np.float32)
    known = np.clip(points[np.isfinite(points).all(axis=1)], -size, 2 * size)
    low, high = (known.min(0), known.max(0)) if len(known) else (np.zeros(2, np.float32), size)
    margin = np.maximum(_MARGIN * (high - low).max(), 8)
    low, high = np.floor(low - margin).astype(int), np.ceil(high + margin).astype(int)
    width, height = high - low
    canvas = np.full((height, width, 3), _GREY, np.uint8)
    start, stop = np.maximum(low, 0), np.minimum(high, size.astype(int))
    if (stop > start).all():
        (x1, y1), (x2, y2) = start - low, stop - low
        canvas[y1:y2, x1:x2] = pixels[start[1] : stop[1], start[0] : stop[0]]
    return low.astype(np.float32), canvas
