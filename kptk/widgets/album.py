"""Album: the images there are to browse with their people, each read only when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from kptk.coco import KeypointData
from kptk.errors import InputError
from kptk.evaluation import Evaluation
from kptk.instances import Instances
from kptk.pipeline.results import PoseResult
from kptk.skeleton import Skeleton

_KEPT = 6  # decoded images that are kept: going back and forth, and moving sliders, is free
_NO_IMAGE = (240, 320)  # height, width of the grey that stands for an image that cannot be read


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with all that is known about it.

    Attributes:
        image_id: its id.
        name: its file's name.
        image: RGB uint8 (H, W, 3).
        detected: poses on detected boxes.
        given: poses on annotated boxes; None where there are none.
        truth: the annotations, crowds included; None without ground truth.
        skeleton: of all of them.
        input_size: (height, width) of the pose model's input, which sets the aspect of its crops.
        error: why the image cannot be shown; None if it can.
    """

    image_id: int
    name: str
    image: NDArray[np.uint8]
    detected: Instances
    given: Instances | None
    truth: Instances | None
    skeleton: Skeleton
    input_size: tuple[int, int]
    error: str | None = None


@dataclass(eq=False)
class Album:
    """Scenes by image id, made on demand.

    Attributes:
        image_ids: in the order of browsing.
        skeleton: of all people.
        read: image id → RGB uint8 (H, W, 3).
        name: image id → its file's name.
        detected: poses on detected boxes, of all images.
        given: poses on annotated boxes; None where there are none.
        data: the annotations; None without ground truth.
        threshold: the pipeline's box threshold.
        input_size: (height, width) of the pose model's input.
        scene: image id → its scene; the last ones are kept.
    """

    image_ids: Sequence[int]
    skeleton: Skeleton
    read: Callable[[int], NDArray[np.uint8]]
    name: Callable[[int], str]
    detected: Instances
    given: Instances | None = None
    data: KeypointData | None = None
    threshold: float = 0.5
    input_size: tuple[int, int] = (256, 192)
    scene: Callable[[int], Scene] = field(init=False)

    def __post_init__(self) -> None:
        self.scene = lru_cache(_KEPT)(self._scene)

    def _scene(self, image_id: int) -> Scene:
        """An image with all that is known about it; grey, with ``error``, if it cannot be read."""
        try:
            image, error = self.read(image_id), None
        except InputError as problem:
            image, error = np.full((*_NO_IMAGE, 3), 128, np.uint8), str(problem)
        joints, given = len(self.skeleton), self.given
        truth = None
        if self.data is not None:
            truth = Instances.from_annotations(self.data.annotations(image_id), joints)
        return Scene(
            image_id=image_id,
            name=self.name(image_id),
            image=image,
            detected=self.detected.of_image(image_id),
            given=None if given is None else given.of_image(image_id),
            truth=truth,
            skeleton=self.skeleton,
            input_size=self.input_size,
            error=error,
        )

    @cached_property
    def people(self) -> Instances:
        """The annotated single people of all images; nobody without ground truth."""
        data = self.data
        every = [] if data is None else [a for i in self.image_ids for a in data.annotations(i)]
        people = Instances.from_annotations(every, len(self.skeleton))
        return people[~people.crowd]


def album_of(source: object, data: KeypointData | None) -> Album:
    """What users hand in as an album.

    Args:
        source: an evaluation (with ``data``), results, or a data set alone.
        data: the data set that was evaluated.

    Raises:
        InputError: it is something else.
    """
    if isinstance(source, Evaluation):
        if isinstance(data, KeypointData):
            return album_of_evaluation(source, data)
        raise InputError(
            "PoseBrowser needs the data of an evaluation too: PoseBrowser(evaluation, data), with "
            "data from kptk.load_coco."
        )
    if data is None and isinstance(source, KeypointData):
        nobody = Instances.from_results([], len(source.skeleton))
        made = (source.image_ids, source.skeleton, source.read, _name_in(source))
        return Album(*made, detected=nobody, data=source)
    if data is None and isinstance(source, PoseResult | Iterable):
        results = [source] if isinstance(source, PoseResult) else list(source)
        if results and all(isinstance(result, PoseResult) for result in results):
            return _album_of_results(results)
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
    made_by, found = predictions.made_by, predictions.candidates
    size = made_by.get("models", {}).get("pose", {}).get("input_size") or (256, 192)
    return Album(
        image_ids=image_ids,
        skeleton=data.skeleton,
        read=data.read,
        name=_name_in(data),
        detected=Instances.from_results([], len(data.skeleton)) if found is None else found,
        given=predictions.people,
        data=data,
        threshold=float(made_by.get("det_threshold") or 0.5),
        input_size=(int(size[0]), int(size[1])),
    )


def _name_in(data: KeypointData) -> Callable[[int], str]:
    return lambda image_id: str(data.image(image_id)["file_name"])


def _album_of_results(results: Sequence[PoseResult]) -> Album:
    """Results without ground truth; their positions in the list are the image ids."""
    found = [result for result in results if len(result)]  # one that failed may say another
    skeleton = (found or results)[0].skeleton
    if any(len(result.skeleton) != len(skeleton) for result in found):
        raise InputError("PoseBrowser needs results of one skeleton. Got several.")

    def read(index: int) -> NDArray[np.uint8]:
        image = results[index].image
        if image is None:
            raise InputError(str(results[index].error or "The result holds no image."))
        return image

    records = [
        record
        for index, result in enumerate(results)
        for record in result.to_coco(index, score="deploy", with_boxes=True)
    ]
    people = Instances.from_results(records, len(skeleton))
    lowest = people.scores.min() if len(people) else 0.0
    return Album(
        image_ids=range(len(results)),
        skeleton=skeleton,
        read=read,
        name=lambda index: results[index].name,
        detected=people,
        threshold=float(np.floor(100 * lowest) / 100),
    )
