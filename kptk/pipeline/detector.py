"""The person detector before and after the engine: resize, normalise, run, filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kptk.engines.parallel import spread
from kptk.errors import ModelError
from kptk.inputs import check_batch_size, check_image, check_threshold, normalize

if TYPE_CHECKING:
    from kptk.engines.base import Engine
    from kptk.models.modeldir import ModelDir


PERSON_LABELS = ("person", "pedestrian", "human")


class Detections(NamedTuple):
    """The people found in one image, highest score first.

    Attributes:
        boxes: (N, 4) float32 pixels, (x1, y1, x2, y2), inside the image.
        scores: (N,) float32, 0 to 1.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]


class Detector:
    """Finds people with a PP-YOLOE model.

    Args:
        model: the model directory, of kind ``"detection"``.
        engine: what runs it.

    Raises:
        ModelError: the model is of another kind, has no person class, or resizes in a way that
            PP-YOLOE does not.
    """

    def __init__(self, model: ModelDir, engine: Engine) -> None:
        if model.kind != "detection":
            raise ModelError(
                f"A detection model is needed here. {model.name!r} at {model.path} is a "
                f"{model.kind} model."
            )
        if model.keep_ratio:
            raise ModelError(
                f"Resize of {model.name!r} says keep_ratio: true, which PP-YOLOE does not use. "
                "Export the model with keep_ratio: false."
            )
        self.model = model
        self.engine = engine
        self.person = person_class(model.labels, model.name)

    def __repr__(self) -> str:
        return (
            f"Detector({self.model.name!r}, engine={self.engine.name!r}, "
            f"device={self.engine.device!r}, threshold={self.model.threshold})"
        )

    def predict(
        self,
        images: Sequence[NDArray[np.uint8]],
        *,
        threshold: float | None = None,
        batch_size: int = 1,
    ) -> list[Detections]:
        """Find people.

        Args:
            images: RGB uint8 arrays (H, W, 3), of any sizes.
            threshold: lowest score that is kept, from 0 (all that the model gives) to 1 (only a
                score of exactly 1). PaddleX drops a score equal to the threshold; kptk keeps it.
                None: ``draw_threshold`` of the model's inference.yml.
            batch_size: images to a call of the engine.

        Returns:
            The people in each image.

        Raises:
            InputError: a wrong image, threshold or batch size.
            ModelError: the network's outputs are not those of a detector.
        """
        lowest = self.model.threshold if threshold is None else check_threshold(threshold)
        size = check_batch_size(batch_size)
        checked = [check_image(image, f"images[{i}]") for i, image in enumerate(images)]
        batches = [checked[start : start + size] for start in range(0, len(checked), size)]
        found = spread(self.engine, lambda batch: self._batch(batch, lowest), batches)
        return [people for batch in found for people in batch]

    def _batch(self, images: Sequence[NDArray[np.uint8]], lowest: float) -> list[Detections]:
        inputs = network_inputs(images, self.model, self.engine.input_names)
        rows = split_rows(self.engine.run(inputs), len(images), self.model.name)
        return [
            select_people(image_rows, self.person, lowest, image.shape[:2])
            for image, image_rows in zip(images, rows, strict=True)
        ]


def network_inputs(
    images: Sequence[NDArray[np.uint8]], model: ModelDir, names: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """The arrays a detector's network asks for; scale factors are (height, width).

    Args:
        images: RGB uint8 arrays (H, W, 3).
        model: what its inference.yml says.
        names: of the network's inputs.

    Raises:
        ModelError: an input that no PP-YOLOE has.
    """
    height, width = model.input_size
    sizes = np.array([image.shape[:2] for image in images], np.float64)
    target = np.array([height, width], np.float64)
    arrays = {
        "image": preprocess(images, model),
        "scale_factor": (target / sizes).astype(np.float32),
        "im_shape": np.repeat(target[None], len(images), axis=0).astype(np.float32),
    }
    unknown = set(names) - set(arrays)
    if unknown:
        raise ModelError(
            f"{model.name!r} asks for inputs {sorted(unknown)}, which no PP-YOLOE "
            f"detector has. Expected {', '.join(arrays)}."
        )
    return {name: arrays[name] for name in names}


def preprocess(images: Sequence[NDArray[np.uint8]], model: ModelDir) -> NDArray[np.float32]:
    """Stretch images to the model's input size and normalise them: (N, 3, H, W) float32."""
    import cv2

    height, width = model.input_size
    batch = np.empty((len(images), 3, height, width), np.float32)
    for image, out in zip(images, batch, strict=True):
        resized: Any = cv2.resize(image, (width, height), interpolation=model.interp)
        normalize(resized, model.mean, model.std, model.is_scale, out=out)
    return batch


def person_class(labels: Sequence[str], name: str) -> int:
    """Index of the class that means a person.

    Raises:
        ModelError: several classes, none of them a person.
    """
    lowered = [label.lower() for label in labels]
    for index, label in enumerate(lowered):
        if label in PERSON_LABELS:
            return index
    if len(labels) <= 1:
        return 0
    raise ModelError(
        f"The detector {name!r} must have a class named {' or '.join(PERSON_LABELS)}. "
        f"Its label_list is {list(labels)}."
    )


def split_rows(
    outputs: Sequence[NDArray[Any]], n_images: int, name: str
) -> list[NDArray[np.float32]]:
    """Divide a network's rows [class, score, x1, y1, x2, y2] among the images of the batch.

    Raises:
        ModelError: the outputs are not rows of 6 and a count for each image.
    """
    rows = next((o for o in outputs if o.ndim == 2 and o.shape[1] == 6), None)
    counts = next((o for o in outputs if o.ndim == 1 and len(o) == n_images), None)
    if counts is not None and not counts.any():
        return [np.zeros((0, 6), np.float32)] * n_images
    if rows is not None and counts is None and n_images == 1:
        counts = np.array([len(rows)])
    if rows is None or counts is None or int(counts.sum()) != len(rows):
        raise ModelError(
            f"The detector {name!r} must give rows [class, score, x1, y1, x2, y2] and a count "
            f"for each of {n_images} images. Got {[output.shape for output in outputs]}. Export "
            "it with its non-maximum suppression."
        )
    return np.split(rows.astype(np.float32), np.cumsum(counts)[:-1])


def select_people(
    rows: NDArray[np.float32], person: int, threshold: float, size: tuple[int, ...]
) -> Detections:
    """Keep the people among one image's rows.

    Args:
        rows: (M, 6) float32, [class, score, x1, y1, x2, y2] in pixels.
        person: class to keep.
        threshold: lowest score to keep.
        size: (height, width) of the image; boxes are clipped to it, what is left empty goes.
    """
    rows = rows[(rows[:, 0] == person) & (rows[:, 1] >= threshold)]
    height, width = size
    boxes = rows[:, 2:].clip(0, np.array([width, height, width, height], np.float32))
    keep = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    boxes, scores = boxes[keep], rows[keep, 1]
    order = np.argsort(-scores, kind="stable")
    return Detections(np.ascontiguousarray(boxes[order]), np.ascontiguousarray(scores[order]))
