"""kptk.io.images: every way an image can be encoded, broken or fetched. Values are by hand."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from kptk.errors import InputError
from kptk.io import images as web
from kptk.io.images import fetch, from_array, from_pil, image_size, read_image


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixel(mode: str, colour: object) -> Image.Image:
    return Image.new(mode, (3, 2), colour)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (pixel("RGB", (10, 20, 30)), (10, 20, 30)),
        (pixel("L", 77), (77, 77, 77)),
        (pixel("1", 1), (255, 255, 255)),
        (pixel("RGBA", (10, 20, 30, 255)), (10, 20, 30)),
        (pixel("RGBA", (10, 20, 30, 0)), (255, 255, 255)),  # transparent: the white behind it
        (pixel("RGBA", (0, 0, 0, 51)), (204, 204, 204)),  # a fifth black over white
        (pixel("LA", (0, 51)), (204, 204, 204)),
        (pixel("CMYK", (0, 255, 255, 0)), (255, 0, 0)),
        (pixel("P", 0).convert("RGB").quantize(2), (0, 0, 0)),
        (pixel("I", 257 * 200), (200, 200, 200)),
        (pixel("I", 200), (200, 200, 200)),
        (pixel("F", 0.2), (51, 51, 51)),
        (pixel("I;16", 257 * 200), (200, 200, 200)),
        (pixel("I;16", 257), (1, 1, 1)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_from_pil_knows_every_mode(image: Image.Image, expected: tuple[int, int, int]) -> None:
    array = from_pil(image)
    assert array.dtype == np.uint8
    assert array.shape == (2, 3, 3)
    assert (array == expected).all()


@pytest.mark.parametrize(
    ("kind", "colour", "mode", "options"),
    [
        ("PNG", (9, 8, 7), "RGB", {}),
        ("BMP", (9, 8, 7), "RGB", {}),
        ("TIFF", (9, 8, 7), "RGB", {}),
        ("WEBP", (9, 8, 7), "RGB", {"lossless": True}),
        ("PPM", (9, 8, 7), "RGB", {}),
        ("GIF", 0, "L", {}),
    ],
)
def test_read_image_reads_formats(kind: str, colour: object, mode: str, options: dict) -> None:
    image = read_image(encode(pixel(mode, colour), kind, **options))
    assert (image == (colour if mode == "RGB" else (0, 0, 0))).all()


def test_16_bit_png_is_scaled() -> None:
    data = encode(Image.fromarray(np.full((2, 3), 40000, np.uint16)))
    assert (read_image(data) == round(40000 / 257)).all()


def test_palette_with_transparency_lies_over_white() -> None:
    image = pixel("P", 0)
    image.putpalette([200, 0, 0])
    assert (read_image(encode(image, "PNG", transparency=0)) == 255).all()


def test_first_frame_of_an_animation() -> None:
    frames = [pixel("L", 0), pixel("L", 255)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (read_image(data) == 0).all()


# The EXIF standard's orientations, for a picture stored as [[1, 2, 3], [4, 5, 6]].
@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_exif_orientation_is_applied(orientation: int, upright: list[list[int]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.array([[1, 2, 3], [4, 5, 6]], np.uint8))
    assert read_image(encode(stored, "PNG", exif=exif))[..., 0].tolist() == upright


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((1, 1, 3), 7, np.uint8), (7, 7, 7)),
        (np.full((2, 2), 7, np.uint8), (7, 7, 7)),
        (np.full((2, 2, 1), 7, np.uint8), (7, 7, 7)),
        (np.full((2, 2, 4), 0, np.uint8), (255, 255, 255)),
        (np.full((2, 2), 0.2), (51, 51, 51)),
        (np.full((2, 2), 1, np.float16), (255, 255, 255)),
        (np.full((2, 2), 255, np.int64), (255, 255, 255)),
        (np.full((2, 2), 65535, np.uint16), (255, 255, 255)),
    ],
)
def test_from_array_accepts(array: np.ndarray, expected: tuple[int, int, int]) -> None:
    image = from_array(array)
    assert image.dtype == np.uint8
    assert image.shape == (*array.shape[:2], 3)
    assert (image == expected).all()


def test_from_array_turns_bgr_and_leaves_its_input() -> None:
    bgr = np.array([[[1, 2, 3]]], np.uint8)
    assert from_array(bgr, channel_order="bgr").tolist() == [[[3, 2, 1]]]
    bgra = np.array([[[1, 2, 3, 255]]], np.uint8)
    assert from_array(bgra, channel_order="bgr").tolist() == [[[3, 2, 1]]]
    assert bgr.tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((2, 2, 3), np.nan), "NaN"),
        (np.full((2, 2, 3), np.inf), "infinity"),
        (np.full((2, 2, 3), 200.0), r"astype\(np.uint8\)"),
        (np.full((2, 2, 3), -0.5), "within"),
        (np.full((2, 2), -1, np.int64), "0 to 255"),
        (np.full((2, 2), 300, np.int64), "0 to 255"),
        (np.zeros((2, 2, 3), bool), "bool"),
        (np.zeros((2, 2), complex), "complex"),
        (np.zeros((5, 4, 4, 3), np.uint8), r"list\(batch\)"),
        (np.zeros((3, 20, 30), np.uint8), "transpose"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros(4, np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "at least one pixel"),
    ],
)
def test_from_array_refuses(array: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_array(array)


def broken(folder: Path, name: str) -> Path:
    """One broken file of each sort, by name."""
    whole = encode(Image.effect_noise((64, 64), 90).convert("RGB"), "JPEG")
    contents = {
        "truncated.jpg": whole[: len(whole) // 2],
        "header_only.png": encode(pixel("RGB", (0, 0, 0)))[:20],
        "text.jpg": b"these are words, not pixels",
        "page.jpg": b"\n<!DOCTYPE html><html></html>",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "empty.jpg": b"",
        "clip.mp4": b"\0\0\0\x18ftypmp42",
    }
    path = folder / name
    path.write_bytes(contents[name])
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("truncated.jpg", "damaged"),
        ("header_only.png", "damaged"),
        ("text.jpg", "content is none of these"),
        ("page.jpg", "content is none of these"),
        ("script.jpg", "content is none of these"),  # PostScript would start a program
        ("empty.jpg", "empty"),
        ("clip.mp4", "one image is wanted"),
    ],
)
def test_broken_files_say_so(tmp_path: Path, name: str, message: str) -> None:
    path = broken(tmp_path, name)
    with pytest.raises(InputError, match=message) as caught:
        read_image(path)
    assert name in str(caught.value)


def test_missing_paths_name_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(InputError, match=r"Did you mean 'photo.jpg'"):
        read_image(tmp_path / "foto.jpg")
    with pytest.raises(InputError, match="no folder"):
        read_image(tmp_path / "nowhere" / "photo.jpg")
    with pytest.raises(InputError, match="Patterns"):
        read_image(tmp_path / "*.jpg")
    with pytest.raises(InputError, match="Got a folder"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_image("a\0b.jpg")


def test_a_decompression_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("L", (30, 30)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match="too large"):
        read_image(data)


def test_a_truncated_file_is_damaged_also_where_pillow_was_told_to_fill_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as importing ppdet does
    whole = io.BytesIO()
    Image.fromarray(np.arange(30000, dtype=np.uint8).reshape(100, 100, 3)).save(whole, "JPEG")
    file = tmp_path / "a.jpg"
    file.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    with pytest.raises(InputError, match="damaged"):
        read_image(file)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_the_size_is_read_without_decoding() -> None:
    data = encode(Image.new("RGB", (30, 20)))
    start = data[: data.index(b"IDAT") + 8]  # no pixel is in there
    assert image_size(data, "it") == image_size(start, "it") == (20, 30)
    with pytest.raises(InputError, match="it must be an image"):
        image_size(b"words", "it")


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), (1, 2, 3)).save(buffer, "PNG")
    return buffer.getvalue()


PICTURE = picture()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        routes = {
            "/a.png": (200, PICTURE),
            "/%C3%BC%20b.png": (200, PICTURE),
            "/page": (200, b"<html>not a picture</html>"),
            "/empty": (200, b""),
            "/big": (200, b"x" * 5000),
            "/file": (302, b"file:///etc/hostname"),
            "/ftp": (302, b"ftp://127.0.0.1:9/a.png"),
        }
        status, body = routes.get(self.path, (404, b""))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", body.decode())
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("page", ["/a.png", "/ü b.png", "/%C3%BC%20b.png"])
def test_a_picture_by_url(server: str, page: str) -> None:
    assert (read_image(server + page) == (1, 2, 3)).all()


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("/page", "HTML page"),
        ("/empty", "empty"),
        ("/big", "too large"),
        ("/missing.png", "says 404"),
        ("/file", "302"),  # redirects lead to no files and no other protocols
        ("/ftp", "unknown url type: ftp"),
    ],
)
def test_bad_answers_say_so(
    server: str, page: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "MAX_DOWNLOAD_BYTES", 4000)
    with pytest.raises(InputError, match=message):
        read_image(server + page)


def test_the_page_that_comes_with_a_redirect_is_not_read(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "DOWNLOAD_TIMEOUT", 2)
    with socket.create_server(("127.0.0.1", 0)) as endless:

        def redirect() -> None:
            line, _ = endless.accept()
            head = (
                f"HTTP/1.1 302 Found\r\nLocation: {server}/a.png\r\nContent-Length: 99999\r\n\r\n"
            )
            line.sendall(head.encode() + b"more to come")
            kept.append(line)

        kept: list[socket.socket] = []
        threading.Thread(target=redirect, daemon=True).start()
        assert fetch(f"http://127.0.0.1:{endless.getsockname()[1]}/") == PICTURE
        kept[0].close()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a.png", "gopher://x/"])
def test_other_schemes_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="must start with http"):
        read_image(url)


def test_no_server_and_no_network(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch("http://127.0.0.1:9/a.png")
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch("http://[bad/a.png")
    monkeypatch.setenv("KPTK_OFFLINE", "1")
    with pytest.raises(InputError, match="KPTK_OFFLINE"):
        fetch(server + "/a.png")


def test_a_slow_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "DOWNLOAD_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(InputError, match="timed out"):
            fetch(f"http://127.0.0.1:{port}/a.png")


def test_a_server_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Trickle(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            return b"x"

    monkeypatch.setattr(web, "DOWNLOAD_TIMEOUT", 0.01)
    with pytest.raises(InputError, match="given up"):
        fetch("http://x/", opener=SimpleNamespace(open=lambda request, timeout: Trickle()))
