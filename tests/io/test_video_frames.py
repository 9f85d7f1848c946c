"""Films and cameras in kptk.io.sources and the pipeline: names, order, memory, letting go."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import kptk.io.sources
import kptk.io.video
import kptk.pipeline.pipeline
from kptk.errors import InputError
from kptk.io.sources import BadFrame, Frame, iter_frames
from kptk.io.video import Sampling
from kptk.pipeline.detector import Detections
from kptk.pipeline.pipeline import Pipeline, is_single
from tests.video.clips import SIDE, TIMES, cut, find_square, square_at, write_clip


class SquareFinder:
    """A detector that finds the bright square by its pixels."""

    model = SimpleNamespace(name="square", threshold=0.5)
    engine = SimpleNamespace(name="numpy", device="cpu")

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict(self, images: Any, *, threshold: float, batch_size: int) -> list[Detections]:
        self.calls.append(len(images))
        return [self._one(image) for image in images]

    def _one(self, image: np.ndarray) -> Detections:
        left, top = find_square(image)
        box = np.array([[left, top, left + SIDE, top + SIDE]], np.float32)
        return Detections(box, np.ones(1, np.float32))


def square_pipeline() -> Pipeline:
    return Pipeline(SquareFinder(), None)  # type: ignore[arg-type]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4")


def test_frames_say_when_and_which_they_are(clip: Path) -> None:
    found = list(iter_frames(clip, sampling=Sampling(every=7)))
    assert [frame.name for frame in found] == ["clip_000001", "clip_000008", "clip_000015"]
    assert all(isinstance(frame, Frame) for frame in found)
    assert [(f.number, f.time, f.path, f.suffix) for f in found] == [
        (number, pytest.approx(TIMES[number - 1]), str(clip), ".jpg") for number in (1, 8, 15)
    ]


def test_films_and_pictures_mix_and_no_name_comes_twice(tmp_path: Path, clip: Path) -> None:
    from PIL import Image

    for name in ("clip.jpg", "clip_000001.png", "b.png"):
        Image.new("L", (4, 3)).save(tmp_path / name)
    two = Sampling(every=19)
    source = [clip, tmp_path / "clip_000001.png", tmp_path / "clip.jpg", clip, tmp_path / "b.png"]
    names = [frame.name for frame in iter_frames(source, sampling=two)]
    assert names == [
        "clip_000001", "clip_000020", "clip_000001_2", "clip_jpg",
        "clip_2_000001", "clip_2_000020", "b",
    ]  # fmt: skip
    backwards = [tmp_path / "clip_000001.png", clip]
    names = [frame.name for frame in iter_frames(backwards, sampling=two)]
    assert names == ["clip_000001", "clip_2_000001", "clip_2_000020"]


def test_films_in_folders_are_left_alone_and_folders_may_be_called_like_films(
    tmp_path: Path, clip: Path
) -> None:
    from PIL import Image

    folder = tmp_path / "frames.mp4"
    folder.mkdir()
    Image.new("L", (4, 3)).save(folder / "a.png")
    write_clip(folder / "b.mp4", TIMES[:2])
    assert [frame.name for frame in iter_frames(folder)] == ["a"]
    assert not is_single(clip)
    assert is_single(0)


def test_a_film_at_a_url_is_refused_before_it_is_fetched() -> None:
    (frame,) = iter_frames("http://127.0.0.1:9/clip.mp4?x=1")
    assert isinstance(frame, BadFrame)
    assert "download it first" in str(frame.error)


def test_one_result_a_frame_in_batches(clip: Path) -> None:
    pipe = square_pipeline()
    results = list(pipe.predict(clip, batch_size=8))
    assert pipe.detector.calls == [8, 8, 4]  # type: ignore[union-attr]
    assert [result.frame for result in results] == list(range(1, 21))
    assert [result.time for result in results] == pytest.approx(TIMES)
    for index, result in enumerate(results):
        assert result.boxes[0, :2] == pytest.approx(square_at(index), abs=1)
    assert repr(results[4]) == "<PoseResult clip_000005: 1 person, 64x48 px, at 0.160 s>"
    called = pipe(clip, every=10)
    assert isinstance(called, list)
    assert [result.frame for result in called] == [1, 11]


def test_json_and_table_have_the_moment(clip: Path) -> None:
    result = next(square_pipeline().predict(clip))
    assert list(result.json) == ["input_path", "frame", "time", "boxes"]
    assert (result.json["frame"], result.json["time"]) == (1, 0.0)
    assert list(result.to_pandas().columns[:4]) == ["image", "frame", "time", "person"]


def test_a_cut_film_ends_with_one_result_that_carries_the_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(50)]
    times = [index / 25 for index in range(50)]
    film = cut(write_clip(tmp_path / "a.mkv", times, pictures=noise), 0.6)
    results = list(square_pipeline().predict([film, write_clip(tmp_path / "b.mp4")]))
    failed = [index for index, result in enumerate(results) if result.error]
    assert len(failed) == 1
    assert results[failed[0]].name == f"cut_{failed[0] + 1:06d}"
    assert len(results) == failed[0] + 1 + 20  # the next film goes on
    with pytest.raises(InputError, match="cut off"):
        list(square_pipeline().predict(film, on_error="raise"))


def test_only_a_few_frames_are_alive_at_a_time(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = [0]
    real = kptk.io.sources.Frame

    def counting(*arguments: Any, **options: Any) -> Frame:
        frame = real(*arguments, **options)
        alive.add(frame)
        most[0] = max(most[0], len(alive))
        return frame

    monkeypatch.setattr(kptk.io.sources, "Frame", counting)
    for result in square_pipeline().predict(clip, batch_size=2):
        assert len(result) == 1
    assert 2 <= most[0] <= 5  # the batch, the one before it, and one that is made
    gc.collect()
    assert not alive


class FakeCamera:
    """As cv2.VideoCapture: BGR pictures, for ever or for some frames."""

    instances: list[FakeCamera]
    frames: int | None = None

    def __init__(self, index: int) -> None:
        self.index = index
        self.given = 0
        self.released = threading.Event()
        FakeCamera.instances.append(self)

    def isOpened(self) -> bool:
        return self.index == 0

    def set(self, key: int, value: float) -> bool:
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        assert not self.released.is_set()
        if self.given == FakeCamera.frames:
            return False, None
        self.given += 1
        return True, np.full((6, 8, 3), (255, 0, self.given), np.uint8)

    def release(self) -> None:
        self.released.set()


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeCamera]]:
    FakeCamera.instances, FakeCamera.frames = [], None
    ticks = iter(range(10**6))
    monkeypatch.setattr(cv2, "VideoCapture", FakeCamera)
    monkeypatch.setattr(kptk.io.video, "_check_camera", lambda index: None)
    monkeypatch.setattr(
        kptk.io.video, "time", SimpleNamespace(monotonic=lambda: 5 + next(ticks) / 10)
    )
    yield FakeCamera.instances


def test_a_camera_gives_frames_until_the_stream_is_closed(cameras: list[FakeCamera]) -> None:
    stream = iter_frames(np.int64(0))
    found = [next(stream) for _ in range(3)]
    assert [frame.name for frame in found] == [f"camera_0_00000{n}" for n in (1, 2, 3)]
    assert [frame.time for frame in found if isinstance(frame, Frame)] == pytest.approx(
        [0, 0.1, 0.2]
    )
    assert found[1].image[0, 0].tolist() == [2, 0, 255]  # type: ignore[union-attr]
    assert not cameras[0].released.is_set()
    stream.close()
    assert cameras[0].released.is_set()
    assert cameras[0].given <= 6  # no more than is read ahead
    assert not [thread for thread in threading.enumerate() if "kptk-read" in thread.name]


def test_closing_does_not_wait_for_the_last_reference(
    cameras: list[FakeCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other Pythons, and tracebacks in notebooks, keep generators alive."""
    kept = []

    def keeping(real: Any) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            kept.append(real(*arguments, **options))
            return kept[-1]

        return wrapped

    monkeypatch.setattr(kptk.io.sources, "read_camera", keeping(kptk.io.sources.read_camera))
    monkeypatch.setattr(
        kptk.pipeline.pipeline, "iter_frames", keeping(kptk.pipeline.pipeline.iter_frames)
    )
    results = Pipeline(None, _Points()).predict(0)  # type: ignore[arg-type]
    next(results)
    results.close()
    assert cameras[0].released.is_set()
    assert len(kept) == 2


