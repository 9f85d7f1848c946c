"""Where errors gather: error rates of groups of people, by size, crowding, any column."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.analysis.bundle import Bundle, Float
from kptk.analysis.rates import wilson
from kptk.analysis.traits import crowding, hidden, truncation
from kptk.errors import InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

Read = Callable[[Mapping[str, Any]], NDArray[np.uint8]]

BINS: Mapping[str, tuple[float, ...]] = {
    "crowding": (0.0, 0.1, 0.3, 0.5),
    "n_overlaps": (0, 1, 3),
    "truncation": (0.0, 0.1, 0.25),
    "occlusion": (0.0, 0.25, 0.5, 0.75),
    "box_iou": (0.5, 0.6, 0.7, 0.8, 0.9),
    "box_score": (0.3, 0.5, 0.7, 0.9),
    "oks": (0.5, 0.75, 0.85, 0.95),
    "oks_given": (0.5, 0.75, 0.85, 0.95),
    "n_keypoints": (5, 10, 15),
    "n_visible": (0, 5, 10, 15),
}
"""Upper ends of the groups of known columns; the last group holds what is above."""

_MANY = 8  # more different numbers in a column without BINS are put into quarters
_KNOWN_KEYS = {"id", "file_name", "width", "height", "license", "coco_url", "flickr_url",
               "date_captured"}  # fmt: skip
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def person_columns(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """Columns (G,) about all people, beyond those of their label.

    ``crowding`` and ``n_overlaps`` (:func:`kptk.analysis.traits.crowding`), ``truncation``,
    ``occlusion`` (the share of labelled joints that are hidden), and ``image.<key>`` for every
    further plain value that the image records hold, such as the weather.
    """
    largest, count = crowding(bundle)
    return {
        "crowding": largest,
        "n_overlaps": count,
        "truncation": truncation(bundle),
        "occlusion": hidden(bundle),
        **_image_columns(bundle),
    }


def _image_columns(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """What the image records say beyond COCO's own keys, for each person."""
    keys = dict.fromkeys(
        key
        for image in bundle.images
        for key, value in image.items()
        if key not in _KNOWN_KEYS and isinstance(value, str | int | float)
    )
    columns = {}
    for key in keys:
        values = [image.get(key) for image in bundle.images]
        columns[f"image.{key}"] = _column(values)[bundle.people.image]
    return columns


