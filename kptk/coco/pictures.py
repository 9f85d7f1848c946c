"""What the image files themselves say: damage, sizes, EXIF rotation, copies of each other."""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.coco.duplicates import difference_hash, duplicate_findings
from kptk.coco.files import has_size
from kptk.coco.report import ERROR, WARNING, Finding
from kptk.errors import KptkError
from kptk.images import decode_image

if TYPE_CHECKING:
    from kptk.coco.data import KeypointData

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
        hash: :func:`kptk.coco.duplicates.difference_hash` of the upright picture.
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
