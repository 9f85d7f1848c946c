"""What kptk exports and swaps, run by PaddleX itself: same boxes, same keypoints.

PaddleX 3.7.2 lives in an environment of its own, made by ``make paddlex-env``, and runs in a
process of its own, without a network. Expected values are its answers.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
from kptk.models.export import export_weights
from kptk.models.zoo import find_weights
from tests.paddlex_side import person

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
SIDE = Path(__file__).with_name("paddlex_side.py")
TIMEOUT = 900  # seconds; most of it is importing, and a busy machine is slow at that
SURE = 0.2  # height of a peak above which a point must agree
# 22 of 23 people were the same to the last digit; PaddleX's float32 matrices round a crop's pixels
# otherwise now and then (.002 pixels; 2e-3 of a peak in one more person).
EQUAL = {"median": 1e-3, "most": 0.1, "peak": 5e-3}
IMAGES = [str(ROOT / "kptk/demo/images" / name) for name in ("street.jpg", "room.jpg")]
OLD = """\
Pipeline:
  human_det_model: {det}
  keypoint_det_model: {kpt}
  human_det_batch_size: 1
  keypoint_det_batch_size: 1
  device: cpu
"""


def reference() -> Path:
    """The reference data, or a folder that is not there."""
    return Path(os.environ.get("KPTK_REFERENCE_DIR") or "no-reference")


@pytest.fixture(scope="module")
def paddlex_python() -> Path:
    """The interpreter of the environment that has PaddleX."""
    value = os.environ.get("KPTK_PADDLEX_PYTHON") or str(ROOT / ".venv-paddlex/bin/python")
    if Path(value).is_file():
        return Path(value)
    message = f"PaddleX is not installed: {value} is missing (make paddlex-env makes it)."
    if os.environ.get("KPTK_REQUIRE_PADDLEX") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def configs(paddlex_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pipelines of an exported pair: swapped, in the old format, converted, with flip and UDP."""
    pytest.importorskip("ppdet")
    folder = tmp_path_factory.mktemp("paddlex")
    det = export_weights(
        find_weights("demo-det"), "PP-YOLOE-S_human", folder / "det", input_size=(320, 320)
    )
    official = reference() / "tinypose" / "PP-TinyPose_128x96.pdparams"
    weights = official if official.is_file() else find_weights("demo-kpt")
    kpt = export_weights(weights, "PP-TinyPose_128x96", folder / "kpt")
    (folder / "old.yaml").write_text(OLD.format(det=det, kpt=kpt))
    new = kptk.swap_weights(
        "demo", human_det_model=det, keypoint_det_model=kpt, save_path=folder / "new.yaml"
    )
    flipped = new.read_text().replace("flip: false", "flip: true")
    (folder / "flipped.yaml").write_text(flipped.replace("use_udp: false", "use_udp: true"))
    return {
        "new": new,
        "old": folder / "old.yaml",
        "converted": kptk.swap_weights(
            folder / "old.yaml", save_path=folder / "converted.yaml", to_format="new"
        ),
        "flipped": folder / "flipped.yaml",
    }


@pytest.fixture(scope="module")
def jobs(configs: dict[str, Path]) -> dict[str, dict[str, Any]]:
    """What both sides are asked: a configuration, images, a score threshold."""
    asked = {
        name: {"config": str(configs[name]), "images": images, "threshold": threshold}
        for name, images, threshold in (
            ("new", IMAGES, None),  # None: the threshold in the file
            ("converted", IMAGES[:1], 0.35),
            ("flipped", IMAGES[:1], None),
            ("old", IMAGES[:1], 0.35),
        )
    }
    photographs = [str(path) for path in sorted((reference() / "coco2").glob("*.jpg"))]
    if photographs:
        asked["photographs"] = {**asked["new"], "images": photographs, "threshold": 0.3}
    return asked


