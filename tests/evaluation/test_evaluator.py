"""kptk.evaluate on a pipeline whose answers are known."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kptk
from kptk.coco import KeypointData
from kptk.errors import DataError, InputError
from kptk.evaluation import coco_stats
from tests.fake_pair import document, fake_pipeline, person, write_data
from tests.tiny_models import write_pipeline

A, B, C, D = (10, 10, 50, 90), (60, 10, 100, 90), (110, 10, 150, 90), (20, 20, 60, 95)
PEOPLE = [person(1, 1, A), person(2, 1, B), person(3, 2, C), person(4, 2, D)]
# By hand: 3 of 4 found without a mistake: precision 1 at recall 0, .01, ... .75, else 0.
THREE_OF_FOUR = 76 / 101


def row(box: tuple[float, ...], score: float) -> tuple[float, ...]:
    return (*box, score)


FOUND = {1: [row(A, 0.9), row(B, 0.8)], 2: [row(C, 0.3)]}


@pytest.fixture
def data(tmp_path: Path) -> KeypointData:
    return kptk.load_coco(write_data(tmp_path / "set", document(PEOPLE, 3)), split="val")


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KPTK_PROGRESS", "0")


def test_three_numbers(data: KeypointData) -> None:
    ev = kptk.evaluate(fake_pipeline(FOUND), data)
    assert ev.detector["AP"] == pytest.approx(THREE_OF_FOUR)
    assert ev.pose["AP"] == 1.0
    assert ev.end_to_end["AP"] == pytest.approx(THREE_OF_FOUR)
    assert [len(ev.detector), len(ev.pose), len(ev.end_to_end)] == [12, 10, 10]
    assert (ev.keypoints, ev.bbox) == (None, None)
    assert ev.detector["AP"] == ev.detector.AP


def test_deploy_takes_the_pipelines_threshold(data: KeypointData) -> None:
    """The third person's .3 is below .5: 2 of 4, precision 1 up to recall .5."""
    ev = kptk.evaluate(fake_pipeline(FOUND), data, score_mode="deploy")
    assert ev.end_to_end["AP"] == pytest.approx(51 / 101)
    assert ev.detector["AP"] == pytest.approx(THREE_OF_FOUR)
    lower = kptk.evaluate(fake_pipeline(FOUND), data, score_mode="deploy", det_threshold=0.2)
    assert lower.end_to_end["AP"] == pytest.approx(THREE_OF_FOUR)
    assert lower.end_to_end.provenance["det_threshold"] == 0.2


def test_a_cut_box_costs_end_to_end_only(data: KeypointData) -> None:
    cut = {**FOUND, 2: [row((110, 10, 150, 60), 0.3), row(D, 0.2)]}
    ev = kptk.evaluate(fake_pipeline(cut), data)
    assert ev.pose["AP"] == 1.0
    assert ev.end_to_end["AP"] < ev.end_to_end["AP50"] <= 1
    assert ev.detector["AP50"] == 1.0
    assert ev.detector["AP75"] < 1


def test_scores_of_the_modes(data: KeypointData) -> None:
    """ppdet: box score times mean joint score (.8 here); deploy: box score, on given boxes .8."""
    ppdet = kptk.evaluate(fake_pipeline(FOUND), data)
    deploy = kptk.evaluate(fake_pipeline(FOUND), data, score_mode="deploy", det_threshold=0)
    assert sorted(r["score"] for r in ppdet.end_to_end.results) == pytest.approx([0.24, 0.64, 0.72])
    assert sorted(r["score"] for r in deploy.end_to_end.results) == pytest.approx([0.3, 0.8, 0.9])
    for ev in (ppdet, deploy):
        assert [r["score"] for r in ev.pose.results] == pytest.approx([0.8] * 4)


def test_oks_nms_removes_a_second_pose(data: KeypointData) -> None:
    twice = {1: [row(A, 0.9), row((10, 10, 50, 91), 0.85), row(B, 0.8)]}
    counts = {
        nms: len(kptk.evaluate(fake_pipeline(twice), data, oks_nms=nms).end_to_end.results)
        for nms in (0.9, None, "auto")
    }
    assert counts == {0.9: 2, None: 3, "auto": 2}
    deploy = kptk.evaluate(fake_pipeline(twice), data, score_mode="deploy")
    assert len(deploy.end_to_end.results) == 3


def test_low_candidates_count_for_the_detector(data: KeypointData) -> None:
    low = {**FOUND, 2: [row(C, 0.3), row(D, 0.02)]}
    assert kptk.evaluate(fake_pipeline(low), data).detector["AP"] == 1.0
    raised = kptk.evaluate(fake_pipeline(low), data, min_score=0.05)
    assert raised.detector["AP"] == pytest.approx(THREE_OF_FOUR)