def _column(values: Sequence[Any]) -> NDArray[Any]:
    """Numbers as float64 with NaN where there is none; everything else as it is."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return np.array([np.nan if value is None else value for value in values], np.float64)
    return np.array(values, object)


def brightness(bundle: Bundle, read: Read) -> Float:
    """(G,) mean luminance of the person's box, 0 to 1; NaN where it is outside the image.

    Luminance is .299 R + .587 G + .114 B (ITU-R BT.601), of the values as stored.

    Args:
        bundle: the people.
        read: gives the image of a COCO image record: RGB uint8 (H, W, 3). Called once an image, in
            the order of the ids, for images with people.
    """
    people = bundle.people
    values = np.full(len(people), np.nan)
    for index in np.unique(people.image).tolist():
        picture = read(bundle.images[index])
        height, width = picture.shape[:2]
        for g in np.flatnonzero(people.image == index).tolist():
            x1, y1 = np.floor(people.box[g, :2]).clip(0).astype(int)
            x2, y2 = np.ceil(people.box[g, 2:]).clip(0, (width, height)).astype(int)
            part = picture[y1:y2, x1:x2]
            if part.size:
                values[g] = (part.mean(axis=(0, 1)) @ _LUMA) / 255
    return values


def slice_table(
    table: pd.DataFrame,
    by: Sequence[str | Sequence[str]],
    *,
    right: str = "ok",
    min_cell: int = 30,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Error rates of groups of rows.

    Args:
        table: persons, or anything with a column ``label``, such as joints.
        by: columns, each for itself; several columns together as a tuple. Numbers are put into the
            groups of :data:`BINS`, or into quarters if there are many different ones.
        right: the label of rows without an error: ``"ok"`` of persons, ``"good"`` of joints.
        min_cell: groups with fewer rows are grey.
        confidence: of the intervals.

    Returns:
        One row a group. ``slice``: the columns; ``value``: the group, text; ``n``; ``errors``;
        ``rate`` with its Wilson interval ``low``, ``high``; ``lift``: the rate less the rate of the
        whole table; ``grey``. Ordered by lift times n, the errors beyond what so many rows have on
        average; grey groups last.

    Raises:
        InputError: there is no such column.
    """
    import pandas as pd

    wrong = (table["label"] != right).to_numpy(np.bool_)
    overall = float(wrong.mean()) if len(wrong) else float("nan")
    parts = [_groups(table, name, wrong) for name in by]
    columns = ["slice", "value", "n", "errors"]
    rows = pd.DataFrame([row for part in parts for row in part], columns=columns)
    counts, errors = rows["n"].to_numpy(np.float64), rows["errors"].to_numpy(np.float64)
    rows["rate"] = errors / np.maximum(counts, 1)
    rows["low"], rows["high"] = wilson(errors, counts, confidence)
    rows["lift"] = rows["rate"] - overall
    rows["grey"] = counts < min_cell
    excess = rows["lift"].to_numpy(np.float64) * counts
    order = np.lexsort((-excess, rows["grey"].to_numpy(np.bool_)))
    return rows.iloc[order].reset_index(drop=True)


def _groups(
    table: pd.DataFrame, by: str | Sequence[str], wrong: NDArray[np.bool_]
) -> list[tuple[str, str, int, int]]:
    """(columns, group, rows, errors) of each group of one column, or of several together."""
    names = [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in table:
            raise InputError(
                f"There is no column {name!r} to slice by.{nearest(name, list(table.columns))}"
            )
    texts = [group_texts(table[name], name) for name in names]
    joined = np.array([" · ".join(parts) for parts in zip(*texts, strict=True)], object)
    values, place = np.unique(joined.astype(str), return_inverse=True)
    n = np.bincount(place, minlength=len(values))
    errors = np.bincount(place[wrong], minlength=len(values))
    title = " · ".join(names)
    rows = zip(values.tolist(), n.tolist(), errors.tolist(), strict=True)
    return [(title, value, count, bad) for value, count, bad in rows]


def group_texts(column: pd.Series[Any], name: str) -> list[str]:
    """The group that each value of a column falls into, as text; "none" where it is missing."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(column):
        return ["yes" if value else "no" for value in column.tolist()]
    numbers = pd.api.types.is_numeric_dtype(column)
    if not numbers or (name not in BINS and column.nunique() <= _MANY):
        return [_text(value) for value in column.tolist()]
    values = column.to_numpy(np.float64)
    known = np.isfinite(values)
    if name in BINS:
        ends = np.array(BINS[name], np.float64)
    else:
        ends = np.unique(np.quantile(values[known], [0.25, 0.5, 0.75]))
    texts = np.array(_interval_texts(ends, pd.api.types.is_integer_dtype(column)), object)
    place = np.searchsorted(ends, np.where(known, values, 0.0), side="left")
    return [str(text) for text in np.where(known, texts[place], "none")]


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _interval_texts(ends: Float, whole: bool) -> list[str]:
    """Names of the groups: up to the first end, between two (the upper end included), above."""
    names = [f"{end:g}" for end in ends.tolist()]
    starts = [f"{end + 1:g}" for end in ends.tolist()] if whole else names
    pairs = zip(starts[:-1], names[1:], strict=True)
    between = [low if low == high else f"{low} to {high}" for low, high in pairs]
    first = names[0] if ends[0] == 0 else f"up to {names[0]}"
    return [first, *between, f"above {names[-1]}"]
