"""PoseResult: the people found in one image, and every form they can be had in."""

from __future__ import annotations

import html
import json
import math
import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from kptk.cache import replacing
from kptk.errors import InputError, KptkError
from kptk.skeleton import COCO17, Skeleton

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

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
        from kptk.draw import draw_poses

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
