"""The data of a run: COCO people, checked and saved for the worker; then batches of arrays.

Which samples a step sees and how they are changed follow from (seed, step) alone, so a run that is
resumed at a step sees the same batches as one that was never stopped. The transforms are
PaddleDetection's.
"""

from __future__ import annotations

import copy
import functools
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco import KeypointData, load_coco
from kptk.coco.dataset import write_coco
from kptk.coco.load import read_document
from kptk.errors import ConfigError, DataError, InputError
from kptk.files import file_hash
from kptk.instances import corners
from kptk.io.images import read_image
from kptk.models.catalog import MODELS
from kptk.training.settings import DataSettings, TrainSettings

N_KEYPOINTS = 17

Batch = dict[str, NDArray[Any]]

_INPUTS = {
    "detection": ("image", "gt_bbox", "gt_class", "pad_gt_mask"),
    "keypoint": ("image", "target", "target_weight"),
}


def find_split(data: object, split: str) -> KeypointData:
    """Load one side of the data, checked.

    Args:
        data: a data set's folder; an annotation file; a pair (image folder, annotation file); or
            data already loaded with ``kptk.load_coco``.
        split: ``"train"`` or ``"val"``, for a folder with both.

    Raises:
        DataError: there is no such data, or it cannot be used as it is.
    """
    if isinstance(data, KeypointData):
        return data
    if isinstance(data, tuple | list) and len(data) == 2:
        return load_coco(data[1], images=data[0])
    if isinstance(data, str | os.PathLike):
        return load_coco(data, split=None if Path(data).is_file() else split)
    raise DataError(
        f"{split} must be a data set's folder, (image folder, annotation file) or what "
        f"kptk.load_coco returns. Got {data!r}."
    )


def check_data(train: KeypointData, val: KeypointData, model: str) -> int:
    """Refuse data that would train or measure nonsense.

    Returns:
        The number of training samples: images (detector) or people with keypoints (pose model).

    Raises:
        DataError: other keypoints than the network has, nobody to learn from, or images of the
            validation set among those of the training set.
    """
    pose = MODELS[model].kind == "keypoint"
    n_people = {}
    for data, side in ((train, "train"), (val, "val")):
        if pose and len(data.skeleton) != N_KEYPOINTS:
            raise DataError(
                f"{model} places {N_KEYPOINTS} keypoints; {side} has {len(data.skeleton)}. "
                f"Convert the data to COCO's {N_KEYPOINTS} keypoints first."
            )
        people = (person for image_id in data.image_ids for person in data.people(image_id))
        n_people[side] = sum(not pose or person.get("num_keypoints", 0) > 0 for person in people)
        if not n_people[side]:
            raise DataError(
                f"{side} ({data.annotations_path}) holds no people with "
                + ("labelled keypoints." if pose else "boxes.")
            )
    # The same image on both sides makes AP say what was learned by heart. Only files of equal size
    # are read.
    by_size: defaultdict[int, list[Path]] = defaultdict(list)
    for path in map(train.image_path, train.image_ids):
        by_size[path.stat().st_size].append(path)
    hash_of = functools.cache(file_hash)
    leaks = []
    for path in map(val.image_path, val.image_ids):
        others = by_size[path.stat().st_size]
        leaks += [(other, path) for other in others if hash_of(other) == hash_of(path)][:1]
    if leaks:
        raise DataError(
            f"{len(leaks)} of {len(val)} validation images are training images too, so AP would "
            f"be too good. The first: {leaks[0][0]} and {leaks[0][1]}. Split the data anew (kptk "
            "split)."
        )
    return n_people["train"] if pose else len(train)


