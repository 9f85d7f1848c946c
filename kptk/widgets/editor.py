"""LabelEditor: correct keypoints and boxes in the notebook, and save them to a new file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray
from PIL import Image

from kptk.coco import KeypointData
from kptk.coco.dataset import write_coco
from kptk.errors import DataError, InputError, KptkError
from kptk.evaluation import Evaluation
from kptk.evaluation.predictions import Predictions
from kptk.instances import Instances, corners
from kptk.pipeline.results import COLOURS, draw_poses
from kptk.skeleton import Skeleton
from kptk.widgets.labels import Edit, Labels, Person, Point, detections_of, missed, points_of
from kptk.widgets.theme import Snapshot, css, file_stamp, to_png

_SCREEN_SIDE = 2048  # pixels sent to the browser: enough to zoom in, still sent at once
_SNAPSHOT_SIDE = 640  # pixels kept in a saved notebook
_QUALITY = 90


class LabelEditor(Snapshot, anywidget.AnyWidget):
    """Correct the people of a data set, image by image, with the mouse or the keyboard.

    Drag joints and corners of boxes, say whether a joint is visible, add people that were missed,
    remove others. Every edit can be taken back. The files of the data are never changed: ``save``
    writes a new one, and ``data`` is the edited data for ``kptk.finetune`` and ``kptk.evaluate``.
    The button ``?`` lists the keys.

    Args:
        data: of ``kptk.load_coco``.
        image_ids: the images to go through, in this order; None: all, or those of
            ``annotation_ids``. ``data`` and ``save`` hold every image all the same.
        annotation_ids: people to look at; they are marked, and chosen when their image is shown.
        predictions: what a pipeline found (``kptk.evaluate(...)``, or its ``predictions``) or COCO
            results with boxes. Those that are none of the labelled people can be added by a click.
        skeleton: names and limbs for drawing; None: the data's.

    Attributes:
        image_id: the image that is shown (trait).
        person_id: the annotation that is chosen, or None (trait).
        joint: the joint that is chosen, or None (trait).
        min_score: lowest score of a detection that is offered (trait).
        path: the file that the button saves to (trait).
        height: of the image, in screen pixels (trait).
        labels: the people and their edits, for edits by code.

    Raises:
        DataError: an image or annotation is not in the data, or there is none.
        InputError: ``predictions`` or ``skeleton`` cannot be used.
    """

    _esm = Path(__file__).with_name("editor.js")
    _css = css("editor")

    image_id = traitlets.Int().tag(sync=True)
    person_id = traitlets.Int(None, allow_none=True).tag(sync=True)
    joint = traitlets.Int(None, allow_none=True).tag(sync=True)
    min_score = traitlets.Float(0.5, min=0, max=1).tag(sync=True)
    path = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int(520, min=200).tag(sync=True)
    _setup = traitlets.Dict().tag(sync=True)
    _scene = traitlets.Dict().tag(sync=True)
    _picture = traitlets.Bytes().tag(sync=True)
    _message = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        data: KeypointData,
        image_ids: Iterable[int] | None = None,
        annotation_ids: Iterable[int] | None = None,
        predictions: Evaluation | Predictions | Sequence[Mapping[str, Any]] | None = None,
        skeleton: Skeleton | None = None,
    ) -> None:
        self._source = data
        self.labels = Labels(data, self._changed)
        self._skeleton = skeleton or data.skeleton
        if len(self._skeleton) != len(data.skeleton):
            raise InputError(
                f"The skeleton must have the data's {len(data.skeleton)} joints. "
                f"Got {len(self._skeleton)}."
            )
        self._marked = frozenset(annotation_ids or ())
        self.image_ids = self._chosen_images(image_ids)
        self._detections = detections_of(predictions, len(data.skeleton))
        self._written: tuple[Path, object] | None = None
        names, path = self._skeleton.names, f"{data.annotations_path.stem}_corrected.json"
        super().__init__(image_id=self.image_ids[0], path=path)
        self._setup = {  # what stays the same while images change
            "names": [name.replace("_", " ") for name in names],
            "sides": [self._skeleton.side(i) for i in range(len(names))],
            "edges": [list(edge) for edge in self._skeleton.edges],
            "colours": {side: f"rgb{colour}" for side, colour in COLOURS.items()},
            "candidates": len(self._detections) > 0,
        }
        self._show()
        self.observe(lambda _: self._show(), "image_id")
        self.observe(lambda _: self._draw(), "min_score")
        self.on_msg(lambda _, content, __: self._receive(content))

    def _chosen_images(self, image_ids: Iterable[int] | None) -> list[int]:
        """The images to go through: those given, or those of the annotations, or all."""
        data = self._source
        image_of = {a["id"]: a["image_id"] for a in data.content["annotations"]}
        unknown = sorted(self._marked - set(image_of))
        if unknown:
            raise DataError(f"{data.annotations_path.name} has no annotation {unknown[0]!r}.")
        found = list(data.image_ids)
        if image_ids is not None:
            found = [int(data.image(image_id)["id"]) for image_id in image_ids]
        elif self._marked:
            found = sorted({image_of[i] for i in self._marked})
        if not found:
            raise DataError("There is no image to show. Pass image_ids, or data with images.")
        return found

    # -- what users call ---------------------------------------------------------------------

    @property
    def data(self) -> KeypointData:
        """The data with all edits so far. Once saved, it names the file it was saved to."""
        return self.labels.data

    def next(self) -> None:
        """Show the next image."""
        self._step(1)

    def previous(self) -> None:
        """Show the image before."""
        self._step(-1)

    def undo(self) -> None:
        """Take the last edit back, and show who it was about."""
        self._go_to(self.labels.undo(), "Taken back")

    def redo(self) -> None:
        """Do again what was taken back, and show who it is about."""
        self._go_to(self.labels.redo(), "Done again")

    def save(self, path: str | os.PathLike[str] | None = None, *, overwrite: bool = False) -> Path:
        """Write the data with all edits as a COCO annotation file: all of it or nothing.

        Everything that was not edited is written as it was read.

        Args:
            path: the file; None: the trait ``path``.
            overwrite: whether a file of that name may be replaced. The file that this editor wrote
                last may be, unless somebody else has changed it since.

        Returns:
            The file. Load it with ``kptk.load_coco(folder, annotations=file)``.

        Raises:
            DataError: it exists already, or cannot be written.
        """
        target = Path(self.path if path is None else path).expanduser()
        write_coco(self.data.content, target, overwrite=overwrite or self._is_own(target))
        self._written = (target, file_stamp(target))
        self.labels.mark_saved(target)
        self.path = str(target)
        self._draw()
        self.renew_snapshot()
        self._say(f"Saved {target}")
        return target

    def _is_own(self, target: Path) -> bool:
        """Whether this editor wrote the file last."""
        return self._written == (target, file_stamp(target))

    def render(self) -> bytes:
        """The image and its labels as they are now, as a PNG of at most 640 pixels a side."""
        image = np.zeros((*self.labels.size(self.image_id), 3), np.uint8)
        with suppress(InputError):  # it cannot be read, which is said in the editor
            image = self._source.read(self.image_id)
        return render_labels(image, self.labels.people(self.image_id), self._skeleton)

    snapshot = render

    def __repr__(self) -> str:
        count = self.labels.n_done
        edits = "1 edit" if count == 1 else f"{count} edits"
        return f"LabelEditor({len(self.image_ids)} images, {edits})"

    # -- what is shown -----------------------------------------------------------------------

    @traitlets.validate("image_id")
    def _known_image(self, proposal: Any) -> int:
        return int(self._source.image(proposal["value"])["id"])

    def _step(self, by: int) -> None:
        index = self.image_ids.index(self.image_id) if self.image_id in self.image_ids else 0
        self.image_id = self.image_ids[(index + by) % len(self.image_ids)]

    def _show(self) -> None:
        """Show the image that ``image_id`` names."""
        people = self.labels.people(self.image_id)
        first = next((person.id for person in people if person.id in self._marked), None)
        with self.hold_sync():
            self._say("")
            self._picture = b""
            try:
                buffer = io.BytesIO()
                image = _shrunk(self._source.read(self.image_id), _SCREEN_SIDE)
                image.save(buffer, "JPEG", quality=_QUALITY)
                self._picture = buffer.getvalue()
            except InputError as error:
                self._say(str(error), "error")
            self.person_id, self.joint = first, None
            self._draw()

    def _draw(self) -> None:
        """Send one image with its people as they are now, as plain values."""
        image_id, listed, labels, found = self.image_id, self.image_ids, self.labels, self._missed()
        height, width = labels.size(image_id)
        image = {
            "id": image_id,
            "name": self._source.image(image_id)["file_name"],
            "width": width,
            "height": height,
            "place": listed.index(image_id) + 1 if image_id in listed else None,
            "count": len(listed),
        }
        people = [
            {
                "id": p.id,
                "box": list(p.box),
                "points": _plain(p.points),
                "marked": p.id in self._marked,
            }
            for p in labels.people(image_id)
        ]
        offered = zip(found.boxes.tolist(), found.scores.tolist(), found.keypoints, strict=True)
        self._scene = {
            "image": image,
            "people": people,
            "crowds": corners([c["bbox"] for c in self._source.crowds(image_id)]).tolist(),
            "missed": [
                {"box": box, "score": score, "points": _plain(points_of(keypoints))}
                for box, score, keypoints in offered
            ],
            "done": labels.n_done,
            "undone": labels.n_undone,
            "unsaved": labels.unsaved,
        }

    def _missed(self) -> Instances:
        boxes = [person.box for person in self.labels.people(self.image_id)]
        return missed(self._detections.of_image(self.image_id), boxes, self.min_score)

    def _changed(self, edit: Edit) -> None:
        if edit.person.image_id == self.image_id:
            self._draw()
        self._say(edit.what.replace("_", " ").capitalize())

    def _go_to(self, edit: Edit | None, word: str) -> None:
        if edit is None:
            return
        person = edit.person
        self.image_id = person.image_id
        there = any(p.id == person.id for p in self.labels.people(person.image_id))
        self.person_id = person.id if there else None
        self._draw()
        self._say(f"{word}: {edit.what.replace('_', ' ')}")

    def _say(self, text: str, kind: str = "info") -> None:
        """The number makes it arrive even if the same was said before."""
        number = self._message.get("number", 0) + 1
        self._message = {"kind": kind, "text": text, "number": number}

    # -- what the browser asks for -----------------------------------------------------------

    def _receive(self, message: Mapping[str, Any]) -> None:
        """Do what the browser asks for; what cannot be done is said there."""
        try:
            with self.hold_sync():
                self._do(message)
        except (KptkError, KeyError, TypeError, ValueError) as error:
            self._say(str(error), "error")  # at which the browser draws the scene again

    def _do(self, m: Mapping[str, Any]) -> None:
        labels = self.labels
        match m.get("do"):
            case "step":
                self._step(int(m["by"]))
            case "undo":
                self.undo()
            case "redo":
                self.redo()
            case "move_point":
                labels.move_point(m["person"], m["joint"], m["x"], m["y"], m.get("v"))
            case "nudge":  # from where it is now; keys repeat faster than answers come
                x, y, _ = labels.person(m["person"]).points[m["joint"]]
                labels.move_point(m["person"], m["joint"], x + m["dx"], y + m["dy"])
            case "set_visibility":
                labels.set_visibility(m["person"], m["joint"], m["v"])
            case "set_box":
                labels.set_box(m["person"], m["box"])
            case "add":  # one of the detections that are offered, or a box that was drawn
                if "candidate" in m:
                    found, i = self._missed(), int(m["candidate"])
                    points = points_of(found.keypoints[i])
                    edit = labels.add(self.image_id, found.boxes[i].tolist(), points)
                else:
                    edit = labels.add(self.image_id, m["box"])
                self.person_id, self.joint = edit.person.id, None
            case "remove":
                labels.remove(m["person"])
                self.person_id, self.joint = None, None
            case "save":
                target, overwrite = Path(str(m["path"])).expanduser(), m["overwrite"] is True
                if target.exists() and not overwrite and not self._is_own(target):
                    raise DataError(
                        f"{target} exists already. Choose another name, or tick “replace”."
                    )
                self.save(target, overwrite=overwrite)


def render_labels(image: NDArray[np.uint8], people: Sequence[Person], skeleton: Skeleton) -> bytes:
    """Labelled people drawn on their image, as a PNG; hidden joints are hollow."""
    points = np.array([person.points for person in people], np.float32)
    points = points.reshape(len(people), len(skeleton), 3)
    points[..., 2] = points[..., 2] == 2
    boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
    scores = np.full(len(people), np.nan, np.float32)
    drawn = draw_poses(image, boxes, scores, points, skeleton=skeleton, kpt_threshold=0.5)
    return to_png(np.asarray(_shrunk(drawn, _SNAPSHOT_SIDE)))


def _shrunk(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    return image


def _plain(points: Iterable[Point]) -> list[list[float] | None]:
    return [list(point) if point.v else None for point in points]
