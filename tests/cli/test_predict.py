"""``kptk predict`` on images, on videos and into partitions; what it writes is opened again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import kptk
import kptk.io.video
from kptk.cli import app
from kptk.demo import demo_images
from kptk.io.video import Sampling, probe, read_frames
from tests.clips import cut, write_clip, write_sound
from tests.tiny_models import BOX, SCORE, write_pipeline


def predict(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def predict_video(*arguments: object) -> Result:
    return predict(*arguments, "--pipeline", "demo")


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("onnx")
    return str(write_pipeline(tmp_path_factory.mktemp("pair")))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: two pictures and a text file that claims to be one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (60, 50), (90, 120, 90)).save(tmp_path / "in" / name)
    (tmp_path / "text.jpg").write_text("words")
    return tmp_path


def test_predict_saves_and_tabulates(pipeline: str, folder: Path) -> None:
    result = predict("in", "--pipeline", pipeline, "--save-path", "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a_res.json", "a_res.png", "b_res.jpg", "b_res.json",
    ]  # fmt: skip
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["people", "best", "image", "->", "saved"]
    assert lines[1].split()[:3] == ["1", "0.75", "in/a.png"]
    saved = json.loads(Path("out/a_res.json").read_text())
    assert saved["boxes"][0]["coordinate"] == list(BOX)


def test_predict_json_is_one_document(pipeline: str, folder: Path) -> None:
    options = ("--pipeline", pipeline, "--json", "--no-img", "-o", "out")
    result = predict("in/a.png", "text.jpg", "in/b.jpg", *options)
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert list(document) == ["results", "errors"]
    assert [r["input_path"] for r in document["results"]] == ["in/a.png", "in/b.jpg"]
    assert document["results"][0]["boxes"][0]["det_score"] == SCORE
    assert [e["input_path"] for e in document["errors"]] == ["text.jpg"]
    assert "text.jpg" in result.stderr
    assert sorted(os.listdir("out")) == ["a_res.json", "b_res.json"]


def test_failed_images_are_listed_at_the_end(pipeline: str, folder: Path) -> None:
    result = predict("text.jpg", "gone.jpg", "in", "-p", pipeline)
    assert result.exit_code == 1
    assert len(os.listdir("output")) == 4
    errors = result.stderr.splitlines()
    assert errors[0] == "kptk: 2 of the inputs failed:"
    assert [line.split(":")[0].strip() for line in errors[1:]] == ["text.jpg", "gone.jpg"]


def test_thresholds_and_channel_order_reach_the_pipeline(pipeline: str, folder: Path) -> None:
    np.save("blue.npy", np.full((50, 60, 3), (255, 0, 0), np.uint8))
    options = ("-p", pipeline, "--det-threshold", "0.8", "--channel-order", "bgr", "--json")
    result = predict("blue.npy", *options)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["results"][0]["boxes"] == []
    picture = np.asarray(Image.open("output/blue_res.png"))
    assert (picture == (0, 0, 255)).all()


def test_recursive(pipeline: str, folder: Path) -> None:
    result = predict(".", "-p", pipeline, "-r", "--no-img", "-o", "out")
    assert result.exit_code == 1  # text.jpg
    assert sorted(path.as_posix() for path in Path("out").rglob("*.json")) == [
        "out/in/a_res.json", "out/in/b_res.json",
    ]  # fmt: skip


def test_an_output_folder_that_cannot_be(pipeline: str, folder: Path) -> None:
    result = predict("in", "-p", pipeline, "-o", "text.jpg")
    assert result.exit_code == 1
    assert "cannot be written" in result.stderr


# ---- videos


def lines_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def pan(count: int) -> list[np.ndarray]:
    """A demo picture seen through a window that moves to the right, 8 pixels a frame."""
    (park,) = (path for path in demo_images() if path.stem == "park")
    image = np.asarray(Image.open(park).convert("RGB"))
    return [np.ascontiguousarray(image[:, 8 * i : 8 * i + 480]) for i in range(count)]


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory holds clip.mp4: 5 frames at uneven times."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", [0.0, 0.04, 0.08, 0.2, 0.24], pictures=pan(5))
    return Path("clip.mp4")


def test_a_film_gives_a_film_and_one_file_of_lines(clip: Path) -> None:
    result = predict_video(clip, "--save-path", "output")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("output").iterdir()) == [
        "clip_res.jsonl", "clip_res.mp4",
    ]  # fmt: skip
    found = list(read_frames(Path("output/clip_res.mp4"), Sampling()))
    assert [frame.time for frame in found] == pytest.approx([0, 0.04, 0.08, 0.2, 0.24], abs=1e-4)
    assert found[0].image.shape == (480, 480, 3)
    lines = lines_of("output/clip_res.jsonl")
    assert [line["frame"] for line in lines] == [1, 2, 3, 4, 5]
    assert [line["time"] for line in lines] == pytest.approx([0, 0.04, 0.08, 0.2, 0.24], abs=1e-4)
    assert {line["input_path"] for line in lines} == {"clip.mp4"}
    # the lines hold what Python gives, and everybody who is seen throughout keeps a number
    results = list(kptk.track(kptk.create_pipeline("demo").predict("clip.mp4")))
    assert [result.json for result in results] == lines
    ids = [{box["track_id"] for box in line["boxes"]} for line in lines]
    assert set.intersection(*ids)
    row = result.stdout.splitlines()[1]
    assert "clip.mp4 (5 frames, 0.2 s" in row
    assert "-> output/clip_res.mp4, output/clip_res.jsonl" in row


def test_options_of_films(clip: Path) -> None:
    result = predict_video(clip, "--every", 2, "--no-track", "--no-img", "--json", "-o", "out")
    assert result.exit_code == 0, result.output
    (record,) = json.loads(result.stdout)["results"]
    assert record["frames"] == 3
    assert "tracks" not in record
    assert record["saved"] == [str(Path("out/clip_res.jsonl"))]
    assert [line["frame"] for line in lines_of("out/clip_res.jsonl")] == [1, 3, 5]
    assert all(
        "track_id" not in box for line in lines_of("out/clip_res.jsonl") for box in line["boxes"]
    )
    plain, smooth = (
        predict_video(clip, "--max-fps", 10, "--no-img", *option, "-o", folder)
        for option, folder in (((), "plain"), (("--smooth",), "smooth"))
    )
    assert plain.exit_code == smooth.exit_code == 0
    before, after = lines_of("plain/clip_res.jsonl"), lines_of("smooth/clip_res.jsonl")
    assert [line["frame"] for line in before] == [line["frame"] for line in after] == [1, 4]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_pictures_and_films_together(clip: Path) -> None:
    Image.fromarray(pan(1)[0]).save("clip.jpg")
    result = predict_video("clip.jpg", clip, "--json", "-o", "out")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "clip_mp4_res.jsonl", "clip_mp4_res.mp4", "clip_res.jpg", "clip_res.json",
    ]  # fmt: skip
    picture, film = json.loads(result.stdout)["results"]
    assert "boxes" in picture
    assert film["frames"] == 5
    assert film["last_time"] == pytest.approx(0.24)
    assert film["most_people"] <= film["tracks"]


def test_a_cut_film_keeps_its_frames_and_exits_with_1(tmp_path: Path, clip: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(40)]
    whole = write_clip(tmp_path / "long.mkv", [i / 25 for i in range(40)], pictures=noise)
    cut(whole, 0.3)
    write_sound(tmp_path / "sound.mp4")
    result = predict_video("cut.mkv", "sound.mp4", "gone.mp4", "-o", "out")
    assert result.exit_code == 1
    head, *errors = result.stderr.splitlines()
    assert head == "kptk: 3 of the inputs failed:"
    assert [line.split(":")[0].strip() for line in errors] == ["cut.mkv", "sound.mp4", "gone.mp4"]
    assert "cut off or damaged" in errors[0]
    frames = probe(Path("out/cut_res.mp4")).frames
    assert frames is not None
    assert 3 <= frames <= 25
    assert len(lines_of("out/cut_res.jsonl")) == len(
        list(read_frames(Path("out/cut_res.mp4"), Sampling()))
    )


def test_wrong_usage(clip: Path) -> None:
    assert predict_video(clip, "--smooth", "--no-track").exit_code == 2
    result = predict_video(clip, "--every", 0)
    assert result.exit_code == 1
    assert "every must be" in result.stderr


class ThreePictures:
    """A camera whose user presses Ctrl-C after three pictures."""

    def __init__(self, index: int) -> None:
        self.given = 0

    def isOpened(self) -> bool:
        return True

    def set(self, key: int, value: float) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray]:
        self.given += 1
        if self.given == 4:
            raise KeyboardInterrupt
        return True, np.full((64, 64, 3), 90, np.uint8)

    def release(self) -> None:
        pass


def test_a_camera_by_its_number_until_ctrl_c(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", ThreePictures)
    monkeypatch.setattr(kptk.io.video, "_check_camera", lambda index: None)
    result = predict_video("0", "-o", "out")
    assert result.exit_code == 0, result.output
    assert [line["frame"] for line in lines_of("out/camera_0_res.jsonl")] == [1, 2, 3]
    assert probe(Path("out/camera_0_res.mp4")).width == 64


def test_ctrl_c_leaves_nothing_of_a_film(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import kptk.video as saved

    real = saved.VideoFiles.add

    def interrupted(self: saved.VideoFiles, result: kptk.PoseResult) -> None:
        if result.frame == 3:
            raise KeyboardInterrupt
        real(self, result)

    monkeypatch.setattr(saved.VideoFiles, "add", interrupted)
    result = predict_video(clip, "-o", "out")
    assert result.exit_code != 0
    assert list(Path("out").iterdir()) == []


# ---- partitions


@pytest.fixture
def call(tmp_path: Path) -> list[str]:
    """The command on three pictures and one file that is none."""
    pytest.importorskip("onnx")
    (tmp_path / "in").mkdir()
    for number in range(3):
        Image.new("RGB", (64, 48)).save(tmp_path / "in" / f"{number}.png")
    config = write_pipeline(tmp_path / "pair")
    return ["predict", str(tmp_path / "in"), "-p", str(config), "-o", str(tmp_path / "out")]


def test_json_lines_with_the_counts_on_stdout_and_coco_results(
    call: list[str], tmp_path: Path
) -> None:
    truth = {
        "images": [{"id": 7, "file_name": "1.png", "width": 64, "height": 48}],
        "annotations": [],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    options = ["--format", "jsonl", "--partition-size", "2", "--json", "--coco-results"]
    found = CliRunner().invoke(app, [*call, *options, str(tmp_path / "gt.json")])
    assert found.exit_code == 0, found.stderr
    said = json.loads(found.stdout)
    assert (said["images"], said["people"], said["partitions"], said["errors"]) == (3, 3, 2, [])
    lines = (tmp_path / "out" / "results" / "part-000000.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert first["input_path"] == "0.png"  # PaddleX's keys
    assert set(first["boxes"][0]) == {"coordinate", "det_score", "keypoints", "kpt_score"}
    assert (first["width"], first["height"]) == (64, 48)
    [record] = json.loads((tmp_path / "out" / "predictions.json").read_text())
    x1, y1, x2, y2 = BOX
    assert record["image_id"] == 7
    assert record["bbox"] == [x1, y1, x2 - x1, y2 - y1]


def test_failures_are_listed_and_the_exit_code_is_1(call: list[str], tmp_path: Path) -> None:
    (tmp_path / "in" / "bad.png").write_text("no picture")
    found = CliRunner().invoke(app, [*call, "--format", "jsonl"])
    assert found.exit_code == 1
    assert "4 images, 3 people, 1 failed" in found.stdout
    assert "1 of the inputs failed" in found.stderr
    assert "bad.png must be an image" in found.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--partition-size", "3"], "--partition-size is for --format parquet or jsonl"),
        (["--coco-results", "gt.json"], "--coco-results is for --format parquet or jsonl"),
        (["--dask", "tcp://127.0.0.1:9", "--format", "json"], "--dask writes --format parquet"),
        (["--format", "xml"], "format must be"),
        (["--format", "jsonl", "--kpt-threshold", "0.3"], "--kpt-threshold is for drawing"),
    ],
)
def test_options_that_do_not_fit(call: list[str], options: list[str], message: str) -> None:
    found = CliRunner().invoke(app, [*call, *options])
    assert found.exit_code == 1
    assert message in found.stderr
