"""Drawing people on a picture: boxes, scores, limbs and joints, legible on any background."""

from __future__ import annotations

import html
import json
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError, KptkError
from kptk.files import replacing
from kptk.skeleton import COCO17, Skeleton

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image


# Blue against orange stays apart under every common colour-vision deficiency. RGB.
COLOURS = {"left": (64, 156, 255), "right": (255, 146, 20), "centre": (236, 236, 236)}


_DARK = (18, 18, 22)


# Boxes of people who are followed: three of Okabe and Ito's colours, far from the sides'. RGB.
_TRACKS = ((0, 158, 115), (240, 228, 66), (204, 121, 167))


_SHIFT = 4  # OpenCV takes coordinates in 1/16 pixel


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

    The person's left is blue, right orange, the middle light grey. Joints whose score is below
    the threshold are hollow and have no limbs; NaN joints, boxes and scores are left out.

    Args:
        image: RGB uint8 (H, W, 3); not modified.
        boxes: (N, 4) x1, y1, x2, y2 in pixels.
        scores: (N,) detection scores, written at the boxes.
        keypoints: (N, K, 3) x, y in pixels, score.
        skeleton: names and limbs of the K joints.
        kpt_threshold: lowest score of a joint that counts as found.
        track_ids: (N,) numbers of people who are followed through a film: written before the
            scores, and each box has its number's colour. None: no numbers.

    Returns:
        RGB uint8 (H, W, 3), a new array.

    Raises:
        InputError: the shapes do not fit together.
    """
    _check(boxes, scores, keypoints, skeleton)
    canvas = np.array(image, order="C")
    order = np.argsort(scores, kind="stable").tolist()  # the surest person ends on top
    widths = _line_widths(boxes, keypoints, image.shape)
    placed: NDArray[np.bool_] = np.all(np.isfinite(boxes), axis=1)
    corners = np.rint(_in_reach(boxes.reshape(-1, 2, 2), image.shape)).astype(np.int32).tolist()
    for i in order:
        if placed[i]:
            track = None if track_ids is None else int(track_ids[i])
            _draw_box(canvas, corners[i], int(widths[i]), track)
    joints = _joints(keypoints, kpt_threshold, widths, skeleton, canvas.shape)
    limbs = _limbs(joints, widths, skeleton)
    for i in order:
        _draw_limbs(canvas, limbs, i)
        _draw_joints(canvas, joints, i, int(widths[i]), skeleton)
    for i in order:
        if placed[i] and np.isfinite(scores[i]):
            number = "" if track_ids is None else f"#{track_ids[i]} "
            _draw_label(canvas, boxes[i].tolist(), f"{number}{scores[i]:.2f}")
    return canvas


def _check(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    keypoints: NDArray[np.float32],
    skeleton: Skeleton,
) -> None:
    people = len(boxes)
    wanted = ((people, 4), (people,), (people, len(skeleton), 3))
    got = (boxes.shape, scores.shape, keypoints.shape)
    if got != wanted:
        raise InputError(
            f"boxes, scores and keypoints must have shapes {wanted[0]}, {wanted[1]} and "
            f"{wanted[2]}. Got {got[0]}, {got[1]} and {got[2]}."
        )


class _Joints(NamedTuple):
    """Joints of N people in OpenCV's fixed point, worked out at once: it takes them one by one."""

    points: NDArray[np.int32]  # (N, K, 2)
    known: NDArray[np.bool_]  # (N, K), has a place
    found: NDArray[np.bool_]  # (N, K), its score is high enough, too
    radii: NDArray[np.int32]  # (N, K)


class _Limbs(NamedTuple):
    """Limbs of N people as quadrangles in OpenCV's fixed point: the joints cover their ends."""

    outlines: NDArray[np.int32]  # (N, L, 4, 2)
    insides: NDArray[np.int32]  # (N, L, 4, 2)
    drawn: list[list[int]]  # of each person, which
    colours: list[tuple[int, int, int]]  # of each limb


def _joints(
    keypoints: NDArray[np.float32],
    threshold: float,
    widths: NDArray[np.int32],
    skeleton: Skeleton,
    shape: tuple[int, ...],
) -> _Joints:
    known: NDArray[np.bool_] = np.all(np.isfinite(keypoints[..., :2]), axis=2)
    found = known & (keypoints[..., 2] >= threshold)  # a score that is NaN is not
    points = np.rint(_in_reach(keypoints[..., :2], shape) * (1 << _SHIFT)).astype(np.int32)
    width = widths[:, None]
    sizes = np.array([size for _, size in _joint_styles(skeleton)], np.float32)
    radii = sizes * (width + np.minimum(1.5, 0.75 * width)) * (1 << _SHIFT)
    return _Joints(points, known, found, radii.astype(np.int32))


