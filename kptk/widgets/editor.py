"""What the label editor draws: one image and its people as plain values for the browser."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import NDArray

from kptk.coco import KeypointData
from kptk.coco.dataset import write_coco
from kptk.errors import DataError, InputError, KptkError
from kptk.pipeline.results import COLOURS, draw_poses
from kptk.skeleton import Skeleton
from kptk.widgets import theme as saved
from kptk.widgets.labels import Candidate, Edit, Labels, Person, Point, candidates_by_image, missed
from kptk.widgets.theme import CSS, to_png

if TYPE_CHECKING:
    from IPython.display import DisplayHandle

    from kptk.evaluation import Evaluation
    from kptk.evaluation.predictions import Predictions


_SCREEN_SIDE = 2048  # pixels sent to the browser: enough to zoom in, still sent at once


_PREVIEW_SIDE = 640  # pixels kept in a saved notebook


_QUALITY = 90


def fitting_skeleton(skeleton: Skeleton | None, data: KeypointData) -> Skeleton:
    """The skeleton to draw: the one given, or the data's.

    Raises:
        InputError: it has another number of joints than the data.
    """
    if skeleton is None:
        return data.skeleton
    if len(skeleton) != len(data.skeleton):
        raise InputError(
            f"The skeleton must have the data's {len(data.skeleton)} joints. Got {len(skeleton)}."
        )
    return skeleton


def chosen_images(
    data: KeypointData, image_ids: Iterable[int] | None, annotation_ids: frozenset[int]
) -> list[int]:
    """The images to go through: those given, or those of the annotations, or all.

    Raises:
        DataError: an image or annotation is not in the data, or there is no image.
    """
    records = {a["id"]: a["image_id"] for a in data.content["annotations"]}
    unknown = sorted(annotation_ids - set(records))
    if unknown:
        raise DataError(f"{data.annotations_path.name} has no annotation {unknown[0]!r}.")
    if image_ids is not None:
        found = [int(data.image(image_id)["id"]) for image_id in image_ids]
    elif annotation_ids:
        found = sorted({records[i] for i in annotation_ids})
    else:
        found = list(data.image_ids)
    if not found:
        raise DataError("There is no image to show. Pass image_ids, or data with images.")
    return found


def setup_of(skeleton: Skeleton, with_candidates: bool) -> dict[str, Any]:
    """What stays the same while images change: joints, limbs, colours."""
    joints = range(len(skeleton))
    return {
        "names": [skeleton.names[i].replace("_", " ") for i in joints],
        "sides": [skeleton.side(i) for i in joints],
        "edges": [list(edge) for edge in skeleton.edges],
        "colours": {side: f"rgb{colour}" for side, colour in COLOURS.items()},
        "candidates": with_candidates,
    }


def scene_of(
    data: KeypointData,
    labels: Labels,
    image_id: int,
    image_ids: Sequence[int],
    marked: Collection[int],
    candidates: Iterable[Candidate],
) -> dict[str, Any]:
    """One image with its people as they are now, crowds, detections, and the state of undo."""
    height, width = labels.size(image_id)
    return {
        "image": {
            "id": image_id,
            "name": data.image(image_id)["file_name"],
            "width": width,
            "height": height,
            "place": image_ids.index(image_id) + 1 if image_id in image_ids else None,
            "count": len(image_ids),
        },
        "people": [_person(person, person.id in marked) for person in labels.people(image_id)],
        "crowds": [_corners(crowd["bbox"]) for crowd in data.crowds(image_id)],
        "missed": [
            {"box": list(c.box), "score": c.score, "points": _points(c.points or ())}
            for c in candidates
        ],
        "done": labels.n_done,
        "undone": labels.n_undone,
        "unsaved": labels.unsaved,
    }


def _person(person: Person, marked: bool) -> dict[str, Any]:
    points = _points(person.points)
    return {"id": person.id, "box": list(person.box), "points": points, "marked": marked}


def _points(points: Iterable[Point]) -> list[list[float] | None]:
    return [[p.x, p.y, p.v] if p.v else None for p in points]


def _corners(bbox: Sequence[float]) -> list[float]:
    x, y, width, height = bbox
    return [x, y, x + width, y + height]


def picture_of(image: NDArray[np.uint8]) -> bytes:
    """An RGB image (H, W, 3) as JPEG, made smaller if a side is very long."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_shrunk(image, _SCREEN_SIDE)).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def render_labels(image: NDArray[np.uint8], people: Sequence[Person], skeleton: Skeleton) -> bytes:
    """Labelled people drawn on their image, as a PNG; hidden joints are hollow."""
    points = np.array([person.points for person in people], np.float32)
    points = points.reshape(len(people), len(skeleton), 3)
    points[..., 2] = np.where(points[..., 2] == 2, 1, 0)
    boxes = np.array([person.box for person in people], np.float32).reshape(-1, 4)
    scores = np.full(len(people), np.nan, np.float32)
    drawn = draw_poses(image, boxes, scores, points, skeleton=skeleton, kpt_threshold=0.5)
    return to_png(_shrunk(drawn, _PREVIEW_SIDE))


def _shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail((side, side))
    return np.asarray(picture)


# ---- editor: LabelEditor: correct keypoints and boxes in the notebook, and save them to a new file.


_HERE = Path(__file__).parent


