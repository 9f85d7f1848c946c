"""kptk.io.video: times, rotation, damage, cameras; videos are written by PyAV, patched by hand."""

from __future__ import annotations

import gc
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest

import kptk.io.sources
import kptk.io.video
import kptk.pipeline.pipeline
from kptk.errors import InputError, MissingDependencyError
from kptk.io.sources import BadFrame, Frame, iter_frames
from kptk.io.video import Sampling, VideoFrame, _Reading, probe, read_frames
from kptk.pipeline.detector import Detections
from kptk.pipeline.pipeline import Pipeline, is_single
from tests.clips import (
    SIDE,
    SIZE,
    TIMES,
    cut,
    find_square,
    picture,
    set_matrix,
    square_at,
    write_clip,
    write_sound,
)


def frames(path: Path, every: int = 1, max_fps: float | None = None) -> list[VideoFrame]:
    return list(read_frames(path, Sampling(every, max_fps)))


def until_error(path: Path) -> tuple[list[VideoFrame], str]:
    good = []
    with pytest.raises(InputError) as caught:
        for frame in read_frames(path, Sampling()):
            good.append(frame)
    return good, str(caught.value)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.ts", "libx264"), ("a.avi", "mpeg4")],
)
def test_every_frame_comes_once_in_order_with_its_time(
    tmp_path: Path, name: str, codec: str
) -> None:
    found = frames(write_clip(tmp_path / name, codec=codec))
    assert [frame.number for frame in found] == list(range(1, 21))
    assert [frame.time for frame in found] == pytest.approx(TIMES, abs=2e-3)
    assert found[0].time == 0.0
    for index, frame in enumerate(found):
        assert frame.image.shape == (*SIZE, 3)
        assert frame.image.dtype == np.uint8
        assert find_square(frame.image) == pytest.approx(square_at(index), abs=1)


def test_colours_are_rgb(tmp_path: Path) -> None:
    red = np.full((*SIZE, 3), (200, 30, 30), np.uint8)
    (frame,) = frames(write_clip(tmp_path / "a.mp4", [0.0], pictures=[red]))
    assert frame.image.mean(axis=(0, 1)) == pytest.approx([200, 30, 30], abs=6)


def test_variable_frame_times_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.54, 3.0, 3.01]
    found = frames(write_clip(tmp_path / "a.mp4", times))
    assert [frame.time for frame in found] == pytest.approx(times, abs=1e-4)