def test_crowds_and_people_without_points(tmp_path: Path) -> None:
    """Nobody has to find them; finding them is no mistake; their poses are kept, unscored."""
    empty = {"keypoints": [0] * 51, "num_keypoints": 0}
    people = [person(1, 1, A), person(2, 1, B, **empty), person(3, 1, C, iscrowd=1)]
    data = kptk.load_coco(write_data(tmp_path / "set", document(people, 1)), split="val")
    found = {1: [row(A, 0.5), row(B, 0.9), row(C, 0.8)]}
    ev = kptk.evaluate(fake_pipeline(found), data)
    assert [s["AP"] for s in ev.sections.values()] == pytest.approx([1, 1, 1])
    assert ev.predictions.people.ids.tolist() == [1, 2]
    assert [p["annotation_id"] for p in ev.pose.results] == [1]
    assert ev.pose.provenance["without_keypoints"] == 1
    counts = ev.end_to_end.provenance["counts"]
    assert counts == {"images": 1, "evaluated": 1, "crowds": 1, "ignored": 1, "results": 3}
    assert ev.detector.provenance["counts"]["evaluated"] == 2


def test_one_stage_alone(data: KeypointData) -> None:
    pose_only = kptk.evaluate(fake_pipeline(None), data)
    assert list(pose_only.sections) == ["pose"]
    assert pose_only.pose["AP"] == 1.0
    both = fake_pipeline(FOUND)
    boxes_only = kptk.evaluate(kptk.Pipeline(both.detector, None), data)
    assert list(boxes_only.sections) == ["detector"]
    with pytest.raises(InputError, match="flip and udp are for keypoint models"):
        kptk.evaluate(kptk.Pipeline(both.detector, None), data, flip=True)


def test_images_go_in_batches(data: KeypointData) -> None:
    pipe: Any = fake_pipeline(FOUND)
    kptk.evaluate(pipe, data)
    assert pipe.detector.calls == [3]
    assert pipe.pose.calls == [3 + 4]  # people of all images, on both kinds of boxes


def test_max_images(data: KeypointData) -> None:
    ev = kptk.evaluate(fake_pipeline(FOUND), data, max_images=1)
    assert ev.detector["AP"] == 1.0
    assert ev.detector.provenance["counts"]["images"] == 1


def test_provenance(data: KeypointData) -> None:
    ev = kptk.evaluate(fake_pipeline(FOUND), data)
    found = ev.json["provenance"]
    assert found["data"]["sha256"] == data.sha256
    assert found["models"]["pose"] == {
        "name": "fake-kpt", "folder": "fake-kpt", "sha256": None, "input_size": [128, 96],
        "engine": "fake", "device": "cpu", "precision": "f32", "flip": False, "udp": False,
    }  # fmt: skip
    assert set(found["versions"]) == {"kptk", "python", "numpy", "pycocotools"}
    assert found["pose"]["box_source"] == "ground truth"
    assert found["end_to_end"] == {
        "box_source": "detector", "score_mode": "ppdet", "oks_nms": 0.9, "det_threshold": None,
        "min_score": 0.01,
        "counts": {"images": 3, "evaluated": 4, "crowds": 0, "ignored": 0, "results": 3},
    }  # fmt: skip


def test_models_flip_udp_and_hashes(tmp_path: Path, data: KeypointData) -> None:
    """Real models: switches are set for the measurement, not on the pipeline handed in."""
    from kptk.files import file_hash

    path = write_pipeline(tmp_path / "pair")
    pipe = kptk.create_pipeline(path)
    ev = kptk.evaluate(pipe, data, flip=True, udp=True)
    models = ev.provenance["models"]
    assert (models["pose"]["flip"], models["pose"]["udp"]) == (True, True)
    assert (pipe.pose.flip, pipe.pose.udp) == (False, False)
    assert models["detector"]["sha256"] == file_hash(tmp_path / "pair" / "det" / "inference.onnx")
    by_path = kptk.evaluate(path, data, engine="onnxruntime")
    assert by_path.provenance["models"]["pose"]["engine"] == "onnxruntime"
    with pytest.raises(InputError, match="chosen when a pipeline is made"):
        kptk.evaluate(pipe, data, engine="openvino")


