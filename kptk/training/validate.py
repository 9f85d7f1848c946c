"""AP of a network while it trains, by the same code as everywhere else in kptk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kptk.coco import load_coco
from kptk.detector import Detector
from kptk.evaluation.collecting import collect
from kptk.evaluation.measure import evaluate_predictions, first_images
from kptk.evaluation.scoring import MIN_SCORE, Scoring
from kptk.evaluation.truth import truth_of_data
from kptk.modeldir import ModelDir
from kptk.pose import PoseModel
from kptk.runner import Pipeline
from kptk.training.network import kind_of
from kptk.training.settings import TrainSettings

_PEOPLE = 32  # a call of the pose model


class NetworkEngine:
    """A Paddle network that stands in for an engine (see kptk.engine.Engine)."""

    name = "network"
    device = "cpu"
    precision = "f32"

    def __init__(self, network: Any, kind: str) -> None:
        self._network = network
        self._kind = kind
        self.input_names: tuple[str, ...] = ("image",)
        if kind == "detection":
            self.input_names = ("image", "scale_factor")

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> tuple[NDArray[Any], ...]:
        """Run the network in evaluation mode."""
        import paddle

        with paddle.no_grad():
            out = self._network({name: paddle.to_tensor(value) for name, value in inputs.items()})
        pair = (out["bbox"], out["bbox_num"]) if self._kind == "detection" else out["keypoint"]
        return tuple(value.numpy() for value in pair)


def validate(network: Any, settings: TrainSettings) -> dict[str, float]:
    """Measure a network on the validation set, as ``kptk.evaluate`` does.

    Args:
        network: in evaluation mode (the caller sees to that).
        settings: of the run.

    Returns:
        COCO's statistics of the boxes, or of the keypoints on ground-truth boxes.
    """
    data = load_coco(settings.val.annotations, images=settings.val.images, check=False)
    data = first_images(data, settings.eval_images)
    kind = kind_of(settings.model)
    model, engine = _model_dir(settings, kind), NetworkEngine(network, kind)
    if kind == "detection":
        pipe = Pipeline(Detector(model, engine), None)
    else:
        pipe = Pipeline(None, PoseModel(model, engine), kpt_batch_size=_PEOPLE)
    found = collect(pipe, data, MIN_SCORE, progress=False, ppdet_boxes=False)
    measured = evaluate_predictions(found, truth_of_data(data), Scoring())
    return dict(measured.sections["detector" if kind == "detection" else "pose"])


def _model_dir(settings: TrainSettings, kind: str) -> ModelDir:
    """The preprocessing of the exported model, without an exported model."""
    return ModelDir(
        path=Path(settings.model),
        kind=kind,
        name=settings.model,
        input_size=settings.size,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        is_scale=True,
        interp=2,
        keep_ratio=False,
        threshold=0.5,
        labels=("pedestrian",) if kind == "detection" else ("keypoint",),
        onnx=None,
        paddle=None,
    )
