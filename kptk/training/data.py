"""Training batches: COCO people in, arrays for the network out.

Which samples a step sees and how they are changed follow from (seed, step) alone, so a run that is
resumed at a step sees the same batches as one that was never stopped. The transforms are
PaddleDetection's.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco.load import read_document
from kptk.errors import ConfigError, DataError, InputError
from kptk.io.images import read_image
from kptk.models import network as shims
from kptk.models.network import kind_of
from kptk.training.settings import DataSettings, TrainSettings

Batch = dict[str, NDArray[Any]]


_INPUTS = {
    "detection": ("image", "gt_bbox", "gt_class", "pad_gt_mask"),
    "keypoint": ("image", "target", "target_weight"),
}


class Batches:
    """An endless, repeatable source of training batches.

    Args:
        settings: model, data, batch size, seed and transforms.
        rank: of this process among those that train together, which share every batch.
        size: how many processes there are; not more than a batch has samples.

    Raises:
        DataError: there is nobody to train on.
        ConfigError: there are more processes than samples in a batch.
    """

    def __init__(self, settings: TrainSettings, rank: int = 0, size: int = 1) -> None:
        from ppdet.data.reader import Compose

        if size > settings.batch_size:
            raise ConfigError(
                f"batch_size must be at least the number of processes, {size}. "
                f"Got {settings.batch_size}."
            )
        self._settings = settings
        self._rank, self._size = rank, size
        self._kind = kind_of(settings.model)
        self._samples = _samples(settings)
        if not self._samples:
            raise DataError(
                f"{settings.train.annotations} holds no person to train on. "
                "Expected annotations that are not crowds, with boxes"
                + (" and keypoints." if self._kind == "keypoint" else ".")
            )
        self._sample_steps = Compose(settings.sample_transforms, num_classes=1)
        self._batch_steps = Compose(settings.batch_transforms, num_classes=1)

    def __len__(self) -> int:
        """The number of different samples."""
        return len(self._samples)

    def batch(self, step: int) -> Batch:
        """The batch of a step (counted from 0)."""
        chosen = sample_order(
            len(self._samples), self._settings.batch_size, step, self._settings.seed
        )[self._rank :: self._size]
        entropy = (self._settings.seed, step) + (self._rank,) * (self._rank > 0)
        seed = np.random.SeedSequence(entropy).generate_state(1)[0]
        np.random.seed(seed)
        random.seed(int(seed))
        samples = [self._sample_steps(self._load(index)) for index in chosen]
        samples = self._batch_steps(samples)
        stacked = {
            name: np.stack([np.asarray(sample[name]) for sample in samples])
            for name in _INPUTS[self._kind]
        }
        return shims.int64_labels(stacked)

    def run(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps from ``start`` to ``stop``, each made while the last is used."""
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.batch, start) if start < stop else None
            for step in range(start, stop):
                assert coming is not None
                batch = coming.result()
                coming = pool.submit(self.batch, step + 1) if step + 1 < stop else None
                yield batch

    def _load(self, index: int) -> dict[str, Any]:
        sample = copy.deepcopy(self._samples[index])
        image = read_picture(sample.pop("image_file"))
        height, width = image.shape[:2]
        return {**sample, "image": image, "h": float(height), "w": float(width)}


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read an image of the data: RGB uint8 (H, W, 3).

    Raises:
        DataError: it cannot be read.
    """
    try:
        return read_image(path)
    except InputError as error:
        raise DataError(
            f"An image of the data cannot be read. {error} Put a whole copy in its place; kptk "
            "check finds all such images."
        ) from error


def sample_order(n_samples: int, batch_size: int, step: int, seed: int) -> list[int]:
    """Indices of a step's samples: every sample once an epoch, epochs run on without a gap."""
    order = []
    for position in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(position, n_samples)
        order.append(int(_permutation(n_samples, epoch, seed)[place]))
    return order


def _permutation(n_samples: int, epoch: int, seed: int) -> NDArray[np.intp]:
    return np.random.default_rng((seed, epoch)).permutation(n_samples)


def _samples(settings: TrainSettings) -> list[dict[str, Any]]:
    if kind_of(settings.model) == "detection":
        return _detection_samples(settings.train)
    return _keypoint_samples(settings.train, settings.size)


def _detection_samples(data: DataSettings) -> list[dict[str, Any]]:
    """One sample an image, with the boxes of its people (crowds are left out)."""
    content = read_document(data.annotations)
    boxes: dict[int, list[Sequence[float]]] = {}
    for item in content["annotations"]:
        if not item.get("iscrowd", 0) and item["bbox"][2] > 1 and item["bbox"][3] > 1:
            boxes.setdefault(item["image_id"], []).append(item["bbox"])
    return [
        {
            "image_file": data.images / image["file_name"],
            "im_id": np.array([image["id"]]),
            "im_shape": np.array([image["height"], image["width"]], np.float32),
            "scale_factor": np.ones(2, np.float32),
            "gt_bbox": _xyxy(boxes.get(image["id"], [])),
            "gt_class": np.zeros((len(boxes.get(image["id"], [])), 1), np.int32),
        }
        for image in content["images"]
    ]


def _xyxy(boxes: list[Sequence[float]]) -> NDArray[np.float32]:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    array[:, 2:] += array[:, :2]
    return array


def _keypoint_samples(data: DataSettings, size: tuple[int, int]) -> list[dict[str, Any]]:
    """One sample a person with labelled keypoints, read by PaddleDetection's data set."""
    from ppdet.data.source.keypoint_coco import KeypointTopDownCocoDataset

    reader = KeypointTopDownCocoDataset(
        dataset_dir="",
        image_dir=str(data.images),
        anno_path=str(data.annotations),
        num_joints=17,
        trainsize=[size[1], size[0]],
    )
    reader.parse_dataset()
    return [{**record, "image_file": Path(record["image_file"])} for record in reader.db]
