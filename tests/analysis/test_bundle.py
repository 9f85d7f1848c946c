"""From evaluations, saved predictions and COCO results to a bundle; and what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
from kptk.coco import KeypointData
from kptk.errors import DataError, InputError, KptkError
from tests.fake_pair import document, fake_pipeline, person, write_data

A, B, C = (10, 10, 50, 90), (60, 10, 100, 90), (110, 10, 150, 90)
EMPTY = {"keypoints": [0] * 51, "num_keypoints": 0}
PEOPLE = [person(1, 2, C), person(2, 1, A), person(3, 1, B, **EMPTY), person(4, 1, C, iscrowd=1)]
FOUND = {1: [(*B, 0.3), (*A, 0.9)], 2: [(*C, 0.8)]}


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPTK_PROGRESS", "0")


@pytest.fixture
def data(tmp_path: Path) -> KeypointData:
    return kptk.load_coco(write_data(tmp_path / "set", document(PEOPLE, 2)), split="val")


@pytest.fixture
def evaluation(data: KeypointData) -> kptk.Evaluation:
    return kptk.evaluate(fake_pipeline(FOUND), data)


def results(annotations: list[dict[str, Any]] = PEOPLE, **changes: Any) -> list[dict[str, Any]]:
    """COCO keypoint results: each person as annotated."""
    return [
        {"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 0.9,
         **changes}
        for a in annotations
    ]  # fmt: skip


def test_people_of_an_evaluation(evaluation: kptk.Evaluation) -> None:
    """By image, then as in the file; what is not labelled is NaN."""
    bundle = kptk.analyze(evaluation).bundle
    people = bundle.people
    assert people.ids.tolist() == [2, 3, 4, 1]
    assert bundle.image_ids[people.image].tolist() == [1, 1, 1, 2]
    assert people.boxes[0].tolist() == list(A)
    assert people.ignored.tolist() == [False, True, True, False]
    assert people.crowd.tolist() == [False, False, True, False]
    assert np.isnan(people.keypoints[1, :, :2]).all()
    assert people.has_given.tolist() == [True, True, False, True]
    np.testing.assert_allclose(people.given[0, :, :2], people.keypoints[0, :, :2], atol=1e-4)


def test_candidates_of_an_evaluation(evaluation: kptk.Evaluation) -> None:
    """By image, then score; the crop of a 40 x 80 box: by hand 60 x 80, times 1.25."""
    bundle = kptk.analyze(evaluation).bundle
    found = bundle.candidates
    np.testing.assert_allclose(found.scores, [0.9, 0.3, 0.8], rtol=1e-6)
    np.testing.assert_allclose(found.boxes, [A, B, C])
    np.testing.assert_allclose(found.crops[0], [30 - 37.5, 50 - 50, 30 + 37.5, 50 + 50])
    assert bundle.threshold == 0.5
    assert bundle.detected.tolist() == [True, False, True]
    assert bundle.two_stage
    lower = kptk.analyze(evaluation, det_threshold=0.2).bundle
    assert lower.detected.all()


def test_saved_predictions_give_the_same(
    evaluation: kptk.Evaluation, data: KeypointData, tmp_path: Path
) -> None:
    folder = evaluation.save(tmp_path / "saved")
    again = kptk.analyze(predictions=folder, annotations=data.annotations_path).bundle
    bundle = kptk.analyze(evaluation).bundle
    for name in ("ids", "image", "boxes", "areas", "keypoints", "ignored", "given"):
        np.testing.assert_array_equal(getattr(again.people, name), getattr(bundle.people, name))
    for name in ("image", "boxes", "scores", "keypoints", "crops"):
        np.testing.assert_array_equal(
            getattr(again.candidates, name), getattr(bundle.candidates, name)
        )
    assert again.threshold == bundle.threshold


def test_results_without_boxes() -> None:
    records = results(PEOPLE[:2])
    records[0]["keypoints"] = [0, 0, 0, *records[0]["keypoints"][3:]]
    bundle = kptk.analyze(predictions=records, annotations=document(PEOPLE, 2)).bundle
    assert not bundle.two_stage
    assert bundle.detected.all()
    assert np.isnan(bundle.candidates.keypoints[1, 0, :2]).all()
    assert bundle.candidates.keypoints[1, 0, 2] == 0
    points = np.array(PEOPLE[1]["keypoints"]).reshape(-1, 3)
    expected = [*points[:, :2].min(axis=0), *points[:, :2].max(axis=0)]
    np.testing.assert_allclose(bundle.candidates.boxes[0], expected)


def test_boxes_that_only_some_results_have_are_left_out() -> None:
    records = results(PEOPLE[:2])
    records[0]["bbox"] = [1, 2]
    bundle = kptk.analyze(predictions=records, annotations=document(PEOPLE, 2)).bundle
    assert not bundle.two_stage
    points = np.array(records[0]["keypoints"]).reshape(-1, 3)[:, :2]
    expected = [*points.min(axis=0), *points.max(axis=0)]
    assert any(np.allclose(box, expected) for box in bundle.candidates.boxes)


def test_results_with_boxes_of_any_pipeline() -> None:
    """Boxes, scores, keypoints, and the same model's poses on the ground-truth boxes."""
    records = [{**r, "bbox": a["bbox"]} for r, a in zip(results(), PEOPLE, strict=True)]
    given = [{"annotation_id": a["id"], "keypoints": a["keypoints"]} for a in PEOPLE[:2]]
    bundle = kptk.analyze(
        predictions=records, annotations=document(PEOPLE, 2), poses_on_truth=given,
        det_threshold=0.5, input_size=(64, 64),
    ).bundle  # fmt: skip
    assert bundle.two_stage
    assert bundle.people.has_given.tolist() == [True, False, False, True]
    np.testing.assert_allclose(bundle.candidates.crops[0], [30 - 50, 0, 30 + 50, 100])
    alone = kptk.analyze(predictions=records, annotations=document(PEOPLE, 2)).bundle
    assert any("no verdict" in note for note in alone.notes)
    assert any("every box counts as a detection" in note for note in alone.notes)