@pytest.fixture(scope="module")
def answers(
    paddlex_python: Path, jobs: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """PaddleX's own answers, all from one process."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "jobs.json").write_text(json.dumps(list(jobs.values())))
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PADDLE_PDX_CACHE_HOME": str(folder / "cache"),
        "PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK": "True",
        "PADDLE_PDX_CPU_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [str(paddlex_python), "-P", str(SIDE), str(folder / "jobs.json"), str(folder / "out.json")],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    got: dict[str, Any] = json.loads((folder / "out.json").read_text())
    by_name = {side: dict(zip(jobs, got[side], strict=True)) for side in ("paddlex", "kptk")}
    return {**got, **by_name}


def arrays(people: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes, scores and keypoints of one picture, surest first, as kptk orders them."""
    people = sorted(people, key=lambda person: -person["score"])
    boxes = np.array([person["box"] for person in people]).reshape(-1, 4)
    scores = np.array([person["score"] for person in people])
    return boxes, scores, np.array([person["keypoints"] for person in people]).reshape(-1, 17, 3)


def check_agreement(got: Any, expected: Any, *, median: float, most: float, peak: float) -> None:
    """Compare people with PaddleX's.

    The boxes and their scores are the same. Of the points whose peak is sure, the median and 95 %
    are at most ``median`` and ``most`` pixels away; scores differ by at most ``peak``.
    """
    assert len(got) == len(expected)
    assert sum(map(len, expected)) > 0
    distances = []
    for ours, theirs in zip(got, expected, strict=True):
        assert len(ours) == len(theirs)
        boxes, scores, points = arrays(ours)
        their_boxes, their_scores, their_points = arrays(theirs)
        np.testing.assert_allclose(boxes, their_boxes, atol=1e-3)
        np.testing.assert_allclose(scores, their_scores, atol=1e-5)
        np.testing.assert_allclose(points[..., 2], their_points[..., 2], atol=peak)
        distance = np.linalg.norm((points - their_points)[..., :2], axis=2)
        distances.append(distance[their_points[..., 2] > SURE])
    found = np.concatenate(distances)
    assert np.median(found) < median
    assert np.quantile(found, 0.95) < most


def people_here(job: dict[str, Any], engine: str) -> list[list[dict[str, Any]]]:
    """kptk's answer in its own environment."""
    pipe = kptk.create_pipeline(job["config"], engine=engine, device="cpu")
    results = pipe.predict(job["images"], det_threshold=job["threshold"], on_error="raise")
    return [[person(found) for found in result.json["boxes"]] for result in results]


def test_this_is_the_paddlex_that_is_meant_and_it_asked_nobody(answers: dict[str, Any]) -> None:
    assert answers["version"] == "3.7.2"
    assert answers["connections"] == []


@pytest.mark.parametrize("name", ["new", "converted", "flipped"])
def test_an_exported_pair_gives_the_same_people(answers: dict[str, Any], name: str) -> None:
    check_agreement(answers["kptk"][name], answers["paddlex"][name], **EQUAL)


def test_official_weights_give_the_same_people_on_photographs(
    reference_dir: Path, answers: dict[str, Any]
) -> None:
    check_agreement(answers["kptk"]["photographs"], answers["paddlex"]["photographs"], **EQUAL)


@pytest.mark.parametrize("engine", ["paddle", "onnxruntime"])
@pytest.mark.parametrize("name", ["new", "photographs"])
def test_another_opencv_gives_the_same_people(
    jobs: dict[str, dict[str, Any]], answers: dict[str, Any], name: str, engine: str
) -> None:
    if name not in jobs:
        pytest.skip("there are no reference photographs; the test above says so")
    ours = people_here(jobs[name], engine)  # OpenCV 5, where PaddleX has 4.10
    check_agreement(ours, answers["paddlex"][name], **EQUAL)


def test_paddlex_needs_the_old_format_converted(answers: dict[str, Any]) -> None:
    assert answers["paddlex"]["old"] == {"error": "KeyError: 'pipeline_name'"}
    assert answers["kptk"]["old"] == answers["kptk"]["converted"]
