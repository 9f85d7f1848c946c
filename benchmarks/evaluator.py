"""kptk's evaluator in numpy against pycocotools at COCO's size; the statistics must be the same.

pycocotools is timed without reading its records, kptk's ``match`` and ``accumulate`` with it.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

import harness
import numpy as np

from kptk.evaluation import accumulate, match
from kptk.evaluation.matching import KEYPOINT_NAMES

ROUNDS = 2
IMAGES, PER_IMAGE, FOUND = 5000, 3, 11  # COCO val2017, and ppdet's 55,000 detections


def data_set(images: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ground truth and results of keypoints, half of them near a person: like a real result."""
    rng = np.random.default_rng(0)
    truths, results = [], []
    for image in range(1, images + 1):
        poses = rng.uniform(0, 600, (PER_IMAGE, 1, 2)) + rng.uniform(0, 150, (PER_IMAGE, 17, 2))
        seen = rng.integers(0, 3, (PER_IMAGE, 17, 1))
        for pose, visible in zip(poses, seen, strict=True):
            truths.append(_truth(len(truths) + 1, image, pose, visible))
        near = poses[rng.integers(PER_IMAGE, size=FOUND)]
        near = near + rng.normal(0, rng.choice([3, 12, 80], (FOUND, 1, 1)), near.shape)
        scores = rng.random(FOUND)
        points = np.concatenate([near, rng.random((FOUND, 17, 1))], axis=2).reshape(FOUND, 51)
        results += [
            {"image_id": image, "category_id": 1, "keypoints": flat, "score": score}
            for flat, score in zip(points.tolist(), scores.tolist(), strict=True)
        ]
    document = {
        "images": [{"id": i, "width": 640, "height": 480} for i in range(1, images + 1)],
        "annotations": truths,
        "categories": [{"id": 1, "name": "person"}],
    }
    return document, results


def _truth(number: int, image: int, pose: Any, visible: Any) -> dict[str, Any]:
    x, y = pose.min(axis=0)
    width, height = np.ptp(pose, axis=0)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "keypoints": np.concatenate([pose, visible], axis=1).ravel().tolist(),
        "num_keypoints": int((visible > 0).sum()),
        "bbox": [float(x), float(y), float(width), float(height)],
        "area": float(width * height * 0.5),
        "iscrowd": 0,
    }


def pycocotools(document: dict[str, Any], results: list[dict[str, Any]]) -> Any:
    """A call that evaluates what has been loaded."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = COCO()
    truth.dataset = document
    truth.createIndex()
    found = truth.loadRes(results)

    def run() -> Any:
        evaluator = COCOeval(truth, found, "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        return evaluator.stats

    return run


def main() -> None:
    """Compare, measure and print."""
    document, results = data_set(IMAGES)
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = pycocotools(document, results)
        expected = dict(zip(KEYPOINT_NAMES, theirs(), strict=True))
        times = harness.in_turn(
            {
                "pycocotools": harness.timed(theirs),
                "kptk": harness.timed(lambda: accumulate(match(document, results, "keypoints"))),
            },
            ROUNDS,
            warm_up=0,
        )
    matches = match(document, results, "keypoints")
    stats = accumulate(matches)
    np.testing.assert_allclose([stats[n] for n in expected], list(expected.values()), atol=1e-12)
    again = harness.in_turn({"bootstrap": harness.timed(lambda: resample(matches))}, ROUNDS)
    rows = [
        ["pycocotools", f"{times.ms('pycocotools') / 1e3:.2f}", ""],
        ["kptk", f"{times.ms('kptk') / 1e3:.2f}", times.ratio("pycocotools", "kptk")],
        ["kptk, AP of one more bootstrap draw", f"{again.ms('bootstrap') / 1e3:.3f}", ""],
    ]
    harness.section(
        "COCO evaluation of keypoints",
        f"{IMAGES} images, {len(document['annotations'])} people, {len(results)} detections; the "
        f"ten statistics agree within 1e-12 (AP {stats['AP']:.3f}). The aim is 4 times.",
        harness.table(["", "seconds", "ratio"], rows),
    )


def resample(matches: Any) -> float:
    """AP on one draw of the images with replacement."""
    weights = np.random.default_rng(1).multinomial(IMAGES, np.full(IMAGES, 1 / IMAGES))
    return accumulate(matches, weights, ["AP"])["AP"]


if __name__ == "__main__":
    sys.exit(main())
