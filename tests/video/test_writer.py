"""kptk.video: the film that comes out is opened again with PyAV."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import kptk
from kptk.errors import InputError
from kptk.io.video import Sampling, read_frames
from kptk.pipeline.results import PoseResult
from tests.video.clips import SIZE, find_square, picture, square_at

MANY = 80  # frames: more than the encoder keeps before it writes the first


def result_at(index: int, time: float | None, image: np.ndarray | None = None) -> PoseResult:
    return PoseResult(
        image=picture(index) if image is None else image,
        name=f"clip_{index + 1:06d}", path="clip.mp4", suffix=".jpg",
        boxes=np.zeros((0, 4), np.float32), scores=np.zeros(0, np.float32),
        keypoints=np.zeros((0, 17, 3), np.float32), time=time, frame=index + 1,
    )  # fmt: skip


def read(path: Path) -> tuple[list[np.ndarray], list[float]]:
    found = list(read_frames(path, Sampling()))
    return [frame.image for frame in found], [frame.time for frame in found]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov"])
def test_frames_and_times_come_out_as_they_went_in(tmp_path: Path, name: str) -> None:
    times = [0.0, 0.04, 0.08, 0.5, 0.533, 2.0]
    path = kptk.save_video(
        (result_at(index, time) for index, time in enumerate(times)), tmp_path / "new" / name
    )
    images, found = read(path)
    assert found == pytest.approx(times, abs=2e-3 if name == "a.mkv" else 1e-4)
    for index, image in enumerate(images):
        assert image.shape == (*SIZE, 3)
        assert find_square(image) == pytest.approx(square_at(index), abs=1)
    assert [path.name for path in path.parent.iterdir()] == [name]


@pytest.mark.skipif(sys.platform == "win32", reason="names there hold no colon")
def test_a_relative_name_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = kptk.save_video([result_at(0, 0.0)], "10:15:00.mp4")
    assert len(read(path)[0]) == 1


def test_people_are_drawn_unless_that_is_not_wanted(tmp_path: Path) -> None:
    grey = np.full((60, 60, 3), 60, np.uint8)
    person = replace(
        result_at(0, 0.0, grey),
        boxes=np.array([[10, 10, 40, 50]], np.float32),
        scores=np.array([0.9], np.float32),
        keypoints=np.full((1, 17, 3), np.nan, np.float32),
    )
    (with_box,), _ = read(kptk.save_video([person], tmp_path / "a.mp4"))
    (without,), _ = read(kptk.save_video([person], tmp_path / "b.mp4", draw=False))
    assert int(with_box.max()) > 180
    assert np.abs(without.astype(int) - 60).max() < 8


def test_a_rate_of_its_own(tmp_path: Path) -> None:
    results = [result_at(index, None) for index in range(3)]
    with pytest.raises(InputError, match="fps=25"):
        kptk.save_video(results, tmp_path / "a.mp4")
    _, times = read(kptk.save_video(results, tmp_path / "a.mp4", fps=10))
    assert times == pytest.approx([0, 0.1, 0.2], abs=1e-4)


def test_odd_and_other_sizes(tmp_path: Path) -> None:
    shapes = [(31, 45), (31, 45), (62, 90), (31, 90)]
    images = [np.full((*shape, 3), 200, np.uint8) for shape in shapes]
    results = [result_at(i, i / 10, image) for i, image in enumerate(images)]
    found, _ = read(kptk.save_video(results, tmp_path / "a.mp4"))
    assert [image.shape for image in found] == [(32, 46, 3)] * 4  # even sides: the encoding's rule
    assert found[0].min() > 180  # the row more repeats the last
    assert found[2].min() > 180
    # 31 x 90 scaled by 46 / 90 is 16 rows high: rows 8 to 23, between bars of black
    rows = found[3].mean(axis=(1, 2))
    assert rows[[2, 29]].max() < 30
    assert rows[[12, 20]].min() > 180


def test_the_same_moment_twice_moves_on_by_a_tick(tmp_path: Path) -> None:
    path = kptk.save_video([result_at(i, 0.0) for i in range(3)], tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        stamps = [frame.pts for frame in container.decode(video=0)]
    assert len(stamps) == len(set(stamps)) == 3


def test_errors_are_left_out(tmp_path: Path) -> None:
    failed = replace(result_at(1, None), image=None, error=InputError("broken"))
    _, times = read(
        kptk.save_video([result_at(0, 0.0), failed, result_at(2, 1.0)], tmp_path / "a.mp4")
    )
    assert times == pytest.approx([0, 1], abs=1e-4)
    with pytest.raises(InputError, match="no frame"):
        kptk.save_video([failed], tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def broken_off() -> Iterator[PoseResult]:
    for index in range(MANY):
        yield result_at(index % 20, index / 10)
    raise KeyboardInterrupt


def test_an_unfinished_film_is_not_left_behind(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    target.write_bytes(b"what was there before")
    with pytest.raises(KeyboardInterrupt):
        kptk.save_video(broken_off(), target)
    assert target.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [target]


def test_nothing_is_there_under_the_name_before_the_end(tmp_path: Path) -> None:
    target = tmp_path / "a.mp4"
    with kptk.VideoWriter(target) as film:
        for index in range(MANY):
            film.add(result_at(index % 20, index / 10))
            assert not target.exists()
        (temporary,) = tmp_path.iterdir()
        assert temporary.stat().st_size > 0
    assert target.exists()
    assert film.frames == MANY
    with pytest.raises(InputError, match="with block"):
        film.add(result_at(0, 9.0))


def test_names_and_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4"):
        kptk.VideoWriter(tmp_path / "a.gif")
    with pytest.raises(InputError, match="fps"):
        kptk.VideoWriter(tmp_path / "a.mp4", fps=0)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        kptk.save_video([result_at(0, 0.0)], tmp_path / "file" / "a.mp4")


@pytest.mark.parametrize("missing", [("libx264",), ("libx264", "libopenh264")])
def test_other_encoders_do_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: Sequence[str]
) -> None:
    here = frozenset(av.codec.codecs_available) - set(missing)
    monkeypatch.setattr(av.codec, "codecs_available", here)
    times = [0.0, 0.04, 0.5]
    _, found = read(
        kptk.save_video([result_at(i, t) for i, t in enumerate(times)], tmp_path / "a.mp4")
    )
    assert found == pytest.approx(times, abs=1e-3)
