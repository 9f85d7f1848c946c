"""PaddleX's side of the benchmarks: runs in PaddleX's environment, started by ``harness.PaddleX``.

Each line of standard input is ``[function, arguments]``; the answer is a line of JSON. Seconds are
measured here, so what the pipe costs is in none of them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

_loaded: dict[str, Any] = {}


class Crowd:
    """A detector that runs, and then says that these people are there."""

    def __init__(self, detector: Any) -> None:
        self.detector = detector
        self.boxes: list[list[float]] = []

    def __call__(self, image: Any, **settings: Any) -> Any:
        for found in self.detector(image, **settings):
            found["boxes"] = [
                {"coordinate": list(np.float32(box)), "score": 1.0} for box in self.boxes
            ]
            yield found


def load(config: str) -> str:
    """Open a pipeline."""
    import paddlex

    pipeline = paddlex.create_pipeline(config)
    inner = pipeline._pipeline
    inner.det_model = Crowd(inner.det_model)
    _loaded[config] = pipeline
    return str(paddlex.__version__)


def predict(config: str, image: str, boxes: list[list[float]], in_memory: bool) -> dict[str, Any]:
    """Predict one image, the people given."""
    import cv2

    pipeline = _loaded[config]
    pipeline._pipeline.det_model.boxes = boxes
    source: Any = cv2.imread(image) if in_memory else image
    began = time.perf_counter()
    (result,) = list(pipeline.predict(source))
    seconds = time.perf_counter() - began
    points = [np.asarray(found["keypoints"]).tolist() for found in result["boxes"]]
    return {"seconds": seconds, "keypoints": points}


def decode(heatmaps: str, centers: list[list[float]], sizes: list[list[float]]) -> dict[str, Any]:
    """Decode heatmaps (N, 17, h, w) of an ``.npy`` file, person by person as the pipeline does."""
    from paddlex.inference.models.keypoint_detection.processors import KptPostProcess

    step = KptPostProcess(use_dark=True)
    maps = np.load(heatmaps)  # it blurs them in place, so they are read again each time
    regions = [(np.array(c), np.array(s)) for c, s in zip(centers, sizes, strict=True)]
    began = time.perf_counter()
    found = [
        step([{"heatmap": m}], [{"center": c, "scale": s}])[0][0]["keypoints"]
        for m, (c, s) in zip(maps, regions, strict=True)
    ]
    return {"seconds": time.perf_counter() - began, "keypoints": np.array(found).tolist()}


def draw(image: str, keypoints: list[Any], boxes: list[Any]) -> dict[str, Any]:
    """Draw people, and write them as JSON."""
    import cv2
    from paddlex.inference.models.keypoint_detection.result import KptResult

    people = [
        {"coordinate": box, "det_score": 1.0, "keypoints": np.float32(points), "kpt_score": 0.5}
        for box, points in zip(boxes, keypoints, strict=True)
    ]
    result = KptResult({"input_path": image, "input_img": cv2.imread(image), "boxes": people})
    began = time.perf_counter()
    result._to_img()
    drawn = time.perf_counter() - began
    began = time.perf_counter()
    json.dumps(result.json)
    return {"draw": drawn, "json": time.perf_counter() - began}


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # PaddleX and oneDNN print to standard output
    functions = {f.__name__: f for f in (load, predict, decode, draw)}
    for line in sys.stdin:
        name, arguments = json.loads(line)
        answers.write(json.dumps(functions[name](**arguments)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
