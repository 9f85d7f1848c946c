"""Album: what there is to browse, image by image, read only when its turn comes."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import InputError
from kptk.skeleton import COCO17, Skeleton

if TYPE_CHECKING:
    from kptk.coco import KeypointData
    from kptk.evaluation import Evaluation
    from kptk.pipeline.results import PoseResult


Float = NDArray[np.float64]


Image = NDArray[np.uint8]


Record = Mapping[str, Any]


_KEPT = 6  # decoded images that are kept: going back and forth, and moving sliders, is free


_NO_IMAGE = (240, 320)  # height, width of the grey that stands for an image that cannot be read


@dataclass(frozen=True, eq=False)
class Poses:
    """People that a pipeline placed joints on.

    Attributes:
        boxes: (N, 4) pixels, (x1, y1, x2, y2).
        scores: (N,) of the boxes; 1 for boxes that were given.
        points: (N, K, 3) x, y, score; missing is NaN.
        ids: (N,) the annotation whose box it is; -1 for detected boxes.
    """

    boxes: Float
    scores: Float
    points: Float
    ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotated people of an image, crowds included.

    Attributes:
        ids: (G,) annotation ids.
        boxes: (G, 4) pixels, (x1, y1, x2, y2).
        points: (G, K, 3) x, y, v; coordinates are NaN where v is 0.
        area: (G,) square pixels as annotated, which OKS is scaled by.
        crowd: (G,) a region of many people.
    """

    ids: NDArray[np.int64]
    boxes: Float
    points: Float
    area: Float
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with all that is known about it.

    Attributes:
        image_id: its id.
        name: its file's name.
        image: RGB uint8 (H, W, 3).
        detected: poses on detected boxes.
        given: poses on annotated boxes; None where there are none.
        truth: the annotations; None without ground truth.
        skeleton: of all of them.
        input_size: (height, width) of the pose model's input, which sets the aspect of its crops.
        error: why the image cannot be shown; None if it can.
    """

    image_id: int
    name: str
    image: Image
    detected: Poses
    given: Poses | None
    truth: Truth | None
    skeleton: Skeleton
    input_size: tuple[int, int]
    error: str | None = None


@dataclass(eq=False)
class Album:
    """Scenes by image id, made on demand.

    Attributes:
        image_ids: in the order of browsing.
        skeleton: joints of all people.
        threshold: the pipeline's box threshold.
        input_size: (height, width) of the pose model's input.
        has_truth: whether there are annotations.
        has_given: whether there are poses on annotated boxes.
        make: image id and its picture → the scene.
        read: image id → its picture.
        scores_of: image id → (N,) scores of the detected boxes.
        given: (P,) records of poses on annotated boxes, for sorting people by OKS.
        people: image id → its annotations.
    """

    image_ids: Sequence[int]
    skeleton: Skeleton
    threshold: float
    input_size: tuple[int, int]
    has_truth: bool
    has_given: bool
    make: Callable[[int, Image], Scene]
    read: Callable[[int], Image]
    scores_of: Callable[[int], Sequence[float]]
    given: Sequence[Record] = ()
    people: Callable[[int], Sequence[Record]] = lambda image_id: ()
    _images: OrderedDict[int, Image | str] = field(default_factory=OrderedDict)

    def scene(self, image_id: int) -> Scene:
        """An image with all that is known about it; grey, with ``error``, if it cannot be read."""
        image = self._image(image_id)
        if isinstance(image, str):
            from dataclasses import replace

            grey = np.full((*_NO_IMAGE, 3), 128, np.uint8)
            return replace(self.make(image_id, grey), error=image)
        return self.make(image_id, image)

    def _image(self, image_id: int) -> Image | str:
        if image_id not in self._images:
            try:
                self._images[image_id] = self.read(image_id)
            except InputError as error:
                self._images[image_id] = str(error)
            while len(self._images) > _KEPT:
                self._images.popitem(last=False)
        self._images.move_to_end(image_id)
        return self._images[image_id]


def album_of(source: object, data: KeypointData | None) -> Album:
    """What users hand in as an album.

    Args:
        source: an evaluation (with ``data``), results, or a data set alone.
        data: the data set that was evaluated.

    Raises:
        InputError: it is something else.
    """
    from kptk.coco import KeypointData
    from kptk.evaluation import Evaluation
    from kptk.pipeline.results import PoseResult

    if isinstance(source, Evaluation) and isinstance(data, KeypointData):
        return album_of_evaluation(source, data)
    if isinstance(source, Evaluation):
        raise InputError(
            "PoseBrowser needs the data of an evaluation too: PoseBrowser(evaluation, data), with "
            "data from kptk.load_coco."
        )
    if data is None and isinstance(source, KeypointData):
        return album_of_data(source)
    if data is None and isinstance(source, PoseResult):
        return album_of_results([source])
    if data is None and isinstance(source, Iterable):
        results = list(source)
        if results and all(isinstance(result, PoseResult) for result in results):
            return album_of_results(results)
    raise InputError(
        "PoseBrowser takes an evaluation with its data, a list of PoseResults, or a data set. "
        f"Got {type(source).__name__}."
    )


def album_of_evaluation(evaluation: Evaluation, data: KeypointData) -> Album:
    """What a pipeline said about a data set.

    Raises:
        InputError: the evaluation has no predictions, or they are of other images.
    """
    predictions = evaluation.predictions
    if predictions is None:
        raise InputError(
            "PoseBrowser needs what the pipeline predicted. An evaluation of a file of results has "
            "only their scores; evaluate a pipeline, or the folder that Evaluation.save wrote."
        )
    here = set(predictions.image_ids)
    image_ids = [i for i in data.image_ids if i in here]
    if not image_ids:
        raise InputError(
            f"data must be the data that was evaluated, or a part of it. None of its {len(data)} "
            f"images is among the {len(here)} of the evaluation."
        )
    given_records = _records(predictions.people)
    found, given = _by_image(_records(predictions.candidates)), _by_image(given_records)
    made_by = predictions.made_by
    size = made_by.get("models", {}).get("pose", {}).get("input_size") or (256, 192)
    joints = len(data.skeleton)

    def make(image_id: int, image: Image) -> Scene:
        return Scene(
            image_id, str(data.image(image_id)["file_name"]), image,
            poses_of_records(found[image_id], joints),
            None if predictions.people is None else poses_of_records(given[image_id], joints),
            truth_of_records(data.annotations(image_id), joints),
            data.skeleton, (int(size[0]), int(size[1])),
        )  # fmt: skip

    return Album(
        image_ids, data.skeleton, float(made_by.get("det_threshold") or 0.5),
        (int(size[0]), int(size[1])), True, predictions.people is not None, make, data.read,
        lambda image_id: [record["score"] for record in found[image_id]],
        given_records, data.annotations,
    )  # fmt: skip


def album_of_data(data: KeypointData) -> Album:
    """A data set alone: the annotations, and nothing found."""
    joints = len(data.skeleton)

    def make(image_id: int, image: Image) -> Scene:
        name = str(data.image(image_id)["file_name"])
        truth = truth_of_records(data.annotations(image_id), joints)
        nothing = poses_of_records([], joints)
        return Scene(image_id, name, image, nothing, None, truth, data.skeleton, (256, 192))

    return Album(
        data.image_ids, data.skeleton, 0.5, (256, 192), True, False, make, data.read,
        lambda image_id: [], (), data.annotations,
    )  # fmt: skip


def album_of_results(results: Sequence[PoseResult]) -> Album:
    """Results without ground truth; their places in the list are the image ids."""
    skeleton = results[0].skeleton if results else COCO17

    def read(place: int) -> Image:
        result = results[place]
        if result.image is None:
            raise InputError(str(result.error or "The result holds no image."))
        return result.image

    def make(place: int, image: Image) -> Scene:
        result = results[place]
        boxes, scores = result.boxes.astype(np.float64), result.scores.astype(np.float64)
        nobody = np.full(len(boxes), -1, np.int64)
        poses = Poses(boxes, scores, result.keypoints.astype(np.float64), nobody)
        return Scene(place, result.name, image, poses, None, None, result.skeleton, (256, 192))

    lowest = min((float(s) for result in results for s in result.scores), default=0.0)
    return Album(
        range(len(results)), skeleton, np.floor(100 * lowest) / 100, (256, 192), False, False,
        make, read, lambda place: results[place].scores.tolist(),
    )  # fmt: skip


def _records(people: Any) -> list[Record]:
    return [] if people is None else people.to_results()


def _by_image(records: Iterable[Record] | None) -> defaultdict[int, list[Record]]:
    found: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records or ():
        found[record["image_id"]].append(record)
    return found


def poses_of_records(records: Sequence[Record], joints: int) -> Poses:
    """COCO result records of an image as arrays; a joint of score 0 at (0, 0) is missing."""
    none = [np.nan] * (3 * joints)
    points = np.array([r.get("keypoints", none) for r in records], np.float64)
    points = points.reshape(len(records), joints, 3)
    points[(points == 0).all(axis=2)] = np.nan
    return Poses(
        corners_of([r["bbox"] for r in records]),
        np.array([r["score"] for r in records], np.float64),
        points,
        np.array([r.get("annotation_id", -1) for r in records], np.int64),
    )


def truth_of_records(records: Sequence[Record], joints: int) -> Truth:
    """COCO annotations of an image as arrays."""
    none = [0] * (3 * joints)
    points = np.array([r.get("keypoints") or none for r in records], np.float64)
    points = points.reshape(len(records), joints, 3)
    crowd = np.array([bool(r["iscrowd"]) for r in records], np.bool_)
    points[crowd, :, 2] = 0
    points[points[..., 2] == 0, :2] = np.nan
    return Truth(
        np.array([r["id"] for r in records], np.int64),
        corners_of([r["bbox"] for r in records]),
        points,
        np.array([r["area"] for r in records], np.float64),
        crowd,
    )


def corners_of(boxes: Sequence[Sequence[float]]) -> Float:
    """COCO's (x, y, width, height) → (N, 4) x1, y1, x2, y2."""
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([array[:, :2], array[:, :2] + array[:, 2:]], axis=1)
