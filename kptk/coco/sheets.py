"""Pictures of the worst: one sheet a finding, drawn from the annotation file as it stands."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kptk.errors import DataError, InputError
from kptk.files import replacing
from kptk.io.images import read_image
from kptk.skeleton import Skeleton, skeleton_of

if TYPE_CHECKING:
    from kptk.coco.load import DataFiles, DatasetReport
    from kptk.coco.rules import Finding


_TILE = 300  # pixels


_CAPTION = 16


_GREY = 128


_MARGIN = 0.2


_ENLARGED = 4.0


def save_sheets(
    found: DatasetReport, folder: str | os.PathLike[str], *, tiles: int = 6
) -> list[Path]:
    """Save one picture a finding, with its first (worst) images or persons side by side.

    Args:
        found: of :func:`kptk.coco.load.check_coco`.
        folder: receives ``{split}_{code}.jpg``; it is made, files of these names are replaced.
        tiles: how many a sheet.

    Returns:
        The files; none for findings that have nothing to show (of joints or missing files).

    Raises:
        DataError: they cannot be written.
    """
    target = Path(folder).expanduser()
    records = {split: Records(files) for split, files in found.files.items()}
    saved = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for split, finding in found.findings:
            sheet = sheet_of(finding, split, records, tiles)
            if sheet is not None:
                name = f"{split.replace('/', '-')}_{finding.code}.jpg"
                with replacing(target / name) as temporary:
                    sheet.save(temporary, "JPEG", quality=90)
                saved.append(target / name)
    except OSError as error:
        raise DataError(f"Pictures cannot be written to {target}: {error}.") from error
    return saved


class Records:
    """The records of an annotation file as they stand there, by id."""

    def __init__(self, files: DataFiles) -> None:
        from kptk.coco.load import read_document

        self.folder = files.images
        content = read_document(files.annotations)
        self.images = _by_id(content["images"])
        self.annotations = _by_id(content["annotations"])
        categories = [c for c in content["categories"] if c.get("keypoints")]
        self.skeleton = skeleton_of(categories[0] if categories else {})

    def read(self, image_id: Any) -> NDArray[np.uint8] | None:
        """An image, or None where it cannot be shown."""
        image = self.images.get(repr(image_id))
        if image is None or not isinstance(image.get("file_name"), str):
            return None
        try:
            return read_image(self.folder / image["file_name"])
        except InputError:
            return None


def _by_id(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Ids may be of any type in a faulty file."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        found.setdefault(repr(record.get("id")), record)
    return found


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
    parts: list[Image.Image] = []
    for number in finding.ids[: 3 * tiles]:
        if len(parts) < tiles:
            parts += [_tile(pixels, text) for pixels, text in pictures_of(finding, number, splits)]
    if not parts:
        return None
    columns = min(len(parts), 3)
    rows = -(-len(parts) // columns)
    sheet = Image.new("RGB", (columns * _TILE, rows * (_TILE + _CAPTION)), "white")
    for place, tile in enumerate(parts):
        row, column = divmod(place, columns)
        sheet.paste(tile, (column * _TILE, row * (_TILE + _CAPTION)))
    return sheet


def pictures_of(
    finding: Finding, number: Any, splits: list[Records]
) -> list[tuple[NDArray[np.uint8], str]]:
    """The picture of one id with its caption: the person, the image, or both images of a pair.

    Args:
        finding: one of whose ``ids`` it is.
        number: the id.
        splits: the records of the split, or of both.

    Returns:
        RGB uint8 (H, W, 3) and text; empty where there is nothing to show.
    """
    if finding.of == "pair":
        pairs = zip(number, (splits[0], splits[-1]), strict=True)
        shown = [(image_id, records.read(image_id)) for image_id, records in pairs]
        known = [(pixels, f"image {i}") for i, pixels in shown if pixels is not None]
        return known if len(known) == 2 else []
    records = splits[0]
    if finding.of == "annotation" and repr(number) in records.annotations:
        annotation = records.annotations[repr(number)]
        pixels = records.read(annotation.get("image_id"))
        if pixels is None:
            return []
        caption = f"annotation {number}, image {annotation.get('image_id')}"
        return [(draw_record(pixels, annotation, records.skeleton), caption)]
    pixels = records.read(number) if finding.of == "image" else None
    return [] if pixels is None else [(pixels, f"image {number}")]


def _tile(pixels: NDArray[np.uint8], caption: str) -> Image.Image:
    tile = Image.new("RGB", (_TILE, _TILE + _CAPTION), "white")
    picture = Image.fromarray(pixels)
    picture.thumbnail((_TILE - 4, _TILE - 4))
    tile.paste(picture, (2, _CAPTION))
    ImageDraw.Draw(tile).text((3, 2), caption, fill="black")
    return tile


def draw_record(
    pixels: NDArray[np.uint8], annotation: dict[str, Any], skeleton: Skeleton
) -> NDArray[np.uint8]:
    """The part of an image round a person, with box and points as the record has them.

    What lies outside the image is shown on grey; hidden points (v = 1) are hollow.
    """
    from kptk.pipeline.results import draw_poses

    box = _numbers(annotation.get("bbox"), 4)
    box[2:] += box[:2]
    points = _numbers(annotation.get("keypoints"), 3 * len(skeleton)).reshape(-1, 3)
    points[~(points[:, 2] > 0)] = np.nan
    points[:, 2] = np.where(points[:, 2] == 1, 0.5, 1)
    origin, canvas = cut_out(pixels, np.vstack([box.reshape(2, 2), points[:, :2]]))
    scale = min((_TILE - 4) / max(canvas.shape[:2]), _ENLARGED)
    size = [max(1, round(scale * side)) for side in (canvas.shape[1], canvas.shape[0])]
    points[:, :2] = (points[:, :2] - origin) * scale
    return draw_poses(
        np.array(Image.fromarray(canvas).resize((size[0], size[1]))),
        ((box.reshape(2, 2) - origin) * scale).reshape(1, 4),
        np.array([np.nan], np.float32),
        points[None],
        skeleton=skeleton,
        kpt_threshold=0.75,
    )


def _numbers(values: Any, count: int) -> NDArray[np.float32]:
    """So many numbers; all NaN where the record has something else."""
    try:
        array = np.array(values, np.float32)
    except (TypeError, ValueError):
        array = np.zeros(0, np.float32)
    return array if array.shape == (count,) else np.full(count, np.nan, np.float32)


def cut_out(
    pixels: NDArray[np.uint8], places: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Cut out the region of ``places`` with a margin, at most one image size outside."""
    size = np.array([pixels.shape[1], pixels.shape[0]], np.float32)
    known = np.clip(places[np.isfinite(places).all(axis=1)], -size, 2 * size)
    low, high = (known.min(0), known.max(0)) if len(known) else (np.zeros(2, np.float32), size)
    margin = np.maximum(_MARGIN * (high - low).max(), 8)
    low, high = np.floor(low - margin).astype(int), np.ceil(high + margin).astype(int)
    width, height = high - low
    canvas = np.full((height, width, 3), _GREY, np.uint8)
    start, stop = np.maximum(low, 0), np.minimum(high, size.astype(int))
    if (stop > start).all():
        at = start - low
        part = pixels[start[1] : stop[1], start[0] : stop[0]]
        canvas[at[1] : at[1] + part.shape[0], at[0] : at[0] + part.shape[1]] = part
    return low.astype(np.float32), canvas
