"""Boxes and keypoints: expected values by hand and by pycocotools' computeOks."""

from __future__ import annotations

import numpy as np
import pytest

from kptk.geometry import iou, keypoint_extent, keypoint_similarity, oks
from kptk.skeleton import COCO17


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 0, 0]], float)
    b = np.array([[1, 1, 3, 3], [1, 1, 3, 3], [5, 5, 6, 6], [0, 0, 0, 0]], float)
    assert iou(a, b).tolist() == [1 / 7, 1 / 7, 0, 0]
    crowd = np.array([False, True, False, False])
    assert iou(a, b, crowd).tolist() == [1 / 7, 1 / 4, 0, 0]  # over the detection's own area


def test_oks_is_pycocotools() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    random = np.random.default_rng(0)
    truth = np.concatenate(
        [random.uniform(0, 99, (6, 17, 2)), random.integers(0, 3, (6, 17, 1))], 2
    )
    truth[0, :, 2] = 0  # nobody labelled: compared with the box
    found = truth + random.normal(0, 4, truth.shape) * [1, 1, 0]
    boxes, area = random.uniform(5, 90, (6, 4)), random.uniform(100, 9000, 6)
    gt, dt = COCO(), COCO()
    for coco, points in ((gt, truth), (dt, found)):
        coco.dataset = {
            "images": [{"id": i} for i in range(6)],
            "categories": [{"id": 1}],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": i,
                    "category_id": 1,
                    "iscrowd": 0,
                    "score": 1.0,
                    "area": area[i],
                    "bbox": boxes[i].tolist(),
                    "keypoints": points[i].ravel().tolist(),
                    "num_keypoints": int((points[i, :, 2] > 0).sum()),
                }
                for i in range(6)
            ],
        }
        coco.createIndex()
    evaluator = COCOeval(gt, dt, "keypoints")
    evaluator._prepare()
    expected = [float(evaluator.computeOks(i, 1)[0, 0]) for i in range(6)]
    sigmas = np.array(COCO17.sigmas)
    assert oks(found, truth, area, sigmas, boxes).tolist() == expected
    without = oks(found, truth, area, sigmas)
    assert np.isnan(without[0]) and without[1:].tolist() == expected[1:]


def test_similarity_of_what_is_missing() -> None:
    truth = np.array([[[0, 0, 2], [0, 0, 2], [np.nan, np.nan, 0]]])
    found = np.array([[[0, 0, 1], [np.nan, np.nan, 1], [0, 0, 1]]])
    values = keypoint_similarity(found, truth, np.array([100.0]), np.array([0.1, 0.1, 0.1]))
    assert values[0, :2].tolist() == [1, 0] and np.isnan(values[0, 2])
    # 2 px away, area 100, sigma .1: exp(-4 / (2 * 100 * .04)) = exp(-.5)
    moved = keypoint_similarity(
        found + np.array([2, 0, 0]), truth, np.array([100.0]), np.full(3, 0.1)
    )
    assert moved[0, 0] == pytest.approx(np.exp(-0.5))


def test_extent_of_a_pose() -> None:
    points = np.array([[[0, 0, 1], [3, 4, 1]], [[1, 1, 1], [np.nan, 5, 1]]])
    assert keypoint_extent(points).tolist() == [12, 0]
    assert keypoint_extent(np.full((1, 2, 3), np.nan)).tolist() == [0]
