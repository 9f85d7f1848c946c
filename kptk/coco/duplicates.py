"""Pictures that are copies of each other, or nearly so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kptk.coco.report import ERROR, WARNING, Finding

if TYPE_CHECKING:
    from kptk.coco.pictures import Picture

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