def save_split(data: KeypointData, file: Path) -> None:
    """Write the annotations as they were checked and repaired, for the worker.

    Data that is a subset, or repaired in memory only, is trained on as it is seen; and what is
    edited later does not change a run that goes on.
    """
    category = next(c for c in data.content["categories"] if c["id"] == data.category_id)
    people = [
        {**person, "category_id": 1}
        for image_id in data.image_ids
        for person in data.annotations(image_id)
    ]
    content = {
        "images": data.images,
        "annotations": people,
        "categories": [{**category, "id": 1}],
    }
    write_coco(content, file, overwrite=True)


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
        self._kind = MODELS[settings.model].kind
        if self._kind == "detection":
            self._samples = detection_samples(settings.train)
        else:
            self._samples = _keypoint_samples(settings.train, settings.size)
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
        settings, n_samples = self._settings, len(self._samples)
        chosen = sample_order(n_samples, settings.batch_size, step, settings.seed)
        entropy = (settings.seed, step) + (self._rank,) * (self._rank > 0)
        seed = np.random.SeedSequence(entropy).generate_state(1)[0]
        np.random.seed(seed)
        random.seed(int(seed))
        samples = [self._sample_steps(self._load(i)) for i in chosen[self._rank :: self._size]]
        samples = self._batch_steps(samples)
        batch = {
            name: np.stack([np.asarray(sample[name]) for sample in samples])
            for name in _INPUTS[self._kind]
        }
        if "gt_class" in batch:
            # the task-aligned assigner adds labels to int64 indices; paddle 3 mixes no int types
            batch["gt_class"] = batch["gt_class"].astype(np.int64)
        return batch

    def run(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of the steps from ``start`` to ``stop``, each made while the last is used."""
        with ThreadPoolExecutor(1) as pool:
            made = (pool.submit(self.batch, step) for step in range(start, stop))
            coming = next(made, None)
            while coming is not None:
                batch = coming.result()
                coming = next(made, None)
                yield batch

    def _load(self, index: int) -> dict[str, Any]:
        sample = copy.deepcopy(self._samples[index])
        try:
            image = read_image(sample.pop("image_file"))
        except InputError as error:
            raise DataError(
                f"An image of the data cannot be read. {error} Put a whole copy in its place; "
                "kptk check finds all such images."
            ) from error
        height, width = image.shape[:2]
        return {**sample, "image": image, "h": float(height), "w": float(width)}


def sample_order(n_samples: int, batch_size: int, step: int, seed: int) -> list[int]:
    """Indices of a step's samples: every sample once an epoch, epochs run on without a gap."""
    positions = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(n_samples)
        for epoch in {position // n_samples for position in positions}
    }
    return [int(orders[position // n_samples][position % n_samples]) for position in positions]


def detection_samples(data: DataSettings) -> list[dict[str, Any]]:
    """One sample an image, with the boxes of its people (crowds are left out)."""
    content = read_document(data.annotations)
    boxes: defaultdict[int, list[list[float]]] = defaultdict(list)
    for item in content["annotations"]:
        if not item.get("iscrowd", 0) and item["bbox"][2] > 1 and item["bbox"][3] > 1:
            boxes[item["image_id"]].append(item["bbox"])
    return [
        {
            "image_file": data.images / image["file_name"],
            "im_id": np.array([image["id"]]),
            "im_shape": np.array([image["height"], image["width"]], np.float32),
            "scale_factor": np.ones(2, np.float32),
            "gt_bbox": corners(boxes[image["id"]]).astype(np.float32),
            "gt_class": np.zeros((len(boxes[image["id"]]), 1), np.int32),
        }
        for image in content["images"]
    ]


def _keypoint_samples(data: DataSettings, size: tuple[int, int]) -> list[dict[str, Any]]:
    """One sample a person with labelled keypoints, read by PaddleDetection's data set."""
    from ppdet.data.source.keypoint_coco import KeypointTopDownCocoDataset

    reader = KeypointTopDownCocoDataset(
        dataset_dir="",
        image_dir=str(data.images),
        anno_path=str(data.annotations),
        num_joints=N_KEYPOINTS,
        trainsize=[size[1], size[0]],
    )
    reader.parse_dataset()
    return [{**record, "image_file": Path(record["image_file"])} for record in reader.db]
