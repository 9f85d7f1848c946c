"""Crops, DARK decoding and the pose model.

Expected values: by hand, or ppdet's own loop functions (skipped where ppdet is not installed).
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kptk.engines.load import load_engine
from kptk.errors import InputError, ModelError
from kptk.inputs import normalize
from kptk.io.images import read_image
from kptk.models.zoo import find_model
from kptk.pipeline import pose
from kptk.skeleton import COCO17

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def gaussians(centers: np.ndarray, size: tuple[int, int] = (32, 24), sigma: float = 2) -> Any:
    """Heatmaps (N, K, h, w) with a Gaussian of height 1 at each of the centres (N, K, 2)."""
    y, x = np.mgrid[: size[0], : size[1]]
    cx, cy = centers[..., 0, None, None], centers[..., 1, None, None]
    return np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2)).astype(np.float32)


class ColourEngine:
    """Heatmap k is the crop's channel k % 3 seen at a quarter of the size, plus its index."""

    name, device, precision = "fake", "cpu", "f32"
    input_names = ("image",)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def run(self, inputs: Any) -> tuple[np.ndarray, ...]:
        batch = inputs["image"]
        self.batches.append(len(batch))
        small = batch[:, :, 2::4, 2::4]
        return np.repeat(small, 6, axis=1)[:, :17], np.zeros((len(batch), 17), np.int64)


def model(kind: str = "keypoint") -> Any:
    return SimpleNamespace(
        path=Path("m"),
        kind=kind,
        name="fake",
        input_size=(128, 96),
        is_scale=True,
        mean=(0, 0, 0),
        std=(1, 1, 1),
    )


@pytest.mark.parametrize(
    ("box", "center", "size"),
    [
        ((0, 0, 96, 128), (48, 64), (120, 160)),  # the input's aspect: only padded
        ((0, 0, 60, 160), (30, 80), (150, 200)),  # tall: width grows to 160 * 3 / 4 = 120
        ((10, 20, 210, 120), (110, 70), (250, 1000 / 3)),  # wide: height grows to 200 * 4 / 3
    ],
)
def test_crop_boxes_by_hand(box: Any, center: Any, size: Any) -> None:
    centers, sizes = pose.crop_boxes(np.float32([box]), (128, 96))
    np.testing.assert_allclose(centers, [center])
    np.testing.assert_allclose(sizes, [size])


def test_warp_puts_the_region_where_it_belongs() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[200:, 100:] = 255  # a corner at (100, 200), the centre of the region
    crops = pose.warp_crops(
        [image], np.array([0]), np.array([[100.0, 200.0]]), np.array([[96.0, 128.0]]), (128, 96)
    )
    expected = np.zeros((128, 96, 3), np.uint8)
    expected[64:, 48:] = 255
    np.testing.assert_array_equal(crops[0], expected)


def test_region_outside_the_image_is_black() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    crops = pose.warp_crops(
        [image], np.array([0]), np.array([[0.0, 50.0]]), np.array([[96.0, 128.0]]), (128, 96)
    )
    assert crops[0, 64, :47].max() == 0
    assert crops[0, 64, 49:].min() == 200


def test_huge_image_is_windowed() -> None:
    strip = np.zeros((8, 40000, 3), np.uint8)
    strip[:, 39000:] = 100
    crops = pose.warp_crops(
        [strip], np.array([0]), np.array([[39000.0, 4.0]]), np.array([[48.0, 64.0]]), (128, 96)
    )
    assert crops[0, 64, :46].max() == 0
    assert crops[0, 64, 50:].min() == 100