def test_save_and_evaluate_again(tmp_path: Path, data: KeypointData) -> None:
    ev = kptk.evaluate(fake_pipeline(FOUND), data)
    folder = ev.save(tmp_path / "saved")
    again = kptk.evaluate(predictions=folder, annotations=data)
    assert again.json == ev.json
    file = tmp_path / "set" / "annotations" / "instance_val.json"
    other = kptk.evaluate(predictions=folder, annotations=file, score_mode="deploy")
    assert other.end_to_end["AP"] == pytest.approx(51 / 101)
    in_memory = kptk.evaluate(predictions=ev.predictions, annotations=data)
    assert in_memory.json == ev.json
    single = kptk.evaluate(predictions=folder / "end_to_end_results.json", annotations=file)
    assert dict(single.keypoints) == dict(ev.end_to_end)
    boxes = kptk.evaluate(predictions=folder / "detector_results.json", annotations=file)
    assert dict(boxes.bbox) == dict(ev.detector)


def test_saved_predictions_know_their_images(tmp_path: Path, data: KeypointData) -> None:
    folder = kptk.evaluate(fake_pipeline(FOUND), data, max_images=1).save(tmp_path / "saved")
    again = kptk.evaluate(predictions=folder, annotations=data)
    assert again.end_to_end["AP"] == 1.0
    with pytest.raises(DataError, match="another data set"):
        kptk.evaluate(predictions=folder, annotations=data.subset([2]))


def test_result_to_coco_comes_back(data: KeypointData) -> None:
    """PoseResult.to_coco through evaluate(predictions=...) is the pipeline's own evaluation."""
    pipe = fake_pipeline(FOUND)
    ev = kptk.evaluate(pipe, data, oks_nms=None)
    records: list[dict[str, Any]] = []
    for image_id in data.image_ids:
        result = pipe(data.read(image_id), det_threshold=0.01)
        records += result.to_coco(image_id)
    again = kptk.evaluate(predictions=records, annotations=data)
    for name, value in ev.end_to_end.items():
        assert again.keypoints[name] == pytest.approx(value, abs=1e-9, nan_ok=True)
    with_boxes = [
        record
        for image_id in data.image_ids
        for record in pipe(data.read(image_id), det_threshold=0.01).to_coco(
            image_id, with_boxes=True
        )
    ]
    same = kptk.evaluate(predictions=with_boxes, annotations=data)
    assert dict(same.keypoints) == pytest.approx(dict(again.keypoints), nan_ok=True)


def test_shows_itself(data: KeypointData) -> None:
    ev = kptk.evaluate(fake_pipeline(FOUND), data)
    assert repr(ev) == (
        "<Evaluation set val: detector AP 75.2, pose on ground-truth boxes AP 100.0, "
        "end to end AP 75.2; 3 images>"
    )
    table = ev._repr_html_()
    assert "<td>75.2</td>" in table
    assert table == kptk.evaluate(fake_pipeline(FOUND), data)._repr_html_()
    assert "detector" in ev.text.splitlines()[1]
    frame = ev.to_pandas()
    assert list(frame["section"]) == ["detector", "pose", "end_to_end"]
    assert frame["AP"].tolist() == pytest.approx([THREE_OF_FOUR, 1, THREE_OF_FOUR])
    assert math.isnan(frame["AR100"][1])


def test_json_has_null_for_undefined(tmp_path: Path, data: KeypointData) -> None:
    ev = kptk.evaluate(fake_pipeline(FOUND), data)
    text = ev.to_json(tmp_path / "ev.json")
    assert json.loads(text) == ev.json == json.loads((tmp_path / "ev.json").read_text())
    assert ev.json["detector"]["APl"] is None  # nobody is larger than 96 x 96
    assert list(ev.json) == ["detector", "pose", "end_to_end", "provenance"]


def test_sizes_and_joints(tmp_path: Path) -> None:
    """A small and a medium person; one wrist not labelled, and one pose far off by one joint."""
    small, medium = (10, 10, 30, 40), (60, 10, 100, 90)
    points = np.array(person(1, 1, medium)["keypoints"]).reshape(17, 3)
    points[9] = 0  # left wrist
    points[0, 0] += 30  # nose
    people = [
        person(1, 1, small),
        person(2, 1, medium, keypoints=points.ravel().tolist(), num_keypoints=16),
    ]
    data = kptk.load_coco(write_data(tmp_path / "set", document(people, 1)), split="val")
    ev = kptk.evaluate(fake_pipeline({1: [row(small, 0.9), row(medium, 0.8)]}), data)
    sizes = ev.detector.sizes.set_index("size")
    assert sizes["n"].to_dict() == {"all": 2, "small": 1, "medium": 1, "large": 0}
    assert math.isnan(sizes["AP"]["large"])
    joints = ev.pose.joints.set_index("joint")
    assert joints["n"]["left_wrist"] == 1
    assert joints["n"]["right_wrist"] == 2
    assert joints["AP"]["right_wrist"] == 1.0
    # By hand: tied scores, the right nose first: precision 1 up to recall .5.
    assert joints["AP"]["nose"] == pytest.approx(51 / 101)
    with pytest.raises(InputError, match="no joints"):
        _ = ev.detector.joints