def test_flip_pairs_and_sigmas() -> None:
    names = {"categories": [{"id": 1, "name": "dog", "keypoints": ["a", "b"]}]}
    one = person(1, 1, A, keypoints=[20, 20, 2, 30, 30, 2], num_keypoints=2)
    content = {**document([one], 1), **names}
    found = [{"image_id": 1, "category_id": 1, "keypoints": [20, 20, 1, 30, 30, 1], "score": 1}]
    assumed = kptk.analyze(predictions=found, annotations=content).bundle
    assert any("No OKS sigma is known" in note for note in assumed.notes)
    bundle = kptk.analyze(
        predictions=found, annotations=content, sigmas=[0.1, 0.2], flip_pairs=[(0, 1)]
    ).bundle
    assert bundle.skeleton.flip_pairs == ((0, 1),)
    assert bundle.sigmas.tolist() == [0.1, 0.2]


def files(annotations: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"predictions": found, "annotations": document(annotations, 2)}


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        (files(PEOPLE, results(image_id=7)), DataError, "4 results are on images that are not in"),
        (files([], []), DataError, "It has no annotations of people"),
        (files(PEOPLE[3:], results()), DataError, "Of 1 annotations 1 are crowds and 0 have no"),
        (files(PEOPLE[2:], results()), DataError, "1 are crowds and 1 have no labelled joint"),
        (
            files(PEOPLE, results(keypoints=[1.0] * 42)),
            DataError,
            "must be 51 numbers (x, y, score for each of 17 joints). Got 42 numbers.",
        ),
        (
            files(PEOPLE, [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}]),
            DataError,
            "analyze needs results with keypoints",
        ),
        (files(PEOPLE, results(bbox=[0, 0, -1, 1])), DataError, "four finite numbers"),
        ({"predictions": results()}, InputError, "analyze needs an evaluation"),
        ({"evaluation": "saved"}, InputError, "For saved predictions write analyze(predictions="),
        ({"evaluation": 3}, InputError, "Got int"),
        (
            {**files(PEOPLE, results()), "poses_on_truth": []},
            InputError,
            "poses_on_truth and input_size are for results with boxes",
        ),
        (
            {**files(PEOPLE, results(bbox=[0, 0, 9, 9])), "poses_on_truth": results()},
            DataError,
            "must have the annotation_id of a person. Got None.",
        ),
        ({**files(PEOPLE, results()), "options": {"seed": 1}}, InputError, "AnalysisOptions(...)"),
        ({**files(PEOPLE, results()), "n_bootstrap": -1}, InputError, "n_bootstrap must be"),
    ],
)  # fmt: skip
def test_unusable(arguments: dict[str, Any], kind: type[KptkError], sentence: str) -> None:
    with pytest.raises(kind) as caught:
        kptk.analyze(**arguments)
    assert sentence in str(caught.value)


