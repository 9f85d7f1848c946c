"""People in one image: `PoseResult` with every form it has, and how people are drawn."""

from __future__ import annotations

import html
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError, KptkError
from kptk.files import writing
from kptk.skeleton import COCO17, Skeleton

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

# Blue against orange stays apart under every common colour-vision deficiency. RGB.
COLOURS = {"left": (64, 156, 255), "right": (255, 146, 20), "centre": (236, 236, 236)}
DARK = (18, 18, 22)
# Boxes of people who are followed: three of Okabe and Ito's colours, far from the sides'. RGB.
_TRACKS = ((0, 158, 115), (240, 228, 66), (204, 121, 167))
SHIFT = 4  # OpenCV takes coordinates in 1/16 pixel

# What an image is saved as; sources in other formats are saved as PNG.
_WRITERS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG",
    ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip
_SAVE_OPTIONS = {"JPEG": {"quality": 92, "subsampling": 0}, "WEBP": {"quality": 92}}
_PREVIEW_SIDE = 640  # pixels: keeps notebooks small
_TABLE_ROWS = 20


def draw_poses(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    keypoints: NDArray[np.float32],
    *,
    skeleton: Skeleton = COCO17,
    kpt_threshold: float = 0.2,
    track_ids: NDArray[np.int64] | None = None,
) -> NDArray[np.uint8]:
    """Draw people on a copy of an image.

    The person's left is blue, right orange, the middle light grey. Keypoints whose score is below
    the threshold are hollow and have no limbs; NaN keypoints, boxes and scores are left out.

    Args:
        image: RGB uint8 (H, W, 3); not modified.
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        scores: (N,) detection scores, written at the boxes.
        keypoints: (N, K, 3) x, y in pixels, score.
        skeleton: names and limbs of the K keypoints.
        kpt_threshold: lowest score of a keypoint that counts as found.
        track_ids: (N,) numbers of people who are followed through a video: written before the
            scores, and each box has its number's colour. None: no numbers.

    Returns:
        RGB uint8 (H, W, 3), a new array.

    Raises:
        InputError: the shapes do not fit together.
    """
    import cv2

    people = len(boxes)
    wanted = ((people, 4), (people,), (people, len(skeleton), 3))
    got = (boxes.shape, scores.shape, keypoints.shape)
    if got != wanted:
        raise InputError(
            f"boxes, scores and keypoints must have shapes {wanted[0]}, {wanted[1]} and "
            f"{wanted[2]}. Got {got[0]}, {got[1]} and {got[2]}."
        )
    canvas = np.array(image, order="C")
    order = np.argsort(scores, kind="stable").tolist()  # the surest person ends on top
    widths = _line_widths(boxes, keypoints, image.shape)
    placed: NDArray[np.bool_] = np.all(np.isfinite(boxes), axis=1)
    corners = np.rint(_in_reach(boxes.reshape(-1, 2, 2), image.shape)).astype(np.int32).tolist()
    for i in order:
        if placed[i]:
            track = None if track_ids is None else int(track_ids[i])
            line = max(1, int(widths[i]) // (3 if track is None else 2))
            inner = COLOURS["centre"] if track is None else _TRACKS[track % len(_TRACKS)]
            for colour, extra in ((DARK, 2), (inner, 0)):  # upright edges need no smoothing
                cv2.rectangle(canvas, corners[i][0], corners[i][1], colour, line + extra)
    _draw_skeletons(canvas, order, keypoints, widths, skeleton, kpt_threshold)
    for i in order:
        if placed[i] and np.isfinite(scores[i]):
            number = "" if track_ids is None else f"#{track_ids[i]} "
            _draw_label(canvas, boxes[i].tolist(), f"{number}{scores[i]:.2f}")
    return canvas


def _line_widths(
    boxes: NDArray[np.float32], keypoints: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Widths of people's limbs: in proportion to the person, within what suits the image."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite boxes
        sizes = np.abs(boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    for i in np.flatnonzero(~np.isfinite(sizes)):  # the keypoints say how large, then
        points = keypoints[i, :, :2]
        known = points[np.isfinite(points).all(axis=1)]
        sizes[i] = np.ptp(known, axis=0).max() if len(known) else 0.0
    most = max(2, round(max(shape[:2]) / 160))
    widths: NDArray[np.int32] = np.rint(sizes / 80).clip(1, most).astype(np.int32)
    return widths


def _in_reach(points: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Points far outside come nearer, where OpenCV would overflow; NaN becomes 0."""
    reach = float(4 * max(shape[:2]))
    return np.nan_to_num(points).clip(-reach, reach)


@lru_cache(maxsize=16)
def _styles(skeleton: Skeleton) -> tuple[Any, ...]:
    """Limbs' ends (L, 2), whether they are fine (L,) and their colours; keypoints' sizes, colours.

    What lies in the face is drawn finer and smaller. A limb has the colour of the one side that it
    is on.
    """
    face = [name.rpartition("_")[2] in ("nose", "eye", "ear") for name in skeleton.names]
    sides = [skeleton.side(i) for i in range(len(skeleton))]
    limb_sides = [{sides[a], sides[b]} - {"centre"} for a, b in skeleton.edges]
    return (
        np.array(skeleton.edges, np.intp).reshape(-1, 2),
        np.array([face[a] or face[b] for a, b in skeleton.edges], np.bool_),
        [COLOURS[side.pop() if len(side) == 1 else "centre"] for side in limb_sides],
        np.array([0.6 if fine else 1.0 for fine in face], np.float32),
        [COLOURS[side] for side in sides],
    )


def _outline(width: Any) -> Any:
    """How much wider than lines of these widths (int or array) their dark outlines are."""
    return np.maximum(2, width // 3)


def _draw_skeletons(
    canvas: NDArray[np.uint8],
    order: list[int],
    keypoints: NDArray[np.float32],
    widths: NDArray[np.int32],
    skeleton: Skeleton,
    threshold: float,
) -> None:
    """Limbs and keypoints; where they go is worked out for all people at once."""
    from cv2 import LINE_AA, circle, fillConvexPoly

    ends, is_fine, limb_colours, sizes, colours = _styles(skeleton)
    unit, width = 1 << SHIFT, widths[:, None]
    known: NDArray[np.bool_] = np.all(np.isfinite(keypoints[..., :2]), axis=2)
    found = known & (keypoints[..., 2] >= threshold)  # a score that is NaN is not
    points = np.rint(_in_reach(keypoints[..., :2], canvas.shape) * unit).astype(np.int32)
    radii = (sizes * (width + np.minimum(1.5, 0.75 * width)) * unit).astype(np.int32)

    # limbs are quadrangles, whose ends the keypoints cover
    starts, stops = (points[:, ends[:, i]].astype(np.float32) for i in (0, 1))
    along = stops - starts
    length = np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1.0)
    across = along[..., ::-1] * np.array([-1, 1], np.float32) / length
    inside = np.where(is_fine, np.maximum(1, width // 2), width)

    def quadrangles(line: NDArray[np.int32]) -> NDArray[np.int32]:
        # what a polygon's edge passes through is filled, too: half a pixel on each side
        half = across * ((line - 0.5) / 2 * unit)[..., None]
        corners = np.stack([starts - half, stops - half, stops + half, starts + half], axis=2)
        fixed: NDArray[np.int32] = np.rint(corners).astype(np.int32)
        return fixed

    dark, bright = quadrangles(inside + _outline(inside)), quadrangles(inside)
    drawn: NDArray[np.bool_] = np.all(found[:, ends], axis=2)
    for i in order:
        limbs = np.flatnonzero(drawn[i]).tolist()
        for limb in limbs:  # all outlines lie beneath all colours
            fillConvexPoly(canvas, dark[i, limb], DARK, LINE_AA, SHIFT)
        for limb in limbs:
            fillConvexPoly(canvas, bright[i, limb], limb_colours[limb], LINE_AA, SHIFT)
        line = int(widths[i])
        ring = max(1, line // 2)
        edge, wider = int(_outline(line)) * unit // 2, int(_outline(ring))
        person = (columns[i].tolist() for columns in (points, known, found, radii))
        for point, is_known, is_found, radius, colour in zip(*person, colours, strict=True):
            if is_found:
                circle(canvas, point, radius + edge, DARK, -1, LINE_AA, SHIFT)
                circle(canvas, point, radius, colour, -1, LINE_AA, SHIFT)
            elif is_known:
                circle(canvas, point, radius, DARK, ring + wider, LINE_AA, SHIFT)
                circle(canvas, point, radius, colour, ring, LINE_AA, SHIFT)


def _draw_label(canvas: NDArray[np.uint8], box: list[float], text: str) -> None:
    """Write on a dark plate above the box, or inside it at the image's edge."""
    rows, columns = canvas.shape[:2]
    left, top, _, bottom = box
    plate = text_plate(
        text, int(min(max((bottom - top) / 8, 11), max(11, max(rows, columns) / 50)))
    )
    height, width = plate.shape[:2]
    above = int(top) - height if top >= height else int(top)
    y = max(0, min(above, rows - height))
    x = max(0, min(int(left), columns - width))
    spot = canvas[y : y + height, x : x + width]
    spot[:] = plate[: spot.shape[0], : spot.shape[1]]


@lru_cache(maxsize=512)
def text_plate(text: str, size: int, colour: tuple[int, int, int] = DARK) -> NDArray[np.uint8]:
    """Text on a plate of a colour, with the font that comes inside Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    pad = max(2, size // 5)
    left, top, right, bottom = font.getbbox(text)
    shape = (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad)
    plate = Image.new("RGB", shape, colour)
    ImageDraw.Draw(plate).text((pad - left, pad - top), text, fill=ink_on(colour), font=font)
    array = np.array(plate)
    array.flags.writeable = False
    return array


def ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, the one that is read better on a colour."""
    return (0, 0, 0) if np.dot(colour, (0.299, 0.587, 0.114)) > 140 else (255, 255, 255)


@dataclass(eq=False)
class PoseResult:
    """People in one image: every box, keypoint and score, whatever the thresholds for drawing.

    ``len(result)`` is the number of people. In a notebook it shows its image and a table.

    Attributes:
        image: RGB uint8 (H, W, 3); None when the image could not be read.
        name: stem for saved files, with the subfolder: ``"photo"``, ``"sub/photo"``.
        path: path or URL as it was handed in; None for arrays.
        suffix: extension of the source file; images are saved with it.
        boxes: float32 (N, 4) x1, y1, x2, y2 in pixels, highest score first.
        scores: float32 (N,) detection scores.
        keypoints: float32 (N, K, 3) x, y in pixels, score. Missing keypoints are NaN.
        error: why there is no result; None when all went well.
        kpt_threshold: keypoints below it are drawn hollow. It removes nothing.
        skeleton: names and limbs of the K keypoints.
        time: seconds from the video's first frame; None for single images.
        frame: number of the frame in its video, from 1; None for single images.
        track_ids: int64 (N,), the same for one person in all frames of a video, as
            :func:`kptk.track` gives them; None where nobody was followed.
    """

    image: NDArray[np.uint8] | None
    name: str
    path: str | None
    suffix: str
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    error: KptkError | None = None
    kpt_threshold: float = 0.2
    skeleton: Skeleton = COCO17
    time: float | None = None
    frame: int | None = None
    track_ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __bool__(self) -> bool:
        return True  # a result without people is still a result

    def __repr__(self) -> str:
        if self.error is not None:
            return f"<PoseResult {self.name}: error: {self.error}>"
        size = "" if self.image is None else f", {self.image.shape[1]}x{self.image.shape[0]} px"
        moment = "" if self.time is None else f", at {self.time:.3f} s"
        return f"<PoseResult {self.name}: {_count(len(self))}{size}{moment}>"

    def __eq__(self, other: object) -> bool:
        """Same name, path, moment, people and error; the pixels are not compared."""
        if not isinstance(other, PoseResult):
            return NotImplemented
        plain = [(r.name, r.path, str(r.error), r.time, r.frame) for r in (self, other)]
        ids = (self.track_ids, other.track_ids)
        pairs = [
            (self.boxes, other.boxes),
            (self.scores, other.scores),
            (self.keypoints, other.keypoints),
        ]
        return (
            plain[0] == plain[1]
            and (ids[0] is ids[1] is None or np.array_equal(*ids))  # type: ignore[arg-type]
            and all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
        )

    @property
    def kpt_scores(self) -> NDArray[np.float32]:
        """Float32 (N,): mean score of each person's keypoints; NaN where all are missing."""
        peaks = self.keypoints[..., 2]
        known = np.isfinite(peaks)
        with np.errstate(invalid="ignore"):  # no keypoint at all: 0 / 0 is the NaN that is meant
            mean: NDArray[np.floating] = np.where(known, peaks, 0).sum(axis=1) / known.sum(axis=1)
        return mean.astype(np.float32)

    @property
    def json(self) -> dict[str, Any]:
        """The result in PaddleX's keys, as plain Python values ready for ``json.dump``.

        ``{"input_path", "boxes": [{"coordinate": [x1, y1, x2, y2], "det_score",
        "keypoints": [[x, y, score], …], "kpt_score"}]}``. Missing numbers are None; a result
        with an error has ``"error"``, its message, too. Frames of videos add ``"frame"``
        and ``"time"``, people who were followed ``"track_id"``.
        """
        people = zip(self.boxes, self.scores, self.keypoints, self.kpt_scores, strict=True)
        keys = ("coordinate", "det_score", "keypoints", "kpt_score")
        boxes = [dict(zip(keys, map(_plain, person), strict=True)) for person in people]
        if self.track_ids is not None:
            for box, track_id in zip(boxes, self.track_ids.tolist(), strict=True):
                box["track_id"] = track_id
        record: dict[str, Any] = {"input_path": self.path, **self._moment(), "boxes": boxes}
        if self.error is not None:
            record["error"] = str(self.error)
        return record

    def _moment(self) -> dict[str, Any]:
        moment = {"frame": self.frame, "time": self.time}
        return {key: value for key, value in moment.items() if value is not None}

    @property
    def img(self) -> Image.Image:
        """The image with the people drawn on it.

        Raises:
            InputError: the image could not be read.
        """
        from PIL import Image

        return Image.fromarray(self.drawn())

    def drawn(self) -> NDArray[np.uint8]:
        """:attr:`img` as an array, RGB uint8 (H, W, 3).

        Raises:
            InputError: the image could not be read.
        """
        if self.image is None:
            raise InputError(f"{self.name} has no image. {self.error or 'It holds none.'}")
        return draw_poses(
            self.image,
            self.boxes,
            self.scores,
            self.keypoints,
            skeleton=self.skeleton,
            kpt_threshold=self.kpt_threshold,
            track_ids=self.track_ids,
        )

    def print(self, format_json: bool = True, indent: int = 4, ensure_ascii: bool = False) -> None:
        """Print the result, as indented JSON or (``format_json=False``) as one dict line."""
        if format_json:
            print(json.dumps(self.json, indent=indent, ensure_ascii=ensure_ascii))
        else:
            print(self.json)

    def save_to_json(
        self, save_path: str | os.PathLike[str], indent: int = 4, ensure_ascii: bool = False
    ) -> Path:
        """Write :attr:`json` to a file.

        Args:
            save_path: a name ending in ``.json``, or a folder, which receives
                ``{name}_res.json``. Folders are made.
            indent: spaces of indentation.
            ensure_ascii: write other characters as ``\\uXXXX``.

        Returns:
            The file written.

        Raises:
            InputError: it cannot be written.
        """
        text = json.dumps(self.json, indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)
        # File names that are no Unicode hold lone surrogates; \\udcxx is how JSON writes those.
        data = (text + "\n").encode("utf-8", "backslashreplace")
        return self._save(save_path, (".json",), ".json", lambda _: data)

    def save_to_img(self, save_path: str | os.PathLike[str]) -> Path:
        """Write :attr:`img` to a file.

        Args:
            save_path: a file name with an image's ending, or a folder, which receives
                ``{name}_res`` with the source's ending (``.png`` if that cannot be written).

        Returns:
            The file written.

        Raises:
            InputError: the image could not be read, or the file cannot be written.
        """
        suffix = self.suffix if self.suffix.lower() in _WRITERS else ".png"
        return self._save(
            save_path,
            tuple(_WRITERS),
            suffix,
            lambda target: _encode(self.img, _WRITERS[target.suffix.lower()]),
        )

    def _save(
        self,
        save_path: str | os.PathLike[str],
        endings: tuple[str, ...],
        suffix: str,
        data: Callable[[Path], bytes],
    ) -> Path:
        """Write to a file of these endings, or to ``{name}_res{suffix}`` in a folder."""
        text = os.fspath(save_path)
        target = Path(text).expanduser()
        is_folder = text.endswith(("/", os.sep)) or target.is_dir()
        if is_folder or target.suffix.lower() not in endings:
            target = target / f"{self.name}_res{suffix}"
        content = data(target)
        with writing(target) as temporary:
            temporary.write_bytes(content)
        return target

    def to_pandas(self) -> pd.DataFrame:
        """One row a person.

        Returns:
            Columns ``image, person, x1, y1, x2, y2, det_score, kpt_score``, then for each keypoint
            ``nose.x, nose.y, nose.score``, …; coordinates in pixels, missing is NaN. Frames of
            videos have ``frame, time`` after ``image``, people who were followed ``track_id``
            after ``person``.
        """
        import pandas as pd

        names = [f"{name}.{part}" for name in self.skeleton.names for part in ("x", "y", "score")]
        columns = ["x1", "y1", "x2", "y2", "det_score", "kpt_score", *names]
        points = self.keypoints.reshape(len(self), len(names))
        rows = np.column_stack([self.boxes, self.scores, self.kpt_scores, points])
        table = pd.DataFrame(rows, columns=columns)
        first: dict[str, Any] = {"image": self.name, **self._moment()}
        first["person"] = np.arange(len(self))
        if self.track_ids is not None:
            first["track_id"] = self.track_ids
        for position, (name, values) in enumerate(first.items()):
            table.insert(position, name, values)
        return table

    def to_coco(
        self,
        image_id: int,
        *,
        category_id: int = 1,
        score: Literal["ppdet", "deploy", "keypoints"] = "ppdet",
        with_boxes: bool = False,
    ) -> list[dict[str, Any]]:
        """COCO result records, one a person, for ``COCO.loadRes``.

        Args:
            image_id: id of the image in the ground truth.
            category_id: COCO's person is 1.
            score: ``"ppdet"``: detection score times the mean of the keypoint scores above .2, as
                PaddleDetection evaluates; ``"deploy"``: the detection score alone, as the pipeline
                emits; ``"keypoints"``: the mean of all keypoint scores, for boxes that are given.
            with_boxes: add ``"bbox"``. pycocotools then takes people's sizes from the boxes
                rather than from their keypoints, which changes AP(M) and AP(L).

        Returns:
            ``{"image_id", "category_id", "keypoints": [x, y, score, …], "score"}`` and, if
            asked for, ``"bbox": [x, y, width, height]``. Missing keypoints are 0, 0, 0.

        Raises:
            InputError: ``score`` is none of these.
        """
        if score == "ppdet":
            # ppdet.metrics.KeyPointTopDownCOCOEval.get_final_results (in_vis_thre = .2)
            peaks = self.keypoints[..., 2]
            counted = peaks > 0.2
            total = np.where(counted, peaks, 0).sum(axis=1)
            ranks = self.scores * total / np.maximum(counted.sum(axis=1), 1)
        elif score in ("deploy", "keypoints"):
            ranks = self.scores if score == "deploy" else self.kpt_scores
        else:
            raise InputError(f"score must be 'ppdet', 'deploy' or 'keypoints'. Got {score!r}.")
        known = np.isfinite(self.keypoints).all(axis=2, keepdims=True)
        points = np.where(known, self.keypoints, 0)
        records: list[dict[str, Any]] = [
            {
                "image_id": image_id,
                "category_id": category_id,
                "keypoints": person.ravel().astype(float).tolist(),
                "score": float(np.nan_to_num(rank)),
            }
            for person, rank in zip(points, ranks, strict=True)
        ]
        if with_boxes:
            for record, (x1, y1, x2, y2) in zip(records, self.boxes.astype(float), strict=True):
                record["bbox"] = [float(v) for v in (x1, y1, x2 - x1, y2 - y1)]
        return records

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, str | bytes]:
        """Text line, HTML table and, where there is an image, a PNG of at most 640 pixels."""
        bundle: dict[str, str | bytes] = {"text/plain": repr(self), "text/html": self._table()}
        if self.image is not None:
            preview = self.img
            preview.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
            bundle["image/png"] = _encode(preview, "PNG")
        return bundle

    def _ipython_display_(self) -> None:
        """Show image and table: of one bundle JupyterLab would show only the table."""
        from IPython.display import display

        bundle = self._repr_mimebundle_()
        preview = bundle.pop("image/png", None)
        if preview is not None:
            shown = {"text/plain": repr(self), "image/png": preview}
            display(shown, raw=True)  # type: ignore[no-untyped-call]
        display(bundle, raw=True)  # type: ignore[no-untyped-call]

    def _table(self) -> str:
        """HTML in whole pixels and two decimals, so that it is the same on every machine."""
        what = _count(len(self)) if self.error is None else html.escape(str(self.error))
        title = f"<p><b>{html.escape(self.name)}</b>: {what}</p>"
        if self.error is not None or not len(self):
            return title
        columns = {"person": [str(i) for i in range(len(self))]}
        if self.track_ids is not None:
            columns["track"] = [str(track_id) for track_id in self.track_ids]
        columns["score"] = [f"{score:.2f}" for score in self.scores]
        columns["box"] = [", ".join(f"{value:.0f}" for value in box) for box in self.boxes]
        if len(self.skeleton):  # a detector alone gives boxes only
            solid = (self.keypoints[..., 2] >= self.kpt_threshold).sum(axis=1)
            columns["points score"] = [f"{score:.2f}" for score in self.kpt_scores]
            columns[f"points \u2265 {self.kpt_threshold:g}"] = [
                f"{count} of {len(self.skeleton)}" for count in solid
            ]
        header = "".join(f"<th>{name}</th>" for name in columns)
        rows = list(zip(*columns.values(), strict=True))[:_TABLE_ROWS]
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        more = f"<p>and {len(self) - _TABLE_ROWS} more</p>" if len(self) > _TABLE_ROWS else ""
        return f"{title}<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>{more}"


def _count(people: int) -> str:
    return "1 person" if people == 1 else f"{people} people"


def _plain(values: Any) -> Any:
    """Arrays → nested lists of Python floats, with None for what is not finite."""
    if isinstance(values, np.ndarray):
        if np.isfinite(values).all():
            return values.tolist()
        return [_plain(value) for value in values]
    number = float(values)
    return number if math.isfinite(number) else None


def _encode(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **_SAVE_OPTIONS.get(kind, {}))
    return buffer.getvalue()