def warp_affine(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``cv2.warpAffine`` of OpenCV 4.10, bilinear and black outside, for (width, height).

    Positions are rounded to 1/32 px, weights have 15 bits. OpenCV 5 rounds neither.
    """
    import cv2

    (a, b, c), (d, e, f) = cv2.invertAffineTransform(np.float64(matrix))
    x, y = np.arange(size[0]), np.arange(size[1])[:, None]
    at_x = (np.rint(1024 * a * x) + np.rint(1024 * (b * y + c)) + 16).astype(int) >> 5
    at_y = (np.rint(1024 * d * x) + np.rint(1024 * (e * y + f)) + 16).astype(int) >> 5
    padded = np.pad(image.astype(int), ((1, 1), (1, 1), (0, 0)))  # a black rim, for all outside
    total = np.zeros((size[1], size[0], 3), int)
    for down in (0, 1):
        for right in (0, 1):
            column = ((at_x >> 5) + right + 1).clip(0, image.shape[1] + 1)
            row = ((at_y >> 5) + down + 1).clip(0, image.shape[0] + 1)
            across = at_x & 31 if right else 32 - (at_x & 31)
            along = at_y & 31 if down else 32 - (at_y & 31)
            total += padded[row, column] * (32 * across * along)[..., None]
    return ((total + (1 << 14)) >> 15).astype(np.uint8)


@pytest.mark.parametrize("udp", [False, True])
def test_crops_equal_ppdet(udp: bool) -> None:
    ops = pytest.importorskip("ppdet.modeling.keypoint_utils")
    import cv2

    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 255, (30, 40, 3), np.uint8), (400, 300))
    boxes = np.float32([[50, 20, 180, 290], [-30, 100, 90, 160.5], [300.3, 10.7, 420, 350]])
    centers, sizes = pose.crop_boxes(boxes, (128, 96))
    crops = pose.warp_crops([image], np.zeros(3, np.intp), centers, sizes, (128, 96), udp=udp)
    for crop, center, size in zip(crops, centers, sizes, strict=True):
        if udp:
            matrix = ops.get_warp_matrix(0, center * 2.0, [95.0, 127.0], size)
        else:
            matrix = ops.get_affine_transform(center, size, 0, [96, 128])
        theirs = warp_affine(image, matrix, (96, 128))
        # float32 there, float64 here: the 1/32 px grid of warpAffine may fall to the other side
        difference = np.abs(crop.astype(int) - theirs)
        assert difference.max() <= 8
        assert difference.mean() < 0.05


def test_sub_pixel_centres_are_recovered() -> None:
    rng = np.random.default_rng(1)
    centers = rng.uniform((3, 3), (20, 28), (8, 17, 2))
    points = pose.decode_heatmaps(gaussians(centers) * 0.7)
    assert np.abs(points[..., :2] - centers).max() < 0.05
    grid = np.rint(centers)
    peaks = 0.7 * np.exp(-((centers - grid) ** 2).sum(-1) / 8)
    np.testing.assert_allclose(points[..., 2], peaks, atol=1e-6)


@pytest.mark.parametrize(
    ("center", "expected"),
    [
        ((1.3, 10), (1, 10)),  # within two cells of the border: no step, as in ppdet
        ((22.4, 10), (22, 10)),
        ((10, 0), (10, 0)),
        ((10, 31), (10, 31)),
        ((2.3, 10), (2.3, 10)),
        ((10.3, 30.2), (10, 30)),
        ((21.4, 29.2), (21.4, 29.2)),
    ],
)
def test_border(center: Any, expected: Any) -> None:
    points = pose.decode_heatmaps(gaussians(np.array([[center]])))
    np.testing.assert_allclose(points[0, 0, :2], expected, atol=0.08)


def test_decode_equals_ppdet_loops() -> None:
    hrnet = pytest.importorskip("ppdet.modeling.architectures.keypoint_hrnet")
    rng = np.random.default_rng(2)
    maps = gaussians(rng.uniform((0, 0), (23, 31), (6, 17, 2)))
    maps = maps * rng.uniform(0.1, 1, (6, 17, 1, 1)) + rng.normal(0, 0.01, maps.shape)
    maps = maps.astype(np.float32)
    theirs, peaks = hrnet.HRNetPostProcess().get_final_preds(
        maps.copy(), np.tile([50.0, 60.0], (6, 1)), np.tile([0.6, 0.8], (6, 1))
    )
    points = pose.decode_heatmaps(maps)
    ours = pose.to_image(
        points, np.tile([50.0, 60.0], (6, 1)), np.tile([120.0, 160.0], (6, 1)), (32, 24)
    )
    np.testing.assert_allclose(ours[..., :2], theirs, atol=2e-3)
    np.testing.assert_array_equal(ours[..., 2:], peaks)


def test_flat_and_negative_maps_give_finite_points() -> None:
    maps = np.stack([np.zeros((32, 24)), np.full((32, 24), -1.0)]).astype(np.float32)[None]
    points = pose.decode_heatmaps(maps)
    assert np.isfinite(points).all()
    np.testing.assert_array_equal(points[0, :, 2], [0, -1])


def test_no_people_decode() -> None:
    assert pose.decode_heatmaps(np.zeros((0, 17, 32, 24), np.float32)).shape == (0, 17, 3)


def test_to_image_by_hand() -> None:
    # Region 240 x 320 at (100, 200): 10 px to a cell, cell (12, 16) is its centre.
    points = np.float32([[[12, 16, 0.9], [13, 14, 0.8]]])
    got = pose.to_image(points, np.array([[100.0, 200.0]]), np.array([[240.0, 320.0]]), (32, 24))
    np.testing.assert_allclose(got[0], [[100, 200, 0.9], [110, 180, 0.8]], rtol=1e-6)


def test_flip_back_mirrors_swaps_and_shifts() -> None:
    maps = np.zeros((1, 17, 2, 4), np.float32)
    maps[0, COCO17.names.index("left_wrist"), 0, 3] = 1  # mirrored: column 0, shifted: column 1
    maps[0, COCO17.names.index("nose"), 1, 1] = 1  # mirrored: column 2, shifted: column 3
    back = pose.flip_back(maps, COCO17.flip_order)
    # The first column is kept where it is as well as shifted (ppdet's shift_heatmap).
    right, nose = COCO17.names.index("right_wrist"), COCO17.names.index("nose")
    assert {tuple(int(i) for i in at) for at in np.argwhere(back)} == {
        (0, right, 0, 0),
        (0, right, 0, 1),
        (0, nose, 1, 3),
    }


def test_normalize_equals_the_formula() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (2, 5, 4, 3), np.uint8)
    got = normalize(pixels, IMAGENET["mean"], IMAGENET["std"], True)
    expected = (pixels / 255 - np.array(IMAGENET["mean"])) / np.array(IMAGENET["std"])
    np.testing.assert_allclose(got, expected.transpose(0, 3, 1, 2), atol=1e-6)
    plain = normalize(pixels, (10, 20, 30), (2, 4, 5), False)
    expected = (pixels - np.array([10, 20, 30])) / np.array([2, 4, 5])
    np.testing.assert_allclose(plain, expected.transpose(0, 3, 1, 2), atol=1e-4)


def spotted(x: int, y: int) -> np.ndarray:
    """A black image with a soft white spot at (x, y)."""
    yy, xx = np.mgrid[:256, :192]
    spot = 255 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 16.0**2))
    return np.repeat(spot[..., None], 3, axis=2).astype(np.uint8)


def test_people_of_all_images_go_through_together() -> None:
    engine = ColourEngine()
    images = [spotted(80, 100), spotted(10, 10), spotted(100, 120)]
    box = np.float32([[0, 0, 192, 256]])
    boxes = [np.repeat(box, 3, axis=0), np.zeros((0, 4), np.float32), np.repeat(box, 2, axis=0)]
    got = pose.PoseModel(model(), engine).predict(images, boxes, batch_size=4)
    assert engine.batches == [4, 1]
    assert [len(points) for points in got] == [3, 0, 2]
    # The spot is found where it was painted; the fake engine samples cell i at pixel 4 i + 2,
    # the way back puts cell i at 4 i: half a cell, 2.5 x 2 px, is the fake's own offset.
    np.testing.assert_allclose(got[0][0, 0, :2], (80 - 5, 100 - 5), atol=0.7)
    np.testing.assert_allclose(got[2][1, 0, :2], (100 - 5, 120 - 5), atol=0.7)


def test_flip_averages_with_the_mirrored_crop() -> None:
    engine = ColourEngine()
    batch = np.random.default_rng(4).random((2, 3, 128, 96), np.float32)
    plain = pose.PoseModel(model(), engine).heatmaps(batch)
    mirrored = pose.PoseModel(model(), engine).heatmaps(batch[..., ::-1])
    averaged = pose.PoseModel(model(), engine, flip=True).heatmaps(batch)
    left, right = COCO17.names.index("left_knee"), COCO17.names.index("right_knee")
    # Column c of the mirrored map is column w - 1 - c, moved right by one: w - c.
    expected = (plain[:, left, :, 5] + mirrored[:, right, :, 24 - 5]) / 2
    np.testing.assert_allclose(averaged[:, left, :, 5], expected, rtol=1e-6)
    assert engine.batches == [2] * 4


def test_nobody_anywhere_does_not_run_the_engine() -> None:
    engine = ColourEngine()
    assert [p.shape for p in pose.PoseModel(model(), engine).predict([spotted(1, 1)], [[]])] == [
        (0, 17, 3)
    ]
    assert pose.PoseModel(model(), engine).predict([], []) == []
    assert engine.batches == []


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0, 0, 10, 10], [5, 5, 5, 20]], r"boxes\[0\]\[1\] must be finite with x2 > x1"),
        ([[0, 0, float("nan"), 10]], r"boxes\[0\]\[0\] must be finite"),
        ([[10, 10, 5, 20]], "not \\(x, y, width, height\\)"),
        ([0, 0, 10, 10], r"For one box write \[\[x1"),
        ([[0, 0, 10]], r"shape \(N, 4\)"),
        ("box", "must be numbers"),
    ],
)
def test_wrong_boxes_say_which(boxes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pose.PoseModel(model(), ColourEngine()).predict([spotted(1, 1)], [boxes])


@pytest.mark.parametrize(
    ("images", "boxes", "message"),
    [
        ([np.zeros((4, 4), np.uint8)], [[]], r"images\[0\] must be an RGB uint8 array"),
        ([np.zeros((4, 4, 3))], [[]], "Got float64"),
        ([spotted(1, 1)], [], "1 images, 0 arrays"),
    ],
)
def test_wrong_images(images: Any, boxes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pose.PoseModel(model(), ColourEngine()).predict(images, boxes)


def test_wrong_models() -> None:
    with pytest.raises(ModelError, match="detection model"):
        pose.PoseModel(model("detection"), ColourEngine())

    class BoxEngine(ColourEngine):
        def run(self, inputs: Any) -> tuple[np.ndarray, ...]:
            return (np.zeros((1, 6)),)

    with pytest.raises(ModelError, match="must give heatmaps"):
        pose.PoseModel(model(), BoxEngine()).predict([spotted(1, 1)], [[[0, 0, 9, 9]]])


@pytest.fixture(scope="module")
def tinypose(reference_dir: Path) -> pose.PoseModel:
    """The official PP-TinyPose_128x96 with the reference weights, on the CPU."""
    pytest.importorskip("ppdet")
    found = find_model(reference_dir / "tinypose" / "PP-TinyPose_128x96.pdparams", kind="keypoint")
    return pose.PoseModel(found, load_engine(found, device="cpu"))


def photographs(reference_dir: Path) -> list[tuple[np.ndarray, list[dict[str, Any]]]]:
    """The two COCO photographs, each with PaddleX's stored people."""
    folder = reference_dir / "coco2"
    people = json.loads((folder / "paddlex_keypoints.json").read_text())["results"]
    ids = sorted({person["image_id"] for person in people})
    return [
        (
            read_image(folder / f"{image_id:012d}.jpg"),
            [person for person in people if person["image_id"] == image_id],
        )
        for image_id in ids
    ]


def corners(people: list[dict[str, Any]]) -> np.ndarray:
    boxes = np.float32([person["bbox"] for person in people])
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def paddlex_steps(model: pose.PoseModel, image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """One person as PaddleX does it, by ppdet's functions: (17, 3)."""
    from ppdet.modeling.architectures.keypoint_hrnet import HRNetPostProcess
    from ppdet.modeling.keypoint_utils import get_affine_transform

    width, height = box[2:] - box[:2]
    size = np.array([max(width, height * 0.75), max(height, width / 0.75)]) * 1.25
    center = (box[:2] + box[2:]) * 0.5
    matrix = get_affine_transform(center, size, 0, [96, 128])
    crop = warp_affine(image, matrix, (96, 128))
    pixels = (crop.astype(np.float32) / 255 - IMAGENET["mean"]) / IMAGENET["std"]
    heatmaps = model.heatmaps(pixels.transpose(2, 0, 1)[None].astype(np.float32))
    points, peaks = HRNetPostProcess().get_final_preds(heatmaps, center[None], size[None] / 200)
    return np.concatenate([points, peaks], axis=2)[0]


@pytest.mark.slow
def test_photographs_as_by_paddlex_steps(tinypose: pose.PoseModel, reference_dir: Path) -> None:
    for image, people in photographs(reference_dir):
        boxes = corners(people)
        (got,) = tinypose.predict([image], [boxes])
        expected = np.stack([paddlex_steps(tinypose, image, box) for box in boxes])
        sure = expected[..., 2] > 0.2
        assert np.abs(got - expected)[sure][:, :2].max() < 0.1
        assert np.abs(got - expected)[..., 2].max() < 0.005


@pytest.mark.slow
def test_photographs_as_stored_from_paddlex(tinypose: pose.PoseModel, reference_dir: Path) -> None:
    """49 sure joints of 3 people, by PaddleX 3.7.2 on the same weights with OpenCV 4.10."""
    shots = photographs(reference_dir)
    got = tinypose.predict([image for image, _ in shots], [corners(people) for _, people in shots])
    expected = np.array([person["keypoints"] for _, people in shots for person in people])
    errors = np.linalg.norm((np.concatenate(got) - expected)[..., :2], axis=2)
    errors = errors[expected[..., 2] > 0.2]
    assert len(errors) == 49
    assert np.median(errors) < 0.01
    assert errors.max() < 0.5


@pytest.mark.slow
def test_photographs_score_what_paddlex_scores(
    tinypose: pose.PoseModel, reference_dir: Path
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    shots = photographs(reference_dir)
    got = tinypose.predict([image for image, _ in shots], [corners(people) for _, people in shots])
    records = [
        {
            "image_id": person["image_id"],
            "category_id": 1,
            "keypoints": points.ravel().tolist(),
            "score": float(points[:, 2].mean()),
        }
        for (_, people), found in zip(shots, got, strict=True)
        for person, points in zip(people, found, strict=True)
    ]
    truth = COCO(str(reference_dir / "coco2" / "annotations.json"))
    evaluation = COCOeval(truth, truth.loadRes(records), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(0.711881, abs=0.01)  # the reference's README
