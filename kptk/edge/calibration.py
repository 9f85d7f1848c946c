"""What int8 is calibrated on: the user's images, made into inputs as inference makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kptk.errors import DataError, InputError
from kptk.inputs import normalize
from kptk.modeldir import ModelDir

if TYPE_CHECKING:
    from kptk.coco import KeypointData

Image = NDArray[np.uint8]
Inputs = dict[str, NDArray[np.float32]]
Pictures = list[tuple[Image, "NDArray[np.float32] | None"]]

N_IMAGES = 64
_CROPS = 8  # to a call


def spaced(n: int, count: int) -> list[int]:
    """``count`` indices (or all) spread evenly over ``n`` things, the first among them."""
    return [i * n // min(n, count) for i in range(min(n, count))]


def labelled_pictures(data: KeypointData, count: int) -> Pictures:
    """Images of a data set, spread evenly, each with its people's boxes (N, 4) x1, y1, x2, y2."""
    from kptk.images import read_image

    ids = data.image_ids
    return [
        (read_image(data.image_path(ids[i])), _boxes(data.people(ids[i])))
        for i in spaced(len(ids), count)
    ]


def _boxes(people: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
    boxes = np.array([person["bbox"] for person in people], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def plain_pictures(images: Any, count: int) -> Pictures:
    """Images without labels: what ``predict`` takes, of which up to ``count`` that can be read.

    Raises:
        InputError: none can be read.
    """
    from kptk.sources import BadFrame, iter_frames

    kept: list[Image] = []
    good, bad, step, first = 0, 0, 1, ""
    for frame in iter_frames(images):
        if isinstance(frame, BadFrame):
            bad, first = bad + 1, first or f" {frame.error}"
            continue
        if good % step == 0:
            kept.append(frame.image)
        good += 1
        if len(kept) > 2 * count:  # a film's frames would not fit into memory
            kept, step = kept[::2], 2 * step
    if not good:
        raise InputError(f"The images to calibrate on must be readable. None of {bad} is.{first}")
    return [(kept[i], None) for i in spaced(len(kept), count)]


def with_boxes(pictures: Pictures, pipeline: str) -> Pictures:
    """Let a pipeline's detector find the people of the images that have no boxes yet."""
    if all(boxes is not None for _, boxes in pictures):
        return pictures
    from kptk.config import load_config
    from kptk.pipeline import create_model

    config = load_config(pipeline)
    detector = create_model(config.det_model)

    def find(image: Image) -> NDArray[np.float32]:
        (result,) = detector.predict([image], det_threshold=config.det_threshold, on_error="raise")
        return result.boxes

    return [(image, find(image) if boxes is None else boxes) for image, boxes in pictures]


def calibration_inputs(
    model: ModelDir, input_names: Sequence[str], pictures: Pictures
) -> list[Inputs]:
    """The network's inputs for these images, through the preprocessing of inference.

    Args:
        model: a detector, which sees whole images, or a pose model, which sees crops of the boxes.
        input_names: of the network.
        pictures: images and, for a pose model, boxes (N, 4) of each.

    Raises:
        DataError: a pose model, and nobody on the images.
    """
    from kptk.detector import network_inputs

    if model.kind == "detection":
        return [network_inputs([image], model, input_names) for image, _ in pictures]
    inputs = [{input_names[0]: crops} for crops in _crops(model, pictures)]
    if not inputs:
        raise DataError(
            "Calibrating a pose model needs people. There are none on the "
            f"{len(pictures)} images looked at: give other images, or annotations."
        )
    return inputs


def _crops(model: ModelDir, pictures: Pictures) -> Iterator[NDArray[np.float32]]:
    from kptk.pose import crop_boxes, warp_crops

    for image, boxes in pictures:
        people = np.zeros((0, 4), np.float32) if boxes is None else boxes
        for start in range(0, len(people), _CROPS):
            some = people[start : start + _CROPS]
            centers, sizes = crop_boxes(some, model.input_size)
            owners = np.zeros(len(some), np.intp)
            crops = warp_crops([image], owners, centers, sizes, model.input_size)
            yield normalize(crops, model.mean, model.std, model.is_scale)
