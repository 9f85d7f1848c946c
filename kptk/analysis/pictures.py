"""Pictures of people: as annotated, and what was found there."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kptk.analysis.bundle import Bool, Bundle, Float, Index
from kptk.analysis.palette import PERSON_COLOURS
from kptk.coco.sheets import cut_out
from kptk.errors import InputError
from kptk.images import read_image

if TYPE_CHECKING:
    import pandas as pd

_SIDE = 190  # pixels of the longer side of a half
_ENLARGED = 4.0
_TEXT = 18  # pixels above a picture in a sheet
_VISIBLE = 0.5  # drawn hollow below it: occluded joints of the truth, unsure ones of the pose


@dataclass(frozen=True, eq=False)
class PersonPicture:
    """A person, twice.

    Attributes:
        label: the person's.
        caption: ids, and what goes with the label.
        picture: the annotation on the left, what was found on the right.
    """

    label: str
    caption: str
    picture: Image.Image


def worst_people(persons: pd.DataFrame, count: int) -> pd.DataFrame:
    """Rows of the people that show each label best, ``count`` of each but ``ok``.

    Of those with a pose, the lowest OKS comes first; of those without one, the largest person.
    """
    import pandas as pd

    parts = []
    for label in PERSON_COLOURS:
        mine = persons[persons["label"] == label]
        if label == "ok" or not len(mine):
            continue
        by = ["oks", "area"] if mine["oks"].notna().any() else ["area"]
        order = mine.sort_values(by, ascending=[name == "oks" for name in by], kind="stable")
        parts.append(order.head(count))
    return pd.concat(parts) if parts else persons.head(0)


def draw_people(bundle: Bundle, rows: pd.DataFrame, images: Path) -> Iterator[PersonPicture]:
    """Draw people, each on the left as annotated and on the right as found.

    On the right is the detection that the label is about; without one, all detections near by.
    People whose image cannot be read are left out.

    Args:
        bundle: candidates and people.
        rows: of the table ``persons``.
        images: the folder of the images.
    """
    place = {int(number): i for i, number in enumerate(bundle.people.annotation_id)}
    for row in rows.to_dict("records"):
        try:
            pixels = read_image(images / str(row["file_name"]))
        except InputError:
            continue
        person, detection = place[int(row["annotation_id"])], int(row["detection"])
        picture = _draw_person(bundle, pixels, person, detection)
        yield PersonPicture(str(row["label"]), _caption(row), picture)


def people_sheet(pictures: Iterable[PersonPicture], columns: int = 3) -> Image.Image:
    """Pictures of people side by side, each with its label above."""
    made = list(pictures)
    width = max((one.picture.width for one in made), default=1) + 4
    height = max((one.picture.height for one in made), default=1) + _TEXT
    rows = -(-len(made) // columns)
    sheet = Image.new("RGB", (width * min(columns, max(len(made), 1)), height * rows), "white")
    for i, one in enumerate(made):
        x, y = width * (i % columns), height * (i // columns)
        sheet.paste(one.picture, (x + 2, y + _TEXT))
        text = f"{one.label}: {one.caption.split(',')[0]}"
        ImageDraw.Draw(sheet).text((x + 4, y + 3), text, fill="black")
    return sheet


def _caption(row: Mapping[Hashable, Any]) -> str:
    parts = [f"person {row['annotation_id']}, image {row['image_id']}"]
    parts += [str(row["detail"])] if row["detail"] else []
    for name, column in (("score", "box_score"), ("IoU", "box_iou"), ("OKS", "oks")):
        value = float(row[column])
        parts += [f"{name} {value:.2f}"] if np.isfinite(value) else []
    return ", ".join(parts)


def _draw_person(
    bundle: Bundle, pixels: NDArray[np.uint8], person: int, detection: int
) -> Image.Image:
    people, found = bundle.people, bundle.candidates
    box, truth = people.box[person], people.points[person].copy()
    truth[:, 2] = np.where(truth[:, 2] == 1, _VISIBLE / 2, 1)
    corners = box.reshape(2, 2)
    if detection >= 0:
        chosen = np.array([detection])
        corners = np.vstack([corners, found.box[detection].reshape(2, 2)])
    else:
        chosen = _nearby(bundle, person)
    origin, canvas = cut_out(pixels, np.vstack([corners, truth[:, :2]]).astype(np.float32))
    none = np.full(1, np.nan)
    halves = [
        _half(bundle, canvas, origin, box[None], none, truth[None]),
        _half(bundle, canvas, origin, found.box[chosen], found.score[chosen], found.points[chosen]),
    ]
    pair = Image.new("RGB", (2 * halves[0].width + 4, halves[0].height), (128, 128, 128))
    pair.paste(halves[0], (0, 0))
    pair.paste(halves[1], (halves[0].width + 4, 0))
    return pair


def _nearby(bundle: Bundle, person: int) -> Index:
    """Detections whose box touches the person's."""
    found, box = bundle.candidates, bundle.people.box[person]
    touching: Bool = (found.box[:, :2] < box[2:]).all(axis=1) & (found.box[:, 2:] > box[:2]).all(1)
    same = found.image == bundle.people.image[person]
    return np.flatnonzero(bundle.detected & same & touching)


def _half(
    bundle: Bundle,
    canvas: NDArray[np.uint8],
    origin: NDArray[np.float32],
    boxes: Float,
    scores: Float,
    points: Float,
) -> Image.Image:
    from kptk.draw import draw_poses

    scale = min(_SIDE / max(canvas.shape[:2]), _ENLARGED)
    size = max(1, round(scale * canvas.shape[1])), max(1, round(scale * canvas.shape[0]))
    moved = points.astype(np.float32)
    moved[..., :2] = (moved[..., :2] - origin) * scale
    drawn = draw_poses(
        np.array(Image.fromarray(canvas).resize(size)),
        ((boxes.reshape(-1, 2, 2) - origin) * scale).reshape(-1, 4).astype(np.float32),
        scores.astype(np.float32),
        moved,
        skeleton=bundle.skeleton,
        kpt_threshold=_VISIBLE if np.isnan(scores).any() else 0.2,
    )
    return Image.fromarray(drawn)