def _limbs(joints: _Joints, widths: NDArray[np.int32], skeleton: Skeleton) -> _Limbs:
    styles = _limb_styles(skeleton)
    ends = np.array([edge for edge, _, _ in styles], np.intp).reshape(-1, 2)
    fine = np.array([fine for _, _, fine in styles], np.bool_)
    starts, stops = (joints.points[:, ends[:, i]].astype(np.float32) for i in (0, 1))
    along = stops - starts
    length = np.maximum(np.linalg.norm(along, axis=2, keepdims=True), 1.0)
    across = along[..., ::-1] * np.array([-1, 1], np.float32) / length
    width = widths[:, None]
    inside = np.where(fine, np.maximum(1, width // 2), width)

    def quadrangles(line: NDArray[np.int32]) -> NDArray[np.int32]:
        # what a polygon's edge passes through is filled, too: half a pixel on each side
        half = across * ((line - 0.5) / 2 * (1 << _SHIFT))[..., None]
        corners = np.stack([starts - half, stops - half, stops + half, starts + half], axis=2)
        fixed: NDArray[np.int32] = np.rint(corners).astype(np.int32)
        return fixed

    drawn: NDArray[np.bool_] = np.all(joints.found[:, ends], axis=2)
    return _Limbs(
        quadrangles(inside + _outline(inside)),
        quadrangles(inside),
        [np.flatnonzero(of_person).tolist() for of_person in drawn],
        [COLOURS[side] for _, side, _ in styles],
    )


def _line_widths(
    boxes: NDArray[np.float32], keypoints: NDArray[np.float32], shape: tuple[int, ...]
) -> NDArray[np.int32]:
    """Widths of people's limbs: in proportion to the person, within what suits the picture."""
    with np.errstate(invalid="ignore", over="ignore"):  # infinite boxes
        sizes = np.abs(boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    for i in np.flatnonzero(~np.isfinite(sizes)):  # the joints say how large, then
        joints = keypoints[i, :, :2]
        known = joints[np.isfinite(joints).all(axis=1)]
        sizes[i] = np.ptp(known, axis=0).max() if len(known) else 0.0
    most = max(2, round(max(shape[:2]) / 160))
    widths: NDArray[np.int32] = np.rint(sizes / 80).clip(1, most).astype(np.int32)
    return widths


def _in_reach(points: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Points far outside come nearer, where OpenCV would overflow; NaN becomes 0."""
    reach = float(4 * max(shape[:2]))
    return np.nan_to_num(points).clip(-reach, reach)


def _draw_box(
    canvas: NDArray[np.uint8], corners: list[list[int]], width: int, track: int | None
) -> None:
    import cv2

    line = max(1, width // 3) if track is None else max(1, width // 2)
    inner = COLOURS["centre"] if track is None else _TRACKS[track % len(_TRACKS)]
    for colour, extra in ((_DARK, 2), (inner, 0)):  # upright edges need no smoothing
        cv2.rectangle(canvas, corners[0], corners[1], colour, line + extra)


def _draw_limbs(canvas: NDArray[np.uint8], limbs: _Limbs, person: int) -> None:
    import cv2

    outlines, insides = limbs.outlines[person], limbs.insides[person]
    for i in limbs.drawn[person]:  # all outlines lie beneath all colours
        cv2.fillConvexPoly(canvas, outlines[i], _DARK, cv2.LINE_AA, _SHIFT)
    for i in limbs.drawn[person]:
        cv2.fillConvexPoly(canvas, insides[i], limbs.colours[i], cv2.LINE_AA, _SHIFT)


def _outline(width: Any) -> Any:
    """How much wider than lines of these widths (int or array) their dark outlines are."""
    return np.maximum(2, width // 3)


@lru_cache(maxsize=16)
def _limb_styles(skeleton: Skeleton) -> list[tuple[tuple[int, int], str, bool]]:
    """For each limb: its joints, its side, and whether it lies in the face (drawn finer)."""
    styles = []
    for a, b in skeleton.edges:
        sides = {skeleton.side(a), skeleton.side(b)} - {"centre"}
        side = sides.pop() if len(sides) == 1 else "centre"
        styles.append(((a, b), side, _in_face(skeleton, a) or _in_face(skeleton, b)))
    return styles


def _in_face(skeleton: Skeleton, joint: int) -> bool:
    return skeleton.names[joint].rpartition("_")[2] in ("nose", "eye", "ear")


@lru_cache(maxsize=16)
def _joint_styles(skeleton: Skeleton) -> list[tuple[tuple[int, int, int], float]]:
    """Colour and relative size of each joint; those of the face are smaller."""
    joints = range(len(skeleton))
    return [(COLOURS[skeleton.side(i)], 0.6 if _in_face(skeleton, i) else 1.0) for i in joints]


def _draw_joints(
    canvas: NDArray[np.uint8], joints: _Joints, person: int, width: int, skeleton: Skeleton
) -> None:
    from cv2 import LINE_AA, circle

    ring = max(1, width // 2)
    edge, wider = int(_outline(width)) * (1 << _SHIFT) // 2, int(_outline(ring))
    of_person = (part[person].tolist() for part in joints)
    for point, known, found, radius, (colour, _) in zip(
        *of_person, _joint_styles(skeleton), strict=True
    ):
        if found:
            circle(canvas, point, radius + edge, _DARK, -1, LINE_AA, _SHIFT)
            circle(canvas, point, radius, colour, -1, LINE_AA, _SHIFT)
        elif known:
            circle(canvas, point, radius, _DARK, ring + wider, LINE_AA, _SHIFT)
            circle(canvas, point, radius, colour, ring, LINE_AA, _SHIFT)


def _draw_label(canvas: NDArray[np.uint8], box: list[float], text: str) -> None:
    """Write on a dark plate above the box, or inside it at the picture's edge."""
    rows, columns = canvas.shape[:2]
    left, top, _, bottom = box
    size = int(min(max((bottom - top) / 8, 11), max(11, max(rows, columns) / 50)))
    plate = _plate(text, size)
    height, width = plate.shape[:2]
    above = int(top) - height if top >= height else int(top)
    y = max(0, min(above, rows - height))
    x = max(0, min(int(left), columns - width))
    spot = canvas[y : y + height, x : x + width]
    spot[:] = plate[: spot.shape[0], : spot.shape[1]]


@lru_cache(maxsize=512)
def _plate(text: str, size: int) -> NDArray[np.uint8]:
    """White text on a dark plate, with the font that comes inside Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size)
    pad = max(2, size // 5)
    left, top, right, bottom = font.getbbox(text)
    shape = (int(right - left) + 2 * pad, int(bottom - top) + 2 * pad)
    plate = Image.new("RGB", shape, _DARK)
    ImageDraw.Draw(plate).text((pad - left, pad - top), text, fill=(255, 255, 255), font=font)
    array = np.array(plate)
    array.flags.writeable = False
    return array


# ---- results: PoseResult: the people found in one image, and every form they can be had in.


# What a picture is saved as; sources in other formats are saved as PNG.
_WRITERS = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG",
    ".bmp": "BMP", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF",
}  # fmt: skip


_SAVE_OPTIONS: dict[str, dict[str, int]] = {
    "JPEG": {"quality": 92, "subsampling": 0},
    "WEBP": {"quality": 92},
}


_PREVIEW_SIDE = 640  # pixels: keeps notebooks small


_TABLE_ROWS = 20


@dataclass(eq=False)
class PoseResult:
    """People in one image: every box, point and score, whatever the thresholds for drawing.

    ``len(result)`` is the number of people. In a notebook it shows its picture and a table.

    Attributes:
        image: RGB uint8 (H, W, 3); None when the image could not be read.
        name: stem for saved files, with the subfolder: ``"photo"``, ``"sub/photo"``.
        path: path or URL as it was handed in; None for arrays.
        suffix: extension of the source file; pictures are saved with it.
        boxes: float32 (N, 4) x1, y1, x2, y2 in pixels, highest score first.
        scores: float32 (N,) detection scores.
        keypoints: float32 (N, K, 3) x, y in pixels, score. Missing points are NaN.
        error: why there is no result; None when all went well.
        kpt_threshold: points below it are drawn hollow. It removes nothing.
        skeleton: names and limbs of the K joints.
        time: seconds from the film's first frame; None for single pictures.
        frame: number of the frame in its film, from 1; None for single pictures.
        track_ids: int64 (N,), the same for one person in all frames of a film, as
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
        moment = "" if self.time is None else f", at {self.time:.3f} s"
        return f"<PoseResult {self.name}: {_count(len(self))}{self._size()}{moment}>"

    def _size(self) -> str:
        return "" if self.image is None else f", {self.image.shape[1]}x{self.image.shape[0]} px"

    def __eq__(self, other: object) -> bool:
        """Same name, path, moment, people and error; the pixels are not compared."""
        if not isinstance(other, PoseResult):
            return NotImplemented
        arrays = ("boxes", "scores", "keypoints")
        return (
            self._key() == other._key()
            and _same_ids(self.track_ids, other.track_ids)
            and all(
                np.array_equal(getattr(self, name), getattr(other, name), equal_nan=True)
                for name in arrays
            )
        )

    def _key(self) -> tuple[object, ...]:
        return self.name, self.path, str(self.error), self.time, self.frame

    @property
    def kpt_scores(self) -> NDArray[np.float32]:
        """Float32 (N,): mean score of each person's points; NaN where all are missing."""
        peaks = self.keypoints[..., 2]
        known = np.isfinite(peaks)
        with np.errstate(invalid="ignore"):  # no point at all: 0 / 0 is the NaN that is meant
            mean: NDArray[np.floating] = np.where(known, peaks, 0).sum(axis=1) / known.sum(axis=1)
        return mean.astype(np.float32)

    @property
    def json(self) -> dict[str, Any]:
        """The result in PaddleX's keys, as plain Python values ready for ``json.dump``.

        ``{"input_path", "boxes": [{"coordinate": [x1, y1, x2, y2], "det_score",
        "keypoints": [[x, y, score], …], "kpt_score"}]}``. Missing numbers are None; a result
        with an error has ``"error"``, its message, too. Frames of films add ``"frame"``
        and ``"time"``, people who were followed ``"track_id"``.
        """
        people = zip(self.boxes, self.scores, self.keypoints, self.kpt_scores, strict=True)
        boxes = [
            {
                "coordinate": _plain(box),
                "det_score": _plain(score),
                "keypoints": _plain(points),
                "kpt_score": _plain(kpt_score),
            }
            for box, score, points, kpt_score in people
        ]
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
        """The picture with the people drawn on it.

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
            raise InputError(f"{self.name} has no picture. {self.error or 'It holds no image.'}")
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
        target = self._target(save_path, (".json",), ".json")
        text = json.dumps(self.json, indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)
        # File names that are no Unicode hold lone surrogates; \\udcxx is how JSON writes those.
        return _write(target, (text + "\n").encode("utf-8", "backslashreplace"))

    def save_to_img(self, save_path: str | os.PathLike[str]) -> Path:
        """Write :attr:`img` to a file.

        Args:
            save_path: a file name with a picture's ending, or a folder, which receives
                ``{name}_res`` with the source's ending (``.png`` if that cannot be written).

        Returns:
            The file written.

        Raises:
            InputError: the image could not be read, or the file cannot be written.
        """
        suffix = self.suffix if self.suffix.lower() in _WRITERS else ".png"
        target = self._target(save_path, tuple(_WRITERS), suffix)
        return _write(target, _encode(self.img, _WRITERS[target.suffix.lower()]))

    def _target(
        self, save_path: str | os.PathLike[str], endings: tuple[str, ...], suffix: str
    ) -> Path:
        text = os.fspath(save_path)
        path = Path(text).expanduser()
        folder = text.endswith(("/", os.sep)) or path.is_dir()
        if not folder and path.suffix.lower() in endings:
            return path
        return path / f"{self.name}_res{suffix}"

    def to_pandas(self) -> pd.DataFrame:
        """One row a person.

        Returns:
            Columns ``image, person, x1, y1, x2, y2, det_score, kpt_score``, then for each joint
            ``nose.x, nose.y, nose.score``, …; coordinates in pixels, missing is NaN. Frames of
            films have ``frame, time`` after ``image``, people who were followed ``track_id``
            after ``person``.
        """
        import pandas as pd

        joints = [f"{name}.{part}" for name in self.skeleton.names for part in ("x", "y", "score")]
        columns = ["x1", "y1", "x2", "y2", "det_score", "kpt_score", *joints]
        points = self.keypoints.reshape(len(self), len(joints))
        rows = np.column_stack([self.boxes, self.scores, self.kpt_scores, points])
        table = pd.DataFrame(rows, columns=columns)
        first: dict[str, Any] = {"image": self.name, **self._moment()}
        first["person"] = np.arange(len(self))
        if self.track_ids is not None:
            first["track_id"] = self.track_ids
        for place, (name, values) in enumerate(first.items()):
            table.insert(place, name, values)
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
            score: ``"ppdet"``: detection score times the mean of the point scores above .2, as
                PaddleDetection evaluates; ``"deploy"``: the detection score alone, as the pipeline
                emits; ``"keypoints"``: the mean of all point scores, for boxes that are given.
            with_boxes: add ``"bbox"``. pycocotools then takes people's sizes from the boxes
                rather than from their points, which changes AP(M) and AP(L).

        Returns:
            ``{"image_id", "category_id", "keypoints": [x, y, score, …], "score"}`` and, if
            asked for, ``"bbox": [x, y, width, height]``. Missing points are 0, 0, 0.

        Raises:
            InputError: ``score`` is none of these.
        """
        if score == "ppdet":
            ranks = self._ppdet_scores()
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

    def _ppdet_scores(self) -> NDArray[np.float32]:
        """As in ppdet.metrics.KeyPointTopDownCOCOEval.get_final_results (in_vis_thre = .2)."""
        peaks = self.keypoints[..., 2]
        counted = peaks > 0.2
        total = np.where(counted, peaks, 0).sum(axis=1)
        rescored: NDArray[np.float32] = self.scores * total / np.maximum(counted.sum(axis=1), 1)
        return rescored

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> dict[str, str | bytes]:
        """Text line, HTML table and, where there is an image, a PNG of at most 640 pixels."""
        bundle: dict[str, str | bytes] = {"text/plain": repr(self), "text/html": self._table()}
        if self.image is not None:
            bundle["image/png"] = self._preview()
        return bundle

    def _ipython_display_(self) -> None:
        """Show picture and table: of one bundle JupyterLab would show only the table."""
        from IPython.display import display

        bundle = self._repr_mimebundle_()
        picture = bundle.pop("image/png", None)
        if picture is not None:
            shown = {"text/plain": repr(self), "image/png": picture}
            display(shown, raw=True)  # type: ignore[no-untyped-call]
        display(bundle, raw=True)  # type: ignore[no-untyped-call]

    def _preview(self) -> bytes:
        picture = self.img
        picture.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE))
        return _encode(picture, "PNG")

    def _table(self) -> str:
        """HTML in whole pixels and two decimals, so that it is the same on every machine."""
        title = f"<p><b>{html.escape(self.name)}</b>: {_count(len(self))}</p>"
        if self.error is not None:
            return f"<p><b>{html.escape(self.name)}</b>: {html.escape(str(self.error))}</p>"
        if not len(self):
            return title
        heads = ["person", "score", "box"]
        columns = [
            [str(i) for i in range(len(self))],
            [f"{score:.2f}" for score in self.scores],
            [", ".join(f"{value:.0f}" for value in box) for box in self.boxes],
        ]
        if self.track_ids is not None:
            heads.insert(1, "track")
            columns.insert(1, [str(track_id) for track_id in self.track_ids])
        if len(self.skeleton):  # a detector alone gives boxes only
            heads += ["points score", f"points \u2265 {self.kpt_threshold:g}"]
            solid = (self.keypoints[..., 2] >= self.kpt_threshold).sum(axis=1)
            columns.append([f"{score:.2f}" for score in self.kpt_scores])
            columns.append([f"{count} of {len(self.skeleton)}" for count in solid])
        rows = [
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
            for cells in islice(zip(*columns, strict=True), _TABLE_ROWS)
        ]
        more = f"<p>and {len(self) - _TABLE_ROWS} more</p>" if len(self) > _TABLE_ROWS else ""
        header = "".join(f"<th>{head}</th>" for head in heads)
        body = "".join(rows)
        return f"{title}<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>{more}"


def _same_ids(a: NDArray[np.int64] | None, b: NDArray[np.int64] | None) -> bool:
    return np.array_equal(a, b) if a is not None and b is not None else a is b


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


def _encode(picture: Image.Image, kind: str) -> bytes:
    import io

    buffer = io.BytesIO()
    picture.save(buffer, kind, **_SAVE_OPTIONS.get(kind, {}))
    return buffer.getvalue()


def _write(target: Path, data: bytes) -> Path:
    """Write by way of a temporary file, so that nobody ever sees half of it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror or error}.") from error
    return target