def test_dropping_or_leaving_a_prediction_lets_go_of_the_camera(cameras: list[FakeCamera]) -> None:
    pipe = Pipeline(None, _Points())  # type: ignore[arg-type]
    for _ in kptk.track(pipe.predict(0)):
        break
    gc.collect()
    assert cameras[0].released.is_set()
    result = pipe(0)  # a camera gives one picture
    assert not isinstance(result, list)
    assert result.frame == 1
    assert cameras[1].released.is_set()


class _Points:
    model = SimpleNamespace(name="points")
    engine = SimpleNamespace(name="numpy", device="cpu")
    flip = udp = False

    def predict(self, images: Any, boxes: Any, *, batch_size: int) -> list[np.ndarray]:
        return [np.zeros((len(box), 17, 3), np.float32) for box in boxes]


def test_a_camera_that_stops_or_is_not_there(cameras: list[FakeCamera]) -> None:
    FakeCamera.frames = 2
    *good, last = iter_frames(0)
    assert len(good) == 2
    assert isinstance(last, BadFrame)
    assert "stopped giving images after 2 frames" in str(last.error)
    assert cameras[0].released.is_set()
    (bad,) = iter_frames(3)
    assert isinstance(bad, BadFrame)
    assert "Camera 3 cannot be opened" in str(bad.error)
    assert cameras[1].released.is_set()


def test_camera_numbers_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kptk.io.video.sys, "platform", "linux")
    for index, message in ((-1, "0 or more"), (987654, "no camera 987654")):
        (bad,) = iter_frames(index)
        assert isinstance(bad, BadFrame)
        assert message in str(bad.error)
    (bad,) = iter_frames(True)
    assert "Got bool" in str(bad.error)  # type: ignore[union-attr]