def test_evaluations_that_lack_a_stage(data: KeypointData) -> None:
    both = fake_pipeline(FOUND)
    boxes = kptk.evaluate(kptk.Pipeline(both.detector, None), data)
    poses = kptk.evaluate(fake_pipeline(None), data)
    for evaluation, only in ((boxes, "detector"), (poses, "pose")):
        with pytest.raises(InputError, match=f"This evaluation has only: {only}"):
            kptk.analyze(evaluation)
    with pytest.raises(InputError, match="not both"):
        kptk.analyze(poses, annotations=data)


def test_saved_predictions_of_other_data(
    evaluation: kptk.Evaluation, tmp_path: Path, data: KeypointData
) -> None:
    folder = evaluation.save(tmp_path / "saved")
    other = document([person(1, 1, A)], 1)
    with pytest.raises(DataError, match=r"on 1 images that .* does not have"):
        kptk.analyze(predictions=folder, annotations=other)
    fewer = document([person(1, 1, A, keypoints=[20, 20, 2], num_keypoints=1)], 2)
    fewer["categories"][0]["keypoints"] = ["nose"]
    with pytest.raises(DataError, match="have 17 joints, the people of annotations have 1"):
        kptk.analyze(predictions=folder, annotations=fewer)


def test_nothing_detected_is_said(data: KeypointData) -> None:
    nobody = kptk.analyze(kptk.evaluate(fake_pipeline({}), data)).bundle
    assert nobody.notes[-1] == "There are no detections at all: everybody is missed."
    low = kptk.analyze(kptk.evaluate(fake_pipeline({1: [(*A, 0.2)]}), data)).bundle
    assert "No box reaches the threshold of 0.5; the best score is 0.200." in low.notes[-1]
    empty = kptk.analyze(predictions=[], annotations=document(PEOPLE, 2)).bundle
    assert len(empty.candidates) == 0


def test_what_is_odd_is_said() -> None:
    """Ids fit by chance, or some people have no pose on their box: said, not refused."""
    far = [{**r, "bbox": [180, 5, 10, 10], "keypoints": [185.0, 8.0, 1.0] * 17} for r in results()]
    arguments = files(PEOPLE, far)
    notes = kptk.analyze(**arguments, det_threshold=0.5).bundle.notes
    assert "No detection overlaps anybody. Are these the predictions of these" in notes[-1]
    given = [{"annotation_id": 1, "keypoints": PEOPLE[0]["keypoints"]}]
    notes = kptk.analyze(**arguments, poses_on_truth=given).bundle.notes
    assert any(n.startswith("1 of 2 people to be found have no pose on their") for n in notes)


def test_ignore_counts() -> None:
    """``ignore: 1``: need not be found, as in kptk.evaluate, and it is said."""
    people = [PEOPLE[0], person(2, 1, A, ignore=1)]
    bundle = kptk.analyze(**files(people, results(people))).bundle
    assert bundle.people.ignored.tolist() == [True, False]
    assert any("say ignore: 1" in note for note in bundle.notes)