def test_plots(data: KeypointData) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ev = kptk.evaluate(fake_pipeline(FOUND), data)
    ax = ev.plot_precision_recall()
    assert len(ax.lines) == 6
    own = plt.figure().add_subplot()
    assert ev.pose.plot_precision_recall(own, color="red") is own
    assert own.lines[0].get_ydata().tolist() == [1.0] * 101
    with pytest.raises(InputError, match=r"one of \.5"):
        ev.pose.precision(0.52)
    plt.close("all")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"score_mode": "best"}, "score_mode must be 'ppdet' or 'deploy'"),
        ({"oks_nms": 2}, "oks_nms must be a number from 0 to 1"),
        ({"det_threshold": -1}, "det_threshold must be"),
        ({"min_score": "low"}, "min_score must be"),
        ({"max_images": 0}, "max_images must be"),
        ({"annotations": "x.json"}, "evaluate needs a pipeline and data"),
    ],
)
def test_wrong_arguments(data: KeypointData, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kptk.evaluate(fake_pipeline(FOUND), data, **arguments)


def test_data_must_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="load_coco"):
        kptk.evaluate(fake_pipeline(FOUND), str(tmp_path))  # type: ignore[arg-type]


def test_an_unreadable_image_is_an_error(data: KeypointData) -> None:
    data.image_path(2).write_bytes(b"no picture")
    with pytest.raises(DataError, match="Image 2 of the data cannot be read"):
        kptk.evaluate(fake_pipeline(FOUND), data)


def test_other_skeletons_need_their_own_models(tmp_path: Path) -> None:
    people = [person(1, 1, A, keypoints=[20, 20, 2] * 5, num_keypoints=5)]
    content = document(people, 1)
    content["categories"][0]["keypoints"] = list("abcde")
    data = kptk.load_coco(write_data(tmp_path / "set", content), split="val")
    with pytest.raises(DataError, match="places 17 joints; the data has 5"):
        kptk.evaluate(fake_pipeline(FOUND), data)


@pytest.mark.parametrize(("value", "shown"), [("0", False), ("1", True)])
def test_progress(
    data: KeypointData,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    value: str,
    shown: bool,
) -> None:
    monkeypatch.setenv("KPTK_PROGRESS", value)
    kptk.evaluate(fake_pipeline(FOUND), data)
    assert ("3/3" in capsys.readouterr().err) is shown
    kptk.evaluate(fake_pipeline(FOUND), data, progress=False)
    assert capsys.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("score_mode", ["ppdet", "deploy"])
def test_paddlex_on_photographs(
    reference_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, score_mode: Any
) -> None:
    """PaddleX 3.7.2's keypoints on ground-truth boxes, same weights: AP .711881."""
    monkeypatch.setenv("KPTK_CACHE_DIR", str(tmp_path))
    folder = reference_dir / "coco2"
    data = kptk.load_coco(folder, annotations=folder / "annotations.json", images=folder)
    stored = json.loads((folder / "paddlex_keypoints.json").read_text())["results"]
    theirs = [
        {
            "image_id": r["image_id"], "category_id": 1,
            "keypoints": np.ravel(r["keypoints"]).tolist(),
            "score": float(np.mean([point[2] for point in r["keypoints"]])),
        }
        for r in stored
    ]  # fmt: skip
    expected = kptk.evaluate(predictions=theirs, annotations=data).keypoints["AP"]
    assert round(expected, 6) == 0.711881
    model = kptk.create_model(reference_dir / "tinypose" / "PP-TinyPose_128x96.pdparams")
    ev = kptk.evaluate(model, data, score_mode=score_mode)
    assert ev.pose["AP"] == pytest.approx(expected, abs=0.01)
    assert len(ev.pose.results) == 3  # the fourth person has no labelled joint


def test_stats_are_pycocotools(data: KeypointData) -> None:
    ev = kptk.evaluate(fake_pipeline(FOUND), data)
    expected = coco_stats(data.content, ev.end_to_end.results, "keypoints")
    assert dict(ev.end_to_end) == pytest.approx(expected, nan_ok=True)