def test_a_film_whose_last_frame_stands_long_is_whole(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", codec="mpeg4", last=5.0)
    info = probe(path)
    assert info.duration == pytest.approx(TIMES[-1] + 5)
    assert len(frames(path)) == 20  # and no error


@pytest.mark.parametrize(
    ("every", "max_fps", "numbers"),
    [
        (1, None, list(range(1, 21))),
        (5, None, [1, 6, 11, 16]),
        # 25 frames a second at 10: the first frame at or after 0, .1, .2, ... s, by hand
        (1, 10.0, [1, 4, 6, 9, 11, 14, 16, 19]),
        (1, 25.0, list(range(1, 21))),
        (3, 10.0, [1, 4, 7, 10, 13, 16, 19]),
    ],
)
def test_sampling(tmp_path: Path, every: int, max_fps: float | None, numbers: list[int]) -> None:
    found = frames(write_clip(tmp_path / "a.mp4"), every, max_fps)
    assert [frame.number for frame in found] == numbers
    assert [frame.time for frame in found] == pytest.approx([TIMES[n - 1] for n in numbers])
    assert abs(Sampling(every, max_fps).count(20, 25.0) - len(numbers)) <= 1


def test_sampling_at_the_films_own_rate_takes_all_frames(tmp_path: Path) -> None:
    """Matroska rounds .0333 s to .033 s, which is before the slot that starts there."""
    path = write_clip(tmp_path / "a.mkv", [index / 30 for index in range(20)])
    assert len(frames(path, max_fps=30)) == 20


@pytest.mark.parametrize("setting", [{"every": 0}, {"max_fps": 0}, {"max_fps": float("nan")}])
def test_wrong_sampling(setting: dict) -> None:
    with pytest.raises(InputError, match=next(iter(setting))):
        Sampling(**setting)


# How a viewer shows the picture, by NumPy's own words.
UPRIGHT = {
    (0, 1, -1, 0): lambda image: np.rot90(image, -1),  # a phone held upright: clockwise
    (0, -1, 1, 0): lambda image: np.rot90(image, 1),
    (-1, 0, 0, -1): lambda image: np.rot90(image, 2),
    (-1, 0, 0, 1): np.fliplr,
    (1, 0, 0, -1): np.flipud,
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", UPRIGHT)
def test_phone_films_are_turned_upright(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    plain = write_clip(tmp_path / "a.mp4", TIMES[:2])
    (stored, _) = frames(plain)
    (turned, _) = frames(set_matrix(plain, *matrix))
    expected = UPRIGHT[matrix](stored.image)
    assert np.array_equal(turned.image, expected)
    assert turned.image.flags["C_CONTIGUOUS"]
    info = probe(plain)
    assert (info.height, info.width) == expected.shape[:2]


def test_probe(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4")
    info = probe(path)
    assert (info.width, info.height, info.fps, info.codec) == (64, 48, 25.0, "h264")
    assert (info.duration, info.frames, info.rotation) == (pytest.approx(0.8), 20, 0)
    assert probe(set_matrix(path, 0, 1, -1, 0)).rotation == 90


def noisy(path: Path, codec: str, **options: str) -> Path:
    """A film of 50 frames of noise, so that bytes are spread evenly over its time."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (*SIZE, 3), np.uint8) for _ in range(50)]
    times = [index / 25 for index in range(50)]
    return write_clip(path, times, codec=codec, pictures=pictures, options=options)


def whole_packets(path: Path) -> int:
    """How many pictures are there with all their bytes, by FFmpeg's demuxer alone."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.video[0])
        return sum(packet.size > 0 and not packet.is_corrupt for packet in packets)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.6, 0.8])
def test_half_a_packet_at_the_end_costs_no_whole_one(tmp_path: Path, share: float) -> None:
    path = cut(noisy(tmp_path / "a.mp4", "libx264", movflags="faststart"), share)
    good, _ = until_error(path)
    assert len(good) == whole_packets(path)


class FailingContainer:
    """A film's container that cannot be read on after so many packets, so many times."""

    def __init__(self, container: Any, after: int, times: int) -> None:
        self.container, self.after, self.times = container, after, times

    def demux(self, stream: Any) -> Iterator[Any]:
        for packet in self.container.demux(stream) if self.after else ():
            yield packet
            self.after -= 1
            if not self.after:
                break
        if self.times:
            self.times -= 1
            raise av.FFmpegError(5, "Input/output error")
        yield from self.container.demux(stream)


@pytest.mark.parametrize(
    ("after", "times", "expected"),
    [(0, 1, 20), (10, 1, 20), (10, 10**9, 10), (0, 10**9, 0)],
)
def test_reading_goes_on_behind_an_error_and_ends_where_it_cannot(
    tmp_path: Path, after: int, times: int, expected: int
) -> None:
    path = write_clip(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        film = _Reading(path, 25.0, None)
        found = list(film.decode(FailingContainer(container, after, times), stream))
    assert len(found) == expected  # those that the decoder held back among them
    assert len(film.broken) == 1
    with pytest.raises(InputError, match="damaged"):
        film.check_end()


@pytest.mark.skipif(sys.platform == "win32", reason="names there hold no colon")
def test_a_relative_name_with_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_clip(tmp_path / "a.mp4", TIMES[:3])
    made.rename(tmp_path / "2026-11-27T10:15:00.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(list(iter_frames("2026-11-27T10:15:00.mp4"))) == 3


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile other.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_list_that_names_another_film_is_refused(tmp_path: Path, text: str) -> None:
    write_clip(tmp_path / "other.mp4")
    (tmp_path / "list.mp4").write_text(text)
    for look in (probe, frames):
        with pytest.raises(InputError, match=r"list\.mp4 must be a video"):
            look(tmp_path / "list.mp4")


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mkv", "libx264", {}),
        ("a.mkv", "mpeg4", {}),
        ("a.mp4", "libx264", {"movflags": "faststart"}),
        ("a.mp4", "mpeg4", {"movflags": "faststart"}),
    ],
)
def test_a_film_that_is_cut_off_gives_its_frames_then_the_error(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = cut(noisy(tmp_path / name, codec, **options), 0.6)
    good, message = until_error(path)
    assert len(good) >= whole_packets(path)
    assert 15 <= len(good) <= 35
    assert [frame.number for frame in good] == list(range(1, len(good) + 1))
    assert f"cut off or damaged: {len(good)} frames were read" in message
    assert "of the 2.00 s" in message


def test_a_cut_transport_stream_gives_its_frames_and_says_which_is_damaged(tmp_path: Path) -> None:
    """It declares no length: only a frame that is broken, and that FFmpeg calls so, can tell."""
    whole = noisy(tmp_path / "a.ts", "libx264")
    messages = []
    for share in (0.5, 0.6, 0.65):
        good = []
        try:
            for frame in read_frames(cut(whole, share), Sampling()):
                good.append(frame)
        except InputError as error:
            messages.append(str(error))
        assert 15 <= len(good) <= 40
    assert messages
    assert all("1 of its frames could not be read" in message for message in messages)


def test_damage_in_the_middle_costs_only_the_frames_it_hits(tmp_path: Path) -> None:
    path = noisy(tmp_path / "a.mp4", "libx264", movflags="faststart")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 3000] = b"\xff" * 3000
    path.write_bytes(data)
    good, message = until_error(path)
    assert len(good) >= 40
    assert good[-1].time == pytest.approx(49 / 25, abs=0.05)
    assert "could not be read" in message


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_a_damaged_start_is_no_error_but_ours(tmp_path: Path, codec: str) -> None:
    path = noisy(tmp_path / "a.mp4", codec, movflags="faststart")
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start : start + 500] = b"\xff" * 500
    path.write_bytes(data)
    good, message = until_error(path)
    assert "damaged" in message
    if good:
        assert probe(path).width == SIZE[1]
    else:
        with pytest.raises(InputError, match="damaged"):
            probe(path)


def broken(tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    if name == "sound.mp4":
        return write_sound(path)
    if name == "noindex.mp4":
        return cut(noisy(path, "mpeg4"), 0.5)
    contents = {"text.mp4": b"words " * 99, "empty.mp4": b"", "zero.avi": bytes(5000)}
    if name in contents:
        path.write_bytes(contents[name])
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sound.mp4", "holds sound only"),
        ("noindex.mp4", "moov atom"),
        ("text.mp4", "none that FFmpeg knows"),
        ("zero.avi", "none that FFmpeg knows"),
        ("empty.mp4", "0 bytes"),
        ("gone.mp4", "does not exist"),
    ],
)
def test_what_is_no_film_is_one_clear_error(tmp_path: Path, name: str, message: str) -> None:
    path = broken(tmp_path, name)
    good, said = until_error(path)
    assert good == []
    assert message in said
    assert path.name in said
    with pytest.raises(InputError, match=message):
        probe(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    odd = write_clip(tmp_path / "a.mp4", TIMES[:1]).rename(tmp_path / os.fsdecode(b"\xff.mp4"))
    assert len(frames(odd)) == 1


def test_without_pyav_the_install_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "a.mp4", TIMES[:1])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingDependencyError, match=r"kptk\[video\]"):
        probe(path)


def test_times_that_go_back_or_are_missing_go_on_by_a_step(tmp_path: Path) -> None:
    from types import SimpleNamespace

    film = _Reading(tmp_path / "a.ts", 25.0, None)
    stamps = [3.0, 3.04, None, 1.0, 3.2]
    given = [
        SimpleNamespace(
            pts=None if stamp is None else round(stamp * 100), time_base=0.01, duration=0
        )
        for stamp in stamps
    ]
    found = [film._numbered(frame)[1] for frame in given]
    assert found == pytest.approx([0, 0.04, 0.08, 0.12, 0.2])


def test_the_squares_can_be_told_apart() -> None:
    assert find_square(picture(3)) == square_at(3) != square_at(4)


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