class LabelEditor(anywidget.AnyWidget):
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
        height: of the picture, in screen pixels (trait).
        labels: the people and their edits, for edits by code.

    Raises:
        DataError: an image or annotation is not in the data, or there is none.
        InputError: ``predictions`` or ``skeleton`` cannot be used.
    """

    _esm = _HERE / "editor.js"
    _css = CSS + saved.CSS + (_HERE / "editor.css").read_text(encoding="utf-8")

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
        self._skeleton = fitting_skeleton(skeleton, data)
        self._marked = frozenset(annotation_ids or ())
        self.image_ids = chosen_images(data, image_ids, self._marked)
        self._candidates = candidates_by_image(predictions, len(data.skeleton))
        self._still: DisplayHandle | None = None
        self._written: tuple[Path, tuple[int, int]] | None = None
        super().__init__(
            image_id=self.image_ids[0],
            path=f"{data.annotations_path.stem}_corrected.json",
            _setup=setup_of(self._skeleton, bool(self._candidates)),
        )
        self._show()
        self.observe(lambda _: self._show(), "image_id")
        self.observe(lambda _: self._draw(), "min_score")
        self.on_msg(lambda _, content, __: self._receive(content))

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
        """Take the last edit back, and show whom it was about."""
        self._go_to(self.labels.undo(), "Taken back")

    def redo(self) -> None:
        """Do again what was taken back, and show whom it is about."""
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
        self._written = (target, _state(target))
        self.labels.mark_saved(target)
        self.path = str(target)
        self._draw()
        saved.renew(self._still, self, self.render())
        self._say(f"Saved {target}")
        return target

    def _is_own(self, target: Path) -> bool:
        """Whether this editor wrote the file last."""
        return self._written is not None and self._written == (target, _state(target))

    def render(self) -> bytes:
        """The image and its labels as they are now, as a PNG of at most 640 pixels a side."""
        height, width = self.labels.size(self.image_id)
        image = np.zeros((height, width, 3), np.uint8)
        with suppress(InputError):  # it cannot be read, which is said in the editor
            image = self._source.read(self.image_id)
        return render_labels(image, self.labels.people(self.image_id), self._skeleton)

    def __repr__(self) -> str:
        count = self.labels.n_done
        edits = "1 edit" if count == 1 else f"{count} edits"
        return f"LabelEditor({len(self.image_ids)} images, {edits})"

    def _ipython_display_(self) -> None:
        """The live editor and, for whoever opens the notebook without a kernel, a picture."""
        bundle, _ = self._repr_mimebundle_() or ({}, {})
        self._still = saved.show(self, bundle, self.render())

    @traitlets.validate("image_id")
    def _known_image(self, proposal: Any) -> int:
        return int(self._source.image(proposal["value"])["id"])

    def _step(self, by: int) -> None:
        place = self.image_ids.index(self.image_id) if self.image_id in self.image_ids else 0
        self.image_id = self.image_ids[(place + by) % len(self.image_ids)]

    def _show(self) -> None:
        """Show the image that ``image_id`` names."""
        people = self.labels.people(self.image_id)
        first = next((person.id for person in people if person.id in self._marked), None)
        with self.hold_sync():
            self._picture = self._read()
            self.person_id, self.joint = first, None
            self._draw()

    def _read(self) -> bytes:
        self._say("")
        try:
            return picture_of(self._source.read(self.image_id))
        except InputError as error:
            self._say(str(error), "error")
            return b""

    def _draw(self) -> None:
        self._scene = scene_of(
            self._source, self.labels, self.image_id, self.image_ids, self._marked, self._missed()
        )

    def _missed(self) -> list[Candidate]:
        boxes = [person.box for person in self.labels.people(self.image_id)]
        return missed(self._candidates.get(self.image_id, ()), boxes, self.min_score)

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

    def _receive(self, content: Mapping[str, Any]) -> None:
        """Do what the browser asks for; what cannot be done is said there."""
        action = self._actions().get(str(content.get("do")))
        if action is None:
            return
        try:
            with self.hold_sync():
                action(content)
        except (KptkError, KeyError, TypeError, ValueError) as error:
            self._say(str(error), "error")  # at which the browser draws the scene again

    def _actions(self) -> dict[str, Callable[[Mapping[str, Any]], object]]:
        labels = self.labels
        return {
            "step": lambda m: self._step(int(m["by"])),
            "undo": lambda m: self.undo(),
            "redo": lambda m: self.redo(),
            "save": self._save,
            "move_point": lambda m: labels.move_point(
                m["person"], m["joint"], m["x"], m["y"], m.get("v")
            ),
            "nudge": self._nudge,
            "set_visibility": lambda m: labels.set_visibility(m["person"], m["joint"], m["v"]),
            "set_box": lambda m: labels.set_box(m["person"], m["box"]),
            "add": self._add,
            "remove": self._remove,
        }

    def _nudge(self, message: Mapping[str, Any]) -> None:
        """Move a joint by so much from where it is now; keys repeat faster than answers come."""
        person, joint = message["person"], message["joint"]
        x, y, _ = self.labels.person(person).points[joint]
        self.labels.move_point(person, joint, x + message["dx"], y + message["dy"])

    def _save(self, message: Mapping[str, Any]) -> None:
        target, overwrite = Path(str(message["path"])).expanduser(), message["overwrite"] is True
        if target.exists() and not overwrite and not self._is_own(target):
            raise DataError(f"{target} exists already. Choose another name, or tick “replace”.")
        self.save(target, overwrite=overwrite)

    def _add(self, message: Mapping[str, Any]) -> None:
        """Add a person: one of the detections that are offered, or a box that was drawn."""
        if "candidate" in message:
            found = self._missed()[int(message["candidate"])]
            edit = self.labels.add(self.image_id, found.box, found.points)
        else:
            edit = self.labels.add(self.image_id, message["box"])
        self.person_id, self.joint = edit.person.id, None

    def _remove(self, message: Mapping[str, Any]) -> None:
        self.labels.remove(message["person"])
        self.person_id, self.joint = None, None


def _state(path: Path) -> tuple[int, int]:
    """What tells whether a file was changed; (0, 0) without one."""
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
