"""kptk.io.sources: streams of anything; names; what is bad stays in its place."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kptk.errors import InputError
from kptk.io.images import read_image
from kptk.io.sources import BadFrame, Frame, iter_frames


def save(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (4, 3), value).save(path)
    return path


def names(source: object, **options: bool) -> list[str]:
    return [frame.name for frame in iter_frames(source, **options)]


def grey(value: int) -> np.ndarray:
    return np.full((3, 4), value, np.uint8)


def test_one_file_in_each_form(tmp_path: Path) -> None:
    path = save(tmp_path / "photo.png", 9)
    forms: list[object] = [
        path, str(path), path.read_bytes(), bytearray(path.read_bytes()),
        io.BytesIO(path.read_bytes()), Image.open(path), np.array(Image.open(path)),
        {"img": str(path)}, {"any": path}, (path,), [[path]], iter([path]), np.array([str(path)]),
    ]  # fmt: skip
    for form in forms:
        (frame,) = iter_frames(form)
        assert isinstance(frame, Frame), form
        assert frame.image.shape == (3, 4, 3)
        assert (frame.image == 9).all()


def test_a_frame_says_where_it_came_from(tmp_path: Path) -> None:
    path = save(tmp_path / "photo.png")
    (frame,) = iter_frames(path)
    assert (frame.name, frame.path, frame.suffix) == ("photo", str(path), ".png")
    (frame,) = iter_frames(grey(0))
    assert (frame.name, frame.path, frame.suffix) == ("image_000001", None, ".jpg")


def test_folders_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.png", "IMG1.PNG", ".hidden.png", "sub/deep.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "folder.png").mkdir()
    assert names(tmp_path) == ["IMG1", "img2", "img10"]
    assert names(tmp_path, recursive=True) == ["IMG1", "img2", "img10", "sub/deep"]


def test_no_name_comes_twice(tmp_path: Path) -> None:
    a, b = save(tmp_path / "x" / "a.jpg"), save(tmp_path / "x" / "a.png")
    other = save(tmp_path / "y" / "a.jpg")
    upper = save(tmp_path / "z" / "A.jpg")
    assert names([a, b, other, a, upper]) == ["a", "a_png", "a_2", "a_3", "A_4"]
    assert names([upper, a]) == ["A", "a_2"]  # one file where the system ignores case
    trap = save(tmp_path / "image_000001.jpg")
    assert names([trap, grey(1), grey(2)]) == ["image_000001", "image_000001_2", "image_000002"]


def test_nested_generators_and_dicts(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")

    def stream() -> Iterator[object]:
        yield path
        yield {"img": grey(1), "more": [grey(2)]}

    assert names([stream(), grey(3)]) == ["a", "image_000001", "image_000002", "image_000003"]


def test_streams_are_lazy() -> None:
    def endless() -> Iterator[np.ndarray]:
        while True:
            yield grey(0)

    frames = iter_frames(endless())
    assert [next(frames).name for _ in range(3)][-1] == "image_000003"


def test_two_files_are_read_ahead_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(tmp_path / f"{i}.png") for i in range(6)]
    read: list[str] = []
    third = threading.Event()

    def recording(path: Path) -> np.ndarray:
        read.append(f"{path.stem} {threading.current_thread() is threading.main_thread()}")
        if len(read) == 3:
            third.set()
        return read_image(path)

    monkeypatch.setattr("kptk.io.sources.read_image", recording)
    for source in (tmp_path, paths):
        frames = iter_frames(source)
        assert next(frames).name == "0"
        assert third.wait(30)
        assert read == ["0 False", "1 False", "2 False"]
        assert [frame.name for frame in frames] == ["1", "2", "3", "4", "5"]
        read.clear()
        third.clear()
    assert names(paths[0]) == ["0"]
    assert read == ["0 True"]  # a single picture needs no thread


def test_bad_members_lose_nothing_else(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png")
    (tmp_path / "text.jpg").write_text("words")
    (tmp_path / "empty").mkdir()
    source = [tmp_path / "text.jpg", good, tmp_path / "gone.png", tmp_path / "empty",
              np.full((2, 2, 3), np.nan), None, -1, object(), [],
              "ftp://x/y.png", good]  # fmt: skip
    frames = list(iter_frames(source))
    kinds = "bgbbbbbbbbg"
    assert "".join("b" if isinstance(frame, BadFrame) else "g" for frame in frames) == kinds
    assert all(isinstance(f.error, InputError) for f in frames if isinstance(f, BadFrame))
    assert len({frame.name for frame in frames}) == len(frames)
    assert frames[0].path == str(tmp_path / "text.jpg")


class OnGpu:
    """As torch's tensors do."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


def test_members_that_fail_when_read_lose_nothing_else(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 90).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    cut = Image.open(io.BytesIO(whole[:-1000]))  # opens: Pillow has read the header only
    closed = io.BytesIO(whole)
    closed.close()
    frames = list(iter_frames([cut, closed, OnGpu(), "~nobody/a.png", whole]))
    assert [isinstance(frame, BadFrame) for frame in frames] == [True, True, True, True, False]
    assert "cuda:0" in str(frames[2].error)


def test_a_reused_buffer_changes_no_frame() -> None:
    buffer = np.zeros((3, 4, 3), np.uint8)
    (frame,) = iter_frames(buffer)
    buffer[:] = 255
    assert (frame.image == 0).all()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jpg", "does not exist"),
        (None, "cv2.imread"),
        (-1, "camera"),
        (object(), "Got object"),
        ([], "empty list"),
        ({}, "empty dict"),
        (io.StringIO("text"), "binary"),
        (b"", "empty"),
    ],
)
def test_unusable_sources_are_one_bad_frame(source: object, message: str) -> None:
    (frame,) = iter_frames(source)
    assert isinstance(frame, BadFrame)
    assert message in str(frame.error)


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    save(tmp_path / "sub" / "a.png")
    (frame,) = iter_frames(tmp_path)
    assert isinstance(frame, BadFrame)
    assert "recursive=True" in str(frame.error)
    assert frame.name == tmp_path.name


def test_channel_order_is_for_arrays_only(tmp_path: Path) -> None:
    blue = np.array([[[255, 0, 0]]], np.uint8)  # as OpenCV writes it
    image = Image.fromarray(np.array([[[0, 0, 255]]], np.uint8))
    path = tmp_path / "blue.png"
    image.save(path)
    frames = list(iter_frames([blue, image, path], channel_order="bgr"))
    assert [frame.image.tolist() for frame in frames] == [[[[0, 0, 255]]]] * 3
    with pytest.raises(InputError, match="channel_order"):
        iter_frames(blue, channel_order="RGB")


def test_urls_make_safe_names() -> None:
    source = [
        "http://127.0.0.1:9/x/..%2F..%2Fevil%20name.png?size=1",
        "http://127.0.0.1:9/",
        "http://[bad",
    ]
    frames = list(iter_frames(source))
    assert [(frame.name, frame.suffix) for frame in frames] == [
        ("evil_name", ".png"),
        ("image", ".jpg"),
        ("image_2", ".jpg"),
    ]
    assert frames[0].path == source[0]
