"""What is published about each named model: frozen records and nothing else.

Accuracy, latency and size are those of the PaddleX tutorial's tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_OFFICIAL = "https://paddle-model-ecology.bj.bcebos.com/paddlex"
_PADDLEDET = "https://github.com/PaddlePaddle/PaddleDetection/tree/release/2.6/configs"


@dataclass(frozen=True)
class ModelSpec:
    """What is published about a model.

    Attributes:
        name: the name users write.
        kind: ``"detection"`` or ``"keypoint"``.
        architecture: the official name of its network (``Global.model_name``).
        input_size: (height, width) in pixels.
        data: what its accuracy was measured on.
        ap: AP at OKS or IoU .5:.95, in 0..1; None if not published.
        ap50: AP at .5, in 0..1; None if not published.
        gpu_ms: milliseconds an image on an NVIDIA T4, FP32, as published.
        cpu_ms: milliseconds an image on an Intel Xeon Gold 5117, 8 threads, FP32, as published.
        size_mb: megabytes on disk, as published.
        licence: SPDX name of the weights' licence.
        paper: address of the paper (PP-TinyPose: that of Lite-HRNet, its backbone).
        source: address of the code and configuration it was trained with.
        url: archive of the inference model; None if it comes with kptk.
        weights_url: training weights (``.pdparams``); None if the model comes with kptk.
    """

    name: str
    kind: str
    architecture: str
    input_size: tuple[int, int]
    data: str
    ap: float | None = None
    ap50: float | None = None
    gpu_ms: float | None = None
    cpu_ms: float | None = None
    size_mb: float | None = None
    licence: str = "Apache-2.0"
    paper: str | None = None
    source: str | None = None
    url: str | None = None
    weights_url: str | None = None


def _official(name: str, kind: str, input_size: tuple[int, int], **published: float) -> ModelSpec:
    """One row of the tutorial's tables, with the addresses its name determines."""
    detects = kind == "detection"
    return ModelSpec(
        name=name,
        kind=kind,
        architecture=name,
        input_size=input_size,
        data="CrowdHuman" if detects else "COCO val2017, ground-truth boxes",
        paper=f"https://arxiv.org/abs/{'2203.16250' if detects else '2104.06403'}",
        source=f"{_PADDLEDET}/{'pphuman' if detects else 'keypoint/tiny_pose'}",
        url=f"{_OFFICIAL}/official_inference_model/paddle3.0.0/{name}_infer.tar",
        weights_url=f"{_OFFICIAL}/official_pretrained_model/{name}_pretrained.pdparams",
        **published,  # type: ignore[arg-type]
    )


_DET_L = {"ap": 0.480, "ap50": 0.819, "gpu_ms": 32.8, "cpu_ms": 777.7, "size_mb": 196.02}
_DET_S = {"ap": 0.425, "ap50": 0.779, "gpu_ms": 15.0, "cpu_ms": 179.3, "size_mb": 28.79}
_SPECS = (
    _official("PP-YOLOE-L_human", "detection", (640, 640), **_DET_L),
    _official("PP-YOLOE-S_human", "detection", (640, 640), **_DET_S),
    _official("PP-TinyPose_128x96", "keypoint", (128, 96), ap=0.584, size_mb=4.9),
    _official("PP-TinyPose_256x192", "keypoint", (256, 192), ap=0.683, size_mb=4.9),
    ModelSpec(
        "demo-det", "detection", "PP-YOLOE-S_human", (320, 320), "rendered people: see its README"
    ),
    ModelSpec(
        "demo-kpt", "keypoint", "PP-TinyPose_128x96", (128, 96), "rendered people: see its README"
    ),
)

MODELS: Mapping[str, ModelSpec] = MappingProxyType({spec.name: spec for spec in _SPECS})
ARCHITECTURES = tuple(spec.name for spec in _SPECS if spec.url)
