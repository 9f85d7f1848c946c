"""``kptk predict`` on films, as a user types it; what it writes is opened again."""

from __future__ import annotations

import json
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
from tests.video.clips import cut, write_clip, write_sound


def kptk_cli(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["predict", *map(str, arguments), "--pipeline", "demo"])


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
    result = kptk_cli(clip, "--save-path", "output")
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
    result = kptk_cli(clip, "--every", 2, "--no-track", "--no-img", "--json", "-o", "out")
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
        kptk_cli(clip, "--max-fps", 10, "--no-img", *option, "-o", folder)
        for option, folder in (((), "plain"), (("--smooth",), "smooth"))
    )
    assert plain.exit_code == smooth.exit_code == 0
    before, after = lines_of("plain/clip_res.jsonl"), lines_of("smooth/clip_res.jsonl")
    assert [line["frame"] for line in before] == [line["frame"] for line in after] == [1, 4]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_pictures_and_films_together(clip: Path) -> None:
    Image.fromarray(pan(1)[0]).save("clip.jpg")
    result = kptk_cli("clip.jpg", clip, "--json", "-o", "out")
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
    result = kptk_cli("cut.mkv", "sound.mp4", "gone.mp4", "-o", "out")
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
    assert kptk_cli(clip, "--smooth", "--no-track").exit_code == 2
    result = kptk_cli(clip, "--every", 0)
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
    result = kptk_cli("0", "-o", "out")
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
    result = kptk_cli(clip, "-o", "out")
    assert result.exit_code != 0
    assert list(Path("out").iterdir()) == []
